"""What a third and a fourth stream bring over two, on JHMDB and Weizmann, and what adding them to a store costs.

    python benchmarks/streams.py --data DIR --weights DIR --work DIR --out streams.md

DIR of --data holds `jhmdb` and `weizmann`, that of --weights `mobilenet_v2_features.pth` and `squeezenet1_1.pth`. Four
streams: MobileNetV2 on rgb, flow (dis) and difference, and SqueezeNet on rgb, a second encoder. They are extracted one
after the other into one store; each time and size is written down, and that the older streams' bytes are as they were.

Then linear and attentive heads (a network a stream), the rules average, multiply and awf over two, three and four
streams, and the joint heads, which read streams together: stfn two and all four, statistics-pooling every set. awf
learns from out-of-fold scores of five grouped folds, on JHMDB alone: Weizmann's nine splits would be 54 trainings a
stream. Every setting is avr's default. What is in
--work already is not done again, so a stopped run goes on.
"""

import argparse
import hashlib
import json
import os
import platform
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from avr.core import check_known, note, write_whole
from avr.datasets import Dataset, index_dataset
from avr.extract import Settings, extract
from avr.fusion import fuse, make_fuser, rule_class
from avr.heads import RunResult, train_run
from avr.store import drop, is_test, read_scores, score_path, split_folder

DATASETS = {"jhmdb": "hmdb51", "weizmann": "weizmann"}  # folder -> how its lists are read
SETS = (
    ("rgb", "flow"),
    ("rgb", "flow", "difference"),
    ("rgb", "flow", "rgb2"),
    ("rgb", "flow", "difference", "rgb2"),
)
PROBES = ("linear", "attentive")  # a network a stream
JOINT = {"stfn": (SETS[0], SETS[-1]), "statistics-pooling": SETS}  # by the streams that they read
RULES = ("average", "multiply", "awf")


def streams_of(weights: Path) -> dict[str, Settings]:
    """The four streams."""
    mobilenet = Settings(backbone="mobilenet_v2", weights=str(weights / "mobilenet_v2_features.pth"))
    squeezenet = Settings(backbone="squeezenet1_1", weights=str(weights / "squeezenet1_1.pth"))
    kinds = {name: mobilenet.change(kind=name) for name in ("rgb", "flow", "difference")}
    return {**kinds, "rgb2": squeezenet}


def digests(store: Path, but: str) -> dict[str, str]:
    """SHA-256 of every file of the other streams."""
    files = (path for path in sorted(store.rglob("*.h5")) if path.parent.name != but)
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def kept(place: Path) -> dict[str, Any] | None:
    """What was measured before."""
    return json.loads(place.read_text()) if place.exists() else None


def keep(place: Path, values: dict[str, Any]) -> dict[str, Any]:
    """Write down what was measured."""
    with write_whole(place) as temporary:
        temporary.write_text(json.dumps(values, indent=1))
    return values


def grow(dataset: Dataset, streams: dict[str, Settings], store: Path, work: Path) -> dict[str, Any]:
    """Extract one stream after the other; gives seconds, CPU seconds and bytes of each."""
    costs = {}
    for name, settings in streams.items():
        place = work / f"extract-{name}.json"
        found = kept(place)
        if found is None:
            if (store / name).exists():  # of a run that was stopped: what is left of it would cost less than the whole
                drop(store, name)
            before, started, used = digests(store, name), time.perf_counter(), sum(os.times()[:4])
            extract(dataset, store, streams={name: settings})
            found = {"seconds": time.perf_counter() - started, "cpu": sum(os.times()[:4]) - used}
            found |= {"bytes": sum(path.stat().st_size for path in (store / name).iterdir())}
            found |= {"others as before": digests(store, name) == before}
            keep(place, found)
        costs[name] = found
    return costs


def measure(dataset: str, head: str, streams: Sequence[str], seed: int, work: Path) -> dict[str, float]:
    """Top-1 by output of a head's prediction on the test videos of all splits."""
    name = "-".join([head, *streams, str(seed)])
    found = kept(work / f"{name}.json")
    if found is not None:
        return found
    note(name)
    folds = 5 if head in PROBES and dataset == "jhmdb" else 0
    run = train_run(work / "store", head, streams=tuple(streams), split="all", folds=folds, seed=seed, out=work / name)
    outputs = {output: figures.get("top1_pooled", figures["top1"]) for output, figures in run.summary.items()}
    for members in SETS if head in PROBES else ():
        if folds:
            rows = fuse("awf", [run.folder], streams=members, out=work / f"{name}-{'-'.join(members)}").rows
            found = {row["name"]: row["top1"] for row in rows}
        else:
            found = {rule: untrained(rule, run, members) for rule in RULES if not rule_class(rule).trained}
        outputs |= {f"{rule} {' '.join(members)}": found[rule] for rule in RULES if rule in found}
    return keep(work / f"{name}.json", outputs)


