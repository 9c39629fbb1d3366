"""Recipes as data: one TOML file a table of a paper, found by file name.

title, paper, metric     what the table is
split                    "first" or "all": the splits the paper's figures are over
varies                   what its stores differ in ("segments", "backbone"), where they do
datasets                 data sets of the paper's table; those of the rows' figures are added
notes                    what a reader must know to compare
[stores.NAME]            what the rows read: the settings of `avr extract`; finetune: the paper trains these networks
                         too, with so many segments, this augmentation … (fields of `avr.finetune.Tuning`), and with
                         changes to STFN's settings, which are read where the paper's settings are; where networks that
                         a paper trains are frozen, its figures are in brackets
[training.DATASET.HEAD]  changes to the head's paper settings on one data set, or with "any" on all; read with
                         --settings paper alone
[[rows]]                 name: as the paper prints it; head, options, store (its section), streams (those to read; none:
                         all), layers (stream = layer, where it is not the head's default): one training;
                         start_from: "RECIPE:ROW", the paper trains head and networks on from those of that row, which
                         are trained on another data set; one for all rows of a store;
                         training: changes to its settings, the paper's and those for small data alike;
                         end_to_end: the paper trains head and networks together in the end;
                         output: whose accuracy counts (none: the head's prediction); or fuse, fuse_options: a rule on
                         its outputs, of (none: all but the prediction) and scores: outside files, by the names under
                         which --scores gives them; fit: what a rule learns from, "out-of-fold" scores of the training
                         videos or those of the head that was trained on them ("training"); features: what a rule that
                         reads features takes, the "store"'s, or the vectors that the "head" made of them;
                         measure: "top1", "top5", "average" of both, or "mean_class", mean accuracy of the classes;
                         figures: the paper's, in percent, by data set
"""

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from avr.core import UsageError, check_fields, check_known, options_of, read_value
from avr.extract import Settings, read_streams
from avr.finetune import Tuning
from avr.training import Training

from .tuned import Tuned

FOLDER = Path(__file__).parent
# The settings of an extraction that a paper fixes, under the names `avr extract` gives them, and what stands where a
# recipe leaves one out.
STORE_SETTINGS: dict[str, Any] = {
    "streams": ("rgb", "flow"),
    "backbone": "resnet50",
    "weights": "DEFAULT",
    "layers": ("pooled",),
    "plan": "segments",
    "segments": 7,
    "per_segment": 1,
    "views": 1,
    "clip_stride": 15,
    "stack": 10,
    "flow": "dis",
    "resize": 0,  # the weights' own
    "crop": 0,
}
# As published: how many videos, and of those that are split three ways, how many splits a paper's mean is over.
VIDEOS = {"hmdb51": 6766, "ucf101": 13320, "ucf11": 1600, "ucf-sports": 150, "kinetics": 260_000, "weizmann": 90}
VIDEOS |= {"shapes": 432, "kinetics-600": 500_000}
SPLITS = {"hmdb51": 3, "ucf101": 3}
CALLED = {"kinetics-600": "kinetics"}  # data set of a table -> the one that avr reads it as, under this --name
EVERY_DATASET = "any"  # of [training.any.HEAD]
Fit = Literal["out-of-fold", "training"]
Measure = Literal["top1", "top5", "average", "mean_class"]


