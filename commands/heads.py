"""`avr heads`: train heads on a store."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from avr.training import Engine

from ._options import (
    PATH,
    chosen_stores,
    device_option,
    list_option,
    record_options,
    set_option,
    stores_option,
    training_options,
)
from ._output import Reply, answering, print_lines, print_table

if TYPE_CHECKING:
    from avr.heads import RunResult


@click.group()
def command() -> None:
    """Train heads on a store's features: no videos needed, seconds to minutes."""


@command.command("list")
@answering
def list_heads() -> Reply:
    """List the heads: paper, the layers they read, their options."""
    from avr.core import item_names, options_of
    from avr.heads import head_class

    heads = {name: head_class(name) for name in item_names("avr.heads")}
    found = {
        name: {
            "source": made.source,
            "reads": dict(made.reads),
            "options": [option.describe() for option in options_of(made).values()],
        }
        for name, made in heads.items()
    }

    def show() -> None:
        rows = [(name, _reads(made.reads), made.source) for name, made in heads.items()]
        print_table(("head", "reads", "paper"), rows, align="lll", rule=False)
        click.echo()
        print_lines(*(f"{name} --set: {'; '.join(told['options']) or 'none'}" for name, told in found.items()))

    return Reply(found, show)


def _reads(reads: Mapping[str, str]) -> str:
    """ "pooled", or "conv5_3 (flow: conv4_2)"."""
    special = ", ".join(f"{stream}: {layer}" for stream, layer in reads.items() if stream != "*")
    if "*" not in reads:
        return special
    return f"{reads['*']} ({special})" if special else reads["*"]


@command.command()
@click.argument("head")
@stores_option
@list_option("--stream", "streams", tuple[str, ...], unit="NAMES", text="Such as rgb,flow.  [default: all]")
@set_option("--layer", "Read another layer; repeat.", name="layers", bare="STREAM")
@click.option("--split", default="", metavar="NAME", help="Split name, or all.  [default: the store's first]")
@set_option("--set", "An option of the head's own; repeat.", name="options")
@training_options()
@click.option("--paper", is_flag=True, help="Start from the paper's settings, not those for small data sets.")
@click.option(
    "--folds", type=int, help="Folds for out-of-fold scores, 0 for none.  [default: 5, if under a minute in all]"
)
@click.option("--start-from", type=PATH, help="Start from the weights of a trained RUN, or RUN/split-NAME.")
@list_option("--freeze", "freeze", tuple[str, ...], unit="NAMES", text="Parts of the head that do not learn.")
@click.option("--keep-statistics", is_flag=True, help="Standardise by the statistics of the run started from.")
@click.option("--seed", default=0, show_default=True, help="Of weights, order of videos, dropout, folds.")
@click.option("--out", type=PATH, help="Run folder; an unfinished one goes on.  [default: runs/<head>-<dataset>-<k>]")
@device_option
@click.option("--memory-gb", type=float, help="Features held in memory, at most.  [default: half of what is free]")
@record_options("engine", Engine, flags={"name": "--engine"})
@answering
def train(
    head: str, stores: tuple[Path, ...], streams: tuple[str, ...] | None, freeze: tuple[str, ...] | None, **options: Any
) -> Reply:
    """Train HEAD (`avr heads list`) on a store, or several; write checkpoints, logs and scores to a run folder.

    A run that was interrupted goes on after its finished splits when the same command is given again. How many of its
    trainings (splits, folds, streams) run side by side changes no number.
    Prints the accuracy of the test part for each stream and for the head's fused prediction; of several splits, their
    mean and spread (standard deviation) and the accuracy over all test videos together.
    """
    from avr.core import check_known, item_names
    from avr.store import score_path, split_folder

    check_known("head", head, item_names("avr.heads"))  # this and a missing store are told before torch is loaded
    stores = chosen_stores(stores)
    from avr.heads import train_run

    result = train_run(stores, head, streams=streams or (), freeze=freeze or (), **options)
    splits = {
        name: {"results": split.results, "scores": score_path(split_folder(result.folder, name)), "folds": split.folds}
        for name, split in result.splits.items()
    }
    found = {"head": head, "run": result.folder, "layers": result.layers, "splits": splits, "summary": result.summary}
    return Reply(found, lambda: _show(head, result))


def _show(head: str, result: "RunResult") -> None:
    several = len(result.splits) > 1
    header = ["test accuracy, %", "top-1", "top-5", "mean class"]
    rows = []
    for name, row in result.summary.items():
        top1 = f"{100 * row['top1']:.1f}" + (f" ± {100 * row['top1_spread']:.1f}" if several else "")
        rows.append([name, top1, f"{100 * row['top5']:.1f}", f"{100 * row['mean_class']:.1f}"])
        if several:
            rows[-1].append(f"{100 * row['top1_pooled']:.1f}")
    reads = ", ".join(f"{stream}/{layer}" for stream, layer in result.layers.items())
    splits = f"{len(result.splits)} splits" if several else f"split {next(iter(result.splits))}"
    print_table(header + (["pooled"] if several else []), rows, title=f"{head} on {reads}, {splits}")
    folds = max(split.folds for split in result.splits.values())
    if result.lacking:
        click.echo(f"the store was not whole ({result.lacking}): the figures are of what was there")
    click.echo(f"wrote {result.folder}" + (f", with out-of-fold scores ({folds} folds)" if folds else ""))
