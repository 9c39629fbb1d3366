"""`train_run`: train a head on a store's splits and write the run folder (`avr.store.runs` says what lies where).

    split-1/checkpoint.safetensors, log.csv, scores.h5        a joint head
    split-1/rgb/checkpoint.safetensors, log.csv               one network a stream …
    split-1/scores.h5                                         … and the scores of all

A split's folder appears when it is complete; an interrupted run keeps the splits that are finished, and the same
command goes on after them.
"""

import dataclasses
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from avr.core import UsageError, check_known, measure, note
from avr.store import (
    RUNS,
    FeatureStore,
    Figures,
    RunRecord,
    SplitRecord,
    claim_run,
    mean_figures,
    read_record,
    record_split,
)
from avr.training import Training, choose_device, read_training

from ._base import Head, head_class, head_options
from ._examples import open_examples
from ._split import Plan, parts_of, read_test_scores, shapes_of, train_split

APPEARANCE = "rgb"  # the kind of stream that heads read first: what fuses others into it takes it for its main one


@dataclass(frozen=True)
class RunResult:
    """What a run wrote and how well its heads do.

    Attributes:
        folder: the run's folder.
        layers: stream -> layer that was read.
        splits: what is kept of each by name, in the order trained: `results` of the test videos, `folds`, `seconds`.
        summary: output -> top-1, top-5, mean class accuracy: the mean over splits; of several `top1_spread` too
            (standard deviation over splits, of n - 1), `top1_pooled` and `mean_class_pooled`, over the test videos of
            all splits together. Of single-stream heads on several streams, "average" is the mean of their
            probabilities: shown for comparison, and not kept in scores.h5, which fusers read.
    """

    folder: Path
    layers: dict[str, str]
    splits: dict[str, SplitRecord]
    summary: Figures


def train_run(  # noqa: PLR0913 (the stage's one entry: all it can be told, keyword-only)
    store: Path | str | Sequence[Path | str],
    head: str,
    *,
    streams: tuple[str, ...] = (),
    layers: Mapping[str, str] | None = None,
    split: str | tuple[str, ...] = "",
    options: Mapping[str, object] | None = None,
    training: Training | Mapping[str, object] | None = None,
    paper: bool = False,
    folds: int | None = None,
    seed: int = 0,
    out: Path | None = None,
    device: str = "auto",
    memory_gb: float | None = None,
) -> RunResult:
    """Train a head on one or more splits of a store; write checkpoints, logs and scores.

    Args:
        store: feature store, a folder or a packed file; or several of one data set, joined by video.
        head: registry name.
        streams: streams to read, in the head's order; empty is all of the store, those of kind rgb first.
        layers: stream -> layer, where it is not the head's default; "" stands for every stream.
        split: name, several names, "all", or "" for the first.
        options: of the head, values or texts.
        training: changes to the head's settings (values or texts), or whole settings.
        paper: start from the paper's settings instead of the command's defaults.
        folds: grouped folds for out-of-fold scores of the training videos; 0 writes none; None takes 5 where they cost
            less than a minute over all splits, judged by the time of the first split's training.
        seed: of weights, order, dropout, validation part and folds.
        out: the run's folder; one that holds this very run is gone on with. None: the newest unfinished run of the same
            settings under `runs/`, else the next `runs/<head>-<dataset>-<k>`.
        device: "auto" (CUDA when there is one), "cpu", "cuda", "cuda:1".
        memory_gb: largest size of features held in memory, in 10⁹ bytes; None is half of what is free. Larger ones
            stream from disk.

    Raises:
        UsageError: unknown head, option, setting, stream, layer or split; a folder that holds something else or another
            run, or that another process works in.
        WorkError: damaged features, or a loss that is no number.
    """
    made = head_class(head)
    if seed < 0 or (folds or 0) < 0:
        raise UsageError(f"seed and folds must be at least 0, not {min(seed, folds or 0)}")
    if not isinstance(training, Training):
        training = read_training(made.paper if paper else made.defaults, training or {})
    where = choose_device(device)
    with FeatureStore(store, streams=streams) as features:  # videos may lack what is not read
        chosen = choose_layers(features, made, streams=streams, layers=layers or {})
        names = choose_splits(features, split)
        plan = Plan(
            head, head_options(head, options or {}), training, chosen, folds, seed, _about(features, chosen), names
        )
        _try_heads(plan, features)
        identity = {"streams": list(chosen), "digest": features.digest, "folds": folds, "splits": list(names)}
        record = RunRecord(kind="head", identity=identity, layers=chosen, **plan.facts())
        with claim_run(out, RUNS / f"{head}-{features.dataset}", record) as folder:
            splits = _train_splits(plan, features, folder=folder, device=where, memory_gb=memory_gb)
            return RunResult(folder, chosen, splits, read_record(folder).summary)


def _about(store: FeatureStore, streams: Iterable[str]) -> dict[str, Any]:
    """What a run's record and checkpoints say of their store or stores: where they lay, how the streams were made.

    Runs of before have one "settings" of all streams in place of "streams", and no "paths".
    """
    paths = [str(place) for place in store.places]
    return {
        "path": paths[0],
        "paths": paths,
        "digest": store.digest,
        "dataset": store.dataset,
        "streams": {stream: store.settings(stream) for stream in streams},
    }


def _try_heads(plan: Plan, store: FeatureStore) -> None:
    """Build the heads without memory or values: what they refuse is told before anything is read."""
    for streams in plan.networks.values():
        with torch.device("meta"):
            plan.build(shapes_of(plan, store, streams), len(store.class_names))


