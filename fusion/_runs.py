"""Which score files a fusion takes."""

from collections.abc import Sequence
from pathlib import Path

from avr.core import UsageError, note
from avr.store import RUNS, Scores, finished_runs, is_run, read_record, read_scores, run_of, score_paths

OWN = "fuse-"


def find_scores(paths: Sequence[Path | str] = ()) -> list[tuple[str, Scores]]:
    """Name and content of the score files that are named, or of those of the newest run of each head under `runs/`.

    Args:
        paths: score files, run folders, or folders of runs.

    Raises:
        UsageError: nothing there.
    """
    found: list[tuple[str, Scores]] = []
    for path in [Path(path) for path in paths] or [RUNS]:
        if path.is_file():
            name = run_of(path.parent).name if path.stem == "scores" else path.stem
            found.append((name, read_scores(path)))
        elif not path.is_dir():
            hint = (
                "train a head first (`avr heads train linear`), or name score files" if not paths else "check the name"
            )
            raise UsageError(f"no score file or run at {path}: {hint}")
        elif score_paths(path):
            found += read_run(path)
        else:
            runs = newest_of_each_head(path)
            note(f"fuse: takes {', '.join(str(run) for run in runs)}")
            found += [pair for run in runs for pair in read_run(run)]
    return found


def read_run(run: Path) -> list[tuple[str, Scores]]:
    """A run's name and scores, once a split."""
    return [(run.name, read_scores(path)) for path in score_paths(run)]


def newest_of_each_head(root: Path) -> list[Path]:
    """The newest finished run of each head, of the data set that was trained on last, in the heads' alphabetical order.

    Raises:
        UsageError: no finished run.
    """
    dated = [(head_and_dataset(run), run) for run in finished_runs(root, but=OWN)]
    newest, latest = dict(dated), dated[-1][0][1]
    others = sorted({dataset for _, dataset in newest} - {latest})
    if others:
        note(f"fuse: leaves out the runs on {', '.join(others)}; name them to take them")
    return [newest[key] for key in sorted(newest) if key[1] == latest]


def head_and_dataset(run: Path) -> tuple[str, str]:
    """What a run trained, on what: of its record, or without one of its scores."""
    if is_run(run):
        record = read_record(run)
        return record.head or record.kind, record.dataset
    scores = read_scores(score_paths(run)[0])
    return scores.head, scores.dataset


def by_split(files: Sequence[tuple[str, Scores]], split: str | None = None) -> dict[str, list[tuple[str, Scores]]]:
    """Of named scores, those of each split that every run has: `{split: [(name, scores), …]}`.

    Raises:
        UsageError: no split that all have, or not the one asked for.
    """
    splits: dict[str, list[tuple[str, Scores]]] = {}
    for name, scores in files:
        splits.setdefault(scores.split, []).append((name, scores))
    names = {name for name, _ in files}
    if split is not None and split not in splits:
        raise UsageError(f"no scores of split '{split}'; there are: {', '.join(sorted(splits))}")
    wanted = {split: splits[split]} if split is not None else splits
    complete = {name: part for name, part in sorted(wanted.items()) if {where for where, _ in part} == names}
    for name in sorted(set(wanted) - set(complete)):
        lacking = sorted(names - {where for where, _ in wanted[name]})
        note(f"fuse: leaves out split {name}, which {', '.join(lacking)} lacks")
    if not complete:
        raise UsageError(f"no split that all of {', '.join(sorted(names))} have: train each on the same split")
    return complete
