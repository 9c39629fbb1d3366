"""The folder of one recipe: `recipe.json` says whose it is, so that no other's table is written over."""

import json
from pathlib import Path

from avr.core import UsageError, write_whole

from .reading import Recipe

MARK = "recipe.json"


def check_folder(out: Path, recipe: Recipe) -> None:
    """Refuse a folder of another recipe, or that holds something else.

    Raises:
        UsageError: says what is there.
    """
    there = sorted(path.name for path in out.glob("[!.]*"))
    whose = _recipe_of(out)
    if there and whose is None:
        raise UsageError(f"{out} holds {there[0]}, and is no folder of a recipe: choose another --out")
    if whose not in (None, recipe.name):
        raise UsageError(f"{out} is the folder of recipe {whose}, not of {recipe.name}: choose another --out")


def mark_folder(out: Path, recipe: Recipe) -> None:
    """Say whose a folder is."""
    if _recipe_of(out) is None or not (out / MARK).exists():
        with write_whole(out / MARK) as temporary:
            temporary.write_text(json.dumps({"recipe": recipe.name}) + "\n")


def _recipe_of(out: Path) -> str | None:
    """Whose a folder is: by its mark, or, of before there were any, by its table."""
    for name in (MARK, "table.json"):
        try:
            return str(json.loads((out / name).read_text())["recipe"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            continue
    return None
