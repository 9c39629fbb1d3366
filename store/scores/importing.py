"""Scores that other tools wrote, made into avr's: told what each part is by facts, or refused with what to type."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avr.core import UsageError, name_from, sha256_of
from avr.store.matching import without_suffix

from .axes import lay
from .classes import Labels, check_predictions, column_names, labels_of
from .file import UNLABELLED, Scores, Videos, check_scores, reordered
from .foreign import columns_of_frame, found_in_frame, read_foreign
from .found import Found, Known, Reading
from .kinds import Said, Told, tell_kind
from .videos import ByVideo, GroupRule, Role, check_found, each_its_own, folds_of, groups_of, ids_of, like_others

ALONE = (
    "nothing tells which videos are cut from one source, each is its own group: folds may part them, and flatter; "
    "--groups FILE or --group-pattern tells"
)


@dataclass(frozen=True)
class Imported:
    """Imported scores.

    Attributes:
        scores: of one stream.
        notes: what the file was read as, first, and what else was found out; a line each.
        warnings: what may be wrong.
    """

    scores: Scores
    notes: list[str]
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Given:
    """What is told of a file."""

    names: Sequence[str] | None
    labels: Labels
    classes: tuple[str, ...] | None
    like: Any
    reading: Reading


def import_scores(  # noqa: PLR0913 (one parameter each thing that may be told)
    path: Any,
    *,
    stream: str | None = None,
    names: Sequence[str] | None = None,
    labels: Labels = None,
    class_names: Sequence[str] | None = None,
    groups: ByVideo[str] | GroupRule = None,
    group_rule: GroupRule = each_its_own,
    like: Any = None,
    kind: Said = "auto",
    role: Role = "test",
    folds: ByVideo[int | str] = None,
    reading: Reading | None = None,
) -> Imported:
    """Read a file of scores that another tool wrote. Views (crops, clips, segments) of a video are averaged.

    What is what in a file is told by names, then by facts, never by place; what can be read in two ways is refused,
    naming the option that decides, and what is told twice is compared. See docs/scores.md.

    Args:
        path: one of `SCORE_SUFFIXES`, or a pandas DataFrame.
        stream: what to call the stream; the file's name by default.
        names: the videos' ids in the file's order, for files that hold none; else compared with its own.
        labels: class numbers, or names, by id or in the file's order. Without any, videos are `UNLABELLED`.
        class_names: K names, in the columns' order where neither file nor ids tell another; else columns are reordered.
        groups: by id, in the file's order, or a rule as below; else the file's own, else by `group_rule`.
        group_rule: from all ids to their groups (source film, scene) and, in words, how they were told, such as
            `avr.datasets.groups_by_name`.
        like: a store, `Videos` or other scores of the same videos: its ids, sanitised or not, groups and class order
            are taken; labels must agree.
        kind: what the numbers are; "auto" looks, see `tell_kind`.
        role: "test", "validation" (held-out videos: fold 0) or "oof", out-of-fold scores of training videos.
        folds: of the latter, by id or in the file's order; else the file's own, else 0.
        reading: what the file does not tell by itself.

    Raises:
        UsageError: no scores in it, no ids, NaN, ids that repeat, two readings, tellings that disagree, one class.
        WorkError: damaged.
    """
    if like is not None and class_names is None:
        class_names = like.class_names
    classes = None if class_names is None else tuple(map(str, class_names))
    given = _Given(names, labels, classes, like, reading or Reading())
    found, called, made = _read(path, given)
    ids = ids_of(found, names)
    values, numbers, columns, views = _arranged(found, ids, given)
    right = _share_right(values, numbers)
    told = tell_kind(values, kind, found.where, right)
    in_groups, how = groups_of(found, ids, groups, group_rule)
    videos = Videos(np.array(ids, dtype=str), numbers, np.array(in_groups, dtype=str), columns)
    fold = folds_of(found, ids, role, folds)
    scores = _fitted(_scores(videos, called if stream is None else stream, told, fold, found, made), given, found)
    found.notes.append(f"{len(set(scores.groups))} groups {how}")
    imported = _said(scores, found, told, views=views, right=right, role=role)
    if groups is None and found.groups is None and like is None and 1 < len(ids) == len(set(in_groups)):
        imported.warnings.append(ALONE)
    return imported


def _scores(
    videos: Videos, stream: str, told: Told, fold: NDArray[np.int32], found: Found, made: dict[str, Any]
) -> Scores:
    with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, and refused as such
        return Scores.of(
            videos,
            {name_from(stream): told.values},
            kind=told.kind,
            fold=fold,
            head="imported",
            provenance={**made, "format": found.form, "numbers": told.words},
        )


def _read(path: Any, given: _Given) -> tuple[Found, str, dict[str, Any]]:
    """What is found in a file or DataFrame; what its stream is called; its provenance."""
    known = Known(
        None if given.names is None else len(given.names),
        frozenset(map(without_suffix, given.labels)) if isinstance(given.labels, Mapping) else frozenset(),
        given.classes,
    )
    if isinstance(path, str | Path):
        path = Path(path)
        return read_foreign(path, known, given.reading), path.stem, {"imported": path.name, "sha256": sha256_of(path)}
    if not hasattr(path, "iloc"):
        raise UsageError(f"scores of type {type(path).__name__}: a path, or a pandas DataFrame, is expected")
    found = found_in_frame(columns_of_frame(path), "DataFrame", "DataFrame", known, given.reading)
    return found, "scores", {"imported": "DataFrame"}


def _arranged(
    found: Found, ids: list[str], given: _Given
) -> tuple[NDArray[np.float64], NDArray[np.int64], tuple[str, ...], str]:
    """Scores (M, K), labels (M,), the columns' names, and views in words; checked."""
    labels, like = given.labels, given.like
    if like is not None and labels is None and found.labels is None:
        theirs = (like.class_names[label] if label >= 0 else UNLABELLED for label in like.labels.tolist())
        labels = dict(zip(like.ids.tolist(), theirs, strict=True))
    numbers = labels_of(found, ids, labels, given.classes)
    known = numbers[numbers != UNLABELLED].tolist() or None
    count = len(found.class_names or given.classes or ()) or None
    axes = given.reading.axes or found.axes
    values, views = lay(found.values, found.where, videos=len(ids), classes=count, labels=known, axes=axes)
    columns = column_names(found, ids, numbers, given.classes, values.shape[1])
    if len(columns) != values.shape[1]:
        raise UsageError(f"{found.where}: {values.shape[1]} scores a video, but {len(columns)} class names")
    check_found(found, ids, values, numbers)
    check_predictions(found, ids, values, columns)
    return values, numbers, columns, views


