"""`avr predict`: recognise new videos with a trained pipeline."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ._options import PATH, device_option
from ._output import Reply, answering, print_lines

if TYPE_CHECKING:
    from avr.predict import Prediction


@click.command()
@click.argument("videos", nargs=-1, required=True, type=PATH)
@click.option("--run", "runs", multiple=True, type=PATH, help="A trained run; several are averaged.")
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
@device_option
@answering
def command(
    videos: tuple[Path, ...], runs: tuple[Path, ...], top: int, window: float, step: float, **options: Any
) -> Reply:
    """Say what VIDEOS show, with everything found through the run: weights, sampling, flow, head, classes.

    A video that cannot be read is reported, the others go on, and the exit status is 1.
    """
    from avr.core import UsageError, WorkError
    from avr.predict import Predictor, check_request

    check_request(top=top, window=window, step=step)
    predictor = Predictor(runs, **options)
    as_json = click.get_current_context().params["as_json"]
    found: list[dict[str, Any]] = []
    for path in videos:
        try:
            prediction = predictor.predict(path, top=top, window=window, step=step)
        except (WorkError, UsageError) as error:
            if isinstance(error, UsageError) and path.is_file():
                raise  # of the runs, not of this video
            found.append({"video": str(path), "error": str(error)})
            click.echo(f"error: {error}", err=True)
        else:
            found.append(prediction.to_dict())
            if not as_json:  # each as soon as it is there
                show(prediction)
    return Reply({"predictions": found}, lambda: None, failed=any("error" in one for one in found))


def show(prediction: "Prediction") -> None:
    """One video's best classes, then its time line."""
    click.echo(f"{prediction.path}: {prediction.frames} frames, {prediction.seconds:.1f} s")
    print_lines(*(f"  {100 * probability:5.1f} %  {name}" for name, probability in prediction.top))
    for window in prediction.timeline:
        best = ", ".join(f"{name} {100 * probability:.0f} %" for name, probability in window.top[:2])
        click.echo(f"  {_clock(window.start)} - {_clock(window.end)}  {best}")


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{seconds % 60:04.1f}"
