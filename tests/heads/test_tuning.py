"""`avr heads tune`: chosen by the training part alone, the same however it was interrupted, then trained once."""

import shutil
from dataclasses import replace

import pytest

from avr.cli import main
from avr.core import UsageError, WorkError, read_json, write_json
from avr.heads import RunRequest, chosen_by, tune_run
from avr.heads._tuning import _Work

pytest.importorskip("optuna")
QUICK = {"epochs": 2, "min_steps": 0}
SEARCH = {"lr": "1e-4..1e-1", "dropout": "0,0.5"}


@pytest.fixture(scope="module")
def tuned(toy_store, tmp_path_factory):
    out = tmp_path_factory.mktemp("tuned") / "run"
    request = RunRequest(toy_store, "consensus", streams=("rgb",), training=QUICK, folds=0, out=out)
    return request, tune_run(request, search=SEARCH, trials=10)


def test_the_lowest_held_out_loss_is_chosen_and_trained_with(tuned):
    request, found = tuned
    assert len(found.trials) == 10
    assert found.trials[0].values == {"lr": 1e-2, "dropout": 0.5}  # the head as it is
    best = min(found.trials, key=lambda trial: trial.loss)
    assert found.chosen == best.values
    record = read_json(request.out / "run.json")
    assert (record["training"]["lr"], record["options"]["dropout"]) == tuple(best.values.values())
    assert {trial.values["dropout"] for trial in found.trials} == {0, 0.5}


def test_permuted_test_labels_give_the_same_choice(tuned, tmp_path, permute_test_labels):
    request, found = tuned
    permute_test_labels("1")
    again = tune_run(replace(request, out=tmp_path / "run"), search=SEARCH, trials=10)
    assert again.trials == found.trials
    assert again.result.summary != found.result.summary  # the test part is looked at in the end, and is another


def test_what_was_interrupted_goes_on_to_the_same_trials(tuned, tmp_path, monkeypatch):
    request, found = tuned
    real, run = _Work.run, tmp_path / "run"

    def killed(work, *arguments):
        for number, folds in enumerate(real(work, *arguments)):
            if number == 3:
                raise KeyboardInterrupt
            yield folds

    monkeypatch.setattr(_Work, "run", killed)
    with pytest.raises(KeyboardInterrupt):
        tune_run(replace(request, out=run), search=SEARCH, trials=10)
    monkeypatch.undo()
    assert len(read_json(run / "tuning" / "trials.json")["trials"]) == 3
    with pytest.raises(UsageError, match=r"a tuning with other settings \(trials 10 → 11\)"):
        tune_run(replace(request, out=run), search=SEARCH, trials=11)
    assert tune_run(replace(request, out=run), search=SEARCH, trials=10).trials == found.trials
    monkeypatch.setattr(_Work, "run", None)  # a finished one does nothing again
    assert tune_run(replace(request, out=run), search=SEARCH, trials=10).result.summary == found.result.summary


def test_nested_scores_each_training_video_without_its_outer_fold(toy_store, make_store, tmp_path):
    """Where a class shows in nothing but the person, a look at the person would give all; honest scores give chance."""
    store = make_store(tmp_path / "store", class_of_person=True)
    request = RunRequest(
        store, "linear", streams=("rgb",), training={"weight_decay": 0.1}, folds=0, out=tmp_path / "run"
    )
    found = tune_run(request, search={"weight_decay": "0.1,1"}, trials=2, nested=True)
    assert found.nested["top1"] < 0.5
    assert len(list((tmp_path / "run" / "tuning").glob("outer-*/trials.json"))) == 5


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ({"speed": "1..2"}, "unknown option or setting 'speed'"),
        ({"lr": "1e-2..1e-4"}, "--search lr=1e-2..1e-4: a range goes from a number to a larger one"),
        ({"dropout": "0,2"}, "dropout=2 is not possible"),
        ({"lr": "1e-4..1e-2", "held": ("dropout",)}, "what is held is of the usual search: leave it out"),
        (
            {"held": ("speed",)},
            "unknown setting that is searched 'speed'; known: lr, weight_decay, label_smoothing, dropout",
        ),
        ({"held": ("lr", "weight_decay", "label_smoothing", "dropout")}, "head stfn: nothing is left to choose"),
    ],
)
def test_what_cannot_be_searched_is_refused_before_anything_is_trained(toy_store, tmp_path, search, message):
    held = search.pop("held", ())
    with pytest.raises(UsageError, match=message):
        tune_run(RunRequest(toy_store, "stfn", out=tmp_path / "run"), search=search, held=held)
    assert not (tmp_path / "run").exists()


SGD = {"optimizer": "sgd", "weight_decay": 3.0}  # at a rate of 1e37 its loss is no number


