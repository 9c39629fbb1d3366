"""Score files of any dialect: what is what is told by facts, or refused with what to type. See docs/scores.md."""

import json
import os
import pickle
import runpy
from pathlib import Path

import numpy as np
import pytest

from avr.core import UsageError, write_csv
from avr.store import (
    SCORE_SUFFIXES,
    TEST_VIDEO,
    UNLABELLED,
    Reading,
    beside_others,
    import_scores,
    read_labels,
    read_scores,
    write_scores,
)

IDS = [f"v{i}" for i in range(6)]
LABELS = [0, 1, 2, 1, 0, 2]
NAMES = ["walk", "run", "jump"]
VALUES = np.round(np.random.default_rng(1).normal(size=(6, 3)), 4)
VALUES[np.arange(6), LABELS] += 3  # all are right
WANTED = np.asarray(VALUES, np.float32)


def lines(header, rows, mark=",", end="\n"):
    return "".join(mark.join(map(str, row)) + end for row in ([header] if header else []) + rows)


def rows(*front, values=VALUES, label=None):
    """A row a video: what stands in front of its scores, then these, then a label."""
    found = [[*(column[i] for column in front), *values[i]] for i in range(len(values))]
    return found if label is None else [[*row, label[i]] for i, row in enumerate(found)]


def read(tmp_path, text, suffix=".csv", **options):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return import_scores(path, **options)


def comma(values):
    return [[str(value).replace(".", ",") for value in row] for row in values]


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        pytest.param(lines(["id", *NAMES], rows(IDS), "\t"), {}, "cut at tab", id="tabs"),
        pytest.param(lines(["id", *NAMES], rows(IDS), ";", "\r\n"), {}, "cut at ';'", id="semicolons, CRLF"),
        pytest.param(
            lines(["id", *NAMES], rows(IDS, values=comma(VALUES)), ";"), {}, "decimal commas", id="decimal commas"
        ),
        pytest.param("\ufeff" + lines(["id", *NAMES], rows(IDS)), {}, "column 'id'", id="byte order mark"),
        pytest.param("sep=;\n" + lines(["id", *NAMES], rows(IDS), ";"), {}, "cut at ';'", id="Excel's first line"),
        pytest.param(lines(["", *NAMES], rows(IDS)), {}, "ids: column 1", id="pandas' index without a name"),
        pytest.param(
            lines(["", "name", *NAMES], rows(range(6), IDS)), {}, "column 'name'", id="pandas' index beside names"
        ),
        pytest.param(lines(NAMES, rows(IDS)), {}, "ids: column 1", id="R's header lacks a cell"),
        pytest.param(lines(["video", 0, 1, 2], rows(IDS)), {}, "column 'video'", id="classes are numbers"),
        pytest.param(lines([0, 1, 2], rows()), {"names": IDS}, "names given", id="a header 0 … K-1"),
        pytest.param(lines(None, rows(), " "), {"names": IDS}, "no header", id="np.savetxt"),
        pytest.param("# " + lines(["id", *NAMES], rows(IDS)), {}, "column 'id'", id="np.savetxt's header"),
        pytest.param(lines([*NAMES, "id"], [row[1:] + row[:1] for row in rows(IDS)]), {}, "'id'", id="ids behind"),
        pytest.param(lines(["id", *NAMES], [[f'"{r[0]}"', *r[1:]] for r in rows(IDS)]), {}, "'id'", id="quotes"),
    ],
)
def test_tables_of_every_dialect(tmp_path, text, options, said):
    imported = read(tmp_path, text, labels=LABELS, **options)
    scores = imported.scores
    assert scores.ids.tolist() == IDS
    np.testing.assert_array_equal(scores.streams["a"], WANTED)
    assert said in imported.notes[0]
    assert "6 videos × 3 classes" in imported.notes[0]
    assert "100.0 % right" in imported.notes[0]
    numbered = "class 0" in scores.class_names or scores.class_names == ("0", "1", "2")
    assert numbered or scores.class_names == tuple(NAMES)


NUMBERS = [f"{1000 + 3 * i:06d}" for i in range(6)]


