"""What is easily read as something else, in silence: lists, parts, class numbers, headers, folders, options."""

import os

import pytest

from avr.core import UsageError, overheard, tell
from avr.datasets import describe_dataset, index_dataset

FOUR = ["c/1.mp4", "c/2.mp4", "d/3.mp4", "d/4.mp4"]
ALL = "path,label\nc/1.mp4,a\nc/2.mp4,b\nd/3.mp4,a\nd/4.mp4,b\n"


def written(tree, names=(), **texts):
    """A folder of videos and lists; `_` in a list's name stands for the point."""
    root = tree([*FOUR, *names])
    for name, text in texts.items():
        (root / ".".join(name.rsplit("_", 1))).write_bytes(text if isinstance(text, bytes) else text.encode())
    return root


def labels_of(dataset):
    return {video.id: dataset.class_names[video.label] for video in dataset.videos}


def heard(*arguments, **options):
    with overheard() as said:
        dataset = index_dataset(*arguments, **options)
    return dataset, said


# --- parts ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["intervals_csv", "evaluation_csv", "latest_csv", "contest_tsv"])
def test_a_part_is_a_word_of_a_tables_name(tree, name):
    dataset = index_dataset("list", written(tree, **{name: ALL if "csv" in name else ALL.replace(",", "\t")}))
    assert all(split.train and split.test for split in dataset.splits.values())


@pytest.mark.parametrize("names", [("myTrain", "myTest"), ("train_1080p", "test"), ("x-training", "x-validation")])
def test_tables_named_by_their_parts(tree, names):
    rows = ALL.splitlines(keepends=True)
    texts = {f"{names[0]}_csv": "".join(rows[:3]), f"{names[1]}_csv": rows[0] + "".join(rows[3:])}
    (split,) = index_dataset("list", written(tree, **texts)).splits.values()
    assert (split.name, split.train, split.test) == ("1", ("c/1", "c/2"), ("d/3", "d/4"))


@pytest.mark.parametrize(
    "texts",
    [
        {"train_csv": ALL},
        {"labels_csv": ALL.replace("path", "split,path").replace("c/", "train,c/").replace("d/", ",d/")},
        {"train_csv": ALL, "test_csv": "path,label\ngone.mp4,a\n"},
    ],
    ids=["alone", "column", "absent"],
)
def test_an_empty_side_is_said(tree, texts):
    _, said = heard("list", written(tree, **texts))
    assert any("list, split 1: " in line and "videos train and 0 test" in line for line in said.warnings)


def test_val_stays_where_no_test_video_is_there(tree):
    rows = ALL.splitlines(keepends=True)
    texts = {"train_csv": "".join(rows[:3]), "val_csv": rows[0] + rows[3], "test_csv": "path,label\ngone.mp4,a\n"}
    assert index_dataset("list", written(tree, **texts)).splits["1"].test == ("d/3",)


def test_a_name_and_a_column_that_tell_other_parts(tree):
    text = "path,label,split\nc/1.mp4,a,train\nc/2.mp4,b,test\n"
    with pytest.raises(UsageError, match=r"train\.csv:3: split 'test', but the file's name says train"):
        index_dataset("list", written(tree, train_csv=text))


def test_numbers_in_column_split_are_said_to_be_folds(tree):
    text = "path,label,split\nc/1.mp4,a,0\nc/2.mp4,b,0\nd/3.mp4,a,1\nd/4.mp4,b,1\n"
    dataset, said = heard("list", written(tree, all_csv=text))
    assert list(dataset.splits) == ["0", "1"]
    assert "column split numbers the folds that test: 0, 1; for one split, train and test" in said.notes


# --- classes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "labels", "found"),
    [
        ("1 A\n2 B\n3 C\n", "1212", "ABAB"),
        ("1 A\n2 B\n3 C\n", "0101", "ABAB"),
        ("1 B\n0 A\n", "0101", "ABAB"),
        ("id,name\n1,B\n2,A\n", "2121", "ABAB"),
        ("A\nB\n", "0101", "ABAB"),
    ],
    ids=["from 1", "mmaction2", "order", "header", "unnumbered"],
)
def test_numbers_of_classes_are_the_labels(tree, names, labels, found):
    lines = "".join(f"{video} {label}\n" for video, label in zip(FOUR, labels, strict=True))
    dataset = index_dataset("list", written(tree, train_txt=lines, classInd_txt=names))
    assert "".join(labels_of(dataset).values()) == found


