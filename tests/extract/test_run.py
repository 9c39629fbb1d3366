"""Whole extractions: against features computed by hand, failures, continuing, refusals, equal bytes."""

import dataclasses
import hashlib
import time

import av
import cv2
import numpy as np
import pytest
import torch
from altering import altered

from avr.core import UsageError, WorkError
from avr.datasets import Dataset, RawFrames, Video
from avr.extract import Extractor, Running, Settings, extract, read_streams
from avr.extract.flow import encode_flow, load
from avr.store import FeatureStore, describe
from avr.video import Decoder, VideoFile

# A small network on small crops: squeezenet at 64 pixels takes milliseconds.
SMALL = read_streams(
    ["rgb,flow"],
    {
        "backbone": "squeezenet1_1",
        "weights": "random",
        "layers": ("pooled", "map"),
        "segments": 3,
        "stack": 4,
        "crop": 64,
        "resize": 64,
    },
)
ONE_BY_ONE = Running(device="cpu", decoders=1)


def digests(folder) -> dict[str, str]:
    """SHA-256 of every file of a store but its lock."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def read_all(folder) -> dict[str, np.ndarray]:
    with FeatureStore(folder) as store:
        return {name: store.read_whole(array.stream, array.layer) for name, array in store.arrays.items()}


@pytest.fixture(scope="module")
def extracted(dataset, tmp_path_factory):
    """The tiny data set, extracted once: the folder and the summary."""
    out = tmp_path_factory.mktemp("stores") / "tiny"
    return out, extract(dataset, out, streams=SMALL, running=ONE_BY_ONE)


def by_hand(video: Video) -> dict[str, np.ndarray]:
    """One video's features, step by step, from PyAV, OpenCV and torchvision alone."""
    from torchvision import models
    from torchvision.transforms.v2 import functional

    with av.open(str(video.path)) as container:
        frames = list(container.decode(video=0))
    count = len(frames)
    centres = [(2 * n + 1) * count // 6 for n in range(3)]
    torch.manual_seed(0)
    rgb_net = models.squeezenet1_1(weights=None).eval()
    torch.manual_seed(0)
    flow_net = models.squeezenet1_1(weights=None).eval()
    with torch.no_grad():
        first = flow_net.features[0]
        first.weight = torch.nn.Parameter(first.weight.mean(1, keepdim=True).repeat(1, 8, 1, 1))
    grey = [np.ascontiguousarray(frame.to_ndarray(format="gray")) for frame in frames]
    solver = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    rgb, stacks = [], []
    for centre in centres:
        rgb.append(torch.from_numpy(frames[centre].to_ndarray(format="rgb24")).permute(2, 0, 1))
        start = max(0, min(centre - 2, count - 2 - 3))
        channels = []
        for pair in range(start, start + 4):
            flow = solver.calc(grey[pair], grey[pair + 1], None)
            for axis in range(2):
                channels.append(np.rint(255 * (np.clip(flow[..., axis], -20, 20) + 20) / 40).astype(np.uint8))
        stacks.append(torch.from_numpy(np.stack(channels)))

    def crop(images):
        return functional.center_crop(functional.resize(torch.stack(images), [64], antialias=True), [64, 64])

    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    with torch.inference_mode():
        rgb_map = rgb_net.features((crop(rgb) / 255 - mean) / std)
        flow_map = flow_net.features((crop(stacks) / 255 - 0.5) / 0.226)
    return {
        "rgb/map": rgb_map.numpy(),
        "rgb/pooled": rgb_map.mean((2, 3)).numpy(),
        "flow/map": flow_map.numpy(),
        "flow/pooled": flow_map.mean((2, 3)).numpy(),
    }


def test_features_are_those_computed_by_hand(dataset, extracted):
    out, summary = extracted
    assert summary.extracted == 6
    assert summary.failures == []
    with FeatureStore(out) as store:
        assert store.ids.tolist() == [video.id for video in dataset.videos]
        assert store.frames.tolist() == [20, 9, 24, 12, 15, 18]
        assert {name: array.shape for name, array in store.arrays.items()} == {
            "rgb/pooled": (3, 512),
            "rgb/map": (3, 512, 3, 3),
            "flow/pooled": (3, 512),
            "flow/map": (3, 512, 3, 3),
        }
        for index in (0, 3):
            expected = by_hand(dataset.videos[index])
            for name, array in store.arrays.items():
                found = store.read(array.stream, array.layer, np.array([index]))[0]
                # fp16 keeps 11 bits: half a unit in the last place is 2^-11 relative; small values to 1e-4.
                np.testing.assert_allclose(found, expected[name], rtol=2**-10, atol=2e-4)


def test_one_video_without_a_store_gives_what_the_store_holds(dataset, extracted):
    out, _ = extracted
    extractor = Extractor(SMALL, running=ONE_BY_ONE)
    with FeatureStore(out) as store:
        for index, video in enumerate(dataset.videos[:2]):
            features, frames = extractor.features(video)
            assert frames == store.frames[index]
            for name, rows in features.items():
                stored = store.read(*name.split("/"), np.array([index]))
                np.testing.assert_allclose(rows, stored, rtol=2**-10, atol=2e-4)  # fp16, and another batch


def test_settings_and_their_origin_are_in_the_store(extracted):
    with FeatureStore(extracted[0]) as store:
        rgb, flow = (Settings.from_dict(store.settings(stream), stream) for stream in ("rgb", "flow"))
        assert store.provenance["streams"]["rgb"]["versions"]["opencv"] == cv2.__version__
    known = {"weights": "random", "interpolation": "bilinear", "precision": "float32"}
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    assert rgb == SMALL["rgb"].change(mean=mean, std=std, stack=0, flow="", **known)
    assert flow == SMALL["flow"].change(mean=(0.5,), std=(0.226,), flow_backend="opencv", **known)


@pytest.mark.parametrize("running", [{"decoders": 3}, {"decoders": 1, "time_limit": 60.0}], ids=str)
def test_another_number_of_workers_gives_the_same_bytes(dataset, extracted, tmp_path, running):
    extract(dataset, tmp_path / "again", streams=SMALL, running=Running(device="cpu", **running))
    assert digests(tmp_path / "again") == digests(extracted[0])


def test_a_run_that_was_stopped_goes_on_and_ends_with_the_same_bytes(dataset, tmp_path, monkeypatch):
    running = dataclasses.replace(ONE_BY_ONE, shard_videos=2)
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    extract(dataset, whole, streams=SMALL, running=running)

    real, calls = Extractor.forward, []

    def stops(self, group, call):
        calls.append(call)
        if len(calls) > 4:  # those of the first shard's two videos
            while not (stopped / "flow" / "shard-00000.h5").exists():
                time.sleep(0.01)
            raise KeyboardInterrupt
        return real(self, group, call)

    monkeypatch.setattr(Extractor, "forward", stops)
    with pytest.raises(KeyboardInterrupt):
        extract(dataset, stopped, streams=SMALL, running=running)
    there = {path.name for path in stopped.glob("flow/shard-*.h5")}
    assert 1 <= len(there) < 3
    assert not (stopped / "flow" / "index.h5").exists()

    monkeypatch.setattr(Extractor, "forward", real)
    decoded = []
    real_decode = Decoder.__call__
    monkeypatch.setattr(
        Decoder, "__call__", lambda self, video, needs: decoded.append(video.id) or real_decode(self, video, needs)
    )
    summary = extract(dataset, stopped, streams=SMALL, running=running)
    assert summary.extracted == 6 - 2 * len(there)
    assert decoded == [video.id for video in dataset.videos[2 * len(there) :]]  # nothing of a finished shard
    assert digests(stopped) == digests(whole)


def test_nothing_is_left_to_do(dataset, extracted):
    out, _ = extracted
    before = digests(out)
    summary = extract(dataset, out, streams=SMALL, running=ONE_BY_ONE)
    assert (summary.extracted, summary.bottleneck) == (0, "")
    assert "6 were there" in summary.line()
    assert digests(out) == before


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"stack": 5}, "stack 4 → 5"),
        ({"segments": 4}, "segments 3 → 4"),
        ({"seed": 1}, "seed 0 → 1"),
        ({"flow": "farneback"}, 'flow "dis" → "farneback"'),
        ({"layers": ("pooled",)}, 'layers .* → ."pooled".'),
    ],
)
def test_changed_settings_are_refused(dataset, extracted, changed, message):
    with pytest.raises(UsageError, match=message):
        extract(dataset, extracted[0], streams=altered(SMALL, **changed), running=ONE_BY_ONE)


