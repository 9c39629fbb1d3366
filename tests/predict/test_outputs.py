"""What `avr predict` writes: the table and the clips with their classes drawn."""

import csv
import json

import cv2
import numpy as np
import pytest
from clips import write_clip

from avr.cli import main
from avr.core import UsageError, WorkError
from avr.predict import Predictor, draw_prediction
from avr.video import VideoFile


@pytest.fixture
def folder(tmp_path):
    """Two good clips, one of them long enough for a time line, and a damaged one."""
    write_clip(tmp_path / "clips" / "a" / "short.avi", 0, 0, num_frames=12)
    write_clip(tmp_path / "clips" / "b" / "long.avi", 3, 1, num_frames=40, size=(120, 160))
    (tmp_path / "clips" / "b" / "=bad.avi").write_text("some words")
    return tmp_path


def images(path):
    with VideoFile(path) as file:
        return np.stack([frame.rgb() for frame in file]), file.rate


def test_a_folder_becomes_a_table_and_drawn_clips(runner, runs, folder, monkeypatch):
    monkeypatch.chdir(folder)
    command = ["predict", "clips", "--run", str(runs / "stfn"), "--device", "cpu", "--window", "2", "--top", "2"]
    command += ["--out", "tables/found.csv", "--draw", "drawn", "--json"]
    done = runner.invoke(main, command)
    assert done.exit_code == 1
    assert done.stderr.splitlines()[0].startswith("error: clips/b/=bad.avi: is a text file")
    entries = json.loads(done.stdout)["predictions"]
    assert [entry.get("drawn") for entry in entries] == ["drawn/a/short.mp4", None, "drawn/b/long.mp4"]
    with open("tables/found.csv", newline="") as file:
        header, *rows = list(csv.reader(file))
    assert header == [
        "video",
        "start",
        "end",
        "frames",
        "class_1",
        "probability_1",
        "class_2",
        "probability_2",
        "error",
    ]
    assert [row[:4] for row in rows] == [
        ["clips/a/short.avi", "0", "1.2", "12"],
        ["clips/b/=bad.avi", "", "", ""],
        ["clips/b/long.avi", "0", "4.0", "40"],
        ["clips/b/long.avi", "0.0", "2.0", ""],
        ["clips/b/long.avi", "1.0", "3.0", ""],
        ["clips/b/long.avi", "2.0", "4.0", ""],
    ]
    assert "is a text file, not a video" in rows[1][-1]
    assert [row[-1] for row in rows if row is not rows[1]] == [""] * 5
    for row, top in zip([rows[0], *rows[2:]], [entries[0]["top"], entries[2]["top"]], strict=False):
        assert row[4:8:2] == [one["class"] for one in top]
        assert [float(cell) for cell in row[5:8:2]] == pytest.approx([one["probability"] for one in top], abs=1e-6)
    for name, size in (("a/short", (12, 40, 52, 3)), ("b/long", (40, 120, 160, 3))):
        drawn, rate = images(folder / "drawn" / f"{name}.mp4")
        assert (drawn.shape, rate) == (size, 10)

    again = runner.invoke(main, command)  # nothing is predicted, nor replaced
    assert again.exit_code == 2
    assert again.stderr.endswith("tables/found.csv: is there already; --overwrite replaces it\n")
    done = runner.invoke(main, [*command[:2], "clips/a/*", *command[2:-1], "--overwrite", "--draw-format", "gif"])
    assert done.exit_code == 1
    assert done.stdout.endswith("wrote tables/found.csv\nwrote drawn\n")
    assert (folder / "drawn" / "a" / "short.gif").read_bytes()[:4] == b"GIF8"


def test_classes_are_drawn_in_bands_and_the_rest_is_the_clip(runs, folder):
    path = folder / "clips" / "b" / "long.avi"
    predictor = Predictor(runs / "stfn")
    for name, window, untouched, bands in (
        ("one", 0.0, slice(0, 78), [slice(86, 120)]),
        ("two", 2.0, slice(34, 66), [slice(0, 25), slice(76, 120)]),
    ):
        prediction = predictor.predict(path, window=window)
        drawn, _ = images(draw_prediction(prediction, folder / f"{name}.mp4"))
        clip, _ = images(path)
        difference = np.abs(drawn.astype(int) - clip).mean((0, 2, 3))
        assert difference[untouched].max() < 4
        for band in bands:
            assert difference[band].min() > 20  # darkened
            assert drawn[:, band].max() > 180  # and written on
    frames, rate = images(path)
    drawn, _ = images(draw_prediction(predictor.predict(frames, rate=rate), folder / "array.mp4", frames=frames))
    assert drawn.shape == frames.shape
    assert [path.name for path in folder.glob(".*")] == []


