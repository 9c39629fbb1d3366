"""Score files that were forged: refused in a line, in bounded time and memory, and nothing outside their folder."""

import json
import os
import pickle
import time
from dataclasses import replace

import numpy as np
import pytest

from avr.core import AvrError, UsageError, WorkError
from avr.store import export, import_scores, read_scores, write_scores

TUPLES = b"K\x01K\x02\x86" + b"2\x86" * 40  # forty levels of a tuple that holds the one below twice
FORGED = {
    "as many objects as a number says": b"\x80\x02]r\xff\xff\xff\x6f.",
    "a key that holds itself 2**40 times": b"\x80\x04}(" + TUPLES + b"K\x01u.",
    "one more": b"\x80\x04}" + TUPLES + b"K\x01s.",
    "a dict of marks": b"\x80\x02(" + TUPLES + b"K\x01d.",
    "a set": b"\x80\x04\x8f(" + TUPLES + b"\x90.",
    "bytes that are not there": b"\x80\x05\x96" + (1 << 34).to_bytes(8, "little") + b"abc.",
    "a text that is not there": b"\x80\x04\x8d" + (1 << 40).to_bytes(8, "little") + b"abc.",
    "an array a hundred thousand times": pickle.dumps([np.zeros(1 << 14)] * 100_000),
    "a list in itself": b"\x80\x04]q\x00h\x00a.",
    "too deep": b"\x80\x02" + b"]" * 50_000 + b"a" * 49_999 + b".",
    "a number of many digits": b"I" + b"9" * 100_000 + b"\n.",
}


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_pickle_is_refused_at_once(tmp_path, name):
    resource = pytest.importorskip("resource")
    (tmp_path / "a.pkl").write_bytes(FORGED[name])
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    with pytest.raises(UsageError) as refused:
        import_scores(tmp_path / "a.pkl", names=["v1", "v2"])
    assert "\n" not in str(refused.value)
    assert "Error" not in str(refused.value)
    assert time.monotonic() - start < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10  # KB


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", b"[" * 100_000 + b"]" * 100_000, "cannot be read as scores"),
        ("a.json", b'{"a":' * 50_000 + b"1" + b"}" * 50_000, "cannot be read as scores"),
        ("a.json", b"[[1, 2], [3", r"a.json:1: cannot be read as JSON"),
        ("a.csv", b"id,a,b\n" + b"1" * 50_000 + b",1" + b"0" * 50_000 + b"x,2\nv,1,2\n", "no table of scores"),
        ("a.csv", b",".join([b"1"] * 100_000) + b"\n" + b",".join([b"2"] * 100_000), "100000 cells in a line"),
        ("a.csv", b'id,a,b\n"' + b"x" * 200_000, "a.csv:2: cannot be read as csv"),
        ("a.csv", b"id,a,b\nx,1,\0\n", "is UTF-16, or no text"),
        ("a.csv", b"id,a,b\nx,\xff,2\n", "a.csv:2: byte 0xff is no UTF-8"),
        ("a.parquet", b"PAR1", "cannot be read as scores"),
        ("a.mat", b"x" * 128, "no MATLAB file"),
    ],
)
def test_forged_text_is_refused_at_once(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    start = time.monotonic()
    with pytest.raises(AvrError, match=message) as refused:
        import_scores(tmp_path / name, names=["v1", "v2"])
    assert time.monotonic() - start < 5
    assert "\n" not in str(refused.value)


def test_an_npz_that_unfolds_to_more_than_four_times_its_bytes_is_refused(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", scores=np.zeros((100_000, 100)))
    with pytest.raises(UsageError, match="unfolds to 80000128 bytes, or says so: save its arrays uncompressed"):
        import_scores(tmp_path / "a.npz")


@pytest.mark.parametrize("name", ["a.csv", "a.npz", "a.pkl", "a.h5"])
def test_a_fifo_is_no_regular_file(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(UsageError, match=rf"{name}: not a regular file"):
        (read_scores if name == "a.h5" else import_scores)(tmp_path / name)


def rewritten(path, with_seal, change):
    """The file's seal changed and made good again."""
    content = path.read_bytes()
    block = content.index(b"\x89HDF\r\n\x1a\n")
    fields = json.loads(content.split(b"\n", 2)[1])
    change(fields)
    return with_seal(fields, content[block:], block)


def test_tables_that_share_their_bytes_are_refused(toy_scores, with_seal, tmp_path):
    path = write_scores(tmp_path / "a.h5", toy_scores())

    def many(fields):
        fields["tables"] |= {f"r{number}": fields["tables"]["rgb"] for number in range(20)}

    path.write_bytes(rewritten(path, with_seal, many))
    with pytest.raises(WorkError, match=r"a.h5: damaged \(its tables overlap\)"):
        read_scores(path)


@pytest.mark.parametrize("name", ["../escaped", "/tmp/escaped", "..", "a/b", "index"])
def test_a_streams_name_is_no_path(toy_scores, with_seal, tmp_path, name):
    path = write_scores(tmp_path / "a.h5", toy_scores())
    path.write_bytes(
        rewritten(path, with_seal, lambda fields: fields["tables"].update({name: fields["tables"]["rgb"]}))
    )
    with pytest.raises(UsageError, match=r"a.h5: (stream .* is no name|a stream is called 'index')"):
        export(path, tmp_path / "out")
    assert sorted(tmp_path.iterdir()) in ([path], [tmp_path / "a.h5", tmp_path / "out"])
    with pytest.raises(UsageError, match=r"is no name|is called"):
        write_scores(tmp_path / "b.h5", toy_scores(streams={name: np.zeros((12, 4))}))


@pytest.mark.parametrize("field", ["split", "head", "dataset"])
def test_names_of_splits_heads_and_data_sets_are_no_paths(toy_scores, tmp_path, field):
    with pytest.raises(UsageError, match=r"'../../up' is no name"):
        write_scores(tmp_path / "a.h5", replace(toy_scores(), **{field: "../../up"}))


def test_forged_files_of_the_field(real_data, tmp_path):
    doors = real_data / "field" / "doors"
    for name, message in {
        "stream_up.h5": "stream '../escaped' is no name",
        "split_up/split-1/scores.h5": "split '../../../escaped-1' is no name",
    }.items():
        with pytest.raises(UsageError, match=message):
            read_scores(doors / name)
    for name, message in {
        "dag.pkl": "it refers to its own parts more often than it has bytes",
        "negative.npy": r"no npy array \(shape \(-2, -9\)\)",
        "negative_one.npy": r"no npy array \(shape \(-1, 3\)\)",
        "zero_width.npy": "no npy array",
    }.items():
        with pytest.raises(UsageError, match=message):
            import_scores(doors / name, names=["v1", "v2"])
    assert import_scores(doors / "formula.csv").scores.ids.tolist()[:2] == ["=1+1", "+1+1"]