def untrained(rule: str, run: RunResult, streams: Sequence[str]) -> float:
    """Top-1 of a rule that learns nothing, over the test videos of all splits of a run."""
    right = []
    for split in run.splits:
        scores = read_scores(score_path(split_folder(run.folder, split)))
        test = is_test(scores.fold)
        X = np.stack([scores.streams[stream][test] for stream in streams], axis=1)
        fuser = make_fuser(rule, kind=[scores.kind] * len(streams)).fit(X, scores.labels[test])
        right += (fuser.classes_[fuser.predict_proba(X).argmax(1)] == scores.labels[test]).tolist()
    return statistics.mean(right)


def spread(values: Sequence[float]) -> str:
    """Mean and standard deviation over seeds, in percent."""
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{100 * statistics.mean(values):.1f} ± {100 * deviation:.1f}"


def tables(name: str, dataset: Dataset, costs: dict[str, Any], measured: dict[str, list[dict[str, float]]]) -> str:
    """What was measured on one data set, in Markdown."""
    lines = [f"### {name}: {len(dataset.videos)} videos, {len(dataset.splits)} splits", ""]
    lines += ["| stream added | seconds | CPU seconds | MB | other streams' bytes |", "|---|---|---|---|---|"]
    for stream, cost in costs.items():
        same = "as before" if cost["others as before"] else "CHANGED"
        lines.append(f"| {stream} | {cost['seconds']:.0f} | {cost['cpu']:.0f} | {cost['bytes'] / 1e6:.2f} | {same} |")
    lines += ["", f"| streams | {' | '.join([*PROBES, *JOINT])} |", f"|{'---|' * (1 + len(PROBES) + len(JOINT))}"]
    for stream in costs:
        cells = [spread([run[stream] for run in measured[head]]) if head in measured else "" for head in PROBES]
        lines.append(f"| {stream} | {' | '.join(cells)} |{' |' * len(JOINT)}")
    for members in SETS:
        cells = []
        for head in PROBES:
            keys = {rule: f"{rule} {' '.join(members)}" for rule in RULES}
            shown = {rule: key for rule, key in keys.items() if head in measured and key in measured[head][0]}
            cells.append(", ".join(f"{r} {spread([run[key] for run in measured[head]])}" for r, key in shown.items()))
        for head in JOINT:
            together = measured.get(f"{head} {' '.join(members)}")
            cells.append(spread([run["fused"] for run in together]) if together else "")
        lines.append(f"| {' + '.join(members)} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def main() -> None:
    """Parse, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("benchmarks-work/streams"))
    parser.add_argument("--out", type=Path, default=Path("streams.md"))
    parser.add_argument("--datasets", default=",".join(DATASETS))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--heads", default=",".join([*PROBES, *JOINT]))
    chosen = parser.parse_args()
    seeds = [int(seed) for seed in chosen.seeds.split(",")]
    streams = streams_of(chosen.weights.resolve())
    text = [
        "Top-1 in percent, mean ± standard deviation over seeds "
        f"{chosen.seeds}; torch {torch.__version__}, {platform.machine()}, {os.cpu_count()} cores.",
        "",
    ]
    for name in chosen.datasets.split(","):
        work = chosen.work.resolve() / name
        work.mkdir(parents=True, exist_ok=True)
        dataset, store = index_dataset(DATASETS[name], chosen.data.resolve() / name), work / "store"
        costs = grow(dataset, streams, store, work)
        trained = {head: (head, tuple(streams)) for head in PROBES}
        trained |= {f"{head} {' '.join(members)}": (head, members) for head, sets in JOINT.items() for members in sets}
        chosen_heads = chosen.heads.split(",")
        for head in chosen_heads:
            check_known("head", head, (*PROBES, *JOINT))
        measured = {
            key: [measure(name, head, members, seed, work) for seed in seeds]
            for key, (head, members) in trained.items()
            if head in chosen_heads
        }
        text.append(tables(name, dataset, costs, measured))
    with write_whole(chosen.out) as temporary:
        temporary.write_text("\n".join(text), encoding="utf-8")
    print(chosen.out.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
