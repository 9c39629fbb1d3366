"""`avr report`: one HTML page about runs: accuracy, classes, curves, videos."""

import webbrowser
from pathlib import Path

import click

from ._options import PATH
from ._output import Reply, answering, computed, print_lines
from ._shell import among_runs


@click.command()
@click.argument("runs", nargs=-1, type=PATH, shell_complete=among_runs)
@click.option("--out", type=PATH, default=Path("report.html"), show_default=True, help="The page.")
@click.option("--overwrite", is_flag=True, help="Replace what --out names, whatever it is; a former report always is.")
@click.option("--open", "show", is_flag=True, help="Show the page in the browser.")
@answering
def command(runs: tuple[Path, ...], out: Path, overwrite: bool, show: bool) -> Reply:
    """Write one HTML page about RUNS: run folders or score files; without any, the newest under runs/.

    What was run and a verdict, accuracies with intervals against the untrained rules, calibration, the weights of a
    fusion, accuracy and gain by class, confusion, learning curves, the hardest and most confidently wrong videos
    with pictures where these are at hand, and how extraction went: in one file that needs no network.
    """
    from avr.report import newest_runs, write_report

    report, error = computed(write_report, list(runs) or newest_runs(), out, overwrite=overwrite)
    found = [{"name": o.name, "dataset": o.dataset, "main": o.main, "splits": o.rows} for o in report.outcomes]
    lines = [
        f"{outcome.name}{f', split {split}' if split else ''}: "
        f"{outcome.main} {100 * rows[outcome.main]['top1']:.1f} % top-1"
        for outcome in report.outcomes
        for split, rows in outcome.rows.items()
    ]
    if error is None:
        lines += [f"written: {report.out}", report.out.resolve().as_uri()]
        if show and not webbrowser.open(report.out.resolve().as_uri()):
            lines.append("no browser could be opened here: open the link above")
    return Reply({"out": report.out, "runs": found}, lambda: print_lines(*lines), error=error)
