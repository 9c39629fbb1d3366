"""Score import: each format, Python 2's pickles, what is told apart, what is refused, the real files."""

import os
import pickle
import zipfile

import numpy as np
import pytest

from avr.core import UsageError, WorkError
from avr.datasets import groups_by_name
from avr.fusion import gather
from avr.store import import_scores

IDS = [f"{name}/clip{i}.avi" for i, name in enumerate(["b", "a", "c", "a", "b", "c"])]
CLEAN = [name.removesuffix(".avi") for name in IDS]
LABELS = [0, 1, 2, 1, 0, 2]  # the file numbers its classes b, a, c


@pytest.fixture
def values():
    return np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)


def object_rows(values, crops=2):
    """TSN's rows: (crops × K, label); the crops' mean is the video's scores."""
    rows = np.empty((6, 2), dtype=object)
    for i in range(6):
        rows[i] = [np.stack([values[i] + c for c in np.linspace(-1, 1, crops)]), LABELS[i]]
    return rows


def test_tsn_npz(values, tmp_path):
    np.savez(tmp_path / "rgb.npz", scores=object_rows(values), labels=LABELS, names=np.array(IDS))
    imported = import_scores(tmp_path / "rgb.npz")
    scores = imported.scores
    assert scores.ids.tolist() == CLEAN
    assert scores.labels.tolist() == LABELS
    assert scores.class_names == ("b", "a", "c")  # column k is the class whose videos carry label k
    np.testing.assert_allclose(scores.streams["rgb"], values, atol=1e-6)  # float32, mean of two crops
    assert scores.kind == "logits"
    assert (scores.fold == -1).all()
    assert imported.notes[0] == (
        "6 videos × 3 classes × 2 views (npz of arrays); labels: array 'labels', ids: array 'names', class names: the "
        "folders in the ids; logits (from -2.33 to 1.3); test; 16.7 % right"
    )
    assert scores.provenance["imported"] == "rgb.npz"
    assert len(scores.provenance["sha256"]) == 64


def test_columns_follow_the_class_names_given(values, tmp_path):
    np.savez(tmp_path / "rgb.npz", scores=values, labels=LABELS, names=np.array(IDS))
    imported = import_scores(tmp_path / "rgb.npz", class_names=["a", "b", "c"])
    assert imported.scores.class_names == ("a", "b", "c")
    assert imported.scores.labels.tolist() == [1, 0, 2, 0, 1, 2]
    np.testing.assert_array_equal(imported.scores.streams["rgb"], values[:, [1, 0, 2]])
    assert any("order of the class names given" in note for note in imported.notes)


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_pickled_dict_of_vectors(values, tmp_path, protocol):
    (tmp_path / "flow.pkl").write_bytes(pickle.dumps(dict(zip(IDS, values, strict=True)), protocol))
    scores = import_scores(tmp_path / "flow.pkl", labels=dict(zip(CLEAN, LABELS, strict=True))).scores
    np.testing.assert_array_equal(scores.streams["flow"], values)
    assert scores.labels.tolist() == LABELS


@pytest.mark.parametrize("protocol", [2, 4])
def test_mmaction2_results(values, tmp_path, protocol):
    torch = pytest.importorskip("torch")
    probabilities = torch.softmax(torch.from_numpy(values), 1)
    results = [
        {"pred_score": probabilities[i], "gt_label": torch.tensor([LABELS[i]]), "img_shape": (224, 224), "num_clips": 3}
        for i in range(6)
    ]
    (tmp_path / "mm.pkl").write_bytes(pickle.dumps(results, protocol))
    scores = import_scores(tmp_path / "mm.pkl", names=IDS, stream="rgb").scores
    np.testing.assert_allclose(scores.streams["rgb"], probabilities.numpy(), atol=1e-7)  # float32
    assert scores.kind == "probabilities"
    assert scores.labels.tolist() == LABELS
    old = [{"pred_scores": {"item": values[i]}, "gt_labels": {"item": LABELS[i]}} for i in range(6)]
    (tmp_path / "older.pkl").write_bytes(pickle.dumps(old, protocol))
    np.testing.assert_array_equal(import_scores(tmp_path / "older.pkl", names=IDS).scores.streams["older"], values)
    (tmp_path / "oldest.pkl").write_bytes(pickle.dumps(list(values), protocol))
    oldest = import_scores(tmp_path / "oldest.pkl", names=IDS, labels=LABELS).scores
    np.testing.assert_array_equal(oldest.streams["oldest"], values)


