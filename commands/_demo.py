"""What `avr demo` runs: index, extract, train, fuse. It is also the shortest example of avr from Python."""

import time
from pathlib import Path
from typing import Any


def run_demo(out: Path, *, backbone: str = "resnet18", seed: int = 0) -> dict[str, Any]:
    """Run the whole pipeline on the data set `shapes` and return its table.

    Args:
        out: folder that takes `data/`, `features/` and `runs/`. Clips and features that are there are used again.
        backbone: torchvision model, started at random.
        seed: of the backbone and the heads.

    Returns:
        rows (name, top1, mean_class, reads), test_videos, classes, seconds, best_stream, fused, summary.
    """
    from avr.core import note
    from avr.datasets import index_dataset
    from avr.extract import Settings, extract
    from avr.fusion import fuse
    from avr.heads import train_run
    from avr.store import new_folder

    begin = time.monotonic()
    note(f"demo: clips that avr draws, and a {backbone} started at random (seed {seed}): nothing is downloaded")
    dataset = index_dataset("shapes", out / "data" / "shapes")
    settings = Settings(backbone=backbone, weights=("random",), layers=("pooled",), seed=seed, resize=96, crop=96)
    store = extract(dataset, out / "features" / "shapes", settings=settings).store

    runs = {
        head: train_run(store, head, split="1", seed=seed, folds=FOLDS, out=new_folder(out / "runs" / head))
        for head in HEADS
    }
    fused = fuse("awf", [run.folder for run in runs.values()], out=new_folder(out / "runs" / "fuse-awf"))
    return _summarise(runs, fused, seconds=time.monotonic() - begin)


HEADS = ("linear", "stfn")
TRAINING: dict[str, dict[str, object]] = {"linear": {}, "stfn": {"epochs": 8}}  # shorter than its default of 20
FOLDS = 3  # stfn is trained once more for each, which is most of the demo's time


def _summarise(runs: dict[str, Any], fused: Any, *, seconds: float) -> dict[str, Any]:
    linear, stfn = (runs[head].summary for head in HEADS)
    rows = [
        {"name": f"linear {stream}", "reads": stream, **_figures(linear[stream])} for stream in runs["linear"].layers
    ]
    rows.append({"name": "stfn", "reads": "rgb + flow", **_figures(stfn["fused"])})
    rules = {row["name"]: row for row in fused.rows}
    rows += [{"name": f"fuse {rule}", "reads": "all scores", **_figures(rules[rule])} for rule in RULES]
    best = max(rows[: len(runs["linear"].layers)], key=lambda row: row["top1"])
    last = rows[-1]
    split = runs["linear"].splits[0]
    return {
        "rows": rows,
        "test_videos": len(split.test_labels),
        "classes": split.test_scores[best["reads"]].shape[1],
        "best_stream": best["top1"],
        "fused": last["top1"],
        "seconds": seconds,
        "summary": f"fused is {100 * (last['top1'] - best['top1']):+.1f} points against {best['name']}, "
        f"the best single stream; {seconds:.0f} s in all",
        "runs": {name: run.folder for name, run in runs.items()} | {"fused": fused.out},
    }


RULES = ("average", "multiply", "awf")


def _figures(row: dict[str, Any]) -> dict[str, float]:
    return {"top1": row["top1"], "mean_class": row["mean_class"]}
