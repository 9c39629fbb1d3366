"""Lists: csv tables as people have them, contradictions, formats read in two ways, names of other systems."""

import json
import unicodedata

import pytest

from avr.cli import main
from avr.core import UsageError, overheard
from avr.datasets import RawFrames, index_dataset

FOUR = ["c/1.mp4", "c/2.mp4", "c/3.mp4", "c/4.mp4"]


def listed(tree, text, *, names=FOUR, file="clips.csv", **options):
    """The data set of one list."""
    root = tree(names)
    data = text if isinstance(text, bytes) else text.encode()
    (root / file).write_bytes(data)
    return index_dataset("list", root, **options)


def by_id(dataset):
    return {video.id: video for video in dataset.videos}


# --- csv --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "path,label,split\nc/1.mp4,run,train\nc/2.mp4,walk,train\nc/3.mp4,run,test\n",
        "\ufeffVideo Path;Class;Set\r\nc\\1.mp4;run;Training\r\nc\\2.mp4;walk;train\r\nc\\3.mp4;run;TEST\r\n",
        'split\tfilename\taction\n"train"\t"c/1.mp4"\t"run"\ntrain\t./c/2.mp4\twalk\ntest\tc/3.mp4\trun\n',
        "clip_name,clip_path,label,split\na,/c/1.mp4,run,train\nb,/c/2.mp4,walk,train\n\nc,/c/3.mp4,run,val\n",
    ],
    ids=["plain", "excel", "tabs", "kaggle"],
)
def test_a_table(tree, text):
    dataset = listed(tree, text)
    assert dataset.class_names == ("run", "walk")
    assert [(video.id, video.label) for video in dataset.videos] == [("c/1", 0), ("c/2", 1), ("c/3", 0)]
    assert dataset.splits["1"].train == ("c/1", "c/2")
    assert dataset.splits["1"].test == ("c/3",)


def test_a_table_without_a_header(tree):
    dataset = listed(tree, 'c/1.mp4,run\nc/2.mp4,"to walk"\nc/3.mp4,run\nc/4.mp4,run\n', folds=2)
    assert dataset.class_names == ("run", "to walk")
    assert len(dataset.splits["1"].test) == 2


def test_a_table_of_all_videos_draws_its_splits(tree):
    text = "path,label,group\n" + "".join(f"c/{n}.mp4,{'ab'[n % 2]},g{n // 2}\n" for n in range(12))
    names = [f"c/{n}.mp4" for n in range(12)]
    dataset = listed(tree, text, names=names, num_splits=2, seed=3)
    assert list(dataset.splits) == ["1", "2"]
    assert {video.group for video in dataset.videos} == {f"g{n}" for n in range(6)}
    group = {video.id: video.group for video in dataset.videos}
    folds = listed(tree, text, names=names, folds=3).splits
    assert sorted(name for split in folds.values() for name in split.test) == sorted(group)
    for split in folds.values():
        assert not {group[name] for name in split.train} & {group[name] for name in split.test}


def test_a_table_of_folds(tree):
    text = "path,label,fold\nc/1.mp4,a,10\nc/2.mp4,b,2\nc/3.mp4,a,2\nc/4.mp4,b,fold1\n"
    splits = listed(tree, text).splits
    assert list(splits) == ["1", "2", "10"]
    assert splits["2"].test == ("c/2", "c/3")
    assert splits["2"].train == ("c/1", "c/4")


def test_tables_named_by_their_part(tree):
    root = tree(FOUR)
    (root / "train.csv").write_text("video,label\nc/1.mp4,a\nc/2.mp4,b\n")
    (root / "test.tsv").write_text("video\tlabel\nc/3.mp4\ta\n")
    split = index_dataset("list", root).splits["1"]
    assert (split.train, split.test) == (("c/1", "c/2"), ("c/3",))
    assert len(index_dataset("list", root, folds=3).splits) == 3
    (root / "test.tsv").unlink()
    (root / "test.csv").write_text("video\n")
    (root / "val.csv").write_text("c/3.mp4 a\n")
    (root / "val.csv").write_text("c/3.mp4,a\n")
    (root / "test.csv").write_text("video,size\nc/4.mp4,7\n")
    with overheard() as said:
        assert index_dataset("list", root).splits["1"].test == ("c/3",)
    assert any("test.csv: left out, as it has no labels" in line for line in said.notes)


