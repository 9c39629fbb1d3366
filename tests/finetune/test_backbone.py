"""A backbone alone: what is written is what extraction takes, the start is extraction's trunk, the cache is exact."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from clips import SETTINGS, write_clip
from torch import nn

from avr.core import UsageError, WorkError
from avr.datasets import Split, Video
from avr.extract import (
    ClipCache,
    Extractor,
    Running,
    Settings,
    build_backbone,
    load_networks,
    open_streams,
    read_streams,
)
from avr.finetune import BACKBONE, Tuning, finetune_backbone
from avr.finetune.draws import DropoutKeys
from avr.finetune.networks import SegmentNetwork, build_classifier, classifier_of, set_dropout
from avr.finetune.samples import VideoSamples, fixed_inputs
from avr.heads import save_tensors
from avr.store import read_scores
from avr.video import Answer, Decoded, Facts, decode, sample_steps

SHORT = replace(BACKBONE, epochs=2, batch_size=8, lr=3e-4)


def tune(dataset, workplace, out, **options):
    if "settings" not in options:
        options["settings"] = SETTINGS[options.get("stream", "rgb")].change(segments=2)
    options = {"training": SHORT, "device": "cpu"} | options
    return finetune_backbone(dataset, cache=workplace / "cache", out=workplace / out, **options)


def test_a_few_epochs_learn_the_colour_and_extraction_takes_the_weights(dataset, workplace):
    training = replace(SHORT, epochs=16, lr=1e-3)
    result = tune(dataset, workplace, "rgb", training=training, tuning=Tuning(new_factor=5))
    assert result.history[-1]["loss"] < 1.2 < result.history[0]["loss"]  # ln 4 = 1.39 is chance
    extractor = Extractor({"rgb": SETTINGS["rgb"].change(weights=str(result.weights))})
    features, _ = extractor.features(dataset.videos[0])
    assert features["rgb/pooled"].shape == (1, 3, 512)
    start = build_backbone("squeezenet1_1", weights="random", seed=SETTINGS["rgb"].seed).state_dict()
    end = extractor.networks.readers["rgb"].trunk_state()
    assert not torch.equal(end["features.0.weight"], start["features.0.weight"])


def test_its_own_scores_are_the_mean_over_fixed_frames(dataset, workplace):
    from torchvision.models import squeezenet1_1

    result = tune(dataset, workplace, "flow", stream="flow")
    scores = read_scores(result.folder / "scores.h5")
    assert scores.ids.tolist() == list(dataset.splits["1"].test)
    model = squeezenet1_1(num_classes=4)
    model.features[0] = nn.Conv2d(4, 64, 3, 2)
    model.classifier[2] = nn.Identity()
    from safetensors.torch import load_file

    model.load_state_dict(load_file(result.weights))
    model.eval()
    video = next(v for v in dataset.videos if v.id == scores.ids[1])
    extractor = Extractor({"flow": SETTINGS["flow"].change(segments=7)}, running=Running(batch_size=1000))
    decoded = decode(video, extractor.needs)
    group = extractor.prepare([decoded])
    (call,) = extractor.calls(group)
    with torch.no_grad():
        rows = model(extractor.streams["flow"].network_input(group.stacks(call)))
    expected = rows[torch.as_tensor(decoded.answers["flow"].steps.views[0])].mean(0).numpy()
    # float32 through the same layers, another batch size.
    np.testing.assert_allclose(scores.streams["flow"][1], expected, atol=1e-4)


CLIPS = {"backbone": "mc3_18", "weights": "random", "clip_frames": 4, "frame_stride": 1, "resize": 40, "crop": 32}


@pytest.mark.parametrize("kind", ["difference", "clip"])
def test_every_kind_of_stream_is_fine_tuned(dataset, workplace, kind):
    """And its weights, extracted with, give what its own classifier saw."""
    told = CLIPS if kind == "clip" else {"backbone": "squeezenet1_1", "weights": "random", "resize": 40, "crop": 36}
    (settings,) = read_streams([f"own={kind}"], told | {"segments": 1}).values()
    few = replace(dataset, videos=dataset.videos[::3], splits={})
    ids = [video.id for video in few.videos]
    few = replace(few, splits={"1": Split("1", tuple(ids[:6]), tuple(ids[6:]))})
    own = {"stream": "own", "settings": settings, "training": replace(SHORT, epochs=1)}
    result = tune(few, workplace, f"tuned-{kind}", **own)
    assert len(result.losses) == 1
    assert read_scores(result.folder / "scores.h5").streams["own"].shape == (2, 4)
    start = load_networks({"own": settings}).readers["own"].trunk_state()
    end = load_networks({"own": settings.change(weights=str(result.weights))}).readers["own"].trunk_state()
    first = next(iter(start))
    assert start[first].shape[1] == (15 if kind == "difference" else 3)
    assert not torch.equal(start[first], end[first])


def test_the_cache_gives_the_networks_what_extraction_gives_them(dataset, workplace):
    settings = load_networks({name: own.change(views=2) for name, own in SETTINGS.items()}).settings
    cache = ClipCache(workplace / "cache", settings)
    videos = list(dataset.videos[:3])
    assert cache.build(videos) == {}
    extractor = Extractor(settings, running=Running(batch_size=1000))
    found = fixed_inputs(videos, cache, settings, device=torch.device("cpu"), at_once=1)
    for video, inputs in zip(videos, found, strict=True):
        decoded = decode(video, extractor.needs)
        group = extractor.prepare([decoded])
        for call in extractor.calls(group):
            views = decoded.answers[call.stream].steps.views
            stacks = group.stacks(call)[torch.as_tensor(views.ravel())]
            assert torch.equal(inputs[call.stream], extractor.streams[call.stream].network_input(stacks))


def test_a_changed_file_or_another_flow_gets_a_place_of_its_own(tmp_path):
    path = tmp_path / "clip.avi"
    write_clip(path, 0, 0)
    video = Video("clip", path, 0, "g")
    settings = load_networks(SETTINGS).settings
    cache = ClipCache(tmp_path / "cache", settings)
    before = cache.path(video, "flow"), cache.path(video, "rgb")
    other = ClipCache(tmp_path / "cache", settings | {"flow": settings["flow"].change(flow="farneback")})
    assert other.path(video, "flow") != before[0]
    assert other.path(video, "rgb") == before[1]
    write_clip(path, 1, 1, num_frames=20)
    assert cache.path(video, "rgb") != before[1]


def test_a_video_that_does_not_decode_is_left_out_with_its_reason(dataset, tmp_path, capsys):
    bad = tmp_path / "bad.avi"
    bad.write_text("no video")
    cache = ClipCache(tmp_path / "cache", load_networks(SETTINGS).settings)
    assert list(cache.build([Video("bad", bad, 0, "g"), dataset.videos[0]])) == ["bad"]
    assert "left out: bad: is a text file, not a video" in capsys.readouterr().err


def test_a_samples_frames_share_one_crop_and_rgb_and_flow_too(dataset, workplace):
    settings = load_networks(SETTINGS).settings
    cache = ClipCache(workplace / "cache", settings)
    cache.build(dataset.videos)
    samples = VideoSamples(dataset.videos, cache, streams=settings, tuning=Tuning(), seed=4)
    drawn = samples.read([0, 5], 2)
    again = samples.read([5], 2)
    inputs, labels = samples.prepare(drawn, torch.device("cpu"))
    alone, _ = samples.prepare(again, torch.device("cpu"))
    assert inputs["rgb"].shape == (6, 3, 36, 36)
    assert inputs["flow"].shape == (6, 4, 36, 36)
    assert labels.tolist() == [0, 0]
    for stream in inputs:
        assert torch.equal(alone[stream], inputs[stream][3:])
    assert drawn[1].crop == again[0].crop
    assert samples.read([5], 3)[0].crop != again[0].crop or samples.read([5], 4)[0].crop != again[0].crop


class Ramps:
    """A cache of one scene, whose values are the place: x in red and in flow's x, y in green and in flow's y."""

    def __init__(self, rgb, flow, settings):
        self.rgb, self.flow, self.streams = rgb, flow, open_streams(settings)

    def decoded(self, video, streams, *, generator=None, clip=None):
        assert clip is None
        steps = sample_steps(streams["rgb"].sampling, 9, generator=generator)
        pairs = steps.pairs(streams["flow"].stack)

        def ramps(size, count, channels):
            down, right = ((np.arange(n) + 0.5) / n * 255 for n in size)
            image = np.zeros((count, channels, *size), np.float32)
            image[:, 0], image[:, 1] = right, down[:, None]
            return image.round().astype(np.uint8)

        none = np.zeros((0, 0, 0), np.uint8)
        shown = steps.shown, steps.shown / 25
        own = steps.clips(1, 1)[1]
        rgb = Answer(steps, own, none, None, ramps(self.rgb, len(steps.frames), 3), *shown)
        flow = Answer(steps, pairs.stacks, none, pairs, ramps(self.flow, len(pairs.firsts), 2), *shown)
        return Decoded({"rgb": rgb, "flow": flow}, Facts(steps.num_frames))


@pytest.mark.parametrize(("rgb", "flow"), [((80, 104), (40, 52)), ((40, 52), (80, 104)), ((66, 90), (20, 27))])
@pytest.mark.parametrize("augmentation", ["corners", "random-resized", "jitter", "centre"])
def test_streams_of_different_sizes_see_the_same_part_of_the_scene(dataset, augmentation, rgb, flow):
    settings = load_networks(SETTINGS).settings
    videos = dataset.videos[:8]
    tuning = Tuning(augmentation=augmentation, mirror=False)
    samples = VideoSamples(videos, Ramps(rgb, flow, settings), streams=settings, tuning=tuning)
    drawn = samples.read(range(8), 0)
    inputs, _ = samples.prepare(drawn, torch.device("cpu"))
    mean, std = (torch.tensor(values[:2]).view(2, 1, 1) for values in (settings["rgb"].mean, settings["rgb"].std))
    seen = (inputs["rgb"][:, :2] * std + mean) * 255
    moved = (inputs["flow"][:, :2] * settings["flow"].std[0] + settings["flow"].mean[0]) * 255
    # In pixels of the smaller image: crops are whole ones (half a pixel), and no value lies outside the centres of the
    # first and the last (another half); resizing adds to it.
    assert (seen - moved).abs().max() < 1.2 * 255 / min(*rgb, *flow)
    lowest = [image[1].min() for image in seen[:: settings["rgb"].num_steps]]
    highest = [image[1].max() for image in seen[:: settings["rgb"].num_steps]]
    for low, high, one in zip(lowest, highest, drawn, strict=True):
        assert float(low) == pytest.approx(255 * one.crop.top / rgb[0], abs=10)
        assert float(high) == pytest.approx(255 * (one.crop.top + one.crop.height) / rgb[0], abs=10)


def test_a_mirrored_sample_is_the_mirrored_network_input(dataset, workplace):
    """With one centre crop, mirrored and plain samples differ by mirroring alone; flow's x is 255 - x."""
    settings = load_networks(SETTINGS).settings
    cache = ClipCache(workplace / "cache", settings)
    cache.build(dataset.videos)
    plain, mirrored = (
        VideoSamples(dataset.videos, cache, streams=settings, tuning=Tuning(augmentation="centre", mirror=mirror))
        for mirror in (False, True)
    )
    index = next(i for i in range(24) if mirrored.read([i], 0)[0].crop.mirrored)
    left, _ = plain.prepare(plain.read([index], 0), torch.device("cpu"))
    right, _ = mirrored.prepare(mirrored.read([index], 0), torch.device("cpu"))
    torch.testing.assert_close(right["rgb"], left["rgb"].flip(-1), atol=1e-5, rtol=0)
    flipped = left["flow"].flip(-1)
    # (q/255 - 0.5)/std changes sign under q -> 255 - q; y (odd channels) does not.
    flipped[:, 0::2] *= -1
    torch.testing.assert_close(right["flow"], flipped, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["squeezenet1_1", "resnet18", "shufflenet_v2_x0_5", "mobilenet_v3_small"])
