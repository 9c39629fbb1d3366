"""Which score files a command takes: those named, folders of them, or the runs' newest."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from avr.core import UsageError, by_number, note
from avr.store import (
    RUNS,
    SCORE_SUFFIXES,
    Scores,
    finished_runs,
    is_run,
    read_record,
    read_scores,
    run_of,
    score_paths,
    warn_unfinished,
)

OWN = "fuse-"  # how the names of fusions' own runs begin
SCORES = ".h5"  # how those of score files end


def find_scores(paths: Sequence[Path | str] = ()) -> list[tuple[str, Scores]]:
    """Name and content of the score files that are named, or of those of the newest run of each head under `runs/`.

    Args:
        paths: score files, run folders, folders of score files or of runs.

    Raises:
        UsageError: nothing there, or what other tools wrote, with the command that imports it.
    """
    found = find_files(paths)
    foreign = [file for file in found if is_foreign(file)]
    if foreign:
        names = " ".join(map(str, foreign[:4])) + (" …" if len(foreign) > 4 else "")
        raise UsageError(
            f"{foreign[0]}: no score file of avr's: import it first (avr store import-scores {names} --out scores), "
            "then name scores"
        )
    files = {file: read_scores(file) for file in found}
    warn_of_unfinished(paths, files)
    return [(name_of(file, found), scores) for file, scores in files.items()]


def warn_of_unfinished(paths: Sequence[Path | str], files: Mapping[Path, Scores]) -> None:
    """Warn of what is not whole among the paths that were named; `files` are the scores found there."""
    for path in map(Path, paths):
        warn_unfinished(path, files[path].provenance if path in files else None)


def find_files(paths: Sequence[Path | str] = ()) -> list[Path]:
    """The score files that are named, of folders those in them, or of the newest run of each head under `runs/`.

    Other tools' are among them: those named, and of a folder that holds nothing else those in it.

    Raises:
        UsageError: nothing there.
    """
    found: list[Path] = []
    for path in [Path(path) for path in paths] or [RUNS]:
        if path.is_dir():
            files = score_paths(path) or files_in(path, SCORES)
            if not files and not any(inside.is_dir() for inside in path.iterdir()):
                files = files_in(path, *SCORE_SUFFIXES)
            found += files or [file for run in newest_of_each_head(path) for file in score_paths(run)]
        elif path.is_file():
            found.append(path)
        else:
            hint = "check the name" if paths else "train a head first (`avr heads train linear`), or name score files"
            raise UsageError(f"no score file or run at {path}: {hint}")
    return list(dict.fromkeys(found))


def is_foreign(file: Path) -> bool:
    """Whether a file is, by its name, what another tool wrote."""
    return file.suffix.lower() in SCORE_SUFFIXES


def name_of(file: Path, others: Sequence[Path]) -> str:
    """What a score file is called: its run; else its own name, or its folder's where other files are called so."""
    if file.stem == "scores":
        return run_of(file.parent).name
    alike = {other.resolve() for other in others if other.stem == file.stem}
    return file.resolve().parent.name if len(alike) > 1 else file.stem


def files_in(folder: Path, *suffixes: str) -> list[Path]:
    """The files in a folder whose names end so, sorted."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in suffixes and path.is_file())


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