def test_batch_composition_changes_nothing_beyond_fp16_rounding(dataset, extracted, tmp_path):
    """Convolutions may sum in another order for another number of images: float32's last bits, so that fp16 falls on
    its neighbour now and then. Tolerance: one step of fp16 (2^-10 relative), and 1e-4 where sums cancel."""
    reference = read_all(extracted[0])
    for size in (1, 3, 32):
        out = tmp_path / str(size)
        extract(dataset, out, streams=SMALL, running=Running(device="cpu", decoders=1, batch_size=size))
        for name, rows in read_all(out).items():
            np.testing.assert_allclose(
                rows.astype(np.float32), reference[name].astype(np.float32), rtol=2**-10, atol=1e-4
            )


def test_a_videos_features_do_not_depend_on_the_videos_beside_it(dataset, extracted, tmp_path):
    """A video alone in its data set, to the tolerance of batch composition."""
    video = dataset.videos[4]
    alone = Dataset("alone", dataset.root, dataset.class_names, (video,), {})
    extract(alone, tmp_path / "alone", streams=SMALL, running=ONE_BY_ONE)
    with FeatureStore(extracted[0]) as store:
        for name, rows in read_all(tmp_path / "alone").items():
            beside = store.read(*name.split("/"), np.array([4]))
            np.testing.assert_allclose(rows.astype(np.float32), beside.astype(np.float32), rtol=2**-10, atol=1e-4)