def test_a_table_beside_lists_of_parts(tree):
    root = tree(FOUR)
    (root / "train.txt").write_text("c/1.mp4 0\n")
    (root / "test.txt").write_text("c/2.mp4 0\n")
    (root / "all.csv").write_text("path,label\nc/1.mp4,a,b\n")
    with overheard() as said:
        assert len(index_dataset("list", root).videos) == 2
    assert f"left out beside lists of parts: {root / 'all.csv'}" in said.notes


def test_intervals(tree):
    text = (
        "path,label,start,end,split\nc/1.mp4,run,0,2.50,train\nc/1.mp4,walk,2.5,4,train\nc/1.mp4,walk,4,,train\n"
        "c/2.mp4,run,,3,test\nc/3.mp4,walk,,,test\n"
    )
    dataset = listed(tree, text)
    found = [(video.id, video.group, video.start, video.end) for video in dataset.videos]
    assert found == [
        ("c/1@0-2.5", "c/1", 0.0, 2.5),
        ("c/1@2.5-4", "c/1", 2.5, 4.0),
        ("c/1@4-", "c/1", 4.0, None),
        ("c/2@0-3", "c/2", 0.0, 3.0),
        ("c/3", "c/3", None, None),
    ]
    assert dataset.splits["1"].test == ("c/2@0-3", "c/3")


