"""`avr heads`: train heads on a store."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from avr.training import Engine

from ._options import (
    PATH,
    apply,
    chosen_stores,
    device_option,
    log_option,
    record_options,
    stores_option,
    training_options,
    trials_option,
)
from ._output import Reply, answering, print_lines, print_table
from ._repeating import check_same, config_option, is_given, record_of, repeated_head
from ._shell import Group, among_items, among_parts, among_runs
from ._values import list_option, set_option

if TYPE_CHECKING:
    from avr.heads import RunResult


@click.group(cls=Group)
def command() -> None:
    """Train heads on a store's features: no videos needed, seconds to minutes."""


@command.command("list")
@answering
def list_heads() -> Reply:
    """List the heads: paper, the layers they read, their options."""
    from avr.core import item_names, options_of
    from avr.heads import head_class

    heads = {name: head_class(name) for name in item_names("avr.heads")}
    found = {
        name: {
            "source": made.source,
            "reads": dict(made.reads),
            "options": [option.describe() for option in options_of(made).values()],
        }
        for name, made in heads.items()
    }

    def show() -> None:
        rows = [(name, _reads(made.reads), made.source) for name, made in heads.items()]
        print_table(("head", "reads", "paper"), rows, align="lll", rule=False)
        click.echo()
        print_lines(*(f"{name} --set: {'; '.join(told['options']) or 'none'}" for name, told in found.items()))

    return Reply(found, show)


def _reads(reads: Mapping[str, str]) -> str:
    """ "pooled", or "conv5_3 (flow: conv4_2)"."""
    special = ", ".join(f"{stream}: {layer}" for stream, layer in reads.items() if stream != "*")
    if "*" not in reads:
        return special
    return f"{reads['*']} ({special})" if special else reads["*"]


def head_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """What `train` and `tune` are both told."""
    return apply(
        [
            click.argument("head", shell_complete=among_items("avr.heads")),
            stores_option,
            list_option(
                "--stream",
                "streams",
                tuple[str, ...],
                unit="NAMES",
                text="Such as rgb,flow.  [default: all]",
                complete=among_parts("avr.extract.streams"),
            ),
            set_option("--layer", "Read another layer; repeat.", name="layers", bare="STREAM"),
            set_option("--set", "An option of the head's own; repeat.", name="options"),
            training_options(),
            click.option(
                "--paper", is_flag=True, help="Start from the paper's settings, not those for small data sets."
            ),
            click.option(
                "--folds",
                type=int,
                help="Folds for out-of-fold scores, 0 for none.  [default: 5, if under a minute in all]",
            ),
            click.option("--start-from", type=PATH, help="Start from the weights of a trained RUN, or RUN/split-NAME."),
            list_option(
                "--freeze", "freeze", tuple[str, ...], unit="NAMES", text="Parts of the head that do not learn."
            ),
            click.option(
                "--keep-statistics", is_flag=True, help="Standardise by the statistics of the run started from."
            ),
            click.option("--seed", default=0, show_default=True, help="Of weights, order of videos, dropout, folds."),
            click.option(
                "--out", type=PATH, help="Run folder; an unfinished one goes on.  [default: runs/<head>-<dataset>-<k>]"
            ),
            device_option,
            click.option(
                "--memory-gb", type=float, help="Features held in memory, at most.  [default: half of what is free]"
            ),
            record_options("engine", Engine, flags={"name": "--engine"}),
        ],
        function,
    )


@command.command()
@config_option("head")
@head_options
@list_option("--split", "split", tuple[str, ...], unit="NAMES", text="Such as 1,2, or all.  [default: the first]")
@log_option
@answering
def train(
    head: str,
    config: Path | None,
    stores: tuple[Path, ...],
    streams: tuple[str, ...] | None,
    split: tuple[str, ...] | None,
    freeze: tuple[str, ...] | None,
    start_from: Path | None,
    layers: dict[str, str],
    options: dict[str, str],
    training: dict[str, Any],
    **others: Any,
) -> Reply:
    """Train HEAD (`avr heads list`) on a store, or several; write checkpoints, logs and scores to a run folder.

    With --config HEAD may be left out.

    A run that was interrupted goes on after its finished splits when the same command is given again. How many of its
    trainings (splits, folds, streams) run side by side changes no number.
    Prints the accuracy of the test part for each stream and for the head's fused prediction; of several splits, their
    mean and spread (standard deviation) and the accuracy over all test videos together.
    """
    from avr.core import check_known, item_names

    check_known("head", head, item_names("avr.heads"))  # this and a missing store are told before torch is loaded
    stores = chosen_stores(stores)
    from avr.heads import train_run

    told: dict[str, Any] = {"layers": layers, "options": options, "training": training}
    if config is not None:
        told = repeated_head(config, head, streams or (), start_from, told)
        if not is_given("stores"):
            _compare(config, stores, streams or ())
    told |= {"streams": streams or (), "freeze": freeze or (), "start_from": start_from}
    wanted: Any = split[0] if split and len(split) == 1 else split or ""
    result = train_run(stores, head, split=wanted, **told, **others)
    return Reply(_found(head, result), lambda: _show(head, result))


def _compare(config: Path, stores: tuple[Path, ...], streams: tuple[str, ...]) -> None:
    """Warn where a run that is repeated was made of other features."""
    from avr.store import FeatureStore

    with FeatureStore(stores, streams=streams) as store:
        before = record_of(config, "head").identity.get("digest")
        check_same(config, before, store.digest, f"{' and '.join(map(str, stores))}: holds other features")