def test_ids_that_are_numbers_are_ids(tmp_path):
    named = read(tmp_path, lines(["video", *NAMES], rows(NUMBERS)))
    assert named.scores.ids.tolist() == NUMBERS
    told = read(tmp_path, lines(["thing", *NAMES], rows(NUMBERS)), labels=dict(zip(NUMBERS, LABELS, strict=True)))
    assert told.scores.ids.tolist() == NUMBERS
    index = read(tmp_path, lines(["", *NAMES], rows(NUMBERS)))
    assert index.scores.ids.tolist() == NUMBERS
    with pytest.raises(UsageError, match=r"a.csv:2: column 'thing' may be ids or a class; say --id-column"):
        read(tmp_path, lines(["thing", *NAMES], rows(NUMBERS)))
    forced = read(tmp_path, lines(["thing", *NAMES], rows(NUMBERS)), reading=Reading(id_column="thing"))
    assert forced.scores.ids.tolist() == NUMBERS
    other = read(tmp_path, lines(["thing", *NAMES], rows(NUMBERS)), names=IDS, reading=Reading(id_column="none"))
    assert other.scores.class_names == ("thing", *NAMES)
    with pytest.raises(UsageError, match="numbers the rows, nothing names the videos"):
        read(tmp_path, lines(["", *NAMES], rows(range(6))))
    assert read(tmp_path, lines(["", *NAMES], rows(range(6))), names=IDS).scores.ids.tolist() == IDS


def test_labels_as_numbers_as_names_and_none(tmp_path):
    for label in (LABELS, [NAMES[k] for k in LABELS], [f"{k}.0" for k in LABELS]):
        assert read(tmp_path, lines(["id", *NAMES, "class"], rows(IDS, label=label))).scores.labels.tolist() == LABELS
    gaps = read(tmp_path, lines(["id", *NAMES, "label"], rows(IDS, label=["walk", "", "jump", "", "walk", "jump"])))
    assert gaps.scores.labels.tolist() == [0, UNLABELLED, 2, UNLABELLED, 0, 2]
    assert "2 videos have no label" in gaps.notes
    none = read(tmp_path, lines(["id", *NAMES], rows(IDS)))
    assert (none.scores.labels == UNLABELLED).all()
    assert "no labels (--labels FILE, or --dataset)" in none.notes[0]
    assert read_scores(write_scores(tmp_path / "a.h5", none.scores)).labels.tolist() == [UNLABELLED] * 6
    # Names that no word tells are labels where all of them are classes; numbers are not, they may be a class.
    text = lines(["id", "what", *NAMES], rows(IDS, [NAMES[k] for k in LABELS]))
    assert read(tmp_path, text).scores.labels.tolist() == LABELS
    with pytest.raises(UsageError, match="column 'what' may be labels or a class; say --label-column"):
        read(tmp_path, lines(["id", "what", *NAMES], rows(IDS, LABELS)))
    text = lines(["id", "what", *NAMES], rows(IDS, LABELS))
    assert read(tmp_path, text, reading=Reading(label_column="what")).scores.labels.tolist() == LABELS
    with pytest.raises(UsageError, match=r"a.csv:3: video v1: label 'swim' is no class of walk, run, jump"):
        read(tmp_path, lines(["id", *NAMES, "label"], rows(IDS, label=["walk", "swim", *["jump"] * 4])))
    with pytest.raises(UsageError, match=r"label 3, but|a label is 3"):
        read(tmp_path, lines(["id", *NAMES, "label"], rows(IDS, label=[0, 3, 1, 1, 1, 1])))


def test_columns_that_number_their_classes_are_put_in_order(tmp_path):
    order = [2, 0, 1]
    for word in ("", "c", "A00"):
        names = [f"{word}{k}" for k in range(3)]
        text = lines(["id", *(names[k] for k in order), "label"], rows(IDS, values=VALUES[:, order], label=LABELS))
        scores = read(tmp_path, text).scores
        np.testing.assert_array_equal(scores.streams["a"], WANTED)
        assert scores.labels.tolist() == LABELS


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (lines(["id", *NAMES], rows(IDS)).replace("v3,", "v3,x", 1), "a.csv:5: column 'walk' holds 'x"),
        (lines(["id", *NAMES], rows(IDS)).replace("v3,", "v3,,", 1), "a.csv:5: 5 cells, where other lines have 4"),
        (lines(["id", *NAMES], [*rows(IDS)[:5], ["v5", 1.5, "", 2.5]]), "a.csv:7: column 'run' holds '', which is no"),
        (lines(["id", *NAMES], [*rows(IDS)[:5], ["v5", 1.5, "nan", 2.5]]), "a.csv:7: video v5: class 1 is NaN"),
        (lines(["id", *NAMES], [*rows(IDS)[:5], ["v4", 1.5, 1, 2]]), r"ids that repeat: v4 \(lines 6 and 7\)"),
        (lines(["id", *NAMES], [*rows(IDS)[:5], ["", 1.5, 1, 2]]), "a.csv:7: video 5 has no name"),
        (lines(["id", "walk", "walk", "jump"], rows(IDS)), "two columns are called 'walk'"),
        ("0,1\n0.5,0.5\n0.1,0.9\n", "a.csv:1: 0, 1 may be a header or scores"),
        ('v1;"1,234";"2,345"\nv2;"3,456";"4,567"\n', "the commas may be points or part thousands"),
        ("v1,0.1_5,2\nv2,1_2,3\nv3,1_1,4\n", "no table of scores"),
        ("id\nv1\nv2\n", "no table of scores"),
        (lines(["video", *NAMES], rows([0.5, 1.5, 2.5, 3, 4, 5])), "column 'video' holds fractions"),
    ],
)
def test_a_table_that_is_none_names_line_and_column(tmp_path, text, message):
    with pytest.raises(UsageError, match=message):
        read(tmp_path, text)