@pytest.fixture
def with_bad(dataset, tmp_path, endless):
    """The data set with a text file, a cut clip, a missing one and one that hangs, among three good ones."""
    good = dataset.videos
    text, cut = tmp_path / "text.avi", tmp_path / "cut.avi"
    text.write_text("not a video\n" * 20)
    data = good[0].path.read_bytes()
    cut.write_bytes(data[: len(data) // 2])
    videos = (
        good[0],
        Video("bad/text", text, 0, "g"),
        good[1],
        Video("bad/missing", tmp_path / "missing.avi", 0, "g"),
        Video("bad/hangs", endless, 1, "g"),
        Video("cut", cut, 1, "g"),
        good[2],
    )
    return Dataset("bad", tmp_path, ("a", "b"), videos, {})


def test_bad_videos_are_kept_with_their_reasons_and_the_run_goes_on(with_bad, tmp_path, capsys):
    out = tmp_path / "store"
    running = Running(device="cpu", decoders=1, time_limit=3.0)
    summary = extract(with_bad, out, streams=SMALL, running=running)
    reasons = {
        "bad/text": "is a text file, not a video",
        "bad/missing": "no such file",
        "bad/hangs": "decoding took more than 3 s",
    }
    assert dict(summary.failures) == reasons
    assert summary.extracted == 4
    noted = "1 of 10 packets do not decode, the first at 0.4 s; 9 frames decode of 20 promised; FFmpeg says mjpeg: dqt"
    assert [(video, note[: len(noted)]) for video, note in summary.notes] == [("cut", noted)]
    said = capsys.readouterr().err
    assert "warning: no features: bad/text: is a text file, not a video" in said
    assert "frames decode of 20 promised" in said
    with FeatureStore(out) as store:
        assert {failure["id"]: failure["reason"] for failure in store.failures} == reasons
        assert len(store.ids) == 4
        assert [(kept["id"], kept["note"]) for kept in store.notes] == summary.notes
        assert store.facts["codec"].tolist() == ["mjpeg"] * 4
        assert store.facts["promised"].tolist() == [20, 9, 20, 24]
        assert store.frames.tolist() == [20, 9, 9, 24]
        assert store.shown("rgb")[0].tolist()[0] == [3, 10, 16]
        np.testing.assert_allclose(store.shown("rgb")[1][2], [0.04, 0.16, 0.28])
    with pytest.raises(WorkError, match="3 of 7 videos without features"):  # though another run found out
        extract(with_bad, out, streams=SMALL, running=running, strict=True)
    again = extract(with_bad, out, streams=SMALL, running=running)
    assert (again.extracted, dict(again.failures), again.notes) == (0, reasons, summary.notes)
    assert "4 were there, 3 failed" in again.line()


def test_notes_beyond_those_shown_are_in_the_store(dataset, tmp_path, capsys):
    cut = [dataclasses.replace(dataset.videos[1], id=f"cut{index:02d}", end=0.48) for index in range(22)]
    settings = altered(SMALL, only=("rgb",), layers=("pooled",))
    extract(Dataset("cut", tmp_path, ("a", "b"), tuple(cut), {}), tmp_path / "store", streams=settings)
    said = capsys.readouterr().err
    lines = [f"        cut{number:02d}: it ends at 0.36 s, its stretch was to end at 0.48 s" for number in range(3)]
    told = ["note: 22 videos: it ends at … s, its stretch was to end at … s", *lines, "        and 19 more", ""]
    assert "\n".join(told) in said
    assert [noted["id"] for noted in describe(tmp_path / "store")["notes"]] == [video.id for video in cut]


def test_nan_from_a_backbone_is_that_videos_failure_alone(dataset, tmp_path, monkeypatch):
    prepare, forward = Extractor.prepare, Extractor.forward
    third = {}

    def prepared(self, videos):
        group = prepare(self, videos)
        third[id(group)] = [video.answers["flow"].steps.num_frames == 24 for video in videos]
        return group

    def poisoned(self, group, call):
        outputs = forward(self, group, call)
        if call.stream == "flow":
            counts = [items.count for items in group.streams["flow"]]
            outputs["flow/pooled"][np.repeat(third[id(group)], counts)[call.start : call.stop], 7] = np.nan
        return outputs

    monkeypatch.setattr(Extractor, "prepare", prepared)
    monkeypatch.setattr(Extractor, "forward", poisoned)
    summary = extract(dataset, tmp_path / "store", streams=SMALL, running=ONE_BY_ONE)
    assert summary.failures == [(dataset.videos[2].id, "flow: flow/pooled: 3 values are NaN or infinite")]
    assert summary.extracted == 5


def test_a_bug_in_a_stage_stops_the_run_with_its_error(dataset, tmp_path, monkeypatch):
    def broken(*_):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(Extractor, "prepare", broken)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        extract(dataset, tmp_path / "store", streams=SMALL, running=ONE_BY_ONE)


@pytest.mark.parametrize(
    ("changed", "views", "steps"),
    [
        ({"views": 5}, [5] * 6, 3),
        ({"view": "random", "views": 2}, [2] * 6, 3),
        ({"plan": "clips", "segments": 6, "clip_stride": 3, "views": 4}, [4, 2, 4, 3, 4, 4], 6),
        ({"plan": "strided", "segments": 17}, [1] * 6, 17),
        ({"crops": "five", "mirror": True}, [10] * 6, 3),
    ],
    ids=str,
)
def test_views(dataset, tmp_path, changed, views, steps):
    # Clips of 20, 9, 24, 12, 15 and 18 frames: of 6 frames every 3, 1 + (F − 6) // 3 of them, at most 4.
    plan = changed if "plan" in changed else {"segments": 3} | changed
    settings = {"rgb": Settings(backbone="squeezenet1_1", weights="random", crop=64, resize=(64,), **plan)}
    extract(dataset, tmp_path / "store", streams=settings, running=ONE_BY_ONE)
    with FeatureStore(tmp_path / "store") as store:
        assert store.views.tolist() == views
        assert store.arrays["rgb/pooled"].shape == (steps, 512)


def test_views_and_crops_stand_in_their_order(dataset, tmp_path):
    """Row v · A + a is crop a of view v: each against that view and crop alone."""
    settings = altered(SMALL, only=("rgb",), resize=80, layers=("pooled",))
    extract(dataset, tmp_path / "all", streams=altered(settings, views=2, mirror=True), running=ONE_BY_ONE)
    extract(dataset, tmp_path / "plain", streams=altered(settings, views=2), running=ONE_BY_ONE)
    both, plain = (read_all(tmp_path / name)["rgb/pooled"].astype(np.float32) for name in ("all", "plain"))
    np.testing.assert_allclose(both[::2], plain, rtol=2**-10, atol=1e-4)
    assert np.abs(both[1::2] - plain).max() > 0.01  # mirrored: something else


def test_several_layers_a_stream(dataset, tmp_path):
    layers = {"rgb": ("features.7", "pooled"), "flow": ("features.5", "pooled")}
    settings = {name: SMALL[name].change(layers=own) for name, own in layers.items()}
    extract(dataset, tmp_path / "store", streams=settings, running=ONE_BY_ONE)
    with FeatureStore(tmp_path / "store") as store:
        assert {name: array.shape for name, array in store.arrays.items()} == {
            "rgb/features.7": (3, 384 // 3 * 2, 7, 7),
            "rgb/pooled": (3, 512),
            "flow/features.5": (3, 128, 7, 7),
            "flow/pooled": (3, 512),
        }


def test_a_device_that_is_not_there():
    with pytest.raises(UsageError, match="unknown device 'gpu'"):
        Extractor(SMALL, running=Running(device="gpu"))
    if not torch.cuda.is_available():
        with pytest.raises(UsageError, match="no CUDA device here"):
            Extractor(SMALL, running=Running(device="cuda"))


def test_real_clips_with_imagenet_weights(real_data, tmp_path):
    """Four clips of Weizmann through SqueezeNet as it was trained: flow features of one action are nearer."""
    paths = [real_data / "weizmann" / name for name in ("bend/daria_bend.avi", "bend/ido_bend.avi")]
    paths += [real_data / "weizmann" / name for name in ("run/daria_run.avi", "run/ido_run.avi")]
    videos = tuple(Video(path.stem, path, index // 2, str(index)) for index, path in enumerate(paths))
    dataset = Dataset("weizmann", real_data, ("bend", "run"), videos, {})
    weights = real_data / "weights" / "squeezenet1_1.pth"
    settings = read_streams(["rgb,flow"], {"backbone": "squeezenet1_1", "weights": str(weights)})
    assert extract(dataset, tmp_path / "store", streams=settings, running=ONE_BY_ONE).failures == []
    with FeatureStore(tmp_path / "store") as store:
        hashed = hashlib.sha256(weights.read_bytes()).hexdigest()
        for stream in store.streams:
            kept = store.settings(stream)
            assert (kept["weights"], kept["weights_sha256"]) == ("squeezenet1_1.pth", hashed)
        flow = store.read_whole("flow", "pooled").astype(np.float32).mean(1)
    flow /= np.linalg.norm(flow, axis=1, keepdims=True)
    likeness = flow @ flow.T
    within, across = (likeness[0, 1], likeness[2, 3]), likeness[:2, 2:]
    assert min(within) > across.max()


def test_stored_flow_images_give_the_features_of_computed_flow(dataset, tmp_path):
    """A folder of lossless frames and flow images, named and counted as TSN's tools do, against the clip itself."""
    video, folder = dataset.videos[0], tmp_path / "raw"
    folder.mkdir()
    with VideoFile(video.path) as file:
        frames, grey = (np.stack(images) for images in zip(*((one.rgb(), one.grey()) for one in file), strict=True))
    names = RawFrames(20, 1, "img_{:05d}.png", "flow_x_{:05d}.png", "flow_y_{:05d}.png")
    flow = encode_flow(torch.from_numpy(load("dis")(grey[:-1], grey[1:]))).numpy()
    for index, frame in enumerate(frames):
        cv2.imwrite(str(folder / names.image.format(index + 1)), frame[..., ::-1])
        for axis, name in enumerate((names.flow_x, names.flow_y)):
            if index < 19:
                cv2.imwrite(str(folder / name.format(index + 1)), flow[index, axis])
    raw = dataclasses.replace(video, path=folder, frames=names)
    extractor = Extractor(SMALL, running=ONE_BY_ONE)
    computed, _ = extractor.features(video)
    stored, _ = extractor.features(raw)
    for name, rows in computed.items():
        np.testing.assert_array_equal(stored[name], rows)


@pytest.mark.parametrize(
    "changed",
    [{"flow": "farneback"}, {"flow": "tvl1"}, {"flow_size": 32}, {"quantise": False}, {"seed": 1}, {"resize": 80}],
    ids=str,
)
def test_every_setting_of_flow_reaches_its_features(dataset, changed):
    settings = altered(SMALL, only=("flow",), layers=("pooled",))
    before, _ = Extractor(settings, running=ONE_BY_ONE).features(dataset.videos[1])
    after, _ = Extractor(altered(settings, **changed), running=ONE_BY_ONE).features(dataset.videos[1])
    difference = np.abs(before["flow/pooled"] - after["flow/pooled"]).max()
    assert difference > 1e-6
    if changed == {"quantise": False}:  # half a grey level at most
        assert difference < 0.05 * before["flow/pooled"].max()


def test_bfloat16_is_near_float32(dataset):
    settings = altered(SMALL, only=("rgb",), layers=("pooled",))
    exact, _ = Extractor(settings, running=ONE_BY_ONE).features(dataset.videos[1])
    rough, _ = Extractor(altered(settings, precision="bfloat16"), running=ONE_BY_ONE).features(dataset.videos[1])
    assert (exact["rgb/pooled"] != rough["rgb/pooled"]).any()
    # Eight bits of mantissa a layer, 18 convolutions deep.
    np.testing.assert_allclose(rough["rgb/pooled"], exact["rgb/pooled"], atol=0.03 * exact["rgb/pooled"].max())


def test_parts_that_were_begun_apart_go_on_together_each_with_its_own_shards(dataset, tmp_path):
    told = {"backbone": "squeezenet1_1", "weights": "random", "segments": 2, "resize": 40, "crop": 36}
    streams = read_streams(["rgb", "difference"], told)
    for size, (name, settings) in zip((2, 4), streams.items(), strict=True):
        own = dataclasses.replace(ONE_BY_ONE, shard_videos=size)
        extract(dataset, tmp_path, streams={name: settings}, running=own)
        (tmp_path / name / "shard-00000.h5").unlink()
    before = digests(tmp_path)
    summary = extract(dataset, tmp_path, streams=streams, running=ONE_BY_ONE)
    assert summary.extracted == 4
    after = digests(tmp_path)
    assert {name: after[name] for name in before if "index" not in name} == {
        name: value for name, value in before.items() if "index" not in name
    }
    assert [len(list((tmp_path / name).glob("shard-*.h5"))) for name in streams] == [3, 2]
    with pytest.raises(UsageError, match="its stream difference has 1 view a video, more would have 2 views"):
        extract(dataset, tmp_path, streams={"more": streams["rgb"].change(views=2)}, running=ONE_BY_ONE)
    with pytest.raises(UsageError, match="other --fps or --damage are extracted one after the other"):
        extract(dataset, tmp_path, streams=streams | {"more": streams["rgb"].change(fps=5.0)}, running=ONE_BY_ONE)
