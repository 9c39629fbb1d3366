"""`avr demo`: the whole pipeline, from videos to a fused result, on clips that avr draws itself."""

from pathlib import Path

import click

from ._output import json_option, print_json, print_table


@click.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("demo"),
    show_default=True,
    help="Folder for the clips, the store and the runs; what is there already is used again.",
)
@click.option("--backbone", default="resnet18", show_default=True, help="A torchvision model, started at random.")
@click.option("--seed", default=0, show_default=True, help="Seed of the backbone and of the heads.")
@json_option
def command(out: Path, backbone: str, seed: int, as_json: bool) -> None:
    """Draw clips, extract both streams, train heads, fuse, print a table.

    The classes are appearance × motion: neither stream alone can tell them all apart, the fused result can. No network
    is needed, since the backbone starts at random from a fixed seed: features are weak, and the point is the pipeline.
    """
    from avr.core import quiet

    from ._demo import run_demo

    with quiet(as_json):
        result = run_demo(out, backbone=backbone, seed=seed)
    if as_json:
        print_json(result)
        return
    rows = [
        [row["name"], f"{100 * row['top1']:.1f}", f"{100 * row['mean_class']:.1f}", row["reads"]]
        for row in result["rows"]
    ]
    print_table(["head or rule", "top-1 %", "mean class %", "reads"], rows)
    click.echo(f"\n{result['test_videos']} test videos, {result['classes']} classes; {result['summary']}")
