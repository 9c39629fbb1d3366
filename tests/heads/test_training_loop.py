"""The loop: what it learns, that it repeats itself, what it refuses; batches from memory and from disk."""

import dataclasses
import sys

import numpy as np
import pytest
import torch

from avr.core import UsageError, WorkError, validation_part
from avr.heads import (
    MemoryExamples,
    StreamedExamples,
    Training,
    _trainings,
    build_head,
    head_class,
    load_head,
    open_examples,
    predict,
    train,
    train_run,
)
from avr.heads._course import Course
from avr.heads._examples import even_parts
from avr.heads._loop import set_statistics
from avr.store import FeatureStore
from avr.training import Schedule

CPU = torch.device("cpu")


def gaussian_examples(videos=120, segments=3, width=20, classes=3, views=1, streams=("rgb",), noise=2.0):
    """Classes around centres of their own; groups of six videos."""
    random = np.random.default_rng(3)
    labels = np.arange(videos) % classes
    centres = random.normal(size=(classes, width))
    arrays = {
        stream: (
            np.repeat(centres[labels], views, axis=0)[:, None]
            + noise * random.normal(size=(videos * views, segments, width))
        ).astype(np.float16)
        for stream in streams
    }
    return MemoryExamples(arrays, np.full(videos, views), labels, device=CPU)


def train_on(examples, head, videos, *, seed=0, training=None, options=None):
    torch.manual_seed(seed)
    made = build_head(head, examples.shapes, 3, options=options)
    names = np.array([f"video{i}" for i in range(len(examples.labels))])
    groups = np.array([f"g{i // 6}" for i in range(len(examples.labels))])
    training = training or head_class(head).defaults
    return made, train(made, examples, videos, training=training, groups=groups, names=names, seed=seed)


@pytest.mark.parametrize(
    ("head", "settings"),
    [
        ("linear", {"epochs": 4, "schedule": "cosine", "optimizer": "sgd"}),
        ("linear", {"epochs": 3, "second_epochs": 2, "schedule": "two-stage", "validation": 0.2}),
        ("consensus", {"epochs": 6, "schedule": "plateau", "patience": 1, "validation": 0.3, "optimizer": "rmsprop"}),
        ("coattention", {"epochs": 3, "views": "all"}),
    ],
)
def test_a_training_that_is_interrupted_after_any_epoch_ends_with_the_same_weights(
    head, settings, tmp_path, monkeypatch
):
    """Dropout, order, views, schedule, validation's best weights: bit for bit, and the same log but for its seconds."""
    monkeypatch.setattr("avr.training.state.EVERY", 0.0)
    monkeypatch.setattr("avr.heads._loop.STATISTICS_VIDEOS", 40)  # so that they are drawn
    streams = ("rgb", "flow") if head == "coattention" else ("rgb",)
    examples, videos = gaussian_examples(views=2, streams=streams), np.arange(90)
    training = Training(**{"min_steps": 0, "batch_size": 16, "lr": 0.01, **settings})
    options = {"dropout": 0.5} if head == "coattention" else {}

    def run(state, stop_after=0):
        torch.manual_seed(0)
        made = build_head(head, examples.shapes, 3, options=options)
        rows = []

        def on_epoch(row):
            rows.append({name: value for name, value in row.items() if name != "seconds"})

        def keep(course, *arguments, real=Course.keep):
            real(course, *arguments)
            if len(course.rows) == stop_after:
                raise KeyboardInterrupt

        names = np.array([f"video{i}" for i in range(len(examples.labels))])
        groups = np.array([f"g{i // 6}" for i in range(len(examples.labels))])
        with monkeypatch.context() as patch:
            patch.setattr(Course, "keep", keep)
            train(
                made,
                examples,
                videos,
                training=training,
                groups=groups,
                names=names,
                seed=3,
                on_epoch=on_epoch,
                state=state,
            )
        return made.state_dict(), rows

    whole, rows = run(None)
    assert len(rows) >= 3
    for epoch in range(1, len(rows)):
        state = tmp_path / f"{epoch}.state"
        with pytest.raises(KeyboardInterrupt):
            run(state, epoch)
        torch.manual_seed(99)
        torch.rand(7)
        weights, log = run(state)
        assert log == rows
        assert all(torch.equal(weights[name], value) for name, value in whole.items())


