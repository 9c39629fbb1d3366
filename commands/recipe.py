"""`avr recipe`: the papers' tables, run by one command."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from ._output import json_option, print_json, print_table


@click.group()
def command() -> None:
    """The papers' tables, run by one command.

    A recipe is one table of a paper: the settings of each row and the paper's figure. Running it trains the rows on a
    store and prints what this gives beside what the paper has.
    """


@command.command("list")
@json_option
def list_command(as_json: bool) -> None:
    """List the recipes."""
    from avr.recipes import load_recipe, recipe_names

    recipes = [load_recipe(name) for name in recipe_names()]
    if as_json:
        print_json([{"recipe": r.name, "title": r.title, "rows": len(r.rows), "datasets": r.datasets} for r in recipes])
        return
    print_table(
        ("recipe", "title", "rows", "data sets"),
        [(r.name, r.title, len(r.rows), ", ".join(r.datasets) or "-") for r in recipes],
        align="llrl",
    )


@command.command()
@click.argument("name")
@json_option
def show(name: str, as_json: bool) -> None:
    """Show the rows of recipe NAME: settings, training and the paper's figures."""
    from avr.recipes import load_recipe

    recipe = load_recipe(name)
    if as_json:
        import dataclasses

        print_json(dataclasses.asdict(recipe))
        return
    click.echo(f"{recipe.title}\n{recipe.paper}\n{recipe.metric}")
    for text in recipe.notes:
        click.echo(f"note: {text}")
    for section, spec in recipe.stores.items():
        click.echo(f"store {section}: " + ", ".join(f"{key} {_text(value)}" for key, value in spec.settings.items()))
    for dataset, by_head in recipe.training.items():
        for head, changes in by_head.items():
            click.echo(f"paper's training, {dataset}, {head}: {_pairs_text(changes)}")
    click.echo()
    rows: list[tuple[object, ...]] = []
    for row in recipe.rows:
        fused = f"{row.fuse} {_pairs_text(row.fuse_options)}".strip()
        figures = [row.figures.get(dataset, "-") for dataset in recipe.datasets]
        settings = (_pairs_text(row.options) or "-", _pairs_text(row.training) or "-")
        rows.append((row.name, row.head, *settings, fused or row.output or "-", row.store, *figures))
    header = ("row", "head", "options", "training", "fused by or output", "store", *recipe.datasets)
    print_table(header, rows, align="llllll" + "r" * len(recipe.datasets))


@command.command()
@click.argument("name")
@click.option("--dataset", default="", show_default="those of the paper's table", help="Data set to extract.")
@click.option(
    "--videos", type=click.IntRange(min=0), default=0, show_default="as published", help="How many videos it has."
)
@json_option
def plan(name: str, dataset: str, videos: int, as_json: bool) -> None:
    """Say what recipe NAME needs extracted: the commands, and what they cost in disk and time.

    Hours are estimated from a few seconds of timing on this machine: flow pairs of 320x240 and convolutions.
    """
    from avr.core import note
    from avr.recipes import load_recipe
    from avr.recipes.pace import measure_pace
    from avr.recipes.planning import plan_recipe

    recipe = load_recipe(name)
    pace = measure_pace({str(spec["flow"]) for spec in recipe.stores.values()})
    flow = ", ".join(f"{method} {1000 * seconds:.3g} ms a pair" for method, seconds in pace.flow_seconds.items())
    note(f"timed here: {flow}; {pace.gflops:.3g} GFLOP/s in a convolution")
    extractions = plan_recipe(recipe, pace=pace, dataset=dataset, videos=videos)
    if as_json:
        import dataclasses

        print_json({"recipe": name, "extractions": [dataclasses.asdict(extraction) for extraction in extractions]})
        return
    for extraction in extractions:
        shapes = ", ".join(f"{layer} {'×'.join(map(str, shape))}" for layer, shape in extraction.shapes.items())
        click.echo(f"{extraction.dataset}, store {extraction.section}: {', '.join(extraction.rows)}")
        click.echo(f"  {extraction.command}")
        click.echo(f"  {extraction.videos} videos, at most {extraction.views} views of {shapes}")
        click.echo(f"  at most {extraction.gigabytes:.3g} GB and {extraction.hours:.3g} hours here")


