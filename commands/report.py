"""`avr report`: one HTML page about runs: tables, confusion, curves."""

from pathlib import Path

import click

from ._options import PATH
from ._output import Reply, answering, computed, print_lines
from ._shell import among_runs


@click.command()
@click.argument("runs", nargs=-1, type=PATH, shell_complete=among_runs)
@click.option("--out", type=PATH, default=Path("report.html"), show_default=True, help="The page.")
@click.option("--overwrite", is_flag=True, help="Replace what --out names, whatever it is; a former report always is.")
@answering
def command(runs: tuple[Path, ...], out: Path, overwrite: bool) -> Reply:
    """Write one HTML page about RUNS: run folders or score files; without any, the newest under runs/.

    Accuracy tables, accuracy by class, confusion matrices, most confused pairs, the weights of a fusion
    whose classes weigh streams apart, and learning curves, in one file that any browser opens without a network.
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
    lines += [f"written: {report.out}"] if error is None else []
    return Reply({"out": report.out, "runs": found}, lambda: print_lines(*lines), error=error)