def test_a_prediction_beside_the_scores_is_compared(tmp_path):
    right = [NAMES[k] for k in LABELS]
    assert len(read(tmp_path, lines(["id", "prediction", *NAMES], rows(IDS, right))).scores.ids) == 6
    with pytest.raises(UsageError, match=r"a.csv:2: video v0: its prediction is run, its largest score that of walk"):
        read(tmp_path, lines(["id", "prediction", *NAMES], rows(IDS, ["run", *right[1:]])))


def test_names_that_differ_from_the_files_own_are_refused(tmp_path):
    text = lines(["id", *NAMES], rows(IDS))
    assert read(tmp_path, text, names=[f"x/{name}.avi" for name in IDS]).scores.ids[0] == "x/v0"
    with pytest.raises(UsageError, match="holds names of its own, and --names differs in 2 of 6, first v0 and v1"):
        read(tmp_path, text, names=["v1", "v0", *IDS[2:]])


def test_labels_that_go_with_two_class_folders_are_refused(tmp_path):
    labels = [i // 20 for i in range(60)]
    ids = [f"{NAMES[k]}/v{i}" for i, k in enumerate(labels)]
    values = np.random.default_rng(0).normal(size=(60, 3))
    text = lines(None, rows(values=values), " ")
    assert read(tmp_path, text, names=ids, labels=labels).scores.class_names == tuple(NAMES)
    ids[20], ids[3] = ids[3], ids[20]  # another order than the rows'
    with pytest.raises(
        UsageError, match=r"video run/v20: label 0 goes with class folders walk and run, as for 2 videos"
    ):
        read(tmp_path, text, names=ids, labels=labels)


def test_two_labels_of_one_video_are_refused(tmp_path):
    (tmp_path / "labels.pkl").write_bytes(pickle.dumps((["v0", "v1", "v0"], [0, 1, 1])))
    with pytest.raises(UsageError, match="v0 has label 0 and label 1"):
        read_labels(tmp_path / "labels.pkl")
    (tmp_path / "a.json").write_text('{"v0": [1, 2], "v0": [2, 1]}')
    with pytest.raises(UsageError, match="'v0' stands there twice"):
        import_scores(tmp_path / "a.json")


@pytest.mark.parametrize(
    "value",
    [(IDS, LABELS), dict(zip(IDS, LABELS, strict=True)), {"name": IDS, "label": LABELS}],
    ids=["pair", "dict", "arrays"],
)
def test_labels_in_pickles(tmp_path, value):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(value))
    assert read_labels(tmp_path / "a.pkl") == dict(zip(IDS, LABELS, strict=True))
    records = {"split": {}, "annotations": [{"frame_dir": n, "label": k} for n, k in zip(IDS, LABELS, strict=True)]}
    (tmp_path / "b.pkl").write_bytes(pickle.dumps(records))
    assert read_labels(tmp_path / "b.pkl") == dict(zip(IDS, LABELS, strict=True))


PAIRS = list(zip(IDS, VALUES, strict=True))
OBJECTS = {
    "slowfast": ([VALUES, np.array(LABELS)], {"names": IDS}),
    "st-gcn": (PAIRS, {"labels": LABELS}),
    "st-gcn's dict": (dict(PAIRS), {"labels": LABELS}),
    "with labels": ([(v, k) for v, k in zip(VALUES, LABELS, strict=True)], {"names": IDS}),
    "one-hot labels": ({"scores": VALUES, "labels": np.eye(3, dtype=int)[LABELS]}, {"names": IDS}),
    "named triples": ([(n, v, k) for (n, v), k in zip(PAIRS, LABELS, strict=True)], {}),
    "arrays": ({"preds": VALUES, "video_names": IDS, "gt": LABELS}, {}),
    "unknown key": ({"stuff": VALUES, "names": IDS, "labels": LABELS}, {}),
    "records": (
        [{"name": n, "label": k, "logits": v.tolist()} for (n, v), k in zip(PAIRS, LABELS, strict=True)],
        {},
    ),
    "flat records": (
        [
            {"name": n, "label": NAMES[k], **dict(zip(NAMES, v.tolist(), strict=True))}
            for (n, v), k in zip(PAIRS, LABELS, strict=True)
        ],
        {},
    ),
}


