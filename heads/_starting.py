"""Starting a training from a trained run's weights, and holding parts of a head as they are."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from avr.core import UsageError, note, sha256_of
from avr.store import find_split, is_run, read_head_record

from ._base import Head
from ._trained import CHECKPOINT, load_checkpoint

STATISTICS = ("mean_", "scale_")  # what their names begin with


@dataclass(frozen=True)
class Start:
    """Where the weights of a run's trainings come from, and what of them stays.

    Attributes:
        folders: split -> the folder of a trained split; "" at those that start at random.
        own: whether they are of the data set that is trained on, so that they have seen its training videos.
        freeze: names of a head's parts, such as "learned" or "recurrent.rgb-gp", that do not learn.
        keep_statistics: whether channels are standardised by the statistics of the run that was started from.
    """

    folders: Mapping[str, str]
    own: bool
    freeze: tuple[str, ...]
    keep_statistics: bool

    @classmethod
    def of(
        cls, run: Path | None, *, dataset: str, splits: tuple[str, ...], freeze: tuple[str, ...], keep_statistics: bool
    ) -> "Start | None":
        """What was asked for; None where it is nothing.

        Of a run of the same data set each split starts from its own, which has the same training videos; of another one
        all start from the split that is named, or the first.

        Raises:
            UsageError: no such run or split, or one of the same data set whose test videos are others.
        """
        if run is None:
            if keep_statistics:
                raise UsageError("keep_statistics keeps those of a run that is started from: name it with start_from")
            return cls({}, False, freeze, False) if freeze else None
        record = read_head_record(run if is_run(run) else run.parent)
        own = record.dataset == dataset
        folders = {name: find_split(run, name if own and is_run(run) else None) for name in splits}
        for name, folder in folders.items():
            trained_on = folder.name.removeprefix("split-")
            if own and trained_on != name:
                raise UsageError(
                    f"start_from={folder}: it was trained on split {trained_on} of {dataset}, in which the test videos "
                    f"of split {name} may be training videos"
                )
        return cls({name: str(path.resolve()) for name, path in folders.items()}, own, freeze, keep_statistics)

    def identity(self, networks: Mapping[str, Any]) -> dict[str, Any]:
        """What makes it the same run: the checkpoints by what they hold."""
        files = {
            f"{split}/{name}": sha256_of(_checkpoint(folder, name))
            for split, folder in self.folders.items()
            for name in networks
        }
        return {"start": files, "freeze": list(self.freeze), "keep_statistics": self.keep_statistics}

    def look(self, outline: Mapping[str, Head]) -> None:
        """Say what is taken and what starts at random, from the first split.

        Raises:
            UsageError: nothing is in common, a part that no network has, or nothing that learns.
        """
        for split, folder in list(self.folders.items())[:1]:
            for name, head in outline.items():
                taken, fresh = self._common(head, split, name)
                of = f"{name}: " if name else ""
                left = f"; at random: {', '.join(fresh)}" if fresh else ""
                note(f"{of}{len(taken)} tensors start from {folder}{left}")
        for head in outline.values():
            freeze(head, self.freeze)

    def begin(self, head: Head, split: str, network: str) -> None:
        """Give a fresh head the weights, and freeze its parts."""
        if self.folders:
            taken, _ = self._common(head, split, network)
            head.load_state_dict(taken, strict=False)
            head.keeps_statistics = self.keep_statistics
        freeze(head, self.freeze)

    def _common(self, head: Head, split: str, network: str) -> tuple[dict[str, Tensor], list[str]]:
        """Tensors of equal name and shape, and the names of the head's that are not among them."""
        source, _ = load_checkpoint(_checkpoint(self.folders[split], network))
        theirs, fresh, taken = source.state_dict(), [], dict[str, Tensor]()
        for name, own in head.state_dict().items():
            if name.startswith(STATISTICS) and not self.keep_statistics:
                continue
            if name in theirs and theirs[name].shape == own.shape:
                taken[name] = theirs[name]
            else:
                fresh.append(name)
        if not {*taken} & {name for name, _ in head.named_parameters()}:
            raise UsageError(
                f"start_from={self.folders[split]}: nothing in it has the name and shape of a tensor of this head"
            )
        if self.keep_statistics and any(name.startswith(STATISTICS) for name in fresh):
            raise UsageError(f"keep_statistics: {self.folders[split]} has none for these streams and widths")
        return taken, fresh


def freeze(head: Head, names: tuple[str, ...]) -> None:
    """Hold parts of a head: their weights do not learn, and they work as when predicting.

    Raises:
        UsageError: no part of this name; nothing is left that learns.
    """
    weighed = {name.rpartition(".")[0] for name, _ in head.named_parameters()}
    parts = {name for name, _ in head.named_modules() if any(f"{one}.".startswith(f"{name}.") for one in weighed)}
    for name in names:
        if name not in parts:
            known = sorted(part for part in parts if part.count(".") < 2)
            raise UsageError(f"freeze={name}: the head's parts with weights are {', '.join(known)}")
        head.get_submodule(name).requires_grad_(False)
    head.frozen = names
    if not any(parameter.requires_grad for parameter in head.parameters()):
        raise UsageError(f"freeze={','.join(names)}: nothing is left that learns")


def _checkpoint(folder: str, network: str) -> Path:
    path = Path(folder) / network / CHECKPOINT
    if not path.is_file():
        kind = f"network of stream {network}" if network else "network of all streams"
        raise UsageError(f"start_from={folder}: it has no {kind}, which this head is")
    return path
