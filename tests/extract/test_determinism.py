"""The same bytes on the same machine, however the work is cut up; and how little the rest of a batch matters."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from altering import altered

from avr.extract import Running, extract, read_streams
from avr.store import FeatureStore

SETTINGS = read_streams(
    ["rgb,flow"],
    {
        "backbone": "squeezenet1_1",
        "weights": "random",
        "layers": ("pooled", "map"),
        "segments": 3,
        "stack": 2,
        "resize": 64,
        "crop": 56,
    },
)
RUNNING = Running(device="cpu", decoders=1, shard_videos=3)


@pytest.fixture(scope="module", autouse=True)
def one_commit():
    """A store keeps avr's own commit, and somebody may commit while the tests run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("avr.extract.run._commit", lambda _: "")
        yield


def files_of(store: Path) -> dict[str, bytes]:
    """A finished store's files; the lock's holds who wrote it."""
    return {
        str(path.relative_to(store)): path.read_bytes()
        for path in sorted(store.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def features_of(store: Path) -> dict[str, np.ndarray]:
    with FeatureStore(store) as opened:
        return {
            f"{stream}/{layer.layer}": opened.read_whole(stream, layer.layer).astype(np.float32)
            for stream in opened.streams
            for layer in opened.arrays.values()
            if layer.stream == stream
        }


@pytest.fixture(scope="module")
def usual(dataset, tmp_path_factory):
    """A store written in the usual way."""
    out = tmp_path_factory.mktemp("usual") / "store"
    extract(dataset, out, streams=SETTINGS, running=RUNNING)
    return out


def test_the_same_bytes_twice(dataset, usual, tmp_path):
    extract(dataset, tmp_path / "store", streams=SETTINGS, running=RUNNING)
    assert files_of(tmp_path / "store") == files_of(usual)


@pytest.mark.parametrize("flow", ["farneback", "tvl1"])
def test_the_same_bytes_twice_with_every_flow(dataset, tmp_path, flow):
    settings = altered(SETTINGS, flow=flow, only=("flow",), layers=("pooled",))
    for name in ("one", "two"):
        extract(dataset, tmp_path / name, streams=settings, running=RUNNING)
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")


def test_the_same_bytes_with_more_decoders_and_fewer_cores(dataset, usual, tmp_path):
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("which cores a process takes cannot be set here")
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        extract(dataset, tmp_path / "store", streams=SETTINGS, running=replace(RUNNING, decoders=3))
    finally:
        os.sched_setaffinity(0, cores)
    assert files_of(tmp_path / "store") == files_of(usual)


def test_the_same_bytes_when_shards_are_done_in_two_runs(dataset, usual, tmp_path):
    store = tmp_path / "store"
    extract(dataset, store, streams=SETTINGS, running=RUNNING)
    for name in ("rgb/index.h5", "rgb/shard-00000.h5", "flow/shard-00000.h5"):
        (store / name).unlink()
    assert extract(dataset, store, streams=SETTINGS, running=RUNNING).extracted == 3
    assert files_of(store) == files_of(usual)


@pytest.mark.parametrize(
    "change", [{"batch_size": 1}, {"batch_size": 5}, {"shard_videos": 1}, {"shard_videos": 6}], ids=str
)
def test_the_batch_does_not_matter_beyond_fp16(dataset, usual, tmp_path, change):
    """Which images share a network call changes the order of its sums: float32 rounding, about 1e-6 of a value.

    What is stored is fp16, whose neighbours are up to 2⁻¹⁰ of a value apart: a value on the border between two may
    fall on either, and no further. Near zero float32's own rounding shows, as a part of the largest value.
    """
    extract(dataset, tmp_path / "store", streams=SETTINGS, running=replace(RUNNING, **change))
    wanted, found = features_of(usual), features_of(tmp_path / "store")
    assert sorted(found) == ["flow/map", "flow/pooled", "rgb/map", "rgb/pooled"]
    for name, values in found.items():
        largest = np.abs(wanted[name]).max()
        np.testing.assert_allclose(values, wanted[name], rtol=2**-10, atol=1e-6 * largest, err_msg=name)
        assert (values == wanted[name]).mean() > 0.99  # and hardly any does