@pytest.mark.parametrize("form", OBJECTS)
@pytest.mark.parametrize("suffix", [".pkl", ".json"])
def test_objects_of_every_form(tmp_path, form, suffix):
    value, options = OBJECTS[form]
    path = tmp_path / f"a{suffix}"
    if suffix == ".pkl":
        path.write_bytes(pickle.dumps(value))
    else:
        path.write_text(json.dumps(value, default=lambda array: array.tolist()))
    scores = import_scores(path, **options).scores
    assert scores.ids.tolist() == IDS
    assert scores.labels.tolist() == LABELS
    np.testing.assert_array_equal(scores.streams["a"], WANTED)


def test_torch_matlab_parquet_and_frames(tmp_path):
    torch, pandas = pytest.importorskip("torch"), pytest.importorskip("pandas")
    from scipy.io import savemat

    torch.save({"scores": torch.from_numpy(VALUES), "names": IDS, "labels": torch.tensor(LABELS)}, tmp_path / "a.pt")
    savemat(tmp_path / "a.mat", {"scores": VALUES, "names": np.array(IDS), "labels": LABELS})
    frame = pandas.DataFrame(VALUES, index=IDS, columns=NAMES).assign(label=[NAMES[k] for k in LABELS])
    frame.to_parquet(tmp_path / "a.parquet")
    frame.reset_index(names="id").to_json(tmp_path / "a.json")
    for source in (*(tmp_path / f"a.{suffix}" for suffix in ("pt", "mat", "parquet", "json")), frame):
        scores = import_scores(source, stream="a").scores
        assert scores.ids.tolist() == IDS
        assert scores.labels.tolist() == LABELS
        np.testing.assert_array_equal(scores.streams["a"], WANTED)
    again = import_scores(scores.to_frame(), stream="a").scores
    assert again.class_names == tuple(NAMES)
    assert again.labels.tolist() == LABELS
    np.testing.assert_array_equal(again.streams["a"], WANTED)
    assert {".pkl", ".npz", ".csv", ".parquet", ".json", ".pt", ".mat"} <= set(SCORE_SUFFIXES)


@pytest.mark.parametrize(
    ("shape", "axes", "options"),
    [
        pytest.param((6, 10, 3), "MVK", {"class_names": NAMES}, id="by the class names"),
        pytest.param((10, 6, 3), "VMK", {"class_names": NAMES}, id="by the names"),
        pytest.param((3, 6), "KM", {}, id="classes first"),
        pytest.param((6, 1, 3, 1), "MVKV", {}, id="axes of one"),
        pytest.param((6, 2, 3), "MVK", {}, id="by the largest label"),
        pytest.param((6, 10, 3), "MVK", {"reading": Reading(axes="MVK")}, id="by the option"),
    ],
)
def test_axes_are_told_by_facts(tmp_path, shape, axes, options):
    where = [axes.index("M"), axes.index("K")]
    array = np.moveaxis(np.empty(shape), where, (0, -1))
    array[:] = VALUES.reshape(6, *[1] * (len(shape) - 2), 3)
    np.save(tmp_path / "a.npy", np.moveaxis(array, (0, -1), where))
    scores = import_scores(tmp_path / "a.npy", names=IDS, labels=LABELS, **options).scores
    np.testing.assert_allclose(scores.streams["a"], WANTED, rtol=1e-6)


def test_axes_of_two_readings_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.random.default_rng(0).normal(size=(6, 5, 4)))
    with pytest.raises(
        UsageError, match=r"shape \(6, 5, 4\): say --axes MKV or --axes MVK \(M videos, V views, K classes\)"
    ):
        import_scores(tmp_path / "a.npy", names=IDS)
    assert import_scores(tmp_path / "a.npy", names=IDS, reading=Reading(axes="mkv")).scores.streams["a"].shape == (6, 5)
    with pytest.raises(UsageError, match="need a letter an axis"):
        import_scores(tmp_path / "a.npy", names=IDS, reading=Reading(axes="MK"))
    soft = np.random.default_rng(0).dirichlet(np.ones(4), size=(6, 5))
    np.save(tmp_path / "b.npy", soft)  # rows that sum to 1 say it
    assert import_scores(tmp_path / "b.npy", names=IDS).scores.streams["b"].shape == (6, 4)


def test_several_arrays_of_scores_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", scores=VALUES, logits=VALUES + 1, names=IDS)
    with pytest.raises(UsageError, match="'scores' and 'logits' may be the scores: say --array"):
        import_scores(tmp_path / "a.npz")
    chosen = import_scores(tmp_path / "a.npz", reading=Reading(array="logits")).scores
    np.testing.assert_array_equal(chosen.streams["a"], np.float32(VALUES + 1))