def test_a_trial_that_fails_is_kept_as_failed_and_not_chosen(toy_store, tmp_path):
    request = RunRequest(toy_store, "consensus", streams=("rgb",), training=QUICK | SGD, folds=0, out=tmp_path / "run")
    found = tune_run(request, search={"lr": "1e-2,1e37"}, trials=4)
    failed = [trial for trial in found.trials if trial.loss is None]
    assert failed
    assert all("the loss is" in trial.error for trial in failed)
    assert found.chosen == {"lr": 1e-2}
    shutil.rmtree(tmp_path / "run")
    with pytest.raises(
        WorkError, match="every trial failed, the first one: consensus, rgb, split 1, fold 1: the loss is"
    ):
        tune_run(replace(request, training=request.training | {"lr": 1e37}), search={"momentum": "0,0.9"}, trials=2)


GOOD = {"values": {"lr": 1.0}, "loss": 1.0, "accuracy": 0.5, "error": ""}


@pytest.mark.parametrize(
    "trials",
    [
        3,
        ["x"],
        [GOOD | {"values": 3}],
        [GOOD | {"values": [["lr", 1]]}],
        [GOOD | {"values": {"lr": [1]}}],
        [GOOD | {"values": {"lr": float("inf")}}],
        [GOOD | {"loss": "x"}],
        [GOOD | {"loss": float("nan")}],
        [GOOD | {"accuracy": 10**400}],
        [GOOD | {"accuracy": None}],
        [GOOD | {"error": None}],
        [GOOD | {"more": 1}],
    ],
)
def test_damaged_trials_and_those_that_are_gone_are_told(tmp_path, trials):
    path = tmp_path / "tuning" / "trials.json"
    with pytest.raises(WorkError, match=f"{path} is gone, .* remove {tmp_path}, and it is tuned again"):
        chosen_by(tmp_path)
    path.parent.mkdir()
    write_json(path, {"trials": [GOOD]})
    assert chosen_by(tmp_path) == {"lr": 1.0}
    write_json(path, {"trials": trials})
    with pytest.raises(WorkError, match=f"{path} is damaged"):
        chosen_by(tmp_path)


def test_the_command_shows_what_was_chosen(toy_store, tmp_path, runner):
    told = ["--store", str(toy_store), "--out", str(tmp_path / "run"), "--epochs", "2", "--folds", "0"]
    told += ["--search", "weight_decay=0.01,1", "--trials", "2"]
    result = runner.invoke(main, ["heads", "tune", "linear", *told])
    assert result.exit_code == 0, result.output
    (chosen,) = [line.split() for line in result.stdout.splitlines() if line.startswith("chosen  ")]
    trials = read_json(tmp_path / "run" / "tuning" / "trials.json")["trials"]
    best = min(trials, key=lambda trial: trial["loss"])
    shown = [f"{best['values']['weight_decay']:.4g}", f"{best['loss']:.3f}", f"{100 * best['accuracy']:.1f}"]
    assert chosen[1:] == shown
    assert result.stdout.index("multiply ") < result.stdout.index("average ")


def test_values_that_cannot_be_together_fail_alone_and_lists_are_kept_as_texts(toy_store, tmp_path):
    request = RunRequest(
        toy_store, "stfn", options={"kernels": "2,3", "dropout": 0}, training={"epochs": 1}, folds=0, out=tmp_path / "r"
    )
    found = tune_run(request, search={"schedule": "step,cosine", "kernels": "2,3"}, trials=3)
    assert found.trials[0].values == {"schedule": "cosine", "kernels": "2,3"}
    for trial in found.trials:
        assert ("needs drop_every" in trial.error) == (trial.values["schedule"] == "step") == (trial.loss is None)
    assert [vars(trial) for trial in found.trials] == read_json(tmp_path / "r" / "tuning" / "trials.json")["trials"]


def test_what_lbfgs_does_not_read_is_neither_set_nor_searched(toy_store, tmp_path):
    request = RunRequest(toy_store, "linear", out=tmp_path / "run")
    with pytest.raises(UsageError, match="optimizer lbfgs does not read lr"):
        tune_run(request, search={"lr": "1e-4..1e-2"})
    with pytest.raises(UsageError, match="optimizer lbfgs does not read lr, clip_norm"):
        tune_run(replace(request, training={"lr": 5, "clip_norm": 1.0}))
    with pytest.raises(UsageError, match="label_smoothing or class_weights, not both"):
        tune_run(replace(request, training={"label_smoothing": 0.1, "class_weights": "balanced"}))
    with pytest.raises(UsageError, match="leave start_from and freeze out"):
        tune_run(replace(request, freeze=("classifier",)))