def test_an_arrays_prediction_is_drawn_on_its_own_frames_alone(runs, tmp_path):
    frames = np.zeros((12, 40, 52, 3), np.uint8)
    prediction = Predictor(runs / "linear").predict(frames, rate=10)
    with pytest.raises(UsageError, match="made of an array: give that as frames="):
        draw_prediction(prediction, tmp_path / "drawn.mp4")
    with pytest.raises(UsageError, match="frames= holds 11 frames, the prediction was made of 12"):
        draw_prediction(prediction, tmp_path / "drawn.mp4", frames=frames[1:])
    assert list(tmp_path.iterdir()) == []


def test_what_one_videos_images_break_costs_that_video_and_what_ends_the_command_no_result(
    runner, runs, folder, monkeypatch
):
    monkeypatch.chdir(folder)
    command = ["predict", "clips/a/short.avi", "clips/b/long.avi", "--run", str(runs / "linear"), "--out", "found.csv"]
    real = Predictor.predict

    def broken(self, path, **asked):
        if path.name == "long.avi":
            raise failure
        return real(self, path, **asked)

    def rows():
        with open("found.csv", encoding="utf-8", newline="") as file:
            return [(row["video"], row["error"]) for row in csv.DictReader(file)]

    monkeypatch.setattr(Predictor, "predict", broken)
    failure = cv2.error("OpenCV(4.13)\n  error: (-215:Assertion failed)")
    done = runner.invoke(main, command)
    assert done.exit_code == 1
    told = "clips/b/long.avi: cannot be predicted (OpenCV(4.13) error: (-215:Assertion failed))"
    assert done.stderr.splitlines()[-1] == f"error: {told}"
    assert rows() == [("clips/a/short.avi", ""), ("clips/b/long.avi", told)]
    failure = UsageError("the run's features are others")
    done = runner.invoke(main, [*command, "--overwrite"])
    assert (done.exit_code, done.stderr.splitlines()[-1]) == (2, "error: the run's features are others")
    assert rows() == [("clips/a/short.avi", "")]


def test_what_was_predicted_is_told_where_the_table_cannot_be_written(runner, runs, folder, monkeypatch):
    def full(*_):
        raise WorkError("found.csv: cannot be written (No space left on device)")

    monkeypatch.chdir(folder)
    monkeypatch.setattr("avr.predict.write_table", full)
    command = ["predict", "clips/a/short.avi", "--run", str(runs / "linear"), "--out", "found.csv"]
    done = runner.invoke(main, [*command, "--json"])
    assert (done.exit_code, done.stderr.splitlines()[-1]) == (
        1,
        "error: found.csv: cannot be written (No space left on device)",
    )
    assert [one["video"] for one in json.loads(done.stdout)["predictions"]] == ["clips/a/short.avi"]
    assert "wrote" not in runner.invoke(main, command).stdout


def test_a_place_that_cannot_be_written_is_told_before_the_work(runner, runs, folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setattr(Predictor, "__init__", lambda *_, **__: pytest.fail("the work begins"))
    command = ["predict", "clips", "--run", str(runs / "linear"), "--out"]
    done = runner.invoke(main, [*command, f"{'n' * 300}.csv"])
    assert done.exit_code == 1
    assert done.stderr.endswith(".csv: cannot be written (File name too long); choose another place\n")
    done = runner.invoke(main, [*command, "drawn/a/short.mp4", "--draw", "drawn"])
    assert (done.exit_code, done.stderr) == (
        2,
        "error: --out and clips/a/short.avi both become drawn/a/short.mp4; choose another place for one\n",
    )
    assert sorted(path.name for path in folder.iterdir()) == ["clips"]