SOFT = np.random.default_rng(2).dirichlet(np.ones(5), size=30)
MADE = {
    "probabilities": (SOFT, "probabilities", "rows sum to 1", SOFT),
    "percent": (100 * SOFT, "probabilities", "probabilities × 100", SOFT),
    "sums of ten": (10 * SOFT, "probabilities", "probabilities × 10", SOFT),
    "whole percent": (np.round(100 * SOFT), "probabilities", "within what its digits tell", None),
    "two digits": (np.round(SOFT, 2), "probabilities", "within what its digits tell", None),
    "float16": (SOFT.astype(np.float16), "probabilities", "rows sum to 1", None),
    "sums over frames": (SOFT * np.arange(30, 60)[:, None], "probabilities", "sums of probabilities", SOFT),
    "logarithms": (np.log(SOFT), "logits", "log-probabilities", np.log(SOFT)),
    "logits": (10 * SOFT - 3, "logits", "logits (from -2.97 to 4.34)", 10 * SOFT - 3),
    "positive": (np.sqrt(SOFT) + np.sqrt(np.arange(30))[:, None], "logits", "rows have no common sum", None),
}


@pytest.mark.parametrize("name", MADE)
def test_kinds_by_the_numbers_own_evidence(tmp_path, name):
    values, kind, said, expected = MADE[name]
    np.save(tmp_path / "a.npy", values)
    imported = import_scores(tmp_path / "a.npy", names=[f"v{i}" for i in range(30)])
    assert imported.scores.kind == kind
    assert said in imported.notes[0]
    if expected is not None:
        np.testing.assert_allclose(imported.scores.streams["a"], expected, rtol=1e-5, atol=1e-7)


def test_nearly_probabilities_warn_and_can_be_forced(tmp_path):
    values = SOFT[:, :4]  # a class is missing
    np.save(tmp_path / "a.npy", values)
    names = [f"v{i}" for i in range(30)]
    imported = import_scores(tmp_path / "a.npy", names=names)
    assert imported.scores.kind == "logits"
    assert any("nearly probabilities, taken as logits; --kind probabilities" in line for line in imported.warnings)
    forced = import_scores(tmp_path / "a.npy", names=names, kind="probabilities").scores
    np.testing.assert_allclose(forced.streams["a"], values / values.sum(1, keepdims=True), rtol=1e-5)
    np.save(tmp_path / "b.npy", values - 1)
    with pytest.raises(UsageError, match="--kind probabilities, but a score is -"):
        import_scores(tmp_path / "b.npy", names=names, kind="probabilities")


def test_flat_and_saturated_logits_are_told(tmp_path):
    labels = [i % 5 for i in range(30)]
    values = np.random.default_rng(0).normal(size=(30, 5))
    values[np.arange(30), labels] += 2
    for scale, said in ((0.01, "distances to planes (SVM)"), (100, "sums over frames"), (1, "logits (from")):
        np.save(tmp_path / "a.npy", values * scale)
        note = import_scores(tmp_path / "a.npy", names=[f"v{i}" for i in range(30)], labels=labels).notes[0]
        assert said in note
        assert (scale == 1) != ("learns a temperature" in note)


def test_groups_and_what_is_said_without(tmp_path):
    text = lines(["id", *NAMES], rows(IDS))
    alone = read(tmp_path, text)
    assert any("nothing tells which videos are cut from one source" in line for line in alone.warnings)
    own = read(tmp_path, lines(["id", "group", *NAMES], rows(IDS, list("aabbcc"))))
    assert own.scores.groups.tolist() == list("aabbcc")
    assert not own.warnings
    given = read(tmp_path, text, groups=dict(zip(IDS, "aabbcc", strict=True))).scores
    assert given.groups.tolist() == list("aabbcc")
    ruled = read(
        tmp_path, lines(["id", "group", *NAMES], rows(IDS, list("aabbcc"))), groups=lambda ids: (["g"] * 6, "x")
    )
    assert set(ruled.scores.groups.tolist()) == {"g"}
    with pytest.raises(UsageError, match="no groups for 5 videos, first v1"):
        read(tmp_path, text, groups={"v0": "a"})


