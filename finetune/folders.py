"""The folder of a fine-tuning: found again when it was interrupted, new otherwise."""

import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

import avr
from avr.core import UsageError, WorkError, note, write_whole

from .distributed import Processes
from .state import differences

RECORD = "run.json"


def find_folder(out: Path | None, prefix: str, identity: Mapping[str, Any], *, processes: Processes) -> Path:
    """The folder to work in, the same in all processes.

    Args:
        out: the user's choice; continued where it holds this training, refused where it holds another.
        prefix: "runs/stfn-shapes-tuned": without a choice, the newest unfinished `<prefix>-<k>` of the same settings is
            continued, else the next free number is taken.
        identity: all that makes it the same training, as JSON can hold it.
        processes: the first decides.

    Raises:
        UsageError: `out` holds something else.
    """
    found = ""
    if processes.first:
        plain = json.loads(json.dumps(identity, default=list))
        found = str(_claim(Path(out), plain) if out is not None else _next(Path(prefix), plain))
    return Path(processes.agree(found))


def _claim(folder: Path, identity: dict[str, Any]) -> Path:
    if folder.is_dir() and any(folder.iterdir()):
        record = read_record(folder)
        differing = differences(_flat(record.get("identity", {})), _flat(identity))
        if differing:
            raise UsageError(f"{folder} holds a training with other settings ({differing}): choose another --out")
        if not record.get("complete"):
            note(f"continuing {folder}")
        return folder
    _begin(folder, identity)
    return folder


def _next(prefix: Path, identity: dict[str, Any]) -> Path:
    number = 1
    while (folder := prefix.with_name(f"{prefix.name}-{number}")).exists():
        try:
            record = read_record(folder)
        except (UsageError, WorkError):
            record = {"complete": True}
        if not record.get("complete") and record.get("identity") == identity:
            note(f"continuing {folder}")
            return folder
        number += 1
    _begin(folder, identity)
    return folder


def _begin(folder: Path, identity: dict[str, Any]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder} cannot be made: {error.strerror}") from error
    write_record(folder, {"identity": identity, "complete": False})


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
