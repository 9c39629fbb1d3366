"""`avr runs`: which runs there are, how well they do, and how to repeat one."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from avr.core import UsageError, as_text, first_few

from ._options import PATH
from ._output import Reply, answering, print_lines, print_table
from ._repeating import ways_again
from ._shell import Group, among_runs

if TYPE_CHECKING:
    from avr.report import RunLine
    from avr.store import RunRecord

COLUMNS = "run kind head dataset store splits output videos top1 low high mean_class complete lack written".split()  # noqa: SIM905


@click.group(cls=Group, invoke_without_command=True)
@click.option("--under", type=PATH, help="Folder to look in, at any depth.  [default: runs]")
@click.option("--csv", "table", type=PATH, help="Write the list as a table, all figures in full.")
@click.option("--overwrite", is_flag=True, help="Replace a file that is there.")
@click.pass_context
@answering
def command(ctx: click.Context, under: Path | None, table: Path | None, overwrite: bool) -> Reply | None:
    """List the runs: what each is, its test accuracy with an interval, whether it is whole.

    Heads, fusions, and trainings end to end; the newest last. Accuracies are of the run's prediction, over the test
    videos of all its splits together, with the 95 % interval over their groups.
    """
    if ctx.invoked_subcommand:
        if any(ctx.params.values()):
            name = ctx.invoked_subcommand
            raise UsageError(
                f"what stands before '{name}' is of the list alone: give its options after 'avr runs {name}'"
            )
        return None
    from avr.core import claim_file, write_csv
    from avr.report import list_runs
    from avr.store import RUNS

    if table is not None:
        claim_file(table, overwrite=overwrite)
    lines = list_runs(under or RUNS) if under or RUNS.is_dir() else []
    found = [_plain(line) for line in lines]
    if table is not None:
        cells = [["; ".join(row["splits"]) if name == "splits" else row[name] for name in COLUMNS] for row in found]
        write_csv(table, [COLUMNS, *cells])
    return Reply(found, lambda: _show_list(lines, table))


def _plain(line: "RunLine") -> dict[str, Any]:
    return {name: getattr(line, name) for name in COLUMNS} | {"run": str(line.run)}


def _show_list(lines: "list[RunLine]", table: Path | None) -> None:
    if not lines:
        click.echo("no runs there: avr heads train linear makes one")
    rows = [
        (
            line.run,
            line.head or line.kind,
            line.dataset or "-",
            first_few(name or "-" for name in line.splits),
            line.output or "-",
            "-" if line.top1 is None else f"{100 * line.top1:.1f}",
            "-" if line.low is None or line.high is None else f"{100 * line.low:.1f} … {100 * line.high:.1f}",
            line.written[:16].replace("T", " "),
            line.lack or "whole",
        )
        for line in lines
    ]
    if rows:
        header = ("run", "head", "data set", "splits", "output", "top-1 %", "95 % interval", "written", "state")
        print_table(header, rows, align="lllllrrll")
    print_lines(*([f"written: {table}"] if table else []))


@command.command()
@click.argument("run", type=PATH, shell_complete=among_runs)
@answering
def show(run: Path) -> Reply:
    """Show what RUN was made of and how to repeat it."""
    from avr.report import read_line
    from avr.store import read_record

    record = read_record(run)
    again = ways_again(run, record)
    found = {**_plain(read_line(run)), "record": record.to_dict(), "repeat": again}
    return Reply(found, lambda: _show_run(run, record, again))


@command.command()
@click.argument("run", type=click.Path(path_type=Path, exists=True), shell_complete=among_runs)
@click.option("--out", type=PATH, default=Path("predictions.csv"), show_default=True, help="The table.")
@click.option("--output", default="", metavar="NAME", help="Such as rgb, or multiply.  [default: the run's prediction]")
@click.option("--overwrite", is_flag=True, help="Replace a file that is there.")
@answering
def predictions(run: Path, out: Path, output: str, overwrite: bool) -> Reply:
    """Write what RUN predicts of each test video: id, label, prediction, a probability a class.

    RUN is the folder of a head's run, of a fusion or of a training end to end, or a score file.
    """
    from avr.report import write_predictions

    rows = write_predictions(run, out, output=output, overwrite=overwrite)
    return Reply({"out": out, "rows": rows}, lambda: click.echo(f"written: {out}, {rows} rows"))


def _show_run(run: Path, record: "RunRecord", again: list[str]) -> None:
    from avr.store import KINDS

    facts = {
        "run": f"{run}, {KINDS[record.kind]}",
        "head": record.head,
        "reads": ", ".join(f"{stream}/{layer}" for stream, layer in record.layers.items()),
        "options": ", ".join(f"{name}={as_text(value)}" for name, value in record.options.items()),
        "training": ", ".join(f"{name}={as_text(value)}" for name, value in record.training.items()),
        "seed": record.seed,
        "data set": record.dataset,
        "store": as_text(record.store.get("paths") or record.store.get("path", "")),
        "digest": record.store.get("digest", ""),
        "versions": ", ".join(f"{name} {version}" for name, version in record.versions.items()),
        "written": record.written,
    }
    print_lines(*(f"{name.ljust(8)}  {value}" for name, value in facts.items() if value != ""))
    rows = [
        (name or "-", output, *(f"{100 * figures[one]:.1f}" for one in ("top1", "top5", "mean_class")))
        for name, split in record.splits.items()
        for output, figures in split.results.items()
    ]
    if rows:
        click.echo()
        print_table(("split", "output", "top-1 %", "top-5", "mean class"), rows, align="llrrr")
    click.echo()
    print_lines(*(f"{'repeat it' if record.finished else 'go on with it'}: {line}" for line in again))
