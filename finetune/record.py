"""What an end-to-end run keeps in run.json, and the papers' settings of one."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from avr.heads import Training, head_class

from .backbone import PAPER as BACKBONE_PAPER
from .folders import read_record, write_record
from .parts import plain
from .pipeline import Pipeline


@dataclass(frozen=True)
class EndToEndResult:
    """A run fine-tuned end to end.

    Attributes:
        folder: the new run.
        results: split -> output -> top-1, top-5, mean class accuracy of the test videos.
        before: the same of the run it started from, measured in the same way.
        history: split -> one row an epoch.
        stores: split -> the fresh store, where one was asked for.
    """

    folder: Path
    results: dict[str, dict[str, dict[str, float]]]
    before: dict[str, dict[str, dict[str, float]]]
    history: dict[str, list[dict[str, float]]]
    stores: dict[str, str]


def paper_training(head: str) -> Training:
    """The paper's end-to-end settings of a head.

    stfn (sec. 4.2): as its two-stream ConvNets, SGD 1e-3. frame-attention and temporal-pyramid: from the first
    training's weights at 1e-6. attention-streams and coattention: trained as a whole in the paper, so the head's own.
    linear and consensus: the two-stream ConvNet's.
    """
    own = head_class(head).paper
    if head in ("frame-attention", "temporal-pyramid"):
        return replace(own, schedule="constant", lr=1e-6, epochs=own.second_epochs or own.epochs, second_epochs=0)
    # An epoch of fine-tuning draws one clip a video, where GLKA trains on all of them.
    return replace(own, views="one") if head in ("attention-streams", "coattention") else BACKBONE_PAPER


def record_split(
    folder: Path, about: Mapping[str, Any], opened: Pipeline, identity: Mapping[str, Any], name: str, written: Any
) -> None:
    """run.json after a split, with all that heads' readers look for."""
    before = read_record(folder)
    splits = {**before.get("splits", {}), name: written}
    outputs = next(iter(splits.values()))["results"]
    summary = {
        output: {
            figure: float(np.mean([split["results"][output][figure] for split in splits.values()]))
            for figure in outputs[output]
        }
        for output in outputs
    }
    record = {
        "head": about["head"],
        "options": about["options"],
        "training": identity["training"],
        "layers": opened.metadata["layers"],
        "seed": identity["seed"],
        "store": {"path": written["store"], "digest": "", "dataset": opened.dataset.name},
        "identity": plain(identity),
        "complete": len(splits) == len(identity["splits"]),
        "splits": splits,
        "summary": summary,
    }
    write_record(folder, record)


def read_end_to_end(folder: Path) -> EndToEndResult:
    """The result of an end-to-end run, from its folder."""
    splits = read_record(folder)["splits"]
    return EndToEndResult(
        folder,
        results={name: split["results"] for name, split in splits.items()},
        before={name: split["before"] for name, split in splits.items()},
        history={name: split["history"] for name, split in splits.items()},
        stores={name: split["store"] for name, split in splits.items() if split["store"]},
    )
