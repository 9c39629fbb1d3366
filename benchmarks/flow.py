"""Optical flow: how near our TV-L1 is to OpenCV's on real clips, and how many pairs a second each method does.

    python benchmarks/flow.py                     # on the CPU: accuracy, then speed, ours and OpenCV's in turn
    python benchmarks/flow.py --device cuda       # the batched form: speed, bandwidth reached, floor

The clips are those of `$AVR_TEST_DATA/clips` or `../shared/data/clips` (UCF101, 320 × 240). Times are of whole calls
from frames in memory to flow in memory, on every core, by the clock and, on a CPU, in processor time; the figure is the
median of the repeats, with their range.
"""

import argparse
import os
import platform
import statistics
import time
from pathlib import Path

import cv2
import numpy as np

from avr.extract.flow import FlowMethod, load
from avr.extract.flow._tvl1 import Parameters
from avr.extract.flow._tvl1_cpu import NumpyLevel, solve_pair

# What the fused kernels must move, bytes a pixel in float32, each array once:
ITERATION = 4 * (9 + 6)  # reads flow 2, dual 4, slopes and constant 3; writes flow 2, dual 4
MEDIAN = 4 * (2 + 2) * 2  # reads and writes the flow, then copies it back
WARP = 4 * (2 + 1 + 3 + 3)  # reads flow, first frame, second frame and slopes; writes slopes and constant
COPY = 4.3e12  # bytes a second of large copies on an H200, both directions counted


def clip_pairs(folder: Path, each: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """`each` pairs spread over every clip, grey: name to two (each, H, W) uint8."""
    pairs = {}
    for path in sorted(folder.glob("*.avi")):
        capture, frames = cv2.VideoCapture(str(path)), []
        while (read := capture.read())[0]:
            frames.append(cv2.cvtColor(read[1], cv2.COLOR_BGR2GRAY))
        places = np.linspace(0, len(frames) - 2, each + 2).round().astype(int)[1:-1]
        pairs[path.stem] = np.stack([frames[i] for i in places]), np.stack([frames[i + 1] for i in places])
    return pairs


def accuracy(pairs: dict[str, tuple[np.ndarray, np.ndarray]], method: FlowMethod) -> bool:
    """Print the endpoint error against OpenCV's DualTVL1, pair by pair; whether every pair is within its bound."""
    opencv = load("tvl1", backend="opencv")
    print("\n| clip | pair | mean motion, px | mean endpoint error, px | 95th percentile, px | bound, px | |")
    print("|---|---|---|---|---|---|---|")
    errors, fine = [], True
    for name, (previous, following) in pairs.items():
        wanted, found = opencv(previous, following), method(previous, following)
        for index, (one, other) in enumerate(zip(found, wanted, strict=True)):
            error, motion = np.hypot(*(one - other)), float(np.hypot(*other).mean())
            bound = 0.1 if motion < 5 else 0.05 * motion
            within = float(error.mean()) <= bound
            fine &= within
            errors.append(float(error.mean()))
            row = f"{motion:.2f} | {error.mean():.4f} | {np.percentile(error, 95):.4f} | {bound:.2f}"
            print(f"| {name} | {index} | {row} | {'ok' if within else 'OUT'} |", flush=True)
    print(f"\nmean endpoint error over {len(errors)} pairs: {statistics.mean(errors):.4f} px, worst {max(errors):.4f}")
    return fine


def rates(methods: dict[str, FlowMethod], previous: np.ndarray, following: np.ndarray, repeats: int) -> None:
    """Print pairs a second of each method, the methods in turn within every repeat."""
    pairs = len(previous)
    walls: dict[str, list[float]] = {name: [] for name in methods}
    busy: dict[str, list[float]] = {name: [] for name in methods}
    for method in methods.values():
        method(previous[:2], following[:2])  # the first call makes threads and buffers, and compiles
    for _ in range(repeats):
        for name, method in methods.items():
            start, before = time.perf_counter(), time.process_time()
            method(previous, following)
            walls[name].append(pairs / (time.perf_counter() - start))
            busy[name].append(1000 * (time.process_time() - before) / pairs)
    print("\n| method | pairs/s | lowest | highest | CPU ms a pair | lowest | highest |")
    print("|---|---|---|---|---|---|---|")
    for name in methods:
        print(f"| {name} | {_spread(walls[name])} | {_spread(busy[name])} |")
    print()
    ours = "tvl1, ours"
    for name in (name for name in methods if name.startswith("tvl1") and name != ours):
        quicker = [other / own for own, other in zip(busy[ours], busy[name], strict=True)]
        sooner = [own / other for own, other in zip(walls[ours], walls[name], strict=True)]
        spans = (
            f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})" for ratios in (quicker, sooner)
        )
        print(f"ours over {name}: {next(spans)} in processor time, {next(spans)} by the clock")


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} | {min(values):.2f} | {max(values):.2f}"