def test_intervals_share_their_file_unless_a_group_is_given(tree):
    rows = "c/1.mp4;a;0,5;1\nc/1.mp4;b;1;2\nc/2.mp4;b;0;1\n"
    assert by_id(listed(tree, "path;label;start;end\n" + rows))["c/1@0.5-1"].start == 0.5  # a comma for the point
    root = tree([])
    (root / "g.csv").write_text("id,group\nc/1@1-2,x\nc/2,x\n")
    groups = {video.id: video.group for video in index_dataset("list", root, groups="g.csv", folds=2).videos}
    assert groups == {"c/1@0.5-1": "c/1", "c/1@1-2": "x", "c/2@0-1": "x"}
    (root / "g.csv").write_text("id,group\nc/1.mp4,y\nc/2,x\n")
    groups = {video.id: video.group for video in index_dataset("list", root, groups="g.csv", folds=2).videos}
    assert groups == {"c/1@0.5-1": "y", "c/1@1-2": "y", "c/2@0-1": "x"}
    text = "path,label,start,end,group\nc/1.mp4,a,0,1,\nc/1.mp4,a,1,2,z\nc/2.mp4,b,0,1,\n"
    assert [video.group for video in listed(tree, text, folds=2).videos] == ["z", "z", "c/2"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("c/1.mp4,a,x,2", r"clips\.csv:2: start 'x': expected seconds"),
        ("c/1.mp4,a,-1,2", r"clips\.csv:2: start '-1': expected seconds"),
        ("c/1.mp4,a,nan,2", r"clips\.csv:2: start 'nan': expected seconds"),
        ("c/1.mp4,a,3,2", r"clips\.csv:2: it ends at 2 s, but starts at 3 s"),
        ("c/1.mp4,,1,2", r"clips\.csv:2: no label"),
        (",a,1,2", r"clips\.csv:2: no path"),
        ("c/1.mp4,a,1", r"clips\.csv:2: 3 cells, but the header has 4"),
        ("c/1.xyz,a,1,2", r"clips\.csv:2: \.xyz is no known video"),
        ("c,a,1,2", r"clips\.csv:2: c is a folder; raw frames are listed as lines '<folder>"),
    ],
)
def test_rows_that_cannot_be(tree, row, message):
    with pytest.raises(UsageError, match=message):
        listed(tree, f"path,label,start,end\n{row}\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "path,size\nc/1.mp4,3\n",
            r"clips\.csv:1: no column 'label' \(or class, action, target\); the columns are path",
        ),
        (
            "path,label,split\nc/1.mp4,a,maybe\n",
            r"clips\.csv:2: 'maybe' is no split: expected train, val or test, or the",
        ),
        (
            "path,label,split\nc/1.mp4,a,train\nc/2.mp4,a,3\n",
            r"csv:3: the number of a fold is told here, but a part|csv:2",
        ),
        ("path,label,split\nc/1.mp4,a,1\nc/2.mp4,a,1\n", r"all videos are of fold 1: at least two folds are needed"),
        (
            b"path,label\nc/caf\xe9.mp4,a\n",
            r"clips\.csv:2: byte 0xe9 is no UTF-8: save the file as UTF-8 \(`iconv -f lat",
        ),
        (
            "path,label\nc/1.mp4,a\n".encode("utf-16"),
            r"clips\.csv: is UTF-16, or no text: save it as UTF-8 \(`iconv -f utf",
        ),
    ],
    ids=["column", "part", "mixed", "one fold", "latin-1", "utf-16"],
)
def test_tables_that_cannot_be(tree, text, message):
    root = tree(FOUR)
    (root / "clips.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UsageError, match=message):
        index_dataset("list", root, splits=root / "clips.csv")


def test_names_without_a_suffix(tree):
    text = "video_id,label\nc/1,a\nc\\2,b\ngone,b\n"
    assert [video.id for video in listed(tree, text, folds=2).videos] == ["c/1", "c/2"]
    with pytest.raises(UsageError, match=r"clips\.csv:2: c/1 is 1\.mkv and 1\.mp4: give the suffix"):
        listed(tree, text, names=["c/1.mkv"])


def test_columns_that_are_not_read_are_said(tree):
    with overheard() as said:
        listed(tree, "path,label,camera,age\nc/1.mp4,a,x,7\nc/2.mp4,a,x,7\n")
    assert [line for line in said.notes if "not read" in line and line.endswith("column camera, age")]
    assert len([line for line in said.notes if "not read" in line]) == 1


def test_videos_in_no_list_are_counted(tree, runner):
    root = tree(FOUR)
    (root / "clips.csv").write_text("path,label\nc/1.mp4,a\nc/2.mp4,b\n")
    found = json.loads(
        runner.invoke(main, ["datasets", "show", "list", "--root", str(root), "--set", "folds=2", "--json"]).stdout
    )
    assert found["notes"] == [f"list: 2 video files under {root} are in no list and left out"]
    assert "nothing tells which videos are cut from one source" in found["warnings"][-1]


# --- contradictions ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label\nc/1.mp4,a\nc/2.mp4,a\nc/1.mp4,b\n", r"clips\.csv:4: c/1 has label 'b' here and 'a' at .*csv:2"),
        (
            "path,label,split\nc/1.mp4,a,train\nc/1.mp4,a,test\n",
            r"csv:3: c/1 has part 'test' here and 'train' at .*csv:2",
        ),
        ("path,label,split\nc/1.mp4,a,1\nc/1.mp4,a,2\n", r"csv:3: c/1 has fold 2 here and 1 at .*csv:2"),
        ("path,label,group\nc/1.mp4,a,x\nc/1.mp4,a,y\n", r"csv:3: c/1 has group 'y' here and 'x' at .*csv:2"),
    ],
    ids=["labels", "parts", "folds", "groups"],
)
def test_contradictions_name_both_places(tree, text, message):
    with pytest.raises(UsageError, match=message):
        listed(tree, text)


def test_equal_doubles_are_fine(tree):
    dataset = listed(tree, "path,label,split\nc/1.mp4,a,train\n./c/1.mp4,a,train\nc/2.mp4,b,test\n")
    assert dataset.splits["1"].train == ("c/1",)


def test_a_video_in_train_and_test_lists(tree):
    root = tree(FOUR)
    (root / "train.txt").write_text("c/1.mp4 0\nc/2.mp4 1\n")
    (root / "val.txt").write_text("c/3.mp4 0\nc/2.mp4 1\n")
    with pytest.raises(UsageError, match=r"val\.txt:2: c/2 has part 'val' here and 'train' at .*train\.txt:2"):
        index_dataset("list", root)
    (root / "test.txt").write_text("c/4.mp4 0\n")  # val is left out then
    assert index_dataset("list", root).splits["1"].test == ("c/4",)


