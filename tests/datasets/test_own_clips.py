"""One's own clips: a path in place of a name, what `folder` takes and leaves out, groups by a table, k folds."""

import json
import os
import re
from pathlib import Path

import pytest

from avr.cli import main
from avr.core import UsageError, overheard
from avr.datasets import describe_dataset, index_dataset, is_video

SIX = [f"{name}/p{number}.mp4" for name in ("run", "walk") for number in range(6)]


def show(runner, *arguments):
    result = runner.invoke(main, ["datasets", "show", *map(str, arguments), "--json"])
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


# --- a path in place of a name ----------------------------------------------------------------------------------------


def test_a_path_is_data_set_folder_called_after_it(tree, runner):
    root = tree(SIX, folder="my clips!")
    found = show(runner, root)
    assert (found["name"], found["called"], found["root"]) == ("folder", "my clips_", str(root))
    assert found["classes"] == {"run": 6, "walk": 6}
    assert index_dataset(root).name == "my clips_"
    assert index_dataset(f"{root}/").name == "my clips_"
    assert index_dataset(str(root), called="mine").name == "mine"


def test_a_folder_that_is_there_needs_no_separator(tree, monkeypatch):
    monkeypatch.chdir(tree(SIX).parent)
    assert index_dataset("videos").root == Path("videos")
    monkeypatch.chdir("videos")
    assert index_dataset(".").name == "videos"


def test_a_name_for_any_data_set(tree, runner):
    root = tree(SIX)
    assert show(runner, "folder", "--root", root, "--name", "mine")["called"] == "mine"


@pytest.mark.parametrize("name", ["a/b", "", "..", " a", "a\n", "x" * 201])
def test_a_name_that_is_none(tree, name):
    with pytest.raises(UsageError, match=r"is no name \(letters, digits, blanks"):
        index_dataset("folder", tree(SIX), called=name)


def test_a_typo_is_told_that_paths_work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"did you mean hmdb51\?.*weizmann; a folder of your own clips .* \./hmbd51"):
        index_dataset("hmbd51")


def test_a_path_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match="no such folder of your own clips"):
        index_dataset(tmp_path / "gone")


def test_a_path_that_is_no_folder(tree, monkeypatch):
    root = tree(SIX)
    with pytest.raises(
        UsageError, match=r"p0\.mp4 is one video: give the folder that holds a sub-folder for each class"
    ):
        index_dataset(root / "run" / "p0.mp4")
    monkeypatch.chdir(root)
    with pytest.raises(UsageError, match="unknown data set ''"):
        index_dataset("")


def test_a_path_and_a_root(tree):
    with pytest.raises(UsageError, match=r"--root .* is one too many"):
        index_dataset(tree(SIX), tree(SIX))


def test_a_path_called_as_a_known_data_set(tree):
    root = tree(SIX, folder="hmdb51")
    with pytest.raises(UsageError, match=r"hmdb51 is a data set that avr knows.*--name NAME"):
        index_dataset(root)
    assert index_dataset(root, called="mine").name == "mine"


def test_a_path_of_a_list_is_data_set_list(tree, runner):
    root = tree(["1.mp4", "2.mp4"])
    (root / "labels.csv").write_text("path,label,split\n1.mp4,run,train\n2.mp4,walk,test\n")
    for path in (root / "labels.csv", root):  # no sub-folder of it has a video
        found = show(runner, path)
        assert (found["name"], found["called"], found["videos"]) == ("list", "videos", 2)
        assert found["notes"] == found["warnings"] == []
    (root / "some" / "folder").mkdir(parents=True)
    assert describe_dataset(root).name == "list"


def test_a_list_beside_class_folders_is_not_read_and_said_once(tree, runner):
    root = tree(SIX)
    (root / "labels.csv").write_text("path,label\nrun/p0.mp4,run\n")
    (root / "trainlist01.txt").write_text("run/p0.mp4 0\n")
    (root / "notes.txt").write_text("all clips were cut by hand\n")
    found = show(runner, root)
    assert (found["name"], found["classes"]) == ("folder", {"run": 6, "walk": 6})
    assert found["warnings"][0] == (
        f"{root}: the classes are its folders, and what labels.csv, trainlist01.txt says is not read: "
        f"--dataset list --root {root} --name NAME would do so"
    )
    assert not [line for line in found["warnings"][1:] + found["notes"] if "labels.csv" in line]
    (root / "trainlist01.txt").unlink()
    assert f"--dataset {root / 'labels.csv'} would do so" in show(runner, root)["warnings"][0]
    assert describe_dataset(root / "labels.csv").name == "list"
    (root / "labels.csv").write_bytes("path;label\nrun/p0.mp4;run".encode("utf-16"))  # whatever it holds
    assert index_dataset(root).class_names == ("run", "walk")


