"""folder, list, kinetics, weizmann, ucf11, ucf-sports: layouts, groups, splits, bad input."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from avr.core import UsageError
from avr.datasets import index_dataset


def by_id(dataset):
    return {video.id: video for video in dataset.videos}


# --- bad requests -----------------------------------------------------------------------------------------------------


def test_unknown_data_set_lists_the_known_ones(tmp_path):
    with pytest.raises(
        UsageError, match=r"unknown data set 'hmdb52' \(did you mean hmdb51\?\); known: diving48, folder"
    ):
        index_dataset("hmdb52", tmp_path)


def test_missing_root(tmp_path):
    with pytest.raises(UsageError, match=r"nowhere: no such folder; put the videos of hmdb51 there or .* --root"):
        index_dataset("hmdb51", tmp_path / "nowhere")


def test_root_defaults_to_data_and_the_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=re.escape(f"{Path('data') / 'ucf101'}: no such folder")):
        index_dataset("ucf101")


@pytest.mark.parametrize("name", ["folder", "weizmann", "ucf11", "ucf-sports", "kinetics", "ssv2", "diving48"])
def test_empty_folder(tmp_path, name):
    with pytest.raises(UsageError, match=r"no videos found; expected .*<"):
        index_dataset(name, tmp_path)


def test_missing_split_lists(tmp_path):
    with pytest.raises(UsageError, match=r"splits=.*gone: no such file or folder, neither from here"):
        index_dataset("ucf101", tmp_path, splits=tmp_path / "gone")


def test_split_lists_where_none_are_read(tmp_path):
    with pytest.raises(UsageError, match="weizmann reads no split lists; leave --splits out"):
        index_dataset("weizmann", tmp_path, splits=tmp_path)


def test_unknown_option_lists_the_known_ones(tmp_path):
    with pytest.raises(
        UsageError, match=r"unknown option of data set folder 'sed' \(did you mean seed\?\); known: group_"
    ):
        index_dataset("folder", tmp_path, sed=1)


def test_option_of_another_type(tmp_path):
    with pytest.raises(UsageError, match="seed=one is not possible; seed takes int"):
        index_dataset("folder", tmp_path, seed="one")


# --- folder -----------------------------------------------------------------------------------------------------------


def test_folder_ids_tell_equal_names_apart(tree):
    root = tree(
        ["b/1.avi", "a/1.avi", "a/2.avi", "a/2.mp4", "b/deep/1.AVI", "b/readme.txt", "b/.hidden.avi", "top.avi"]
    )
    dataset = index_dataset("folder", root)
    assert [video.id for video in dataset.videos] == ["a/1", "a/2.avi", "a/2.mp4", "b/1", "b/deep/1"]
    assert [video.label for video in dataset.videos] == [0, 0, 0, 1, 1]
    assert dataset.class_names == ("a", "b")


def test_folder_follows_links_but_not_in_circles(tree):
    root = tree(["a/1.avi", "b/1.avi"])
    elsewhere = tree(["2.avi"], folder="elsewhere")
    (root / "b" / "link").symlink_to(elsewhere)
    (root / "a" / "back").symlink_to(root)
    dataset = index_dataset("folder", root, test_share=0.5)
    assert [video.id for video in dataset.videos] == ["a/1", "b/1", "b/link/2"]


def test_folder_splits_each_class_by_the_share(tree):
    root = tree([f"{name}/{number}.avi" for name in "ab" for number in range(20)])
    split = index_dataset("folder", root, seed=3).splits["1"]
    assert sum(name.startswith("a/") for name in split.test) == 6
    assert sum(name.startswith("b/") for name in split.test) == 6
    assert sorted(split.train + split.test) == sorted(f"{name}/{number}" for name in "ab" for number in range(20))
    assert index_dataset("folder", root, seed="3").splits["1"] == split
    assert index_dataset("folder", root, seed=4).splits["1"].test != split.test


def test_folder_never_parts_a_group(tree):
    root = tree([f"{name}/p{person}_{take}.avi" for name in "ab" for person in range(10) for take in range(3)])
    dataset = index_dataset("folder", root, group_pattern=r"/(p\d+)_", num_splits=3)
    group = {video.id: video.group for video in dataset.videos}
    assert set(group.values()) == {f"p{person}" for person in range(10)}
    assert list(dataset.splits) == ["1", "2", "3"]
    for split in dataset.splits.values():
        assert len({group[name] for name in split.test}) == 3
        assert not {group[name] for name in split.test} & {group[name] for name in split.train}


def test_folder_with_train_and_test_folders_keeps_them(tree):
    dataset = index_dataset("folder", tree(["train/a/1.avi", "train/b/1.avi", "val/a/1.avi"]))
    assert dataset.class_names == ("a", "b")
    assert dataset.splits["1"].train == ("train/a/1", "train/b/1")
    assert dataset.splits["1"].test == ("val/a/1",)


def test_folder_pattern_that_never_matches(tree):
    with pytest.raises(UsageError, match=r"the group pattern 'g\(9\)' matches no video, such as 'a/1'"):
        index_dataset("folder", tree(["a/1.avi"]), group_pattern="g(9)")


def test_folder_pattern_that_is_none(tree):
    with pytest.raises(UsageError, match=r"the group pattern '\(' is no regular expression"):
        index_dataset("folder", tree(["a/1.avi"]), group_pattern="(")


def test_folder_of_one_group_cannot_be_split(tree):
    with pytest.raises(UsageError, match="2 videos in 1 groups cannot be split by group: one side is empty"):
        index_dataset("folder", tree(["a/x1.avi", "b/x2.avi"]), group_pattern="x")


# --- list -------------------------------------------------------------------------------------------------------------


def test_list_of_videos(tree):
    root = tree(["run/a b.mp4", "run/c.mp4", "sit/d.mp4"])
    (root / "x_train_split_2_videos.txt").write_text("run/a b.mp4 1\nsit/d.mp4 0\n")
    (root / "x_val_split_2_videos.txt").write_text("run/c.mp4 1\n")
    dataset = index_dataset("list", root)
    assert dataset.class_names == ("sit", "run")
    assert list(dataset.splits) == ["2"]
    assert dataset.splits["2"].train == ("run/a b", "sit/d")
    assert dataset.splits["2"].test == ("run/c",)
    assert by_id(dataset)["run/a b"].frames is None


@pytest.mark.parametrize("first", [0, 1])
def test_list_of_raw_frames(tree, first):
    names = [
        f"v1/{kind}_{number:05d}.jpg" for kind in ("img", "flow_x", "flow_y") for number in range(first, first + 3)
    ]
    root = tree(names)
    (root / "ucf101_rgb_train_split_1.txt").write_text("v1 3 0\n")
    (root / "ucf101_rgb_val_split_1.txt").write_text("")
    video = index_dataset("list", root).videos[0]
    assert video.id == "v1"
    assert video.path == root / "v1"
    assert video.frames.first == first
    assert video.frames.count == 3
    assert video.frames.flow_x.format(7) == "flow_x_00007.jpg"


def test_list_with_offset_and_templates(tree):
    root = tree(["v.1/frame0.png"])
    (root / "train.txt").write_text("v.1 30 120 2\n")
    video = index_dataset("list", root, image="frame{}.png", flow="{axis}/{}.jpg").videos[0]
    assert (video.frames.flow_x, video.frames.flow_y) == ("x/{}.jpg", "y/{}.jpg")
    assert (video.id, video.group, video.start, video.end) == ("v.1@30", "v.1", None, None)
    assert (video.frames.first, video.frames.count) == (30, 120)


@pytest.mark.parametrize("first_label", [None, "1"])
def test_list_class_names_and_first_label(tree, first_label):
    root = tree(["1.avi", "2.avi"])
    (root / "trainlist01.txt").write_text("1.avi 1\n")
    (root / "testlist01.txt").write_text("2.avi 2\n")
    (root / "classInd.txt").write_text("1 Zebra\n2 Ant\n")
    dataset = index_dataset("list", root, first_label=first_label)
    assert dataset.class_names == ("Zebra", "Ant")
    assert [video.label for video in dataset.videos] == [1, 0]  # test list first, by file name
    (root / "classInd.txt").write_text("Zebra\nAnt\n")
    if first_label is None:
        with pytest.raises(
            UsageError, match=r"classInd\.txt: 2 class names, but a label is 2 \(.*testlist01\.txt:1\); --set first_l"
        ):
            index_dataset("list", root)


def test_list_takes_what_is_there_of_two_kinds(tree):
    root = tree(["carnival/a.avi", "carnival/b.avi", "carnival/b/img_00001.jpg"])
    (root / "carnival_train_rawframes.txt").write_text("carnival/a 9 0\ncarnival/b 1 0\n")
    (root / "carnival_train_videos.txt").write_text("carnival/a.avi 0\ncarnival/b.avi 0\n")
    videos = by_id(index_dataset("list", root))
    assert videos["carnival/a"].frames is None
    assert videos["carnival/b"].frames.count == 1
    videos = by_id(index_dataset("list", root, files="*_videos.txt"))
    assert videos["carnival/b"].frames is None


@pytest.mark.parametrize("line", ["a.avi", "a.avi x", "folder 3", "a.avi 10 3"])
def test_list_line_that_does_not_parse(tree, line):
    root = tree(["a.avi"])
    (root / "train.txt").write_text(f"a.avi 0\n\n{line}\n")
    with pytest.raises(UsageError, match=r"train\.txt:3: expected '<video> <label>' or '<folder> \[<start>\]"):
        index_dataset("list", root)


def test_list_video_with_two_labels(tree):
    root = tree(["a.avi"])
    (root / "train.txt").write_text("a.avi 0\n")
    (root / "val.txt").write_text("a.avi 1\n")
    with pytest.raises(UsageError, match=r"val\.txt:1: a has label 1 here and 0 at .*train\.txt:1"):
        index_dataset("list", root)


def test_list_without_annotation_files(tree):
    with pytest.raises(UsageError, match=r"no annotation files .*; give --splits FILE or DIR"):
        index_dataset("list", tree(["a.avi"]))


def test_list_without_any_of_its_videos(tree):
    root = tree(["a.avi"])
    (root / "train.txt").write_text("b.avi 0\n")
    with pytest.raises(UsageError, match=r"list: none of the 1 listed videos is in .*, such as b"):
        index_dataset("list", root)


def test_list_with_a_bad_template(tree):
    root = tree(["a/x.jpg"])
    (root / "train.txt").write_text("a 1 0\n")
    with pytest.raises(UsageError, match=r"option image: 'img_\{:05q\}' is no format of a frame number"):
        index_dataset("list", root, image="img_{:05q}")


# --- kinetics ---------------------------------------------------------------------------------------------------------

HEADER = "label,youtube_id,time_start,time_end,split\n"


def test_kinetics(tree, capsys):
    root = tree(["train/push up/-_abc_de-12_000001_000011.mp4", "val/AAAAAAAAAAA_000120_000130.mp4", "B_B.mp4"])
    (root / "train.csv").write_text(HEADER + "push up,-_abc_de-12,1,11,train\nair drumming,B_B,3,13,train\n")
    (root / "validate.csv").write_text(HEADER + '"push up",AAAAAAAAAAA,120,130,validate\npush up,gone,1,2,validate\n')
    dataset = index_dataset("kinetics", root)
    assert dataset.class_names == ("air drumming", "push up")
    assert dataset.splits["1"].train == ("train/push up/-_abc_de-12_000001_000011", "B_B")
    assert dataset.splits["1"].test == ("val/AAAAAAAAAAA_000120_000130",)
    assert by_id(dataset)["train/push up/-_abc_de-12_000001_000011"].group == "-_abc_de-12"
    assert "kinetics: 1 of 4 listed videos are not there: gone_000001_000002" in capsys.readouterr().err


def test_kinetics_split_1_is_what_the_lists_say_whichever_clips_are_there(tree):
    root = tree(["a_000001_000002.mp4", "b_000001_000002.mp4"])
    (root / "train.csv").write_text(HEADER + "push up,a,1,2,train\n")
    (root / "test.csv").write_text(HEADER + "push up,b,1,2,test\n")
    assert index_dataset("kinetics", root).splits["1"].test == ("b_000001_000002",)
    (root / "validate.csv").write_text(HEADER + "push up,gone,1,2,validate\n")
    splits = index_dataset("kinetics", root).splits
    assert [splits[name].test for name in ("1", "test")] == [(), ("b_000001_000002",)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("label,id\n", r"train\.csv:1: no column 'youtube_id'; the columns are label, id"),
        (HEADER + "a,b,x,2,train\n", r"train\.csv:2: time_start and time_end must be seconds"),
        (HEADER + "a,,1,2,train\n", r"train\.csv:2: no youtube_id"),
        (HEADER + "a,gone,1,2,train\n", "none of the 1 listed videos is in .*, such as gone_000001_000002"),
    ],
    ids=["columns", "times", "no id", "no clip"],
)
def test_kinetics_bad_lists(tree, text, message):
    root = tree(["b_000001_000002.mp4"])
    (root / "train.csv").write_text(text)
    with pytest.raises(UsageError, match=message):
        index_dataset("kinetics", root)


def test_kinetics_list_in_another_encoding(tree):
    root = tree(["b_000001_000002.mp4"])
    (root / "train.csv").write_bytes(HEADER.encode() + b"caf\xe9,b,1,2,train\n")
    with pytest.raises(UsageError, match=r"train\.csv:2: byte 0xe9 is no UTF-8: save the file as UTF-8 \(`iconv"):
        index_dataset("kinetics", root)


# --- ssv2, diving48 ---------------------------------------------------------------------------------------------------


def write_json(path, value):
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value))


SOMETHING = {"Holding something": "0", "Putting something onto something": "1"}


def something(clip, template):
    return {"id": clip, "label": "holding a potato", "template": template, "placeholders": ["a potato"]}


@pytest.mark.parametrize("prefix", ["labels/", "something-something-v2-"])
def test_ssv2(tree, capsys, prefix):
    root = tree(["20bn/101.webm", "20bn/9.webm", "20bn/30.mp4", "20bn/77.webm", "20bn/5.webm"])
    write_json(root / f"{prefix}labels.json", SOMETHING)
    onto = "Putting [something] onto [something]"
    train = [something("101", onto), something("9", "Holding [something]"), something("8", onto)]
    write_json(root / f"{prefix}train.json", train)
    write_json(root / f"{prefix}validation.json", [something("30", onto)])
    write_json(root / f"{prefix}test.json", [{"id": "77"}, {"id": "5"}])
    (root / f"{prefix}test-answers.csv").write_text("77;Holding something\n")
    dataset = index_dataset("ssv2", root)
    assert dataset.class_names == tuple(SOMETHING)
    assert {video.id: video.label for video in dataset.videos} == {
        "20bn/9": 0,
        "20bn/30": 1,
        "20bn/77": 0,
        "20bn/101": 1,
    }
    assert dataset.splits["1"].train == ("20bn/9", "20bn/101")
    assert [dataset.splits[name].test for name in ("1", "test")] == [("20bn/30",), ("20bn/77",)]
    said = capsys.readouterr().err
    assert "ssv2: 1 of 5 listed videos are not there: 8" in said
    assert "1 video file under" in said


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("labels.json", ["a"], r"labels\.json: expected an object of classes and their numbers, 0 … K-1"),
        ("labels.json", {"a": "1"}, r"labels\.json: expected an object of classes and their numbers"),
        ("train.json", {"id": "1"}, r"train\.json: expected a list of objects with id, template"),
        ("train.json", [{"id": "1"}], r"train\.json: entry 1: no template"),
        ("train.json", [something("1", "Eating [something]")], "entry 1: 'Eating something' is no class"),
        ("train.json", [something("2", "Holding [something]")], "2 has part 'val' here and 'train' at .*entry 1"),
    ],
)
def test_ssv2_bad_lists(tree, name, value, message):
    root = tree(["1.webm", "2.webm"])
    write_json(root / "labels.json", SOMETHING)
    write_json(root / "train.json", [something("1", "Holding [something]")])
    write_json(root / "validation.json", [something("2", "Holding [something]")])
    write_json(root / name, value)
    with pytest.raises(UsageError, match=message):
        index_dataset("ssv2", root)


def test_ssv2_json_that_is_cut(tree):
    root = tree(["1.webm"])
    (root / "labels.json").write_text('{"Holding something":\n "0"')
    with pytest.raises(UsageError, match=r"labels\.json:2: no JSON: Expecting ',' delimiter"):
        index_dataset("ssv2", root)


def dive(clip, label):
    return {"vid_name": clip, "label": label, "start_frame": 0, "end_frame": 99}


def test_diving48(tree, capsys):
    root = tree(["rgb/-u_x_00025.mp4", "rgb/-u_x_00026.mp4", "rgb/zzz_00001.mp4"])
    write_json(root / "Diving48_V2_train.json", [dive("-u_x_00025", 1), dive("zzz_00001", 0)])
    write_json(root / "Diving48_V2_test.json", [dive("-u_x_00026", 1)])
    write_json(root / "Diving48_vocab.json", [["Back", "15som", "05Twis", "FREE"], ["Back", "15som", "NoTwis", "PIKE"]])
    dataset = index_dataset("diving48", root)
    assert dataset.class_names == ("Back 15som 05Twis FREE", "Back 15som NoTwis PIKE")
    assert {video.id: (video.label, video.group) for video in dataset.videos} == {
        "rgb/-u_x_00025": (1, "-u_x"),
        "rgb/-u_x_00026": (1, "-u_x"),
        "rgb/zzz_00001": (0, "zzz"),
    }
    assert (dataset.splits["1"].train, dataset.splits["1"].test) == (
        ("rgb/-u_x_00025", "rgb/zzz_00001"),
        ("rgb/-u_x_00026",),
    )
    assert list(dataset.splits) == ["1"]
    assert "1 group has videos in train and test" in capsys.readouterr().err
    write_json(root / "Diving48_V2_test.json", [dive("-u_x_00026", "pike")])
    with pytest.raises(UsageError, match=r"test\.json: entry 1: label 'pike' is no class number"):
        index_dataset("diving48", root)


# --- weizmann, ucf11, ucf-sports --------------------------------------------------------------------------------------


def test_weizmann_leaves_one_person_out(tree):
    root = tree(
        ["run/lena_run1.avi", "run/lena_run2.avi", "wave1/ido_wave1.avi", "wave2/ido_wave2.avi", "daria_bend.avi"]
    )
    dataset = index_dataset("weizmann", root)
    assert list(dataset.splits) == ["daria", "ido", "lena"]
    assert dataset.splits["lena"].test == ("run/lena_run1", "run/lena_run2")
    names = {video.id: (dataset.class_names[video.label], video.group) for video in dataset.videos}
    assert names["wave2/ido_wave2"] == ("wave2", "ido")
    assert names["run/lena_run2"] == ("run", "lena")
    assert names["daria_bend"] == ("bend", "daria")


def test_weizmann_real(real_data):
    dataset = index_dataset("weizmann", real_data / "weizmann")
    assert len(dataset.videos) == 90
    assert len(dataset.splits) == 9
    assert all((len(split.train), len(split.test)) == (80, 10) for split in dataset.splits.values())


def test_weizmann_other_file(tree):
    with pytest.raises(UsageError, match=r"x_swim\.avi: not a Weizmann clip; expected <person>_<action>\.avi"):
        index_dataset("weizmann", tree(["x_swim.avi"]))


def test_ucf11_groups_are_of_a_class(tree):
    names = [
        f"basketball/v_shooting_{group:02d}/v_shooting_{group:02d}_{clip:02d}.mpg"
        for group in range(1, 11)
        for clip in (1, 2)
    ]
    names += [name.replace("basketball", "biking").replace("shooting", "biking") for name in names]
    dataset = index_dataset("ucf11", tree(f"UCF11_updated_mpg/{name}" for name in names))
    videos = by_id(dataset)
    assert videos["basketball/v_shooting_03/v_shooting_03_02"].group == "basketball_03"
    for split in dataset.splits.values():
        assert (len(split.train), len(split.test)) == (28, 12)
        assert not {videos[name].group for name in split.train} & {videos[name].group for name in split.test}


def test_splits_drawn_by_video_are_stratified_and_of_a_seed(tree, capsys):
    """Ou & Sun's protocol: seven of ten videos of each class train, whatever their scene."""
    names = [
        f"{name}/v_{name}_{g:02d}/v_{name}_{g:02d}_{c:02d}.mpg" for name in "ab" for g in range(9) for c in (1, 2, 3)
    ]
    root = tree(names[:-4])  # 27 and 23 videos
    one, same, other = (index_dataset("ucf11", root, by="video", seed=seed) for seed in (3, 3, 4))
    assert one.name == "ucf11"
    assert list(one.splits) == ["video-1", "video-2", "video-3"]
    assert one.splits == same.splits
    assert other.splits["video-1"].test == one.splits["video-2"].test  # of seed + 1
    assert one.splits["video-1"].test != one.splits["video-2"].test
    for split in one.splits.values():
        assert {*split.train} | {*split.test} == {video.id for video in one.videos}
        tested = Counter(name[0] for name in split.test)
        assert (tested["a"], tested["b"]) == (round(0.3 * 27), round(0.3 * 23))
    assert "groups have videos in train and test" in capsys.readouterr().err
    with pytest.raises(UsageError, match="folds=3 keeps groups whole: leave by=video out"):
        index_dataset("ucf11", root, by="video", folds=3)


def test_ucf_sports_classes_and_tapes(tree, capsys):
    names = [
        "Golf-Swing-Back/001/3283-8_70275.avi",
        "Golf-Swing-Front/001/RF1-1_70.avi",
        "Golf-Swing-Side/001/RF1-2_70.avi",
    ]
    names += [f"Swing-SideAngle/{n:03d}/4456-16_{n}.avi" for n in range(4)]
    names += ["Swing-Bench/001/2-1_7.avi", "Swing-Bench/002/2-1_8.avi", "Swing-Bench/003/2-2_9.avi"]
    dataset = index_dataset("ucf-sports", tree(names))
    assert dataset.class_names == ("Golf-Swing", "Swing-Bench", "Swing-Side")
    videos = by_id(dataset)
    assert videos["Golf-Swing-Back/001/3283-8_70275"].group == "Golf-Swing/3283-8"
    assert videos["Swing-Bench/002/2-1_8"].group == "Swing-Bench/2-1"
    assert videos["Swing-SideAngle/001/4456-16_1"].group == "Swing-SideAngle/001/4456-16_1"
    assert "all clips of Swing-Side are of one tape" in capsys.readouterr().err
