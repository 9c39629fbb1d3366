"""`avr extract`: write features of a data set's videos to a store."""

from typing import Any

import click

from avr.extract import Engine, Running

from ._options import PATH, dataset_option, dataset_options, record_options, stream_options
from ._output import Reply, answering, print_table
from ._shell import Grouped

GROUPS = {  # of the help; what is not named is told last
    "Data": ("dataset", "root", "splits", "called", "pairs", "out"),
    "Streams and sampling": (
        "stream",
        "plan",
        "segments",
        "per_segment",
        "views",
        "view",
        "clip_stride",
        "fps",
        "clip_frames",
        "frame_stride",
        "damage",
    ),
    "Flow and differences": ("flow", "flow_size", "stack", "quantise"),
    "Network": (
        "backbone",
        "weights",
        "layers",
        "resize",
        "crop",
        "interpolation",
        "crops",
        "mirror",
        "precision",
        "runtime",
        "seed",
    ),
    "Machine": (
        "device",
        "batch_size",
        "decoders",
        "time_limit",
        "compile",
        "cache",
        "shard_videos",
        "name",
        "devices",
        "workers",
        "address",
    ),
}


@click.command(cls=Grouped, groups=GROUPS)
@dataset_option
@dataset_options
@click.option("--out", type=PATH, help="The store's folder.  [default: features/<dataset>]")
@stream_options
@record_options("running", Running)
@record_options("engine", Engine, flags={"name": "--engine"})
@click.option("--strict", is_flag=True, help="Videos without features are an error, once the others are done.")
@click.option("--profile", is_flag=True, help="Print each stage's busy share and the bottleneck.")
@answering
def command(dataset: str, where: dict[str, Any], profile: bool, **options: Any) -> Reply:
    """Write features of a data set's videos to a store.

    A store grows stream by stream: a new one leaves the others as they are. Streams of one kind have names of their
    own: --stream slow=flow,fast=flow. What is told of streams is for all of them, or as NAME=VALUE for one: --flow dis
    --flow slow=tvl1. An interrupted run, started again with the same settings, goes on. A video that gives no features
    is kept in the store with the reason, and the run goes on.
    """
    from avr.datasets import index_dataset

    videos = index_dataset(dataset, **where)  # what is wrong with these is told before torch is loaded
    for settings in options["streams"].values():
        settings.require_files()
    from avr.extract import extract

    summary = extract(videos, options.pop("out"), **options)

    def show() -> None:
        if profile and summary.busy:
            print_table(["stage", "busy %"], [(name, f"{100 * share:.0f}") for name, share in summary.busy.items()])
            click.echo(f"bottleneck: {summary.bottleneck}")
        click.echo(summary.line())

    return Reply(summary.to_dict(), show)
