"""`avr recipe`: the papers' tables, run by one command."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from avr.core import WorkError, as_text
from avr.training import Engine

from ._options import PATH, chosen_store, device_option, list_option, named_value, record_options, set_option
from ._output import Reply, answering, print_lines, print_table
from ._shell import Group, among_recipes

if TYPE_CHECKING:
    from avr.recipes import Extraction, Outcome, Recipe


@click.group(cls=Group)
def command() -> None:
    """The papers' tables, run by one command.

    A recipe is one table of a paper: the settings of each row and the paper's figure. Running it trains the rows on a
    store and prints what this gives beside what the paper has.
    """


@command.command("list")
@answering
def list_command() -> Reply:
    """List the recipes."""
    from avr.recipes import load_recipe, recipe_names

    recipes = [load_recipe(name) for name in recipe_names()]
    found = [{"recipe": r.name, "title": r.title, "rows": len(r.rows), "datasets": r.datasets} for r in recipes]
    rows = [(r.name, r.title, len(r.rows), ", ".join(r.datasets) or "-") for r in recipes]
    return Reply(found, lambda: print_table(("recipe", "title", "rows", "data sets"), rows, align="llrl"))


@command.command()
@click.argument("name", shell_complete=among_recipes)
@answering
def show(name: str) -> Reply:
    """Show the rows of recipe NAME: settings, training and the paper's figures."""
    from avr.recipes import load_recipe

    recipe = load_recipe(name)
    return Reply(recipe, lambda: _show(recipe))


def _show(recipe: "Recipe") -> None:
    print_lines(recipe.title, recipe.paper, recipe.metric, *(f"note: {text}" for text in recipe.notes))
    for section, spec in recipe.stores.items():
        click.echo(f"store {section}: " + ", ".join(f"{key} {as_text(value)}" for key, value in spec.settings.items()))
    for dataset, by_head in recipe.training.items():
        for head, changes in by_head.items():
            click.echo(f"paper's training, {dataset}, {head}: {_pairs(changes)}")
    click.echo()
    rows: list[tuple[object, ...]] = []
    for row in recipe.rows:
        fused = f"{row.fuse} {_pairs(row.fuse_options)}".strip()
        figures = [row.figures.get(dataset, "-") for dataset in recipe.datasets]
        settings = (_pairs(row.options) or "-", _pairs(row.training) or "-")
        rows.append((row.name, row.head, *settings, fused or row.output or "-", row.store, *figures))
    header = ("row", "head", "options", "training", "fused by or output", "store", *recipe.datasets)
    print_table(header, rows, align="llllll" + "r" * len(recipe.datasets))


def _pairs(values: Mapping[str, object]) -> str:
    return " ".join(f"{key}={as_text(value)}" for key, value in values.items())


@command.command()
@click.argument("name", shell_complete=among_recipes)
@click.option("--dataset", default="", help="Data set to extract.  [default: those of the paper's table]")
@click.option("--videos", type=click.IntRange(min=0), default=0, help="How many it has.  [default: as published]")
@answering
def plan(name: str, dataset: str, videos: int) -> Reply:
    """Say what recipe NAME needs extracted: the commands, and what they cost in disk and time.

    Hours are estimated from a few seconds of timing on this machine: flow pairs of 320x240 and convolutions.
    """
    from avr.core import note
    from avr.recipes import load_recipe

    recipe = load_recipe(name)
    from avr.recipes import measure_pace, plan_recipe  # torch, after what needs none

    pace = measure_pace({str(spec["flow"]) for spec in recipe.stores.values()})
    flow = ", ".join(f"{method} {1000 * seconds:.3g} ms a pair" for method, seconds in pace.flow_seconds.items())
    note(f"timed here: {flow}; {pace.gflops:.3g} GFLOP/s in a convolution")
    extractions = plan_recipe(recipe, pace=pace, dataset=dataset, videos=videos)
    return Reply({"recipe": name, "extractions": extractions}, lambda: _show_plan(extractions))


