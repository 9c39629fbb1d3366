"""What a recipe's rows need, settled before anything is trained: which layers, options and training settings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from avr.core import UsageError, check_known, options_of, sha256_of
from avr.heads import USUAL, head_class, head_options
from avr.training import Training, read_training, settings_of

from .folder import key_of
from .measuring import needs_folds
from .reading import Recipe, Row
from .scores import ScoreFiles
from .serving import Source

FOLDS = 5  # for the rows whose rule learns
Regime = Literal["auto", "paper", "small"]


@dataclass(frozen=True)
class Changes:
    """What a run changes of a recipe.

    Attributes:
        settings: "paper", "small" (the heads' defaults, for small data), or "auto": the paper's on its data sets.
        options: changes to the heads' options, for the heads that have them.
        training: changes to the training settings.
        layers: stream -> layer to read instead of the heads' own; "" stands for every stream.
        scores: outside score files by the name rows call them, or by "name@split".
        trials: by how many each training's settings are chosen, on its training part; 0: they are as they stand.
    """

    settings: Regime = "auto"
    options: Mapping[str, object] = field(default_factory=dict)
    training: Mapping[str, object] = field(default_factory=dict)
    layers: Mapping[str, str] = field(default_factory=dict)
    scores: Mapping[str, Path] = field(default_factory=dict)
    trials: int = 0


@dataclass(frozen=True)
class Job:
    """What the rows of one training share, settled.

    Attributes:
        source: what serves the features. head: name.
        layers: stream -> layer, in the head's order.
        options: all of the head's.
        files: option -> SHA-256 of the file it names, of the options that do.
        training: settings. digest: of the features. folds: for out-of-fold scores.
        trials: by which options and settings are chosen, from these on. held: those that are not, because the row or
            the run names them.
        start: the row of another recipe that it starts from, as `Row.start_from` names it; "" where weights are drawn,
            or not trained before. start_key: of that one's training.
    """

    source: Source
    head: str
    layers: dict[str, str]
    options: dict[str, Any]
    files: dict[str, str]
    training: Training
    digest: str
    folds: int = 0
    trials: int = 0
    held: tuple[str, ...] = ()
    start: str = ""
    start_key: str = ""

    @property
    def key(self) -> str:
        """Twelve hexadecimal digits of everything but seed and split; a file counts by what it holds."""
        options = {**self.options, **self.files}
        parts = [self.head, list(self.layers.items()), options, settings_of(self.training), self.folds]
        parts += [self.digest, *([self.trials, self.held] if self.trials else [])]
        return key_of([*parts, *([self.start_key] if self.start else [])])


def check_changes(recipe: Recipe, changes: Changes) -> None:
    """Refuse changes that no row could take, or that would make rows of the table one.

    Raises:
        UsageError: an option no row's head has, or an option or training setting in which rows of one head differ.
    """
    types = {row.head: options_of(head_class(row.head)) for row in recipe.rows}
    known = sorted({option for options in types.values() for option in options})
    for option in changes.options:
        check_known(f"option of the heads of {recipe.name}", option, known)
        given = [(row.head, head_options(row.head, row.options).get(option)) for row in recipe.rows]
        _check_alike(recipe, option, given, "--set")
    for setting in changes.training:
        _check_alike(recipe, setting, [(r.head, r.training.get(setting)) for r in recipe.rows], "--training")


def _check_alike(recipe: Recipe, name: str, values: Sequence[tuple[str, object]], how: str) -> None:
    """Refuse a change of what rows of one head differ in: they would all be the same row."""
    for head in dict.fromkeys(head for head, _ in values):
        found = list(dict.fromkeys(str(value) for other, value in values if other == head))
        if len(found) > 1:
            raise UsageError(
                f"the rows of {recipe.name} differ in {name} ({', '.join(found)}): {how} {name}=… would make them one; "
                "leave it out, or write a recipe of your own"
            )


def jobs_of(
    recipe: Recipe,
    *,
    sources: Mapping[str, Source],
    dataset: str,
    changes: Changes,
    split: str = "",
    scores: ScoreFiles | None = None,
    starts: Mapping[str, str] | None = None,
) -> dict[str, Job | str]:
    """Each row's training in one split by the row's name, or why it cannot be run.

    Args:
        starts: rows of other recipes that rows start from -> the keys of their trainings.

    Raises:
        UsageError: an unknown training setting or option value, or an option's file that is not there.
    """
    jobs: dict[str, Job | str] = {}
    for row in recipe.rows:
        missing = [name for name in row.scores if scores is None or scores.file(name, split) is None]
        if row.store not in sources:
            jobs[row.name] = f"no store for it: give --store {row.store}=PATH (see avr recipe plan {recipe.name})"
        elif missing:
            given = scores is not None and scores.knows(missing[0])
            of, place = (f" of split {split}", f"@{split}") if given else ("", "")
            jobs[row.name] = f"no outside scores{of}: give --scores {missing[0]}{place}=FILE"
        else:
            papers = recipe.paper_training(row.head, dataset) if changes.settings == "paper" else {}
            streams = row.streams or tuple(recipe.stores[row.store].streams)
            job = _job(row, streams, source=sources[row.store], changes=changes, papers=papers)
            if isinstance(job, Job) and starts and row.start_from in starts:
                job = replace(job, start=row.start_from, start_key=starts[row.start_from])
            jobs[row.name] = job
    learning = (jobs[row.name] for row in recipe.rows if needs_folds(row.fuse) and row.fit == "out-of-fold")
    folded = {job.key for job in learning if isinstance(job, Job)}
    # Rows of one training take its out-of-fold scores with it, so that it is not trained with and without them.
    return {
        name: replace(job, folds=FOLDS) if isinstance(job, Job) and job.key in folded else job
        for name, job in jobs.items()
    }


def _job(
    row: Row, streams: tuple[str, ...], *, source: Source, changes: Changes, papers: Mapping[str, Any]
) -> Job | str:
    """A row's training, or which layer its store lacks."""
    made = head_class(row.head)
    known = options_of(made)
    chosen = {stream: changes.layers.get(stream) or changes.layers.get("", "") for stream in streams}
    told = {**row.layers, **{stream: layer for stream, layer in chosen.items() if layer}}
    wanted = {stream: layer for stream, layer in told.items() if stream in streams}
    try:
        layers, digest = source.settle(made, streams, wanted)
    except UsageError as error:
        return str(error)
    options = head_options(row.head, {**row.options, **{k: v for k, v in changes.options.items() if k in known}})
    base = made.paper if changes.settings == "paper" else made.defaults
    named_by = (row.options, row.training, changes.options, changes.training)
    named = {option: Path(options[option]) for option in made.starting}
    files = {option: path for option, path in named.items() if path.suffix}  # others are names of weights
    for option, file in files.items():
        if not file.is_file():
            raise UsageError(f"{option}: no file {file}")
    return Job(
        source=source,
        head=row.head,
        layers=layers,
        options=options,
        files={option: sha256_of(file) for option, file in files.items()},
        training=read_training(base, {**papers, **row.training, **changes.training}),
        digest=digest,
        trials=changes.trials,
        held=tuple(name for name in USUAL if any(name in told for told in named_by)),
    )