def test_a_log_is_no_list(tree):
    root = tree(SIX)
    (root / "latest.txt").write_text("all clips were cut by hand\n")
    assert describe_dataset(root).name == "folder"


def test_list_command_says_which_are_for_own_clips(runner):
    lines = runner.invoke(main, ["datasets", "list"]).stdout.splitlines()
    assert lines[0].split() == ["data", "set", "what", "it", "is"]
    assert any(line.startswith("Your own clips are folder") for line in lines)


def test_show_without_videos_gives_examples(runner, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = runner.invoke(main, ["datasets", "show", "folder"]).stdout
    for example in (r"'group_pattern=/(p\d+)_'", "groups=groups.csv", "folds=5", "test_share=0.2", "[default: 0.3]"):
        assert example in text


# --- what is taken, what is left out ----------------------------------------------------------------------------------


def test_what_ffmpeg_reads_is_a_video():
    names = "a.GIF a.y4m a.mxf a.3g2 a.m2v a.dv a.h265 a.ivf a.mj2 a.ogv a.qt a.rm a.rmvb a.wtv a.mts a.webm a.nut"
    assert all(map(is_video, names.split()))
    assert not any(map(is_video, "a.png a.apng a.wav a.txt a .gif a.csv".split()))  # noqa: SIM905


def test_what_is_left_out_is_counted_and_named(tree, runner):
    root = tree([*SIX, "run/a.jpg", "run/b.JPG", "walk/notes.txt", "top.avi", "run/.DS_Store", ".git/x.mp4"])
    found = show(runner, root)
    assert found["notes"] == [
        "folder: left out 3 files that are no known video (.jpg 2, .txt 1): run/a.jpg, run/b.JPG, walk/notes.txt",
        "folder: left out 1 file that is in no class folder: top.avi",
    ]


def test_a_gif_is_taken(tree):
    assert "run/g" in {video.id for video in index_dataset(tree([*SIX, "run/g.gif"])).videos}


def test_a_folder_without_a_video_is_no_class(tree):
    root = tree([*SIX, "sit/a.jpg", "runs/x/split-1/scores.h5", "runs/x/drawn/1.gif", "features/mine/plan.h5"])
    for name in ("lie", "annotations"):
        (root / name).mkdir()
    with overheard() as said:
        dataset = index_dataset(root, group_pattern=".*")
    assert dataset.class_names == ("run", "walk")
    assert said.warnings == ["no class, as there is no known video in it: lie, sit"]
    assert said.notes == ["folder: left out 1 file that is no known video: sit/a.jpg"]


def test_folders_that_link_to_each_other(tree):
    root = tree(SIX)
    (root / "run" / "l").symlink_to(root / "walk")
    (root / "walk" / "l").symlink_to(root / "run")
    ids = {video.id for video in index_dataset(root).videos}
    assert {"run/l/p0", "walk/l/p0"} <= ids
    assert not any(name.count("/l/") > 1 for name in ids)


@pytest.fixture
def latin(tree):
    """A folder with a name that is no UTF-8."""
    root = tree(SIX)
    try:
        os.rename(root / "run" / "p0.mp4", os.fsencode(root / "run") + b"/caf\xe9.mp4")
    except OSError:
        pytest.skip("this file system takes UTF-8 names alone")
    return root


def test_a_name_that_is_no_utf8(latin):
    with overheard() as said:
        videos = {video.id: video for video in index_dataset(latin).videos}
    assert said.notes == ["1 file name is not UTF-8: run/caf\\xe9.mp4"]
    assert videos["run/caf\\xe9"].path.exists()
    assert len(videos) == 12
    for name in videos:
        name.encode()


def test_ids_are_made_over_all_names_at_once(tree):
    root = tree(["a/x.avi", "a/x.mp4", "a/x.avi.mkv", "a/y.avi"])
    ids = [video.id for video in index_dataset(root, test_share=0.5).videos]
    assert ids == ["a/x.avi", "a/x.avi.mkv", "a/x.mp4", "a/y"]


def test_control_characters_are_escaped(tree):
    assert "run/a\\nb" in {video.id for video in index_dataset(tree([*SIX, "run/a\nb.mp4"])).videos}


# --- groups -----------------------------------------------------------------------------------------------------------


def group_of(dataset):
    return {video.id: video.group for video in dataset.videos}


@pytest.mark.parametrize(
    "text",
    [
        "id,group\nrun/p0,anna\nwalk/p0.mp4,anna\n./run/p1.mp4,bob\n",
        "run/p0,anna\nwalk/p0.mp4,anna\nrun/p1,bob\n",
        "\ufeffVideo;Person;age\r\nrun/p0;anna;7\r\nwalk\\p0.mp4;anna;7\r\nrun/p1;bob;9\r\n",
        'group\tfile\n"anna"\trun/p0\nanna\twalk/p0.mp4\nbob\trun/p1\n',
    ],
    ids=["header", "none", "excel", "tabs"],
)
def test_groups_by_a_table(tree, text, tmp_path, monkeypatch):
    root = tree(SIX)
    (root / "groups.csv").write_text(text, newline="")
    with overheard() as said:
        groups = group_of(index_dataset("folder", root, groups="groups.csv"))
    assert (groups["run/p0"], groups["walk/p0"], groups["run/p1"]) == ("anna", "anna", "bob")
    assert groups["walk/p1"] == "walk/p1"
    assert [line.partition("groups.csv: ")[2] for line in said.warnings] == [
        "9 videos have no group and are their own, first run/p2, run/p3, run/p4, …"
    ]
    assert not any("left out" in line for line in said.notes)
    # The working folder comes before the root.
    monkeypatch.chdir(tmp_path)
    Path("groups.csv").write_text("run/p0,carl\n")
    assert group_of(index_dataset("folder", root, groups="groups.csv"))["run/p0"] == "carl"


def test_groups_of_unknown_videos(tree, tmp_path):
    (tmp_path / "g.csv").write_text("id,group\nrun/p0,anna\nrun/p77,anna\n")
    with overheard() as said:
        index_dataset("folder", tree(SIX), groups=tmp_path / "g.csv")
    assert "1 id is that of no video of folder, first 'run/p77'" in said.warnings[0]
    assert "g.csv:3" in said.warnings[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,group\nrun/p0,anna\nrun/p0.mp4,bob\n", r"g\.csv:3: run/p0 has group 'bob' here and 'anna' at .*g\.csv:2"),
        ("id,group\nx,anna\n", r"g\.csv: tells the group of no video of folder; its ids are such as 'run/p0'"),
        ("id,age\nrun/p0,7\n", r"g\.csv:1: no column 'group' \(or groups, source, subject\); the columns are id, age"),
        ("id,group\nrun/p0\n", r"g\.csv:2: 1 cells, but the header has 2"),
        ("run/p0 anna\n", r"g\.csv:1: expected columns id, group"),
    ],
    ids=["two", "none", "column", "cells", "blanks"],
)
def test_groups_that_cannot_be(tree, tmp_path, text, message):
    (tmp_path / "g.csv").write_text(text)
    with pytest.raises(UsageError, match=message):
        index_dataset("folder", tree(SIX), groups=tmp_path / "g.csv")


