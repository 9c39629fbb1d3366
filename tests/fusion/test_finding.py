"""Which scores `avr fuse` takes: folders of score files, files of other tools, validation scores, folds; where it
writes."""

from dataclasses import replace

import numpy as np
import pytest

from avr.cli import main
from avr.core import Unwritten, UsageError, WorkError, softmax
from avr.fusion import Evaluation, compare, fuse, gather
from avr.store import UNLABELLED, write_scores

from .test_fuse_files import QUICK, put, score_file

TEST_ONLY = {"test_only": True, "split": "", "head": "imported"}


def one_stream(stream, **changes):
    both = score_file(**TEST_ONLY)
    return replace(both, streams={stream: both.streams[stream]}, **changes)


def test_a_folder_of_score_files_is_taken(tmp_path):
    for stream in ("flow", "rgb"):
        write_scores(tmp_path / "s" / f"{stream}.h5", one_stream(stream))
    result = fuse("average", [tmp_path / "s"], out=tmp_path / "out", evaluation=QUICK)
    assert result.streams == ("imported/rgb", "imported/flow")
    assert gather([tmp_path / "s"]).X.shape == (120, 2, 4)
    assert gather([tmp_path / "s/rgb.h5"]).streams == ("imported/rgb",)


def test_files_of_one_name_are_told_apart_by_their_folders(tmp_path):
    for number, model in enumerate(("small", "large")):
        write_scores(tmp_path / model / "rgb.h5", one_stream("rgb", provenance={"number": number}))
    files = [tmp_path / model / "rgb.h5" for model in ("small", "large")]
    assert gather(files).streams == ("small/rgb", "large/rgb")
    assert gather([tmp_path / "small", tmp_path / "large"]).streams == ("small/rgb", "large/rgb")
    with pytest.raises(UsageError, match=r"two streams are called a/rgb: give their files"):
        gather([("a", one_stream("rgb")), ("a", one_stream("rgb"))])


@pytest.mark.parametrize("name", ["rgb.npz", "rgb.pkl", "rgb.csv"])
def test_what_other_tools_wrote_is_answered_with_the_import_command(name, tmp_path, monkeypatch, runner):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / name).write_bytes(b"anything")
    for given in (f"raw/{name}", "raw"):
        done = runner.invoke(main, ["fuse", "average", given])
        assert done.exit_code == 2
        assert done.stderr == (
            f"error: raw/{name}: no score file of avr's: import it first (avr store import-scores raw/{name} --out "
            "scores), then name scores\n"
        )


def test_a_feature_store_is_no_folder_of_scores(tmp_path, monkeypatch):
    from avr.store import StoreWriter

    with pytest.raises(UsageError, match=r"index\.h5: holds 'index', not scores"):
        fuse("average", [made_store(StoreWriter, tmp_path / "store")])


def made_store(writer, folder):
    from types import SimpleNamespace

    videos = [SimpleNamespace(id=f"c{i % 2}/v{i}", path=f"/{i}.avi", label=i % 2, group=f"g{i}") for i in range(4)]
    split = SimpleNamespace(train=[video.id for video in videos], test=[])
    dataset = SimpleNamespace(name="toy", class_names=("a", "b"), videos=videos, splits={"1": split})
    with writer(folder, dataset, arrays={"rgb/pooled": (1, 2)}, provenance={"settings": {}}) as opened:
        for shard in opened.shards():
            for video in shard.video_ids:
                shard.add(video, {"rgb/pooled": np.zeros((1, 1, 2), np.float16)}, frames=1)
    return folder


@pytest.mark.usefixtures("locks")
def test_validation_scores_are_fitted_on_without_a_warning(tmp_path, capsys):
    scores = score_file(split="", head="imported")
    path = write_scores(tmp_path / "s.h5", replace(scores, fold=np.minimum(scores.fold, 0).astype(np.int32)))
    result = fuse("svm", [path], out=tmp_path / "out", evaluation=QUICK)
    fit = int((scores.fold >= 0).sum())
    assert result.protocol == {"": f"fitted on {fit} held-out scores, judged on {120 - fit} test videos"}
    assert "warning" not in capsys.readouterr().err


def test_videos_without_a_label_cannot_be_judged(tmp_path):
    scores = score_file(**TEST_ONLY)
    scores.labels[[4, 9]] = UNLABELLED
    path = write_scores(tmp_path / "s.h5", scores)
    for work in (lambda: fuse("average", [path]), lambda: compare([path])):
        with pytest.raises(UsageError, match=rf"2 of 120 videos have no label, first {scores.ids[4]}: .*fuse apply"):
            work()
    known = replace(score_file(**TEST_ONLY), head="other")
    assert (gather([("a", scores), ("b", known)]).labels == known.labels).all()  # another file knows them


