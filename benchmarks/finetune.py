"""Frozen backbones, fine-tuned ones, end-to-end training: accuracy on one data set, over splits and seeds.

    python benchmarks/finetune.py weizmann --root ../shared/data/weizmann \
        --weights ../shared/data/weights/squeezenet1_1.pth --splits 3
    python benchmarks/finetune.py jhmdb --root ../shared/data/jhmdb \
        --weights ../shared/data/weights/mobilenet_v2_features.pth --seeds 0,1
    python benchmarks/finetune.py shapes

For each split: `linear` and a joint head on a store of the frozen backbones; rgb and flow backbones fine-tuned on the
split's training videos alone, a store of that split, both heads on it; the joint one trained end to end from there.
Prints one JSON object a split and seed as it is done, and a table at the end: mean over splits and seeds, with the
standard deviation over seeds of the pooled accuracy. Finished parts are kept in --out and not made again.
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from avr.core import quiet
from avr.datasets import Dataset, Split, index_dataset
from avr.extract import ClipCache, Running, extract, load_networks, read_streams
from avr.finetune import BACKBONE, END_TO_END, Tuning, finetune_backbone, finetune_end_to_end
from avr.heads import train_run

PRESETS: dict[str, dict[str, Any]] = {
    "weizmann": {
        # As `heads_real.py` has it, and why: flow at three times the frames' size, mirrored views.
        "settings": {
            "backbone": "squeezenet1_1",
            "stack": 10,
            "resize": 144,
            "crop": 144,
            "flow_size": 432,
            "segments": 8,
            "views": 2,
            "mirror": True,
        },
        # SqueezeNet has no batch norm: at twice this rate, or with gradients that are not clipped, the first steps hurt
        # its trunk, and the training loss falls less in as many epochs.
        "backbone": {"epochs": 16, "batch_size": 8, "lr": 1e-4, "clip_norm": 1.0},
        "tuning": {"new_factor": 20, "dropout": 0.2},
        "segments": 3,
        "heads": ("linear", "stfn"),
        "end_to_end": {"epochs": 4, "batch_size": 8, "lr": 3e-5, "clip_norm": 1.0},
    },
    # The defaults of `avr finetune`, on clips of three segments: nothing was tried.
    "jhmdb": {
        "settings": {
            "backbone": "mobilenet_v2",
            "stack": 5,
            "resize": 144,
            "crop": 128,
            "segments": 7,
            "views": 2,
            "mirror": True,
        },
        "backbone": {},
        "tuning": {"dropout": 0.2, "batch_norm": "partial"},
        "segments": 3,
        "heads": ("linear", "statistics-pooling"),
        "end_to_end": {"epochs": 2, "lr": 3e-5},
    },
    "shapes": {
        "settings": {"backbone": "resnet18", "stack": 5, "resize": 96, "crop": 84, "segments": 7},
        "backbone": {"epochs": 8, "batch_size": 16, "lr": 1e-3},
        "tuning": {"new_factor": 1},
        "segments": 1,
        "heads": ("linear", "stfn"),
        "end_to_end": {"epochs": 2, "batch_size": 16, "lr": 3e-5},
    },
}


def only_split(dataset: Dataset, name: str) -> Dataset:
    """The data set with one split: a store of backbones tuned on it must not be trained on for another."""
    split = dataset.splits[name]
    return replace(dataset, splits={name: Split(name, split.train, split.test)})


def train_heads(heads: tuple[str, ...], store: Path, out: Path, split: str, seed: int) -> dict[str, float]:
    """Top-1 of some heads by output on one split."""
    found = {}
    for head in heads:
        folder = out / f"{head}-{split}-{seed}"
        run = train_run(store, head, split=split, folds=0, seed=seed, out=folder, device="cpu")
        found |= {f"{head} {name}": scores["top1"] for name, scores in run.splits[split].results.items()}
    return found


def one(dataset: Dataset, preset: dict[str, Any], weights: str, split: str, seed: int, out: Path) -> dict[str, Any]:
    """All three ways on one split with one seed."""
    base = read_streams(["rgb", "flow"], {"weights": weights, **preset["settings"]})
    # Decoded and its flow computed once, for all extractions and trainings.
    ClipCache(out / "cache", load_networks(base, cuda=False).settings).build(dataset.videos)
    running = Running(device="cpu", cache=str(out / "cache"))
    seconds: dict[str, float] = {}
    started = time.monotonic()
    extract(dataset, out / "frozen", streams=base, running=running)
    row: dict[str, Any] = {"split": split, "seed": seed, "test videos": len(dataset.splits[split].test)}
    heads, joint = preset["heads"], preset["heads"][-1]
    row["frozen"] = train_heads(heads, out / "frozen", out / "frozen-runs", split, seed)
    seconds["frozen"] = time.monotonic() - started
    tuned = {}
    for stream, settings in base.items():
        started = time.monotonic()
        result = finetune_backbone(
            dataset,
            stream=stream,
            settings=settings.change(segments=preset["segments"], views=1, mirror=False),
            training=replace(BACKBONE, **preset["backbone"]),
            tuning=Tuning(**preset["tuning"]),
            split=split,
            seed=seed,
            out=out / f"backbone-{stream}-{split}-{seed}",
            cache=out / "cache",
            device="cpu",
        )
        assert result is not None
        tuned[stream] = result
        seconds[f"fine-tune {stream}"] = sum(epoch["seconds"] for epoch in result.history)
        row[f"own classifier {stream}"] = result.accuracy["top1"]
    store = out / f"tuned-{split}-{seed}"
    streams = {stream: base[stream].change(weights=str(result.weights)) for stream, result in tuned.items()}
    extract(only_split(dataset, split), store, streams=streams, running=running)
    row["fine-tuned"] = train_heads(heads, store, out / "tuned-runs", split, seed)
    started = time.monotonic()
    together = finetune_end_to_end(
        out / "tuned-runs" / f"{joint}-{split}-{seed}",
        training=replace(END_TO_END, **preset["end_to_end"]),
        seed=seed,
        out=out / f"end-to-end-{split}-{seed}",
        cache=out / "cache",
        device="cpu",
    )
    assert together is not None
    row["end to end"] = {f"{joint} {name}": scores["top1"] for name, scores in together.results[split].items()}
    row["end to end, start"] = {f"{joint} {name}": scores["top1"] for name, scores in together.before[split].items()}
    seconds["end to end"] = sum(epoch["seconds"] for epoch in together.history[split])
    row["seconds"] = {name: round(value, 1) for name, value in seconds.items()}
    return row


def table(rows: list[dict[str, Any]]) -> str:
    """Pooled accuracy by way and output: mean over seeds, and standard deviation over seeds where there are some."""
    lines = [
        "| way | output | accuracy, splits pooled | spread over seeds | splits | seeds |",
        "|---|---|---|---|---|---|",
    ]
    for way in ("frozen", "fine-tuned", "end to end"):
        for output in rows[0][way]:
            pooled = []
            for seed in sorted({row["seed"] for row in rows}):
                own = [row for row in rows if row["seed"] == seed]
                counts = np.array([row["test videos"] for row in own])
                pooled.append(float(np.array([row[way][output] for row in own]) @ counts / counts.sum()))
            spread = f"{100 * np.std(pooled, ddof=1):.1f}" if len(pooled) > 1 else "–"
            splits = len({row["split"] for row in rows})
            lines.append(f"| {way} | {output} | {100 * np.mean(pooled):.1f} % | {spread} | {splits} | {len(pooled)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", choices=sorted(PRESETS))
    parser.add_argument("--root", type=Path)
    parser.add_argument("--weights", default="random")
    parser.add_argument("--splits", type=int, default=1, help="how many, from the first")
    parser.add_argument("--seeds", default="0", help="several with commas")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("bench-finetune"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    known, called = ("hmdb51", "jhmdb") if options.dataset == "jhmdb" else (options.dataset, None)
    dataset = index_dataset(known, options.root, called=called)
    out = options.out / options.dataset
    rows = []
    with quiet():
        for seed in map(int, options.seeds.split(",")):
            for split in list(dataset.splits)[: options.splits]:
                rows.append(one(dataset, PRESETS[options.dataset], options.weights, split, seed, out))
                print(json.dumps(rows[-1]), flush=True)
    print(table(rows))


if __name__ == "__main__":
    main()