def test_roles_become_folds_and_stand_in_one_file(tmp_path):
    test = read(tmp_path, lines(["id", *NAMES], rows(IDS))).scores
    assert (test.fold == TEST_VIDEO).all()
    other = [f"w{i}" for i in range(6)]
    held = read(tmp_path, lines(["id", *NAMES], rows(other)), role="validation").scores
    assert (held.fold == 0).all()
    text = lines(["id", "fold", *NAMES], rows(other, [0, 0, 1, 1, 2, 2]))
    assert read(tmp_path, text, role="oof").scores.fold.tolist() == [0, 0, 1, 1, 2, 2]
    told = read(tmp_path, lines(["id", *NAMES], rows(other)), role="oof", folds=dict(zip(other, range(6), strict=True)))
    assert told.scores.fold.tolist() == list(range(6))
    path = tmp_path / "a.h5"
    assert beside_others(path, held) == (held, "")
    write_scores(path, held)
    joined, said = beside_others(path, test)
    assert said == "6 test videos beside 6 validation videos that it held"
    assert joined.ids.tolist() == [*other, *IDS]
    assert joined.fold.tolist() == [0] * 6 + [TEST_VIDEO] * 6
    write_scores(path, joined)
    with pytest.raises(UsageError, match="is there already, with scores of test videos; --overwrite replaces them"):
        beside_others(path, test)
    again, _ = beside_others(path, test, overwrite=True)
    assert again.ids.tolist() == joined.ids.tolist()
    same = read(tmp_path, lines(["id", *NAMES], rows(IDS)), role="validation").scores
    write_scores(path, test)
    with pytest.raises(UsageError, match="holds 6 of these videos as test videos, first v0"):
        beside_others(path, same)


def views(rows):
    return "".join(f"{name} {list(values)} {label} {view}\n" for name, values, label, view in rows)


def test_a_line_a_view_is_averaged_as_its_writer_does(tmp_path):
    """As VideoMAE's engine writes test scores, a file a process, and merges them: views once, the mean of softmax."""
    shifted = VALUES + np.random.default_rng(2).normal(size=VALUES.shape)
    rows = [
        (f"{IDS[i]}.mp4", of[i].tolist(), LABELS[i], f"{n} 0")
        for n, of in enumerate((VALUES, shifted))
        for i in range(6)
    ]
    text = "83.3, 100.0\n" + views(rows[::2]) + "66.7, 100.0\n" + views(rows[1::2] + rows[:1])
    imported = read(tmp_path, text, ".txt", class_names=NAMES)
    assert "6 videos × 3 classes × 2 views (txt, a line a view, softmax of each)" in imported.notes[0]
    soft = [np.exp(of) / np.exp(of).sum(axis=1, keepdims=True) for of in (VALUES, shifted)]
    place = [imported.scores.ids.tolist().index(name) for name in IDS]
    np.testing.assert_allclose(imported.scores.streams["a"][place], np.mean(soft, axis=0), rtol=1e-6)
    assert imported.scores.labels[place].tolist() == LABELS


@pytest.mark.parametrize(
    ("last", "message"),
    [
        (("v1", [1.0, 2.0], 0, "0 0"), "a.txt:2: video v1 has label 0, and 1 before"),
        (("v1", [1.0], 1, "0 1"), "a.txt:2: 1 scores, where the video has 2 before"),
        (("v1", [1.0, 2.5], 1, "0 0"), "a.txt:2: view 0 0 of video v1 stands here with other scores than before"),
        (("v2", ["x"], 1, "0 0"), "a.txt:2: .* these are no scores"),
        (("v2", [], 1, "0 0"), "a.txt:2: brackets without a score"),
        (("v2", [1.0, 2.0], "walk", "0 0"), "a.txt:2: expected `name"),
        (("v2", [1.0, 2.0, 3.0], 1, "0 0"), "videos with 2 and 3 scores each"),
    ],
)
def test_a_line_a_view_that_does_not_fit_is_refused(tmp_path, last, message):
    with pytest.raises(UsageError, match=message):
        read(tmp_path, views([("v1", [1.0, 2.0], 1, "0 0"), last]), ".txt")


@pytest.mark.parametrize("printed", [str, lambda row: str(np.array(row)), lambda row: str([row, row])])
def test_lists_in_a_tables_cells(tmp_path, printed):
    text = lines(
        ["video", "logits", "label"],
        [[i, f'"{printed(v)}"', k] for i, v, k in zip(IDS, VALUES.tolist(), LABELS, strict=True)],
    )
    scores = read(tmp_path, text).scores
    assert scores.ids.tolist() == IDS
    assert scores.labels.tolist() == LABELS
    np.testing.assert_array_equal(scores.streams["a"], WANTED)
    with pytest.raises(UsageError, match=r"a.csv:2: .* NumPy left some out when it printed them"):
        read(tmp_path, text.replace(text.split('"')[1], "[1.5 ... 2.5]"))


