"""JSON files that say when they were changed: a digest of the content stands in it, and is held against it on reading.

Older ones, without a digest, are read as they are.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .errors import UsageError, WorkError, message_of
from .files import open_file, write_whole

DIGEST = "sha256"  # the key of the digest


def as_json(value: Any) -> Any:
    """What JSON gives back of a value: arrays as lists, tuples too, keys as text."""
    return json.loads(json.dumps(value, default=_plain))


def digest_of(content: Mapping[str, Any]) -> str:
    """SHA-256 of JSON values, whatever their order."""
    told = {name: value for name, value in content.items() if name != DIGEST}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON with its digest, whole or not at all.

    Raises:
        UsageError, WorkError: as `write_whole`.
    """
    plain = as_json(dict(content))
    with write_whole(path) as temporary:
        text = json.dumps({**plain, DIGEST: digest_of(plain)}, indent=2, ensure_ascii=False)
        temporary.write_text(text + "\n", encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """The content of a file of `write_json`, without its digest.

    Raises:
        FileNotFoundError, NotADirectoryError: it is not there.
        WorkError: it cannot be read, is no JSON object, or was changed since it was written.
    """
    try:
        with open_file(path) as file:
            text = file.read()
    except UsageError as error:
        if isinstance(error.__cause__, (FileNotFoundError, NotADirectoryError)):
            raise error.__cause__ from None
        raise WorkError(str(error)) from error
    try:
        content = json.loads(text.decode("utf-8"))
        if not isinstance(content, dict):
            raise ValueError("no object")
        if DIGEST in content and content[DIGEST] != digest_of(content):
            raise ValueError("it was changed after avr wrote it")
    except RecursionError:
        raise WorkError(f"{path}: damaged (nested without end)") from None
    except (ValueError, OSError) as error:
        raise WorkError(f"{path}: damaged ({message_of(error)})") from error
    content.pop(DIGEST, None)
    return content


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else list(value)
