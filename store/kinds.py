"""What lies at a path, a store or a score file, and what is done with either: each half knows its own."""

from pathlib import Path

from .disk import open_handle
from .features.export import export_features
from .plain import export_folder
from .scores.export import export_scores
from .sealed import read_seal


def holds_scores(path: Path) -> bool:
    """Whether a path is that of a score file; a folder or another sealed file is a store.

    Raises:
        UsageError: nothing of avr's there, or of another format version.
        WorkError: its seal is damaged.
    """
    if path.is_dir():
        return False
    with open_handle(path) as handle:
        return read_seal(handle, path).kind == "scores"


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