def test_official_lists_that_contradict_themselves(tree):
    root = tree(["A/v_A_g01_c01.avi", "A/v_A_g02_c01.avi"])
    (root / "classInd.txt").write_text("1 A\n")
    (root / "trainlist01.txt").write_text("A/v_A_g01_c01.avi 1\nA/v_A_g02_c01.avi 1\n")
    (root / "testlist01.txt").write_text("A/v_A_g02_c01.avi\n")
    with pytest.raises(UsageError, match=r"A/v_A_g02_c01 has part 't\w+' here and 't\w+' at .*list01\.txt:\d"):
        index_dataset("ucf101", root)
    root = tree(["wave/a_wave_u_nm_np1_ba_goo_0.avi"], folder="hmdb")
    (root / "wave_test_split1.txt").write_text("a_wave_u_nm_np1_ba_goo_0.avi 1\na_wave_u_nm_np1_ba_goo_0.avi 2\n")
    with pytest.raises(UsageError, match=r"split1\.txt:2: wave/a_wave_\w+ has mark 2 here and 1 at .*split1\.txt:1"):
        index_dataset("hmdb51", root)


HEADER = "label,youtube_id,time_start,time_end,split\n"


def test_kinetics_contradictions_folds_and_shared_groups(tree):
    root = tree([f"{name}_{start:06d}_{start + 10:06d}.mp4" for name in "ab" for start in (0, 10)])
    (root / "train.csv").write_text(HEADER + "eat,a,0,10,train\nrun,b,0,10,train\n")
    (root / "val.csv").write_text(HEADER + "eat,a,10,20,val\nrun,b,10,20,val\n")
    with overheard() as said:
        index_dataset("kinetics", root)
    assert said.notes == ["kinetics: 2 groups have videos in train and test, first 'a'"]
    folds = index_dataset("kinetics", root, folds=2).splits
    assert sorted(map(len, (folds["1"].test, folds["2"].test))) == [2, 2]
    (root / "val.csv").write_text(HEADER + "run,a,0,10,val\n")
    with pytest.raises(
        UsageError, match=r"val\.csv:2: a_000000_000010 has label 'run' here and 'eat' at .*train\.csv:2"
    ):
        index_dataset("kinetics", root)


# --- classes ----------------------------------------------------------------------------------------------------------


def test_a_date_is_no_label(tree):
    root = tree(FOUR)
    (root / "train.txt").write_text("c/1.mp4 0\nc/2.mp4 20231130\n")
    with pytest.raises(
        UsageError, match=r"train\.txt:2: label 20231130, but the lists hold 2 labels: is the last column"
    ):
        index_dataset("list", root)


@pytest.mark.parametrize("line", ["c/1.mp4 {}", "c/1.mp4 {} 0", "c {} 0", "c {} 3 0", "c/1.mp4,{}"])
def test_numbers_beyond_measure(tree, line):
    with pytest.raises(UsageError) as error:
        listed(tree, line.format("1" * 5000), file="train.txt")
    assert "\n" not in str(error.value)


def test_classes_are_made_for_labels_that_occur(tree):
    dataset = listed(tree, "c/1.mp4 3\nc/2.mp4 9\nc/3.mp4 3\n", file="train.txt")
    assert dataset.class_names == ("3", "9")
    assert [video.label for video in dataset.videos] == [0, 1, 0]


def test_class_names_are_compared_with_labels(tree):
    root = tree(FOUR)
    (root / "train.csv").write_text("path,label\nc/1.mp4,walk\nc/2.mp4,run\n")
    (root / "names.txt").write_text("walk\nrun\nsit\nbow\n")
    with overheard() as said:
        dataset = index_dataset("list", root, classes="names.txt")  # from the root, as it is not here
    assert dataset.class_names == ("walk", "run", "sit", "bow")
    assert [video.label for video in dataset.videos] == [0, 1]
    assert any("names 4 classes, the lists have videos of 2; none of sit, bow" in line for line in said.notes)
    (root / "names.txt").write_text("walk\nsit\n")
    with pytest.raises(UsageError, match=r"train\.csv:3: class 'run' is not in .*names\.txt: walk, sit"):
        index_dataset("list", root, classes="names.txt")


def test_class_names_that_end_or_begin_in_numbers(tree):
    root = tree(FOUR)
    (root / "train.txt").write_text("c/1.mp4 0\nc/2.mp4 1\n")
    (root / "names.txt").write_text("3 points\njump 1\n")
    assert index_dataset("list", root, classes="names.txt").class_names == ("3 points", "jump 1")
    (root / "names.txt").write_text("0 jump\n1 jump\n")
    with pytest.raises(UsageError, match=r"names\.txt:2: class 'jump' stands at line 1, too"):
        index_dataset("list", root, classes="names.txt")


