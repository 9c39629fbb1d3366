"""`avr heads train HEAD --folds 5` side by side against one by one: wall and CPU seconds of the whole command.

    python benchmarks/trainings.py                          # stfn, a tenth of HMDB51, two epochs: minutes
    python benchmarks/trainings.py --head linear --videos 3570 --epochs 30
    python benchmarks/trainings.py --quick                  # a minute, for trying it
    python benchmarks/trainings.py --before ../older        # beside another checkout, in ../older/avr

The store is synthetic: two streams of 7 segments × `--width`, 51 classes. The forms take turns, `--repeats` times; what
is printed is the median and the range, imports and the start of processes included. Checkpoints and scores of the forms
of this checkout are compared byte for byte. CPU seconds are of all processes.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np

import avr
from avr.datasets import Dataset, Split, Video
from avr.store import StoreWriter

CLASSES, SEGMENTS, STREAMS = 51, 7, ("rgb", "flow")
COMMAND = "from avr.cli import main; main()"
HERE = Path(avr.__file__).parents[1]


def write_store(folder: Path, *, videos: int, width: int) -> None:
    """Features without meaning; one of ten groups is tested."""
    random = np.random.default_rng(0)
    listed = tuple(Video(f"v{i:05d}", Path(f"v{i:05d}.avi"), i % CLASSES, f"g{i % 10}") for i in range(videos))
    test = tuple(video.id for i, video in enumerate(listed) if i % 10 == 0)
    split = Split("1", tuple(video.id for video in listed if video.id not in set(test)), test)
    dataset = Dataset("noise", folder, tuple(f"c{k}" for k in range(CLASSES)), listed, {"1": split})
    arrays = {f"{stream}/pooled": (SEGMENTS, width) for stream in STREAMS}
    with StoreWriter(folder, dataset, arrays=arrays, provenance={"settings": {"backbone": "noise"}}) as writer:
        for shard in writer.shards():
            for video in shard.video_ids:
                shard.add(video, {name: random.standard_normal((1, SEGMENTS, width)) for name in arrays}, frames=30)


def run(arguments: list[str], *, root: Path, folder: Path) -> tuple[float, float]:
    """Wall and CPU seconds of a command of the avr under `root`, of all its processes."""
    started = time.monotonic()
    command = [sys.executable, "-c", COMMAND, *arguments]
    process = subprocess.Popen(
        command, cwd=folder, env={**os.environ, "PYTHONPATH": str(root)}, stdout=subprocess.DEVNULL
    )
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"it failed: {' '.join(arguments)}")
    return time.monotonic() - started, used.ru_utime + used.ru_stime


def kept(run: Path) -> dict[str, bytes]:
    """Checkpoints and scores of a run."""
    files = (path for path in sorted(run.rglob("*")) if path.suffix in (".safetensors", ".h5"))
    return {str(path.relative_to(run)): path.read_bytes() for path in files}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--head", default="stfn")
    parser.add_argument("--videos", type=int, default=357)
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--before", type=Path, help="folder of another checkout's `avr`")
    parser.add_argument("--quick", action="store_true", help="102 videos of 256 values, one epoch, once")
    given = parser.parse_args()
    if given.quick:
        given.videos, given.width, given.epochs, given.repeats = 102, 256, 1, 1
    forms = {"one by one": (HERE, ["--workers", "1"]), "side by side": (HERE, ["--workers", str(os.cpu_count())])}
    if given.before:
        forms = {"before": (given.before.resolve(), []), **forms}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in forms}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_store(folder / "store", videos=given.videos, width=given.width)
        common = ["heads", "train", given.head, "--store", "store", "--folds", str(given.folds), "--device", "cpu"]
        common += ["--epochs", str(given.epochs), "--training", "min_steps=0"]
        for turn in range(given.repeats):
            for name, (root, options) in forms.items():
                out = ["--out", f"{name.replace(' ', '-')}-{turn}"]
                found[name].append(run([*common, *options, *out], root=root, folder=folder))
        same = kept(folder / "one-by-one-0") == kept(folder / "side-by-side-0")
    print(f"{given.head}, {given.videos} videos, {given.epochs} epochs, {given.folds} folds, {os.cpu_count()} cores")
    first = next(iter(found.values()))
    for name, times in found.items():
        line = f"  {name:13}"
        for kind, values, base in zip(("wall", "CPU"), zip(*times, strict=True), zip(*first, strict=True), strict=True):
            line += f"  {kind} {median(values):7.1f} s ({min(values):.1f} to {max(values):.1f})"
            line += f", × {median(values) / median(base):.2f}"
        print(line)
    print(f"  checkpoints and scores are {'equal, byte for byte' if same else 'NOT EQUAL'}")


if __name__ == "__main__":
    main()
