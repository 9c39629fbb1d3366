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
    from .running import Outcome, run_recipe

__all__ = ["Changes", "Outcome", "Recipe", "Row", "StoreSpec", "load_recipe", "recipe_names", "run_recipe"]


def __getattr__(name: str) -> Any:
    """Import what needs torch at its first use, so that listing recipes is instant."""
    if name not in __all__:
        raise AttributeError(f"module 'avr.recipes' has no attribute '{name}'")
    place = "jobs" if name == "Changes" else "running"
    return getattr(importlib.import_module(f"avr.recipes.{place}"), name)
