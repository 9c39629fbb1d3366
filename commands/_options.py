"""Options of commands, made of a record's fields: names, types, choices, defaults and help are the record's own."""

import functools
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import MISSING, replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

import click

from avr.core import About, AvrError, Option, UsageError, as_text, item_names, options_of, read_options, read_value
from avr.extract import STREAMS, Settings, read_streams
from avr.training import TensorBoard, Training, check_device

from ._shell import among_items, among_options, among_parts
from ._values import set_option

F = TypeVar("F", bound=Callable[..., Any])
PATH = click.Path(path_type=Path)
KINDS: dict[Any, str] = {int: "integer", float: "float", str: "text", Path: "path"}
NOT_OWN = ("name", "drawn", "lists_suffice")  # of `index_dataset`, and no options of a data set's own
COMMON = ("epochs", "batch_size", "lr", "optimizer", "schedule", "weight_decay")  # options of their own


class Value(click.ParamType):
    """What an option takes, read from the command line's text."""

    def __init__(self, option: Option) -> None:
        self.option = option
        self.name = KINDS.get(option.kind, "value")

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return read_value(self.option.name, value, self.option.hint) if isinstance(value, str) else value


def field_option(
    option: Option, *, default: Any = None, note: str = "", flag: str = "", many: bool = False
) -> Callable[[F], F]:
    """One field as a command's option: `--lr FLOAT`, `--mirror / --no-mirror`, `--recompute`, `--optimizer [a|b]`.

    Args:
        option: the field, as `avr.core.options_of` has it.
        default: shown in the help; None and what is empty say nothing.
        note: what the help says behind the field's text.
        flag: what it is called, if not by the field's name.
        many: the option is repeated, and the command gets its texts.
    """
    flag = flag or f"--{option.name.replace('_', '-')}"
    if option.kind is bool:
        names = f"{flag}/--no-{flag[2:]}" if default else flag
        help_text = option.about.text + note
        return click.option(
            names, option.name, is_flag=True, default=default, show_default=bool(default), help=help_text
        )
    if default not in (None, "", ()):
        note += f"  [default: {as_text(default)}]"
    kind: Any = click.Choice(list(map(str, option.choices))) if option.choices else Value(option)
    return click.option(
        flag,
        option.name,
        type=str if many else kind,
        multiple=many,
        default=default,
        metavar=option.about.unit or None,
        help=(option.about.text + note).strip(),
    )


def record_options(
    argument: str,
    made: Callable[..., Any],
    *,
    only: Collection[str] | None = None,
    defaults: Any = None,
    flags: Mapping[str, str] | None = None,
) -> Callable[[F], F]:
    """Add an option for each field of a record; the command gets the record in one argument, or its error in one line.

    Args:
        argument: the command's.
        made: a dataclass, of which each field that says what it is for is an option; or what has keyword parameters.
        only: the options, if not those; the command then gets them as a dict.
        defaults: a record whose values hold where none is given, if not the fields' own.
        flags: what fields are called that are not called by their names, such as {"name": "--engine"}.
    """
    known = {
        name: option
        for name, option in options_of(made).items()
        if (option.about.text if only is None else name in only)
    }
    flags = flags or {}

    def add(function: F) -> F:
        @functools.wraps(function)
        def called(*arguments: Any, **options: Any) -> Any:
            values = {name: options.pop(name) for name in known}
            return function(*arguments, **{argument: made(**values) if only is None else values}, **options)

        shown = []
        for name, option in known.items():
            default = option.default if defaults is None else getattr(defaults, name)
            default = None if default is MISSING else default
            shown.append(field_option(option, default=default, flag=flags.get(name, "")))
        return apply(shown, called)

    return add


def stream_options(function: F) -> F:
    """Add `--stream` and an option for each setting of a stream, repeated, NAME=VALUE for one stream alone; the command
    gets them in one argument, `streams`: stream -> settings."""
    known = {name: option for name, option in options_of(Settings).items() if option.about.text}

    @functools.wraps(function)
    def called(*arguments: Any, stream: tuple[str, ...], **options: Any) -> Any:
        given = {name: options.pop(name) for name in known}
        told = {name: list(value) if isinstance(value, tuple) else value for name, value in given.items()}
        return function(*arguments, streams=read_streams(stream, told), **options)

    text = "Names of kinds: " + ", ".join(item_names(STREAMS)) + "; or NAME=KIND.  [default: rgb,flow]"
    complete = among_parts(STREAMS)
    shown = [
        click.option(
            "--stream", multiple=True, default=("rgb,flow",), metavar="NAMES", help=text, shell_complete=complete
        )
    ]
    for option in known.values():
        if option.kind is bool:
            shown.append(field_option(option, default=option.default))
            continue
        unit = option.about.unit or "|".join(map(str, option.choices))
        note = "" if option.default in ("", 0, (), 0.0) else f"  [default: {as_text(option.default)}]"
        about = replace(option, hint=Annotated[str, About(option.about.text, unit)])
        shown.append(field_option(about, default=(), note=note, many=True))
    return apply(shown, called)