def test_the_start_is_the_trunk_that_extraction_would_have(name):
    own = {"weights": "random", "in_channels": 4, "seed": 3}
    trunk = build_backbone(name, **own).state_dict()
    model = build_classifier(name, 7, **own)
    classifier = classifier_of(model)
    assert {classifier.weight.shape[0], classifier.bias.shape[0]} == {7}
    own_state = model.state_dict()
    same = [key for key, value in trunk.items() if own_state[key].shape == value.shape]
    assert len(trunk) - len(same) == 2
    assert all(torch.equal(trunk[key], own_state[key]) for key in same)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_classifier_is_new_where_the_weights_bring_one_of_as_many_classes(tmp_path, seed):
    before = build_classifier("squeezenet1_1", 4, weights="random", in_channels=3, seed=7)
    path = tmp_path / "four.safetensors"
    save_tensors(path, before.state_dict(), {})
    found, again, other = (
        build_classifier("squeezenet1_1", classes, weights=str(path), in_channels=3, seed=seed) for classes in (4, 4, 5)
    )
    assert torch.equal(found.features[3].squeeze.weight, before.features[3].squeeze.weight)
    assert not torch.equal(classifier_of(found).weight, classifier_of(before).weight)
    assert torch.equal(classifier_of(found).weight, classifier_of(again).weight)
    # Of another number of classes it is the one that the network is built with.
    built = build_backbone("squeezenet1_1", num_classes=5, weights="random", seed=seed)
    assert torch.equal(classifier_of(other).weight, classifier_of(built).weight)


