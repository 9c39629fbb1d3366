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
    from .pace import measure_pace
    from .planning import Extraction, plan_recipe
    from .running import Outcome, run_recipe
    from .tables import HEADER, as_object, foot_lines, head_lines, table_rows, write_tables
else:
    __getattr__, __dir__ = lazy(__name__)  # what needs torch: listing recipes is instant

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