def _show_plan(extractions: "list[Extraction]") -> None:
    for extraction in extractions:
        shapes = ", ".join(f"{layer} {'×'.join(map(str, shape))}" for layer, shape in extraction.shapes.items())
        print_lines(
            f"{extraction.dataset}, store {extraction.section}: {', '.join(extraction.rows)}",
            f"  {extraction.command}",
            f"  {extraction.videos} videos, at most {extraction.views} views of {shapes}",
            f"  at most {extraction.gigabytes:.3g} GB and {extraction.hours:.3g} hours here",
        )


@command.command()
@click.argument("table", metavar="NAME", shell_complete=among_recipes)
@click.option(
    "--store",
    "stores",
    multiple=True,
    metavar="[SECTION=]PATH",
    help="Feature store, for the rows it fits that no other serves, or for those of one section; repeat.  "
    "[default: the newest under features/]",
)
@click.option("--splits", default="", help='Names with commas, "first" or "all".  [default: the paper\'s]')
@list_option(
    "--seeds",
    "seeds",
    tuple[int, ...],
    default="0",
    unit="NUMBERS",
    text="With commas: each row is trained once a seed.",
)
@click.option(
    "--settings",
    type=click.Choice(["auto", "paper", "small"]),
    default="auto",
    show_default=True,
    help="Training settings: the paper's, those for small data, or the paper's on the paper's data sets.",
)
@set_option("--set", "Change an option of the heads that have it; repeat.", name="options")
@set_option("--training", "Change a training setting; repeat.")
@set_option("--layer", "Read another layer than the head's own; repeat.", name="layers", bare="STREAM")
@set_option("--scores", "Outside scores that a row asks for, a file by its name; repeat.", free=True)
@click.option("--out", type=PATH, help="Folder of the run.  [default: runs/recipe-NAME-DATASET]")
@device_option
@record_options("engine", Engine, flags={"name": "--engine"})
@answering
def run(
    table: str, stores: tuple[str, ...], settings: Any, out: Path | None, scores: dict[str, str], **options: Any
) -> Reply:
    """Train the rows of recipe NAME on stores and print one table: row, paper, measured mean ± deviation.

    What is in --out already, from the same settings and store, is not trained again: a run that was stopped goes on.
    The table is also written there as table.csv, table.md and table.json. A row whose work fails says so, the others
    still run, and the exit code is 1.
    """
    from avr.core import note
    from avr.recipes import load_recipe
    from avr.store import RUNS, FeatureStore

    recipe = load_recipe(table)
    named = [named_value("--store", text, bare=True) for text in stores]
    paths = [(key, chosen_store(Path(value))) for key, value in named] or [("", chosen_store(None))]
    if out is None:
        with FeatureStore(paths[0][1]) as store:
            out = RUNS / f"recipe-{recipe.name}-{store.dataset}"
    note(f"out: {out}")
    from avr.recipes import Changes, as_object, run_recipe, write_tables  # torch, after what needs none

    changes = Changes(
        settings=settings,
        scores={key: Path(value) for key, value in scores.items()},
        **{key: options.pop(key) for key in ("options", "training", "layers")},
    )
    outcome = run_recipe(recipe, stores=paths, out=out, changes=changes, **options)
    unwritten = None
    try:
        write_tables(outcome, out)
    except WorkError as error:
        unwritten = error
    failed = any(measured.failed for measured in outcome.rows)
    return Reply(as_object(outcome), lambda: _show_outcome(outcome), failed=failed, error=unwritten)


def _show_outcome(outcome: "Outcome") -> None:
    from avr.recipes import HEADER, foot_lines, head_lines, table_rows

    print_lines(*head_lines(outcome), "")
    print_table(HEADER, table_rows(outcome))
    print_lines(*foot_lines(outcome))