@command.command()
@head_options
@click.option("--split", default="", metavar="NAME", help="Whose training part chooses.  [default: the store's first]")
@set_option("--search", "lr=1e-4..1e-2 or dropout=0,0.5; repeat.  [default: the head's usual]", name="search")
@trials_option
@list_option("--hold", "held", tuple[str, ...], unit="NAMES", text="Of the usual, do not search these.")
@click.option(
    "--nested", is_flag=True, help="Also estimate by outer folds what a head so chosen reaches: 6 × the work."
)
@answering
def tune(
    head: str,
    stores: tuple[Path, ...],
    streams: tuple[str, ...] | None,
    freeze: tuple[str, ...] | None,
    search: dict[str, str],
    trials: int,
    held: tuple[str, ...] | None,
    nested: bool,
    device: str,
    memory_gb: float | None,
    engine: Engine,
    **options: Any,
) -> Reply:
    """Choose HEAD's options and settings by trials on the training part alone, then train it with them.

    Every trial is judged by five grouped folds of the training part: by the cross-entropy of the videos held out. The
    first is the head as it is. The test part is looked at once, by the run that comes last. Trials are kept in the
    run's folder: a tuning that was interrupted goes on when the same command is given again. Needs the extra optuna.
    """
    from avr.core import check_known, item_names

    check_known("head", head, item_names("avr.heads"))
    stores = chosen_stores(stores)
    from avr.heads import RunRequest, tune_run

    request = RunRequest(stores, head, streams=streams or (), freeze=freeze or (), **options)
    asked: dict[str, Any] = {"search": search, "trials": trials, "held": held or (), "nested": nested}
    tuned = tune_run(request, **asked, device=device, memory_gb=memory_gb, engine=engine)
    found = {"chosen": tuned.chosen, "trials": [vars(trial) for trial in tuned.trials], "nested": tuned.nested}

    def show() -> None:
        best = min((trial for trial in tuned.trials if trial.loss is not None), key=lambda trial: trial.loss or 0)
        rows = [
            [
                name,
                *(
                    f"{trial.values[key]:.4g}" if isinstance(trial.values[key], float) else str(trial.values[key])
                    for key in tuned.chosen
                ),
                *_held_out(trial.loss, trial.accuracy),
            ]
            for name, trial in (("as it was", tuned.trials[0]), ("chosen", best))
        ]
        header = [f"{len(tuned.trials)} trials", *tuned.chosen, "held-out loss", "top-1"]
        print_table(header, rows, title="chosen by grouped folds of the training part")
        if tuned.nested:
            click.echo(f"so chosen, by outer folds of the training part: top-1 {100 * tuned.nested['top1']:.1f} %")
        _show(head, tuned.result)

    return Reply(_found(head, tuned.result) | found, show)


def _held_out(loss: float | None, accuracy: float | None) -> tuple[str, str]:
    return ("failed", "") if loss is None or accuracy is None else (f"{loss:.3f}", f"{100 * accuracy:.1f}")


def _found(head: str, result: "RunResult") -> dict[str, Any]:
    from avr.store import score_path, split_folder

    splits = {
        name: {"results": split.results, "scores": score_path(split_folder(result.folder, name)), "folds": split.folds}
        for name, split in result.splits.items()
    }
    return {"head": head, "run": result.folder, "layers": result.layers, "splits": splits, "summary": result.summary}


@command.command()
@click.argument("run", type=click.Path(path_type=Path, exists=True, file_okay=False), shell_complete=among_runs)
@click.option("--out", type=PATH, default=Path("head.onnx"), show_default=True, help="The file.")
@click.option("--split", default="", help="Of the run.  [default: its first]")
@click.option("--backbone", default="", metavar="STREAM", help="Put this stream's network before its head: images in.")
@click.option("--weights", multiple=True, metavar="STREAM=FILE", help="The backbone's weights, if not where they were.")
@click.option("--overwrite", is_flag=True, help="Replace a file that is there.")
@answering
def export(run: Path, out: Path, **options: Any) -> Reply:
    """Write the trained head of RUN as an ONNX file: features in, probabilities out.

    onnxruntime then reads it, and its probabilities are compared with torch's; a file that gives others is not written.
    """
    from avr.predict import export_onnx

    made = export_onnx(run, out, **options)
    lines = [f"in:  {name} (B, {', '.join(map(str, shape))})" for name, shape in made.inputs.items()]
    lines += [f"out: {name} (B, K){' *' * (name == made.prediction)}" for name in made.outputs]
    lines += ["* the prediction", f"written: {made.path}, as torch has it to {made.difference:.1g}"]
    return Reply(made, lambda: print_lines(*lines))


def _show(head: str, result: "RunResult") -> None:
    several = len(result.splits) > 1
    header = ["test accuracy, %", "top-1", "top-5", "mean class"]
    rows = []
    for name, row in result.summary.items():
        top1 = f"{100 * row['top1']:.1f}" + (f" ± {100 * row['top1_spread']:.1f}" if several else "")
        rows.append([name, top1, f"{100 * row['top5']:.1f}", f"{100 * row['mean_class']:.1f}"])
        if several:
            rows[-1].append(f"{100 * row['top1_pooled']:.1f}")
    reads = ", ".join(f"{stream}/{layer}" for stream, layer in result.layers.items())
    splits = f"{len(result.splits)} splits" if several else f"split {next(iter(result.splits))}"
    right = [figures["top1"] for figures in result.summary.values()]
    best = [number for number, share in enumerate(right) if share == max(right)]
    print_table(header + (["pooled"] if several else []), rows, title=f"{head} on {reads}, {splits}", bold=best)
    folds = max(split.folds for split in result.splits.values())
    if result.lacking:
        click.echo(f"the store was not whole ({result.lacking}): the figures are of what was there")
    click.echo(f"wrote {result.folder}" + (f", with out-of-fold scores ({folds} folds)" if folds else ""))