def training_options(base: Training | None = None, *, unread: Collection[str] = ()) -> Callable[[F], F]:
    """Add a training's options: the common settings by name, `--training NAME=VALUE` for any other.

    The command gets those that were given in one argument, `training`: setting -> value, or text for `--training`.

    Args:
        base: the settings that hold where none is given, for the help; None: the head's own.
        unread: settings that the command's training does not read.
    """
    known = options_of(Training)
    others = [name for name in known if name not in (*COMMON, *unread)]
    text = f"Any other setting; repeat: {', '.join(others)}."
    more = set_option("--training", text, complete=among_options(lambda _: {name: known[name] for name in others}))

    def add(function: F) -> F:
        @functools.wraps(function)
        def called(*arguments: Any, training: dict[str, str], **options: Any) -> Any:
            named = {name: options.pop(name) for name in COMMON}
            given = {**training, **{name: value for name, value in named.items() if value is not None}}
            read_options(known, given, kind="training setting")  # before the command loads torch
            return function(*arguments, training=given, **options)

        shown = {name: getattr(base, name) if base else "the head's" for name in COMMON}
        common = [field_option(known[name], note=f"  [default: {value}]") for name, value in shown.items()]
        return apply([*common, more], called)

    return add


def dataset_options(function: F) -> F:
    """Add what finds a data set's videos; the command gets it in one argument, `where`, for `index_dataset`."""

    @functools.wraps(function)
    def called(*arguments: Any, pairs: dict[str, str], **options: Any) -> Any:
        where = {name: options.pop(name) for name in ("root", "splits", "called")}
        for name in (*NOT_OWN, *where):
            if name in pairs:
                raise UsageError(f"--set {name}=… is no option of a data set's own: see the command's")
        return function(*arguments, where={**where, **pairs}, **options)

    def own(ctx: click.Context) -> Mapping[str, Option]:
        from avr.datasets import describe_dataset

        with suppress(AvrError):  # no such data set: nothing to complete by
            return describe_dataset(ctx.params.get("dataset") or "", ctx.params.get("root")).options
        return {}

    shown = [
        click.option("--root", type=PATH, help="Folder of the videos.  [default: data/NAME]"),
        click.option("--splits", type=PATH, help="Folder or file of the split lists, if elsewhere."),
        click.option("--name", "called", help="What to call it.  [default: its name, or its folder's]"),
        set_option("--set", "An option of the data set's own; repeat.", name="pairs", complete=among_options(own)),
    ]
    return apply(shown, called)


def device_option(function: F) -> F:
    text = "auto, cpu, cuda or cuda:1."
    option = click.option(
        "--device", default="auto", show_default=True, callback=lambda _, __, name: check_device(name), help=text
    )
    return option(function)


def log_option(function: F) -> F:
    """Add `--log`; the command gets in `on_epoch` what is told of epochs, open until it ends."""

    @functools.wraps(function)
    def called(*arguments: Any, log: str | None, **options: Any) -> Any:
        if log is None:
            return function(*arguments, **options)
        with TensorBoard() as on_epoch:
            return function(*arguments, on_epoch=on_epoch, **options)

    text = "Write each epoch under RUN/tensorboard as it ends; epochs.csv and log.csv are written in any case."
    return apply([click.option("--log", type=click.Choice(["tensorboard"]), help=text)], called)


stores_option = click.option(
    "--store",
    "stores",
    multiple=True,
    type=PATH,
    help="Feature store; repeat to join several by video.  [default: the newest under features/]",
)


def chosen_store(given: Path | None) -> Path:
    """The store, or file of scores, that a command was given, or the newest store under features/. Loads no torch.

    Raises:
        UsageError: it is not there, or there is none.
    """
    from avr.store import default_store

    if given is not None and not given.exists():
        raise UsageError(f"{given}: cannot be opened (no such file or folder)")
    return default_store() if given is None else given


def chosen_stores(given: Iterable[Path]) -> tuple[Path, ...]:
    """The stores that a command was given (`stores_option`), or the newest one; see `chosen_store`."""
    return tuple(map(chosen_store, given)) or (chosen_store(None),)


dataset_option = click.option(
    "--dataset",
    required=True,
    shell_complete=among_items("avr.datasets"),
    help="A data set that avr knows (`avr datasets list`), or the folder of your own clips.",
)


trials_option = click.option("--trials", type=click.IntRange(1), default=24, show_default=True, help="How many.")


def apply(options: Iterable[Callable[[Any], Any]], function: Any) -> Any:
    """Add options to a command's function, so that its help lists them in their order."""
    for option in reversed(list(options)):
        function = option(function)
    return function
