"""Which score files a fusion takes, and one table of them: streams side by side, joined by video id, checked."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avr.core import UsageError, by_number, note
from avr.store import (
    RUNS,
    Scores,
    check_scores,
    finished_runs,
    is_run,
    lack_of_store,
    match_ids,
    read_record,
    read_scores,
    run_of,
    score_paths,
    warn_unfinished,
)

OWN = "fuse-"  # how the names of fusions' own runs begin


@dataclass(frozen=True)
class Table:
    """Scores of several streams for the same M videos of one split.

    Attributes:
        X: (M, S, K) float64, logits or probabilities a stream.
        labels: (M,) int64. groups: (M,) str. ids: (M,) str.
        fold: (M,) int32: as in `Scores`.
        streams: S names, "linear/rgb" and the like.
        kinds: "logits" or "probabilities", one a stream.
        sources: one dict a stream: head, stream, file, run's provenance in short.
        lacking: what the stores of the scores lacked, "" where they were whole.
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

    @property
    def about_store(self) -> dict[str, str]:
        """What a fusion says of the stores that its scores are of."""
        return {"dataset": self.dataset} | ({"lacking": self.lacking} if self.lacking else {})


def read_tables(
    scores: Sequence[Path | str] = (), *, split: str | None = None, streams: Sequence[str] | None = None
) -> list[Table]:
    """One table a split of the score files that are named, or of the newest run of each head under `runs/`.

    Args:
        scores: score files, run folders or folders of runs.
        split: one split's name; None: every split that all files have.
        streams: names to take ("flow", "linear/flow"); None: all but the heads' own fused ones.

    Raises:
        UsageError: nothing there, no split that all have, what `gather` refuses.
    """
    return [gather(files, streams=streams) for files in by_split(find_scores(scores), split).values()]


def find_scores(paths: Sequence[Path | str] = ()) -> list[tuple[str, Scores]]:
    """Name and content of the score files that are named, or of those of the newest run of each head under `runs/`."""
    found: list[tuple[str, Scores]] = []
    for path in [Path(path) for path in paths] or [RUNS]:
        if path.is_file():
            found.append((run_of(path.parent).name if path.stem == "scores" else path.stem, read_scores(path)))
            warn_unfinished(path, found[-1][1].provenance)
        elif path.is_dir():
            runs = [path] if score_paths(path) else newest_of_each_head(path)
            warn_unfinished(path)
            found += [(run.name, read_scores(file)) for run in runs for file in score_paths(run)]
        else:
            hint = "check the name" if paths else "train a head first (`avr heads train linear`), or name score files"
            raise UsageError(f"no score file or run at {path}: {hint}")
    return found


def newest_of_each_head(root: Path) -> list[Path]:
    """The newest finished run of each head, by the heads' names, of the data set that was trained on last."""
    dated = [(head_and_dataset(run), run) for run in finished_runs(root, but=OWN)]
    newest, latest = dict(dated), dated[-1][0][1]
    others = sorted({dataset for _, dataset in newest} - {latest})
    if others:
        note(f"fuse: leaves out the runs on {', '.join(others)}; name them to take them")
    runs = [newest[key] for key in sorted(newest) if key[1] == latest]
    note(f"fuse: takes {', '.join(map(str, runs))}")
    return runs


def head_and_dataset(run: Path) -> tuple[str, str]:
    """What a run trained, on what: of its record, or without one of its scores."""
    if is_run(run):
        record = read_record(run)
        return record.head or record.kind, record.dataset
    scores = read_scores(score_paths(run)[0])
    return scores.head, scores.dataset


def by_split(files: Sequence[tuple[str, Scores]], split: str | None = None) -> dict[str, list[tuple[str, Scores]]]:
    """Of named scores, those of each split that every run has: `{split: [(name, scores), …]}`."""
    splits: dict[str, list[tuple[str, Scores]]] = {}
    for name, scores in files:
        splits.setdefault(scores.split, []).append((name, scores))
    names = {name for name, _ in files}
    if split is not None and split not in splits:
        raise UsageError(f"no scores of split '{split}'; there are: {', '.join(by_number(splits))}")
    complete = {}
    for name in by_number(splits) if split is None else [split]:
        lacking = sorted(names - {where for where, _ in splits[name]})
        if lacking:
            note(f"fuse: leaves out split {name}, which {', '.join(lacking)} lacks")
        else:
            complete[name] = splits[name]
    if not complete:
        raise UsageError(f"no split that all of {', '.join(sorted(names))} have: train each on the same split")
    return complete


def gather(files: Sequence[tuple[str, Scores]], *, streams: Sequence[str] | None = None) -> Table:
    """One table of the streams of several score files of one split.

    A head's own fused stream is left out, unless it is named in `streams` or is all there is.

    Args:
        files: (where it is from, scores) each; two files of one head get their source's name in the streams' names.
        streams: names to take ("flow", "linear/flow"); None: all.

    Raises:
        UsageError: streams with different classes or class order, labels that differ, videos that do not meet, an
            unknown stream.
    """
    if not files:
        raise UsageError("no score files: train a head first (`avr heads train linear`), or name score files")
    for _, scores in files:
        check_scores(scores)
    check_classes(files)
    wanted = choose_streams(files, streams)
    joined = join(files)
    X = np.stack([files[index][1].streams[stream][joined[index]] for index, stream, _ in wanted], axis=1)
    first, rows = files[0][1], joined[0]
    return Table(
        X=X.astype(np.float64),
        labels=first.labels[rows],
        groups=first.groups[rows],
        ids=first.ids[rows],
        fold=first.fold[rows],
        streams=tuple(name for *_, name in wanted),
        kinds=tuple(files[index][1].kind for index, *_ in wanted),
        class_names=first.class_names,
        split=first.split,
        dataset=first.dataset,
        sources=tuple(
            {"head": files[index][1].head, "stream": stream, "file": files[index][0]} for index, stream, _ in wanted
        ),
        lacking="; ".join(dict.fromkeys(filter(None, (lack_of_store(scores.provenance) for _, scores in files)))),
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


def choose_streams(files: Sequence[tuple[str, Scores]], streams: Sequence[str] | None) -> list[tuple[int, str, str]]:
    """(file, stream, name in the table) of the streams to take: rgb and flow first within a head, else files in order.

    A name is "head/stream", or "source/stream" where heads repeat.
    """
    times = Counter((scores.head, stream) for _, scores in files for stream in scores.streams)
    heads = [scores.head for _, scores in files]
    every = []
    for index, (where, scores) in enumerate(files):
        told_apart = scores.head and all(times[scores.head, stream] == 1 for stream in scores.streams)
        label = scores.head if told_apart else where
        every += [(index, stream, f"{label}/{stream}") for stream in scores.streams]
    every.sort(key=lambda entry: (heads.index(heads[entry[0]]), stream_rank(entry[1]), entry[0]))
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
        differences = {
            "the label": scores.labels[row] != first.labels[rows[0]],
            "the part (training or test)": np.minimum(scores.fold[row], 0) != np.minimum(first.fold[rows[0]], 0),
        }
        for what, differ in differences.items():
            if differ.any():
                raise UsageError(
                    f"{where} and {files[0][0]} disagree on {what} of {differ.sum()} videos, first "
                    f"{known[shared[differ.argmax()]]}: fuse scores of one split"
                )
    return rows
