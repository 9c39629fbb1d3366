"""Which score files a fusion takes, and the run folder it writes."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from avr.core import UsageError, note
from avr.store import Scores, read_scores

DEFAULT_RUNS = Path("runs")
OWN = "fuse-"


@dataclass(frozen=True)
class ScoreFile:
    """One score file: where it is, what to call it, what it holds."""

    path: Path
    name: str
    scores: Scores


def find_scores(paths: Sequence[Path | str] = ()) -> list[ScoreFile]:
    """The score files that are named, or those of the newest run of each head under `runs/`.

    Args:
        paths: score files, run folders, or folders of runs.

    Raises:
        UsageError: nothing there.
    """
    found: list[ScoreFile] = []
    for path in [Path(path) for path in paths] or [DEFAULT_RUNS]:
        if path.is_file():
            found.append(ScoreFile(path, path.stem if path.stem != "scores" else run_name(path), read_scores(path)))
        elif not path.is_dir():
            hint = (
                "train a head first (`avr heads train linear`), or name score files" if not paths else "check the name"
            )
            raise UsageError(f"no score file or run at {path}: {hint}")
        elif score_paths(path):
            found += read_run(path)
        else:
            runs = newest_runs(path)
            if not runs:
                raise UsageError(f"no run with scores under {path}: train a head first (`avr heads train linear`)")
            note(f"fuse: takes {', '.join(str(run) for run in runs)}")
            found += [file for run in runs for file in read_run(run)]
    return found


def score_paths(run: Path) -> list[Path]:
    """The score files of a run folder: `scores.h5`, or those of its splits."""
    return sorted([*run.glob("scores.h5"), *run.glob("split-*/scores.h5")])


def read_run(run: Path) -> list[ScoreFile]:
    """A run's score files, one a split."""
    return [ScoreFile(path, run.name, read_scores(path)) for path in score_paths(run)]


def run_name(path: Path) -> str:
    """The run's folder name of a `scores.h5`."""
    folder = path.resolve().parent
    return folder.parent.name if folder.name.startswith("split-") else folder.name


def newest_runs(root: Path) -> list[Path]:
    """The newest run of each head, of the data set that was trained on last, in the heads' alphabetical order."""
    newest: dict[tuple[str, str], tuple[int, Path]] = {}
    for run in sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith((OWN, "."))):
        files = score_paths(run)
        if not files:
            continue
        written = max(path.stat().st_mtime_ns for path in files)
        key = head_and_dataset(run, files[0])
        if written >= newest.get(key, (-1, run))[0]:
            newest[key] = (written, run)
    if not newest:
        return []
    latest = max(newest, key=lambda key: newest[key][0])[1]
    others = sorted({dataset for _, dataset in newest} - {latest})
    if others:
        note(f"fuse: leaves out the runs on {', '.join(others)}; name them to take them")
    return [newest[key][1] for key in sorted(newest) if key[1] == latest]


def head_and_dataset(run: Path, scores: Path) -> tuple[str, str]:
    """What a run trained, on what: of its `run.json` if that says, else of its score file."""
    try:
        about = json.loads((run / "run.json").read_text())
        return str(about["head"]), str(about["dataset"])
    except (OSError, ValueError, KeyError, TypeError):
        read = read_scores(scores)
        return read.head, read.dataset


def by_split(files: Sequence[ScoreFile], split: str | None = None) -> dict[str, list[tuple[str, Scores]]]:
    """The files of each split that every run has: `{split: [(name, scores), …]}`.

    Raises:
        UsageError: no split that all have, or not the one asked for.
    """
    splits: dict[str, list[tuple[str, Scores]]] = {}
    for file in files:
        splits.setdefault(file.scores.split, []).append((file.name, file.scores))
    names = {file.name for file in files}
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


def new_run_folder(rule: str, root: Path | None = None) -> Path:
    """`runs/fuse-<rule>-<k>` with the next free k, made."""
    root = DEFAULT_RUNS if root is None else root
    root.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        folder = root / f"{OWN}{rule}-{number}"
        try:
            folder.mkdir()
            return folder
        except FileExistsError:
            number += 1
