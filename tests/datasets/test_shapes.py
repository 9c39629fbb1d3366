"""`shapes`: made once, whole, the same everywhere; and neither stream sees what belongs to the other."""

import json

import cv2
import numpy as np
import pytest

from avr.core import UsageError
from avr.datasets import _drawing as drawing
from avr.datasets import index_dataset, shapes
from avr.video import check_dataset


@pytest.fixture
def few(monkeypatch):
    """Three scenes instead of all: 18 clips."""
    monkeypatch.setattr(shapes, "NUM_SCENES", 3)


def contents(root):
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_the_classes_cannot_be_told_by_one_stream():
    appearances = [name.split("-")[0] for name in shapes.CLASS_NAMES]
    motions = [name.split("-")[1] for name in shapes.CLASS_NAMES]
    assert len(set(shapes.CLASS_NAMES)) == 6
    # Who sees one factor alone and guesses among the classes that share it is right in 4 of 6 cases at best.
    assert len(set(appearances)) == len(set(motions)) == 4


def test_index_draws_the_clips_when_missing(few, tmp_path):
    dataset = index_dataset("shapes", tmp_path / "shapes")
    assert len(dataset.videos) == 18
    assert dataset.videos[0].id == "stripes-sideways/scene00"
    assert {video.group for video in dataset.videos} == {"scene00", "scene01", "scene02"}
    groups = {video.id: video.group for video in dataset.videos}
    tested = [{groups[name] for name in split.test} for split in dataset.splits.values()]
    assert tested == [{"scene00"}, {"scene01"}, {"scene02"}]  # each scene tests once
    assert all((len(split.train), len(split.test)) == (12, 6) for split in dataset.splits.values())
    result = check_dataset(dataset)
    assert (result.bad, result.notes, result.frames) == ([], [], 18 * drawing.NUM_FRAMES)


def test_index_takes_the_clips_that_are_there(few, tmp_path):
    index_dataset("shapes", tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.avi")}
    index_dataset("shapes", tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.avi")} == before


def test_drawing_is_repeatable_and_survives_an_interruption(few, tmp_path, monkeypatch):
    index_dataset("shapes", tmp_path / "whole")
    draw, drawn = drawing.draw_clip, []

    def interrupted(*arguments):
        drawn.append(arguments)
        if len(drawn) == 8:
            raise KeyboardInterrupt
        return draw(*arguments)

    monkeypatch.setattr(drawing, "draw_clip", interrupted)
    with pytest.raises(KeyboardInterrupt):
        index_dataset("shapes", tmp_path / "again")
    assert len(list((tmp_path / "again").rglob("*.avi"))) == 7
    monkeypatch.setattr(drawing, "draw_clip", draw)
    index_dataset("shapes", tmp_path / "again")
    assert contents(tmp_path / "again") == contents(tmp_path / "whole")


@pytest.mark.parametrize("what", ["a clip is gone", "an older version", "a damaged marker"])
def test_incomplete_sets_are_drawn_anew(few, tmp_path, what):
    index_dataset("shapes", tmp_path)
    whole = contents(tmp_path)
    marker = tmp_path / "shapes.json"
    if what == "a clip is gone":
        (tmp_path / "dots-upright" / "scene01.avi").unlink()
    elif what == "an older version":
        marker.write_text(json.dumps({"version": shapes.VERSION - 1}))
    else:
        marker.write_text("{")
    index_dataset("shapes", tmp_path)
    assert contents(tmp_path) == whole


def test_a_folder_with_other_files_is_left_alone(few, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"holds other files \(thesis\.txt\), so shapes are not drawn there; name an"):
        index_dataset("shapes", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("motion", drawing.MOTIONS)
def test_grey_frames_are_the_same_for_every_appearance(motion):
    """Flow reads grey frames: with the same random numbers they may differ by rounding and clipping only."""
    clips = [drawing.draw_clip(name, motion, np.random.default_rng(3)) for name in drawing.HUES]
    grey = [np.stack([cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY) for frame in clip]).astype(int) for clip in clips]
    for other, clip in zip(grey[1:], clips[1:], strict=True):
        # Two conversions round by at most 1 each; the most saturated colours are clipped, in under 2 % of the pixels.
        assert np.mean(np.abs(other - grey[0]) > 2) < 0.02
        assert np.mean(np.abs(other - grey[0])) < 0.5
        assert np.mean(np.abs(clip.astype(int) - clips[0])) > 5  # of 255, while the colours do differ


def test_a_still_frame_has_the_same_pose_for_every_motion():
    """With the same random numbers all motions start from one pose, at a phase drawn evenly over the swing."""
    poses = [drawing._poses(name, np.random.default_rng(5)) for name in drawing.MOTIONS]
    for moved, pose in enumerate(poses):
        np.testing.assert_array_equal(pose[0], poses[0][0])
        spread = np.ptp(pose, axis=0)
        assert np.flatnonzero(spread).tolist() == [moved]
        # Strength 0.8 to 1.2, and at least one whole period in 32 frames.
        swing = drawing.SWINGS[drawing.MOTIONS[moved]]
        assert 1.5 * swing < spread[moved] <= 2.4 * swing


def test_patterns_have_no_mean_colour():
    for name in drawing.HUES:
        texture = drawing._texture(name, np.random.default_rng(1))
        chroma = texture[..., 1:].reshape(-1, 2) - 128
        assert np.abs(chroma.mean(axis=0)).max() < 4 * drawing.TINT
        np.testing.assert_allclose(np.linalg.norm(chroma.std(axis=0)), drawing.CHROMA, rtol=1e-4)