def test_flow_starts_from_rgb_weights(tmp_path):
    rgb = build_backbone("squeezenet1_1", weights="random", seed=9)
    torch.save(rgb.state_dict(), tmp_path / "rgb.pth")
    flow = build_classifier("squeezenet1_1", 5, weights=str(tmp_path / "rgb.pth"), in_channels=20, seed=0)
    mean = rgb.features[0].weight.mean(1)
    for channel in (0, 7, 19):
        torch.testing.assert_close(flow.features[0].weight[:, channel], mean)
    assert torch.equal(flow.features[3].squeeze.weight, rgb.features[3].squeeze.weight)


@pytest.mark.parametrize(("name", "p"), [("resnet18", 0.9), ("mobilenet_v3_small", 0.9), ("squeezenet1_1", 0.9)])
def test_dropout_is_set_or_put_before_the_classifier(name, p):
    model = build_classifier(name, 4, weights="random", in_channels=3, seed=0)
    names = list(model.state_dict())
    keys = DropoutKeys(0)
    set_dropout(model, keys, p)
    x = torch.randn(2, 3, 64, 64)
    keys.set(0, [0, 1])
    model.train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    with torch.no_grad():
        first = model(x)
        keys.set(1, [0, 1])
        assert not torch.equal(first, model(x))
        model.eval()
        assert torch.equal(model(x), model(x))
    assert list(model.state_dict()) == names


