"""`avr attention`: lay a run's attention over the frames of a video."""

from pathlib import Path

import click

from ._output import json_option, print_json


@click.command()
@click.argument("run", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--video", required=True, metavar="ID", help="Id of the video in the store.")
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="DIR", help="Folder for the pictures.")
@click.option("--split", default=None, show_default="the run's first", help="Split of the run.")
@click.option("--view", default=0, show_default=True, help="Which of the video's views (clips), counted from 0.")
@click.option("--store", type=click.Path(path_type=Path), show_default="the run's", help="Feature store.")
@click.option("--root", type=click.Path(path_type=Path), show_default="as extracted", help="Folder of the videos.")
@json_option
def command(
    run: Path,
    video: str,
    out: Path,
    split: str | None,
    view: int,
    store: Path | None,
    root: Path | None,
    as_json: bool,
) -> None:
    """Lay the attention of RUN over the frames of a video, as PNGs and one GIF.

    Runs of attention-streams show T_SA and T_LA, runs of coattention their weights over segments or positions. The
    frames are read from the video itself, which must still be there.
    """
    from avr.report.attention import draw_attention

    drawn = draw_attention(run, video, out, split=split, view=view, store=store, root=root)
    if as_json:
        weights = {kind: values.tolist() for kind, values in drawn.weights.items()}
        files = [str(path) for path in drawn.pictures]
        print_json({"pictures": files, "animation": str(drawn.animation), "frames": drawn.frames, "weights": weights})
        return
    click.echo(f"{drawn.folder}: {len(drawn.pictures)} pictures of frames {', '.join(map(str, drawn.frames))}")
    click.echo(f"{drawn.animation}: frames | {' | '.join(drawn.weights)}")
