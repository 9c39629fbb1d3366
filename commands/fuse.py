"""`avr fuse`: one subcommand a rule, found by the rule's file name, and `compare`."""

import inspect
from pathlib import Path
from typing import Any

import click

from avr.core import Option, item_names, item_summary, options_of, read_value

from ._output import json_option, print_json, print_table

MEASURES = {"top1": "top-1 %", "top5": "top-5 %", "mean_class": "mean class %", "log_loss": "log-loss", "ece": "ECE %"}
FOLDER = click.Path(path_type=Path)


class Rules(click.Group):
    """Subcommands are the rules in `fusion/`; each is imported when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*item_names("avr.fusion"), "compare"]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name == "compare":
            return compare_command
        return features_command() if name == "early-svm" else rule_command(name)

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


def rule_command(rule: str) -> click.Command:
    """The subcommand of a rule over scores; an unknown one is refused with the known ones."""
    from avr.fusion import make_fuser

    estimator = type(make_fuser(rule))
    own = rule_options(estimator)

    def run(as_json: bool, **values: Any) -> None:
        from avr.core import quiet
        from avr.fusion import Evaluation, fuse

        options = {option.name: values.pop(option.name) for option in own}
        evaluation = Evaluation(**{name: values.pop(name) for name in vars(Evaluation())})
        values["streams"] = values["streams"] or None
        with quiet(as_json):
            result = fuse(rule, options=options, evaluation=evaluation, **values)
        print_result(result, as_json=as_json)

    parameters: list[click.Parameter] = [
        scores_argument(),
        *stream_options(),
        *evaluation_options(),
        out_option(rule),
        *own,
    ]
    return json_option(click.Command(rule, callback=run, params=parameters, help=help_of(estimator)))


def features_command() -> click.Command:
    """The subcommand of `early-svm`, which reads a store's features: there are no score files and no folds."""
    from avr.fusion import make_fuser

    rule = "early-svm"
    estimator = type(make_fuser(rule))

    def run(as_json: bool, **values: Any) -> None:
        from avr.core import quiet
        from avr.fusion import fuse_features

        values["streams"] = values["streams"] or None
        with quiet(as_json):
            result = fuse_features(**values)
        print_result(result, as_json=as_json)

    store = click.Option(["--store"], type=FOLDER, help="A feature store.  [default: newest in features/]")
    measured = [option for option in evaluation_options() if option.name in ("seed", "bootstrap")]
    parameters: list[click.Parameter] = [
        *stream_options(),
        *measured,
        store,
        out_option(rule),
        *rule_options(estimator),
    ]
    return json_option(click.Command(rule, callback=run, params=parameters, help=help_of(estimator)))


class OptionValue(click.ParamType):
    """What a rule's option takes, read from the command line's text."""

    name = "value"

    def __init__(self, option: Option) -> None:
        self.option = option

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return read_value(self.option.name, value, self.option.hint)


def rule_options(estimator: type) -> list[click.Option]:
    """The command-line options of a rule's own arguments; what the scores tell (kind, classes) is none."""
    known = options_of(estimator).items()
    return [option_of(option) for name, option in known if name not in ("kind", "num_classes")]


def option_of(option: Option) -> click.Option:
    """The command-line option of a rule's argument, with the argument's default."""
    kind = click.Choice(list(map(str, option.choices))) if option.choices else OptionValue(option)
    return click.Option(
        ["--" + option.name.replace("_", "-"), option.name], type=kind, default=option.default, show_default=True
    )


def help_of(estimator: type) -> str:
    """What the rule is: its docstring down to its arguments."""
    return inspect.cleandoc(estimator.__doc__ or "").partition("\nArgs:")[0].partition("\nAttributes:")[0]


def scores_argument() -> click.Argument:
    """Which score files are taken."""
    return click.Argument(["scores"], nargs=-1, type=FOLDER)


def stream_options() -> list[click.Option]:
    """Which of their splits and streams are taken."""
    return [
        click.Option(["--split"], help="A split's name.  [default: every split that all runs have]"),
        click.Option(
            ["--stream", "streams"], multiple=True, help="A stream to take, such as flow or linear/flow; repeat."
        ),
    ]


def evaluation_options() -> list[click.Option]:
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


def out_option(rule: str) -> click.Option:
    """Where the run folder is written."""
    return click.Option(["--out"], type=FOLDER, help=f"Run folder to write.  [default: runs/fuse-{rule}-K]")


def print_result(result: Any, *, as_json: bool) -> None:
    """The table of a fusion, its differences, its calibration and its notes, or all as JSON."""
    if as_json:
        print_json(result.to_dict())
        return
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


def run_compare(as_json: bool, weights: bool, **values: Any) -> None:
    """Every rule on the same videos, beside averaging.

    With out-of-fold training scores the rules are fitted on them and judged on the test scores; with test scores alone
    all are cross-validated on the same folds, which never split a group. Nothing is written.
    """
    from avr.core import quiet
    from avr.fusion import Evaluation, compare

    evaluation = Evaluation(**{name: values.pop(name) for name in vars(Evaluation())})
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
            scores_argument(),
            *stream_options(),
            *evaluation_options(),
            click.Option(["--rule", "rules"], multiple=True, help="A rule; repeat.  [default: all that read scores]"),
            click.Option(["--weights"], is_flag=True, help="Print the weights of each class and stream too."),
        ],
        help=inspect.cleandoc(run_compare.__doc__ or ""),
    )
)
