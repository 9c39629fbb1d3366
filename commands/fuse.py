"""`avr fuse`: fuse the scores of several streams or runs.

A subcommand a rule, found by its file name, and `compare`.
"""

import inspect
from pathlib import Path
from typing import Any

import click

from avr.core import AvrError, item_names, item_summary, options_of

from ._options import PATH, apply, chosen_stores, record_options, stores_option
from ._output import Reply, answering, computed, print_lines, print_table

MEASURES = {"top1": "top-1 %", "top5": "top-5 %", "mean_class": "mean class %", "log_loss": "log-loss", "ece": "ECE %"}
FROM_SCORES = ("kind", "num_classes")  # a rule's own arguments that are no options: the scores tell them


class Rules(click.Group):
    """Subcommands are the rules in `fusion/`; each is imported when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*item_names("avr.fusion"), "compare"]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        return compare_command() if name == "compare" else rule_command(name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [(rule, item_summary("avr.fusion", rule)) for rule in item_names("avr.fusion")]
        with formatter.section("Rules"):
            formatter.write_dl(rows)
        with formatter.section("Commands"):
            formatter.write_dl([("compare", "Every rule on the same folds, beside averaging.")])


@click.group(cls=Rules)
def command() -> None:
    """Fuse the scores of several streams or runs.

    `avr fuse RULE [SCORES]…` takes score files, run folders, or the newest run of each head under runs/. Rules that
    learn are fitted on out-of-fold training scores and judged on test scores; where there are test scores alone, they
    are cross-validated in them with folds that never split a group.
    """


SCORES = click.argument("scores", nargs=-1, type=PATH)
STREAMS = (
    click.option("--split", help="A split's name.  [default: every split that all runs have]"),
    click.option(
        "--stream",
        "streams",
        multiple=True,
        callback=lambda _, __, values: values or None,
        help="A stream to take, such as flow or linear/flow; repeat.",
    ),
)


def rule_command(rule: str) -> click.Command:
    """The subcommand of a rule; an unknown one is refused with the known ones.

    `early-svm` reads the features of stores: there are no score files, and no folds.
    """
    from avr.fusion import Evaluation, fuse, fuse_features, make_fuser

    made = type(make_fuser(rule))
    own = record_options("options", made, only=[name for name in options_of(made) if name not in FROM_SCORES])
    out = click.option("--out", type=PATH, help=f"Run folder to write.  [default: runs/fuse-{rule}-K]")

    def from_scores(options: dict[str, Any], **values: Any) -> Reply:
        return _answer(*computed(fuse, rule, options=options, **values))

    def from_features(
        options: dict[str, Any], measured: dict[str, Any], stores: tuple[Path, ...], **values: Any
    ) -> Reply:
        return _answer(*computed(fuse_features, chosen_stores(stores), **options, **measured, **values))

    if rule == "early-svm":
        measured = record_options("measured", Evaluation, only=("seed", "bootstrap"))
        run = apply([*STREAMS, measured, stores_option, out, own], answering(from_features))
    else:
        run = apply([SCORES, *STREAMS, record_options("evaluation", Evaluation), out, own], answering(from_scores))
    about = inspect.cleandoc(made.__doc__ or "").partition("\nArgs:")[0].partition("\nAttributes:")[0]
    return click.command(rule, help=about)(run)


def _answer(result: Any, error: AvrError | None) -> Reply:
    return Reply(result, lambda: print_result(result, written=error is None), error=error)


def print_result(result: Any, *, written: bool = True) -> None:
    """The table of a fusion, its differences, its calibration and its notes."""
    rows = [[row["name"], *(figure(row, measure) for measure in MEASURES)] for row in result.rows]
    print_table(["stream or rule", *MEASURES.values()], rows)
    click.echo("")
    for other, found in result.differences.items():
        name = f"{other} ({found['stream']})" if "stream" in found else other
        low, high = 100 * found["low"], 100 * found["high"]
        click.echo(
            f"{result.rule} - {name}: {100 * found['difference']:+.2f} points top-1, 95 % interval {low:+.2f} … "
            f"{high:+.2f} (groups resampled), McNemar p {found['p']:.3g}"
        )
    for split, streams in result.calibration.items():
        for name, found in streams.items():
            click.echo(
                f"split {split} {name}: temperature {found['temperature']:.3g}, expected calibration error "
                f"{100 * found['ece_before']:.1f} % before, {100 * found['ece_after']:.1f} % after"
            )
    print_lines(*result.notes, *([f"written: {result.out}"] if written else []))


def figure(row: dict[str, Any], measure: str) -> str:
    """A figure of a row, with its spread over splits where there are several."""
    scale, digits = (1, 3) if measure == "log_loss" else (100, 1)
    text = f"{scale * row[measure]:.{digits}f}"
    return f"{text} ± {scale * row['over_splits'][measure]['spread']:.{digits}f}" if "over_splits" in row else text


def compare_command() -> click.Command:
    """The subcommand `compare`."""
    from avr.fusion import Evaluation, compare

    @click.command("compare")
    @SCORES
    @STREAMS[0]
    @STREAMS[1]
    @record_options("evaluation", Evaluation)
    @click.option(
        "--rule",
        "rules",
        multiple=True,
        callback=lambda _, __, values: values or None,
        help="A rule; repeat.  [default: all that read scores]",
    )
    @click.option("--weights", is_flag=True, help="Print the weights of each class and stream too.")
    @answering
    def run(weights: bool, **values: Any) -> Reply:
        """Every rule on the same videos, beside averaging.

        With out-of-fold training scores the rules are fitted on them and judged on the test scores; with test scores
        alone all are cross-validated on the same folds, which never split a group. Nothing is written.
        """
        result = compare(**values)
        return Reply(result, lambda: print_comparison(result, weights=weights))

    return run


def print_comparison(result: Any, *, weights: bool) -> None:
    """The table of a comparison and its notes; with `weights`, those of the classes, a table a rule and split."""
    rows = [
        [
            row["name"],
            *(figure(row, measure) for measure in MEASURES),
            f"{100 * row['difference']:+.2f} [{100 * row['low']:+.2f}, {100 * row['high']:+.2f}]",
            f"{row['p']:.3g}",
        ]
        for row in result.rows
    ]
    print_table(["stream or rule", *MEASURES.values(), "top-1 - average [95 %]", "McNemar p"], rows)
    print_lines(*result.notes)
    for rule, by_split in result.weights.items() if weights else ():
        for split, table in by_split.items():
            shares = [
                [name, *(f"{value:.3f}" for value in row)] for name, row in zip(result.class_names, table, strict=True)
            ]
            click.echo("")
            print_table(["class", *result.streams], shares, title=f"{rule}, split {split}")