@command.command()
@click.argument("name")
@click.option(
    "--store",
    "stores",
    multiple=True,
    metavar="[SECTION=]PATH",
    show_default="the newest under features/",
    help="Feature store, for the rows it fits that no other serves, or for those of one section; may be repeated.",
)
@click.option("--splits", default="", show_default="the paper's", help='Splits: names with commas, "first" or "all".')
@click.option("--seeds", default="0", show_default=True, help="Seeds, with commas: each row is trained once a seed.")
@click.option(
    "--settings",
    type=click.Choice(["auto", "paper", "small"]),
    default="auto",
    show_default=True,
    help="Training settings: the paper's, those for small data, or the paper's on the paper's data sets.",
)
@click.option(
    "--set", "options", multiple=True, metavar="OPTION=VALUE", help="Change an option of the heads that have it."
)
@click.option("--training", "training", multiple=True, metavar="SETTING=VALUE", help="Change a training setting.")
@click.option(
    "--layer", "layers", multiple=True, metavar="[STREAM=]NAME", help="Read another layer than the head's own."
)
@click.option("--scores", multiple=True, metavar="NAME=FILE", help="Outside scores that a row asks for.")
@click.option("--out", type=click.Path(path_type=Path), default=None, show_default="runs/recipe-NAME-DATASET")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, …")
@json_option
@click.pass_context
def run(
    ctx: click.Context,
    name: str,
    stores: tuple[str, ...],
    splits: str,
    seeds: str,
    settings: Any,
    options: tuple[str, ...],
    training: tuple[str, ...],
    layers: tuple[str, ...],
    scores: tuple[str, ...],
    out: Path | None,
    device: str,
    as_json: bool,
) -> None:
    """Train the rows of recipe NAME on stores and print one table: row, paper, measured mean ± deviation.

    What is in --out already, from the same settings and store, is not trained again: a run that was stopped goes on.
    The table is also written there as table.csv, table.md and table.json. A row whose work fails says so, the others
    still run, and the exit code is 1.
    """
    from avr.core import note, quiet
    from avr.recipes import Changes, load_recipe, run_recipe
    from avr.recipes.tables import HEADER, as_object, foot_lines, head_lines, table_rows, write_tables
    from avr.store import RUNS, FeatureStore, default_store

    recipe = load_recipe(name)
    with quiet(as_json):
        paths = [(key, Path(value)) for key, value in _pairs(stores, "--store", bare=True)] or [("", default_store())]
        if out is None:
            with FeatureStore(paths[0][1]) as store:
                out = RUNS / f"recipe-{recipe.name}-{store.dataset}"
        note(f"out: {out}")
        outcome = run_recipe(
            recipe,
            stores=paths,
            out=out,
            splits=splits,
            seeds=_numbers(seeds),
            changes=Changes(
                settings=settings,
                options=dict(_pairs(options, "--set")),
                training=dict(_pairs(training, "--training")),
                layers=dict(_pairs(layers, "--layer", bare=True)),
                scores={key: Path(value) for key, value in _pairs(scores, "--scores")},
            ),
            device=device,
        )
    write_tables(outcome, out)
    if as_json:
        print_json(as_object(outcome))
    else:
        for line in head_lines(outcome):
            click.echo(line)
        click.echo()
        print_table(HEADER, table_rows(outcome))
        for line in foot_lines(outcome):
            click.echo(line)
    if any(measured.failed for measured in outcome.rows):
        ctx.exit(1)


def _pairs(texts: tuple[str, ...], option: str, *, bare: bool = False) -> list[tuple[str, str]]:
    """NAME=VALUE texts as (name, value); with `bare`, a text without "=" gets the name ""."""
    pairs = []
    for text in texts:
        name, mark, value = text.partition("=")
        if bare and (not mark or Path(text).exists()):  # a path may hold "="
            name, value = "", text
        elif not mark or not name:
            raise click.UsageError(f"{option} takes NAME=VALUE, not {text!r}")
        pairs.append((name, value))
    return pairs


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise click.UsageError(f"--seeds takes numbers with commas, not {text!r}") from None


def _pairs_text(values: Mapping[str, object]) -> str:
    return " ".join(f"{key}={_text(value)}" for key, value in values.items())


def _text(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
