"""The parts of `avr fuse`: a rule's command from its estimator's arguments, and what is printed."""

import inspect
from pathlib import Path
from typing import Any

import click

from avr.core import Option, options_of, read_value

from ._output import json_option, print_json, print_table

MEASURES = {"top1": "top-1 %", "top5": "top-5 %", "mean_class": "mean class %", "log_loss": "log-loss", "ece": "ECE %"}


class OptionValue(click.ParamType):
    """What a rule's option takes, read from the command line's text."""

    name = "value"

    def __init__(self, option: Option) -> None:
        self.option = option

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return read_value(self.option.name, value, self.option.hint)


def option_of(option: Option) -> click.Option:
    """The command-line option of a rule's argument, with the argument's default."""
    kind = click.Choice(list(map(str, option.choices))) if option.choices else OptionValue(option)
    return click.Option(
        ["--" + option.name.replace("_", "-"), option.name], type=kind, default=option.default, show_default=True
    )


def score_options() -> list[click.Parameter]:
    """Which scores are taken, and how results are measured."""
    return [
        click.Argument(["scores"], nargs=-1, type=click.Path(path_type=Path)),
        click.Option(["--split"], help="A split's name.  [default: every split that all runs have]"),
        click.Option(
            ["--stream", "streams"], multiple=True, help="A stream to take, such as flow or linear/flow; repeat."
        ),
        *evaluation_options(),
    ]


def evaluation_options() -> list[click.Parameter]:
    """How results are measured."""
    return [
        click.Option(["--folds"], default=5, show_default=True, help="Where there are test scores alone."),
        click.Option(["--repeats"], default=1, show_default=True, help="Of the cross-validation."),
        click.Option(["--seed"], default=0, show_default=True, help="Of the folds and the bootstrap."),
        click.Option(["--bootstrap"], default=2000, show_default=True, help="Samples of the paired bootstrap."),
        click.Option(
            ["--force-random-folds"], is_flag=True, default=False, help="Let folds split groups: results leak."
        ),
    ]


def take_evaluation(values: dict[str, Any]) -> Any:
    """The evaluation settings among a command's values, which lose them."""
    from avr.fusion import Evaluation

    keys = ("folds", "repeats", "seed", "bootstrap", "force_random_folds")
    return Evaluation(**{name: values.pop(name) for name in keys})


def rule_command(rule: str) -> click.Command:
    """The subcommand of one rule."""
    from avr.fusion import rule_class

    estimator = rule_class(rule)
    known = {name: option for name, option in options_of(estimator).items() if name not in ("kind", "num_classes")}

    def run(**values: Any) -> None:
        from avr.core import quiet
        from avr.fusion import fuse

        as_json = values.pop("as_json")
        options = {name: values.pop(name) for name in known}
        evaluation = take_evaluation(values)
        values["streams"] = values["streams"] or None
        with quiet(as_json):
            result = fuse(rule, options=options, evaluation=evaluation, **values)
        if as_json:
            print_json(result.to_dict())
        else:
            print_result(result)

    folder = click.Path(path_type=Path)
    options: list[click.Parameter] = [
        click.Option(["--out"], type=folder, help=f"Run folder to write.  [default: runs/fuse-{rule}-K]"),
        *(option_of(option) for option in known.values()),
    ]
    if estimator.reads == "features":
        options.insert(
            0, click.Option(["--store"], type=folder, help="A feature store.  [default: newest in features/]")
        )
    help_text = inspect.cleandoc(estimator.__doc__ or "").partition("\nArgs:")[0].partition("\nAttributes:")[0]
    return json_option(click.Command(rule, callback=run, params=[*score_options(), *options], help=help_text))


def print_result(result: Any) -> None:
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
    for text in result.notes:
        click.echo(text)
    click.echo(f"written: {result.out}")


def figure(row: dict[str, Any], measure: str) -> str:
    """A figure of a row, with its spread over splits where there are several."""
    scale = 1 if measure == "log_loss" else 100
    digits = 3 if measure == "log_loss" else 1
    text = f"{scale * row[measure]:.{digits}f}"
    return f"{text} ± {scale * row['over_splits'][measure]['spread']:.{digits}f}" if "over_splits" in row else text


def run_compare(**values: Any) -> None:
    """Every rule on the same videos, beside averaging.

    With out-of-fold training scores the rules are fitted on them and judged on the test scores; with test scores alone
    all are cross-validated on the same folds, which never split a group. Nothing is written.
    """
    from avr.core import quiet
    from avr.fusion import compare

    as_json, weights = values.pop("as_json"), values.pop("weights")
    evaluation = take_evaluation(values)
    values["rules"], values["streams"] = values["rules"] or None, values["streams"] or None
    with quiet(as_json):
        result = compare(evaluation=evaluation, **values)
    if as_json:
        print_json(result.to_dict())
        return
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
    for text in result.notes:
        click.echo(text)
    if weights:
        print_weights(result)


def print_weights(result: Any) -> None:
    """The weights of each class and stream, a table a rule and split."""
    for rule, by_split in result.weights.items():
        for split, table in by_split.items():
            rows = [
                [name, *(f"{value:.3f}" for value in row)] for name, row in zip(result.class_names, table, strict=True)
            ]
            click.echo("")
            print_table(["class", *result.streams], rows, title=f"{rule}, split {split}")


compare_command = json_option(
    click.Command(
        "compare",
        callback=run_compare,
        params=[
            *score_options(),
            click.Option(["--rule", "rules"], multiple=True, help="A rule; repeat.  [default: all that read scores]"),
            click.Option(["--weights"], is_flag=True, help="Print the weights of each class and stream too."),
        ],
        help=inspect.cleandoc(run_compare.__doc__ or ""),
    )
)
