"""hmdb51 and ucf101 against their official lists, and against a small imitation that holds the traps."""

from pathlib import Path

import pytest

from avr.core import UsageError
from avr.datasets import Dataset, groups_by_name, index_dataset


def sizes(dataset: Dataset) -> dict[str, tuple[int, int]]:
    return {name: (len(split.train), len(split.test)) for name, split in dataset.splits.items()}


def assert_disjoint(dataset: Dataset) -> None:
    for split in dataset.splits.values():
        assert not set(split.train) & set(split.test)


def assert_names_tell_the_groups(dataset: Dataset) -> None:
    """Groups of imported scores are the data set's own, with class folders in the names and without."""
    own = [video.group for video in dataset.videos]
    for ids in ([video.id for video in dataset.videos], [video.path.stem for video in dataset.videos]):
        assert groups_by_name(ids) == (own, f"from the names of {dataset.name}")


# --- the real lists ---------------------------------------------------------------------------------------------------


def test_hmdb51_agrees_with_the_official_lists(real_data, tree):
    listed = {}
    for path in (real_data / "splits" / "testTrainMulti_7030_splits").glob("*.txt"):
        class_name, _, split = path.stem.rpartition("_test_split")
        for line in path.read_text().splitlines():
            name, mark = line.split()
            listed.setdefault(f"{class_name}/{name}", {})[split] = mark
    assert len(listed) == 6766
    dataset = index_dataset("hmdb51", tree(listed), splits=real_data / "splits")
    assert sizes(dataset) == {"1": (3570, 1530), "2": (3570, 1530), "3": (3570, 1530)}
    assert_disjoint(dataset)
    assert len(dataset.class_names) == 51
    # Not the order of the lists' file names, where climb_stairs_test… comes before climb_test….
    assert dataset.class_names[5:7] == ("climb", "climb_stairs")
    for name, split in dataset.splits.items():
        for ids, mark in ((split.train, "1"), (split.test, "2")):
            assert set(ids) == {clip.removesuffix(".avi") for clip, marks in listed.items() if marks[name] == mark}
    for video in dataset.videos:
        assert video.id.startswith(dataset.class_names[video.label] + "/")
        assert video.group != video.id  # every official name has its attributes
        assert video.path.is_file()
    assert_names_tell_the_groups(dataset)
    # The official splits part no film within a class.
    film = {video.id: (video.label, video.group) for video in dataset.videos}
    for split in dataset.splits.values():
        assert not {film[clip] for clip in split.train} & {film[clip] for clip in split.test}


def test_ucf101_agrees_with_the_official_lists(real_data, tree):
    lists = real_data / "splits" / "ucfTrainTestlist"
    listed = {line.split()[0] for path in lists.glob("*list0*.txt") for line in path.read_text().splitlines()}
    assert len(listed) == 13320
    dataset = index_dataset("ucf101", tree(f"UCF-101/{name}" for name in listed), splits=lists)
    assert sizes(dataset) == {"1": (9537, 3783), "2": (9586, 3734), "3": (9624, 3696)}
    assert_disjoint(dataset)
    assert len(dataset.class_names) == 101
    assert dataset.class_names.index("Hammering") == 34
    assert dataset.class_names.index("HammerThrow") == 35
    assert_names_tell_the_groups(dataset)
    groups = {video.id: video.group for video in dataset.videos}
    assert groups["HandstandPushups/v_HandStandPushups_g01_c01"] == "HandstandPushups_g01"
    for split in dataset.splits.values():
        assert not {groups[clip] for clip in split.train} & {groups[clip] for clip in split.test}
    labels = {video.id: video.label for video in dataset.videos}
    for line in (lists / "trainlist02.txt").read_text().splitlines():
        name, number = line.split()
        assert labels[name.removesuffix(".avi")] == int(number) - 1


# --- a small imitation ------------------------------------------------------------------------------------------------

