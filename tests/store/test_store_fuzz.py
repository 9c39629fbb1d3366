"""200 damaged and forged files (2 000 with AVR_TEST_EXAMPLES=full): a reader gives the true numbers or avr's own error.

Flipped and cut files must never give other numbers than were written. Forged ones (changed, then sealed again as a
liar would) may lie, but must not crash a reader or bring it to hang: they meet checks, never a library that trusts.
"""

import json
import os
import pickle
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.io import savemat

from avr.core import AvrError
from avr.store import FeatureStore, ShardWriter, import_scores, pack, read_scores, verify, write_scores

SHARE = 1 if os.environ.get("AVR_TEST_EXAMPLES") == "full" else 10
QUIET = {
    "deadline": None,
    "derandomize": True,  # the same cases each time: a failure is the change's, not the day's
    "database": None,
    "suppress_health_check": [HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
}


@st.composite
def damages(draw):
    """How to change a file's bytes: (kind, place and length as shares of the file, content)."""
    kind = draw(st.sampled_from(["flip", "flip", "set", "zero", "cut", "insert", "copy"]))
    return kind, draw(st.floats(0, 1)), draw(st.floats(0, 1)), draw(st.binary(min_size=1, max_size=24))


def damaged(content, damage):
    kind, first, second, new = damage
    made = bytearray(content)
    place = min(int(first * len(made)), len(made) - 1)
    if kind == "flip":
        made[place] ^= 1 << int(second * 7.99)
    elif kind == "set":
        made[place : place + len(new)] = new
    elif kind == "zero":
        made[place : place + int(second**4 * 4096) + 1] = bytes(len(made[place : place + int(second**4 * 4096) + 1]))
    elif kind == "cut":
        del made[place:]
    elif kind == "insert":
        made[place:place] = new
    else:
        start = int(second * len(made))
        made[place : place + 64] = made[start : start + 64]
    return bytes(made)


def everything(store):
    """All that a store says, as comparable values."""
    said = [store.ids.tolist(), store.labels.tolist(), store.groups.tolist(), store.frames.tolist(), store.failures]
    said += [store.class_names, store.split_names, store.provenance, store.dataset, store.views.tolist()]
    said += [[part.tolist() for part in store.split(name)] for name in store.split_names]
    for array in store.arrays.values():
        said.append(store.read_whole(array.stream, array.layer).tobytes())
        said.append(store.read(array.stream, array.layer, np.arange(len(store))[::-1]).tobytes())
    return said


@pytest.fixture
def truth(toy_store):
    with FeatureStore(toy_store) as store:
        return everything(store)


def file_of(name, toy_store, toy_parts):
    """A file of the store, or one of the two stores packed."""
    if name == "packed parts":
        return pack(toy_parts)
    return pack(toy_store) if name == "packed" else toy_store / name


def check_store(path, truth=None):
    try:
        with FeatureStore(path) as store:
            found = everything(store)
    except AvrError as error:
        found = truth
        assert_one_line(str(error))
    assert truth is None or found == truth


def assert_one_line(message):
    assert "\n" not in message
    assert message


@pytest.mark.parametrize("name", ["index.h5", "shard-00001.h5", "packed", "packed parts"])
def test_damaged_stores_never_lie(toy_store, toy_parts, truth, name):
    path = file_of(name, toy_store, toy_parts)
    content = path.read_bytes()
    if name == "packed parts":
        with FeatureStore(toy_parts) as store:
            truth = everything(store)

    @settings(max_examples=250 // SHARE, **QUIET)
    @given(damages())
    def run(damage):
        path.write_bytes(damaged(content, damage))
        check_store(path if name.startswith("packed") else toy_store, truth)

    run()
    path.write_bytes(content)
    check_store(path if name.startswith("packed") else toy_store, truth)


@pytest.mark.parametrize("name", ["index.h5", "shard-00001.h5", "plan.h5", "packed", "packed parts"])
def test_forged_stores_never_crash(toy_store, toy_parts, reseal, name):
    path = file_of(name, toy_store, toy_parts)
    content = path.read_bytes()
    if name in ("shard-00001.h5", "plan.h5"):
        (toy_store / "index.h5").unlink()  # so that these are read

    @settings(max_examples=120 // SHARE, **QUIET)
    @given(damages())
    def run(damage):
        path.write_bytes(reseal(content, lambda behind: damaged(behind, damage)))
        check_store(path if name.startswith("packed") else toy_store)
        if name == "plan.h5":
            with suppress(AvrError):
                ShardWriter(toy_store, 1)
            assert verify(toy_store)["files"] == 5

    run()


@pytest.mark.parametrize("name", ["index.h5", "scores.h5"])
def test_forged_seals_never_crash(toy_store, toy_scores, with_seal, tmp_path, name):
    """The seal itself rewritten: other places, types and shapes of tables, with a checksum that fits."""
    path = toy_store / name if name == "index.h5" else write_scores(tmp_path / name, toy_scores())
    content = path.read_bytes()
    lines = content.split(b"\n", 3)
    places = st.one_of(st.integers(-5, len(content) + 5), st.integers(), st.none(), st.floats(), st.text(max_size=3))
    kinds = st.sampled_from(["<i8", "<i4", "|i1", "<f4", "|S1", "|S9", "|S999999999", "place", "O", "|V8", "<f2", 3])
    entries = st.tuples(places, kinds, st.one_of(st.lists(places, max_size=3), places)).map(list)

    @settings(max_examples=150 // SHARE, **QUIET)
    @given(st.data())
    def run(data):
        fields = json.loads(lines[1])
        table = data.draw(st.sampled_from(sorted(fields["tables"])))
        how = data.draw(st.sampled_from(["entry", "gone", "field"]))
        if how == "entry":
            fields["tables"][table] = data.draw(entries)
        elif how == "gone":
            del fields["tables"][table]
        else:
            fields[data.draw(st.sampled_from(sorted(fields)))] = data.draw(st.one_of(places, entries))
        path.write_bytes(with_seal(fields, content[4096:], 4096))
        if name == "index.h5":
            check_store(toy_store)
        else:
            with suppress(AvrError):
                read_scores(path)

    run()


def test_damaged_scores_never_lie(toy_scores, reseal, tmp_path):
    scores = toy_scores()
    path = write_scores(tmp_path / "scores.h5", scores)
    content = path.read_bytes()

    @settings(max_examples=200 // SHARE, **QUIET)
    @given(damages(), st.booleans())
    def run(damage, forge):
        path.write_bytes(reseal(content, lambda behind: damaged(behind, damage)) if forge else damaged(content, damage))
        try:
            found = read_scores(path)
        except AvrError:
            return
        if not forge:
            assert found.ids.tolist() == scores.ids.tolist()
            assert found.labels.tolist() == scores.labels.tolist()
            assert all(found.streams[name].tobytes() == values.tobytes() for name, values in scores.streams.items())

    run()


@pytest.mark.parametrize("form", ["npz", "npy", "pkl", "csv", "json", "parquet", "mat", "pt"])
def test_damaged_files_of_others_never_crash(tmp_path, form):
    draw = np.random.default_rng(0)
    values = draw.normal(size=(6, 4)).astype(np.float32)
    ids = [f"class{i % 4}/v{i}" for i in range(6)]
    path = tmp_path / f"scores.{form}"
    if form == "npz":
        rows = np.empty((6, 2), dtype=object)
        for i in range(6):
            rows[i] = [values[i : i + 1], i % 4]
        np.savez(path, scores=rows, labels=np.arange(6) % 4, names=ids)
    elif form == "npy":
        np.save(path, values)
    elif form == "pkl":
        torch = pytest.importorskip("torch")
        items = [{"pred_score": torch.from_numpy(row), "gt_label": np.int64(i % 4)} for i, row in enumerate(values)]
        path.write_bytes(pickle.dumps(items, 2))
    elif form == "json":
        path.write_text(
            json.dumps([{"name": name, "scores": row.tolist()} for name, row in zip(ids, values, strict=True)])
        )
    elif form == "parquet":
        pandas = pytest.importorskip("pandas")
        pandas.DataFrame(values, index=ids, columns=list("abcd")).to_parquet(path)
    elif form == "mat":
        savemat(path, {"scores": values, "names": np.array(ids)})
    elif form == "pt":
        torch = pytest.importorskip("torch")
        torch.save({"scores": torch.from_numpy(values), "names": ids}, path)
    else:
        path.write_text("\n".join(",".join([name, *map(str, row)]) for name, row in zip(ids, values, strict=True)))
    content = path.read_bytes()

    @settings(max_examples=105 // SHARE, **QUIET)
    @given(damages())
    def run(damage):
        path.write_bytes(damaged(content, damage))
        try:
            scores = import_scores(path, names=ids, labels=[i % 4 for i in range(6)]).scores
        except AvrError as error:
            assert_one_line(str(error))
            return
        assert np.isfinite(scores.streams["scores"]).all()

    run()
