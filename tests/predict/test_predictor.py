"""Prediction: the scores that the stored pipeline gave, for any length, and no other settings than training's."""

import json
import shutil
from fractions import Fraction

import av
import numpy as np
import pytest
from clips import CLASSES, SETTINGS, make_run, write_clip
from safetensors import safe_open

from avr.cli import main
from avr.core import UsageError, WorkError, write_json
from avr.datasets import Video
from avr.extract import build_backbone, extract
from avr.fusion import fuse, load_fuser
from avr.heads import save_tensors, train_run
from avr.predict import Predictor, draw_prediction
from avr.predict.windows import cut_windows
from avr.store import read_scores
from avr.video import VideoFile


def stored(run, video):
    scores = read_scores(run / "split-1" / "scores.h5")
    row = scores.ids.tolist().index(video.id)
    return {name: values[row] for name, values in scores.streams.items()}


@pytest.fixture(scope="module")
def test_video(dataset):
    return next(video for video in dataset.videos if video.id in dataset.splits["1"].test)


@pytest.mark.parametrize("head", ["stfn", "linear"])
def test_a_new_video_gets_the_stored_pipelines_scores(runs, test_video, head):
    prediction = Predictor(runs / head).predict(test_video.path)
    for output, expected in stored(runs / head, test_video).items():
        # The same code on the same frames; convolutions of a batch that other videos shared may differ in the last
        # bits of float32, and fp16 rounding of features then in the last of fp16.
        np.testing.assert_allclose(prediction.outputs[output], expected, atol=2e-3, err_msg=output)
    assert prediction.frames == 14
    assert prediction.seconds == pytest.approx(1.4)
    assert prediction.timeline == []


def test_the_best_classes_come_first_and_probabilities_sum_to_one(runs, test_video):
    predictor = Predictor(runs / "stfn")
    prediction = predictor.predict(test_video.path, top=3)
    assert predictor.class_names == CLASSES
    assert prediction.probabilities.sum() == pytest.approx(1)
    order = np.argsort(-prediction.probabilities)[:3]
    assert [name for name, _ in prediction.top] == [CLASSES[index] for index in order]
    assert [value for _, value in prediction.top] == pytest.approx(prediction.probabilities[order].tolist())


def test_a_fusion_is_applied_as_it_was_fitted(runs, test_video):
    prediction = Predictor(fuse=runs / "fused").predict(test_video.path)
    own = stored(runs / "linear", test_video)
    expected = load_fuser(runs / "fused").predict_proba(np.stack([own["rgb"], own["flow"]])[None])[0]
    np.testing.assert_allclose(prediction.probabilities, expected, atol=2e-3)
    scores = read_scores(runs / "fused" / "scores.h5")
    assert prediction.top[0][0] == CLASSES[int(np.argmax(expected))]
    assert scores.split == "1"


def test_several_runs_are_averaged_and_share_their_features(runs, test_video):
    predictor = Predictor([runs / "stfn", runs / "linear"])
    assert predictor.opened[0].extractor is predictor.opened[1].extractor
    both = predictor.predict(test_video.path)
    alone = [Predictor(runs / head).predict(test_video.path).probabilities for head in ("stfn", "linear")]
    np.testing.assert_allclose(both.probabilities, np.mean(alone, axis=0), atol=1e-6)
    assert "stfn/fused" in both.outputs
    assert "linear/flow" in both.outputs


def test_a_video_of_one_frame_and_a_long_one(runs, tmp_path):
    write_clip(tmp_path / "one.avi", 0, 0, num_frames=1)
    write_clip(tmp_path / "long.avi", 2, 0, num_frames=47)
    predictor = Predictor(runs / "stfn")
    assert predictor.predict(tmp_path / "one.avi").frames == 1
    long = predictor.predict(tmp_path / "long.avi", window=1.5, step=1.0)
    assert [(window.start, window.end) for window in long.timeline] == [
        (0.0, 1.5), (1.0, 2.5), (2.0, 3.5), (3.0, 4.5), (3.2, 4.7)
    ]  # fmt: skip
    assert predictor.predict(tmp_path / "long.avi", window=0).timeline == []


