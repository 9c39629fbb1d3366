"""`avr fuse`: fuse the scores of several streams or runs.

A subcommand a rule, found by its file name, `compare` and `apply`.
"""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from avr.core import UsageError, item_names, item_summary, options_of

from ._fusion import print_applied, print_comparison, print_fusion, sort_option
from ._options import PATH, apply, chosen_stores, record_options, stores_option
from ._output import Reply, answering, computed
from ._repeating import check_same, config_option, is_given, record_of
from ._shell import Group, among_runs

MORE = {"compare": "Every rule on the same folds, beside averaging.", "apply": "A fitted rule on scores of new videos."}
FROM_SCORES = ("kind", "num_classes")  # a rule's own arguments that are no options: the scores tell them


class Rules(Group):
    """Subcommands are the rules in `fusion/`; each is imported when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*item_names("avr.fusion"), *MORE]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name in MORE:
            return compare_command() if name == "compare" else apply_command()
        return rule_command(name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [(rule, item_summary("avr.fusion", rule)) for rule in item_names("avr.fusion")]
        with formatter.section("Rules"):
            formatter.write_dl(rows)
        with formatter.section("Commands"):
            formatter.write_dl(list(MORE.items()))


@click.group(cls=Rules)
def command() -> None:
    """Fuse the scores of several streams or runs.

    `avr fuse RULE [SCORES]…` takes score files, folders of them, run folders, or the newest run of each head under
    runs/. Rules that learn are fitted on out-of-fold training scores or on validation scores, and judged on test
    scores; where there are test scores alone, they are cross-validated in them with folds that never split a group.
    """


SCORES = click.argument("scores", nargs=-1, type=PATH, shell_complete=among_runs)
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

    def answer(sort: str | None, config: Path | None, read: str, made: Callable[..., Any], **values: Any) -> Reply:
        if is_given(read) and not is_given("streams"):
            values["streams"] = None  # a run that is repeated has those of its own scores
        result, error = computed(made, **values)
        if config is not None and error is None and not is_given(read):
            before, now = (record_of(run, "fuse").identity.get("scores", {}) for run in (config, result.out))
            check_same(config, {**now, **{s: before[s] for s in now if s in before}}, now, f"fused other {read}")
        return Reply(result, lambda: print_fusion(result, sort, written=error is None), error=error)

    def from_scores(**values: Any) -> Reply:
        return answer(read="scores", made=fuse, rule=rule, **values)

    def from_features(
        scores: tuple[Path, ...],
        options: dict[str, Any],
        measured: dict[str, Any],
        stores: tuple[Path, ...],
        **values: Any,
    ) -> Reply:
        if scores:
            raise UsageError(f"{rule} reads features, not scores: leave out {scores[0]}, and name stores with --store")
        store = chosen_stores(stores)
        return answer(read="stores", made=fuse_features, store=store, **options, **measured, **values)

    shown = [config_option("fuse"), *STREAMS, out, sort_option]
    if rule == "early-svm":
        measured = record_options("measured", Evaluation, only=("seed", "bootstrap"))
        none = click.argument("scores", nargs=-1, type=PATH, metavar="")
        run = apply([none, *shown, measured, stores_option, own], answering(from_features))
    else:
        run = apply([SCORES, *shown, record_options("evaluation", Evaluation), own], answering(from_scores))
    about = inspect.cleandoc(made.__doc__ or "").partition("\nArgs:")[0].partition("\nAttributes:")[0]
    return click.command(rule, help=about)(run)


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
    @click.option("--weights", is_flag=True, help="Print the weights of classes and streams too.")
    @sort_option
    @answering
    def run(weights: bool, sort: str | None, **values: Any) -> Reply:
        """Every rule on the same videos, beside averaging.

        With out-of-fold training scores the rules are fitted on them and judged on the test scores; with test scores
        alone all are cross-validated on the same folds, which never split a group. Nothing is written.
        """
        result = compare(**values)
        return Reply(result, lambda: print_comparison(result, sort, weights=weights))

    return run


def apply_command() -> click.Command:
    """The subcommand `apply`."""
    from avr.datasets import groups_by_name
    from avr.fusion import Evaluation, apply_fusion

    @click.command("apply")
    @click.argument("fused", type=PATH)
    @click.argument("scores", nargs=-1, required=True, type=PATH)
    @click.option("--split", default="", metavar="NAME", help="Of a fusion of several splits.  [default: the first]")
    @click.option(
        "--out",
        type=PATH,
        default=Path("fused.csv"),
        show_default=True,
        help="A .csv table, an .h5 score file, or a folder for fused.csv.",
    )
    @click.option("--overwrite", is_flag=True, help="Replace a file that is there.")
    @record_options("measured", Evaluation, only=("seed", "bootstrap"))
    @sort_option
    @answering
    def run(sort: str | None, measured: dict[str, Any], **values: Any) -> Reply:
        """Fuse new scores as FUSED was fitted, a run folder that `avr fuse RULE` wrote, or a split of it.

        SCORES are score files, folders of them, run folders, or files that other tools wrote, one a stream and called
        as it is (rgb.csv), with the classes in the fusion's order. Labels are not needed; where there are, the result
        is judged on them.
        """
        given = {**values, "evaluation": Evaluation(**measured), "group_rule": groups_by_name}
        result, error = computed(apply_fusion, **given)
        return Reply(result, lambda: print_applied(result, sort, written=error is None), error=error)

    return run
