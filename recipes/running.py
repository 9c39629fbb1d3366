"""Running a recipe: make and train what its rows lack, measure each row, go on where an earlier run stopped.

    <out>/runs/<head>-<key>/seed-0-split-1/     one training, a run as `avr heads train` writes it
    <out>/rows/<row>/seed-0-split-1.json        one measured figure
    <out>/starts/<recipe-row>/                  the same of a row of another recipe that rows start from

Where the run makes its stores, `stages.py` says what lies where, trainings of heads among it; splits then come one
after the other, and a split's stores go when its rows are measured. Of given stores the trainings of all splits come
first, side by side where that is faster.
Rows that differ in what is done with the scores alone share their trainings. A key is the digest of everything that
changes a training, so that changed settings never find an old result. One run works in a folder at a time.
"""

import dataclasses
import itertools
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from avr.core import FolderLock, UsageError, load_extra, make_folder
from avr.training import Engine

from .bench import Bench
from .figures import Figures
from .folder import check_folder, mark_folder
from .jobs import Changes
from .making import Making
from .outcome import Measured, Outcome
from .reading import SPLITS, VIDEOS, Recipe
from .serving import lacking_stores, shared_groups, store_differences
from .settling import settle

SOME_GONE = 0.9  # of the videos that were published, this share may still be had


def run_recipe(  # noqa: PLR0913 (the stage's one entry: all it can be told, keyword-only)
    recipe: Recipe,
    *,
    stores: Sequence[tuple[str, Path]] = (),
    making: Making | None = None,
    start: Making | Path | None = None,
    out: Path,
    splits: str = "",
    seeds: Sequence[int] = (0,),
    changes: Changes | None = None,
    device: str = "auto",
    engine: Engine | None = None,
) -> Outcome:
    """Train and measure every row; what is there already from the same settings is not done again.

    A row whose work fails (damaged features, a loss that is no number) says so, and the others still run.

    Args:
        recipe: from load_recipe.
        stores: (place, feature store); a place is a store section, or "section@split"; a store with section "" serves
            every section it fits that no other serves.
        making: what the run makes for the sections that no store serves; None: nothing.
        start: what the rows of other recipes that rows start from are trained on: a data set to make all of, or a
            store. None: rows start as others do.
        out: folder for trainings and figures, of one run at a time.
        splits: a split's name, several with commas, "first", "all", or "" for those of the paper's figures.
        seeds: each row is trained once a seed.
        changes: of options and training settings, and outside scores.
        device, engine: as in train_run.

    Raises:
        UsageError: a store that serves no row, stores of different data sets, an unknown split, option or setting, a
            score file that is not there, no row that can be run, or an `out` that is a file or another run's.
    """
    asked: dict[str, Any] = {"stores": stores, "making": making, "start": start, "splits": splits, "seeds": seeds}
    plan = settle(recipe, **asked, changes=changes or Changes())
    jobs = [job for by_row in plan.jobs.values() for job in by_row.values()]
    if all(isinstance(job, str) for job in jobs):
        raise UsageError(f"no row of {recipe.name} can be run: {jobs[0]}")
    if plan.changes.trials:
        load_extra("optuna", "a tuning")
    check_folder(out, recipe)
    with ExitStack() as held:
        # A second run would take this one's half-trained folders for a killed run's, and its stores from under it.
        made = (one.folder for one in (making, start) if isinstance(one, Making))
        for folder in dict.fromkeys([out, *made]):
            held.enter_context(FolderLock(make_folder(folder)))
        mark_folder(out, recipe)
        figures = Figures(plan, out)
        bench = Bench(figures, device=device, engine=engine)
        for names in [[name] for name in plan.splits] if making else [plan.splits]:
            bench.work(list(itertools.product(seeds, names)))
        rows = [figures.measured(row, *bench.reasons.get(row.name, ())) for row in recipe.rows]
        return _outcome(figures, [_aside(measured, figures) for measured in rows])


def _aside(measured: Measured, figures: Figures) -> Measured:
    """With why the paper's figure is no measure of a row, where it is none."""
    plan, row = figures.plan, measured.row
    recipe = plan.recipe
    if measured.figure is None or not measured.values:
        return measured
    reasons = []
    count = SPLITS.get(plan.dataset, 1) if recipe.split == "all" else 1
    done = len({split for _, split in measured.values})
    if done < count:
        reasons.append(f"{done} of {count} splits")
    if recipe.stores[row.store].finetune is not None and not plan.finetunes(row):
        reasons.append("frozen networks, the paper's are trained")
    if plan.changes.trials:
        reasons.append("settings chosen by trials")
    if row.start_from:
        reasons += _start_aside(row.start_from, figures)
    source = plan.sources[next(split for _, split in measured.values)][row.store]
    if any(own.get("weights") == "random" for own in source.settings(recipe.stores[row.store].streams)):
        reasons.append("random weights")
    videos = VIDEOS.get(plan.dataset, 0)
    if source.num_videos < SOME_GONE * videos:
        reasons.append(f"{source.num_videos} videos, as published {videos}")
    return dataclasses.replace(measured, aside=", ".join(reasons))


def _start_aside(name: str, figures: Figures) -> list[str]:
    """Why what a row starts from is not the paper's."""
    if name not in figures.starts:
        return [f"does not start from {name}, the paper's does"]
    start = figures.starts[name]
    theirs = start.plan.recipe.datasets
    if start.plan.dataset not in theirs:
        return [f"starts from {start.plan.dataset}, the paper's from {' or '.join(theirs)}"]
    row = start.plan.one[0]
    aside = _aside(start.measured(row), start).aside
    reasons = [aside] * bool(aside) + ["not trained end to end"] * row.end_to_end
    return [f"its start: {', '.join(reasons)}"] if reasons else []


def _told_start(name: str, start: Figures) -> str:
    """A line of what rows start from."""
    measured, plan = start.measured(start.plan.one[0]), start.plan
    figure = "" if measured.mean is None else f": {measured.mean:.1f} there"
    paper = "" if measured.figure is None else f", the paper's {measured.figure}"
    return f"rows start from {name}, trained on {plan.dataset}, split {plan.splits[0]}{figure}{paper}"


def _outcome(figures: Figures, rows: Sequence[Measured]) -> Outcome:
    plan = figures.plan
    used = dict.fromkeys(m.row.store for m in rows if m.values)
    compared = [section for section in used if any(m.row.store == section and m.figure is not None for m in rows)]
    served = [
        (split, section, of_split[section])
        for split, of_split in plan.sources.items()
        for section in used
        if section in of_split
    ]
    both = [(section, source) for _, section, source in served]
    differences = (
        *(_told_start(name, start) for name, start in figures.starts.items()),
        *shared_groups((split, source) for split, _, source in served),
        *lacking_stores(source for _, source in both),
        *store_differences(plan.recipe, [(section, source) for section, source in both if section in compared]),
    )
    return Outcome(
        plan.recipe,
        plan.dataset,
        plan.splits,
        plan.seeds,
        plan.changes.settings,
        tuple(rows),
        differences,
        finetuned=bool(plan.making and plan.making.finetune),
        changed=plan.changed,
        trials=plan.changes.trials,
    )
