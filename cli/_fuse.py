"""The parts of `avr fuse`: a rule's command from its estimator's arguments, and what is printed."""

import inspect
import json
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import click

from ._output import json_option, print_json, print_table

MEASURES = {"top1": "top-1 %", "top5": "top-5 %", "mean_class": "mean class %", "log_loss": "log-loss", "ece": "ECE %"}


class OptionValue(click.ParamType):
    """A rule's option: JSON where it reads as such (0.3, [1, 2]), `1,1.5` as a list, else the text itself."""

    name = "value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value)
        except json.JSONDecodeError:
            pass
        if "," in value:
            try:
                return [float(part) for part in value.split(",")]
            except ValueError:
                self.fail(f"{value!r} is no list of numbers", param, ctx)
        return value


def option_of(parameter: inspect.Parameter) -> click.Option:
    """The command-line option of a rule's argument, with the argument's default."""
    annotation = parameter.annotation
    literal = get_origin(annotation) is Literal
    kind: click.ParamType = click.Choice([str(choice) for choice in get_args(annotation)]) if literal else OptionValue()
    flag = "--" + parameter.name.replace("_", "-")
    return click.Option([flag, parameter.name], type=kind, default=parameter.default, show_default=True)


def common_options() -> list[click.Parameter]:
    """The options that every rule has."""
    folder = click.Path(path_type=Path)
    return [
        click.Argument(["scores"], nargs=-1, type=folder),
        click.Option(["--split"], help="A split's name.  [default: every split that all runs have]"),
        click.Option(
            ["--stream", "streams"], multiple=True, help="A stream to take, such as flow or linear/flow; repeat."
        ),
        click.Option(["--store"], type=folder, help="Feature store, for early-svm.  [default: newest under features/]"),
        click.Option(["--out"], type=folder, help="Run folder to write.  [default: runs/fuse-RULE-K]"),
        *evaluation_options(),
    ]


def evaluation_options() -> list[click.Parameter]:
    """How results are measured."""
    return [
        click.Option(["--folds"], default=5, show_default=True, help="Where there are test scores alone."),
        click.Option(["--repeats"], default=1, show_default=True, help="Of the cross-validation."),
        click.Option(["--seed"], default=0, show_default=True, help="Of the folds and the bootstrap."),
        click.Option(["--bootstrap"], default=2000, show_default=True, help="Samples of the paired bootstrap."),
        click.Option(["--force-random-folds"], is_flag=True, help="Let folds split groups: results leak."),
    ]


def rule_command(rule: str) -> click.Command:
    """The subcommand of one rule."""
    from avr.fusion import rule_class

    estimator = rule_class(rule)
    parameters = inspect.signature(estimator).parameters
    names = [name for name in parameters if name not in ("kind", "num_classes")]

    def run(**values: Any) -> None:
        from avr.core import quiet
        from avr.fusion import Evaluation, fuse

        as_json = values.pop("as_json")
        options = {name: values.pop(name) for name in names}
        keys = ("folds", "repeats", "seed", "bootstrap", "force_random_folds")
        evaluation = Evaluation(**{name: values.pop(name) for name in keys})
        values["streams"] = values["streams"] or None
        with quiet(as_json):
            result = fuse(rule, options=options, evaluation=evaluation, **values)
        if as_json:
            print_json(result.to_dict())
        else:
            print_result(result)

    options = [option_of(parameters[name]) for name in names]
    help_text = inspect.cleandoc(estimator.__doc__ or "").partition("\nArgs:")[0].partition("\nAttributes:")[0]
    return json_option(click.Command(rule, callback=run, params=[*common_options(), *options], help=help_text))


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