def work(previous: np.ndarray, following: np.ndarray) -> float:
    """Print what the pairs take, and return the bytes that the fused kernels must move for one of them."""
    iterations, pixel_iterations, moved = [], [], []
    for pair in zip(previous, following, strict=True):
        levels = solve_pair(*pair, Parameters(), NumpyLevel)[1]
        iterations.append(sum(level.iterations for level in levels))
        pixel_iterations.append(sum(level.pixels * level.iterations for level in levels))
        moved.append(
            sum(
                level.pixels * (ITERATION * level.iterations + MEDIAN * level.medians + WARP * level.warps)
                for level in levels
            )
        )
    spread = f"{min(iterations)} to {max(iterations)}"
    print(f"\niterations a pair: {statistics.mean(iterations):.0f} ({spread})", end="; ")
    print(f"{statistics.mean(pixel_iterations) / 1e6:.1f} million pixel-iterations", end="; ")
    each = statistics.mean(moved)
    print(f"{each / 1e9:.2f} GB moved a pair by the fused kernels ({ITERATION} bytes a pixel and iteration)")
    return each


def on_cuda(device: str, previous: np.ndarray, following: np.ndarray, repeats: int) -> None:
    """Print pairs a second, bandwidth and floor of the batched form at several batch sizes."""
    import torch

    method = load("tvl1", device)
    source = torch.empty(2**28, device=device)  # 1 GiB
    target = torch.empty_like(source)
    copies = []
    for _ in range(20):
        torch.cuda.synchronize()
        start = time.perf_counter()
        target.copy_(source)
        torch.cuda.synchronize()
        copies.append(2 * source.nbytes / (time.perf_counter() - start))
    copy = max(copies)
    each = work(previous, following)
    print(f"\n{torch.cuda.get_device_name(device)}, computed by {method.backend}; copies run at {copy / 1e12:.2f} TB/s")
    print(f"floor: {copy / each:.0f} pairs/s")
    print("\n| pairs at once | pairs/s | lowest | highest | bandwidth, TB/s | share of the floor |")
    print("|---|---|---|---|---|---|")
    for batch in (32, 128, 512):
        rounds = -(-batch // len(previous))
        first, second = (
            torch.from_numpy(np.concatenate([frames] * rounds)[:batch]).to(device) for frames in (previous, following)
        )
        method.solve(first, second)
        values = []
        for _ in range(repeats):
            torch.cuda.synchronize()
            start = time.perf_counter()
            method.solve(first, second)
            torch.cuda.synchronize()
            values.append(batch / (time.perf_counter() - start))
        rate = statistics.median(values)
        reached = f"{rate * each / 1e12:.2f} | {rate * each / copy:.0%}"
        print(f"| {batch} | {rate:.0f} | {min(values):.0f} | {max(values):.0f} | {reached} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--pairs", type=int, default=3, help="of each clip")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--clips", type=Path, default=None)
    chosen = parser.parse_args()
    data = Path(os.environ.get("AVR_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
    folder = chosen.clips or data / "clips"
    pairs = clip_pairs(folder, chosen.pairs)
    if not pairs:
        raise SystemExit(f"no clips in {folder}: set AVR_TEST_DATA or give --clips")
    # The speed is of every pair at once: frames of one size only.
    previous, following = (np.concatenate(frames) for frames in zip(*pairs.values(), strict=True))
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, OpenCV {cv2.__version__};", end=" ")
    print(f"{len(previous)} pairs of {previous.shape[2]} × {previous.shape[1]} from {len(pairs)} clips")
    fine = accuracy(pairs, load("tvl1", chosen.device))
    if chosen.device == "cpu":
        each = work(previous, following)
        print(
            f"at {COPY / 1e12:.1f} TB/s, an H200's copies, that is a floor of {COPY / each:.0f} pairs/s (not measured)"
        )
        methods = {name: load(name) for name in ("dis", "farneback")} | {"tvl1, ours": load("tvl1")}
        methods |= {f"tvl1, {name}": load("tvl1", backend=name.lower()) for name in ("NumPy", "OpenCV")}
        rates(methods, previous, following, chosen.repeats)
    else:
        on_cuda(chosen.device, previous, following, chosen.repeats)
    raise SystemExit(0 if fine else 1)


if __name__ == "__main__":
    main()
