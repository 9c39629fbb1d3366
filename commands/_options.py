"""Options made of a settings record's fields: their names, types, choices and help are the record's own."""

import functools
from collections.abc import Callable, Collection, Iterable
from typing import Any, TypeVar

import click

from avr.core import Option, options_of
from avr.training import Training

F = TypeVar("F", bound=Callable[..., Any])
COMMON = ("epochs", "batch_size", "lr", "optimizer", "schedule", "weight_decay")  # options of their own


def training_options(base: Training | None = None, *, unread: Collection[str] = ()) -> Callable[[F], F]:
    """Add a training's options: the common settings by name, `--training NAME=VALUE` for any other.

    The command gets those that were given in one argument, `training`: setting -> value, or text for `--training`.

    Args:
        base: the settings that hold where none is given, for the help; None: the head's own.
        unread: settings that the command's training does not read.
    """
    known = options_of(Training)
    others = [name for name in known if name not in (*COMMON, *unread)]
    more = click.option(
        "--training",
        multiple=True,
        metavar="NAME=VALUE",
        callback=pairs,
        help=f"Any other setting; repeat: {', '.join(others)}.",
    )

    def add(function: F) -> F:
        @functools.wraps(function)
        def called(*arguments: Any, training: dict[str, str], **options: Any) -> Any:
            named = {name: options.pop(name) for name in COMMON}
            given = {name: value for name, value in named.items() if value is not None}
            return function(*arguments, training={**training, **given}, **options)

        shown = {name: getattr(base, name) if base else "the head's" for name in COMMON}
        common = [field_option(known[name], note=f"  [default: {value}]") for name, value in shown.items()]
        return apply([*common, more], called)

    return add


def record_options(argument: str, defaults: Any) -> Callable[[F], F]:
    """Add an option a field of a settings record; the command gets a record in one argument, or its error in one line.

    Args:
        argument: the command's.
        defaults: the record whose values hold where none is given.
    """
    kind = type(defaults)
    known = options_of(kind)

    def add(function: F) -> F:
        @functools.wraps(function)
        def called(*arguments: Any, **options: Any) -> Any:
            made = kind(**{name: options.pop(name) for name in known})
            return function(*arguments, **{argument: made}, **options)

        shown = [field_option(option, default=getattr(defaults, name)) for name, option in known.items()]
        return apply(shown, called)

    return add


def field_option(option: Option, *, default: Any = None, note: str = "") -> Callable[[F], F]:
    """One field as a command's option: `--lr FLOAT`, `--mirror / --no-mirror`, `--recompute`, `--optimizer [a|b]`.

    Args:
        option: the field, as `avr.core.options_of` has it.
        default: shown in the help; None says nothing.
        note: what the help says behind the field's text.
    """
    name, text = f"--{option.name.replace('_', '-')}", option.about + note
    if option.kind is bool:
        names = f"{name}/--no-{name[2:]}" if default else name
        return click.option(names, is_flag=True, default=default, show_default=bool(default), help=text)
    kind = click.Choice(option.choices) if option.choices else option.kind
    return click.option(name, type=kind, default=default, show_default=default is not None, help=text)


def apply(options: Iterable[Callable[[Any], Any]], function: Any) -> Any:
    """Add options to a command's function, so that its help lists them in their order."""
    for option in reversed(list(options)):
        function = option(function)
    return function


def pairs(_: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """`NAME=VALUE` options as a dict of texts."""
    for value in values:
        if "=" not in value:
            raise click.BadParameter(f"'{value}' is not of the form name=value", param=parameter)
    return {name: text for name, _, text in (value.partition("=") for value in values)}
