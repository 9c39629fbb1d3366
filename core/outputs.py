"""Outputs are claimed before anything is read or computed: nothing that is there is written over unasked.

A command that writes files says `claim_file` or `claim_files`, one that fills a folder of its own `claim_folder`; runs
and stores, which go on where they stopped, have claims of their own that know their settings (`avr.store`).
"""

import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from .errors import UsageError, WorkError
from .files import is_leftover

Output = tuple[object, Path]  # whose it is, for people, such as the input's name, and where it goes


def claim_file(
    path: Path, *, overwrite: bool = False, own: Callable[[Path], bool] | None = None, kind: str = ""
) -> Path:
    """See that a file may be written here, and that it can: the folder is made, and a file tried in it.

    Args:
        path: the file.
        overwrite: one that is there may be replaced.
        own: tells whether a file that is there is a former output of the same kind, which is replaced unasked.
        kind: what to call that, such as "report".

    Raises:
        UsageError: something is there, or a folder's name; says what to do.
        WorkError: nothing can be written there.
    """
    return claim_files([("", path)], overwrite=overwrite, own=own, kind=kind)[0]


def claim_files(
    outputs: Iterable[Output],
    *,
    inputs: Iterable[Path] = (),
    overwrite: bool = False,
    own: Callable[[Path], bool] | None = None,
    kind: str = "",
    apart: str = "choose another place for one",
) -> list[Path]:
    """`claim_file` of several outputs of one command: all are sound before the first is written.

    Args:
        outputs: (whose, path) each, such as an input's name and the file that it becomes; no two may share a path, nor
            one that differs in case alone, which is one file to macOS and Windows.
        inputs: files that are read: never written over, whatever `overwrite` says.
        overwrite, own, kind: as `claim_file`.
        apart: what to do where two outputs are one file.

    Raises:
        UsageError, WorkError: as `claim_file`; two outputs are one file, or one is an input.
    """
    outputs = list(outputs)
    read = {os.path.realpath(path) for path in inputs}
    real = [Path(os.path.realpath(path)) for _, path in outputs]
    folders = {folder for place in real for folder in place.parents}
    first: dict[str, object] = {}
    for (whose, path), place in zip(outputs, real, strict=True):
        if str(place) in read:
            raise UsageError(f"{path}: is one of the files that are read; choose another place to write to")
        if os.path.isdir(path) or place in folders:
            raise UsageError(f"{path}: is a folder; name a file")
        key = str(place).casefold()
        if key in first:
            both = f"{first[key]} and {whose} both become {path}" if whose else f"{path}: would be written twice"
            raise UsageError(f"{both}; {apart}")
        first[key] = whose
        if _is_there(path) and not overwrite and not (own is not None and path.is_file() and own(path)):
            other = f" and is no {kind} of avr's" if own is not None and kind else " already"
            raise UsageError(f"{path}: is there{other}; --overwrite replaces it")
    for path in {path.parent: path for _, path in reversed(outputs)}.values():
        try_folder(path.parent, path)
    return [path for _, path in outputs]


def _is_there(path: Path) -> bool:
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:  # such as a name that is too long
        raise WorkError(f"{path}: cannot be written ({error.strerror}); choose another place") from error
    return True


def claim_folder(path: Path, *, overwrite: bool = False) -> Path:
    """See that a folder may be filled: it is not there, or empty, or files of the same names may be replaced in it.

    It is not made: `avr.core.write_folder` puts there what is to be in it, when all of that is whole.

    Raises:
        UsageError: it holds something; a file is there.
        WorkError: nothing can be written there.
    """
    if path.is_dir():
        inside = sorted(one.name for one in path.iterdir() if not is_leftover(one))
        if inside and not overwrite:
            raise UsageError(f"{path}: holds {inside[0]} already; choose another folder, or --overwrite replaces it")
    elif os.path.lexists(path):
        raise UsageError(f"{path}: is a file; name a folder")
    try_folder(path, path)
    return path


def try_folder(folder: Path, output: Path) -> None:
    """Try whether an output can be written in a folder that may not be there yet; it is not made.

    Raises:
        UsageError, WorkError: they cannot.
    """
    there = next(one for one in (folder, *folder.absolute().parents) if os.path.lexists(one))
    if not there.is_dir():
        raise UsageError(f"{output}: {there} is a file; choose another place")
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise WorkError(f"{output}: cannot be written ({error.strerror}); choose another place") from error