def test_a_window_is_predicted_as_a_video_of_its_frames(runs, tmp_path):
    write_clip(tmp_path / "long.avi", 1, 3, num_frames=40)
    predictor = Predictor(runs / "stfn")
    timeline = predictor.predict(tmp_path / "long.avi", window=2.0, step=2.0).timeline
    assert [window.start for window in timeline] == [0.0, 2.0]
    extractor = predictor.opened[0].extractor
    features, _ = extractor.features(Video("part", tmp_path / "long.avi", 0, "", start=2.0, end=4.0))
    expected = predictor.opened[0].scores(features)["fused"]
    assert timeline[1].top[0][0] == CLASSES[int(expected.argmax())]
    assert timeline[1].top[0][1] == pytest.approx(float(np.exp(expected.max())), abs=1e-5)


def test_windows_and_arrays_lie_on_the_grid_in_time_of_their_run(dataset, tmp_path):
    extract(dataset, tmp_path / "store", streams={name: own.change(fps=5.0) for name, own in SETTINGS.items()})
    run = make_run(tmp_path, dataset, "linear")
    path = tmp_path / "long.avi"
    write_clip(path, 1, 3, num_frames=40)
    predictor = Predictor(run)
    found = predictor.predict(path, window=2.0, step=2.0)
    assert (found.frames, found.seconds, len(found.timeline)) == (40, 4.0, 2)
    features, _ = predictor.opened[0].extractor.features(Video("part", path, 0, "", start=2.0, end=4.0))
    expected = predictor.opened[0].scores(features)["multiply"]
    assert found.timeline[1].top[0][1] == pytest.approx(float(np.exp(expected.max())), abs=1e-5)
    with VideoFile(path) as file:
        images = np.stack([frame.rgb() for frame in file])
    again = predictor.predict(images, rate=10)
    np.testing.assert_allclose(again.outputs["rgb"], found.outputs["rgb"], atol=2e-3)


def test_windows_cover_a_video_and_hold_its_frames():
    frames = [(float(second), second) for second in range(11)]
    found = list(cut_windows(frames, length=4, step=3, end=11, rate=1))
    assert [(part.number, part.start, part.end) for part in found] == [(0, 0, 4), (3, 3, 7), (6, 6, 10), (7, 7, 11)]
    assert all(part.frames == list(range(int(part.start), int(part.end))) for part in found)
    assert [part.frames for part in cut_windows(frames, length=30, step=15, end=11, rate=1)] == [list(range(11))]
    # A step shorter than a frame, stamps rounded to milliseconds, a gap in which no frame begins.
    assert [part.number for part in cut_windows(frames, length=4, step=1e-300, end=11, rate=1)] == list(range(8))
    rounded = [(round(number / 29.97, 3), number) for number in range(900)]
    sizes = [len(part.frames) for part in cut_windows(rounded, length=5, step=5, end=900 / 29.97, rate=29.97)]
    assert set(sizes) == {149, 150}
    gap = [*frames[:3], *((second + 97, second) for second, _ in frames[3:])]
    found = [(part.start, part.end, part.frames) for part in cut_windows(gap, length=2, step=2, end=108, rate=1)]
    assert found[:3] == [(0, 2, [0, 1]), (2, 100, [2]), (100, 102, [3, 4])]