def test_random_files_come_back_equal_or_are_refused(tmp_path):
    """300 of those of benchmarks/score_files.py, which draws as many as are wanted."""
    pytest.importorskip("pandas")
    made = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "score_files.py"))
    kinds = [name for name in made["WRITERS"] if name != "torch"]
    found = []
    for number in range(300):
        path, writer, truth = made["draw_file"]([7, number], tmp_path, kinds)
        found.append((number, writer, made["outcome"](path, truth)))
        path.unlink()
    assert not [case for case in found if case[2].startswith("WRONG")]
    assert sum(case[2] == "equal" for case in found) > 285


CLASSES = ["run", "dog", "car", "bird", "camera"]
FIVE = np.random.default_rng(3).normal(size=(6, 5))
LABELS_OF_FIVE = [0, 1, 2, 3, 4, 1]


@pytest.mark.parametrize("name", ["person", "subject", "source", "scene", "performer", "group", "clip", "y", "pred"])
def test_a_class_that_is_called_as_something_else_is_not_lost(tmp_path, name):
    names = [*CLASSES[:4], name]
    text = lines(["id", "label", *names], rows(IDS, LABELS_OF_FIVE, values=FIVE))
    with pytest.raises(UsageError, match=f"column '{name}' holds fractions: .* or a class. --class-names FILE"):
        read(tmp_path, text)
    scores = read(tmp_path, text, class_names=names).scores
    np.testing.assert_array_equal(scores.streams["a"], np.float32(FIVE))
    left_out = lines(["id", "label", *names], rows(IDS, [0, 1, 2, 3, 1, 2], values=FIVE))
    assert f"not read: column '{name}'" in read(tmp_path, left_out, class_names=CLASSES[:4]).notes


def test_whole_numbers_among_fractions_are_no_class_unless_said(tmp_path):
    whole = [4, 7, 4, 7, 7, 4]
    text = lines(
        ["video", "label", *CLASSES, "setup"],
        [[*r, n] for r, n in zip(rows(IDS, LABELS_OF_FIVE, values=FIVE), whole, strict=True)],
    )
    with pytest.raises(UsageError, match="column 'setup' holds whole numbers: a class or none"):
        read(tmp_path, text)
    imported = read(tmp_path, text, class_names=CLASSES)
    assert imported.scores.class_names == tuple(CLASSES)
    assert "not read: column 'setup'" in imported.notes
    with pytest.raises(UsageError, match="its classes are not those given, such as camera"):  # a fraction is a class
        read(tmp_path, text, class_names=CLASSES[:4])
    assert read(tmp_path, text, class_names=[*CLASSES, "setup"]).scores.streams["a"].shape == (6, 6)


def test_texts_that_may_be_labels_are_not_guessed(tmp_path):
    right = [CLASSES[k] for k in LABELS_OF_FIVE]
    text = lines(["video", "notes", "antwort", *CLASSES], rows(IDS, [""] * 6, right, values=FIVE))
    imported = read(tmp_path, text)
    assert imported.scores.labels.tolist() == LABELS_OF_FIVE
    assert "labels: column 'antwort'" in imported.notes[0]
    guess = [CLASSES[k] for k in FIVE.argmax(1)]
    text = lines(["video", "guess", "antwort", *CLASSES], rows(IDS, guess, right, values=FIVE))
    with pytest.raises(UsageError, match="'guess' and column 'antwort' may be labels: say --label-column"):
        read(tmp_path, text)
    assert read(tmp_path, text, reading=Reading(label_column="antwort")).scores.labels.tolist() == LABELS_OF_FIVE


def test_labels_that_a_file_tells_twice_are_compared(tmp_path):
    names = [NAMES[k] for k in LABELS]
    same = read(tmp_path, lines(["id", "label", "class_name", *NAMES], rows(IDS, LABELS, names)))
    assert not [line for line in same.notes if "class_name" in line]
    text = lines(["id", "label", "gt_label", *NAMES], rows(IDS, LABELS, [1, *LABELS[1:]]))
    with pytest.raises(UsageError, match=r"a.csv:2: video v0: label 0, but 1 in column 'gt_label', as for 1 videos"):
        read(tmp_path, text)
    assert read(tmp_path, text, reading=Reading(label_column="label")).scores.labels.tolist() == LABELS
    other = read(tmp_path, lines(["id", "label", "action", *NAMES], rows(IDS, LABELS, list("abcabc"))))
    assert "not compared: column 'action', which holds no classes of these" in other.notes
    np.savez(tmp_path / "a.npz", scores=VALUES, names=IDS, labels=LABELS, action=[1, *LABELS[1:]])
    with pytest.raises(UsageError, match="video v0: label 0, but 1 in array 'action'"):
        import_scores(tmp_path / "a.npz")