def test_class_folders_that_contradict_a_class_file(tree):
    lines = "c/1.mp4 0\nc/2.mp4 0\nd/3.mp4 1\nd/4.mp4 1\n"
    with pytest.raises(UsageError, match=r"train\.txt:1: label 0 is class 'd' by .*classInd\.txt, but its videos lie"):
        index_dataset("list", written(tree, train_txt=lines, classInd_txt="d\nc\n"))


def test_options_that_do_nothing_are_refused(tree):
    root = written(tree, all_csv=ALL)
    with pytest.raises(UsageError, match="first_label=1: labels are names, as 'a': leave it out"):
        index_dataset("list", root, first_label=1)
    with pytest.raises(UsageError, match=r"files=\*\.csv: the list is given, .*all\.csv: leave files out"):
        index_dataset("list", root, splits=root / "all.csv", files="*.csv")
    (root / "all.csv").write_text("path,label,split\nc/1.mp4,a,train\nc/2.mp4,b,test\n")
    with pytest.raises(UsageError, match="the splits of list are given, not drawn: leave seed out"):
        index_dataset("list", root, seed=3)
    assert index_dataset("list", root, seed=3, folds=2).splits


# --- tables -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["stop", "set", "name", "person", "begin", "class"])
def test_a_row_with_a_video_is_no_header(tree, word):
    dataset = index_dataset("list", written(tree, all_csv=f"c/1.mp4,{word}\nc/2.mp4,run\n"), folds=2)
    assert labels_of(dataset) == {"c/1": word, "c/2": "run"}


@pytest.mark.parametrize(
    "text",
    [
        "sep=;\r\npath;label\r\nc/1.mp4;a\r\nc/2.mp4;b\r\n",
        "path,label\nc/1.mp4,a,\nc/2.mp4,b,,\n",
        "c/1.mp4,a,\nc/2.mp4,b\n",
    ],
    ids=["excel", "empty cells", "bare"],
)
def test_tables_of_spreadsheets(tree, text):
    assert labels_of(index_dataset("list", written(tree, all_csv=text), folds=2)) == {"c/1": "a", "c/2": "b"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"PK\3\4\0\0xl/workbook.xml", r"all\.csv: is a spreadsheet or an archive: save the table as csv, UTF-8"),
        (f"path,label\nc/1.mp4,{'a' * 140000}\n", r"all\.csv:2: cannot be read as csv: field larger"),
        (f"c/1.mp4,{'a' * 140000}\n", r"all\.csv:1: cannot be read as csv: field larger"),
        ('path,label,start\nc/1.mp4,a,"1,234"\n', r"all\.csv:2: start '1,234': expected seconds"),
        ("datei;klasse\nc/1.mp4;a\n", r"all\.csv:1: expected .* a table with a header path,label"),
    ],
    ids=["xlsx", "cell", "bare cell", "thousands", "words"],
)
def test_tables_that_cannot_be_read(tree, text, message):
    root = written(tree, all_csv=text)
    with pytest.raises(UsageError, match=message):
        index_dataset(root / "all.csv")


def test_files_of_groups_and_classes_are_no_lists(tree):
    root = written(tree, all_csv=ALL, groups_csv="path,label,group\nc/1.mp4,x,g\nc/2.mp4,x,g\n", val_txt="a\nb\n")
    (root / "train.csv").write_text("c/1.mp4,g\nc/2.mp4,g\n")
    dataset = index_dataset("list", root, groups="train.csv", classes="val.txt", files=None, folds=2, splits="all.csv")
    assert len(dataset.videos) == 4
    (root / "groups.csv").unlink()
    assert len(index_dataset("list", root, groups="train.csv", classes="val.txt", folds=2).videos) == 4
    _, said = heard("folder", root, groups="train.csv")
    assert not any("train.csv" in line and "not read" in line for line in said.warnings)


def test_an_id_has_no_way_back(tree):
    text = "path,label,split\nc/../c/1.mp4,a,train\nd/3.mp4,b,test\n"
    assert [video.id for video in index_dataset("list", written(tree, all_csv=text)).videos] == ["c/1", "d/3"]


