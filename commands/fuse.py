"""`avr fuse`: one subcommand a rule, found by the rule's file name, and `compare`."""

import ast
from pathlib import Path

import click

from avr.core import item_names

from ._fuse import compare_command, rule_command


def summary_of(rule: str) -> str:
    """First line of a rule's module docstring, read without importing it."""
    import avr.fusion

    path = Path(avr.fusion.__path__[0]) / f"{rule.replace('-', '_')}.py"
    return (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n")[0]


class Rules(click.Group):
    """Subcommands are the rules in `fusion/`; each is imported when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*item_names("avr.fusion"), "compare"]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name == "compare":
            return compare_command
        from avr.fusion import rule_class

        rule_class(name)  # an unknown name is refused here, with the known ones
        return rule_command(name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [(rule, summary_of(rule)) for rule in item_names("avr.fusion")]
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
