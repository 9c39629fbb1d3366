"""`avr predict`: what new videos show, by a trained pipeline."""

from pathlib import Path
from typing import Any

import click

from ._output import json_option, print_json


@click.command()
@click.argument("videos", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--run", "runs", multiple=True, type=click.Path(path_type=Path), help="A trained run; several are averaged."
)
@click.option("--fuse", type=click.Path(path_type=Path, exists=True), help="A folder that `avr fuse` wrote.")
@click.option("--split", default="", help="Of the run.  [default: its first]")
@click.option("--weights", multiple=True, metavar="STREAM=FILE", help="The backbones' weights, if not where they were.")
@click.option("--top", default=5, show_default=True, help="How many classes.")
@click.option(
    "--window",
    default=5.0,
    show_default=True,
    metavar="SECONDS",
    help="Of the time line that videos of two windows and more get; 0 is none.",
)
@click.option("--step", default=0.0, metavar="SECONDS", help="From one window to the next.  [default: half a window]")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 …")
@json_option
def command(
    videos: tuple[Path, ...],
    runs: tuple[Path, ...],
    fuse: Path | None,
    split: str,
    weights: tuple[str, ...],
    top: int,
    window: float,
    step: float,
    device: str,
    as_json: bool,
) -> None:
    """Say what VIDEOS show, with everything found through the run: weights, sampling, flow, head, classes.

    A video that cannot be read is reported, the others go on, and the exit status is 1.
    """
    from avr.core import UsageError, WorkError, quiet
    from avr.predict import Predictor, check_request

    check_request(top=top, window=window, step=step)
    failed = False
    with quiet(as_json):
        predictor = Predictor(runs, fuse=fuse, split=split, weights=weights, device=device)
        found: list[dict[str, Any]] = []
        for path in videos:
            try:
                prediction = predictor.predict(path, top=top, window=window, step=step)
            except (WorkError, UsageError) as error:
                if isinstance(error, UsageError) and path.is_file():
                    raise  # of the runs, not of this video
                failed = True
                found.append({"video": str(path), "error": str(error)})
                click.echo(f"error: {error}", err=True)
                continue
            found.append(prediction.to_dict())
            if not as_json:
                show(prediction)
    if as_json:
        print_json({"predictions": found})
    if failed:
        click.get_current_context().exit(1)


def show(prediction: "object") -> None:
    """One video's best classes, then its time line."""
    from avr.predict import Prediction

    assert isinstance(prediction, Prediction)
    click.echo(f"{prediction.path}: {prediction.frames} frames, {prediction.seconds:.1f} s")
    for name, probability in prediction.top:
        click.echo(f"  {100 * probability:5.1f} %  {name}")
    for window in prediction.timeline:
        best = ", ".join(f"{name} {100 * probability:.0f} %" for name, probability in window.top[:2])
        click.echo(f"  {_clock(window.start)} - {_clock(window.end)}  {best}")


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{seconds % 60:04.1f}"
