"""The papers' tables as data (one TOML file each) and their runner.

from avr.recipes import load_recipe, run_recipe
recipe = load_recipe("stfn-table2")
outcome = run_recipe(recipe, stores=[("", Path("features/shapes"))], out=Path("runs/recipe-stfn-table2"))
"""

import importlib
from typing import TYPE_CHECKING, Any

from .reading import Recipe, Row, StoreSpec, load_recipe, recipe_names

if TYPE_CHECKING:
    from .jobs import Changes
    from .pace import measure_pace
    from .planning import Extraction, plan_recipe
    from .running import Outcome, run_recipe
    from .tables import HEADER, as_object, foot_lines, head_lines, table_rows, write_tables

__all__ = [
    "HEADER",
    "Changes",
    "Extraction",
    "Outcome",
    "Recipe",
    "Row",
    "StoreSpec",
    "as_object",
    "foot_lines",
    "head_lines",
    "load_recipe",
    "measure_pace",
    "plan_recipe",
    "recipe_names",
    "run_recipe",
    "table_rows",
    "write_tables",
]
_PLACES = {
    "Changes": "jobs",
    "Extraction": "planning",
    "HEADER": "tables",
    "Outcome": "running",
    "as_object": "tables",
    "foot_lines": "tables",
    "head_lines": "tables",
    "measure_pace": "pace",
    "plan_recipe": "planning",
    "run_recipe": "running",
    "table_rows": "tables",
    "write_tables": "tables",
}


def __getattr__(name: str) -> Any:
    """Import what needs torch at its first use, so that listing recipes is instant."""
    if name not in _PLACES:
        raise AttributeError(f"module 'avr.recipes' has no attribute '{name}'")
    return getattr(importlib.import_module(f"avr.recipes.{_PLACES[name]}"), name)
