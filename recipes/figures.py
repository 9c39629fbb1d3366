"""A run's figures on disk: where each one and its head's run lie, what it follows from, what was measured before."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from avr.core import WorkError, note, read_json, write_json
from avr.heads import chosen_by

from .folder import slug
from .jobs import Job
from .measuring import needs_folds, reads_features
from .outcome import Measured
from .reading import Row
from .settling import Plan
from .stages import is_trained


@dataclass
class Figures:
    """Those of a plan, in the folder `out`."""

    plan: Plan
    out: Path

    @cached_property
    def starts(self) -> dict[str, "Figures"]:
        """Of the rows of other recipes that rows start from, by their names."""
        return {name: Figures(plan, self.out / "starts" / slug(name)) for name, plan in self.plan.starts.items()}

    def run(self, job: Job, seed: int, split: str) -> Path:
        """Where a head is trained: beside its store where that is made, for all recipes, else below `out`."""
        making = self.plan.making
        above = making.folder / "heads" if making and job.source.made else self.out / "runs"
        return above / f"{job.head}-{job.key}" / f"seed-{seed}-split-{slug(split)}"

    def start(self, job: Job) -> Path | None:
        """The run whose weights a head starts from; None where they are drawn."""
        if not job.start:
            return None
        own = self.starts[job.start]
        return own.run(*own.plan.one[1:])

    def missing(self, runs: Sequence[tuple[int, str]]) -> list[tuple[Row, Job, int, str]]:
        """What of some seeds and splits is left to do, of rows that can be run."""
        return [
            (row, job, seed, split)
            for row in self.plan.recipe.rows
            for seed, split in runs
            if not isinstance(job := self.plan.jobs[split][row.name], str) and self.lacks(row, job, seed, split)
        ]

    def lacks(self, row: Row, job: Job, seed: int, split: str) -> bool:
        """Whether a figure is not there, or, of what others start from, the weights."""
        return self.kept(row, job, seed, split) is None or not self._whole(job, seed, split)

    def _whole(self, job: Job, seed: int, split: str) -> bool:
        """Whether all weights are there that others go on from."""
        made = job.source.made.backbones.values() if job.source.made else ()
        return not self.plan.is_start or (is_trained(self.run(job, seed, split)) and all(one.done for one in made))

    def needs_store(self, row: Row, job: Job, seed: int, split: str) -> bool:
        """Whether what is left to do for a figure takes the store."""
        run = self.run(job, seed, split)
        tuned = self.plan.tuned(row, job, run, seed=seed, split=split)
        lacking = not is_trained(run) or bool(tuned and not tuned.done) or not self._whole(job, seed, split)
        return lacking or reads_features(row)

    def measured(self, row: Row, reason: str = "", failed: bool = False) -> Measured:
        """A row over all its seeds and splits, and why it is not measured over all of them."""
        found = {}
        for seed in self.plan.seeds:
            for split in self.plan.splits:
                job = self.plan.jobs[split][row.name]
                if not isinstance(job, str) and (kept := self.kept(row, job, seed, split)):
                    found[seed, split] = kept
        values, before, chosen = (
            {run: kept[name] for run, kept in found.items() if name in kept} for name in ("top1", "before", "chosen")
        )
        return Measured(row, row.figures.get(self.plan.dataset), values, reason, failed, before, chosen)

    def kept(self, row: Row, job: Job, seed: int, split: str) -> dict[str, Any] | None:
        """A figure that was measured before from the same settings, "top1", and what there was "before"; of a head
        whose settings were "chosen", those."""
        place = self._place(row, seed, split)
        if not place.exists():
            return None
        try:
            kept = read_json(place)
            if kept["key"] != self._key(row, job, seed, split):
                return None
            found: dict[str, Any] = {name: float(kept[name]) for name in ("top1", "before") if name in kept}
            whole = all(0 <= value <= 100 for value in found.values())
            found |= {"chosen": dict(kept["chosen"])} if job.trials else {}
        except (WorkError, ValueError, KeyError, TypeError):
            whole = False
        if not whole:
            note(f"{place} is damaged: the row is measured again")
        return found if whole else None

    def keep(self, row: Row, job: Job, seed: int, split: str, *, found: dict[str, float]) -> None:
        """Write a figure whole.

        Args:
            found: "top1" and, of a row that ends in a training end to end, "before", in percent.
        """
        run = self.run(job, seed, split)
        content = {"key": self._key(row, job, seed, split), **found}
        if job.trials:
            content["chosen"] = chosen_by(run)
        content["run"] = str(run.relative_to(self.out) if run.is_relative_to(self.out) else run)
        write_json(self._place(row, seed, split), content)

    def _key(self, row: Row, job: Job, seed: int, split: str) -> dict[str, Any]:
        """All that a figure follows from, but seed and split."""
        scores = self.plan.scores
        files = {name: scores.file(name, split) for name in row.scores}
        key = {
            "job": job.key,
            "output": row.output,
            "fuse": row.fuse,
            "fuse_options": row.fuse_options,
            "of": list(row.of),
            "scores": {name: scores.digests[file] for name, file in files.items() if file},
        }
        # What was not there when the first figures were measured is named where it is not as it was.
        if needs_folds(row.fuse) and row.fit == "training":
            key["fit"] = row.fit
        if row.features != "store":
            key["features"] = row.features
        if row.measure != "top1":
            key["measure"] = row.measure
        stage = self.plan.tuned(row, job, self.run(job, seed, split), seed=seed, split=split)
        return key | ({"end to end": stage.key} if stage else {})

    def _place(self, row: Row, seed: int, split: str) -> Path:
        return self.out / "rows" / slug(row.name) / f"seed-{seed}-split-{slug(split)}.json"
