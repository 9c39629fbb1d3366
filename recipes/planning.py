"""What a recipe needs extracted: the commands, and what they will cost in disk and time."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from avr.core import as_text
from avr.extract import Settings, load_networks
from avr.heads import build_head, head_class, store_bytes

from .folder import store_slug
from .reading import CALLED, Recipe, StoreSpec


@dataclass(frozen=True)
class Pace:
    """What a machine does.

    Attributes:
        flow_seconds: method -> seconds of one pair of 320×240.
        gflops: 10⁹ operations a second in a convolution.
        step_seconds: of a step of a head that has next to nothing to compute, by its tensors of weights.
    """

    flow_seconds: Mapping[str, float]
    gflops: float
    step_seconds: float = 0.0


@dataclass(frozen=True)
class Extraction:
    """One store that rows of a recipe need, on one data set.

    Attributes:
        section: name in the recipe.
        rows: names of the rows that read it.
        dataset: name.
        command: what to type.
        videos: how many.
        shapes: "stream/layer" -> shape of one view.
        views: of a video; with plan clips the most.
        gigabytes: 10⁹ bytes on disk, at most.
        hours: at most; flow and networks alone, which set the pace.
    """

    section: str
    rows: tuple[str, ...]
    dataset: str
    command: str
    videos: int
    shapes: dict[str, tuple[int, ...]]
    views: int
    gigabytes: float
    hours: float


def plan_recipe(recipe: Recipe, *, pace: Pace, dataset: str = "", videos: int = 0) -> list[Extraction]:
    """The extractions a recipe needs.

    Args:
        recipe: from load_recipe.
        pace: of the machine that will extract.
        dataset: one data set; "" plans those of the paper's table, or UCF101 where the recipe has none.
        videos: how many, for a data set whose number is not known here; 0 takes the number as published.

    Raises:
        UsageError: the number of videos is not known, or below 0.
    """
    plans = []
    for name, count in recipe.planned(dataset, videos).items():
        for spec in recipe.stores.values():
            rows = tuple(row.name for row in recipe.rows if row.store == spec.name)
            shapes, views = view_shapes(spec.read()), int(spec["views"])
            size = store_bytes(shapes, videos=count, views=views) / 1e9
            hours = seconds_a_video(spec, pace) * count / 3600
            plans.append(
                Extraction(spec.name, rows, name, extract_command(spec, name), count, shapes, views, size, hours)
            )
    return plans


def look(settings: Settings) -> tuple[float, dict[str, tuple[int, ...]]]:
    """10⁹ operations of a stream's network on one frame, stack or clip, and the shape of one view of each layer."""
    operations, shapes = _look(settings.change(segments=1, per_segment=1, views=1))
    return operations, {name: (settings.num_steps, *shape[1:]) for name, shape in shapes.items()}


@cache
def _look(settings: Settings) -> tuple[float, dict[str, tuple[int, ...]]]:
    """The same of one step. Nothing is computed, and the network has no memory."""
    with torch.device("meta"):
        networks = load_networks({settings.kind: settings.change(weights="random")})
    with FlopCounterMode(display=False) as counter:
        (shapes,) = networks.shapes.values()
    named = {name.partition("/")[2]: shape for name, shape in shapes.items()}
    return counter.get_total_flops() / 1e9, named


def head_work(
    head: str, options: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], classes: int
) -> tuple[float, int]:
    """10⁹ operations of a head, of all its networks, on one view of a video, and how many tensors of weights they have.
    Nothing is computed."""
    made, tensors = head_class(head), 0
    told = {**options, **dict.fromkeys(made.starting, "random")}
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        for group in [dict(shapes)] if made.joint else [{stream: shape} for stream, shape in shapes.items()]:
            built = build_head(head, group, classes, options=told).eval()
            built({stream: torch.empty(1, *shape) for stream, shape in group.items()})
            tensors += len(list(built.parameters()))
    return float(counter.get_total_flops()) / 1e9, tensors


def view_shapes(streams: Mapping[str, Settings]) -> dict[str, tuple[int, ...]]:
    """Shape of one view by "stream/layer", `(N, D)` or `(N, C, H, W)`."""
    return {f"{s}/{layer}": look(own)[1][layer] for s, own in streams.items() for layer in own.layers}


def seconds_a_video(spec: StoreSpec, pace: Pace) -> float:
    """Seconds to extract one video: its flow pairs and its forward passes, at most (views may share frames)."""
    frames, seconds = spec.steps * int(spec["views"]), 0.0
    for settings in spec.read().values():
        seconds += frames * look(settings)[0] / pace.gflops
        if settings.kind == "flow":
            seconds += frames * int(spec["stack"]) * pace.flow_seconds[settings.flow]
    return seconds


def extract_command(spec: StoreSpec, dataset: str) -> str:
    """The `avr extract` command that writes the store, into a folder of its own."""
    named = ["--name", dataset] if dataset in CALLED else []
    words = ["avr", "extract", "--dataset", CALLED.get(dataset, dataset), *named]
    return shlex.join([*words, *store_words(spec), "--out", f"features/{dataset}-{store_slug(spec)}"])


def store_words(spec: StoreSpec) -> list[str]:
    """The settings of a section as options of `avr extract`."""
    words: list[str] = []
    for name, value in spec.settings.items():
        option = "--stream" if name == "streams" else f"--{name.replace('_', '-')}"
        if name == "layers" and any("=" in entry for entry in value):  # each stream's own
            for stream in spec.streams:
                words += [option, f"{stream}={','.join(spec.layers_of(stream))}"]
        else:
            words += [option, as_text(value)]
    return words