def test_files_are_looked_for_here_and_then_in_the_root(tree, tmp_path, monkeypatch):
    root = tree(FOUR)
    monkeypatch.chdir(tmp_path)
    (root / "mine.txt").write_text("c/1.mp4 0\nc/2.mp4 1\n")
    assert len(index_dataset("list", root, files="mine.*", folds=2).videos) == 2
    assert len(index_dataset("list", root, splits="mine.txt", folds=2).videos) == 2
    (tmp_path / "mine.txt").write_text("c/1.mp4 0\nc/2.mp4 1\nc/3.mp4 1\n")
    assert len(index_dataset("list", root, files="mine.*", folds=2).videos) == 2  # a mere name is one in the root
    assert len(index_dataset("list", root, files="./mine.*", folds=2).videos) == 2
    (root / "mine.txt").unlink()
    assert len(index_dataset("list", root, files="./mine.*", folds=2).videos) == 3
    with pytest.raises(UsageError, match=r"no annotation files \(no\*\) in .*; give --splits FILE or DIR"):
        index_dataset("list", root, files="no*")


# --- one format a file ------------------------------------------------------------------------------------------------


def frames_tree(tree, counts):
    return tree([f"{name}/img_{number:05d}.jpg" for name, count in counts.items() for number in range(1, count + 1)])


@pytest.mark.parametrize(
    ("lines", "what"),
    [
        (
            "imgs 5 1\nimgs 5 3 5\n",
            r"train\.txt:2: 'imgs 5 3 5' is start 5, 3 frames, label 5, or 5 frames with labels 3 and",
        ),
        ("imgs 5 3 5\n", r"train\.txt:1: .*: the folder ends behind its 5 images; several labels are not"),
        ("gone 5 1\ngone 5 3 5\n", r"train\.txt:2: .*: another line has two numbers; several labels"),
        ("a.mp4 1 3\n", r"train\.txt:1: expected '<video> <label>'.*; found 'a\.mp4 1 3'; several labels are not"),
    ],
)
def test_several_labels_are_refused(tree, lines, what):
    root = frames_tree(tree, {"imgs": 5})
    (root / "train.txt").write_text(lines)
    with pytest.raises(UsageError, match=what):
        index_dataset("list", root)


def test_folders_whose_names_end_in_numbers(tree):
    root = frames_tree(tree, {"clip 1": 4, "clip 2": 4})
    (root / "train.txt").write_text("clip 1 4 0\nclip 2 4 1\n")
    videos = index_dataset("list", root).videos
    assert [(video.id, video.frames.count) for video in videos] == [("clip 1", 4), ("clip 2", 4)]


def test_stretches_of_raw_frames(tree):
    root = frames_tree(tree, {"imgs": 9})
    (root / "train.txt").write_text("imgs 0 4 0\nimgs 4 5 1\n")
    videos = index_dataset("list", root).videos
    assert [video.id for video in videos] == ["imgs@0", "imgs@4"]
    assert {video.group for video in videos} == {"imgs"}
    assert [video.frames for video in videos] == [RawFrames(4, 1), RawFrames(5, 5)]
    assert all(video.start is None and video.end is None for video in videos)


def test_a_listed_number_of_frames_is_passed_on(tree):
    root = frames_tree(tree, {"imgs": 9})
    (root / "train.txt").write_text("imgs 30 0\n")
    assert index_dataset("list", root).videos[0].frames.count == 30


def test_a_suffix_that_is_no_video(tree):
    with pytest.raises(UsageError, match=r"train\.txt:1: \.xyz is no known video"):
        listed(tree, "c/1.xyz 0\n", file="train.txt")


# --- names ------------------------------------------------------------------------------------------------------------


def test_ids_keep_a_suffix_that_tells_files_apart(tree):
    names = ["c/1.mp4", "c/1.mkv", "d/1.mp4"]
    root = tree(names)
    (root / "train.txt").write_text("c/1.mp4 0\nd/1.mp4 1\n")
    (root / "val.txt").write_text("c/1.mkv 0\n")
    dataset = index_dataset("list", root)
    assert dataset.splits["1"].train == ("c/1.mp4", "d/1")
    assert dataset.splits["1"].test == ("c/1.mkv",)


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_letters_composed_or_not(tree, form):
    there, written = unicodedata.normalize(form, "é"), unicodedata.normalize("NFD" if form == "NFC" else "NFC", "é")
    dataset = listed(
        tree,
        f"path,label\ncaf{written}/{written}.mp4,a\nd.mp4,b\n",
        names=[f"caf{there}/{there}.mp4", "d.mp4"],
        folds=2,
    )
    assert [video.id for video in dataset.videos] == ["café/é", "d"]
    assert all(video.path.exists() for video in dataset.videos)


