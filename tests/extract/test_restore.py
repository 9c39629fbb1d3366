"""From a store back to its videos: their own labels, groups and splits, wherever the videos lie now."""

import numpy as np
import pytest

from avr.core import AvrError, UsageError
from avr.datasets import RawFrames, Video, index_dataset
from avr.extract import Origin, restore_video
from avr.store import FeatureStore, StoreWriter

LISTED = "path,label,split,start,end\nc/1.mp4,a,train,0.5,2\nc/1.mp4,b,train,2,3\nd/2.mp4,b,test,,\n"


def stored(dataset, path):
    """A store of a data set: a row of zeros a video, and what decoding knows of it."""
    with StoreWriter(path, dataset, arrays={"rgb/pooled": (1, 2)}, provenance={}) as writer:
        for shard in writer.shards():
            for name in shard.video_ids:
                video = next(one for one in dataset.videos if one.id == name)
                start = video.start or 0.0 if video.frames is None else video.frames.first
                facts = {"start": start, "end": video.end or 0.0}
                count = 9 if video.frames is None else video.frames.count
                shard.add(name, {"rgb/pooled": np.zeros((1, 1, 2))}, frames=count, facts=facts)
    return path


def restored(dataset, store, root=None):
    return Origin({}, dataset.name, (store,), None, store).restore_dataset(root)


def moved(videos, old, new):
    return [(one.id, new / one.path.relative_to(old), one.label, one.group, one.start, one.end) for one in videos]


@pytest.fixture
def clips(tmp_path):
    root = tmp_path / "clips"
    for name in ("c/1.mp4", "d/2.mp4", "d/1.mp4"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


@pytest.mark.parametrize("kind", ["folder", "list"])
def test_videos_come_with_their_own_labels_groups_and_splits(clips, tmp_path, kind):
    (tmp_path / "mine.csv").write_text(LISTED)
    if kind == "list":
        dataset = index_dataset(clips, splits=tmp_path / "mine.csv")
    else:
        dataset = index_dataset(clips, folds=2, seed=5, group_pattern=r"/(\d)")
    store = stored(dataset, tmp_path / "store")
    assert restored(dataset, store).videos == dataset.videos
    clips.rename(tmp_path / "elsewhere")
    found = restored(dataset, store, tmp_path / "elsewhere")
    assert (found.splits, found.class_names) == (dataset.splits, dataset.class_names)
    assert moved(found.videos, tmp_path / "elsewhere", clips) == moved(dataset.videos, clips, clips)
    with pytest.raises(
        AvrError, match=f"{len(dataset.videos)} videos are not where they were, .*: give their folder, -"
    ):
        restored(dataset, store)


def test_raw_frames_are_found_by_their_numbers(tmp_path):
    root = tmp_path / "frames"
    for folder, numbers in (("x/walk", range(1, 10)), ("x/run", range(4))):
        (root / folder).mkdir(parents=True)
        for number in numbers:
            (root / folder / f"img_{number:05d}.jpg").touch()
    (root / "train.txt").write_text("x/walk 0 4 0\nx/walk 4 5 1\n")
    (root / "val.txt").write_text("x/run 4 1\n")
    dataset = index_dataset("list", root, called="mine")
    store = stored(dataset, tmp_path / "store")
    assert [video.frames for video in dataset.videos] == [RawFrames(4, 1), RawFrames(5, 5), RawFrames(4, 0)]
    assert restored(dataset, store).videos == dataset.videos
    assert restored(dataset, store, root).videos == dataset.videos
    with FeatureStore(store) as opened:
        assert restore_video(opened, 1, root) == dataset.videos[1]
        assert isinstance(restore_video(opened, 2), Video)
    for name in ("flow_x", "frame"):
        assert restored(dataset, store).videos == dataset.videos
        for image in (root / "x" / "run").iterdir():
            image.rename(image.with_name(image.name.replace("img", "flow_x").replace("flow_x", name)))
    with pytest.raises(UsageError, match=r"run is a folder without img_00001\.jpg, and the store does not keep how"):
        restored(dataset, store)


def test_without_a_store_only_a_name_that_avr_knows_tells(clips, tmp_path):
    dataset = index_dataset("folder", clips)
    assert restored(dataset, tmp_path / "gone", clips).videos == dataset.videos
    dataset = index_dataset("folder", clips, called="mine")
    with pytest.raises(UsageError, match="only the run's store knows the videos and splits of mine, and it is gone"):
        restored(dataset, tmp_path / "gone", clips)
