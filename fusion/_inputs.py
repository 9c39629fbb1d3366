"""Which score files a fusion takes, and one table of them: streams side by side, joined by video id, checked."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avr.core import UsageError, note
from avr.store import UNLABELLED, Scores, check_scores, lack_of_store, match_ids

from ._finding import by_split, find_scores


@dataclass(frozen=True, repr=False)
class Table:
    """Scores of several streams for the same M videos of one split.

    Attributes:
        X: (M, S, K) float64, logits or probabilities a stream.
        labels: (M,) int64; `UNLABELLED` where no file knows it. groups: (M,) str. ids: (M,) str.
        fold: (M,) int32: as in `Scores`.
        streams: S names, "linear/rgb" and the like.
        kinds: "logits" or "probabilities", one a stream.
        sources: one dict a stream: head, stream, file, which is its run's name, and path.
        lacking: what the stores of the scores lacked, "" where they were whole.
        read: "scores" or "stores" -> paths of all that were read, in their order; "" of scores that are no file.
    """

    X: NDArray
    labels: NDArray[np.int64]
    groups: NDArray
    ids: NDArray
    fold: NDArray[np.int32]
    streams: tuple[str, ...]
    kinds: tuple[str, ...]
    class_names: tuple[str, ...]
    split: str
    dataset: str
    sources: tuple[dict[str, Any], ...]
    lacking: str = ""
    read: Mapping[str, list[str]] = field(default_factory=dict)

    @property
    def about_store(self) -> dict[str, str]:
        """What a fusion says of the stores that its scores are of."""
        return {"dataset": self.dataset} | ({"lacking": self.lacking} if self.lacking else {})

    def __repr__(self) -> str:
        split = f", split {self.split}" if self.split else ""
        return f"Table({len(self.ids)} videos, {len(self.class_names)} classes, {', '.join(self.streams)}{split})"


def read_tables(
    scores: Sequence[Path | str] = (), *, split: str | None = None, streams: Sequence[str] | None = None
) -> list[Table]:
    """One table a split of the score files that are named, or of the newest run of each head under `runs/`.

    Args:
        scores: score files, run folders, folders of score files or of runs.
        split: one split's name; None: every split that all files have.
        streams: names to take ("flow", "linear/flow"); None: all but the heads' own fused ones.

    Raises:
        UsageError: nothing there, no split that all have, what `gather` refuses.
    """
    return [gather(files, streams=streams) for files in by_split(find_scores(scores), split).values()]


def gather(files: Sequence[tuple[str, Scores] | Path | str], *, streams: Sequence[str] | None = None) -> Table:
    """One table of the streams of several score files of one split.

    A head's own fused stream is left out, unless it is named in `streams` or is all there is.

    Args:
        files: (where it is from, scores) each, or paths of score files and folders of them; two files of one head get
            their source's name in the streams' names.
        streams: names to take ("flow", "linear/flow"); None: all.

    Raises:
        UsageError: streams with different classes or class order, labels that differ, videos that do not meet, an
            unknown stream, two of one name, scores of several splits.
    """
    paths = [file for file in files if not isinstance(file, tuple)]
    named = [file for file in files if isinstance(file, tuple)] + (find_scores(paths) if paths else [])
    if not named:
        raise UsageError("no score files: train a head first (`avr heads train linear`), or name score files")
    for _, scores in named:
        check_scores(scores)
    splits = list(dict.fromkeys(scores.split for _, scores in named))
    if len(splits) > 1:
        raise UsageError(f"scores of several splits ({', '.join(splits)}): gather those of one")
    check_classes(named)
    return side_by_side(named, choose_streams(named, streams))


def side_by_side(named: Sequence[tuple[str, Scores]], wanted: Sequence[tuple[int, str, str]]) -> Table:
    """The table of the streams that `choose_streams` found in these files."""
    joined = join(named)
    X = np.stack([named[index][1].streams[stream][joined[index]] for index, stream, _ in wanted], axis=1)
    first, rows = named[0][1], joined[0]
    return Table(
        X=X.astype(np.float64),
        labels=joined_labels(named, joined),
        groups=first.groups[rows],
        ids=first.ids[rows],
        fold=first.fold[rows],
        streams=tuple(name for *_, name in wanted),
        kinds=tuple(named[index][1].kind for index, *_ in wanted),
        class_names=first.class_names,
        split=first.split,
        dataset=first.dataset,
        sources=tuple(
            {"head": scores.head, "stream": stream, "file": where, "path": scores.path and os.path.abspath(scores.path)}
            for where, scores, stream in ((*named[index], stream) for index, stream, _ in wanted)
        ),
        lacking="; ".join(dict.fromkeys(filter(None, (lack_of_store(scores.provenance) for _, scores in named)))),
        read={"scores": [os.path.abspath(scores.path) if scores.path else "" for _, scores in named]},
    )


def check_classes(files: Sequence[tuple[str, Scores]]) -> None:
    """Refuse files whose classes differ, in what they are or in their order."""
    where, first = files[0][0], files[0][1].class_names
    for other_where, scores in files[1:]:
        other = scores.class_names
        if other == first:
            continue
        if sorted(other) == sorted(first):
            place = next(n for n, (a, b) in enumerate(zip(first, other, strict=True)) if a != b)
            raise UsageError(
                f"{other_where} has the classes of {where} in another order (class {place} is {other[place]}, not "
                f"{first[place]}): write its scores again in one order"
            )
        missing, extra = sorted(set(first) - set(other)), sorted(set(other) - set(first))
        parts = [f"lacks {', '.join(missing[:10])}"] if missing else []
        parts += [f"has {', '.join(extra[:10])} besides"] if extra else []
        raise UsageError(
            f"{other_where} has {len(other)} classes and {where} {len(first)}: it {' and '.join(parts)}; "
            "fuse scores of one data set"
        )


def choose_streams(
    files: Sequence[tuple[str, Scores]], streams: Sequence[str] | None, *, fused: bool = False
) -> list[tuple[int, str, str]]:
    """(file, stream, name in the table) of the streams to take: rgb and flow first within a head, else files in order.

    A name is "head/stream", or "source/stream" where heads repeat. With `fused`, the heads' own fused ones are taken.
    """
    times = Counter((scores.head, stream) for _, scores in files for stream in scores.streams)
    heads = [scores.head for _, scores in files]
    every = []
    for index, (where, scores) in enumerate(files):
        told_apart = scores.head and all(times[scores.head, stream] == 1 for stream in scores.streams)
        label = scores.head if told_apart else where
        every += [(index, stream, f"{label}/{stream}") for stream in scores.streams]
    twice = next((name for name, count in Counter(name for *_, name in every).items() if count > 1), None)
    if twice is not None:
        raise UsageError(f"two streams are called {twice}: give their files, or the folders of these, other names")
    every.sort(key=lambda entry: (heads.index(heads[entry[0]]), stream_rank(entry[1]), entry[0]))
    if streams is None and fused:
        return every
    if streams is None:
        sizes = [len(scores.streams) for _, scores in files]
        return [entry for entry in every if entry[1] != files[entry[0]][1].fused or sizes[entry[0]] == 1]
    chosen: list[tuple[int, str, str]] = []
    for wanted in streams:
        found = [entry for entry in every if wanted in entry[1:]]
        if not found:
            raise UsageError(f"no stream '{wanted}'; there are: {', '.join(name for *_, name in every)}")
        chosen += [entry for entry in found if entry not in chosen]
    return chosen


def stream_rank(stream: str) -> int:
    """Where a stream stands beside others: rgb, flow, then the rest."""
    return {"rgb": 0, "flow": 1}.get(stream, 2)


def join(files: Sequence[tuple[str, Scores]]) -> list[NDArray[np.int64]]:
    """For each file, the positions of the videos that all files share, in the first file's order."""
    first = files[0][1]
    known = first.ids.tolist()
    # {position in the first file: position in this one}; sanitised names still meet.
    places = [{mine: theirs for theirs, mine in match_ids(known, scores.ids.tolist()).items()} for _, scores in files]
    shared = [place for place in range(len(known)) if all(place in found for found in places)]
    rows = [np.array([found[place] for place in shared], dtype=np.int64) for found in places]
    lost = []
    for (where, scores), row in zip(files, rows, strict=True):
        alone = np.delete(scores.ids, row).tolist()
        if alone:
            text = f"{where}: {len(alone)} of {len(scores.ids)} videos have no partner, first {', '.join(alone[:10])}"
            lost.append(text)
    if not shared:
        raise UsageError(f"the score files share no video ({'; '.join(lost)}): fuse scores of the same videos")
    for text in lost:
        note(text)
    for (where, scores), row in zip(files[1:], rows[1:], strict=True):
        differ = np.minimum(scores.fold[row], 0) != np.minimum(first.fold[rows[0]], 0)
        refuse_differing(differ, where, files[0][0], "the part (training or test)", scores.ids[row])
    return rows


def joined_labels(files: Sequence[tuple[str, Scores]], joined: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Labels of the joined videos `(M,)`, which all files that know one must agree on."""
    labels = files[0][1].labels[joined[0]]
    for (where, scores), rows in zip(files[1:], joined[1:], strict=True):
        own = scores.labels[rows]
        differ = (own != labels) & (np.minimum(own, labels) != UNLABELLED)
        refuse_differing(differ, where, files[0][0], "the label", scores.ids[rows])
        labels = np.where(labels == UNLABELLED, own, labels)
    return labels


def refuse_differing(differ: NDArray[np.bool_], where: str, other: str, what: str, ids: NDArray) -> None:
    """Refuse two files that disagree on something of some videos; `differ (M,)`, `ids (M,)`."""
    if differ.any():
        raise UsageError(
            f"{where} and {other} disagree on {what} of {differ.sum()} videos, first {ids[differ.argmax()]}: fuse "
            "scores of one split"
        )