@dataclass(frozen=True)
class StoreSpec:
    """What must be extracted for some rows.

    Attributes:
        name: of the section.
        settings: those the recipe names, as `avr extract` takes them.
        finetune: how the paper trains its networks; None: it does not, or does not say.
    """

    name: str
    settings: dict[str, Any]
    finetune: dict[str, Any] | None = None

    def __getitem__(self, setting: str) -> Any:
        return self.settings.get(setting, STORE_SETTINGS[setting])

    @property
    def streams(self) -> dict[str, str]:
        """The kind of each stream by its name: of entries "rgb" and "slow=flow"."""
        pairs = (entry.partition("=") for entry in self["streams"])
        return {name: kind or name for name, _, kind in pairs}

    @property
    def steps(self) -> int:
        """N of one view."""
        return int(self["segments"]) * int(self["per_segment"])

    def read(self) -> dict[str, Settings]:
        """Each stream's settings, as `avr extract` reads them."""
        given = {name: self[name] for name in STORE_SETTINGS if name not in ("streams", "layers")}
        layers = [f"{stream}={','.join(self.layers_of(stream))}" for stream in self.streams]
        return read_streams(self["streams"], {**given, "layers": layers})

    def changed(self, changes: Mapping[str, str]) -> "StoreSpec":
        """The section with other settings, told as texts by setting or by "setting@section".

        Raises:
            UsageError: no such setting or value.
        """
        known, settings = options_of(Settings), dict(self.settings)
        for place, text in sorted(changes.items(), key=lambda item: "@" in item[0]):  # a section's own last
            setting, _, section = place.partition("@")
            names = [name for name in STORE_SETTINGS if name not in ("streams", "layers")]
            check_known("setting of a store", setting, names)
            value = read_value(setting, text, known[setting].hint)
            if section in ("", self.name):
                settings[setting] = value
        return replace(self, settings=settings)

    def layers_of(self, stream: str) -> tuple[str, ...]:
        """Layers of one stream: entries such as "flow=conv4_2", for it alone, or else those such as "map", for all."""
        split = [entry.partition("=") for entry in self["layers"]]
        own = tuple(layer for name, mark, layer in split if mark and name == stream)
        return own or tuple(layer for layer, mark, _ in split if not mark)


@dataclass(frozen=True)
class Row:
    """One line of a table; the module's docstring says what each entry is."""

    name: str
    head: str
    options: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    end_to_end: bool = False
    start_from: str = ""
    store: str = "main"
    streams: tuple[str, ...] = ()
    layers: dict[str, str] = field(default_factory=dict)
    output: str = ""
    fuse: str = ""
    fuse_options: dict[str, Any] = field(default_factory=dict)
    of: tuple[str, ...] = ()
    scores: tuple[str, ...] = ()
    fit: Fit = "out-of-fold"
    features: Literal["store", "head"] = "store"
    measure: Measure = "top1"
    figures: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Recipe:
    """One table of a paper; the module's docstring says what each entry is. `datasets` are all of the paper's table."""

    name: str
    title: str
    paper: str
    metric: str
    split: Literal["first", "all"]
    rows: tuple[Row, ...]
    stores: dict[str, StoreSpec]
    varies: Literal["", "segments", "backbone"] = ""
    notes: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    training: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)

    def planned(self, dataset: str = "", videos: int = 0) -> dict[str, int]:
        """Data sets to plan for, and how many videos each has: one, those of the paper's table, or UCF101 without any.

        Raises:
            UsageError: the number of videos is not known, or below 0.
        """
        if videos < 0:
            raise UsageError(f"--videos must be at least 1, not {videos}")
        names = (dataset,) if dataset else self.datasets or ("ucf101",)
        for name in names:
            if not videos and name not in VIDEOS:
                close = difflib.get_close_matches(name, VIDEOS, n=1)
                hint = f" (did you mean {close[0]}?)" if close else ""
                raise UsageError(
                    f"the number of videos in {name} is not known here{hint}: give it with --videos; known of: "
                    f"{', '.join(VIDEOS)}"
                )
        return {name: videos or VIDEOS[name] for name in names}

    def paper_training(self, head: str, dataset: str) -> dict[str, Any]:
        """What the paper changes of a head's paper settings on a data set."""
        changes: dict[str, Any] = {}
        for name in (EVERY_DATASET, dataset):
            changes |= self.training.get(name, {}).get(head, {})
        return changes


