"""A fitted fusion on new scores: `avr fuse apply`."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest

from avr.cli import main
from avr.core import UsageError, WorkError
from avr.fusion import apply_fusion, fuse, load_fuser
from avr.store import UNLABELLED, read_scores, write_scores

from .test_fuse_files import QUICK, put, score_file, take

CLASSES = ("jump", "run", "sit", "walk")


def new_scores(names=("rgb", "flow"), *, seed=5, labelled=True, **changes):
    """Scores of 120 videos that no fusion has seen, of no split."""
    scores = score_file(names, seed=seed, split="", test_only=True, **changes)
    ids = np.array([f"new{number}" for number in range(120)])
    return replace(scores, ids=ids, labels=scores.labels if labelled else np.full(120, UNLABELLED))


@pytest.fixture
def fused(tmp_path):
    """A fitted awf of linear/rgb and linear/flow."""
    options = {"objective": "margin", "delta": 0.3}
    return fuse("awf", [put(tmp_path, score_file())], out=tmp_path / "fused", options=options, evaluation=QUICK).out


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.reader(file))


def X_of(scores):
    return np.stack([scores.streams["rgb"], scores.streams["flow"]], axis=1).astype(float)


def test_new_scores_are_fused_as_the_fusion_was_fitted(fused, tmp_path):
    scores = new_scores(("flow", "rgb"), labelled=False)  # another order of streams
    path = write_scores(tmp_path / "new.h5", scores)
    result = apply_fusion(fused, [path], out=tmp_path / "new.csv")
    expected = load_fuser(fused).predict_proba(X_of(scores))
    np.testing.assert_array_equal(result.probabilities, expected)
    assert result.predictions.tolist() == [CLASSES[k] for k in expected.argmax(axis=1)]
    assert (result.rows, result.verdict) == ([], "")
    head, *rows = rows_of(tmp_path / "new.csv")
    assert head == ["id", "prediction", *CLASSES]
    assert [row[:2] for row in rows] == [list(pair) for pair in zip(scores.ids, result.predictions, strict=True)]
    np.testing.assert_allclose([[float(cell) for cell in row[2:]] for row in rows], expected, rtol=1e-5)
    assert repr(result) == f"Applied(awf to 120 videos; {tmp_path}/new.csv)"


def test_where_there_are_labels_the_fusion_is_judged_on_those_videos(fused, tmp_path):
    scores = new_scores()
    scores.labels[:20] = UNLABELLED
    result = apply_fusion(fused, [write_scores(tmp_path / "new.h5", scores)], out=tmp_path / "new.csv")
    assert [row["name"] for row in result.rows] == ["linear/rgb", "linear/flow", "average", "multiply", "awf"]
    right = load_fuser(fused).predict(X_of(scores))[20:] == scores.labels[20:]
    assert (result.rows[-1]["top1"], result.rows[-1]["videos"]) == (pytest.approx(right.mean()), 100)
    assert "100 videos" in result.verdict
    head, *rows = rows_of(tmp_path / "new.csv")
    assert head[:3] == ["id", "prediction", "label"]
    assert [row[2] for row in rows] == ["" if k == UNLABELLED else CLASSES[k] for k in scores.labels]


def test_figures_of_the_videos_that_a_rule_was_fitted_on_are_warned_of(tmp_path, capsys):
    known = write_scores(tmp_path / "known.h5", score_file(test_only=True))
    some = write_scores(
        tmp_path / "some.h5", replace(new_scores(), ids=np.array([*score_file().ids[:50], *new_ids(70)]))
    )
    for rule, flatters in (("svm", True), ("multiply", False)):
        fused = fuse(rule, [known], out=tmp_path / rule, evaluation=QUICK).out
        for path, count in ((known, 120), (some, 50)):
            capsys.readouterr()
            apply_fusion(fused, [path], out=tmp_path / f"{rule}-{count}.csv")
            said = f"warning: {fused} was fitted on {count} of these 120 videos: figures of them flatter it\n"
            assert (said in capsys.readouterr().err) == flatters


def new_ids(count):
    return [f"new{number}" for number in range(count)]


def test_a_score_file_is_written_where_the_name_says_so(fused, tmp_path):
    scores = new_scores()
    scores.labels[:3] = UNLABELLED
    path = write_scores(tmp_path / "new.h5", scores)
    apply_fusion(fused, [path], out=tmp_path / "of_new.h5")
    written = read_scores(tmp_path / "of_new.h5")
    np.testing.assert_allclose(written.streams["fused"], load_fuser(fused).predict_proba(X_of(scores)), atol=1e-6)
    assert (written.head, written.kind, written.split) == ("fuse-awf", "probabilities", "1")
    assert written.labels.tolist() == scores.labels.tolist()
    (tmp_path / "folder").mkdir()
    assert apply_fusion(fused, [path], out=tmp_path / "folder").out == tmp_path / "folder" / "fused.csv"


def test_a_file_that_is_there_is_kept_unless_told_otherwise(fused, tmp_path):
    path, out = write_scores(tmp_path / "new.h5", new_scores()), tmp_path / "mine.csv"
    out.write_text("mine")
    with pytest.raises(UsageError, match=r"mine\.csv: is there already; --overwrite replaces it"):
        apply_fusion(fused, [path], out=out)
    assert out.read_text() == "mine"
    apply_fusion(fused, [path], out=out, overwrite=True)
    assert len(rows_of(out)) == 121


def test_what_was_computed_is_told_although_it_cannot_be_written(fused, tmp_path, monkeypatch, runner):
    monkeypatch.chdir(tmp_path)
    write_scores(tmp_path / "new.h5", new_scores())

    def full(path, *_):
        raise WorkError(f"{path}: cannot be written (No space left on device)")

    monkeypatch.setattr("avr.fusion._applying.write_csv", full)
    done = runner.invoke(main, ["fuse", "apply", str(fused), "new.h5"])
    assert done.exit_code == 1
    assert done.stderr.splitlines()[-1] == "error: fused.csv: cannot be written (No space left on device)"
    assert ", the better untrained rule: " in done.stdout
    assert "written" not in done.stdout


def write_csv_scores(path, scores, stream, *, header=True):
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        if header:
            writer.writerow(["id", *scores.class_names])
        for video, row in zip(scores.ids, scores.streams[stream], strict=True):
            writer.writerow([video, *map(float, row)])
    return path


def test_files_of_other_tools_are_streams_by_their_names(fused, tmp_path):
    scores = new_scores(labelled=False)
    files = [write_csv_scores(tmp_path / f"{name}.csv", scores, name) for name in ("flow", "rgb")]
    result = apply_fusion(fused, files, out=tmp_path / "new.csv")
    np.testing.assert_allclose(result.probabilities, load_fuser(fused).predict_proba(X_of(scores)), rtol=1e-5)
    folder = tmp_path / "folder"
    folder.mkdir()
    for file in files:
        file.rename(folder / file.name)
    again = apply_fusion(fused, [folder], out=tmp_path / "again.csv")
    np.testing.assert_array_equal(again.probabilities, result.probabilities)


def test_groups_of_other_tools_files_are_told_as_they_are_when_imported(fused, tmp_path, monkeypatch, runner):
    """Names of UCF101 tell them; the interval is of groups, not of videos."""
    monkeypatch.chdir(tmp_path)
    scores = new_scores()
    ids = np.array([f"v_JumpRope_g{n // 20 + 1:02}_c{n % 20 + 1:02}" for n in range(120)])
    for stream in ("rgb", "flow"):
        path = write_csv_scores(tmp_path / f"{stream}.csv", replace(scores, ids=ids), stream)
        rows = rows_of(path)
        labels = ["label", *map(str, scores.labels)]
        with open(path, "w", newline="") as file:
            csv.writer(file).writerows([row[0], label, *row[1:]] for row, label in zip(rows, labels, strict=True))
    done = runner.invoke(main, ["fuse", "apply", str(fused), "rgb.csv", "flow.csv", "--json"])
    assert done.exit_code == 0, done.output
    by_group = json.loads(done.stdout)["differences"]["best stream"]
    alone = apply_fusion(fused, ["rgb.csv", "flow.csv"], out=tmp_path / "alone.csv").differences["best stream"]
    assert by_group["difference"] == alone["difference"]
    assert (by_group["low"], by_group["high"]) != (alone["low"], alone["high"])


def test_streams_that_are_missing_there_twice_or_not_read(fused, tmp_path, capsys):
    def write(name, *streams, **changes):
        return write_scores(tmp_path / f"{name}.h5", new_scores(streams, **changes))

    with pytest.raises(UsageError, match=r"reads linear/flow, which is missing: there are linear/rgb; add its scores"):
        apply_fusion(fused, [write("rgb", "rgb")], out=tmp_path / "a.csv")
    other = [write("x", "rgb", "flow", head="x"), write("y", "rgb", head="y")]
    with pytest.raises(UsageError, match=r"reads linear/rgb, and x/rgb and y/rgb could both be it: leave one out"):
        apply_fusion(fused, other, out=tmp_path / "a.csv")
    capsys.readouterr()
    apply_fusion(fused, [write("z", "rgb", "flow", "audio")], out=tmp_path / "a.csv")
    assert "leaves out linear/audio, which" in capsys.readouterr().err


def test_two_streams_of_one_kind_are_told_apart_by_their_folders(tmp_path):
    known, new = score_file(test_only=True, head="imported", split=""), new_scores(labelled=False)
    for name in ("a", "b"):
        write_scores(tmp_path / name / "rgb.h5", replace(known, streams={"rgb": known.streams["rgb"]}))
        (tmp_path / "new" / name).mkdir(parents=True)
    fused = fuse("average", [tmp_path / "a", tmp_path / "b"], out=tmp_path / "fused", evaluation=QUICK).out
    files = [write_csv_scores(tmp_path / "new" / name / "rgb.csv", new, "rgb") for name in ("a", "b")]
    assert apply_fusion(fused, files, out=tmp_path / "x.csv").streams == ("a/rgb", "b/rgb")
    with pytest.raises(UsageError, match=r"reads a/rgb and b/rgb, and imported/rgb could be either"):
        apply_fusion(fused, files[:1], out=tmp_path / "y.csv")


def test_scores_that_do_not_fit_the_fusion(fused, tmp_path):
    order = ("run", "jump", "sit", "walk")
    for name, changes, message in (
        ("order", {"class_names": order}, r"the classes run, jump, sit, …, and .* was fitted on jump, run, sit"),
        ("kind", {"kind": "probabilities"}, "holds probabilities, and .* was fitted on logits"),
    ):
        scores = new_scores(**{key: value for key, value in changes.items() if key != "kind"})
        if "kind" in changes:
            streams = {stream: np.full((120, 4), 0.25, np.float32) for stream in scores.streams}
            scores = replace(scores, streams=streams, kind="probabilities")
        with pytest.raises(UsageError, match=message):
            apply_fusion(fused, [write_scores(tmp_path / f"{name}.h5", scores)], out=tmp_path / "a.csv")
    with pytest.raises(UsageError, match=r"no fusion\.json at"):
        apply_fusion(tmp_path, [tmp_path / "kind.h5"], out=tmp_path / "a.csv")
    assert not (tmp_path / "a.csv").exists()


def test_of_a_fusion_of_several_splits_one_is_applied_and_said(tmp_path, capsys):
    paths = [put(tmp_path, score_file(seed=int(split), split=split)) for split in "12"]
    fused = fuse("svm", [paths[0].parents[1]], out=tmp_path / "fused", evaluation=QUICK).out
    new = write_scores(tmp_path / "new.h5", new_scores())
    capsys.readouterr()
    first = apply_fusion(fused, [new], out=tmp_path / "a.csv")
    assert "fused is of splits 1, 2: takes that of 1 (--split names another)" in capsys.readouterr().err
    second = apply_fusion(fused, [new], split="2", out=tmp_path / "b.csv")
    assert (first.split, second.split) == ("1", "2")
    assert not np.array_equal(first.probabilities, second.probabilities)
    assert apply_fusion(fused / "split-2", [new], out=tmp_path / "c.csv").split == "2"
    run = apply_fusion(fused, [paths[0].parents[1]], split="2", out=tmp_path / "d.csv")  # of its run: split 2's scores
    assert set(run.ids) == set(score_file(seed=2).ids)
    with pytest.raises(UsageError, match=r"has no split '3'; it holds 1, 2"):
        apply_fusion(fused, [new], split="3", out=tmp_path / "e.csv")


def test_from_two_csv_files_to_a_fused_csv_of_new_videos_in_three_commands(tmp_path, monkeypatch, runner):
    """As docs/fusion.md has it."""
    monkeypatch.chdir(tmp_path)
    known, new = score_file(test_only=True, ids=np.array([f"known{number}" for number in range(120)])), new_scores()
    for folder in ("known", "new"):
        (tmp_path / folder).mkdir()
    for stream in ("rgb", "flow"):
        write_csv_scores(tmp_path / "known" / f"{stream}.csv", known, stream)
        write_csv_scores(tmp_path / "new" / f"{stream}.csv", new, stream)
    lines = [f"{video} {label}" for video, label in zip(known.ids, known.labels, strict=True)]
    (tmp_path / "labels.txt").write_text("\n".join(lines) + "\n")
    for command in (
        "store import-scores known/rgb.csv known/flow.csv --labels labels.txt --out known-scores",
        "fuse svm known-scores --out fused --bootstrap 100",
        "fuse apply fused new/rgb.csv new/flow.csv --out new.csv",
    ):
        done = runner.invoke(main, command.split())
        assert done.exit_code == 0, done.output
    assert done.stdout == "written: new.csv, svm of 120 videos\n"
    np.testing.assert_array_equal(read_scores(tmp_path / "known-scores/rgb.h5").labels, known.labels)
    expected = load_fuser(tmp_path / "fused").predict_proba(X_of(new))
    rows = rows_of(tmp_path / "new.csv")[1:]
    assert [row[1] for row in rows] == [CLASSES[k] for k in expected.argmax(axis=1)]
    assert (np.array([CLASSES.index(row[1]) for row in rows]) == new.labels).mean() > 0.6


def test_the_command_answers_as_json(fused, tmp_path, monkeypatch, runner):
    monkeypatch.chdir(tmp_path)
    write_scores(tmp_path / "new.h5", take(new_scores(), np.arange(5)))
    done = runner.invoke(main, ["fuse", "apply", str(fused), "new.h5", "--json"])
    assert done.exit_code == 0, done.output
    answer = json.loads(done.stdout)
    assert answer["out"] == "fused.csv"
    assert len(answer["predictions"]) == len(answer["ids"]) == 5
    assert np.shape(answer["probabilities"]) == (5, 4)
    done = runner.invoke(main, ["fuse", "apply", str(fused), "new.h5", "--bootstrap", "0"])
    assert (done.exit_code, done.stderr) == (
        2,
        "error: bootstrap=0 is not possible; bootstrap takes int ≥ 1\n",
    )
    done = runner.invoke(main, ["fuse", "apply", str(fused), "new.h5"])
    assert (done.exit_code, done.stderr) == (2, "error: fused.csv: is there already; --overwrite replaces it\n")
