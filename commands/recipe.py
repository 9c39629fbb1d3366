"""`avr recipe`: the papers' tables, run by one command."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from avr.core import UsageError, WorkError, as_text
from avr.training import Engine

from ._options import device_option, record_options
from ._output import Reply, answering, print_lines, print_table
from ._recipe_options import run_options, told, typed
from ._shell import Group, among_recipes

if TYPE_CHECKING:
    from avr.recipes import Extraction, Outcome, Pace, Recipe, Step

UNTYPED = {
    "frames": "frames and flow, kept once for all (100 frames of 320×240 a video assumed)",
    "store": "extracted by the run",
}


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
        trained = "" if spec.finetune is None else ", the paper trains its networks"
        trained += f" ({_pairs(spec.finetune)})" if spec.finetune else ""
        told = ", ".join(f"{key} {as_text(value)}" for key, value in spec.settings.items())
        click.echo(f"store {section}: {told}{trained}")
    for dataset, by_head in recipe.training.items():
        for head, changes in by_head.items():
            click.echo(f"paper's training, {dataset}, {head}: {_pairs(changes)}")
    click.echo()
    rows: list[tuple[object, ...]] = []
    for row in recipe.rows:
        fused = f"{row.fuse} {_pairs(row.fuse_options)}".strip()
        figures = [row.figures.get(dataset, "-") for dataset in recipe.datasets]
        training = _pairs(row.training) + " end to end" * row.end_to_end
        training += f" from {row.start_from}" * bool(row.start_from)
        settings = (_pairs(row.options) or "-", training.strip() or "-")
        rows.append((row.name, row.head, *settings, fused or row.output or "-", row.store, *figures))
    header = ("row", "head", "options", "training", "fused by or output", "store", *recipe.datasets)
    print_table(header, rows, align="llllll" + "r" * len(recipe.datasets))


def _pairs(values: Mapping[str, object]) -> str:
    return " ".join(f"{key}={as_text(value)}" for key, value in values.items())


@command.command()
@click.argument("name", shell_complete=among_recipes)
@click.option("--videos", type=click.IntRange(min=0), default=0, help="How many it has.  [default: as published]")
@run_options
@answering
def plan(name: str, videos: int, **options: Any) -> Reply:
    """Say what recipe NAME needs: the commands, and what they cost in disk and time.

    Without --finetune and --tune these are the stores to extract, of --dataset or of the paper's data sets as
    published. With either, they are all stages of `avr recipe run` with the same options that are there or lacking:
    networks, stores, heads with their trials, trainings end to end.
    Hours are estimated from a few seconds of timing on this machine: flow pairs of 320x240, convolutions and a head.
    """
    from avr.recipes import load_recipe

    recipe = load_recipe(name)
    if not (options["finetune"] or options["tune"]):
        unread = [flag for key, flag in typed().items() if key not in ("videos", "dataset", "extract", "as_json")]
        if unread:
            raise UsageError(f"{unread[0]}: without --finetune or --tune a plan is of stores alone; leave it out")
        recipe.planned(options["dataset"], videos)
        changed = {key: spec.changed(options["extract"]) for key, spec in recipe.stores.items()}
        recipe = replace(recipe, stores=changed)
        from avr.recipes import plan_recipe  # torch, after what needs none

        pace = _pace({str(spec["flow"]) for spec in changed.values()})
        extractions = plan_recipe(recipe, pace=pace, dataset=options["dataset"], videos=videos)
        return Reply({"recipe": name, "extractions": extractions}, lambda: _show_plan(extractions))
    if options["finetune"] and not options["dataset"]:
        raise UsageError("--finetune trains on videos: say of which data set, --dataset")
    if videos:
        raise UsageError("--videos: with --finetune or --tune they are counted; leave it out")
    asked = told(recipe, options)
    from avr.recipes import plan_stages, settle

    settled = settle(recipe, **asked.request)
    pace = _pace(settled.flow_methods)
    steps = plan_stages(settled, asked.out, pace=pace, where=asked.where, start=asked.start)
    return Reply({"recipe": name, "stages": steps}, lambda: _show_steps(steps))


def _pace(flow_methods: set[str]) -> "Pace":
    """Timed, with the flow methods of what is extracted."""
    from avr.core import note
    from avr.recipes import measure_pace

    pace = measure_pace(flow_methods)
    flow = [f"{method} {1000 * seconds:.3g} ms a pair" for method, seconds in pace.flow_seconds.items()]
    note(f"timed here: {', '.join([*flow, f'{pace.gflops:.3g} GFLOP/s in a convolution'])}")
    return pace


def _show_plan(extractions: "list[Extraction]") -> None:
    for extraction in extractions:
        shapes = ", ".join(f"{layer} {'×'.join(map(str, shape))}" for layer, shape in extraction.shapes.items())
        print_lines(
            f"{extraction.dataset}, store {extraction.section}: {', '.join(extraction.rows)}",
            f"  {extraction.command}",
            f"  {extraction.videos} videos, at most {extraction.views} views of {shapes}",
            f"  at most {extraction.gigabytes:.3g} GB and {extraction.hours:.3g} hours here",
        )


def _show_steps(steps: "list[Step]") -> None:
    from avr.heads import FOLDS

    for step in steps:
        of_split = f" of split {step.split}" if step.split else ""
        costs = [f"{step.gigabytes:.3g} GB"] if step.gigabytes is not None else []
        costs += [f"about {step.hours:.3g} hours here"] if step.hours is not None else ["hours not estimated"]
        cost = "there already" if step.done else ", ".join(costs)
        cost = f"{step.trials} trials of {FOLDS} folds, then one training: {cost}" if step.trials else cost
        whose = ", of the split's videos with the split's networks" if step.stage == "store" and step.split else ""
        rows = ", ".join(step.rows[:2]) + (f" and {len(step.rows) - 2} more" if len(step.rows) > 2 else "")
        print_lines(
            f"{step.stage}{of_split}: {rows}",
            f"  {step.command or UNTYPED[step.stage] + whose}",
            f"  {cost}",
        )
    left = [step for step in steps if not step.done]
    stores = [(step.gigabytes or 0.0, step.split) for step in left if step.stage == "store"]
    at_once = max((sum(size for size, own in stores if own == split) for _, split in stores), default=0.0)
    kept = sum(step.gigabytes or 0.0 for step in left if step.stage == "frames")
    hours = sum(step.hours or 0.0 for step in left)
    print_lines(
        f"in all: {len(left)} of {len(steps)} stages to do, about {hours:.3g} hours here, "
        f"{kept:.3g} GB of frames and flow, and {at_once:.3g} GB of stores at a time"
    )


@command.command()
@click.argument("table", metavar="NAME", shell_complete=among_recipes)
@run_options
@device_option
@record_options("engine", Engine, flags={"name": "--engine"})
@answering
def run(table: str, engine: Engine, device: str, **options: Any) -> Reply:
    """Train the rows of recipe NAME and print one table: row, paper, measured mean ± deviation.

    The rows read stores at hand, or with --dataset those that the run makes; with --finetune their networks are trained
    first, and head and networks together where the paper does so (`avr recipe plan` with the same options tells each
    stage). What is there already, from the same settings and videos, is not made again: a run that was stopped goes on.
    The table is also written to --out as table.csv, table.md and table.json. A row whose work fails says so, the others
    still run, and the exit code is 1.
    """
    from avr.core import note
    from avr.recipes import load_recipe

    recipe = load_recipe(table)
    asked = told(recipe, options)
    note(f"out: {asked.out}")
    from avr.recipes import as_object, run_recipe, write_tables  # torch, after what needs none

    outcome = run_recipe(recipe, **asked.request, out=asked.out, device=device, engine=engine)
    unwritten = None
    try:
        write_tables(outcome, asked.out)
    except WorkError as error:
        unwritten = error
    failed = any(measured.failed for measured in outcome.rows)
    return Reply(as_object(outcome), lambda: _show_outcome(outcome), failed=failed, error=unwritten)


def _show_outcome(outcome: "Outcome") -> None:
    from avr.recipes import foot_lines, head_lines, table_rows

    header, *rows = table_rows(outcome)
    print_lines(*head_lines(outcome), "")
    print_table(header, rows)
    print_lines(*foot_lines(outcome))
