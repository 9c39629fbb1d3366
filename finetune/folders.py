"""The folder of a fine-tuning: found again when it was interrupted, new otherwise."""

import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

import avr
from avr.core import StoreLock, UsageError, WorkError, note, write_whole

from .distributed import Processes
from .state import differences

RECORD = "run.json"
LOCK = ".lock"


def find_folder(out: Path | None, prefix: str, identity: Mapping[str, Any], *, processes: Processes) -> Path:
    """The folder to work in, the same in all processes.

    Args:
        out: the user's choice; continued where it holds this training, refused where it holds another.
        prefix: "runs/stfn-shapes-tuned": without a choice, the newest unfinished `<prefix>-<k>` of the same settings is
            continued, else the number after the highest is taken.
        identity: all that makes it the same training, as JSON can hold it.
        processes: the first decides, and holds the folder's lock until they part.

    Raises:
        UsageError: `out` holds something else, or another process trains in the folder.
    """
    found = ""
    if processes.first:
        plain = json.loads(json.dumps(identity, default=list))
        found = str(_claim(Path(out), plain, processes) if out is not None else _next(Path(prefix), plain, processes))
    return Path(processes.agree(found))


def _claim(folder: Path, identity: dict[str, Any], processes: Processes) -> Path:
    new = not _holds_anything(folder)
    record = {} if new else read_record(folder)
    differing = "" if new else differences(_flat(record.get("identity", {})), _flat(identity))
    if differing:
        raise UsageError(f"{folder} holds a training with other settings ({differing}): choose another --out")
    if record.get("complete"):
        return folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder} cannot be made: {error.strerror}") from error
    _lock(folder, processes)
    if new and not _holds_anything(folder):
        write_record(folder, {"identity": identity, "complete": False})
    elif new:
        return _claim(folder, identity, processes)  # another process was there first, and has ended since
    else:
        note(f"continuing {folder}")
    return folder


def _next(prefix: Path, identity: dict[str, Any], processes: Processes) -> Path:
    numbers = _numbers(prefix)
    for number in reversed(numbers):
        folder = prefix.with_name(f"{prefix.name}-{number}")
        try:
            record = read_record(folder)
        except (UsageError, WorkError):
            continue
        if not record.get("complete") and record.get("identity") == identity:
            _lock(folder, processes)
            note(f"continuing {folder}")
            return folder
    number = max(numbers, default=0)
    while True:
        number += 1
        folder = prefix.with_name(f"{prefix.name}-{number}")
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            folder.mkdir()
        except FileExistsError:  # another process has just begun there
            continue
        except OSError as error:
            raise UsageError(f"{folder} cannot be made: {error.strerror}") from error
        _lock(folder, processes)
        write_record(folder, {"identity": identity, "complete": False})
        return folder


def _numbers(prefix: Path) -> list[int]:
    """The numbers k for which there is a `<prefix>-<k>`, in order; gaps do not matter."""
    ends = (path.name.removeprefix(f"{prefix.name}-") for path in prefix.parent.glob("*") if path.is_dir())
    return sorted(int(end) for end in ends if end.isdecimal() and not end.startswith("0"))


def _holds_anything(folder: Path) -> bool:
    """Whether there is more in a folder than the lock of a process that went before it wrote anything."""
    return folder.is_dir() and any(path.name != LOCK for path in folder.iterdir())


def _lock(folder: Path, processes: Processes) -> None:
    """Hold the folder until the processes part, so that the same command cannot write there twice at once."""
    try:
        lock = StoreLock(folder)
    except UsageError as error:
        text = str(error).replace("writes to this store", "trains in this folder")
        raise UsageError(text) from error
    processes.closing.callback(lock.release)


def read_record(folder: Path) -> dict[str, Any]:
    """A folder's run.json.

    Raises:
        UsageError: there is none.
        WorkError: it is damaged.
    """
    try:
        record = json.loads((folder / RECORD).read_text())
    except FileNotFoundError:
        raise UsageError(f"{folder} holds other files and no {RECORD}: choose another folder") from None
    except (ValueError, OSError) as error:
        raise WorkError(f"{folder / RECORD} is damaged ({error})") from error
    if not isinstance(record, dict):
        raise WorkError(f"{folder / RECORD} is damaged (no JSON object)")
    return record


def read_run_record(folder: Path) -> dict[str, Any]:
    """run.json of a trained run, one with a head.

    Raises:
        UsageError: there is none, or it is of something else; says of what.
        WorkError: it is damaged.
    """
    record = read_record(folder)
    if record.get("splits"):
        return record
    identity = record.get("identity")
    if isinstance(identity, dict) and "extraction" in identity:
        raise UsageError(
            f"{folder} is a backbone's folder, not a head's run: extract a store with its weights (avr extract "
            "--weights), train a head on it, and name that run"
        )
    if isinstance(identity, dict):
        raise UsageError(f"{folder} is not finished: run the command that began it again, and it goes on")
    raise WorkError(f"{folder / RECORD} is damaged (it names no splits)")


def write_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Write run.json, whole."""
    versions = {"avr": avr.__version__, "torch": torch.__version__, "python": platform.python_version()}
    with write_whole(folder / RECORD) as temporary:
        temporary.write_text(json.dumps({**record, "versions": versions}, indent=2, default=list) + "\n")


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted names, so that a message names the one that differs."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat
