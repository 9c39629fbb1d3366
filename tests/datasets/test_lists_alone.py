"""Data sets whose videos are not there, read by their lists for who needs names, labels and splits alone."""

import pytest

from avr.core import UsageError
from avr.datasets import index_dataset

HMDB = ["brush_hair/April_09_brush_hair_u_nm_np1_ba_goo_0", "wave/May_wave_u_nm_np1_ba_goo_0"]


@pytest.fixture
def lists(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lists").mkdir()
    return tmp_path / "lists"


def facts(dataset):
    return [video.id for video in dataset.videos], [video.label for video in dataset.videos], dataset.splits["1"]


def test_hmdb51(lists):
    for mark, clip in enumerate(HMDB, 1):
        name = clip.partition("/")[0]
        (lists / f"{name}_test_split1.txt").write_text(f"{clip.partition('/')[2]}.avi {mark}\n")
    ids, labels, split = facts(index_dataset("hmdb51", splits=lists, lists_suffice=True))
    assert (ids, labels) == (HMDB, [0, 1])
    assert (split.train, split.test) == ((HMDB[0],), (HMDB[1],))
    with pytest.raises(UsageError, match="no such folder"):
        index_dataset("hmdb51", splits=lists)


def test_kinetics(lists):
    rows = ["label,youtube_id,time_start,time_end,split", "eat,aaaaaaaaaaa,1,11,train", "run,bbbbbbbbbbb,2,12,val"]
    (lists / "all.csv").write_text("\n".join(rows))
    ids, labels, split = facts(index_dataset("kinetics", splits=lists, lists_suffice=True))
    assert (ids, labels) == (["aaaaaaaaaaa_000001_000011", "bbbbbbbbbbb_000002_000012"], [0, 1])
    assert split.test == (ids[1],)


@pytest.mark.parametrize("there", [0, 1])
def test_a_list_whose_videos_are_there_counts_those_alone(lists, there):
    (lists / "my_train.txt").write_text("a/1.avi 0\nb/2.avi 1\n")
    (lists / "my_test.txt").write_text("a/3.avi 0\nb/4.avi 1\n")
    for name in ("a/1", "b/2", "a/3") if there else ():
        (lists / f"{name}.avi").parent.mkdir(exist_ok=True)
        (lists / f"{name}.avi").touch()
    ids, _, split = facts(index_dataset(lists, lists_suffice=True))
    assert set(ids) == ({"a/1", "b/2", "a/3"} if there else {"a/1", "b/2", "a/3", "b/4"})
    assert set(split.test) == set(ids) - {"a/1", "b/2"}


def test_what_needs_its_videos_says_so(lists):
    with pytest.raises(UsageError, match="no such folder"):
        index_dataset("weizmann", lists_suffice=True)