def test_groups_told_twice_or_nowhere(tree):
    with pytest.raises(UsageError, match="group_pattern and groups both tell the groups: leave one out"):
        index_dataset("folder", tree([*SIX, "g.csv"]), groups="g.csv", group_pattern="p")
    (tree(SIX) / "g.csv").unlink()
    with pytest.raises(UsageError, match=r"groups=g\.csv: no such file or folder, neither from here nor from "):
        index_dataset("folder", tree(SIX), groups="g.csv")


def test_one_line_warns_of_a_leak(tree):
    root = tree(SIX)
    with overheard() as said:
        index_dataset(root)
    (line,) = said.warnings
    assert re.search(r"videos: nothing tells which videos are cut from one source.*--set groups=FILE\.csv", line)
    with overheard() as said:
        index_dataset(root, group_pattern=r"p\d")
        index_dataset(tree([f"{part}/{name}" for part in ("train", "test") for name in SIX], folder="parted"))
    assert not said.warnings


# --- folds ------------------------------------------------------------------------------------------------------------

PEOPLE = [f"{name}/p{person}_{take}.mp4" for name in ("run", "walk") for person in range(10) for take in range(3)]


def assert_folds(dataset, count):
    """Each video tests once and trains else; groups are whole."""
    assert list(dataset.splits) == [str(number + 1) for number in range(count)]
    ids, group = [video.id for video in dataset.videos], group_of(dataset)
    assert sorted(name for split in dataset.splits.values() for name in split.test) == sorted(ids)
    for split in dataset.splits.values():
        assert set(split.train) == set(ids) - set(split.test)
        assert not {group[name] for name in split.train} & {group[name] for name in split.test}


