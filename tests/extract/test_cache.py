"""Extraction out of the cache that fine-tuning fills: the same store, with neither decoding nor flow."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from altering import altered

from avr.core import UsageError, WorkError
from avr.extract import ClipCache, Extractor, Running, extract, load_networks, read_streams
from avr.store import FeatureStore
from avr.video import decode

SETTINGS = read_streams(
    ["rgb,flow"],
    {
        "backbone": "squeezenet1_1",
        "weights": "random",
        "layers": ("pooled",),
        "segments": 3,
        "stack": 3,
        "resize": 36,
        "crop": 32,
        "views": 2,
    },
)


@pytest.fixture
def moved(dataset, tmp_path):
    """A copy of the clips, whose files a test may spoil."""
    shutil.copytree(dataset.root, tmp_path / "clips")
    videos = (
        replace(video, path=tmp_path / "clips" / video.path.relative_to(dataset.root)) for video in dataset.videos
    )
    return replace(dataset, videos=tuple(videos))


def spoil(path: Path) -> None:
    """Other bytes, of the same size and time of change: the same file to the cache, which decodes no more."""
    status = path.stat()
    path.write_bytes(b"\0" * status.st_size)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_a_store_made_from_the_cache_is_the_one_made_from_the_videos(moved, tmp_path, capsys):
    whole = extract(moved, tmp_path / "whole", streams=SETTINGS)
    cache = ClipCache(tmp_path / "cache", load_networks(SETTINGS).settings)
    cache.build(moved.videos[:4])
    for video in moved.videos[:4]:
        spoil(video.path)
    again = extract(moved, tmp_path / "again", streams=SETTINGS, running=Running(cache=str(tmp_path / "cache")))
    assert "images of 4 of 6 videos are taken from" in capsys.readouterr().err
    assert (again.extracted, again.failures) == (6, [])
    with FeatureStore(whole.store) as first, FeatureStore(again.store) as second:
        assert first.digest == second.digest


def test_a_cache_of_other_settings_is_not_read(moved, tmp_path, capsys):
    ClipCache(tmp_path / "cache", load_networks(SETTINGS).settings).build(moved.videos)
    other = altered(SETTINGS, resize=34)
    summary = extract(moved, tmp_path / "store", streams=other, running=Running(cache=str(tmp_path / "cache")))
    assert "holds none of the videos at these settings" in capsys.readouterr().err
    assert summary.extracted == 6


def test_unquantised_flow_is_not_taken_from_the_cache(moved, tmp_path):
    running = Running(cache=str(tmp_path / "cache"))
    with pytest.raises(UsageError, match="holds unquantised flow in float16"):
        extract(moved, tmp_path / "store", streams=altered(SETTINGS, quantise=False), running=running)


@pytest.mark.parametrize(
    ("facts", "harm"),
    [
        (False, lambda content: b""),
        (False, lambda content: b"half a file"),
        (False, lambda content: content.replace(b", 3, ", b", 1, ")),
        (False, lambda content: content.replace(b"(20, ", b"(19, ")),
        (True, lambda content: b""),
        (True, lambda content: content.replace(b'"frames"', b'"null"')),
        (True, lambda content: content.replace(b'"numbers"', b'"words"')),
        (True, lambda content: content.replace(b'"rate": ', b'"rate": "x", "seconds": ')),
    ],
)
def test_a_damaged_file_is_named(moved, tmp_path, facts, harm):
    settings = load_networks(SETTINGS).settings
    cache = ClipCache(tmp_path / "cache", settings)
    cache.build(moved.videos[:1])
    path = cache.path(moved.videos[0], "rgb", facts=facts)
    content = path.read_bytes()
    path.write_bytes(harm(content))
    assert path.read_bytes() != content
    with pytest.raises(WorkError, match=f"{path.name} is damaged or gone: remove it, and it is made again"):
        cache.decoded(moved.videos[0], settings)


def test_a_failed_write_says_why_even_without_an_error_number(moved, tmp_path, monkeypatch):
    def fail(file, arr):
        raise OSError("9 requested and 4 written")

    monkeypatch.setattr("avr.extract.cache.np.save", fail)
    cache = ClipCache(tmp_path / "cache", load_networks(SETTINGS).settings)
    with pytest.raises(WorkError, match=r"npy: cannot be written \(9 requested and 4 written\)"):
        cache.build(moved.videos[:1])


@pytest.mark.parametrize("streams", [("flow",), ("rgb", "flow")])
@pytest.mark.parametrize("num_frames", [1, 2])
def test_the_shortest_videos_keep_their_length(dataset, tmp_path, num_frames, streams):
    video = replace(dataset.videos[0], end=num_frames / 25)
    settings = load_networks(altered(SETTINGS, only=streams)).settings
    cache = ClipCache(tmp_path / "cache", settings)
    assert cache.build([video]) == {}
    found, expected = cache.decoded(video, settings), decode(video, Extractor(settings).needs)
    assert (found.facts, found.note) == (expected.facts, expected.note)
    ours, theirs = found.answers["flow"], expected.answers["flow"]
    assert ours.steps.num_frames == theirs.steps.num_frames == num_frames
    assert ours.seconds.tolist() == theirs.seconds.tolist()
    assert ours.numbers.tolist() == theirs.numbers.tolist()
    assert ours.pairs.stacks.tolist() == theirs.pairs.stacks.tolist()
    assert ours.ready.shape[:2] == (1, 2)
