"""Running a recipe: train what its rows need on given stores, measure each row, go on where an earlier run stopped.

    <out>/runs/<head>-<key>/seed-0-split-1/     one training, complete when it bears this name
    <out>/rows/<row>/seed-0-split-1.json        one measured figure

Rows that differ in what is done with the scores alone share their trainings. A key is the digest of everything that
changes a training, so that changed settings never find an old result.
"""

import dataclasses
import hashlib
import itertools
import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from avr.core import UsageError, note, sha256_of, write_whole
from avr.heads import train_run

from .jobs import Changes, Job, assign_stores, jobs_of, look_at
from .measuring import measure
from .reading import Recipe, Row


@dataclass(frozen=True)
class Measured:
    """One row of the printed table.

    Attributes:
        row: the recipe's row.
        figure: the paper's, in percent, on the store's data set; None where it has none.
        values: measured top-1 accuracies in percent, by (seed, split).
        reason: why nothing was measured; "" where something was.
    """

    row: Row
    figure: float | None
    values: dict[tuple[int, str], float] = field(default_factory=dict)
    reason: str = ""


@dataclass(frozen=True)
class Outcome:
    """A recipe's table as measured.

    Attributes:
        recipe: what was run.
        dataset: the stores' data set.
        splits: names.
        seeds: numbers.
        settings: "paper" or "small": the training settings.
        rows: in the recipe's order.
    """

    recipe: Recipe
    dataset: str
    splits: tuple[str, ...]
    seeds: tuple[int, ...]
    settings: str
    rows: tuple[Measured, ...]


def run_recipe(
    recipe: Recipe,
    *,
    stores: Mapping[str, Path],
    out: Path,
    splits: str = "",
    seeds: Sequence[int] = (0,),
    changes: Changes | None = None,
    device: str = "auto",
) -> Outcome:
    """Train and measure every row; what is in `out` already from the same settings is not done again.

    Args:
        recipe: from load_recipe.
        stores: store section -> feature store; "" serves every section it fits.
        out: folder for trainings and figures.
        splits: a split's name, several with commas, "first", "all", or "" for those of the paper's figures.
        seeds: each row is trained once a seed.
        changes: of options and training settings, and outside scores.
        device: as in train_run.

    Raises:
        UsageError: a store that serves no row, stores of different data sets, an unknown split or setting, or no row
            that can be run.
    """
    changes = changes or Changes()
    served = assign_stores(recipe, stores)
    dataset, names = look_at(served, splits or recipe.split)
    if changes.settings == "auto":
        changes = dataclasses.replace(changes, settings="paper" if dataset in recipe.datasets else "small")
    jobs = jobs_of(recipe, served=served, dataset=dataset, changes=changes)
    if all(isinstance(job, str) for job in jobs.values()):
        raise UsageError(f"no row of {recipe.name} can be run: {next(iter(jobs.values()))}")
    rows = []
    for row in recipe.rows:
        job, values, reason = jobs[row.name], {}, ""
        try:
            if isinstance(job, str):
                raise UsageError(job)
            for seed, split in itertools.product(seeds, names):
                values[seed, split] = _measure_once(
                    row, job, out=out, seed=seed, split=split, scores=changes.scores, device=device
                )
        except UsageError as error:  # of this row: the others still run
            reason = str(error)
            note(f"{row.name}: left out: {reason}")
        rows.append(Measured(row, row.figures.get(dataset), values, reason))
    return Outcome(recipe, dataset, names, tuple(seeds), changes.settings, tuple(rows))


def _measure_once(
    row: Row, job: Job, *, out: Path, seed: int, split: str, scores: Mapping[str, Path], device: str
) -> float:
    """One figure in percent: read back where it is there, else trained, measured and written whole."""
    place = out / "rows" / _slug(row.name) / f"seed-{seed}-split-{_slug(split)}.json"
    key = {
        "job": job.key,
        "output": row.output,
        "fuse": row.fuse,
        "fuse_options": row.fuse_options,
        "of": list(row.of),
        "scores": {name: sha256_of(scores[name]) for name in row.scores},
    }
    if place.exists():
        kept = json.loads(place.read_text())
        if kept["key"] == key:
            return float(kept["top1"])
    run = _train(job, out, seed=seed, split=split, device=device)
    folder = run / f"split-{split}"
    note(f"{row.name}, seed {seed}, split {split}: measuring")
    top1 = 100 * measure(row, folder, store=job.store, layers=job.layers, outside=[scores[name] for name in row.scores])
    with write_whole(place) as temporary:
        temporary.write_text(json.dumps({"key": key, "top1": top1, "run": str(run.relative_to(out))}, indent=2) + "\n")
    return top1


def _train(job: Job, out: Path, *, seed: int, split: str, device: str) -> Path:
    """The folder of a finished training; it is trained under another name and renamed when it is complete."""
    final = out / "runs" / f"{job.head}-{job.key}" / f"seed-{seed}-split-{_slug(split)}"
    if final.is_dir():
        return final
    final.parent.mkdir(parents=True, exist_ok=True)
    for left in final.parent.glob(f".{final.name}.*"):  # of a run that was killed
        shutil.rmtree(left)
    temporary = final.with_name(f".{final.name}.{os.getpid()}")
    note(f"{job.head}, seed {seed}, split {split}: training")
    train_run(
        job.store,
        job.head,
        streams=tuple(job.layers),
        layers=job.layers,
        split=(split,),
        options=job.options,
        training=job.training,
        folds=job.folds,
        seed=seed,
        out=temporary,
        device=device,
    )
    temporary.rename(final)
    return final


def _slug(name: str) -> str:
    """A file name of a row's name: letters and digits, and a digest where something was lost."""
    plain = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-").lower()
    return plain if plain == name else f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"