def test_a_column_of_groups_tells_sources(tree):
    text = "path,label,person\nc/1.mp4,a,p\nc/2.mp4,b,q\nd/3.mp4,a,r\nd/4.mp4,b,s\n"
    _, said = heard("list", written(tree, all_csv=text), test_share=0.5)
    assert not said.warnings


# --- folders ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("parts", [("Train", "Test"), ("training", "testing"), ("TRAIN", "dev")])
def test_parts_as_folders_in_other_words(tree, parts):
    dataset = index_dataset("folder", tree([f"{part}/{name}" for part in parts for name in FOUR]))
    assert dataset.class_names == ("c", "d")
    assert dataset.splits["1"].train == tuple(f"{parts[0]}/{name}"[:-4] for name in FOUR)


def test_parts_beside_other_folders(tree):
    with pytest.raises(UsageError, match="test, train are parts of a split if extra is moved out; if all are classes"):
        index_dataset("folder", tree([f"{part}/{name}" for part in ("train", "test", "extra") for name in FOUR]))


def test_parts_that_hold_videos(tree):
    with pytest.raises(
        UsageError, match=r"the videos, such as test/1\.mp4, are not in class folders; expected <root>/te"
    ):
        index_dataset("folder", tree(["train/1.mp4", "test/1.mp4"]))


@pytest.mark.parametrize("top", ["mydata", "train"])
def test_one_class_is_said(tree, top):
    _, said = heard("folder", tree([f"{top}/{name}" for name in FOUR]))
    assert f"folder: 1 class, {top!r}: is its folder or list read as it is meant?" in said.warnings


def test_a_folder_is_continued_beside_its_features(tree, monkeypatch):
    root = tree([*FOUR, "features/videos/plan.h5", "runs/linear/split-1/scores.h5"])
    monkeypatch.chdir(root)
    dataset, said = heard(".")
    assert dataset.class_names == ("c", "d")
    assert not any("known video" in line for line in said.warnings + said.notes)


def test_a_folder_that_cannot_be_searched(tree):
    root = tree([*FOUR, "e/5.mp4"])
    (root / "e").chmod(0o600)
    try:
        if os.access(root / "e", os.X_OK):
            pytest.skip("this user may search any folder")
        dataset, said = heard("folder", root)
    finally:
        (root / "e").chmod(0o700)
    assert dataset.class_names == ("c", "d")
    assert any("e cannot be opened and is left out" in line for line in said.warnings)


def test_a_gif_is_a_preview_beside_an_official_clip(tree):
    clip = "wave/F_wave_u_nm_np1_ba_goo_0"
    root = tree([f"{clip}.avi", f"{clip}.gif"])
    (root / "wave_test_split1.txt").write_text("F_wave_u_nm_np1_ba_goo_0.avi 1\n")
    assert [video.path.suffix for video in index_dataset("hmdb51", root).videos] == [".avi"]
    root = tree(["a_000001_000011.mp4", "a_000001_000011.gif"], folder="kinetics")
    (root / "train.csv").write_text("label,youtube_id,time_start,time_end\neat,a,1,11\n")
    assert [video.path.suffix for video in index_dataset("kinetics", root).videos] == [".mp4"]
    root = tree(["run/lena_run1.avi", "run/lena_run1.gif"], folder="weizmann")
    assert [video.id for video in index_dataset("weizmann", root).videos] == ["run/lena_run1"]


# --- what is said -----------------------------------------------------------------------------------------------------


def test_a_description_takes_name_and_splits(tree, runner):
    from avr.cli import main

    root = tree(FOUR, folder="hmdb51")
    (root.parent / "lists.csv").write_text(ALL)
    arguments = ["datasets", "show", str(root), "--name", "mine", "--splits", str(root.parent / "lists.csv")]
    result = runner.invoke(main, arguments)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith("list: ")
    assert "\nmine: 4 videos in " in result.stdout
    assert describe_dataset(root, called="mine").root == root


def test_remarks_count_videos():
    lines = tell([("a.avi", "damaged at 3; damaged at 5"), ("b.avi", "grey"), ("c.avi", "grey")], label="note ")
    assert lines == [
        *("note 2 videos: grey", "        b.avi: grey", "        c.avi: grey"),
        "note a.avi: damaged at 3; damaged at 5",
    ]