def test_npy_and_csv(values, tmp_path):
    np.save(tmp_path / "a.npy", np.stack([values - 1, values + 1], axis=1))  # (M, crops, K)
    from_npy = import_scores(tmp_path / "a.npy", names=IDS, labels=LABELS).scores
    np.testing.assert_allclose(from_npy.streams["a"], values, atol=1e-6)  # float32, mean of two crops
    lines = [",".join([name, *map(repr, map(float, row))]) for name, row in zip(IDS, values, strict=True)]
    (tmp_path / "b.csv").write_text("\n".join(lines))
    np.testing.assert_array_equal(import_scores(tmp_path / "b.csv", labels=LABELS).scores.streams["b"], values)
    headed = [f"{line},{label}" for line, label in zip(lines, LABELS, strict=True)]
    (tmp_path / "c.csv").write_text("\n".join(["id,b,a,c,label", *headed]))
    scores = import_scores(tmp_path / "c.csv").scores
    np.testing.assert_array_equal(scores.streams["c"], values)
    assert scores.labels.tolist() == LABELS
    (tmp_path / "d.csv").write_text("\n".join(",".join(map(str, row)) for row in values.tolist()))
    assert import_scores(tmp_path / "d.csv", names=CLEAN, labels=LABELS).scores.ids.tolist() == CLEAN


def test_a_file_whose_columns_have_other_names_than_those_given_is_refused(tmp_path):
    (tmp_path / "a.csv").write_text("id,b,a,c,label\nx,1,2,3,0\ny,1,2,3,1\n")
    assert import_scores(tmp_path / "a.csv", class_names=["a", "b", "c"]).scores.class_names == ("a", "b", "c")
    for names in (["x", "y", "z"], ["a", "b"]):
        with pytest.raises(UsageError, match=r"its classes are not those given, such as|class names"):
            import_scores(tmp_path / "a.csv", class_names=names)


def test_python_2_pickles(values, tmp_path):
    """Written as Python 2 wrote them: byte strings for text and for an array's bytes, protocol 2, old module names."""

    def text(content):
        return (
            b"U" + bytes([len(content)]) + content
            if len(content) < 256
            else b"T" + len(content).to_bytes(4, "little") + content
        )

    def array(row):
        made = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00t" + text(b"b") + b"tR"
        kind = (
            b"cnumpy\ndtype\n("
            + text(b"f4")
            + b"K\x00K\x01tR(K\x03"
            + text(b"<")
            + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        )
        return made + b"(K\x01(K\x03t" + kind + b"I00\n" + text(row.astype("<f4").tobytes()) + b"tb"

    items = b"".join(text(name.encode()) + array(row) for name, row in zip(IDS, values, strict=True))
    (tmp_path / "old.pkl").write_bytes(b"\x80\x02}(" + items + b"u.")
    scores = import_scores(tmp_path / "old.pkl", labels=LABELS).scores
    np.testing.assert_array_equal(scores.streams["old"], values)
    assert scores.ids.tolist() == CLEAN


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda v: v, "logits"),
        (lambda v: np.exp(v) / np.exp(v).sum(1, keepdims=True), "probabilities"),
        (lambda v: (np.exp(v) / np.exp(v).sum(1, keepdims=True)).astype(np.float16), "probabilities"),
        (lambda v: np.abs(v), "logits"),
        (lambda v: v - np.log(np.exp(v).sum(1, keepdims=True)), "logits"),  # log-probabilities
    ],
    ids=["logits", "softmax", "half softmax", "positive", "log-softmax"],
)
def test_logits_and_probabilities_are_told_apart(values, tmp_path, change, kind):
    np.save(tmp_path / "a.npy", change(values))
    imported = import_scores(tmp_path / "a.npy", names=IDS, labels=LABELS)
    assert imported.scores.kind == kind
    assert f"; {kind} (" in imported.notes[0] or "; log-probabilities (" in imported.notes[0]
    assert import_scores(tmp_path / "a.npy", names=IDS, labels=LABELS, kind="logits").scores.kind == "logits"


