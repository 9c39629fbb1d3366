"""`avr extract`: features of a data set's videos to a store."""

from pathlib import Path
from typing import Any

import click

from ._output import json_option, print_json, print_table


def _split(_: click.Context, __: click.Parameter, value: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in value.split(",") if part.strip())


@click.command()
@click.option("--dataset", required=True, help="A data set that avr knows (`avr datasets list`).")
@click.option("--root", type=click.Path(path_type=Path, file_okay=False), help="Its folder.  [default: data/<dataset>]")
@click.option(
    "--splits", type=click.Path(path_type=Path, exists=True), help="Its split lists, where they are not in the folder."
)
@click.option("--set", "pairs", multiple=True, metavar="NAME=VALUE", help="An option of the data set's own.")
@click.option("--out", type=click.Path(path_type=Path), help="The store's folder.  [default: features/<dataset>]")
@click.option("--stream", "streams", default="rgb,flow", show_default=True, callback=_split, help="rgb, flow or both.")
@click.option("--backbone", default="resnet50", show_default=True, help="A torchvision classification model.")
@click.option(
    "--weights",
    multiple=True,
    default=("DEFAULT",),
    show_default=True,
    metavar="NAME|FILE|random",
    help="Weights torchvision knows, a file, or random; rgb=… and flow=… for one stream alone, repeated.",
)
@click.option(
    "--layers",
    default="pooled,map",
    show_default=True,
    callback=_split,
    help="pooled, map, conv5_3, conv4_2, fc6 or torchvision node names; rgb=… and flow=… for one stream alone.",
)
@click.option(
    "--plan",
    type=click.Choice(["segments", "strided", "clips"]),
    default="segments",
    show_default=True,
    help="N equal segments (STFN); every t'-th frame (Ou & Sun); overlapping clips (GLKA).",
)
@click.option("--segments", default=0, metavar="N", help="Frames a view.  [default: 7; strided 17; clips 30]", type=int)
@click.option("--per-segment", default=1, show_default=True, metavar="N", help="Frames a segment.")
@click.option("--views", default=0, metavar="V", help="Sequences a video.  [default: 1; clips at most 20]", type=int)
@click.option(
    "--view",
    type=click.Choice(["fixed", "random"]),
    default="fixed",
    show_default=True,
    help="Evenly spaced frames, or drawn ones, as for training.",
)
@click.option("--clip-stride", default=15, show_default=True, metavar="FRAMES", help="From one clip to the next.")
@click.option("--seed", default=0, show_default=True, help="Of random weights and random views.")
@click.option("--stack", default=10, show_default=True, metavar="L", help="Flow pairs centred on a frame.")
@click.option("--flow", default="dis", show_default=True, help="dis, farneback, tvl1, raft or raft=FILE (its weights).")
@click.option(
    "--flow-size", default=0, show_default=True, metavar="PIXELS", help="Short side for flow; 0 is the frame's."
)
@click.option(
    "--quantise/--no-quantise", default=True, show_default=True, help="Round flow to 0…255 as the papers' JPEGs do."
)
@click.option(
    "--resize", default=0, show_default=True, metavar="PIXELS", help="Short side of frames; 0 is the weights' own."
)
@click.option("--crop", default=0, show_default=True, metavar="PIXELS", help="Side of the crop; 0 is the weights' own.")
@click.option(
    "--interpolation",
    type=click.Choice(["auto", "bilinear", "bicubic"]),
    default="auto",
    show_default=True,
    help="Of resizing; auto is the weights' own.",
)
@click.option(
    "--crops",
    type=click.Choice(["center", "corners", "five", "ten"]),
    default="center",
    show_default=True,
    help="Each crop is one more view.",
)
@click.option("--mirror", is_flag=True, help="Add each view mirrored.")
@click.option(
    "--precision",
    type=click.Choice(["auto", "float32", "bfloat16"]),
    default="auto",
    show_default=True,
    help="Of the networks; auto is bfloat16 on CUDA.",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:1.")
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="This machine, or a Ray cluster (pip install 'avr[ray]').",
)
@click.option(
    "--devices",
    default="",
    metavar="0,1,…",
    callback=_split,
    help="Of engine local: a worker process each, such as 0,1 or cpu,cpu.  [default: --device, in this process]",
)
@click.option(
    "--workers", default=0, metavar="N", type=int, help="Of engine ray.  [default: one a GPU of the cluster, else one]"
)
@click.option("--address", default="", help="Of engine ray: a running cluster's.  [default: started on this machine]")
@click.option("--batch-size", default=0, metavar="IMAGES", type=int, help="Images a call.  [default: 8; CUDA 128]")
@click.option("--decoders", default=0, metavar="N", help="Decoding processes.  [default: half the cores]", type=int)
@click.option("--time-limit", default=120.0, show_default=True, metavar="SECONDS", help="That one video may take.")
@click.option("--compile/--no-compile", default=False, show_default=True, help="torch.compile the networks (CUDA).")
@click.option("--cache", default="", metavar="FOLDER", help="Take frames and flow that fine-tuning stored there.")
@click.option("--shard-videos", default=0, metavar="N", type=int, help="Videos a shard.  [default: about 64 MB]")
@click.option("--strict", is_flag=True, help="Videos without features are an error, once the others are done.")
@click.option("--profile", is_flag=True, help="Print each stage's busy share and the bottleneck.")
@json_option
def command(
    dataset: str,
    root: Path | None,
    splits: Path | None,
    pairs: tuple[str, ...],
    out: Path | None,
    engine: str,
    devices: tuple[str, ...],
    workers: int,
    address: str,
    strict: bool,
    profile: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Write features of a data set's videos to a store.

    An interrupted run, started again with the same settings, goes on. A video that gives no features is kept in the
    store with the reason, and the run goes on.
    """
    from dataclasses import fields

    from avr.core import UsageError, quiet
    from avr.datasets import index_dataset
    from avr.extract import Engine, Running, Settings, extract

    wrong = [pair for pair in pairs if "=" not in pair]
    if wrong:
        raise UsageError(f"--set {wrong[0]}: expected NAME=VALUE")
    more: dict[str, Any] = dict(pair.split("=", 1) for pair in pairs)
    how = {field.name for field in fields(Running)}
    where = Engine(name=engine, devices=devices, workers=workers, address=address)  # type: ignore[arg-type]
    running = Running(**{name: value for name, value in options.items() if name in how})
    settings = Settings(**{name: value for name, value in options.items() if name not in how})
    with quiet(as_json):
        index = index_dataset(dataset, root, splits=splits, **more)
        summary = extract(index, out, settings=settings, running=running, engine=where, strict=strict)
    if as_json:
        print_json(summary.to_dict())
        return
    if profile and summary.busy:
        rows = [(name, f"{100 * share:.0f}") for name, share in summary.busy.items()]
        print_table(["stage", "busy %"], rows)
        click.echo(f"bottleneck: {summary.bottleneck}")
    click.echo(summary.line())
