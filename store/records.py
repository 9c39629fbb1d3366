"""A run's record, typed. Every one that avr has written reads; which kind an old one is shows in what it holds."""

import platform
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np

import avr
from avr.core import as_json, check_name, differences

Kind = Literal["head", "backbone", "end-to-end", "fuse"]
KINDS: dict[Kind, str] = {
    "head": "a head's run",
    "backbone": "a fine-tuned backbone",
    "end-to-end": "a run fine-tuned end to end",
    "fuse": "a fusion",
}
Figures = dict[str, dict[str, float]]  # output -> top-1, top-5, mean class accuracy, as shares
FACTS = ("head", "options", "training", "layers", "seed")


@dataclass(frozen=True)
class SplitRecord:
    """What is kept of one finished split.

    Attributes:
        results: of the test videos.
        folds: of its out-of-fold scores; 0 where it has none.
        seconds: the training took.
        before: results of the run that a fine-tuning started from.
        history: of a fine-tuning, one row an epoch.
        losses: of a backbone's fine-tuning, one a step.
        store: path of the fresh store that a fine-tuning wrote; "" without.
        unfinished: its networks and their results are there, its folds are not.
    """

    results: Figures
    folds: int = 0
    seconds: float = 0.0
    before: Figures = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    store: str = ""
    unfinished: bool = False


def mean_figures(splits: Mapping[str, SplitRecord]) -> Figures:
    """The mean over splits of the figures of each output that all of them have: an older avr's had fewer."""
    results = [split.results for split in splits.values()]
    return {
        output: {figure: float(np.mean([found[output][figure] for found in results])) for figure in figures}
        for output, figures in results[0].items()
        if all(output in found for found in results)
    }


@dataclass(frozen=True)
class RunRecord:
    """What a run is and how far it has come.

    Attributes:
        kind: what made it.
        identity: what beside head, options, training, layers and seed makes it the same run, as JSON can hold it: it
            goes on with the same alone. "splits" (or "split") names those that it is to have.
        head: registry name; of a fusion "fuse-<rule>".
        options: of the head or the rule.
        training: settings, by the names of `avr.training.Training`.
        layers: stream -> layer that was read.
        seed: of weights, order, folds.
        store: of the features: path, digest, dataset, settings; "lacking" says what it lacked, if anything.
        splits: those that are there, by name, in the order of those that it is to have.
        summary: output -> figures over all splits.
        complete: whether every split is finished, and the store was whole.
        written: when the last split was, in UTC; "" in older records.
        versions: of what wrote it.
        command: that began it, as a shell takes it; "" of a run begun from Python, and in older records.
    """

    kind: Kind
    identity: dict[str, Any] = field(default_factory=dict)
    head: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    layers: dict[str, str] = field(default_factory=dict)
    seed: int = 0
    store: dict[str, Any] = field(default_factory=dict)
    splits: dict[str, SplitRecord] = field(default_factory=dict)
    summary: Figures = field(default_factory=dict)
    complete: bool = False
    written: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    command: str = ""

    @property
    def dataset(self) -> str:
        """Name of the data set; "" where the record does not say it."""
        return str(self.store.get("dataset") or self.identity.get("dataset", ""))

    @property
    def wanted(self) -> tuple[str, ...]:
        """Names of the splits that the run is to have; empty where an older record does not say them."""
        one = self.identity.get("split")
        return tuple(self.identity.get("splits", [one] if one else []))

    @property
    def finished(self) -> bool:
        """Whether every split that it is to have is finished."""
        there = {name for name, split in self.splits.items() if not split.unfinished}
        return self.complete or (bool(self.wanted) and there >= {*self.wanted, *self.splits})

    @property
    def lacking(self) -> str:
        """What the store lacked that it was made of: "3 of 12 shards"; "" where it was whole."""
        return str(self.store.get("lacking", ""))

    def differences(self, now: "RunRecord") -> str:
        """Which settings of a run that would go on here are others, as one phrase; empty where none are.

        A setting that this record does not hold, since an older avr wrote it, counts as the same.
        """
        before, after = self._settings(), now._settings()
        return differences(before, {name: after[name] for name in before if name in after})

    def _settings(self) -> dict[str, Any]:
        facts = {name: getattr(self, name) for name in FACTS} if self.head else {}
        settings: dict[str, Any] = as_json(facts | self.identity)
        return settings

    def to_dict(self) -> dict[str, Any]:
        """For JSON; what is empty is left out, but for `splits`."""
        content = {name: value for name, value in vars(self).items() if value not in ("", {})}
        splits = {
            name: {
                key: value
                for key, value in vars(split).items()
                if (value not in ("", [], {}) and value is not False) or key == "results"
            }
            for name, split in self.splits.items()
        }
        return {**content, "splits": splits}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "RunRecord":
        """Of a run.json, of this version or one before.

        Raises:
            KeyError, TypeError, ValueError, AttributeError: it is none.
        """
        content = content if "kind" in content else _of_before(content)
        if content["kind"] not in KINDS:
            raise ValueError(f"unknown kind {content['kind']!r}")
        known = {entry.name: content[entry.name] for entry in fields(cls) if entry.name in content}
        splits = {
            name: SplitRecord(**{entry.name: split[entry.name] for entry in fields(SplitRecord) if entry.name in split})
            for name, split in content.get("splits", {}).items()
        }
        record = cls(**{**known, "splits": splits})
        _check_types(record, cls("head"))
        for split in splits.values():
            _check_types(split, SplitRecord({}))
        told = [record.summary, *(figures for split in splits.values() for figures in (split.results, split.before))]
        if not all(isinstance(x, (int, float)) for one in told for figures in one.values() for x in figures.values()):
            raise TypeError("figures that are no numbers")
        if not isinstance(record.identity.get("splits", []), list):
            raise TypeError(f"splits is {record.identity['splits']!r}")
        for name in (*record.wanted, *splits):  # they become folders, to be written and removed
            check_name("split", "_" if name == "" else name)  # scores may have a split without a name
        return record


