"""How fast the store is: write, whole read and random-video read, against raw numpy.memmap and h5py's default chunks.

    python benchmarks/store.py            # about two minutes and 1.5 GB of disk; prints a Markdown table

Everything is measured in one process, interleaved and repeated, with the files in the page cache: what is compared is
the layout and the code, not the disk. Ratios are to memmap's time in the same repeat (above 1: faster than memmap), as
median and range. Random read: every video once, in random order, in batches as a training loop asks for them.
"""

import argparse
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np

from avr.store import FeatureStore, StoreWriter, pack


def dataset(count: int) -> SimpleNamespace:
    videos = [SimpleNamespace(id=f"a/v{i}", path="", label=i % 51, group=f"g{i // 4}") for i in range(count)]
    return SimpleNamespace(name="made", class_names=tuple(map(str, range(51))), videos=videos, splits={})


def synced(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def writers(folder: Path, data: np.ndarray) -> dict[str, Callable[[], None]]:
    """Ways to write the same rows, each ending with the bytes on disk."""

    def memmap() -> None:
        rows = np.memmap(folder / "raw", dtype="<f2", mode="w+", shape=data.shape)
        for row, features in enumerate(data):
            rows[row] = features
        rows.flush()

    def plain_h5py() -> None:
        with h5py.File(folder / "plain.h5", "w") as file:
            rows = file.create_dataset("rgb/x", shape=data.shape, dtype="<f2", chunks=True)
            rows[()] = data  # in one call: row by row, each row would touch hundreds of chunks
        synced(folder / "plain.h5")

    def avr() -> None:
        shutil.rmtree(folder / "store", ignore_errors=True)
        made = dataset(len(data))
        with StoreWriter(folder / "store", made, arrays={"rgb/x": data.shape[1:]}, provenance={}) as writer:
            for shard in writer.shards():
                for video in shard.video_ids:
                    shard.add(video, {"rgb/x": data[int(video[3:])][None]}, frames=1)

    return {"memmap": memmap, "h5py, default chunks": plain_h5py, "avr": avr}


def readers(folder: Path, count: int) -> dict[str, tuple[Callable[[], object], Callable[[np.ndarray], object]]]:
    """Whole read and read of one batch, by name. Those called "first" open the store anew each time."""
    raw = np.memmap(folder / "raw", dtype="<f2", mode="r").reshape(count, -1)
    plain = h5py.File(folder / "plain.h5")["rgb/x"]
    kept, again = FeatureStore(folder / "store"), FeatureStore(folder / "store", cache_bytes=0)
    packed = FeatureStore(folder / "store.h5", cache_bytes=0)
    for store in (kept, again, packed):
        store.read("rgb", "x", np.arange(count))
    return {
        "memmap": (lambda: np.array(raw), lambda batch: raw[batch]),
        "h5py, default chunks": (lambda: plain[()], lambda batch: [plain[row] for row in batch]),
        "avr, rows kept in memory": (lambda: kept.read_whole("rgb", "x"), lambda batch: kept.read("rgb", "x", batch)),
        "avr, folder, none kept": (lambda: again.read_whole("rgb", "x"), lambda batch: again.read("rgb", "x", batch)),
        "avr, packed, none kept": (lambda: packed.read_whole("rgb", "x"), lambda batch: packed.read("rgb", "x", batch)),
    }


def first_reader(folder: Path) -> tuple[Callable[[], object], Callable[[np.ndarray], object]]:
    """A store just opened: every row is read from its file and checked."""
    store = FeatureStore(folder / "store", cache_bytes=0)
    return lambda: store.read_whole("rgb", "x"), lambda batch: store.read("rgb", "x", batch)


def measure(
    folder: Path, shape: tuple[int, ...], *, videos: int, batch: int, repeats: int, slow_videos: int
) -> list[str]:
    """Rows of the table for one kind of feature."""
    draw = np.random.default_rng(0)
    block = draw.normal(size=(64, *shape)).astype("<f2")
    data = np.concatenate([block] * (-(-videos // 64)))[:videos]
    times: dict[tuple[str, str], list[float]] = {}

    def note(what: str, name: str, seconds: float) -> None:
        times.setdefault((what, name), []).append(seconds)

    for _ in range(repeats):
        for name, write in writers(folder, data).items():
            note("write", name, timed(write))
    pack(folder / "store", folder / "store.h5", overwrite=True)
    found = readers(folder, videos)
    for _ in range(repeats):
        order = draw.permutation(videos)
        batches = [order[start : start + batch] for start in range(0, videos, batch)]
        fresh = {"avr, first read (checked)": first_reader(folder)}
        for name, (whole, _) in {**found, **fresh}.items():
            note("whole read", name, timed(whole))
        fresh = {"avr, first read (checked)": first_reader(folder)}
        for name, (_, one) in {**found, **fresh}.items():
            asked = batches[: -(-slow_videos // batch)] if name.startswith("h5py") else batches
            share = sum(map(len, asked)) / videos
            note("random read", name, timed(lambda one=one, asked=asked: [one(rows) for rows in asked]) / share)
    return rows_of_table(times, data.nbytes, f"{' × '.join(map(str, shape))}, {videos} videos")


def rows_of_table(times: dict[tuple[str, str], list[float]], size: int, title: str) -> list[str]:
    lines = []
    for (what, name), seconds in times.items():
        ratios = np.array(times[what, "memmap"]) / np.array(seconds)
        rate = f"{size / np.median(seconds) / 1e9:.2f}"
        spread = f"{np.median(ratios):.2f} ({ratios.min():.2f}–{ratios.max():.2f})" if name != "memmap" else "1"
        lines.append(f"| {title} | {what} | {name} | {rate} | {spread} |")
    return sorted(lines, key=lambda line: ["write", "whole read", "random read"].index(line.split(" | ")[1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", type=int, default=6766, help="videos of pooled features (HMDB51 has 6 766)")
    parser.add_argument("--map-videos", type=int, default=600, help="videos of maps")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--folder", type=Path, help="where to write; a temporary folder by default")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        lines = measure(Path(folder), (7, 2048), videos=given.videos, batch=64, repeats=given.repeats, slow_videos=128)
        lines += measure(
            Path(folder), (12, 512, 7, 7), videos=given.map_videos, batch=16, repeats=given.repeats, slow_videos=32
        )
    load = os.getloadavg()[0]
    print(f"{platform.machine()}, {os.cpu_count()} cores, load average {load:.1f} at the end (of all processes),")
    print(f"NumPy {np.__version__}, h5py {h5py.__version__}; {given.repeats} repeats\n")
    print("| features (one stream, fp16) | what | how | GB/s | times memmap's rate, median (range) |")
    print("|---|---|---|---:|---:|")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