@pytest.mark.parametrize(("groups", "folds"), [(2, 2), (4, 4), (7, 5)])
def test_with_fewer_groups_than_folds_there_are_fewer_folds_and_it_is_said(groups, folds, tmp_path, capsys):
    scores = score_file(**TEST_ONLY)
    path = write_scores(tmp_path / "s.h5", replace(scores, groups=np.array([f"g{n % groups}" for n in range(120)])))
    result = fuse("multiply", [path], out=tmp_path / "out", evaluation=Evaluation(bootstrap=50))
    assert f"120 test videos: {folds} folds over {groups} groups" in result.protocol[""]
    assert (f"5 folds of {groups} groups cannot be: takes {folds}" in capsys.readouterr().err) == (folds < 5)


def test_one_group_alone_makes_no_folds(tmp_path):
    scores = score_file(**TEST_ONLY)
    path = write_scores(tmp_path / "s.h5", replace(scores, groups=np.full(120, "film")))
    with pytest.raises(UsageError, match=r"all 120 test videos are of one group, film, .*--force-random-folds") as told:
        fuse("awf", [path], out=tmp_path / "out", evaluation=QUICK)
    assert "\n" not in str(told.value)
    forced = replace(QUICK, force_random_folds=True)
    assert "3 folds over videos" in fuse("svm", [path], out=tmp_path / "out", evaluation=forced).protocol[""]


def test_a_fusion_never_writes_into_a_folder_that_holds_something_else(tmp_path, monkeypatch):
    from avr.store import StoreWriter

    path = put(tmp_path, score_file())
    run = path.parents[1]
    imported = write_scores(tmp_path / "imported" / "rgb.h5", one_stream("rgb")).parent
    store = made_store(StoreWriter, tmp_path / "store")
    held = {folder: sorted(folder.rglob("*")) for folder in (run, imported, store)}
    before = path.read_bytes()
    for folder, message in ((run, "holds other files"), (imported, "holds other files"), (store, "holds other files")):
        monkeypatch.setattr("avr.fusion._fuse.trial_of", lambda *_: pytest.fail("computed before it was refused"))
        with pytest.raises(UsageError, match=rf"{folder.name} {message} and no run: choose another --out"):
            fuse("average", [path], out=folder, evaluation=QUICK)
    assert {folder: sorted(folder.rglob("*")) for folder in held} == held
    assert path.read_bytes() == before


def test_what_was_computed_is_told_although_it_cannot_be_written(tmp_path, monkeypatch, runner):
    monkeypatch.chdir(tmp_path)
    put(tmp_path, score_file())

    def full(folder, *_):
        raise WorkError(f"{folder}: cannot be written (No space left on device)")

    monkeypatch.setattr("avr.fusion._fuse.save_fuser", full)
    with pytest.raises(Unwritten, match="No space left on device") as told:
        fuse("average", evaluation=QUICK)
    assert told.value.result.rows[-1]["name"] == "multiply"
    done = runner.invoke(main, ["fuse", "average", "--bootstrap", "100"])
    assert done.exit_code == 1
    assert done.stderr.splitlines()[-1].startswith("error: runs/fuse-average-1: cannot be written (No space left")
    assert "average - multiply, the better untrained rule" in done.stdout
    assert "written:" not in done.stdout
    assert not list((tmp_path / "runs").glob("fuse-*"))


@pytest.mark.parametrize("part", ["groups", "ids", "kind"])
def test_other_groups_ids_or_kinds_are_another_fusion(part, tmp_path):
    """The figures of the first would be taken for those of the second."""
    scores = score_file(**TEST_ONLY)
    scores = replace(scores, streams={name: np.abs(values) for name, values in scores.streams.items()})
    out = fuse("average", [write_scores(tmp_path / "s.h5", scores)], out=tmp_path / "out", evaluation=QUICK).out
    assert fuse("average", [tmp_path / "s.h5"], out=out, evaluation=QUICK).out == out
    rows = {"rgb": softmax(scores.streams["rgb"])}
    kinds = [replace(scores, streams=rows, kind=kind) for kind in ("probabilities", "logits")]
    other = {"groups": replace(scores, groups=np.roll(scores.groups, 1)), "ids": replace(scores, ids=scores.ids[::-1])}
    if part == "kind":
        out = fuse("average", [write_scores(tmp_path / "s.h5", kinds[0])], out=tmp_path / "k", evaluation=QUICK).out
    write_scores(tmp_path / "s.h5", other.get(part, kinds[1]))
    with pytest.raises(UsageError, match=r"choose another --out"):
        fuse("average", [tmp_path / "s.h5"], out=out, evaluation=QUICK)
