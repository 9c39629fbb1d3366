"""`avr predict`: recognise new videos with a trained pipeline."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ._options import PATH, device_option
from ._output import Reply, answering, print_lines

if TYPE_CHECKING:
    from avr.predict import Prediction, Predictor


@click.command()
@click.argument("videos", nargs=-1, required=True, type=click.Path())  # a text: an empty one is refused
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
@click.option("--out", type=PATH, metavar="FILE.csv", help="Also write a table: a row a video and a window.")
@click.option("--draw", type=PATH, metavar="DIR", help="Also write each clip with its best classes drawn onto it.")
@click.option("--draw-format", type=click.Choice(["mp4", "gif"]), default="mp4", show_default=True, help="Of --draw.")
@click.option("--overwrite", is_flag=True, help="Replace what --out and --draw write, where it is there already.")
@device_option
@answering
def command(
    videos: tuple[str, ...],
    runs: tuple[Path, ...],
    top: int,
    window: float,
    step: float,
    out: Path | None,
    draw: Path | None,
    draw_format: str,
    overwrite: bool,
    **options: Any,
) -> Reply:
    """Say what VIDEOS show, with everything found through the run: weights, sampling, flow, head, classes.

    VIDEOS are files, folders (every video in them and below) and patterns in quotes, such as 'clips/*.mp4'. A video
    that cannot be read is reported, the others go on, and the exit status is 1.
    """
    from avr.core import WorkError, claim_files
    from avr.predict import check_request, check_runs, drawn_paths, gather_videos, write_table

    check_request(top=top, window=window, step=step)
    paths = gather_videos(videos, but=draw)
    drawn = {} if draw is None else drawn_paths(paths, draw, f".{draw_format}")
    outputs = [*([("--out", out)] if out else []), *drawn.items()]
    claim_files(outputs, inputs=paths, overwrite=overwrite)
    fusion = check_runs(runs, split=options["split"], fuse=options["fuse"])
    if fusion is not None:
        options["split"] = fusion.split  # which one it takes is said once
    from avr.predict import Predictor  # torch, after what needs none

    predictor = Predictor(runs, **options)
    as_json = click.get_current_context().params["as_json"]
    found: list[dict[str, Any]] = []
    try:
        for path in paths:
            entry = _predict(predictor, path, drawn.get(path), top=top, window=window, step=step, say=not as_json)
            found.append(entry)
            if "error" in entry:
                click.echo(f"error: {entry['error']}", err=True)
    except Exception:  # what was found is not lost with what comes after it
        if out is not None and found:
            write_table(out, found)
        raise
    unwritten = None
    if out is not None:
        try:
            write_table(out, found)
        except WorkError as error:
            unwritten = error
    failed = any("error" in one for one in found)
    written = [f"wrote {out}"] * (out is not None and unwritten is None) + [f"wrote {draw}"] * (draw is not None)
    return Reply({"predictions": found, "out": out}, lambda: print_lines(*written), failed=failed, error=unwritten)


def _predict(predictor: "Predictor", path: Path, drawn: Path | None, *, say: bool, **asked: Any) -> dict[str, Any]:
    """One video as `--json` has it, printed and drawn as soon as it is there; with "error" where that went wrong."""
    from avr.predict import draw_prediction

    entry: dict[str, Any] = {"video": str(path)}
    with _told(entry, path):
        prediction = predictor.predict(path, **asked)
        entry |= prediction.to_dict()
    if "error" in entry:
        return entry
    if say:
        show(prediction)
    if drawn is not None:
        with _told(entry, path):
            entry["drawn"] = draw_prediction(prediction, drawn)
    return entry


@contextmanager
def _told(entry: dict[str, Any], path: Path) -> Iterator[None]:
    """What goes wrong with one video, be it a bug or a full memory, costs that video, not the others."""
    from avr.core import UsageError, WorkError, message_of

    try:
        yield
    except WorkError as error:
        entry["error"] = str(error)
    except UsageError as error:
        if path.is_file():
            raise  # of the runs, not of this video
        entry["error"] = str(error)
    except Exception as error:
        entry["error"] = f"{path}: cannot be predicted ({message_of(error)})"


def show(prediction: "Prediction") -> None:
    """One video's best classes, then its time line."""
    name = click.format_filename(prediction.path or "")
    click.echo(f"{name}: {prediction.frames} frames, {prediction.seconds:.1f} s")
    print_lines(*([f"  note: {prediction.note}"] if prediction.note else []))
    print_lines(*(f"  {100 * probability:5.1f} %  {name}" for name, probability in prediction.top))
    for window in prediction.timeline:
        best = ", ".join(f"{name} {100 * probability:.0f} %" for name, probability in window.top[:2])
        click.echo(f"  {_clock(window.start)} - {_clock(window.end)}  {best}")


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{seconds % 60:04.1f}"