def test_letters_composed_or_not_in_official_lists(tree):
    there, written = (unicodedata.normalize(form, "Zoë") for form in ("NFD", "NFC"))
    root = tree([f"wave/{there}_wave_u_nm_np1_ba_goo_0.avi"])
    (root / "wave_test_split1.txt").write_text(f"{written}_wave_u_nm_np1_ba_goo_0.avi 1\n", encoding="utf-8")
    assert index_dataset("hmdb51", root).videos[0].path.exists()


@pytest.mark.parametrize("name", ["it's.mp4", 'a "b" c.mp4', "a b.mp4", "'tis.mp4", "a,b.mp4", "#1.mp4", "a;b.mp4"])
def test_signs_in_names(tree, name):
    quoted = '"{}"'.format(name.replace('"', '""'))
    dataset = listed(tree, f"path,label\n{quoted},a\nc/1.mp4,b\n", names=[name, *FOUR], folds=2)
    assert dataset.videos[0].path.name == name
    dataset = listed(tree, f"{name} 0\nc/1.mp4 1\n", names=[name, *FOUR], file="train.txt", files="train.txt")
    assert {video.path.name for video in dataset.videos} == {name, "1.mp4"}


def test_paths_of_every_kind(tree, monkeypatch):
    root = tree(FOUR)
    text = f'./c/1.mp4 0\nc\\2.mp4 1\n{root.absolute()}/c/3.mp4 0\n"c/4.mp4" 1\n'
    (root / "train.txt").write_text(text)
    assert [video.id for video in index_dataset("list", root).videos] == ["c/1", "c/2", "c/3", "c/4"]
    monkeypatch.chdir(root.parent)
    assert [video.id for video in index_dataset("list", "videos").videos] == ["c/1", "c/2", "c/3", "c/4"]


def test_listed_links(tree):
    root, elsewhere = tree(["c/1.mp4"]), tree(["2.mp4"], folder="elsewhere")
    (root / "c" / "2.mp4").symlink_to(elsewhere / "2.mp4")
    (root / "train.txt").write_text("c/1.mp4 0\nc/2.mp4 1\n")
    assert [video.id for video in index_dataset("list", root).videos] == ["c/1", "c/2"]


def test_splits_in_order_of_their_numbers(tree):
    root = tree(FOUR)
    for number in (1, 2, 10):
        (root / f"train_split_{number}.txt").write_text("c/1.mp4 0\nc/2.mp4 1\n")
        (root / f"val_split_{number}.txt").write_text("c/3.mp4 0\nc/4.mp4 1\n")
    assert list(index_dataset("list", root).splits) == ["1", "2", "10"]


# --- inputs from the field --------------------------------------------------------------------------------------------


def test_lists_from_the_field(real_data, tree):
    field = real_data / "field"
    if not field.is_dir():
        pytest.skip("no inputs from the field")
    names = ["c0/x1.mp4", "c0/x1.mkv", "c0/x2.mp4", "c1/x1.mp4", "c1/x2.mp4", "c0/g.gif"]
    root = tree(names)
    assert len(index_dataset("list", root, splits=field / "samestem").videos) == 5
    assert len(index_dataset("list", root, splits=field / "samestem2").videos) == 4
    with pytest.raises(UsageError, match=r"train\.txt:2: label 20231130"):
        index_dataset("list", root, splits=field / "huge")
    assert len(index_dataset("list", root, splits=field / "list_gif_train.txt").videos) == 2
    clips = tree(["aaaaaaaaaaa_000001_000011.mp4"], folder="clips")
    with pytest.raises(UsageError, match=r"val\.csv:2: aaaaaaaaaaa_000001_000011 has label 'run' here and 'eat' at"):
        index_dataset("kinetics", clips, splits=field / "kinetics_dup")
