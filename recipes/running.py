"""Running a recipe: train what its rows lack on given stores, measure each row, go on where an earlier run stopped.

    <out>/runs/<head>-<key>/seed-0-split-1/     one training, a run as `avr heads train` writes it
    <out>/rows/<row>/seed-0-split-1.json        one measured figure

The trainings come first, side by side where that is faster; then each row is measured.
Rows that differ in what is done with the scores alone share their trainings. A key is the digest of everything that
changes a training, so that changed settings never find an old result. One run works in a folder at a time.
"""

import dataclasses
import hashlib
import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from avr.core import AvrError, FolderLock, UsageError, WorkError, make_folder, note, read_json, sha256_of, write_json
from avr.heads import RunRequest, num_trainings, train_runs
from avr.store import is_run, read_record, split_folder
from avr.training import Engine

from .folder import check_folder, mark_folder
from .jobs import Changes, Job, check_changes, jobs_of
from .measuring import accuracy_of
from .reading import Recipe, Row
from .serving import assign_stores, lacking_stores, look_at, store_differences


@dataclass(frozen=True)
class Measured:
    """One row of the printed table.

    Attributes:
        row: the recipe's row.
        figure: the paper's, in percent, on the store's data set; None where it has none.
        values: measured top-1 accuracies in percent, by (seed, split).
        reason: why nothing, or not everything, was measured; "" where all was.
        failed: the work failed, where else it could not be asked of this row.
    """

    row: Row
    figure: float | None
    values: dict[tuple[int, str], float] = field(default_factory=dict)
    reason: str = ""
    failed: bool = False

    @property
    def mean(self) -> float | None:
        """Over seeds and splits, in percent; None where nothing was measured."""
        return float(np.mean(list(self.values.values()))) if self.values else None

    @property
    def deviation(self) -> float | None:
        """Standard deviation (of n − 1), in percent; None of fewer than two."""
        return float(np.std(list(self.values.values()), ddof=1)) if len(self.values) > 1 else None


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
        differences: where the stores are not what the paper has, a line each, of rows with the paper's figure.
    """

    recipe: Recipe
    dataset: str
    splits: tuple[str, ...]
    seeds: tuple[int, ...]
    settings: str
    rows: tuple[Measured, ...]
    differences: tuple[str, ...] = ()


def run_recipe(
    recipe: Recipe,
    *,
    stores: Sequence[tuple[str, Path]],
    out: Path,
    splits: str = "",
    seeds: Sequence[int] = (0,),
    changes: Changes | None = None,
    device: str = "auto",
    engine: Engine | None = None,
) -> Outcome:
    """Train and measure every row; what is in `out` already from the same settings is not done again.

    A row whose work fails (damaged features, a loss that is no number) says so, and the others still run.

    Args:
        recipe: from load_recipe.
        stores: (store section, feature store); one with section "" serves every section it fits that no other serves.
        out: folder for trainings and figures, of one run at a time.
        splits: a split's name, several with commas, "first", "all", or "" for those of the paper's figures.
        seeds: each row is trained once a seed.
        changes: of options and training settings, and outside scores.
        device, engine: as in train_run.

    Raises:
        UsageError: a store that serves no row, stores of different data sets, an unknown split, option or setting, a
            score file that is not there, no row that can be run, or an `out` that is a file or another run's.
    """
    changes = changes or Changes()
    check_changes(recipe, changes)
    served = assign_stores(recipe, stores)
    dataset, names = look_at(served, splits or recipe.split)
    if changes.settings == "auto":
        changes = dataclasses.replace(changes, settings="paper" if dataset in recipe.datasets else "small")
    jobs = jobs_of(recipe, served=served, dataset=dataset, changes=changes)
    if all(isinstance(job, str) for job in jobs.values()):
        raise UsageError(f"no row of {recipe.name} can be run: {next(iter(jobs.values()))}")
    check_folder(out, recipe)
    with FolderLock(make_folder(out)):  # a second run would take this one's half-trained folders for a killed run's
        mark_folder(out, recipe)
        bench = _Bench(out, changes.scores, list(itertools.product(seeds, names)))
        bench.train(recipe.rows, jobs, device=device, engine=engine)
        rows = [bench.measure_row(row, jobs[row.name], row.figures.get(dataset)) for row in recipe.rows]
    used = dict.fromkeys(m.row.store for m in rows if m.values)
    compared = [section for section in used if any(m.row.store == section and m.figure is not None for m in rows)]
    differences = (*lacking_stores(served, used), *store_differences(recipe, served, compared))
    return Outcome(recipe, dataset, names, tuple(seeds), changes.settings, tuple(rows), differences)


@dataclass
class _Bench:
    """Where rows are trained and measured: once for each of `runs`, (seed, split), in the folder `out`."""

    out: Path
    scores: Mapping[str, Path]
    runs: Sequence[tuple[int, str]]
    failures: dict[Path, AvrError] = field(default_factory=dict)

    def train(self, rows: Sequence[Row], jobs: Mapping[str, Job | str], *, device: str, engine: Engine | None) -> None:
        """Train all that rows lack; what fails is told when a row asks for it."""
        requests: dict[Path, RunRequest] = {}
        beside: dict[Any, dict[Path, int]] = {}  # how many trainings are of the same features, run by run
        for row in rows:
            job = jobs[row.name]
            if isinstance(job, str):
                continue
            for seed, split in self.runs:
                folder = self._run(job, seed, split)
                total = beside.setdefault((job.store, tuple(job.layers.items())), {})
                total[folder] = num_trainings(job.head, len(job.layers), folds=job.folds)
                if self._kept(row, job, seed, split) is None and not _is_trained(folder):
                    requests[folder] = RunRequest(
                        job.store,
                        job.head,
                        streams=tuple(job.layers),
                        layers=job.layers,
                        split=(split,),
                        options=job.options,
                        training=job.training,
                        folds=job.folds,
                        seed=seed,
                        out=folder,
                    )
        told = list(requests.values())
        most = max((sum(total.values()) for total in beside.values()), default=0)
        results = train_runs(told, device=device, engine=engine, trainings=most)
        for folder, result in zip(requests, results, strict=True):
            if isinstance(result, AvrError):
                self.failures[folder] = result

    def measure_row(self, row: Row, job: Job | str, figure: float | None) -> Measured:
        """One row over its runs, up to the first that failed."""
        values: dict[tuple[int, str], float] = {}
        reason, failed = "", False
        try:
            if isinstance(job, str):
                raise UsageError(job)
            for seed, split in self.runs:
                kept = self._kept(row, job, seed, split)
                values[seed, split] = self._measure(row, job, seed, split) if kept is None else kept
        except AvrError as error:  # of this row: the others still run
            reason, failed = str(error), isinstance(error, WorkError)
            note(f"{row.name}: {'failed' if failed else 'left out'}: {reason}")
        return Measured(row, figure, values, reason, failed)

    def _kept(self, row: Row, job: Job, seed: int, split: str) -> float | None:
        """A figure that was measured before from the same settings."""
        place = self._place(row, seed, split)
        if not place.exists():
            return None
        try:
            kept = read_json(place)
            top1 = float(kept["top1"]) if kept["key"] == self._key(row, job) else None
        except (WorkError, ValueError, KeyError, TypeError):
            top1 = math.nan
        if top1 is not None and not 0 <= top1 <= 100:
            note(f"{place} is damaged: the row is measured again")
            return None
        return top1

    def _measure(self, row: Row, job: Job, seed: int, split: str) -> float:
        """One figure in percent, measured and written whole.

        Raises:
            AvrError: its training's, or the measuring's.
        """
        run = self._run(job, seed, split)
        if run in self.failures:
            raise self.failures[run]
        note(f"{row.name}, seed {seed}, split {split}: measuring")
        outside = [self.scores[name] for name in row.scores]
        top1 = 100 * accuracy_of(row, split_folder(run, split), store=job.store, layers=job.layers, outside=outside)
        if not math.isfinite(top1):
            raise WorkError(f"split {split} gives no accuracy: has it test videos with features?")
        content = {"key": self._key(row, job), "top1": top1, "run": str(run.relative_to(self.out))}
        write_json(self._place(row, seed, split), content)
        return top1

    def _key(self, row: Row, job: Job) -> dict[str, Any]:
        """All that a figure follows from, but seed and split."""
        return {
            "job": job.key,
            "output": row.output,
            "fuse": row.fuse,
            "fuse_options": row.fuse_options,
            "of": list(row.of),
            "scores": {name: self._digests[name] for name in row.scores},
        }

    @cached_property
    def _digests(self) -> dict[str, str]:
        return {name: sha256_of(path) for name, path in self.scores.items()}

    def _place(self, row: Row, seed: int, split: str) -> Path:
        return self.out / "rows" / _slug(row.name) / f"seed-{seed}-split-{_slug(split)}.json"

    def _run(self, job: Job, seed: int, split: str) -> Path:
        return self.out / "runs" / f"{job.head}-{job.key}" / f"seed-{seed}-split-{_slug(split)}"


def _is_trained(folder: Path) -> bool:
    """Whether a training is finished; of one whose record is damaged, who trains tells."""
    try:
        return is_run(folder) and read_record(folder).finished
    except WorkError:
        return False


def _slug(name: str) -> str:
    """A file name of a row's name: letters and digits, and a digest where something was lost."""
    plain = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-").lower()
    return plain if plain == name else f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"