def test_windows_of_a_rate_that_varies_stand_at_the_seconds_that_the_file_says(runs, tmp_path):
    """Two seconds of 20 frames each, then two of 5 each: the mean rate would place them elsewhere."""
    seconds = [number / 20 for number in range(40)] + [2 + number / 5 for number in range(10)]
    with av.open(str(tmp_path / "varies.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=20)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for number, second in enumerate(seconds):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 4 * number, np.uint8), format="rgb24")
            frame.pts, frame.time_base = round(1000 * second), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    predictor = Predictor(runs / "linear")
    found = predictor.predict(tmp_path / "varies.mp4", window=1.0, step=1.0)
    assert "its frame rate varies" in found.note
    ends = [(window.start, window.end) for window in found.timeline]
    np.testing.assert_allclose(ends, [(0, 1), (1, 2), (2, 3), (3, found.seconds)], atol=2e-3)
    assert found.seconds == pytest.approx(3.85, abs=0.2)  # how long the last frame is shown is not said
    counted = predictor.predict(tmp_path / "varies.mp4", window=1.0, step=1.0, rate=10)
    assert (counted.seconds, [window.start for window in counted.timeline]) == (5.0, [0, 1, 2, 3, 4])
    draw_prediction(found, tmp_path / "drawn.mp4")


def test_a_run_on_opencvs_frames_says_so(runs, tmp_path, capsys):
    assert "OpenCV" not in (Predictor(runs / "linear") and capsys.readouterr().err)
    shutil.copytree(runs / "linear", tmp_path / "older")
    for path in (tmp_path / "older").rglob("checkpoint.safetensors"):
        with safe_open(path, "pt") as file:
            told = json.loads(file.metadata()["avr"].replace('"ffmpeg"', '"opencv"'))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        save_tensors(path, tensors, {name: value for name, value in told.items() if name != "sha256"})
    Predictor(tmp_path / "older")
    assert "older: features were made from OpenCV's frames; FFmpeg's, read now, differ" in capsys.readouterr().err


def test_frames_in_memory_are_predicted_as_the_file_they_came_from(runs, tmp_path):
    write_clip(tmp_path / "long.avi", 1, 3, num_frames=40)
    with VideoFile(tmp_path / "long.avi") as file:
        frames = np.stack([frame.rgb() for frame in file])
    predictor = Predictor([runs / "stfn", runs / "linear"])
    expected = predictor.predict(tmp_path / "long.avi", window=2.0)
    found = predictor.predict(frames, rate=10, window=2.0)
    # Grey is the decoder's own luma plane there, and computed of RGB here.
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=0.02)
    np.testing.assert_allclose(found.outputs["linear/rgb"], expected.outputs["linear/rgb"], atol=2e-3)
    assert (found.path, found.frames, found.seconds) == (None, 40, 4.0)
    assert [(w.start, w.end) for w in found.timeline] == [(w.start, w.end) for w in expected.timeline]
    assert found.to_dict()["video"] == ""
    assert predictor.predict(frames[:1]).seconds == 1 / 25


@pytest.mark.parametrize("rate", [1e-320, 1e300, -1.0, float("nan")])
def test_a_rate_that_is_none_is_refused(runs, rate):
    with pytest.raises(UsageError, match=r"rate must be frames a second, 0\.01 to 1000, not"):
        Predictor(runs / "linear").predict(np.zeros((4, 8, 8, 3), np.uint8), rate=rate)


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (np.zeros((4, 8, 8), np.uint8), r"must be \(F, H, W, 3\) uint8 RGB, not \(4, 8, 8\) uint8"),
        (np.zeros((4, 8, 8, 3), np.float32), r"not \(4, 8, 8, 3\) float32"),
        (np.zeros((0, 8, 8, 3), np.uint8), r"not \(0, 8, 8, 3\) uint8"),
    ],
)
def test_an_array_of_something_else_is_refused(runs, frames, message):
    with pytest.raises(UsageError, match=message):
        Predictor(runs / "linear").predict(frames)


def test_a_run_is_found_by_its_provenance_alone_when_the_store_is_gone(runs, tmp_path, test_video):
    run = tmp_path / "alone"
    shutil.copytree(runs / "stfn", run)
    expected = Predictor(runs / "stfn").predict(test_video.path)
    (runs / "store").rename(runs / "gone")
    try:
        assert Predictor(run).predict(test_video.path).top == expected.top
    finally:
        (runs / "gone").rename(runs / "store")


@pytest.mark.parametrize(
    ("content", "message"), [(b"some words\n", "is a text file, not a video"), (b"", "the file is empty")]
)
def test_what_does_not_decode_says_why(runs, tmp_path, content, message):
    (tmp_path / "bad.avi").write_bytes(content)
    with pytest.raises(WorkError, match=f"bad.avi.*{message}"):
        Predictor(runs / "stfn").predict(tmp_path / "bad.avi")


def test_wrong_requests_say_what_to_do(runs, tmp_path):
    with pytest.raises(UsageError, match="no such video"):
        Predictor(runs / "stfn").predict(tmp_path / "none.avi")
    with pytest.raises(UsageError, match="no run: name one that `avr heads train` wrote"):
        Predictor([])
    with pytest.raises(UsageError, match="has no split '8'"):
        Predictor(runs / "stfn", split="8")
    shutil.copytree(runs / "fused", tmp_path / "fused")
    with pytest.raises(UsageError, match=r"reads scores of linear, and there is no such run at .*--run"):
        Predictor(fuse=tmp_path / "fused")