def versions() -> dict[str, str]:
    """Of avr, Python, and torch where it is loaded."""
    torch = sys.modules.get("torch")
    own = {"avr": avr.__version__, "torch": torch.__version__} if torch else {"avr": avr.__version__}
    return {**own, "python": platform.python_version()}


def command_line() -> str:
    """The command of avr that this process runs, as a shell takes it; "" where something else uses avr."""
    program = Path(sys.argv[0])
    own = program.stem == "avr" or program.parent == Path(avr.__file__).parent  # `python -m avr`
    return shlex.join(["avr", *sys.argv[1:]]) if own else ""


def _check_types(record: RunRecord | SplitRecord, plain: RunRecord | SplitRecord) -> None:
    """Refuse fields that are of other types than in a plain record of the kind; a whole number is a float too."""
    for entry in fields(record):
        value, known = getattr(record, entry.name), type(getattr(plain, entry.name))
        if not isinstance(value, (float, int) if known is float else known):
            raise TypeError(f"{entry.name} is {value!r}")


def _of_before(content: Mapping[str, Any]) -> dict[str, Any]:
    """A record without a kind, as avr wrote them before its first release, in today's form."""
    identity = content.get("identity")
    if identity is None:  # of `avr heads train`
        known = {"streams": list(content["layers"]), "digest": content["store"]["digest"]}
        return {**content, "kind": "head", "identity": known}
    if "extraction" not in identity:
        return {**content, "kind": "end-to-end"}
    finished = {}
    if content["complete"]:
        results = {identity["extraction"]["streams"][0]: content["results"]} if content["results"] else {}
        own = {"results": results, "history": content["history"], "losses": content["losses"]}
        finished = {"splits": {identity["split"]: own}}
    return {"identity": identity, "complete": content["complete"], "kind": "backbone", "head": "", **finished}
