"""What `avr fuse apply` must not take without a word: another kind, videos that were learnt from, other splits."""

from dataclasses import replace

import numpy as np
import pytest

from avr.cli import main
from avr.core import UsageError, softmax
from avr.fusion import apply_fusion, fuse, load_fuser
from avr.store import read_scores, write_scores

from .test_apply import X_of, new_scores, write_csv_scores
from .test_fuse_files import QUICK, put, score_file, take


def as_probabilities(scores):
    streams = {name: softmax(values.astype(float)).astype(np.float32) for name, values in scores.streams.items()}
    return replace(scores, streams=streams, kind="probabilities")


def fused_from(tmp_path, scores, rule="multiply"):
    return fuse(rule, [put(tmp_path, scores)], out=tmp_path / "fused", evaluation=QUICK).out


def written(folder, scores):
    folder.mkdir()
    return [write_csv_scores(folder / f"{stream}.csv", scores, stream) for stream in ("rgb", "flow")]


@pytest.mark.parametrize("fitted", ["logits", "probabilities"])
def test_another_kind_in_a_file_of_another_tool_is_refused(fitted, tmp_path):
    known, new = score_file(), new_scores(labelled=False)
    fused = fused_from(tmp_path, known if fitted == "logits" else as_probabilities(known))
    files = written(tmp_path / "new", as_probabilities(new) if fitted == "logits" else new)
    other = "probabilities" if fitted == "logits" else "logits"
    message = rf"imported/rgb holds {other}, and .* fitted on {fitted}: .*import-scores --kind {fitted}\)$"
    with pytest.raises(UsageError, match=message):
        apply_fusion(fused, files, out=tmp_path / "a.csv")
    assert not (tmp_path / "a.csv").exists()


def test_where_the_numbers_do_not_tell_the_kind_is_the_fusions(tmp_path, capsys):
    """One row of probabilities summed over crops could be logits."""
    fused = fused_from(tmp_path, as_probabilities(score_file()))
    one = take(as_probabilities(new_scores(labelled=False)), np.arange(1))
    summed = replace(one, streams={name: 7.3 * values for name, values in one.streams.items()})
    capsys.readouterr()
    result = apply_fusion(fused, written(tmp_path / "new", summed), out=tmp_path / "a.csv")
    np.testing.assert_allclose(result.probabilities, load_fuser(fused).predict_proba(X_of(one)), rtol=1e-4)
    assert "its numbers do not tell what they are: taken as probabilities" in capsys.readouterr().err


def test_test_videos_alone_are_judged(tmp_path, capsys):
    """The others are those that the rule was fitted on."""
    scores = score_file()
    fused = fused_from(tmp_path, scores, "svm")
    path, test = write_scores(tmp_path / "same.h5", scores), scores.fold == -1
    capsys.readouterr()
    result = apply_fusion(fused, [path], out=tmp_path / "a.csv")
    right = load_fuser(fused).predict(X_of(scores))[test] == scores.labels[test]
    assert (result.rows[-1]["videos"], result.rows[-1]["top1"]) == (test.sum(), pytest.approx(right.mean()))
    assert len(result.ids) == 120
    assert "warning" not in capsys.readouterr().err
    only = write_scores(tmp_path / "train.h5", take(scores, np.flatnonzero(~test)))
    assert apply_fusion(fused, [only], out=tmp_path / "b.csv").rows[-1]["videos"] == (~test).sum()
    assert "warning: none of these videos is a test video" in capsys.readouterr().err


def test_streams_keep_the_names_that_told_them_apart(tmp_path):
    """Of three runs of one head, of which the fusion reads two."""

    def files(folder, scores):
        parts = {"a": ("rgb",), "b": ("flow",), "c": ("rgb", "flow")}
        return [
            write_scores(
                tmp_path / folder / f"{name}.h5", replace(scores, streams={s: scores.streams[s] for s in streams})
            )
            for name, streams in parts.items()
        ]

    known, new = files("known", score_file()), new_scores(labelled=False)
    fused = fuse("multiply", known, streams=["a/rgb", "b/flow"], out=tmp_path / "fused", evaluation=QUICK).out
    result = apply_fusion(fused, files("new", new), out=tmp_path / "a.csv")
    np.testing.assert_array_equal(result.probabilities, load_fuser(fused).predict_proba(X_of(new)))
    assert result.streams == ("a/rgb", "b/flow")


def test_a_run_and_a_file_of_another_tool_are_applied_together(tmp_path):
    fused = fused_from(tmp_path, score_file())
    new = replace(new_scores(("rgb",), labelled=False), split="1")
    flow = new_scores(labelled=False)
    csv = write_csv_scores(tmp_path / "flow.csv", flow, "flow")
    imported = write_scores(tmp_path / "other" / "flow.h5", take(replace(flow, streams={"flow": flow.streams["flow"]}),
                            np.arange(120)))  # fmt: skip
    for name, beside in (("csv", csv), ("h5", imported)):
        run = put(tmp_path / name, new)
        result = apply_fusion(fused, [run, beside], out=tmp_path / f"{name}.csv")
        assert len(result.ids) == 120


def test_scores_of_several_other_splits_are_refused(tmp_path):
    fused = fused_from(tmp_path, score_file())
    paths = [put(tmp_path / "new", replace(new_scores(labelled=False), split=split)) for split in "23"]
    with pytest.raises(UsageError, match="scores of splits 2, 3, and the fusion is of split 1: give those of one"):
        apply_fusion(fused, paths, out=tmp_path / "a.csv")


def test_another_split_than_the_only_one_is_refused(tmp_path):
    fused, new = fused_from(tmp_path, score_file()), write_scores(tmp_path / "new.h5", new_scores())
    assert apply_fusion(fused, [new], split="1", out=tmp_path / "a.csv").split == "1"
    with pytest.raises(UsageError, match=r"was fitted on scores of split 1: leave out --split"):
        apply_fusion(fused, [new], split="2", out=tmp_path / "b.csv")


def test_what_is_not_whole_is_warned_of_and_its_result_says_so(tmp_path, capsys):
    fused = fused_from(tmp_path, replace(score_file(), provenance={"store": {"lacking": "flow: 2 of 9 shards"}}))
    new = replace(new_scores(), provenance={"store": {"lacking": "rgb: 1 of 4 shards"}})
    path = write_scores(tmp_path / "new.h5", new)
    capsys.readouterr()
    apply_fusion(fused, [path], out=tmp_path / "a.h5")
    said = capsys.readouterr().err
    assert f"warning: {fused}: of a store that is not whole (flow: 2 of 9 shards)" in said
    assert f"warning: {path}: of a store that is not whole (rgb: 1 of 4 shards)" in said
    assert read_scores(tmp_path / "a.h5").provenance["store"]["lacking"] == "rgb: 1 of 4 shards"


def test_a_file_that_is_named_twice_is_one(tmp_path):
    fused, new = fused_from(tmp_path, score_file()), write_scores(tmp_path / "new.h5", new_scores())
    assert len(apply_fusion(fused, [new, new], out=tmp_path / "a.csv").ids) == 120


def test_how_many_were_judged_is_printed(tmp_path, monkeypatch, runner):
    monkeypatch.chdir(tmp_path)
    fused = fused_from(tmp_path, score_file())
    write_scores(tmp_path / "new.h5", score_file())
    done = runner.invoke(main, ["fuse", "apply", str(fused), "new.h5"])
    assert done.exit_code == 0, done.output
    assert f"fitted before; judged on {(score_file().fold == -1).sum()} videos with labels\n" in done.stdout