def _train_splits(
    plan: Plan, store: FeatureStore, *, folder: Path, device: torch.device, memory_gb: float | None
) -> dict[str, SplitRecord]:
    """All splits; those that are not in the run's record are trained and entered there."""
    splits = dict(read_record(folder).splits)
    if set(splits) >= set(plan.splits):
        note(f"{folder} is finished already: nothing to do")
    else:
        parts = parts_of(plan, store, open_examples(store, plan.layers, device=device, memory_gb=memory_gb))
    for name in plan.splits:
        if name not in splits:
            splits[name] = train_split(plan, store, parts, split=name, run=folder)
            record_split(folder, name, splits[name], summary=_summarise(folder, splits))
        plan = dataclasses.replace(plan, folds=splits[plan.splits[0]].folds)  # settled by the first split
    return splits


def _summarise(folder: Path, splits: Mapping[str, SplitRecord]) -> Figures:
    """The figures over splits, as `RunResult` has them."""
    summary = mean_figures(splits)
    if len(splits) > 1 and summary:
        tests = [read_test_scores(folder, name) for name in splits]
        labels = np.concatenate([labels for _, labels in tests])
        for output, figures in summary.items():
            pooled = measure(np.concatenate([scores[output] for scores, _ in tests]), labels)
            figures["top1_spread"] = float(np.std([split.results[output]["top1"] for split in splits.values()], ddof=1))
            figures |= {f"{figure}_pooled": pooled[figure] for figure in ("top1", "mean_class")}
    return summary


def choose_layers(
    store: FeatureStore, made: type[Head], *, streams: tuple[str, ...], layers: Mapping[str, str]
) -> dict[str, str]:
    """Stream -> layer to read: the streams asked for, or all, appearance first; the layers asked for, or the head's.

    Raises:
        UsageError: the store lacks one.
    """
    wanted = streams or tuple(sorted(store.streams, key=lambda stream: store.kind(stream) != APPEARANCE))
    for stream in wanted:
        check_known("stream", stream, store.streams)
    for stream in layers:
        if stream:
            check_known("stream that is read", stream, wanted)
    asked = {stream: layers.get(stream) or layers.get("") for stream in wanted}
    own = {stream: made.reads.get(store.kind(stream)) or made.reads.get("*") or "pooled" for stream in wanted}
    chosen = {stream: asked[stream] or own[stream] for stream in wanted}
    lacking = {stream: layer for stream, layer in chosen.items() if layer not in store.layers(stream)}
    if not lacking:
        return chosen
    stream, layer = next(iter(lacking.items()))
    held = store.layers(stream)
    fit = [other for other in held if len(store.array(stream, other).shape) == 4 or not made.needs_maps]
    rest = [other for other in wanted if other not in lacking]
    ways = [f"choose {' or '.join(fit)} with --layer {stream}=…"] if fit else []
    if len(rest) >= made.streams_min:
        ways.append(f"read --stream {','.join(rest)} alone")
    ways.append(_extraction(store, chosen, lacking, own=own, fits=bool(fit)))
    raise UsageError(f"the store has no {stream}/{layer}; of {stream} it holds {', '.join(held)}: {', or '.join(ways)}")


def _extraction(
    store: FeatureStore, chosen: Mapping[str, str], lacking: Mapping[str, str], *, own: Mapping[str, str], fits: bool
) -> str:
    """The command that extracts what streams lack as streams of their own, and what then is read.

    VGG's convolutions are layers of no other backbone: of another one the map is proposed in their place, or VGG-16
    where the store holds a layer that `fits` already. Features from outside are not extracted but imported.
    """
    settings = {stream: store.settings(stream) for stream in lacking}
    if any(kept.get("kind") == "imported" for kept in settings.values()):
        return "import it: avr store import-features"
    vgg = all("vgg" in str(kept.get("backbone", "vgg")) for kept in settings.values())
    foreign = not vgg and any(re.fullmatch(r"conv\d_\d", layer) for layer in lacking.values())
    change = "--backbone vgg16 " if foreign and fits else ""
    if foreign and not fits:
        lacking = dict.fromkeys(lacking, "map")
    names = {stream: f"{stream}-{layer}".replace(".", "_") for stream, layer in lacking.items()}
    made = " ".join(f"--stream {names[stream]}={store.kind(stream)}" for stream in lacking)
    alike = len(set(lacking.values())) == 1
    layers = dict.fromkeys(layer if alike else f"{names[stream]}={layer}" for stream, layer in lacking.items())
    first = store.places[0]
    grows = len(store.places) == 1 and first.is_dir()
    out = first if grows else Path("features") / f"{store.dataset}-{next(iter(lacking.values()))}"
    read_as = {names.get(stream, stream): lacking.get(stream, layer) for stream, layer in chosen.items()}
    usual = {names.get(stream, stream): layer for stream, layer in own.items()}
    then = "".join(f" --layer {stream}={layer}" for stream, layer in read_as.items() if layer != usual[stream])
    then += "" if grows else f" --store {shlex.quote(str(out))}"
    read = ",".join(names.get(stream, stream) for stream in chosen)
    return (
        f"extract it: avr extract … {change}{made} --layers {' --layers '.join(layers)} --out {shlex.quote(str(out))}, "
        f"and read --stream {read}{then}"
    )


def choose_splits(store: FeatureStore, split: str | tuple[str, ...]) -> tuple[str, ...]:
    """Names of the splits asked for: the first for "", every one for "all".

    Raises:
        UsageError: no such split, or none in the store.
    """
    if not store.split_names:
        raise UsageError("the store has no splits: extract it from a data set with training and test parts")
    if split == "all":
        return tuple(store.split_names)
    wanted = ((split,) if split else (store.split_names[0],)) if isinstance(split, str) else tuple(split)
    for name in wanted:
        if name not in store.split_names:
            raise UsageError(f"the store has no split '{name}'; it holds {', '.join(store.split_names)}, or say all")
    return wanted