class Bomb:
    def __reduce__(self):
        return os.system, ("touch exploded",)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_that_calls_is_refused_and_nothing_is_called(tmp_path, monkeypatch, protocol):
    monkeypatch.chdir(tmp_path)
    content = pickle.dumps({"a/x": Bomb()}, protocol)
    (tmp_path / "bomb.pkl").write_bytes(content)
    with pytest.raises(UsageError, match=r"asks for \w+.system, which avr does not load"):
        import_scores(tmp_path / "bomb.pkl")
    rows = np.empty(1, dtype=object)
    rows[0] = Bomb()
    np.savez(tmp_path / "bomb.npz", scores=rows)
    with pytest.raises(UsageError, match="which avr does not load"):
        import_scores(tmp_path / "bomb.npz")
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    ("module", "name"),
    [("builtins", "eval"), ("builtins", "getattr"), ("numpy", "load"), ("numpy", "fromfile"), ("torch", "load")],
)
def test_names_outside_the_list_are_refused(tmp_path, module, name):
    (tmp_path / "a.pkl").write_bytes(f"c{module}\n{name}\n(S'x'\ntR.".encode())
    with pytest.raises(UsageError, match=f"asks for {module}.{name}, which avr does not load"):
        import_scores(tmp_path / "a.pkl")


def test_a_tensor_larger_than_its_storage_is_refused(tmp_path):
    torch = pytest.importorskip("torch")
    content = pickle.dumps([torch.zeros(3)], 2).replace(b"K\x03\x85", b"K\x7f\x85")
    (tmp_path / "a.pkl").write_bytes(content)
    with pytest.raises(UsageError, match="larger than its storage"):
        import_scores(tmp_path / "a.pkl")


def given(**options):
    return {"names": IDS, "labels": LABELS, **options}


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        pytest.param(
            lambda v: v * np.nan,
            given(),
            "video b/clip0: class 0 is NaN or infinite; NaN or infinite scores of 6 videos",
            id="nan",
        ),
        pytest.param(lambda v: v, given(names=None), "holds no video names", id="no names"),
        pytest.param(lambda v: v, given(names=IDS[:5]), "5 names, but 6 labels", id="few names"),
        pytest.param(lambda v: v, given(names=[IDS[0]] * 6), "ids that repeat: b/clip0", id="repeat"),
        pytest.param(
            lambda v: v, given(names=[IDS[0]] * 6, labels={IDS[0]: 1}), "ids that repeat: b/clip0", id="repeat by id"
        ),
        pytest.param(lambda v: v, given(names=IDS[:5], labels=None), "6 videos, but 5 names", id="few names alone"),
        pytest.param(lambda v: v, given(labels=LABELS[:5]), "6 names, but 5 labels", id="few labels"),
        pytest.param(
            lambda v: v, given(labels={"b/clip0": 1}), "no label for 5 of 6 videos, first a/clip1", id="labels by id"
        ),
        pytest.param(
            lambda v: v, given(labels=[5] * 6), "a label is 5, but its scores have shape", id="label too large"
        ),
        pytest.param(lambda v: v, given(class_names=["b", "a"]), "3 scores a video, but 2 class names", id="classes"),
        pytest.param(lambda v: v[:, :1], given(), "1 class", id="one class"),
        pytest.param(lambda v: v[:0], given(), r"scores of shape \(0, 3\)", id="no video"),
        pytest.param(lambda v: v[0], given(), "expected", id="one axis"),
        pytest.param(lambda v: v.astype(complex), given(), "which are no numbers", id="complex"),
    ],
)
def test_bad_scores_say_what_is_wrong(values, tmp_path, change, options, message):
    np.save(tmp_path / "a.npy", change(values))
    with pytest.raises(UsageError, match=message) as caught:
        import_scores(tmp_path / "a.npy", **options)
    assert "\n" not in str(caught.value)


def test_labels_given_must_agree_with_the_files_own(values, tmp_path):
    np.savez(tmp_path / "a.npz", scores=values, labels=LABELS, names=IDS)
    with pytest.raises(UsageError, match=r"disagree with those given for 1 of 6 videos, first c/clip2 \(2 and 0\)"):
        import_scores(tmp_path / "a.npz", labels=[0, 1, 0, 1, 0, 2])