def test_folds_of_folder(tree):
    root = tree(PEOPLE)
    dataset = index_dataset("folder", root, folds="5", group_pattern=r"/(p\d+)_")
    assert_folds(dataset, 5)
    for split in dataset.splits.values():
        assert sum(name.startswith("run/") for name in split.test) == 6
        assert len(split.test) == 12
    again = index_dataset("folder", root, folds=5, group_pattern=r"/(p\d+)_")
    assert again.splits == dataset.splits
    other = index_dataset("folder", root, folds=5, group_pattern=r"/(p\d+)_", seed=1)
    assert other.splits != dataset.splits


def test_folds_replace_train_beside_test(tree):
    root = tree([f"{part}/{name}" for part in ("train", "test") for name in SIX])
    assert list(index_dataset("folder", root).splits) == ["1"]
    assert_folds(index_dataset("folder", root, folds=3), 3)


def test_folds_of_ucf11_and_ucf_sports(tree):
    names = [f"{name}/v_{name}_{g:02d}/v_{name}_{g:02d}_{c:02d}.mpg" for name in "ab" for g in range(6) for c in (1, 2)]
    assert_folds(index_dataset("ucf11", tree(names), folds=4), 4)
    names = [f"Run-Side/{n:03d}/{tape}-1_{n}.avi" for tape in range(4) for n in range(2)]
    assert_folds(index_dataset("ucf-sports", tree(names, folder="sports"), folds=3), 3)
    assert len(index_dataset("ucf11", tree([])).splits) == 3


def test_folds_of_fewer_groups(tree):
    with pytest.raises(
        UsageError, match="folder: folds=11 is not possible: its 60 videos are of 10 groups; at least 2"
    ):
        index_dataset("folder", tree(PEOPLE), folds=11, group_pattern=r"/(p\d+)_")
    with pytest.raises(UsageError, match="folds=1 is not possible"):
        index_dataset("folder", tree(PEOPLE), folds=1)


def test_a_class_of_one_group_is_said(tree):
    with overheard() as said:
        index_dataset("folder", tree([*SIX, "sit/q1_1.mp4", "sit/q1_2.mp4"]), group_pattern=r"([pq]\d)", folds=2)
    assert said.warnings == [
        "folder: all videos of sit are of one group, so where they test, nothing of their class trains"
    ]


def test_folds_beside_what_they_replace(tree):
    root = tree(PEOPLE)
    with pytest.raises(UsageError, match="folds=5 says all of the splits: leave num_splits, test_share out"):
        index_dataset("folder", root, folds=5, test_share=0.2, num_splits=2)
    parted = tree([f"{part}/{name}" for part in ("train", "test") for name in SIX], folder="parted")
    with pytest.raises(UsageError, match="the splits of folder are given, not drawn: leave test_share out"):
        index_dataset("folder", parted, test_share=0.2)


def test_groups_on_both_sides_of_given_splits_are_noted(tree):
    root = tree([f"{part}/{name}" for part in ("train", "test") for name in SIX])
    with overheard() as said:
        index_dataset("folder", root, group_pattern=r"/(p\d)")
    assert said.notes == ["folder: 6 groups have videos in train and test, first 'p0'"]