def _share_right(values: NDArray, labels: NDArray[np.int64]) -> float | None:
    known = labels != UNLABELLED
    return float((values.argmax(axis=1) == labels)[known].mean()) if known.any() else None


def _fitted(scores: Scores, given: _Given, found: Found) -> Scores:
    """Scores that make sense, in the order of the classes given, under the ids and groups of the videos given."""
    check_scores(scores, where=f"{found.where}: ")
    if given.classes is not None and given.classes != scores.class_names:
        if sorted(given.classes) != sorted(scores.class_names):
            odd = sorted(set(scores.class_names) - set(given.classes)) or sorted(set(given.classes))
            raise UsageError(f"{found.where}: its classes are not those given, such as {odd[0]}")
        scores = reordered(scores, given.classes)
        found.notes.append(
            "columns put into the order of the class names given: the file numbers its classes otherwise"
        )
    return scores if given.like is None else like_others(scores, given.like, found)


def _said(scores: Scores, found: Found, told: Told, *, views: str, right: float | None, role: Role) -> Imported:
    """The scores, with what is to be said of them: first, in one line, what the file was read as."""
    count, classes = len(scores.ids), len(scores.class_names)
    words = [f"{what.replace('_', ' ')}: {place}" for what, place in found.told.items()]
    words += [f"{what}: its own" for what in ("ids", "labels") if getattr(found, what) and what not in found.told]
    accuracy = "no labels (--labels FILE, or --dataset)" if right is None else f"{100 * right:.1f} % right"
    parts = [f"{count} videos × {classes} classes{views} ({found.form})", ", ".join(words), told.words, role, accuracy]
    missing = int((scores.labels == UNLABELLED).sum())
    if 0 < missing < count:
        found.notes.append(f"{missing} videos have no label")
    warnings = [told.warning] if told.warning else []
    if right is not None and count >= 20 and right <= 1.2 / classes:
        warnings.append(f"only {100 * right:.1f} % right, as by chance: are names, labels and classes in one order?")
    return Imported(scores, ["; ".join(parts), *found.notes], warnings)