def test_a_training_that_began_on_the_cpu_goes_on_on_a_gpu(tmp_path, monkeypatch):
    """Its state has no random numbers of a GPU's."""
    monkeypatch.setattr("avr.training.state.EVERY", 0.0)
    courses = []
    for _ in range(2):
        course = Course(build_head("linear", gaussian_examples().shapes, 3), Training(), np.random.default_rng(0))
        course.schedule = Schedule(course.training, 5)
        course.begin_stage()
        courses.append(course)
    courses[0].keep(tmp_path / "state", torch.device("cpu"))
    assert courses[1].go_on(tmp_path / "state", torch.device("cuda"))


def test_a_damaged_state_begins_the_training_anew(tmp_path, capsys):
    examples, videos = gaussian_examples(), np.arange(60)
    state = tmp_path / "state"
    state.write_bytes(b"no state")
    names = np.array([str(i) for i in range(120)])
    head = build_head("linear", examples.shapes, 3)
    trained = train(head, examples, videos, training=Training(epochs=1), groups=names, names=names, seed=0, state=state)
    assert len(trained.rows) == 1
    assert "state is damaged" in capsys.readouterr().err


def test_linear_is_as_good_as_logistic_regression():
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    examples, videos = gaussian_examples(videos=600), np.arange(300)
    head, _ = train_on(examples, "linear", videos)
    ours = predict(head, examples, np.arange(300, 600))["rgb"].argmax(axis=1)
    mean = examples.arrays["rgb"].float().mean(dim=1).numpy()
    scale = StandardScaler().fit(mean[:300])
    reference = LogisticRegression().fit(scale.transform(mean[:300]), examples.labels[:300])
    theirs = reference.predict(scale.transform(mean[300:]))
    truth = examples.labels[300:]
    assert (theirs == truth).mean() > 0.6  # the task is neither trivial nor hopeless
    # 300 test videos: two points are less than one standard error.
    assert (ours == truth).mean() >= (theirs == truth).mean() - 0.02


@pytest.mark.parametrize("head", ["linear", "consensus", "stfn"])
def test_a_seed_gives_the_same_weights_bitwise(head):
    streams = ("rgb", "flow") if head == "stfn" else ("rgb",)
    examples, training = gaussian_examples(videos=30, streams=streams), Training(epochs=3, batch_size=8)
    first, again, other = (train_on(examples, head, np.arange(30), seed=s, training=training)[0] for s in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(first.state_dict().values(), again.state_dict().values(), strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))


def test_training_leaves_the_callers_random_state_alone():
    examples = gaussian_examples(videos=12)
    torch.manual_seed(5)
    expected = torch.rand(1)
    made = build_head("linear", examples.shapes, 3)
    torch.manual_seed(5)
    names = groups = np.array([f"v{i}" for i in range(12)])
    train(made, examples, np.arange(12), training=Training(epochs=1), groups=groups, names=names, seed=0)
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize("optimizer", ["adamw", "rmsprop"])
def test_a_training_needs_no_compiler(optimizer, monkeypatch):
    """Whose import takes longer than most trainings."""
    monkeypatch.setitem(sys.modules, "torch._dynamo", None)
    train_on(gaussian_examples(videos=12), "linear", np.arange(12), training=Training(epochs=1, optimizer=optimizer))


def test_a_loss_that_is_no_number_names_step_and_videos():
    examples = gaussian_examples(videos=12)
    examples.arrays["rgb"][7] = float("nan")
    training = Training(epochs=1, batch_size=4, standardise=False)
    with pytest.raises(WorkError, match=r"loss is nan at step [123]: .*video7"):
        train_on(examples, "linear", np.arange(12), training=training)


def test_standardised_channels_have_mean_0_and_deviation_1():
    examples = gaussian_examples()
    head = build_head("linear", examples.shapes, 3)
    set_statistics(head, examples, np.arange(60), np.random.default_rng(0), names=np.arange(120))
    values = head.standardise({"rgb": examples.arrays["rgb"][:60]})["rgb"]
    torch.testing.assert_close(values.mean(dim=(0, 1)), torch.zeros(20), atol=1e-5, rtol=0)
    torch.testing.assert_close(values.std(dim=(0, 1), correction=0), torch.ones(20), atol=1e-4, rtol=0)


