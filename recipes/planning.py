"""What a recipe needs extracted: the commands, and what they will cost in disk and time."""

import hashlib
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from avr.core import UsageError
from avr.heads import store_bytes

from .reading import STORE_SETTINGS, Recipe, StoreSpec

# Videos of the data sets as published; of others their own count must be given.
VIDEOS = {"hmdb51": 6766, "ucf101": 13320, "ucf11": 1600, "ucf-sports": 150, "kinetics": 260_000, "weizmann": 90}
VIDEOS |= {"shapes": 432}
# Backbone -> 10⁹ multiplications and additions of a forward pass (torchvision counts its weights; doubled here), side
# of the square that the weights were trained on, and shape of one step of a layer, of a frame of that size.
NETWORKS: dict[str, tuple[float, int, dict[str, tuple[int, ...]]]] = {
    "resnet34": (7.3, 224, {"pooled": (512,), "map": (512, 7, 7)}),
    "resnet50": (8.2, 224, {"pooled": (2048,), "map": (2048, 7, 7)}),
    "resnet101": (15.6, 224, {"pooled": (2048,), "map": (2048, 7, 7)}),
    "inception_v3": (11.4, 299, {"pooled": (2048,)}),
    "vgg16": (31.0, 224, {"pooled": (512,), "map": (512, 7, 7), "conv5_3": (512, 14, 14), "conv4_2": (512, 28, 28)}),
    "vgg19": (39.3, 224, {"pooled": (512,)}),
}


@dataclass(frozen=True)
class Pace:
    """What a machine does.

    Attributes:
        flow_seconds: method -> seconds of one pair of 320×240.
        gflops: 10⁹ operations a second in a convolution.
    """

    flow_seconds: Mapping[str, float]
    gflops: float


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
    if videos < 0:
        raise UsageError(f"--videos must be at least 1, not {videos}")
    names = (dataset,) if dataset else recipe.datasets or ("ucf101",)
    plans = []
    for name in names:
        count = videos or VIDEOS.get(name, 0)
        if not count:
            raise UsageError(f"the number of videos in {name} is not known here: give it with --videos")
        for spec in recipe.stores.values():
            rows = tuple(row.name for row in recipe.rows if row.store == spec.name)
            shapes, views = view_shapes(spec), int(spec["views"])
            size = store_bytes(shapes, videos=count, views=views) / 1e9
            hours = seconds_a_video(spec, pace) * count / 3600
            plans.append(
                Extraction(spec.name, rows, name, extract_command(spec, name), count, shapes, views, size, hours)
            )
    return plans


def view_shapes(spec: StoreSpec) -> dict[str, tuple[int, ...]]:
    """Shape of one view by "stream/layer", `(N, D)` or `(N, C, H, W)`.

    Raises:
        UsageError: a layer whose shape is not known here.
    """
    _, own, known = NETWORKS.get(spec["backbone"], (0.0, 0, {}))
    shapes: dict[str, tuple[int, ...]] = {}
    for stream in spec.streams:
        for layer in spec.layers_of(stream):
            if layer not in known or (layer != "pooled" and spec["crop"] not in (0, own)):  # maps grow with the frame
                raise UsageError(f"the shape of {layer} of {spec['backbone']} is not known here")
            shapes[f"{stream}/{layer}"] = (spec.steps, *known[layer])
    return shapes


def extract_command(spec: StoreSpec, dataset: str) -> str:
    """The `avr extract` command that writes the store, into a folder of its own."""
    words = ["avr", "extract", "--dataset", dataset]
    for name, value in spec.settings.items():
        option = "--stream" if name == "streams" else f"--{name.replace('_', '-')}"
        if name == "layers" and any("=" in entry for entry in value):  # each stream's own
            for stream in spec.streams:
                words += [option, f"{stream}={','.join(spec.layers_of(stream))}"]
        else:
            words += [option, ",".join(value) if isinstance(value, tuple) else str(value)]
    return shlex.join([*words, "--out", f"features/{dataset}-{store_slug(spec)}"])


def store_slug(spec: StoreSpec) -> str:
    """A folder name that two sections share only when their settings are equal, left out or named."""
    layers = "-".join(layer.replace("=", "-").replace("_", "") for layer in spec["layers"])
    parts = [spec["backbone"].replace("_", ""), layers, f"{spec['plan']}{spec['segments']}"]
    if spec["streams"] != STORE_SETTINGS["streams"]:
        parts += [entry.replace("=", "-") for entry in spec["streams"]]
    named = ("backbone", "layers", "plan", "segments", "streams")
    for setting, usual in STORE_SETTINGS.items():
        if setting not in named and spec[setting] != usual:
            label = "" if setting == "flow" else setting.replace("_", "")
            parts.append(label + _file_word(spec[setting]))
    return "-".join(parts)


def _file_word(value: object) -> str:
    """A value as it can stand in a file name; a digest of one that cannot, such as a path."""
    text = str(value)
    return text if re.fullmatch(r"[A-Za-z0-9]+", text) else hashlib.sha256(text.encode()).hexdigest()[:6]


def seconds_a_video(spec: StoreSpec, pace: Pace) -> float:
    """Seconds to extract one video: its flow pairs and its forward passes, at most (views may share frames)."""
    frames = spec.steps * int(spec["views"])
    pairs = frames * int(spec["stack"]) * list(spec.streams.values()).count("flow")
    passes = frames * len(spec.streams)
    work, own, _ = NETWORKS[spec["backbone"]]
    work *= ((spec["crop"] or own) / own) ** 2
    return pairs * pace.flow_seconds[spec["flow"]] + passes * work / pace.gflops
