"""Names of folders, and the folder of one recipe: `recipe.json` says whose it is, so that no other's table is written
over.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path

from avr.core import UsageError, WorkError, as_text, read_json, write_json

from .reading import STORE_SETTINGS, Recipe, StoreSpec

MARK = "recipe.json"


def check_folder(out: Path, recipe: Recipe) -> None:
    """Refuse a folder of another recipe, or that holds something else.

    Raises:
        UsageError: says what is there.
    """
    # An older avr's that was stopped before its first table has no more than these two.
    there = sorted({path.name for path in out.glob("[!.]*")} - {"rows", "runs"})
    whose = _recipe_of(out)
    if there and whose is None:
        raise UsageError(f"{out} holds {there[0]}, and is no folder of a recipe: choose another --out")
    if whose not in (None, recipe.name):
        raise UsageError(f"{out} is the folder of recipe {whose}, not of {recipe.name}: choose another --out")


def mark_folder(out: Path, recipe: Recipe) -> None:
    """Say whose a folder is."""
    if not (out / MARK).exists():
        write_json(out / MARK, {"recipe": recipe.name})


def _recipe_of(out: Path) -> str | None:
    """Whose a folder is: by its mark, or, of before there were any, by its table."""
    for name in (MARK, "table.json"):
        try:
            return str(read_json(out / name)["recipe"])
        except (FileNotFoundError, NotADirectoryError, WorkError, KeyError):
            continue
    return None


def key_of(parts: Sequence[object]) -> str:
    """Twelve hexadecimal digits of JSON values, such as all that a training follows from."""
    return _digest(json.dumps(parts, sort_keys=True, default=list))[:12]


def slug(name: str) -> str:
    """A file name of a row's or split's name: letters and digits, and a digest where something was lost."""
    plain = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-").lower()
    return plain if plain == name else f"{plain}-{_digest(name)[:6]}"


def store_slug(spec: StoreSpec) -> str:
    """A folder name that two sections share only when their settings are equal, left out or named."""
    layers = "-".join(layer.replace("=", "-").replace("_", "") for layer in spec["layers"])
    parts = [spec["backbone"].replace("_", ""), layers, f"{spec['plan']}{spec['segments']}"]
    if spec["streams"] != STORE_SETTINGS["streams"]:
        parts += [entry.replace("=", "-") for entry in spec["streams"]]
    named = ("backbone", "layers", "plan", "segments", "streams")
    for setting, usual in STORE_SETTINGS.items():
        if setting not in named and spec[setting] != usual:
            label = "" if setting == "flow" else setting.replace("_", "")
            parts.append(label + _file_word(spec[setting]))
    return "-".join(parts)


def _file_word(value: object) -> str:
    """A value as it can stand in a file name; a digest of one that cannot, such as a path."""
    text = as_text(value).replace("_", "")
    return text if re.fullmatch(r"[A-Za-z0-9]+", text) else _digest(text)[:6]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
