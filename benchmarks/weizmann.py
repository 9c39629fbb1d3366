"""Weizmann from its videos to fused scores, nine splits (one person left out each), three seeds.

    python benchmarks/weizmann.py --data ../shared/data          # weizmann/ and weights/squeezenet1_1.pth in it

It is this sequence of commands, in an empty folder, with the heads and the fusion repeated for each seed:

    avr extract --dataset weizmann --root DATA/weizmann \\
        --backbone squeezenet1_1 --weights DATA/weights/squeezenet1_1.pth --layers pooled --mirror
    avr heads train linear --split all --folds 5
    avr heads train stfn --split all --folds 0
    avr fuse awf runs/linear-weizmann-1

Mirrored views matter: people walk to either side, and a person left out may be the only one who walks to his. Training
draws one of the two views an epoch; the test averages over both.

Prints a Markdown table: accuracy over the 90 test videos of the nine splits together, mean and standard deviation over
the seeds, and the seconds of one whole sequence. The features do not depend on the seed.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np

from avr.datasets import index_dataset
from avr.extract import extract, read_streams
from avr.fusion import fuse
from avr.heads import train_run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = os.environ.get("AVR_TEST_DATA") or Path(__file__).parents[2] / "shared" / "data"
    parser.add_argument("--data", type=Path, default=default)
    parser.add_argument("--out", type=Path, help="folder for features and runs [default: a temporary one]")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--heads", nargs="*", default=["stfn"], help="joint heads to train beside linear")
    parser.add_argument("--mirror", action=argparse.BooleanOptionalAction, default=True, help="add mirrored views")
    chosen = parser.parse_args()
    if not (chosen.data / "weizmann").is_dir():
        raise SystemExit(f"skipped: no {chosen.data}/weizmann; name the folder with --data or AVR_TEST_DATA")
    data, out = chosen.data.resolve(), chosen.out or Path(tempfile.mkdtemp())
    out.mkdir(parents=True, exist_ok=True)
    os.chdir(out)

    begin = time.monotonic()
    weights = str(data / "weights" / "squeezenet1_1.pth")
    told = {"backbone": "squeezenet1_1", "weights": weights, "mirror": chosen.mirror}
    dataset, out = index_dataset("weizmann", data / "weizmann"), Path("features/weizmann")
    store = extract(dataset, out, streams=read_streams(["rgb", "flow"], told)).store
    seconds = {"extract": time.monotonic() - begin}

    measured: dict[str, list[float]] = {}
    for seed in chosen.seeds:
        begin = time.monotonic()
        linear = train_run(store, "linear", split="all", folds=5, seed=seed)
        for stream in linear.layers:
            measured.setdefault(f"linear {stream}", []).append(linear.summary[stream]["top1_pooled"])
        seconds.setdefault("linear, 5 folds", time.monotonic() - begin)
        for head in chosen.heads:
            begin = time.monotonic()
            result = train_run(store, head, split="all", folds=0, seed=seed)
            measured.setdefault(head, []).append(result.summary["fused"]["top1_pooled"])
            seconds.setdefault(f"{head}, no folds", time.monotonic() - begin)
        begin = time.monotonic()
        rows = {row["name"]: row for row in fuse("awf", [linear.folder], out=Path(f"runs/fuse-{seed}")).rows}
        for rule in ("average", "multiply", "awf"):
            measured.setdefault(f"fuse {rule} (linear rgb + flow)", []).append(rows[rule]["top1"])
        seconds.setdefault("fuse", time.monotonic() - begin)
        print(f"seed {seed}: " + ", ".join(f"{name} {100 * v[-1]:.1f}" for name, v in measured.items()), flush=True)

    print(f"90 test videos of nine splits together, {len(chosen.seeds)} seeds\n")
    print("| what | top-1 % | of the seeds |")
    print("|---|---:|---|")
    for name, values in measured.items():
        top1 = 100 * np.array(values)
        spread = f" ± {top1.std(ddof=1):.1f}" if len(top1) > 1 else ""
        print(f"| {name} | {top1.mean():.1f}{spread} | {', '.join(f'{value:.1f}' for value in top1)} |")
    told = ", ".join(f"{name} {value:.0f} s" for name, value in seconds.items())
    print(f"\nOne sequence (first seed): {sum(seconds.values()):.0f} s: {told}.")


if __name__ == "__main__":
    main()
