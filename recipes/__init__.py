"""The papers' tables as data (one TOML file each) and their runner.

from avr.recipes import load_recipe, run_recipe
recipe = load_recipe("stfn-table2")
outcome = run_recipe(recipe, stores=[("", Path("features/shapes"))], out=Path("runs/recipe-stfn-table2"))
"""

from typing import TYPE_CHECKING

from avr.core import lazy

from .reading import Recipe, Row, StoreSpec, load_recipe, recipe_names

if TYPE_CHECKING:
    from .jobs import Changes
    from .making import Making
    from .outcome import Outcome
    from .pace import measure_pace
    from .planning import Extraction, Pace, plan_recipe
    from .running import run_recipe
    from .settling import settle
    from .steps import Step, plan_stages
    from .tables import as_object, foot_lines, head_lines, table_rows, write_tables
else:
    __getattr__, __dir__ = lazy(__name__)  # what needs torch: listing recipes is instant

__all__ = [
    "Changes",
    "Extraction",
    "Making",
    "Outcome",
    "Pace",
    "Recipe",
    "Row",
    "Step",
    "StoreSpec",
    "as_object",
    "foot_lines",
    "head_lines",
    "load_recipe",
    "measure_pace",
    "plan_recipe",
    "plan_stages",
    "recipe_names",
    "run_recipe",
    "settle",
    "table_rows",
    "write_tables",
]