def test_the_same_seed_gives_the_same_file(dataset, workplace):
    one, two, other = (
        tune(dataset, workplace, f"seed-{name}", training=replace(SHORT, epochs=1), seed=seed)
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert one.losses == two.losses != other.losses
    from safetensors.torch import load_file

    left, right = load_file(one.weights), load_file(two.weights)
    assert all(torch.equal(left[key], right[key]) for key in left)


def test_a_run_begun_without_compiling_is_continued_with_it(dataset, workplace, monkeypatch):
    class Compiled(nn.Module):  # as torch.compile gives it: a module around the module
        def __init__(self, model):
            super().__init__()
            self._orig_mod = model

        def forward(self, x):
            return self._orig_mod(x)

    monkeypatch.setattr(torch, "compile", Compiled)
    whole = tune(dataset, workplace, "uncompiled")
    assert tune(dataset, workplace, "compiled", tuning=Tuning(save_every=1), stop_after=1) is None
    state = torch.load(workplace / "compiled" / "state.pt", weights_only=True)["network"]
    assert {name.split(".")[0] for name in state} == {"model"}
    done = tune(dataset, workplace, "compiled", tuning=Tuning(compile=True))
    assert done.losses == whole.losses
    assert done.weights.read_bytes() == whole.weights.read_bytes()


def test_what_runs_is_not_a_second_network():
    model = nn.Linear(2, 2)
    network = SegmentNetwork(model, "rgb", 1, keys=DropoutKeys(0))
    network.run = {"rgb": nn.Sequential(model)}
    assert list(network.state_dict()) == ["model.weight", "model.bias"]


def test_validation_holds_whole_groups_back(dataset, workplace):
    training = replace(SHORT, epochs=1, validation=0.3)
    result = tune(dataset, workplace, "validated", training=training)
    assert set(result.history[0]) == {"epoch", "rate", "loss", "accuracy", "validation_loss", "seconds"}
    assert len(result.losses) == 1  # two groups of four videos train, in one batch; two are held back


def test_an_interrupted_default_folder_is_found_again(dataset, workplace, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    own = {"cache": workplace / "cache", "settings": SETTINGS["rgb"], "training": SHORT, "device": "cpu"}
    assert finetune_backbone(dataset, stop_after=1, tuning=Tuning(save_every=1), **own) is None
    result = finetune_backbone(dataset, tuning=Tuning(save_every=1), **own)
    assert result.folder.name == "squeezenet1_1-rgb-tiny-1-1"
    assert finetune_backbone(dataset, **own | {"training": replace(SHORT, epochs=1)}).folder.name.endswith("-1-2")


def test_wrong_requests_say_what_is_known(dataset, workplace):
    with pytest.raises(UsageError, match="tiny has no split '9'; it has 1, 2"):
        tune(dataset, workplace, "never", split="9")
    with pytest.raises(UsageError, match="augmentation takes corners"):
        Tuning(augmentation="wild")
    with pytest.raises(UsageError, match="unknown device 'tpu9'; known: auto, cpu, cuda"):
        tune(dataset, workplace, "never", device="tpu9")
    with pytest.raises(UsageError, match="the seed must be at least 0, not -1"):
        tune(dataset, workplace, "never", seed=-1)
    with pytest.raises(UsageError, match="unknown backbone 'resnet999'"):
        tune(dataset, workplace, "never", settings=Settings(backbone="resnet999"))
    for mode in ("local", "sync", "partial"):
        with pytest.raises(UsageError, match=f"batch norm '{mode}' would take its statistics from: use --micro-batch"):
            Tuning(recompute=True, batch_norm=mode)
    with pytest.raises(UsageError, match="recompute is of end-to-end training: use micro-batch"):
        tune(dataset, workplace, "never", tuning=Tuning(recompute=True, batch_norm="frozen"))


@pytest.mark.parametrize("name", ["standardise", "bf16", "refit"])
def test_settings_that_fine_tuning_does_not_read_are_refused(dataset, workplace, name):
    with pytest.raises(UsageError, match=f"training setting {name}: fine-tuning does not read it"):
        tune(dataset, workplace, "never", training={name: "false"})


def test_what_changes_the_numbers_is_the_runs_identity(dataset, workplace):
    """Batch norm takes its statistics from a piece of the batch: other pieces are another training."""
    cut = Tuning(micro_batch=2, save_every=1)
    assert tune(dataset, workplace, "pieces", tuning=cut, stop_after=1) is None
    with pytest.raises(UsageError, match=r"other settings \(tuning.micro_batch 2 → 3\): choose another --out"):
        tune(dataset, workplace, "pieces", tuning=replace(cut, micro_batch=3))
    for mode, shared in {"local": 4, "partial": 4, "sync": 3, "frozen": 1}.items():
        ways = [
            replace(cut, batch_norm=mode, micro_batch=pieces, compile=compiled).identity(processes=processes)
            for pieces, processes, compiled in [(0, 1, False), (0, 1, True), (0, 2, False), (2, 1, True), (2, 2, False)]
        ]
        assert len({str(way) for way in ways}) == shared, mode


def test_a_learning_rate_beyond_reason_stops_with_step_and_videos(dataset, workplace):
    with pytest.raises(WorkError, match=r"step \d+: the (loss|gradient's norm) is .*the batch's videos: .*scene"):
        tune(dataset, workplace, "wild", training=replace(SHORT, lr=1e30, optimizer="sgd", epochs=5))


def test_the_last_good_network_of_a_training_that_broke_starts_another(dataset, workplace):
    training = replace(SHORT, lr=1e30, optimizer="sgd", epochs=5)
    with pytest.raises(WorkError, match=r"last-good.safetensors, for --weights with another --out"):
        tune(dataset, workplace, "broken", training=training, tuning=Tuning(save_every=1))
    state = torch.load(workplace / "broken" / "state.pt", weights_only=True)["network"]
    path = workplace / "broken" / "last-good.safetensors"
    model = build_classifier("squeezenet1_1", 4, weights=str(path), in_channels=3, seed=0)
    assert torch.equal(model.features[0].weight, state["model.features.0.weight"])