def test_arrays_that_no_word_knows_are_ids_or_said(tmp_path):
    np.savez(tmp_path / "a.npz", scores=VALUES, clip_names_used=IDS, labs=LABELS, made=np.array("x"), label=np.int64(3))
    with pytest.raises(UsageError, match="holds names of its own, and --names differs in 6 of 6"):
        import_scores(tmp_path / "a.npz", names=IDS[::-1])
    imported = import_scores(tmp_path / "a.npz", labels=dict(zip(IDS, LABELS, strict=True)))
    assert imported.scores.ids.tolist() == IDS
    assert "not read: array 'labs'" in imported.notes
    with pytest.raises(UsageError, match=r"holds no video names; .* \(--id-column\)"):
        import_scores(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", pred=VALUES, names=IDS, labels=LABELS)
    with pytest.raises(UsageError, match="'pred' may be the scores or predictions: say --array pred"):
        import_scores(tmp_path / "b.npz")
    assert import_scores(tmp_path / "b.npz", reading=Reading(array="pred")).scores.labels.tolist() == LABELS


@pytest.mark.parametrize("name", ["None", "nan"])
def test_a_class_may_be_called_as_nothing_is(tmp_path, name):
    names = ["walk", name, "jump"]
    np.savez(tmp_path / "b.npz", scores=VALUES, names=IDS, labels=[names[k] for k in LABELS], class_names=names)
    assert import_scores(tmp_path / "b.npz").scores.labels.tolist() == LABELS
    told = [None, *LABELS[1:]]
    assert read(tmp_path, lines(["id", *NAMES], rows(IDS)), labels=told).scores.labels.tolist() == [-1, *LABELS[1:]]


@pytest.mark.parametrize(
    ("suffix", "reading"),
    [
        (".csv", Reading(array="bogus")),
        (".npz", Reading(delimiter=";")),
        (".npy", Reading(label_column="x")),
        (".pkl", Reading(id_column="x")),
        (".json", Reading(array="x")),
    ],
)
def test_options_of_no_use_are_refused(tmp_path, suffix, reading):
    path = tmp_path / f"a{suffix}"
    np.savez(tmp_path / "a.npz", scores=VALUES, names=IDS)
    np.save(tmp_path / "a.npy", VALUES)
    (tmp_path / "a.csv").write_text(lines(["id", *NAMES], rows(IDS)))
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(dict(zip(IDS, VALUES, strict=True))))
    (tmp_path / "a.json").write_text(json.dumps([[row.tolist(), k] for row, k in zip(VALUES, LABELS, strict=True)]))
    with pytest.raises(UsageError, match=r"--[a-z-]+ is of no use here, this is|no array 'x'"):
        import_scores(path, names=IDS, reading=reading)


def test_labels_of_no_file_are_refused_in_a_line(tmp_path):
    os.mkfifo(tmp_path / "fifo.pkl")
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "deep.json").write_text("[" * 100_000)
    for name, said in {
        "fifo.pkl": "not a regular file",
        "none.pkl": "cannot be opened",
        "folder.json": "not a regular file",
        "deep.json": "cannot be read as labels",
    }.items():
        with pytest.raises(UsageError, match=f"{name}: {said}"):
            read_labels(tmp_path / name)


def test_a_file_of_both_roles_keeps_one_record_of_each(tmp_path):
    held = read(tmp_path, lines(["id", *NAMES], rows([f"w{i}" for i in range(6)])), role="validation").scores
    test = read(tmp_path, lines(["id", *NAMES], rows(IDS))).scores
    path = write_scores(tmp_path / "a.h5", held)
    for scores in (test, held, test, test):
        joined, said = beside_others(path, scores, overwrite=True)
        write_scores(path, joined)
    assert said == "6 test videos in place of 6 beside 6 validation videos that it held"
    assert joined.provenance == {**test.provenance, "beside": held.provenance}


def test_no_warning_of_groups_that_were_told(tmp_path):
    text = lines(["id", "group", *NAMES], rows(IDS, list("abcdef")))
    assert not read(tmp_path, text).warnings
    assert not read(tmp_path, lines(["id", *NAMES], rows(IDS)), groups=dict(zip(IDS, "abcdef", strict=True))).warnings


def test_a_table_of_safe_cells_comes_back(tmp_path):
    ids, groups = ["=1+1", "+2", "-a(b)", "@x", "v4", "v5"], ["=g", "=g", "h", "h", "i", "i"]
    header = ["id", "group", "=run", "walk", "jump"]
    write_csv(tmp_path / "a.csv", [header, *rows(ids, groups)])
    scores = import_scores(tmp_path / "a.csv").scores
    assert scores.ids.tolist() == ids
    assert scores.groups.tolist() == groups
    assert scores.class_names == ("=run", "walk", "jump")