def recipe_names() -> list[str]:
    """Names of the recipes: the TOML files of this folder."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def load_recipe(name: str) -> Recipe:
    """Read one recipe, by name or as a path to a TOML file of one's own.

    Raises:
        UsageError: no such recipe, or a file that is not one, with the entry at fault.
    """
    path = Path(name) if name.endswith(".toml") else FOLDER / f"{name}.toml"
    if not path.is_file():
        check_known("recipe", name, recipe_names())
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: no TOML: {error}") from None
    return _recipe(path.stem, table, path)


def _recipe(name: str, table: Mapping[str, Any], path: Path) -> Recipe:
    known = {f.name for f in fields(Recipe)} - {"name"}
    values = _entries(table, known, {"title", "paper", "metric", "split", "rows", "stores"}, str(path))
    for entry, kind in (("stores", dict), ("rows", list), ("datasets", list)):
        if not isinstance(table.get(entry, kind()), kind):
            raise UsageError(f"{path}: {entry} is no {'table' if kind is dict else 'list'}")
    stores = {key: _store(key, value, path) for key, value in table["stores"].items()}
    rows = tuple(_row(value, stores, path) for value in table["rows"])
    if len({row.name for row in rows}) < len(rows):
        raise UsageError(f"{path}: two rows of one name")
    for section in stores:
        if len({row.start_from for row in rows if row.store == section}) > 1:
            raise UsageError(f"{path}: stores.{section}: its rows differ in start_from, and its networks are one")
    datasets = dict.fromkeys([*table.get("datasets", ()), *(dataset for row in rows for dataset in row.figures)])
    recipe = Recipe(**values | {"name": name, "rows": rows, "stores": stores, "datasets": tuple(datasets)})
    check_fields(recipe, where=f"{path}: ")
    return recipe


def _store(name: str, table: Mapping[str, Any], path: Path) -> StoreSpec:
    where = f"{path}: stores.{name}"
    known = {*STORE_SETTINGS, "finetune"}
    settings = _entries(table, known, {"backbone", "streams", "layers"}, where)
    spec = StoreSpec(name, settings, settings.pop("finetune", None))
    if not isinstance(spec.finetune, dict | None):
        raise UsageError(f"{where}: finetune is no table")
    try:
        Tuned(Training(), Tuning()).change(spec.finetune or {})
    except UsageError as error:
        raise UsageError(f"{where}: finetune: {error}") from None
    for entry in ("streams", "layers"):
        if not isinstance(spec[entry], tuple):
            raise UsageError(f"{where}: {entry} is no list")
    for stream in spec.streams:
        if not spec.layers_of(stream):
            raise UsageError(f"{where}: no layer for stream {stream}")
    return spec


def _row(table: Mapping[str, Any], stores: Mapping[str, StoreSpec], path: Path) -> Row:
    where = f"{path}: row {table.get('name', '?') if isinstance(table, Mapping) else '?'}"
    row = Row(**_entries(table, {f.name for f in fields(Row)}, {"name", "head"}, where))
    check_fields(row, where=f"{where}: ")
    if row.store not in stores:
        raise UsageError(f"{where}: no section stores.{row.store}")
    if row.output and row.fuse:
        raise UsageError(f"{where}: output and fuse exclude one another")
    if row.start_from and not all(row.start_from.partition(":")):
        raise UsageError(f"{where}: start_from={row.start_from} is not possible; it takes RECIPE:ROW")
    return row


def _entries(table: Mapping[str, Any], known: set[str], required: set[str], where: str) -> dict[str, Any]:
    """A table's entries, lists as tuples; refused where it is none, or an entry is unknown or lacking."""
    if not isinstance(table, Mapping):
        raise UsageError(f"{where}: {table!r} is no table of entries")
    for key in table:
        check_known("entry", key, sorted(known), where=f"{where}: ")
    for key in sorted(required - set(table)):
        raise UsageError(f"{where}: lacks '{key}'")
    return {key: tuple(value) if isinstance(value, list) else value for key, value in table.items()}