HMDB_LISTS = {
    "climb_stairs": (
        "Film_2_climb_stairs_f_cm_np1_ba_med_0.avi 1 \n"  # the trailing space is the originals'
        "#a!(b)[c]+&-d_climb_stairs_f_cm_np1_ba_med_1.avi 2 \n"
    ),
    "climb": (
        "Film_2_climb_f_nm_np1_fr_goo_0.avi 2 \n"
        "Other_climb_u_nm_np2_le_bad_12.avi 0 \n"
        "Third_climb_u_nm_np2_le_bad_3.avi 1 \n"
    ),
}
HMDB_CLIPS = [f"{name}/{line.split()[0]}" for name, lines in HMDB_LISTS.items() for line in lines.strip().split("\n")]


@pytest.fixture
def hmdb(tree) -> Path:
    root = tree(HMDB_CLIPS)
    lists = root / "testTrainMulti_7030_splits"
    lists.mkdir()
    for name, lines in HMDB_LISTS.items():
        (lists / f"{name}_test_split1.txt").write_text(lines)
    return root


def test_hmdb51_marks_groups_and_order(hmdb):
    dataset = index_dataset("hmdb51", hmdb)
    assert dataset.class_names == ("climb", "climb_stairs")
    assert sizes(dataset) == {"1": (2, 2)}
    assert {video.id: (video.label, video.group) for video in dataset.videos} == {
        "climb/Film_2_climb_f_nm_np1_fr_goo_0": (0, "Film_2"),
        "climb/Other_climb_u_nm_np2_le_bad_12": (0, "Other"),
        "climb/Third_climb_u_nm_np2_le_bad_3": (0, "Third"),
        "climb_stairs/#a!(b)[c]+&-d_climb_stairs_f_cm_np1_ba_med_1": (1, "#a!(b)[c]+&-d"),
        "climb_stairs/Film_2_climb_stairs_f_cm_np1_ba_med_0": (1, "Film_2"),
    }
    # Mark 0: indexed, and in neither part.
    assert "climb/Other_climb_u_nm_np2_le_bad_12" not in dataset.splits["1"].train + dataset.splits["1"].test


def test_hmdb51_finds_copies_whose_signs_were_replaced(hmdb):
    signs = hmdb / "climb_stairs" / "#a!(b)[c]+&-d_climb_stairs_f_cm_np1_ba_med_1.avi"
    renamed = signs.rename(signs.with_name("_a__b__c____d_climb_stairs_f_cm_np1_ba_med_1.mp4"))
    paths = {video.id: video.path for video in index_dataset("hmdb51", hmdb).videos}
    assert paths["climb_stairs/#a!(b)[c]+&-d_climb_stairs_f_cm_np1_ba_med_1"] == renamed


def test_hmdb51_says_how_many_videos_are_missing(hmdb, capsys):
    (hmdb / "climb" / "Third_climb_u_nm_np2_le_bad_3.avi").unlink()
    dataset = index_dataset("hmdb51", hmdb)
    assert len(dataset.videos) == 4
    assert "1 of 5 listed videos are not there: climb/Third_climb_u_nm_np2_le_bad_3\n" in capsys.readouterr().err


def test_missing_videos_are_named_up_to_ten(tree, capsys):
    names = [f"F_climb_f_nm_np1_fr_goo_{number}.avi" for number in range(14)]
    root = tree([f"climb/{names[0]}"])
    (root / "climb_test_split1.txt").write_text("".join(f"{name} 1\n" for name in names))
    index_dataset("hmdb51", root)
    message = capsys.readouterr().err
    assert "13 of 14 listed videos are not there" in message
    assert message.count("F_climb_f") == 10


@pytest.mark.parametrize("line", ["clip.avi", "clip.avi 3", "1"])
def test_hmdb51_line_that_does_not_parse(hmdb, line):
    lists = hmdb / "testTrainMulti_7030_splits" / "climb_test_split1.txt"
    lists.write_text(HMDB_LISTS["climb"] + line + "\n")
    with pytest.raises(UsageError, match=r"climb_test_split1\.txt:4: expected '<clip>\.avi <0, 1 or 2>'"):
        index_dataset("hmdb51", hmdb)