def test_a_training_on_kept_features_is_the_same_training():
    examples = gaussian_examples(segments=5, views=2)
    torch.manual_seed(0)
    head = build_head("linear", examples.shapes, 3)
    kept = examples.kept(head)
    assert kept.shapes == {"rgb": (1, 20)}
    plain, told = train_on(examples, "linear", np.arange(60))
    names = np.array([f"video{i}" for i in range(120)])
    training = head_class("linear").defaults
    found = train(head, kept, np.arange(60), training=training, groups=np.arange(120) // 6, names=names, seed=0)
    torch.testing.assert_close(found.rows[-1]["loss"], told.rows[-1]["loss"], rtol=1e-5, atol=0)
    outputs, expected = (predict(*pair, np.arange(60, 120))["rgb"] for pair in ((head, kept), (plain, examples)))
    np.testing.assert_allclose(outputs, expected, atol=1e-4)


def test_what_would_take_more_memory_is_not_kept():
    examples = gaussian_examples(segments=3)  # three fp16 values a channel; a mean and a variance take more
    assert examples.kept(build_head("linear", examples.shapes, 3)).arrays["rgb"] is examples.arrays["rgb"]


def test_a_channel_that_hardly_moved_is_not_blown_up():
    head = build_head("linear", {"rgb": (3, 2)}, 3)
    head.set_statistics("rgb", torch.zeros(2), torch.tensor([1.0, 1e-6]))
    # The floor is 0.3 of the root mean square of 1 and 1e-6.
    values = head.standardise({"rgb": torch.ones(1, 1, 2)})["rgb"].flatten()
    torch.testing.assert_close(values, torch.tensor([1.0, 1 / (0.3 * 0.5**0.5)]))


def test_the_weights_of_the_best_validation_epoch_are_kept():
    examples = gaussian_examples(videos=60, noise=4.0)
    # A wild constant rate: the validation loss goes up and down, and the last epoch is not the best one.
    training = Training(epochs=12, batch_size=8, lr=0.5, schedule="constant", validation=1 / 3)
    head, trained = train_on(examples, "linear", np.arange(60), training=training)
    losses = [row["validation_loss"] for row in trained.rows]
    assert min(losses) < losses[-1]
    from avr.heads import evaluate

    groups = np.array([f"g{i // 6}" for i in range(60)])
    held_out = np.flatnonzero(validation_part(examples.labels[:60], groups=groups, share=1 / 3, seed=0))
    assert evaluate(head, examples, held_out)["validation_loss"] == min(losses)


def test_early_stopping_and_plateau_end_a_training():
    examples = gaussian_examples(videos=60, noise=4.0)
    stopping = Training(epochs=200, batch_size=8, lr=0.3, schedule="constant", validation=0.3, early_stopping=3)
    _, trained = train_on(examples, "linear", np.arange(60), training=stopping)
    losses = [row["validation_loss"] for row in trained.rows]
    assert len(losses) < 200
    assert int(np.argmin(losses)) == len(losses) - 4
    plateau = Training(epochs=500, batch_size=8, lr=0.1, schedule="plateau", min_lr=1e-3, patience=2, validation=1 / 3)
    _, trained = train_on(examples, "linear", np.arange(60), training=plateau)
    rates = [row["lr"] for row in trained.rows]
    assert len(rates) < 500
    assert sorted({round(rate, 9) for rate in rates}, reverse=True) == [0.1, 0.01, 0.001]


def test_two_stages_show_in_the_log():
    training = Training(epochs=2, batch_size=6, lr=0.01, schedule="two-stage", second_epochs=3)
    _, trained = train_on(gaussian_examples(videos=12), "linear", np.arange(12), training=training)
    assert [row["lr"] for row in trained.rows] == pytest.approx([0.01] * 2 + [0.001] * 3)
    assert [row["step"] for row in trained.rows] == [2, 4, 6, 8, 10]


def test_label_smoothing_reaches_the_loss():
    examples, base = gaussian_examples(videos=12), Training(epochs=1, batch_size=0, standardise=False)
    plain, smooth = (
        train_on(examples, "linear", np.arange(12), training=dataclasses.replace(base, label_smoothing=s))[1].rows[0]
        for s in (0.0, 0.2)
    )
    torch.manual_seed(0)
    logits = build_head("linear", examples.shapes, 3)({"rgb": examples.arrays["rgb"]})["rgb"].detach()
    labels = torch.as_tensor(examples.labels)
    assert plain["loss"] == pytest.approx(float(torch.nn.functional.cross_entropy(logits, labels)), abs=1e-6)
    expected = torch.nn.functional.cross_entropy(logits, labels, label_smoothing=0.2)
    assert smooth["loss"] == pytest.approx(float(expected), abs=1e-6)


def test_prediction_averages_probabilities_over_views():
    examples = gaussian_examples(videos=6, views=3)
    head = build_head("linear", examples.shapes, 3).eval()
    every_view = head({"rgb": examples.arrays["rgb"]})["rgb"].softmax(dim=1).detach()
    expected = every_view.view(6, 3, 3).mean(dim=1)[[4, 1]]
    torch.testing.assert_close(torch.as_tensor(predict(head, examples, np.array([4, 1]))["rgb"]).exp(), expected)


def numbered_views(examples):
    """Videos and views of an epoch's batches, when each row's features are its row number."""
    rows = np.concatenate([batch.features["rgb"][:, 0, 0].cpu().numpy() for batch in examples])
    return rows.astype(int)


def test_an_epoch_draws_one_view_of_each_video():
    arrays = {"rgb": np.arange(30, dtype=np.float16)[:, None, None]}
    examples = MemoryExamples(arrays, np.full(10, 3), np.arange(10), device=CPU)
    random = np.random.default_rng(0)
    epochs = [numbered_views(examples.epoch(np.arange(2, 10), batch_size=3, generator=random)) for _ in range(20)]
    assert all(sorted(rows // 3) == list(range(2, 10)) for rows in epochs)
    assert {int(row % 3) for rows in epochs for row in rows} == {0, 1, 2}
    assert len({tuple(rows // 3) for rows in epochs}) > 10  # shuffled anew


def test_streamed_batches_hold_what_memory_holds(toy_store_of_views):
    with FeatureStore(toy_store_of_views) as store:
        layers = {"rgb": "pooled", "flow": "pooled"}
        held = open_examples(store, layers, device=CPU)
        streamed = open_examples(store, layers, device=CPU, memory_gb=0.0)
        assert isinstance(held, MemoryExamples)
        assert isinstance(streamed, StreamedExamples)
        assert held.shapes == streamed.shapes
        videos = np.flatnonzero(store.split("1")[0])
        seen = []
        for batch in streamed.epoch(videos, batch_size=32, generator=np.random.default_rng(0)):
            assert np.array_equal(batch.labels.numpy(), store.labels[batch.videos])
            for place, video in enumerate(batch.videos):
                rows = held.first_row[video] + np.arange(3)
                views = [int(row) for row in rows if torch.equal(held.arrays["rgb"][row], batch.features["rgb"][place])]
                assert len(views) == 1
                assert torch.equal(held.arrays["flow"][views[0]], batch.features["flow"][place])
            seen += batch.videos.tolist()
        assert sorted(seen) == videos.tolist()
        assert seen != videos.tolist()
        head = build_head("stfn", held.shapes, 4).eval()
        ours, theirs = (predict(head, examples, videos[::-1])["fused"] for examples in (streamed, held))
        # Batches of another size may round the last bit of float32 otherwise.
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_streaming_says_so(toy_store, capsys):
    with FeatureStore(toy_store) as store:
        open_examples(store, {"rgb": "map"}, device=CPU, memory_gb=0.0)
    assert "streaming them by whole videos" in capsys.readouterr().err


@pytest.mark.parametrize("streamed", [False, True])
def test_every_view_is_a_sample_where_asked(toy_store_of_views, streamed):
    with FeatureStore(toy_store_of_views) as store:
        examples = open_examples(store, {"rgb": "pooled"}, device=CPU, memory_gb=0.0 if streamed else None)
        videos = np.flatnonzero(store.split("1")[0])
        held = {tuple(row.ravel()): number for number, row in enumerate(store.read_whole("rgb", "pooled"))}
        seen = []
        for batch in examples.epoch(videos, batch_size=32, generator=np.random.default_rng(0), every_view=True):
            rows = [held[tuple(row.ravel())] for row in batch.features["rgb"].numpy()]
            assert [row // 3 for row in rows] == batch.videos.tolist()  # three views a video
            seen += rows
        assert sorted(seen) == [3 * video + view for video in videos for view in range(3)]
        assert seen != sorted(seen)


def test_every_view_makes_an_epoch_longer():
    examples = gaussian_examples(views=3)
    training = Training(epochs=2, batch_size=30)
    _, one = train_on(examples, "linear", np.arange(60), training=training)
    _, every = train_on(examples, "linear", np.arange(60), training=dataclasses.replace(training, views="all"))
    assert (one.steps, every.steps) == (4, 12)


def test_the_second_stage_waits_anew_for_a_lower_loss():
    examples = gaussian_examples(noise=8.0)
    training = Training(
        epochs=40, second_epochs=12, schedule="two-stage", lr=0.05, validation=0.2, early_stopping=3, batch_size=16
    )
    _, trained = train_on(examples, "linear", np.arange(60), training=training)
    first = [row["lr"] for row in trained.rows].count(0.05)
    assert first < 40  # the first stage was stopped early, or this tells nothing
    assert len(trained.rows) - first > 1


@pytest.mark.parametrize("place", ["training", "validation", "test"])
def test_damaged_features_are_named(place):
    examples = gaussian_examples()
    examples.arrays["rgb"][7, 1, 3] = float("nan")
    names = np.array([f"video{i}" for i in range(120)])
    if place == "test":
        head, _ = train_on(examples, "linear", np.arange(12, 60), training=Training(epochs=1))
        with pytest.raises(WorkError, match=r"the scores are no numbers.*: video7$"):
            predict(head, examples, np.arange(12), names=names)
        return
    training, groups = Training(epochs=1, validation=0.5), np.arange(60) // 6
    apart = [seed for seed in range(8) if validation_part(examples.labels[:60], groups=groups, share=0.5, seed=seed)[7]]
    seed = apart[0] if place == "validation" else next(seed for seed in range(8) if seed not in apart)
    with pytest.raises(WorkError, match=r"no numbers.*: video7$"):
        train_on(examples, "linear", np.arange(60), training=training, seed=seed)


def test_large_views_are_looked_at_one_by_one(monkeypatch):
    monkeypatch.setattr("avr.heads._examples.VIEWS_BYTES", 2 * 3 * 20 * 5)
    examples = gaussian_examples()
    sizes = [len(owner) for _, owner in examples.views(np.arange(12))]
    assert sizes == [5, 5, 2]


def test_one_video_is_no_training_part():
    with pytest.raises(UsageError, match="two videos at least; here the training part has 1"):
        train_on(gaussian_examples(), "linear", np.arange(1))


def test_batches_differ_by_one_video_at_most():
    assert even_parts(7, 3) == [slice(0, 2), slice(2, 4), slice(4, 7)]
    assert even_parts(33, 32) == [slice(0, 16), slice(16, 33)]  # never a batch of one
    assert even_parts(5, 0) == [slice(0, 5)]
    assert even_parts(4, 9) == [slice(0, 4)]


def test_refit_gives_the_validation_part_back_and_repeats_the_drops(toy_store, tmp_path, monkeypatch):
    """The second training sees all videos, in as many steps as the first, with the rate dropping after as many."""
    seen = []
    plain = _trainings.train

    def spied(head, examples, videos, *, training, **told):
        trained = plain(head, examples, videos, training=training, **told)
        seen.append((training, trained.rows, {name: value.clone() for name, value in head.state_dict().items()}))
        return trained

    monkeypatch.setattr(_trainings, "train", spied)
    training = {"epochs": 40, "schedule": "plateau", "patience": 1, "validation": 0.3, "min_lr": 5e-3, "lr": 0.5}
    run = train_run(
        toy_store, "consensus", streams=("rgb",), training=training | {"refit": True}, folds=0, out=tmp_path / "run"
    )
    (first, rows, _), (second, again, weights) = seen
    assert (first.validation, second.validation, second.refit) == (0.3, 0.0, False)
    rates, steps = ([row[name] for row in rows] for name in ("lr", "step"))
    drops = [step for step, one, next_one in zip(steps, rates, rates[1:], strict=False) if next_one < one / 2]
    assert len(drops) == 2  # 0.5, 0.05, 0.005
    assert list(second.drop_at) == [int(step) for step in drops]
    assert again[-1]["step"] == steps[-1]
    assert "validation_loss" not in again[0]
    kept, _ = load_head(run.folder / "split-1")
    for name, value in kept.heads["rgb"].state_dict().items():
        assert torch.equal(value, weights[name])
    with pytest.raises(UsageError, match="refit repeats the drops of schedule plateau"):
        Training(refit=True)
