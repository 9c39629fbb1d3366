"""What lies at a path, a store or a score file, and what is done with either: each half knows its own."""

from pathlib import Path
from typing import Any

from avr.core import WorkError

from .features.check import check_packed, report, verify_folder
from .features.describe import describe_store
from .features.export import export_features
from .plain import export_folder
from .scores.describe import describe_scores
from .scores.export import export_scores
from .scores.file import read_scores
from .sealed import check_whole, kind_of


def holds_scores(path: Path) -> bool:
    """Whether a path is that of a score file; a folder or another sealed file is a store.

    Raises:
        UsageError: nothing of avr's there, or of another format version.
        WorkError: its seal is damaged.
    """
    return not path.is_dir() and kind_of(path) == "scores"


def describe(path: Path | str) -> dict[str, Any]:
    """Describe a store's folder, a packed file or a score file, with plain values only.

    Raises:
        UsageError: nothing of avr's there, or of another format version.
        WorkError: damaged.
    """
    path = Path(path)
    return describe_scores(path) if holds_scores(path) else describe_store(path)


def verify(path: Path | str) -> dict[str, Any]:
    """Read every byte of a store's folder, a packed file or a score file, and check it.

    Returns:
        "ok" (bool), "damaged" ([{"file", "problem"}]), "missing_shards" (count), "files" and "bytes" read.

    Raises:
        UsageError: nothing of avr's there, or of another format version.
    """
    path = Path(path)
    if path.is_dir():
        return verify_folder(path)
    damaged = []
    try:
        kind = check_whole(path).kind
        if kind == "packed":
            check_packed(path)
        elif kind == "scores":
            read_scores(path)
    except WorkError as error:
        damaged.append({"file": str(path), "problem": str(error)})
    return report(damaged, missing=0, files=[path])


def export(path: Path | str, out: Path | str) -> list[Path]:
    """Write every array as `.npy`, `videos.csv` (a line a video) and `classes.txt` (a line a class).

    Of a store: `<stream>_<layer>.npy` float16 (R, N, …), and in the csv which rows are whose. Of a score file:
    `<stream>.npy` float32 (M, K), and labels, groups, folds.

    Args:
        path: a store's folder, a packed file, or a score file.
        out: a folder; made when missing.

    Returns:
        the files written.

    Raises:
        UsageError: nothing of avr's there, or a file to be written is there already.
        WorkError: damaged, or the disk is full.
    """
    path, out = Path(path), Path(out)
    write = export_scores if holds_scores(path) else export_features
    with export_folder(out):
        return write(path, out)
