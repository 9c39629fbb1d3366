"""`avr report`."""

from pathlib import Path

import click

from ._output import json_option, print_json


@click.command()
@click.argument("runs", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("report.html"), show_default=True, help="The page."
)
@json_option
def command(runs: tuple[Path, ...], out: Path, as_json: bool) -> None:
    """Write one HTML page about RUNS: run folders or score files; without any, the newest under runs/.

    Accuracy tables, accuracy by class, confusion matrices, most confused pairs and learning curves, in one file that
    any browser opens without a network.
    """
    from avr.core import quiet
    from avr.report import newest_runs, write_report

    with quiet(as_json):
        report = write_report(list(runs) or newest_runs(), out)
    if as_json:
        found = [{"name": o.name, "dataset": o.dataset, "main": o.main, "splits": o.rows} for o in report.outcomes]
        print_json({"out": report.out, "runs": found})
        return
    for outcome in report.outcomes:
        for split, rows in outcome.rows.items():
            click.echo(f"{outcome.name}, split {split}: {outcome.main} {100 * rows[outcome.main]['top1']:.1f} % top-1")
    click.echo(f"written: {report.out}")
