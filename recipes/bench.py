"""Where a recipe's rows are made, trained and measured, each once for a seed and a split."""

import math
import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from avr.core import AvrError, UsageError, WorkError, make_folder, note, write_json
from avr.heads import RunRequest, RunResult, num_trainings, train_runs, tune_run
from avr.store import split_folder
from avr.training import Engine

from .figures import Figures
from .jobs import Job
from .measuring import accuracy_of
from .reading import Row
from .settling import Plan
from .stages import BackboneStage, StoreStage, TunedStage, is_trained

# In a store that a run without --keep-stores began, so that whoever goes on after a kill removes it, and no other.
TEMPORARY = ".temporary"


@dataclass
class Bench:
    """A run under way."""

    figures: Figures
    device: str = "auto"
    engine: Engine | None = None
    failures: dict[Path, AvrError] = field(default_factory=dict)  # a stage's folder -> what ended it
    failed_starts: dict[str, AvrError] = field(default_factory=dict)  # another recipe's row -> what ended it
    made: set[Path] = field(default_factory=set)  # stages' folders, in this run
    reasons: dict[str, tuple[str, bool]] = field(
        default_factory=dict
    )  # row -> why it went no further, and if it failed

    @property
    def plan(self) -> Plan:
        """What is run."""
        return self.figures.plan

    @cached_property
    def starts(self) -> dict[str, "Bench"]:
        """The rows of other recipes that rows start from, by their names."""
        return {name: Bench(own, self.device, self.engine) for name, own in self.figures.starts.items()}

    def work(self, runs: Sequence[tuple[int, str]]) -> None:
        """Make, train and measure all rows of some seeds and splits; then stores that were made for them go."""
        self._train_starts(runs)
        self._make_stores(runs)
        self._train(runs)
        self._tune(runs)
        for row in self.plan.recipe.rows:
            for seed, split in runs:
                self._settle_figure(row, seed, split)
        self._remove_stores({split for _, split in runs})

    def _missing(self, runs: Sequence[tuple[int, str]]) -> list[tuple[Row, Job, int, str]]:
        """What is left to do, of rows that have not failed, with seed and split."""
        return [found for found in self.figures.missing(runs) if not self._failed(found[0])]

    def _train_starts(self, runs: Sequence[tuple[int, str]]) -> None:
        """Train the rows of other recipes that rows without a figure start from, unless their weights are there."""
        for name in dict.fromkeys(job.start for _, job, _, _ in self._missing(runs) if job.start):
            start = self.starts[name]
            row, _, seed, split = start.plan.one
            start.work([(seed, split)])
            if row.name in start.reasons:
                reason, failed = start.reasons[row.name]
                self.failed_starts[name] = (WorkError if failed else UsageError)(f"{name}: {reason}")

    def _make_stores(self, runs: Sequence[tuple[int, str]]) -> None:
        """Fine-tune networks and extract the stores that rows lack."""
        wanted: dict[Path, StoreStage] = {}
        for row, job, seed, split in self._missing(runs):
            made = job.source.made
            possible = job.start not in self.failed_starts
            if made and possible and self.figures.needs_store(row, job, seed, split):
                wanted[made.folder] = made
        for folder, store in wanted.items():
            try:
                for backbone in store.backbones.values():
                    self._make(backbone)
                self._make(store)
            except AvrError as error:
                self.failures[folder] = error

    def _make(self, stage: BackboneStage | StoreStage | TunedStage) -> None:
        if stage.folder in self.failures:
            raise self.failures[stage.folder]
        if stage.folder in self.made or (not isinstance(stage, StoreStage) and stage.done):
            return  # of a store nobody knows but who extracts it
        note(f"making {stage.folder}")
        try:
            if (
                isinstance(stage, StoreStage)
                and stage.split
                and not (stage.making.keep_stores or stage.folder.exists())
            ):
                write_json(make_folder(stage.folder) / TEMPORARY, {})
            stage.make(device=self.device)
        except AvrError as error:
            self.failures[stage.folder] = error
            raise
        self.made.add(stage.folder)

    def _train(self, runs: Sequence[tuple[int, str]]) -> None:
        """Train all heads that rows lack; what fails is told when a row asks for it."""
        requests: dict[Path, RunRequest] = {}
        held: dict[Path, Collection[str]] = {}
        beside: dict[Any, dict[Path, int]] = {}  # how many trainings are of the same features, run by run
        missing = {(row.name, seed, split) for row, _, seed, split in self._missing(runs)}
        for row in self.plan.recipe.rows:
            for seed, split in runs:
                job = self.plan.jobs[split][row.name]
                if isinstance(job, str) or job.source.path in self.failures or job.start in self.failed_starts:
                    continue
                folder = self.figures.run(job, seed, split)
                total = beside.setdefault((job.source.path, tuple(job.layers.items())), {})
                total[folder] = num_trainings(job.head, len(job.layers), folds=job.folds)
                if (row.name, seed, split) in missing and not is_trained(folder):
                    requests[folder] = RunRequest(
                        job.source.path,
                        job.head,
                        streams=tuple(job.layers),
                        layers=job.layers,
                        split=(split,),
                        options=job.options,
                        training=job.training,
                        folds=job.folds,
                        seed=seed,
                        out=folder,
                        start_from=self.figures.start(job),
                    )
                    held[folder] = job.held
        told = list(requests.values())
        most = max((sum(total.values()) for total in beside.values()), default=0)
        if self.plan.changes.trials:
            results = [self._choose(request, held[folder]) for folder, request in requests.items()]
        else:
            results = train_runs(told, device=self.device, engine=self.engine, trainings=most)
        for folder, result in zip(requests, results, strict=True):
            if isinstance(result, AvrError):
                self.failures[folder] = result

    def _choose(self, request: RunRequest, held: Collection[str]) -> RunResult | AvrError:
        """Train a head with settings chosen by trials on its training part."""
        note(f"choosing settings of {request.out}")
        trials = self.plan.changes.trials
        try:
            return tune_run(request, trials=trials, held=held, device=self.device, engine=self.engine).result
        except AvrError as error:
            return error

    def _tune(self, runs: Sequence[tuple[int, str]]) -> None:
        """Train end to end the rows that ask for it."""
        for row, job, seed, split in self._missing(runs):
            run = self.figures.run(job, seed, split)
            stage = self.plan.tuned(row, job, run, seed=seed, split=split)
            if stage and not self._failure(job, run):
                try:
                    self._make(stage)
                except AvrError:
                    continue  # the row that asks for it tells

    def _failure(self, job: Job, run: Path) -> AvrError | None:
        return self.failed_starts.get(job.start) or self.failures.get(job.source.path) or self.failures.get(run)

    def _failed(self, row: Row) -> bool:
        return self.reasons.get(row.name, ("", False))[1]

    def _settle_figure(self, row: Row, seed: int, split: str) -> None:
        """Measure a row once, where it is not, and where nothing before failed."""
        job = self.plan.jobs[split][row.name]
        if self._failed(row):
            return
        try:
            if isinstance(job, str):
                raise UsageError(job)
            if self.figures.lacks(row, job, seed, split):
                self._measure(row, job, seed, split)
        except AvrError as error:  # of this row: the others still run
            reason, failed = str(error), isinstance(error, WorkError)
            if self.reasons.get(row.name) != (reason, failed):
                note(f"{row.name}: {'failed' if failed else 'left out'}: {reason}")
            self.reasons[row.name] = reason, failed

    def _measure(self, row: Row, job: Job, seed: int, split: str) -> None:
        """One figure in percent, measured and written whole.

        Raises:
            AvrError: its training's, or the measuring's.
        """
        run = self.figures.run(job, seed, split)
        if failure := self._failure(job, run):
            raise failure
        stage = self.plan.tuned(row, job, run, seed=seed, split=split)
        if stage and stage.folder in self.failures:
            raise self.failures[stage.folder]
        note(f"{row.name}, seed {seed}, split {split}: measuring")
        outside = [file for name in row.scores if (file := self.plan.scores.file(name, split))]
        given: dict[str, Any] = {"store": job.source.path, "layers": job.layers, "outside": outside}
        head = split_folder(run, split)
        found = {"top1": 100 * accuracy_of(row, head, **given)}
        if stage:
            after = accuracy_of(row, split_folder(stage.folder, split), **given, before=head)
            found = {"before": found["top1"], "top1": 100 * after}
        if not math.isfinite(found["top1"]):
            raise WorkError(f"split {split} gives no accuracy: has it test videos with features?")
        self.figures.keep(row, job, seed, split, found=found)

    def _remove_stores(self, splits: set[str]) -> None:
        """Remove the stores of some splits that are `TEMPORARY` and whose rows are all measured."""
        making = self.plan.making
        if making is None:
            return
        for split in splits:
            for section, source in self.plan.sources[split].items():
                mark = source.path / TEMPORARY
                if not source.made or not mark.exists():
                    continue
                if making.keep_stores:
                    mark.unlink()
                elif not any(self._failed(row) for row in self.plan.recipe.rows if row.store == section):
                    note(f"{source.path}: removed, its rows are measured (--keep-stores keeps it)")
                    gone = source.path.with_name(f".{source.path.name}")  # half a store is never found
                    shutil.rmtree(gone, ignore_errors=True)
                    source.path.rename(gone)
                    self.made.discard(source.path)
        for gone in (making.folder / "stores").glob(".*"):  # a killed run's too
            shutil.rmtree(gone, ignore_errors=True)