def test_none_of_the_listed_videos_there(hmdb, tree):
    other = tree(["climb/else.avi"], folder="other")
    with pytest.raises(UsageError, match=r"hmdb51: none of the 5 listed videos is in .* 1 other video files are"):
        index_dataset("hmdb51", other, splits=hmdb)


def test_no_lists(tree):
    with pytest.raises(
        UsageError, match=r"no split lists .*put testTrainMulti_7030_splits under the root or give --sp"
    ):
        index_dataset("hmdb51", tree(["climb/a.avi"]))


@pytest.fixture
def ucf(tree) -> Path:
    names = ["HammerThrow/v_HammerThrow_g01_c01.avi", "Hammering/v_Hammering_g01_c01.avi"]
    names += ["HandstandPushups/v_HandStandPushups_g01_c01.avi", "HandstandPushups/v_HandStandPushups_g02_c01.avi"]
    root = tree(names)
    lists = root / "ucfTrainTestlist"
    lists.mkdir()
    (lists / "classInd.txt").write_text("1 Hammering\r\n2 HammerThrow\r\n3 HandstandPushups\r\n")
    (lists / "trainlist01.txt").write_text(f"{names[0]} 2\r\n{names[1]} 1\r\n{names[2]} 3\r\n")
    (lists / "testlist01.txt").write_text(f"{names[3]}\r\n")
    return root


def test_ucf101_takes_class_numbers_from_the_file(ucf):
    dataset = index_dataset("ucf101", ucf)
    assert dataset.class_names == ("Hammering", "HammerThrow", "HandstandPushups")
    assert {(video.id, video.label, video.group) for video in dataset.videos} == {
        ("Hammering/v_Hammering_g01_c01", 0, "Hammering_g01"),
        ("HammerThrow/v_HammerThrow_g01_c01", 1, "HammerThrow_g01"),
        ("HandstandPushups/v_HandStandPushups_g01_c01", 2, "HandstandPushups_g01"),
        ("HandstandPushups/v_HandStandPushups_g02_c01", 2, "HandstandPushups_g02"),
    }
    assert sizes(dataset) == {"1": (3, 1)}


def test_ucf101_finds_the_handstand_folder_in_either_spelling(ucf):
    (ucf / "HandstandPushups").rename(ucf / "HandStandPushups")
    dataset = index_dataset("ucf101", ucf)
    assert dataset.splits["1"].test == ("HandstandPushups/v_HandStandPushups_g02_c01",)
    assert dataset.videos[-1].path.is_file()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("Hammering/v_Hammering_g01_c01.avi 2", r"trainlist01\.txt:4: class Hammering has number 1 in classInd\.txt"),
        ("Nope/v_Nope_g01_c01.avi 1", r"trainlist01\.txt:4: class Nope is not in classInd\.txt"),
        ("v_Hammering_g01_c01 1", r"trainlist01\.txt:4: expected '<Class>/<clip>\.avi'"),
    ],
    ids=["number of another class", "unknown class", "no class"],
)
def test_ucf101_line_that_does_not_parse(ucf, line, message):
    with open(ucf / "ucfTrainTestlist" / "trainlist01.txt", "a") as file:
        file.write(line + "\n")
    with pytest.raises(UsageError, match=message):
        index_dataset("ucf101", ucf)


def test_ucf101_class_numbers_with_a_gap(ucf):
    (ucf / "ucfTrainTestlist" / "classInd.txt").write_text("1 Hammering\n2 HammerThrow\n4 HandstandPushups\n")
    with pytest.raises(UsageError, match=r"classInd\.txt: the class numbers are not 1 to 3, each once"):
        index_dataset("ucf101", ucf)
