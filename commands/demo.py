"""`avr demo`: the whole pipeline on clips that avr draws itself."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ._options import PATH
from ._output import Reply, answering, print_table

if TYPE_CHECKING:
    from avr.fusion import FusionResult
    from avr.heads import RunResult

RULES = ("average", "multiply", "awf")
FOLDS = 3
# Small and short, so that a newcomer waits for no more than it takes to show what fusion brings.
SETTINGS = {"weights": "random", "resize": 96, "crop": 96, "segments": 4}
TRAINING = {"linear": {}, "stfn": {"epochs": 8}}


@click.command()
@click.option(
    "--out",
    type=PATH,
    default=Path("demo"),
    show_default=True,
    help="Folder for the clips, the store and the runs; what is there already is used again.",
)
@click.option("--backbone", default="squeezenet1_1", show_default=True, help="A torchvision model, started at random.")
@click.option("--seed", default=0, show_default=True, help="Seed of the backbone and of the heads.")
@answering
def command(out: Path, backbone: str, seed: int) -> Reply:
    """Draw clips, extract both streams, train heads, fuse, print a table.

    The classes are appearance × motion: neither stream alone can tell them all apart, the fused result can. No network
    is needed, since the backbone starts at random from a fixed seed: features are weak, and the point is the pipeline.
    """
    result = run_demo(out, backbone=backbone, seed=seed)
    return Reply(result, lambda: _show(result))


def run_demo(out: Path, *, backbone: str = "squeezenet1_1", seed: int = 0) -> dict[str, Any]:
    """Run the whole pipeline on the data set `shapes`; the shortest example of avr from Python.

    Args:
        out: folder that takes `data/`, `features/` and `runs/`. Clips and features that are there are used again.
        backbone: torchvision model, started at random.
        seed: of the backbone and the heads.

    Returns:
        rows (name, top1, mean_class, reads), test_videos, classes, seconds, best_stream, fused, summary, runs.
    """
    from avr.core import UsageError, make_folder, note

    begin = time.monotonic()
    make_folder(out)
    others = sorted({path.name for path in out.glob("[!.]*")} - {"data", "features", "runs"})
    if others:
        raise UsageError(f"{out}: holds {others[0]}, which is none of a demo's; choose another --out")
    from avr.datasets import index_dataset
    from avr.extract import extract, read_streams
    from avr.fusion import fuse
    from avr.heads import train_run
    from avr.store import new_folder

    note(f"demo: clips that avr draws, and a {backbone} started at random (seed {seed}): nothing is downloaded")
    dataset = index_dataset("shapes", out / "data" / "shapes")
    told = SETTINGS | {"backbone": backbone, "seed": seed}
    store = extract(dataset, out / "features" / "shapes", streams=read_streams(["rgb", "flow"], told)).store

    runs = {
        head: train_run(
            store,
            head,
            split="1",
            seed=seed,
            folds=FOLDS,
            training=TRAINING[head],
            out=new_folder(out / "runs" / head),
        )
        for head in TRAINING
    }
    fused = fuse("awf", [run.folder for run in runs.values()], out=new_folder(out / "runs" / "fuse-awf"))
    rows = _rows(runs, fused)
    best = max((row for row in rows if row["name"].startswith("linear")), key=lambda row: row["top1"])
    seconds, gain = time.monotonic() - begin, rows[-1]["top1"] - best["top1"]
    return {
        "rows": rows,
        "test_videos": len(dataset.splits["1"].test),
        "classes": len(dataset.class_names),
        "best_stream": best["top1"],
        "fused": rows[-1]["top1"],
        "seconds": seconds,
        "summary": f"fused is {100 * gain:+.1f} points against {best['name']}, the best single stream; "
        f"{seconds:.0f} s in all",
        "runs": {name: run.folder for name, run in runs.items()} | {"fused": fused.out},
    }


def _rows(runs: dict[str, "RunResult"], fused: "FusionResult") -> list[dict[str, Any]]:
    """Name, what it reads and its accuracies, a row for each stream of linear, stfn, and each rule."""
    linear, stfn = (runs[head] for head in TRAINING)
    rules = {row["name"]: row for row in fused.rows}
    found = [(f"linear {stream}", stream, linear.summary[stream]) for stream in linear.layers]
    found.append(("stfn", " + ".join(stfn.layers), stfn.summary["fused"]))
    found += [(f"fuse {rule}", "all scores", rules[rule]) for rule in RULES]
    return [
        {"name": name, "reads": reads, "top1": row["top1"], "mean_class": row["mean_class"]}
        for name, reads, row in found
    ]


def _show(result: dict[str, Any]) -> None:
    rows = [
        [row["name"], f"{100 * row['top1']:.1f}", f"{100 * row['mean_class']:.1f}", row["reads"]]
        for row in result["rows"]
    ]
    print_table(["head or rule", "top-1 %", "mean class %", "reads"], rows)
    click.echo(f"\n{result['test_videos']} test videos, {result['classes']} classes; {result['summary']}")
