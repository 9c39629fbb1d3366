"""What a terminal gets besides text: names completed, names that are nearly right, help in groups."""

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from click.shell_completion import BashComplete, CompletionItem, add_completion_class

from avr.core import Option, item_names

Complete = Callable[[click.Context, click.Parameter, str], list[Any]]


class Group(click.Group):
    """A group of commands that says which one may be meant."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            close = difflib.get_close_matches(args[0], self.list_commands(ctx), n=1)
            if not close or "No such command" not in error.message:
                raise
            raise click.UsageError(f"No such command '{args[0]}': did you mean {close[0]}?", ctx) from None


class Grouped(click.Command):
    """A command whose help lists its options under headings.

    Args:
        groups: heading to names of parameters; those of none come last, under "Options".
    """

    def __init__(self, *arguments: Any, groups: Mapping[str, Sequence[str]], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.groups = groups

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The options, as `click` writes each."""
        heading_of = {name: heading for heading, names in self.groups.items() for name in names}
        listed: dict[str, list[tuple[str, str]]] = {heading: [] for heading in (*self.groups, "Options")}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                listed[heading_of.get(parameter.name or "", "Options")].append(record)
        for heading, records in listed.items():
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records)


def among_items(package: str) -> Complete:
    """Completion by the names of a package's items: heads, data sets; nothing is imported."""

    def complete(_: click.Context, __: click.Parameter, incomplete: str) -> list[Any]:
        return _beginning(incomplete, item_names(package))

    return complete


def among_recipes(_: click.Context, __: click.Parameter, incomplete: str) -> list[Any]:
    """Completion by the names of the papers' tables."""
    from avr.recipes import recipe_names

    return _beginning(incomplete, recipe_names())


def among_runs(_: click.Context, __: click.Parameter, incomplete: str) -> Sequence[Any]:
    """Completion by the runs under `runs/`, and by folders."""
    from avr.store import RUNS

    found = sorted(path.as_posix() for path in Path(RUNS).glob("[!.]*") if path.is_dir())
    return _beginning(incomplete, found) or [CompletionItem(incomplete, type="file")]


def among_parts(package: str) -> Complete:
    """Completion by the names of a package's items inside a text, such as "rgb,fl" or "slow=fl"."""

    def complete(_: click.Context, __: click.Parameter, incomplete: str) -> list[Any]:
        start = max(map(incomplete.rfind, ",=")) + 1
        return [incomplete[:start] + name for name in _beginning(incomplete[start:], item_names(package))]

    return complete


def among_options(known: Callable[[click.Context], Mapping[str, Option]]) -> Complete:
    """Completion of NAME=VALUE by the names of options, and by the choices that one has."""

    def complete(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[Any]:
        options = known(ctx)
        name, mark, value = incomplete.partition("=")
        if not mark:
            return [f"{one}=" for one in _beginning(name, options)]
        option = options.get(name.replace("-", "_"))
        if option is None:
            return []
        choices = ("true", "false") if option.kind is bool else map(str, option.choices)
        return [f"{name}={one}" for one in _beginning(value, choices)]

    return complete


def _beginning(start: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(start)]


class Bash(BashComplete):
    """bash takes "=" for a word of its own, and replaces what stands behind it alone."""

    source_template = BashComplete.source_template.replace(
        "COMPREPLY+=($value)", "COMPREPLY+=($value)\n            [[ $value == *= ]] && compopt -o nospace"
    )

    def get_completion_args(self) -> tuple[list[str], str]:
        """The words before the one that is begun, and that one."""
        before, begun = super().get_completion_args()
        words: list[str] = [""]
        for word in (*before, begun):
            if word == "=" or words[-1].endswith("="):
                words[-1] += word
            else:
                words.append(word)
        option, mark, value = words[-1].partition("=")
        value = value if mark and option.startswith("--") else words[-1]  # click completes what stands behind --option=
        self.there = value[: value.rfind("=") + 1]
        return words[1:-1], words[-1]

    def format_completion(self, item: CompletionItem[Any]) -> str:
        """A line of the answer."""
        item.value = item.value.removeprefix(self.there)
        return super().format_completion(item)


add_completion_class(Bash)
