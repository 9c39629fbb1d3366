"""`avr attention`: lay a run's attention over the frames of a video."""

from pathlib import Path
from typing import Any

import click

from ._options import PATH
from ._output import Reply, answering, print_lines


@click.command()
@click.argument("run", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--video", required=True, metavar="ID", help="Id of the video in the store.")
@click.option("--out", type=PATH, required=True, metavar="DIR", help="Folder for the pictures.")
@click.option("--split", help="Split of the run.  [default: the run's first]")
@click.option("--view", default=0, show_default=True, help="Which of the video's views (clips), counted from 0.")
@click.option("--store", type=PATH, multiple=True, help="Feature store, or several; repeat.  [default: the run's]")
@click.option("--root", type=PATH, help="Folder of the videos.  [default: as extracted]")
@click.option(
    "--layer",
    "layers",
    multiple=True,
    metavar="[STREAM=]NAME",
    help="Also channels of a network's layer; repeat.",
)
@click.option("--weights", multiple=True, metavar="STREAM=FILE", help="The backbones' weights, if not where they were.")
@click.option("--overwrite", is_flag=True, help="Replace pictures that are there already.")
@answering
def command(run: Path, video: str, out: Path, **options: Any) -> Reply:
    """Lay the attention of RUN over the frames of a video, as PNGs and a GIF.

    Runs of attention-streams show T_SA and T_LA, runs of coattention and attentive their weights over segments or
    positions. Of any run --layer shows the first six channels of a layer, such as --layer conv5_3 of VGG or
    features.0, side by side. The frames are read from the video itself, which must still be there.
    """
    from avr.store import find_split

    find_split(run, options["split"])  # no run is told before torch is loaded
    from avr.report import draw_attention

    drawn = draw_attention(run, video, out, **options)
    found = {name: getattr(drawn, name) for name in ("pictures", "animations", "frames", "weights")}
    lines = [
        f"{drawn.folder}: {len(drawn.pictures)} pictures",
        *(f"frames of {stream}: {', '.join(map(str, numbers))}" for stream, numbers in drawn.frames.items()),
        *map(str, drawn.animations),
    ]
    return Reply(found, lambda: print_lines(*lines))
