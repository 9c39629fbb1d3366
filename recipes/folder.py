"""The folder of one recipe: `recipe.json` says whose it is, so that no other's table is written over."""

from pathlib import Path

from avr.core import UsageError, WorkError, read_json, write_json

from .reading import Recipe

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
