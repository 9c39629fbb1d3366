"""The fusion that is predicted with, and which run each of its sources is: told apart without guessing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from avr.core import UsageError
from avr.fusion import Fuser, about_scores, find_fusion, load_fuser
from avr.store import is_run, run_of

if TYPE_CHECKING:  # these load torch, and a fusion is opened before it
    from .pipelines import Opened, Outputs


@dataclass(frozen=True)
class Fusion:
    """A fitted rule and the runs that it reads.

    Attributes:
        fuser: the rule.
        split: whose heads it reads.
        sources: "file", the run's name, "stream" and "head" of each.
        runs: each once.
        run_of: of each source, the index of its run among them.
    """

    fuser: Fuser
    split: str
    sources: list[dict[str, str]]
    runs: list[Path]
    run_of: list[int]

    @classmethod
    def open(cls, fuse: Path, given: Sequence[Path], *, split: str) -> "Fusion":
        """Open what `avr fuse` wrote: a folder with a fusion.json (or that file), or with one a split.

        Another split than it was fitted on is refused: the rule has seen that one's test videos, or knows nothing of
        its heads. Runs that are not `given` are looked for beside it.
        """
        place = find_fusion(fuse, split)
        fuser = load_fuser(place)
        if not isinstance(fuser, Fuser):
            raise UsageError(f"{fuse}: a rule over features cannot be predicted with; fuse scores (svm, awf, …)")
        about = about_scores(fuser, place)
        fitted = str(about["split"])
        if fitted and split and split != fitted:
            raise UsageError(
                f"{place} was fitted on split {fitted}, not {split}: leave out --split, or fuse the scores of split "
                f"{split}"
            )
        runs, run_of_source = _match(place, about["sources"], given)
        return cls(fuser, split or fitted, list(about["sources"]), runs, run_of_source)

    def check(self, opened: "Sequence[Opened]") -> None:
        """Refuse runs of other heads or classes than those that were fused."""
        for source, index in zip(self.sources, self.run_of, strict=True):
            run = opened[index].trained
            head, found = source.get("head", ""), str(run.metadata["head"])
            if head and head != found:
                raise UsageError(
                    f"the fusion reads {source['file']}, a run of the head {head}, and {run.folder.parent} is one "
                    f"of {found}: name the run that was fused with --run"
                )
        if tuple(self.fuser.about_["class_names"]) != opened[0].trained.class_names:  # type: ignore[attr-defined]
            raise UsageError("the fusion was fitted on other classes than its runs have now")

    def probabilities(self, outputs: "Sequence[Outputs]") -> NDArray[np.float64]:
        """The rule's probabilities `(K,)` of one video, of the outputs of its runs."""
        rows = []
        for source, index in zip(self.sources, self.run_of, strict=True):
            if source["stream"] not in outputs[index]:
                given = f"{self.runs[index]} gives {', '.join(outputs[index])}, not {source['stream']}"
                raise UsageError(f"{given}: name the run that was fused with --run")
            rows.append(outputs[index][source["stream"]])
        fused: NDArray[np.float64] = self.fuser.predict_proba(np.stack(rows)[None])[0]
        return fused


def _match(fuse: Path, sources: Sequence[Mapping[str, str]], given: Sequence[Path]) -> tuple[list[Path], list[int]]:
    """The runs of a fusion's sources, each once, and for each source the index of its run among them.

    A fusion knows its runs by their folders' names. A given path is the run of a name when it ends in it, or when the
    folder that it links to does. The only run given is taken where a fusion has one run, whatever its name.
    """
    pairs = [(source["file"], source["stream"]) for source in sources]
    twice = next((pair for pair in pairs if pairs.count(pair) > 1), None)
    if twice:
        raise UsageError(
            f"{fuse} reads the stream {twice[1]} of several runs named {twice[0]}, which cannot be told apart: give "
            "their folders names of their own and fuse again"
        )
    names = list(dict.fromkeys(name for name, _ in pairs))
    paths = [_run_named(name, given, fuse, only=len(names) == 1) for name in names]
    places, known = [path.resolve() for path in paths], ", ".join(names)
    shared = next((path for path in paths if places.count(path.resolve()) > 1), None)
    if shared is not None:
        raise UsageError(f"{shared} would be several of the runs that {fuse} reads ({known}): name each one")
    unread = next((path for path in given if path.resolve() not in places), None)
    if unread is not None:
        raise UsageError(f"{unread} is none of the runs that {fuse} reads ({known}): leave it out")
    return paths, [names.index(name) for name, _ in pairs]


def _run_named(name: str, given: Sequence[Path], fuse: Path, *, only: bool) -> Path:
    """A run among those given, else beside the fusion; `only`: the fusion reads no other."""
    matching = {path.resolve(): path for path in given if name in (path.name, path.resolve().name)}
    if len(matching) > 1:
        raise UsageError(
            f"{fuse} reads scores of {name}, which {' and '.join(map(str, matching.values()))} could both be: name one"
        )
    beside = run_of(fuse).parent / name
    found = next(iter(matching.values()), given[0] if only and len(given) == 1 else beside)
    if not is_run(found):
        raise UsageError(f"{fuse} reads scores of {name}, and there is no such run at {found}: name it with --run")
    return found