def test_the_command_prints_json_or_lines(runner, runs, test_video):
    arguments = ["predict", str(test_video.path), "--run", str(runs / "stfn"), "--device", "cpu"]
    done = runner.invoke(main, [*arguments, "--json"])
    assert done.exit_code == 0, done.output
    (found,) = json.loads(done.stdout)["predictions"]
    expected = Predictor(runs / "stfn").predict(test_video.path)
    assert [row["class"] for row in found["top"]] == [name for name, _ in expected.top]
    assert found["frames"] == 14
    shown = runner.invoke(main, arguments).stdout.splitlines()
    assert shown[0] == f"{test_video.path}: 14 frames, 1.4 s"
    assert shown[1].endswith(expected.top[0][0])
    assert len(shown) == 1 + len(CLASSES)


def test_the_command_refuses_in_one_line(runner, runs, tmp_path):
    done = runner.invoke(main, ["predict", str(tmp_path / "x.avi"), "--run", str(tmp_path / "no-run")])
    assert done.exit_code == 2
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.fixture(scope="module")
def both(runs, tmp_path_factory):
    """A fusion of both runs' streams, and links to the runs under other names: those of the other in "swapped"."""
    folder = tmp_path_factory.mktemp("links")
    streams = ["linear/rgb", "linear/flow", "stfn/fused"]
    weights = {"weights": {"rgb": 1, "linear/flow": 1.5, "fused": 1}}
    fuse("weighted", [runs / "linear", runs / "stfn"], split="1", streams=streams, options=weights, out=runs / "both")
    (folder / "swapped").mkdir()
    for name, target in {"aaa": "stfn", "zzz": "linear", "swapped/stfn": "linear", "swapped/linear": "stfn"}.items():
        (folder / name).symlink_to(runs / target)
    return runs / "both", folder


def test_links_to_the_runs_of_a_fusion_are_the_runs(both, test_video):
    fused, links = both
    expected = Predictor(fuse=fused).predict(test_video.path).probabilities
    for given in (["aaa", "zzz"], ["zzz", "aaa"], ["aaa"]):
        found = Predictor([links / name for name in given], fuse=fused).predict(test_video.path).probabilities
        np.testing.assert_allclose(found, expected, atol=1e-9)


def test_runs_that_cannot_be_told_apart_are_refused(both, runs, tmp_path):
    fused, links = both
    with pytest.raises(UsageError, match=r"reads scores of linear, which .* and .* could both be: name one"):
        Predictor([links / "swapped" / "stfn", links / "swapped" / "linear"], fuse=fused)
    shutil.copytree(runs / "linear", tmp_path / "stfn")
    with pytest.raises(UsageError, match=r"reads stfn, a run of the head stfn, and .*/stfn is one of linear"):
        Predictor([tmp_path / "stfn"], fuse=fused)
    shutil.copytree(runs / "linear", tmp_path / "other")
    with pytest.raises(UsageError, match=r"other is none of the runs that .*both reads \(linear, stfn\): leave it out"):
        Predictor([tmp_path / "other"], fuse=fused)


def test_a_fusion_of_two_runs_of_one_name_is_refused(runs, tmp_path):
    for place in ("A", "B"):
        shutil.copytree(runs / "stfn", tmp_path / place / "stfn")
    with pytest.raises(UsageError, match=r"two streams are called stfn/.*: give their files, or the folders of these"):
        fuse("average", [tmp_path / "A" / "stfn", tmp_path / "B" / "stfn"], split="1", out=tmp_path / "same")
    fuse("average", [runs / "stfn", runs / "linear"], split="1", streams=["fused", "linear/rgb"], out=tmp_path / "same")
    about = json.loads((tmp_path / "same/fusion.json").read_text())  # as an avr wrote it that did not refuse
    about["sources"] = [about["sources"][0]] * 2
    write_json(tmp_path / "same/fusion.json", about)
    with pytest.raises(UsageError, match=r"of several runs named stfn, which cannot be told apart.*fuse again"):
        Predictor([tmp_path / "A" / "stfn", tmp_path / "B" / "stfn"], fuse=tmp_path / "same")


def test_runs_of_one_name_keep_their_own_outputs(runs, test_video, tmp_path):
    shutil.copytree(runs / "stfn", tmp_path / "stfn")
    outputs = Predictor([runs / "stfn", tmp_path / "stfn"]).predict(test_video.path).outputs
    assert {f"{runs}/stfn/fused", f"{tmp_path}/stfn/fused"} <= set(outputs)


