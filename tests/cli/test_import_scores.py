"""`avr store import-scores` and the score files of the field."""

import numpy as np
import pytest

from avr.cli import main
from avr.store import TEST_VIDEO, read_scores


@pytest.fixture
def run(runner, tmp_path, monkeypatch):
    """The command, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def command(*arguments, code=0):
        done = runner.invoke(main, ["store", "import-scores", *map(str, arguments)])
        assert done.exit_code == code, done.output
        return done

    return command


def write(path, ids, extra=""):
    values = np.random.default_rng(len(ids[0])).normal(size=(len(ids), 2))
    path.parent.mkdir(exist_ok=True)
    text = "".join(f"{name},{i % 2},{a},{b}\n" for i, (name, (a, b)) in enumerate(zip(ids, values, strict=True)))
    path.write_text(f"id,label,walk,run\n{text}{extra}")
    return path


def test_what_a_file_is_read_as_is_one_line(run, tmp_path):
    write(tmp_path / "rgb.csv", ["v1", "v2"])
    done = run("rgb.csv")
    assert done.stdout == "scores/rgb.h5\n"
    first, _, warning = done.stderr.splitlines()
    assert first.startswith(
        "rgb.csv: 2 videos × 2 classes (csv, cut at ','); ids: column 'id', labels: column 'label'; logits (from "
    )
    assert "; test; " in first
    assert warning.startswith("warning: rgb.csv: nothing tells which videos are cut from one source")
    assert "--group-pattern" in warning


def test_nothing_is_overwritten_and_two_inputs_are_two_outputs(run, tmp_path):
    one, two = write(tmp_path / "a" / "rgb.csv", ["v1", "v2"]), write(tmp_path / "b" / "rgb.csv", ["v1", "v2"])
    done = run(one, two, code=2)
    assert done.stderr == f"error: {one} and {two} both become scores/rgb.h5; import them one by one with --stream\n"
    assert not (tmp_path / "scores").exists()
    run(one)
    kept = (tmp_path / "scores" / "rgb.h5").read_bytes()
    done = run(two, code=2)
    assert done.stderr.splitlines()[-1] == (
        "error: scores/rgb.h5 is there already, with scores of test videos; --overwrite replaces them"
    )
    assert (tmp_path / "scores" / "rgb.h5").read_bytes() == kept
    assert "scores/rgb.h5: replaced 2 test videos" in run(two, "--overwrite").stderr
    run(two, "--stream", "flow")
    assert list(read_scores(tmp_path / "scores" / "flow.h5").streams) == ["flow"]
    (tmp_path / "scores" / "other.h5").write_text("mine")
    done = run(write(tmp_path / "other.csv", ["v1", "v2"]), "--overwrite", code=2)
    assert done.stderr.splitlines()[-1].endswith("holds no scores of avr's: choose another --out")
    assert run(one, "--stream", "../up", code=2).stderr.startswith("error: stream '../up' is no name")


def test_nothing_is_written_where_one_of_several_files_is_bad(run, tmp_path):
    write(tmp_path / "rgb.csv", ["v1", "v2"])
    write(tmp_path / "flow.csv", ["v1", "v2"], "v3,7,1,2\n")
    assert "flow.csv:4: video v3: label 7" in run("rgb.csv", "flow.csv", code=2).stderr.splitlines()[-1]
    assert not (tmp_path / "scores").exists()


def test_validation_and_test_scores_stand_in_one_file(run, tmp_path):
    for role, ids in (("val", ["w1", "w2", "w3"]), ("test", ["v1", "v2"])):
        for stream in ("rgb", "flow"):
            write(tmp_path / role / f"{stream}.csv", ids)
    run("val/rgb.csv", "val/flow.csv", "--role", "validation")
    done = run("test/rgb.csv", "test/flow.csv")
    assert "scores/flow.h5: 2 test videos beside 3 validation videos that it held" in done.stderr
    scores = read_scores(tmp_path / "scores" / "rgb.h5")
    assert scores.fold.tolist() == [0, 0, 0, TEST_VIDEO, TEST_VIDEO]
    (tmp_path / "folds.txt").write_text("w1 0\nw2 1\nw3 1\n")
    run("val/rgb.csv", "--role", "oof", "--folds", "folds.txt", "--out", "o")
    assert read_scores(tmp_path / "o" / "rgb.h5").fold.tolist() == [0, 1, 1]
    assert "folds are of out-of-fold scores" in run("val/rgb.csv", "--folds", "folds.txt", "--out", "p", code=2).stderr


def test_groups_by_pattern_and_by_file(run, tmp_path):
    write(tmp_path / "rgb.csv", ["S1P1", "S2P1", "S1P2"])
    run("rgb.csv", "--group-pattern", r"P(\d+)")
    assert read_scores(tmp_path / "scores" / "rgb.h5").groups.tolist() == ["1", "1", "2"]
    (tmp_path / "groups.csv").write_text("name;group\nS1P1;a\nS2P1;a\nS1P2;b\n")
    run("rgb.csv", "--groups", "groups.csv", "--out", "o")
    assert read_scores(tmp_path / "o" / "rgb.h5").groups.tolist() == ["a", "a", "b"]
    assert "leave one out" in run("rgb.csv", "--groups", "groups.csv", "--group-pattern", "x", code=2).stderr
    (tmp_path / "groups.csv").write_text("name;group\nS1P1;a\nS1P1;b\n")
    assert (
        "groups.csv:3: S1P1 has group 'b' here and 'a' at groups.csv:2"
        in run("rgb.csv", "--groups", "groups.csv", "--out", "p", code=2).stderr
    )


def test_lists_of_names_labels_and_classes(run, tmp_path):
    np.save(tmp_path / "rgb.npy", np.eye(3)[[0, 1, 2, 1]])
    (tmp_path / "names.txt").write_text("x y/v1.avi 12 0\nb/v2.avi 9 1\nc/v3.avi 7 2\nb/v4.avi 3 1\n")
    (tmp_path / "classes.txt").write_text("1 wave 1\n2 wave 2\n3 run\n")
    run("rgb.npy", "--names", "names.txt", "--class-names", "classes.txt")
    scores = read_scores(tmp_path / "scores" / "rgb.h5")
    assert scores.ids.tolist() == ["x y/v1", "b/v2", "c/v3", "b/v4"]
    assert scores.labels.tolist() == [0, 1, 2, 1]
    assert scores.class_names == ("wave 1", "wave 2", "run")
    (tmp_path / "labels.csv").write_text("id,label\nx y/v1.avi,run\nb/v2.avi,wave 2\nc/v3.avi,wave 1\nb/v4.avi,run\n")
    done = run("rgb.npy", "--names", "names.txt", "--labels", "labels.csv", "--out", "o", code=2)
    assert "labels.csv: x y/v1.avi has label run here and 0 in names.txt" in done.stderr
    (tmp_path / "classes.txt").write_text("wave 1\nwave 2\nwave 1\n")
    done = run("rgb.npy", "--names", "names.txt", "--class-names", "classes.txt", "--out", "o", code=2)
    assert "classes.txt:3: class 'wave 1' stands at line 1, too" in done.stderr
    (tmp_path / "bad.txt").write_text("a 1\nb\n")
    assert "bad.txt:2: expected 'video … label'" in run("rgb.npy", "--names", "bad.txt", code=2).stderr
    (tmp_path / "twice.txt").write_text("b/v2.avi 1\nb/v2.avi 2\n")
    done = run("rgb.npy", "--names", "names.txt", "--labels", "twice.txt", code=2)
    assert "twice.txt:2: b/v2.avi has label 2 here and 1 at twice.txt:1" in done.stderr


def test_the_fields_score_files(run, real_data, tmp_path):
    """Each is read rightly, 87.5 % of 40 videos of 5 classes, or refused with what to do."""
    field = real_data / "field" / "scores"
    labels, names = ("--labels", field / "labels.txt"), ("--names", field / "names.txt")
    for number, arguments in enumerate(
        [
            (field / "numeric_ids.csv", "--labels", field / "labels_num.txt"),
            (field / "pandas_numhdr.csv", *labels),
            (field / "tab.csv", *labels),
            (field / "percent.csv",),
            (field / "slowfast.pkl", *names),
            (field / "plain.npz", "--class-names", field / "classnames_num.txt"),
        ]
    ):
        done = run(*arguments, "--out", f"o{number}")
        assert "40 videos × 5 classes" in done.stderr
        assert "87.5 % right" in done.stderr
    numeric = read_scores(tmp_path / "o0" / "numeric_ids.h5")
    assert numeric.ids.tolist()[:2] == ["001000", "001001"]
    assert read_scores(tmp_path / "o3" / "percent.h5").kind == "probabilities"
    plain = read_scores(tmp_path / "o5" / "plain.h5")
    assert plain.class_names == ("wave 1", "wave 2", "jump 1", "jump 2", "run")
    done = run(field / "numeric_ids.csv", *names, code=2)
    assert "holds names of its own, and --names differs in 40 of 40, first 001000 and c0/v000" in done.stderr
    (tmp_path / "w.txt").write_text((field / "names.txt").read_text().replace("/v", "/w"))
    done = run(field / "percent.csv", "--names", "w.txt", code=2)
    assert "--names differs in 40 of 40, first c0/v000 and c0/w000" in done.stderr
    folder = real_data / "field" / "seqvlad-ucf101-rgb"
    (file,), (listed,) = folder.glob("*.npz"), folder.glob("*.txt")
    done = run(file, "--names", listed, code=2)
    assert "disagree with those given for 140 of 3783 videos, first Hammering/v_Hammering_g01_c01" in done.stderr
    (tmp_path / "bare.txt").write_text("".join(f"{line.split()[0]}\n" for line in listed.read_text().splitlines()))
    assert "goes with class folders" in run(file, "--names", "bare.txt", code=2).stderr


def test_the_published_scores(run, real_data, tmp_path):
    scores = real_data / "scores"
    right = {
        "hmdb51-split1": {"rgb": 53.9, "flow": 49.6, "mv": 38.0, "residual": 43.9},
        "seqvlad-hmdb51-s1": {"rgb": 55.2, "flow": 65.4, "idt": 56.7},
        "orri17-ucf101-s1": {"rgb": 81.4, "flow": 76.0},
        "ucf15-s1": {"rgb": 69.5, "flow": 30.0, "pose_flow": 56.2},
        "ntu11-xview-agcn": {"joint": 94.5, "bone": 94.2, "p2_joint": 94.8, "p2_bone": 80.5},
    }
    for folder, streams in right.items():
        done = run(*(scores / folder / f"{name}.npz" for name in streams), "--out", folder)
        for name, share in streams.items():
            line = next(line for line in done.stderr.splitlines() if f"/{name}.npz: " in line)
            assert f"{share} % right" in line
            assert "logits" in line
    said = {"seqvlad-hmdb51-s1/idt": "distances to planes", "orri17-ucf101-s1/rgb": "sums over frames"}
    for file, kind in said.items():
        assert kind in read_scores(tmp_path / f"{file}.h5").provenance["numbers"]
    assert len(set(read_scores(tmp_path / "ntu11-xview-agcn" / "bone.h5").groups.tolist())) == 40


def test_info_and_export_of_what_was_imported(run, runner, tmp_path):
    (tmp_path / "rgb.csv").write_text("id,walk,run\n=1+1,0.5,1.6\nv2,2,-1\n")
    run("rgb.csv")
    assert runner.invoke(main, ["store", "info", "scores/rgb.h5"]).exit_code == 0
    done = runner.invoke(main, ["store", "export", "scores/rgb.h5", "--out", "plain"])
    assert done.exit_code == 0
    assert "videos.csv: 1 lines hold what a spreadsheet would run, with an apostrophe before it" in done.stderr
    assert (tmp_path / "plain" / "videos.csv").read_text().splitlines()[1:] == ["'=1+1,-1,'=1+1,-1", "v2,-1,v2,-1"]
    assert np.load(tmp_path / "plain" / "rgb.npy").shape == (2, 2)


def test_folds_and_labels_of_tables_and_of_no_numbers(run, tmp_path):
    write(tmp_path / "val.csv", ["w1", "w2", "w3"])
    (tmp_path / "folds.csv").write_text("id,fold\nw1,0.0\nw2,1\nw3,1\n")
    run("val.csv", "--role", "oof", "--folds", "folds.csv")
    assert read_scores(tmp_path / "scores" / "val.h5").fold.tolist() == [0, 1, 1]
    for bad in ("a", "0.5", "-1"):
        (tmp_path / "folds.csv").write_text(f"id,fold\nw1,0\nw2,{bad}\nw3,1\n")
        done = run("val.csv", "--role", "oof", "--folds", "folds.csv", "--out", "o", code=2)
        assert f"folds that are no whole numbers from 0 on, such as '{bad}'" in done.stderr
    (tmp_path / "labels.csv").write_text("video_id,gt_label\nw1,0\nw2,1\nw3,1\n")
    assert "disagree with those given for 1 of 3" in run("val.csv", "--labels", "labels.csv", code=2).stderr


def test_names_that_differ_in_case_only_are_one_file(run, tmp_path):
    one, two = write(tmp_path / "a" / "RGB.csv", ["v1", "v2"]), write(tmp_path / "b" / "rgb.csv", ["v1", "v2"])
    assert "both become scores/rgb.h5" in run(one, two, code=2).stderr