@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [
        ("a.npz", b"PK\x03\x04 broken", WorkError, "damaged zip"),
        ("a.npy", b"\x93NUMPY", UsageError, "no npy array"),
        ("a.pkl", b"\x80\x04", UsageError, "cannot be read"),
        ("a.csv", b"", UsageError, "empty"),
        ("a.csv", b"x,1,2\ny,1\n", UsageError, "a.csv:2: 2 cells, where other lines have 3"),
        ("a.csv", b"x,1,2\ny,1,3\nv,1,3\nw,1,z\n", UsageError, "a.csv:4: column 3 holds 'z', which is no number"),
        ("a.csv", b"\xff\xfe\x00", UsageError, "is UTF-16, or no text"),
        ("a.xyz", b"", UsageError, "known: .npz, .npy, .pkl"),
        ("a.pkl", pickle.dumps(3), UsageError, "holds a number, which are no scores"),
        ("a.pkl", pickle.dumps([{"x": [1]}]), UsageError, "video 0 holds no"),
        ("a.pkl", pickle.dumps([[1.0, 2.0], [1.0]]), UsageError, "1 and 2 scores each"),
    ],
)  # fmt: skip
def test_files_that_are_no_scores(tmp_path, name, content, error, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(error, match=message):
        import_scores(tmp_path / name, names=IDS[:2], labels=LABELS[:2])


def test_what_unfolds_without_end_is_refused_at_once(tmp_path):
    value = [0.5, 0.5]
    for _ in range(40):
        value = [value, value]
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(value))
    with pytest.raises(UsageError, match="refers to its own parts more often than it has bytes"):
        import_scores(tmp_path / "a.pkl", names=IDS[:2], labels=LABELS[:2])


def test_a_tensor_that_repeats_its_storage_is_refused(tmp_path):
    torch = pytest.importorskip("torch")
    (tmp_path / "a.pkl").write_bytes(pickle.dumps([torch.ones(1).expand(1 << 40)]))
    with pytest.raises(UsageError, match="a tensor larger than its storage"):
        import_scores(tmp_path / "a.pkl", names=IDS[:1], labels=LABELS[:1])


def test_no_file(tmp_path):
    with pytest.raises(UsageError, match="No such file"):
        import_scores(tmp_path / "a.npz")


def test_a_zip_bomb_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("scores.npy", b"\0" * 1000)
        archive.infolist()[0].file_size = 9 << 30  # what the archive will say of it
    with pytest.raises(UsageError, match="more than 8 GB"):
        import_scores(tmp_path / "a.npz")


def imported_groups(ids, folder):
    """Groups as the command has them told, and the note that says how."""
    np.save(folder / "a.npy", np.ones((len(ids), 4)))
    imported = import_scores(folder / "a.npy", names=ids, labels=[0] * len(ids), group_rule=groups_by_name)
    return imported.scores.groups.tolist(), next(note for note in imported.notes if " groups " in note)


@pytest.mark.parametrize(
    ("ids", "groups", "how"),
    [
        pytest.param(
            [
                "push/Dodge_Truck!_push_f_cm_np1_le_bad_1.avi",
                "kick/Dodge_Truck!_kick_f_nm_np2_ri_med_0.avi",
                "hug/x.avi",
            ],
            ["Dodge_Truck!", "Dodge_Truck!", "hug/x"],
            "from the names of hmdb51",
            id="hmdb51: one film, two classes",
        ),
        pytest.param(
            [
                "Dodge_Truck!_push_f_cm_np1_le_bad_1.avi",
                "videos/Dodge_Truck!_kick_ball_f_nm_np2_ri_med_0.avi",
                "hmdb51/kick_ball/Dodge_Truck!_kick_ball_f_nm_np2_ri_med_1.avi",
            ],
            ["Dodge_Truck!"] * 3,
            "from the names of hmdb51",
            id="hmdb51: without class folders, and below others",
        ),
        pytest.param(
            ["flic_flac/Roundoff_Flick__flic_flac_f_cm_np1_fr_bad_0", "wave/Roundoff_Flick_wave_f_cm_np1_fr_bad_0"],
            ["Roundoff_Flick_", "Roundoff_Flick"],
            "from the names of hmdb51",
            id="hmdb51: an underscore that is the film's",
        ),
        pytest.param(
            ["v_Archery_g01_c07.avi", "Archery/v_Archery_g01_c02.avi", "v_Biking_g01_c01.avi"],
            ["Archery_g01", "Archery_g01", "Biking_g01"],
            "from the names of ucf101",
            id="ucf101",
        ),
        pytest.param(
            ["abc_-defghi_000012_000022.mp4", "eating/abc_-defghi_000100_000110.mp4", "jklmnopqrst_000000_000010.mp4"],
            ["abc_-defghi", "abc_-defghi", "jklmnopqrst"],
            "from the names of kinetics",
            id="kinetics",
        ),
        pytest.param(["x", "y", "z"], ["x", "y", "z"], "each video its own", id="unknown"),
    ],
)
def test_groups_are_told_from_the_names(tmp_path, ids, groups, how):
    told, note = imported_groups(ids, tmp_path)
    assert told == groups
    assert how in note