def test_of_a_fusion_of_several_splits_one_is_predicted_with(runs, test_video, tmp_path):
    training = {"epochs": 1, "min_steps": 0}
    out = tmp_path / "linear"
    train_run(runs / "store", "linear", split=("1", "2"), training=training, folds=2, out=out, device="cpu")
    fuse("average", [out], out=tmp_path / "fused")
    of = {name: Predictor(out, split=name).predict(test_video.path).outputs for name in ("1", "2")}
    for split, fused in (("", "fused"), ("2", "fused"), ("", "fused/split-2"), ("2", "fused/split-2")):
        predictor = Predictor(fuse=tmp_path / fused, split=split)
        name = "2" if "2" in split + fused else "1"
        expected = predictor.fusion.fuser.predict_proba(np.stack([of[name]["rgb"], of[name]["flow"]])[None])[0]
        np.testing.assert_allclose(predictor.predict(test_video.path).probabilities, expected, atol=1e-9)
    with pytest.raises(UsageError, match=r"fused has no split '3'; it holds 1, 2: name one with --split"):
        Predictor(fuse=tmp_path / "fused", split="3")
    with pytest.raises(UsageError, match=r"split-1 was fitted on split 1, not 2: leave out --split, or fuse"):
        Predictor(fuse=tmp_path / "fused" / "split-1", split="2")


def test_one_bad_video_does_not_stop_the_others(runner, runs, test_video, tmp_path):
    (tmp_path / "bad.avi").write_text("some words")
    videos = [str(test_video.path), str(tmp_path / "bad.avi"), str(tmp_path / "none.avi"), str(test_video.path)]
    arguments = ["predict", *videos, "--run", str(runs / "stfn"), "--device", "cpu"]
    done = runner.invoke(main, [*arguments, "--json"])
    assert done.exit_code == 1
    found = json.loads(done.stdout)["predictions"]
    assert [entry["video"] for entry in found] == videos
    assert [("top" in entry, "error" in entry) for entry in found] == [
        (True, False), (False, True), (False, True), (True, False)
    ]  # fmt: skip
    assert "is a text file, not a video" in found[1]["error"]
    shown = runner.invoke(main, arguments)
    assert shown.exit_code == 1
    assert shown.stdout.count("14 frames") == 2
    assert len([line for line in shown.stderr.splitlines() if line.startswith("error: ")]) == 2


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--window", "nan"], "window and step must be seconds, 0 to 1000000, not nan and 0"),
        (["--step", "inf"], "window and step must be seconds, 0 to 1000000, not 5 and inf"),
        (["--top", "0"], "top must be at least 1 class, not 0"),
        (["--device", "mps"], "unknown device 'mps'; known: auto, cpu, cuda"),
        (["--weights", "rgb=/nowhere"], "--weights rgb=/nowhere: the run's own weights are no file (random)"),
        (["--weights", "rbg=x"], "--weights rbg=x: there is no stream 'rbg' to read them; known: rgb, flow"),
    ],
)
def test_impossible_requests_are_one_line(runner, runs, test_video, more, message):
    done = runner.invoke(main, ["predict", str(test_video.path), "--run", str(runs / "stfn"), *more])
    assert done.exit_code == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_backbones_folder_is_no_run(tmp_path, test_video):
    (tmp_path / "run.json").write_text(json.dumps({"identity": {"extraction": {}}, "complete": False}))
    with pytest.raises(UsageError, match="is a backbone's folder, not a head's run: extract a store"):
        Predictor(tmp_path)
    (tmp_path / "run.json").write_text(json.dumps({"identity": {"run": "elsewhere"}, "complete": False}))
    with pytest.raises(UsageError, match="is not finished: run the command that began it again"):
        Predictor(tmp_path)


def test_weights_of_a_file_are_read_without_a_word_about_their_classifier(dataset, tmp_path, test_video, capsys):
    file = tmp_path / "tuned.safetensors"
    state = build_backbone("squeezenet1_1", weights="random", seed=1, num_classes=4).state_dict()
    save_tensors(file, state, {"split": "1", "dataset": dataset.name})
    extract(dataset, tmp_path / "store", streams={"rgb": SETTINGS["rgb"].change(weights=str(file))})
    said = capsys.readouterr().err
    assert "left out" not in said
    assert said.count("these weights were trained on split 1: train heads on that split alone") == 1
