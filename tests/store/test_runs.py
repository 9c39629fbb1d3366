"""The run folder: who may write there, what counts as finished, which run is the newest, what a killed one leaves."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import avr
from avr.core import UsageError, WorkError
from avr.store import (
    RunRecord,
    Scores,
    SplitRecord,
    begun_folder,
    claim_run,
    finished_runs,
    new_folder,
    new_split,
    read_record,
    record_split,
    score_path,
    score_paths,
    split_names,
    warn_unfinished,
    write_log,
    write_record,
    write_scores,
)

FIGURES = {"rgb": {"top1": 0.5, "top5": 1.0, "mean_class": 0.5}}
MINE = RunRecord("head", {"splits": ["1", "2"], "folds": None}, head="linear", options={"dropout": 0.0}, seed=1)


def leave_scores(folder: Path, *, age: int = 0) -> None:
    values = np.eye(2, dtype=np.float32)
    ids = np.array(["a", "b"])
    scores = Scores(ids, np.arange(2), ids, ("x", "y"), {"rgb": values}, "probabilities", "1", np.full(2, -1, np.int32))
    write_scores(score_path(folder), scores)
    os.utime(score_path(folder), (1000 + age, 1000 + age))


def test_a_record_reads_as_it_was_written(tmp_path):
    splits = {"1": SplitRecord(FIGURES, folds=5, seconds=1.5)}
    record = replace(MINE, splits=splits, summary=FIGURES, store={"path": "/here", "dataset": "toy"})
    write_record(tmp_path, record)
    assert replace(read_record(tmp_path), versions={}) == record
    assert read_record(tmp_path).versions.keys() >= {"avr", "python"}
    assert read_record(tmp_path).dataset == "toy"
    assert read_record(tmp_path).wanted == ("1", "2")


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (["/usr/bin/avr", "fuse", "awf", "my runs"], "avr fuse awf 'my runs'"),
        ([str(Path(avr.__file__).with_name("__main__.py")), "demo"], "avr demo"),
        (["/my/script.py", "--fast"], ""),
        ([""], ""),
    ],
)
def test_a_record_keeps_the_command_that_began_it(tmp_path, monkeypatch, arguments, command):
    monkeypatch.setattr("sys.argv", arguments)
    with claim_run(tmp_path / "run", "", MINE) as run:
        record_split(run, "1", SplitRecord(FIGURES))
    monkeypatch.setattr("sys.argv", ["avr", "another"])
    with claim_run(run, "", MINE):
        record_split(run, "2", SplitRecord(FIGURES))
    record = read_record(run)
    assert record.command == command
    assert record.to_dict().get("command", "") == command
    assert replace(record, versions={"avr": "0.0"}).to_dict()["versions"] == {"avr": "0.0"}


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", "{}", '{"kind": "other"}', '{"kind": "head", "splits": 3}', '{"kind": "head", "seed": "one"}'),
        *('{"kind": "head", "splits": {"1": {}}}', '{"identity": {"extraction": {}}, "complete": true}'),
        *(
            f'{{"kind": "head", "identity": {{{told}}}}}'
            for told in ('"splits": 5', '"splits": "12"', '"split": ["1"]')
        ),
        *(f'{{"kind": "head", "identity": {{{told}}}}}' for told in ('"splits": [["1"]]', '"split": "../1"')),
        '{"kind": "head", "splits": {"x/../../../mine": {"results": {}}}}',
        *(
            f'{{"kind": "head", "splits": {{"1": {{"results": {told}}}}}}}'
            for told in ('{}, "seconds": "x"', '{"a": 5}')
        ),
        *(
            f'{{"kind": "head", "splits": {{"1": {{"results": {{}}, {told}}}}}}}'
            for told in ('"folds": "a"', '"losses": 1')
        ),
    ],
)
def test_a_damaged_record_is_named(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(WorkError, match=r"run\.json(:| is) damaged"):
        read_record(tmp_path)


def test_no_forged_record_removes_a_folder_outside_the_run(tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    (tmp_path / "run" / ".begun" / "split-x").mkdir(parents=True)
    forged = {"kind": "head", "complete": True, "splits": {"x/../../../mine": {"results": {}}}}
    (tmp_path / "run" / "run.json").write_text(json.dumps(forged))
    with pytest.raises(WorkError, match=r"split 'x/.*/mine' is no name"), claim_run(tmp_path / "run", "", MINE):
        pass
    assert mine.is_dir()


def test_a_run_goes_on_where_out_holds_it_and_others_are_refused(tmp_path, capsys):
    out = tmp_path / "out"
    with claim_run(out, "", MINE) as folder, new_split(folder, "1") as split:
        leave_scores(split)
    record_split(out, "1", SplitRecord(FIGURES), summary=FIGURES)
    assert not read_record(out).complete
    with claim_run(out, "", MINE):
        assert "continuing" in capsys.readouterr().err
        assert list(read_record(out).splits) == ["1"]
    for other, message in [
        (replace(MINE, seed=2), r"holds a head's run with other settings \(seed 1 → 2\): choose another --out"),
        (replace(MINE, options={"dropout": 0.5}), r"\(options.dropout 0.0 → 0.5\)"),
        (replace(MINE, identity={"splits": ["1"], "folds": 3}), r'\(folds null → 3, splits \["1", "2"\] → '),
        (RunRecord("fuse"), r"holds a head's run: choose another --out"),
    ]:
        with pytest.raises(UsageError, match=message), claim_run(out, "", other):
            pass
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "thesis.txt").write_text("")
    with (
        pytest.raises(UsageError, match="holds other files and no run: choose another --out"),
        claim_run(tmp_path / "notes", "", MINE),
    ):
        pass
    assert [path.name for path in (tmp_path / "notes").iterdir()] == ["thesis.txt"]
    with (
        pytest.raises(UsageError, match="is a file, or lies below"),
        claim_run(tmp_path / "notes/thesis.txt", "", MINE),
    ):
        pass


def test_the_last_split_completes_a_run_which_is_then_left_as_it_is(tmp_path):
    for name in ("1", "2"):
        with claim_run(tmp_path / "out", "", MINE) as folder:
            record_split(folder, name, SplitRecord(FIGURES), summary=FIGURES)
    assert read_record(folder).complete
    (folder / ".lock").unlink()
    with claim_run(tmp_path / "out", "", MINE) as again:
        assert again == folder
    assert [path.name for path in folder.iterdir()] == ["run.json"]


def test_without_out_the_newest_unfinished_of_the_same_settings_whatever_the_gaps(tmp_path):
    prefix, other = tmp_path / "tuned", replace(MINE, seed=2)
    for number, record in {3: MINE, 9: MINE, 10: replace(MINE, complete=True), 11: other}.items():
        write_record(tmp_path / f"tuned-{number}", record)
    (tmp_path / "tuned-x").mkdir()
    with claim_run(None, prefix, MINE) as folder:
        assert folder.name == "tuned-9"
    with claim_run(None, prefix, replace(MINE, seed=3)) as folder:
        assert folder.name == "tuned-12"
        (tmp_path / "tuned-13").mkdir()  # another process has made it and not yet written to it
        with claim_run(None, prefix, replace(MINE, seed=4)) as second:
            assert second.name == "tuned-14"
            assert read_record(second).seed == 4


def test_what_fails_before_it_left_anything_leaves_no_folder(tmp_path):
    def fail(left: str) -> None:
        with claim_run(None, tmp_path / "runs" / "a", MINE) as folder:
            (folder / left).mkdir(exist_ok=True)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail(".")
    assert list((tmp_path / "runs").iterdir()) == []
    with pytest.raises(ZeroDivisionError):
        fail("split-1")
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["a-1"]


@pytest.mark.usefixtures("locks")
def test_a_folder_that_another_process_works_in_is_refused(tmp_path):
    code = (
        "import sys; from pathlib import Path; from avr.store import RunRecord, claim_run\n"
        "with claim_run(Path(sys.argv[1]), '', RunRecord('head', {'a': 1})):\n"
        "    print('held', flush=True); sys.stdin.read()"
    )
    out = tmp_path / "runs" / "tuned-1"
    held = subprocess.Popen(
        [sys.executable, "-c", code, str(out)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    mine = RunRecord("head", {"a": 1})
    try:
        assert held.stdout.readline() == "held\n"
        for chosen, prefix in ((out, ""), (None, out.with_name("tuned"))):
            message = rf"another run works in this folder \(process {held.pid} on .*wait"
            with pytest.raises(UsageError, match=message), claim_run(chosen, prefix, mine):
                pass
    finally:
        held.communicate()
    for _ in range(2):  # and it is given back
        with claim_run(out, "", mine) as folder:
            assert folder == out


def test_a_split_is_there_when_the_record_names_it(tmp_path):
    with claim_run(tmp_path / "out", "", MINE) as run:
        with pytest.raises(ZeroDivisionError), new_split(run, "1"):
            1 / 0  # noqa: B018
        with new_split(run, "1") as folder:
            leave_scores(folder)
            (folder / "old").touch()
        assert (run / "split-1" / "scores.h5").is_file()
        assert (split_names(run), score_paths(run)) == ([], [])  # as a process that was killed here leaves it
        (run / ".split-2.host-123-0123abcd.tmp").mkdir()
        (run / "split-1" / ".scores.h5.host-123-0123abcd.tmp").touch()
    with claim_run(tmp_path / "out", "", MINE) as run:
        assert not list(run.rglob("*.tmp"))
        with new_split(run, "1") as folder:
            leave_scores(folder)
        record_split(run, "1", SplitRecord(FIGURES), summary=FIGURES)
    assert not (run / "split-1" / "old").exists()
    assert score_paths(run) == [run / "split-1" / "scores.h5"]


def test_the_newest_run_is_a_finished_one(tmp_path, capsys):
    assert new_folder(tmp_path / "x-y").name == "x-y-1"  # empty: no run yet
    for age, (name, complete) in enumerate([("a-2", True), ("a-10", True), ("a-11", False)]):
        write_record(tmp_path / name, replace(MINE, splits={"1": SplitRecord(FIGURES)}, complete=complete))
        leave_scores(tmp_path / name / "split-1", age=age)
    leave_scores(tmp_path / "imported", age=-5)
    leave_scores(tmp_path / "damaged", age=9)
    (tmp_path / "damaged" / "run.json").write_text("{")
    assert [run.name for run in finished_runs(tmp_path)] == ["imported", "a-2", "a-10"]
    said = capsys.readouterr().err
    assert "damaged" in said
    assert f"leaves out {tmp_path / 'a-11'}, unfinished (1 of 2 splits): run the command that began it again" in said
    assert [run.name for run in finished_runs(tmp_path, but="a-1")] == ["imported", "a-2"]


def test_the_newest_run_is_the_one_whose_record_says_so_whatever_was_touched(tmp_path):
    for name in ("a-1", "a-2"):
        with claim_run(tmp_path / name, "", MINE) as run:
            for split in MINE.wanted:
                leave_scores(run / f"split-{split}")
                record_split(run, split, SplitRecord(FIGURES))
    leave_scores(tmp_path / "a-1" / "split-1", age=10**9)  # copied, or touched
    assert [run.name for run in finished_runs(tmp_path)] == ["a-1", "a-2"]


def test_a_run_is_finished_when_its_folds_are_there_too(tmp_path):
    with claim_run(tmp_path / "out", "", MINE) as run:
        for split in MINE.wanted:
            kept = begun_folder(run, split)
            kept.mkdir(parents=True)
            record_split(run, split, SplitRecord(FIGURES, unfinished=True))
            assert kept.is_dir()
        assert not read_record(run).finished
        record_split(run, "1", SplitRecord(FIGURES, folds=5))
        assert [path.name for path in (run / ".begun").iterdir()] == ["split-2"]
        record_split(run, "2", SplitRecord(FIGURES, folds=5))
    assert read_record(run).finished
    assert not (run / ".begun").exists()
    begun_folder(run, "1").mkdir(parents=True)  # as a process that is killed at its very end leaves it
    with claim_run(run, "", MINE):
        assert not (run / ".begun").exists()


def test_what_is_of_a_store_that_lacks_shards_says_so_for_ever(tmp_path, capsys):
    partial = replace(MINE, store={"lacking": "rgb: 3 of 12 shards"})
    with claim_run(tmp_path / "a-1", "", partial) as run:
        for split in MINE.wanted:
            leave_scores(run / f"split-{split}")
            record_split(run, split, SplitRecord(FIGURES))
    assert read_record(run).finished
    assert json.loads((run / "run.json").read_text())["complete"] is False
    told = r"a-1, of a store that is not whole \(rgb: 3 of 12 shards\): finish the store, then train again, or name"
    with pytest.raises(UsageError, match=told) as caught:
        finished_runs(tmp_path)
    assert "goes on" not in str(caught.value)
    leave_scores(tmp_path / "b-1")
    assert [run.name for run in finished_runs(tmp_path)] == ["b-1"]
    assert re.search(f"leaves out .*{told}", capsys.readouterr().err)
    warn_unfinished(score_path(run / "split-1"))
    assert "warning: " in (said := capsys.readouterr().err)
    assert "scores.h5: of a store that is not whole (rgb: 3 of 12 shards): its figures are of what is there" in said


def test_where_only_unfinished_runs_are_there_the_error_says_how_to_go_on(tmp_path):
    write_record(tmp_path / "a-1", replace(MINE, splits={"1": SplitRecord(FIGURES)}))
    leave_scores(tmp_path / "a-1" / "split-1")
    with pytest.raises(UsageError, match=r"under .*a-1, unfinished \(1 of 2 splits\): run the command .*goes on"):
        finished_runs(tmp_path)
    with pytest.raises(UsageError, match=r"no run with scores under .*none: train a head first"):
        finished_runs(tmp_path / "none")


def test_a_log_counts_its_epochs_where_the_rows_do_not(tmp_path):
    write_log(tmp_path, [{"step": 3, "loss": 0.5}, {"step": 6, "loss": 0.25}])
    assert (tmp_path / "log.csv").read_text().splitlines() == ["epoch,step,loss", "1,3,0.5", "2,6,0.25"]
    write_log(tmp_path, [{"epoch": 7, "loss": 0.5}])
    assert (tmp_path / "log.csv").read_text().splitlines() == ["epoch,loss", "7,0.5"]


def test_what_commands_write_at_the_root_is_ignored_by_git():
    ignored = (Path(__file__).parents[2] / ".gitignore").read_text().split()
    assert {"/data/", "/features/", "/runs/", "/backbones/", "/cache/", "/demo/"} <= set(ignored)


def test_the_record_is_plain_json(tmp_path):
    write_record(tmp_path, replace(MINE, options={"sizes": (1, 2)}))
    content = json.loads((tmp_path / "run.json").read_text())
    assert (content["kind"], content["head"], content["options"], content["splits"]) == (
        "head", "linear", {"sizes": [1, 2]}, {}
    )  # fmt: skip