def test_groups_follow_the_rule_given(values, tmp_path):
    np.save(tmp_path / "a.npy", values)
    given = import_scores(
        tmp_path / "a.npy", names=IDS, labels=LABELS, group_rule=lambda ids: ([name[:1] for name in ids], "by hand")
    )
    assert given.scores.groups.tolist() == [name[:1] for name in IDS]
    assert "3 groups by hand" in given.notes
    assert import_scores(tmp_path / "a.npy", names=IDS, labels=LABELS).scores.groups.tolist() == CLEAN


def test_ids_groups_and_class_order_of_a_store(toy, toy_store, tmp_path):
    from avr.store import FeatureStore

    with FeatureStore(toy_store) as store:
        changed = [video.replace(" ", "_").replace("é", "_") + ".avi" for video in store.ids]
        numbers = {"class0": 2, "class1": 0, "class2": 1}
        scores = np.eye(3, dtype=np.float32)[[numbers[video.split("/")[0]] for video in changed]]
        np.savez(tmp_path / "a.npz", scores=scores, names=changed, labels=scores.argmax(1))
        with pytest.raises(UsageError, match="labels that differ for 19 videos"):  # other numbers, and no way to tell
            import_scores(tmp_path / "a.npz", like=store)
        with pytest.raises(UsageError, match="its classes are not those given"):
            import_scores(tmp_path / "a.npz", like=store, class_names=["x", "y", "z"])
        np.savez(tmp_path / "b.npz", scores=np.eye(3)[store.labels], names=changed)
        imported = import_scores(tmp_path / "b.npz", like=store).scores
        assert imported.ids.tolist() == store.ids.tolist()
        assert imported.groups.tolist() == store.groups.tolist()
        assert imported.class_names == store.class_names
        assert imported.labels.tolist() == store.labels.tolist()


def test_the_real_scores_join_whole(real_data):
    """Names are sanitised in three of the four files: all 1 530 videos must meet, whatever the signs in them."""
    names = ["rgb", "flow", "mv", "residual"]
    files = [real_data / "scores" / "hmdb51-split1" / f"{name}.npz" for name in names]
    parts = [import_scores(file).scores for file in files]
    joined = gather(list(zip(names, parts, strict=True)))
    assert len(joined.ids) == 1530
    assert len(set(parts[0].ids.tolist()).intersection(*(part.ids.tolist() for part in parts[1:]))) == 1179
    right = {stream: float((joined.X[:, s].argmax(1) == joined.labels).mean()) for s, stream in enumerate(names)}
    assert joined.streams == tuple(f"imported/{name}" for name in names)
    assert {name: round(100 * share, 1) for name, share in right.items()} == {
        "rgb": 53.9,
        "flow": 49.6,
        "mv": 38.0,
        "residual": 43.9,
    }
    assert {part.kind for part in parts} == {"logits"}
    # The label numbers are the publisher's own: column k must get the name of the folder whose videos carry label k.
    assert all(
        video.startswith(f"{joined.class_names[label]}/")
        for video, label in zip(joined.ids, joined.labels, strict=True)
    )
    in_order = import_scores(
        real_data / "scores" / "hmdb51-split1" / "rgb.npz", class_names=sorted(joined.class_names)
    ).scores
    assert in_order.class_names[:2] == ("brush_hair", "cartwheel")
    assert (in_order.streams["rgb"].argmax(1) == in_order.labels).mean() == right["rgb"]


def test_npz_members_are_read_without_numpys_pickle(values, tmp_path, monkeypatch):
    np.savez(tmp_path / "a.npz", scores=object_rows(values), labels=LABELS, names=np.array(IDS, dtype=object))
    monkeypatch.setattr(pickle, "load", None)
    monkeypatch.setattr(pickle, "loads", None)
    assert import_scores(tmp_path / "a.npz").scores.ids.tolist() == CLEAN


@pytest.mark.parametrize(
    ("shape", "error", "message"),
    [(f"({10**30}, 3)", WorkError, "cut short"), ("(-1, 3)", UsageError, r"no npy array \(shape \(-1, 3\)\)")],
)
def test_a_shape_that_no_array_has_is_one_line(tmp_path, shape, error, message):
    np.save(tmp_path / "a.npy", np.zeros((6, 3)))
    content = (tmp_path / "a.npy").read_bytes()
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    (tmp_path / "a.npy").write_bytes(content[:8] + len(header).to_bytes(2, "little") + header.encode() + content[128:])
    with pytest.raises(error, match=message):
        import_scores(tmp_path / "a.npy", names=IDS, labels=LABELS)
