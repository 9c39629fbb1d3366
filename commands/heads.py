"""`avr heads`: list the heads, train one on a store."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ._options import pairs, training_options
from ._output import json_option, print_json, print_table

if TYPE_CHECKING:
    from avr.heads import RunResult


def _names(_: click.Context, __: click.Parameter, value: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in value.split(",") if part.strip())


def _layers(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """STREAM=LAYER, or LAYER for every stream, under the name ""."""
    return {stream: layer for stream, _, layer in (v.partition("=") if "=" in v else ("", "", v) for v in values)}


@click.group()
def command() -> None:
    """Train heads on a store's features: no videos needed, seconds to minutes."""


@command.command("list")
@json_option
def list_heads(as_json: bool) -> None:
    """List the heads: paper, the layers they read, their options."""
    from avr.core import item_names, options_of
    from avr.heads import head_class

    heads = {name: head_class(name) for name in item_names("avr.heads")}
    options = {name: [option.describe() for option in options_of(made).values()] for name, made in heads.items()}
    if as_json:
        print_json(
            {
                name: {"source": made.source, "reads": dict(made.reads), "options": options[name]}
                for name, made in heads.items()
            }
        )
        return
    rows = [(name, _reads(made.reads), made.source) for name, made in heads.items()]
    widths = [max(len(row[column]) for row in [("head", "reads", ""), *rows]) for column in (0, 1)]
    for row in [("head", "reads", "paper"), *rows]:
        click.echo(f"{row[0]:<{widths[0]}}  {row[1]:<{widths[1]}}  {row[2]}")
    click.echo()
    for name in heads:
        click.echo(f"{name} --set: {'; '.join(options[name]) or 'none'}")


@command.command()
@click.argument("head")
@click.option("--store", type=click.Path(path_type=Path), help="Feature store.  [default: the newest under features/]")
@click.option(
    "--stream", "streams", default="", metavar="NAMES", callback=_names, help="Such as rgb,flow.  [default: all]"
)
@click.option(
    "--layer", "layers", multiple=True, metavar="[STREAM=]LAYER", callback=_layers, help="Read another layer; repeat."
)
@click.option("--split", default="", metavar="NAME", help="Split name, or all.  [default: the store's first]")
@click.option("--set", "options", multiple=True, metavar="OPTION=VALUE", callback=pairs, help="Of the head; repeat.")
@training_options()
@click.option("--paper", is_flag=True, help="Start from the paper's settings, not those for small data sets.")
@click.option(
    "--folds", type=int, help="Folds for out-of-fold scores, 0 for none.  [default: 5, if under a minute in all]"
)
@click.option("--seed", default=0, show_default=True, help="Of weights, order of videos, dropout, folds.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Run folder; an unfinished one goes on.  [default: runs/<head>-<dataset>-<k>]",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:1.")
@click.option("--memory-gb", type=float, help="Features held in memory, at most.  [default: half of what is free]")
@json_option
def train(head: str, store: Path | None, as_json: bool, **arguments: Any) -> None:
    """Train HEAD (`avr heads list`) on a store; write checkpoints, logs and scores to a run folder.

    A run that was interrupted goes on after its finished splits when the same command is given again.
    Prints the accuracy of the test part for each stream and for the head's fused prediction; of several splits, their
    mean and spread (standard deviation) and the accuracy over all test videos together.
    """
    from avr.core import quiet
    from avr.heads import head_class, train_run
    from avr.store import default_store

    with quiet(as_json):
        head_class(head)  # an unknown head is told before a missing store
        result = train_run(store or default_store(), head, **arguments)
    if as_json:
        print_json(_record(head, result))
    else:
        _print_result(head, result)


def _reads(reads: Any) -> str:
    """ "pooled", or "conv5_3 (flow: conv4_2)"."""
    special = [f"{stream}: {layer}" for stream, layer in reads.items() if stream != "*"]
    general = [reads["*"]] if "*" in reads else []
    return " ".join(general + ([f"({', '.join(special)})"] if special and general else special))


def _record(head: str, result: "RunResult") -> dict[str, Any]:
    from avr.store import score_path, split_folder

    splits = {
        name: {"results": split.results, "scores": score_path(split_folder(result.folder, name)), "folds": split.folds}
        for name, split in result.splits.items()
    }
    return {"head": head, "run": result.folder, "layers": result.layers, "splits": splits, "summary": result.summary}


def _print_result(head: str, result: "RunResult") -> None:
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
    folds = {split.folds for split in result.splits.values()}
    click.echo(f"wrote {result.folder}" + (f", with out-of-fold scores ({max(folds)} folds)" if any(folds) else ""))
