"""What an end-to-end run keeps of its splits, and the papers' settings of one."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avr.heads import Training, head_class
from avr.store import SplitRecord, read_record, record_split

from .backbone import PAPER as BACKBONE_PAPER


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
    """The paper's end-to-end settings of a head; the two-stream ConvNet's where it has none of its own."""
    return head_class(head).end_to_end or BACKBONE_PAPER


def enter_split(folder: Path, name: str, split: SplitRecord) -> None:
    """Enter a split in the run's record, with the mean over those that are there."""
    splits = {**read_record(folder).splits, name: split}
    summary = {
        output: {
            figure: float(np.mean([split.results[output][figure] for split in splits.values()]))
            for figure in split.results[output]
        }
        for output in split.results
    }
    record_split(folder, name, split, summary=summary)


def read_end_to_end(folder: Path) -> EndToEndResult:
    """The result of an end-to-end run, from its folder."""
    splits = read_record(folder).splits
    return EndToEndResult(
        folder,
        results={name: split.results for name, split in splits.items()},
        before={name: split.before for name, split in splits.items()},
        history={name: split.history for name, split in splits.items()},
        stores={name: split.store for name, split in splits.items() if split.store},
    )
