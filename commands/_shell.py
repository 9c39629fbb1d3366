"""What a terminal gets besides text: names completed, names that are nearly right, help in groups."""

import difflib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from avr.core import item_names

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
        return [name for name in item_names(package) if name.startswith(incomplete)]

    return complete


def among_recipes(_: click.Context, __: click.Parameter, incomplete: str) -> list[Any]:
    """Completion by the names of the papers' tables."""
    from avr.recipes import recipe_names

    return [name for name in recipe_names() if name.startswith(incomplete)]


def among_runs(_: click.Context, __: click.Parameter, incomplete: str) -> list[Any]:
    """Completion by the runs under `runs/`, and by folders."""
    from avr.store import RUNS

    found = sorted(path.as_posix() for path in Path(RUNS).glob("[!.]*") if path.is_dir())
    return [run for run in found if run.startswith(incomplete)] or [CompletionItem(incomplete, type="file")]
