"""The videos of imported scores: ids, groups, folds; by order, by id, or as another list of them has it."""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from avr.core import UsageError, first_few
from avr.store.matching import match_ids, without_suffix

from .file import TEST_VIDEO, UNLABELLED, Scores
from .found import Found

GroupRule = Callable[[Sequence[str]], tuple[Sequence[str], str]]
Role = Literal["test", "validation", "oof"]
T = TypeVar("T")
ByVideo = Mapping[str, T] | Sequence[T] | None  # by id, or in the file's order


def each_its_own(ids: Sequence[str]) -> tuple[Sequence[str], str]:
    """The rule where nothing is known of the names: each video is its own group."""
    return ids, "(each video its own)"


def ids_of(found: Found, given: Sequence[str] | None) -> list[str]:
    """Ids of the file's videos, checked; those given are compared with its own."""
    told = [without_suffix(str(video).strip()) for video in given or ()]
    own = [without_suffix(str(video).strip()) for video in found.ids or ()]
    if found.ids is None and given is None:
        raise UsageError(
            f"{found.where}: holds no video names; give them in its order (--names FILE, one a line), "
            "or say which column or array they are (--id-column)"
        )
    if found.ids is not None and given is not None:
        if len(own) != len(told):
            raise UsageError(f"{found.where}: {len(own)} videos, but {len(told)} names")
        matches = match_ids(own, told)
        differing = [place for place in range(len(own)) if matches.get(place) != place]
        if differing:
            at = differing[0]
            raise UsageError(
                f"{found.where}: holds names of its own, and --names differs in {len(differing)} of {len(own)}, first "
                f"{own[at]} and {told[at]}"
            )
    if given is not None:
        found.told["ids"] = "the names given"
        if found.labels is None and found.ids is None:
            found.notes.append("names taken in the file's order: nothing in it can tell")
    ids = told if given is not None else own
    empty = [place for place, video in enumerate(ids) if not video]
    if empty:
        raise UsageError(f"{found.place(empty[0])} has no name")
    repeated = [video for video, times in Counter(ids).items() if times > 1]
    if repeated:
        twice = [place for place, video in enumerate(ids) if video == repeated[0]]
        lines = f" (lines {found.lines[twice[0]]} and {found.lines[twice[1]]})" if found.lines else ""
        raise UsageError(f"{found.where}: ids that repeat: {', '.join(repeated[:3])}{lines}")
    return ids


def check_found(found: Found, ids: list[str], values: NDArray, numbers: NDArray) -> None:
    """Refuse scores that are no finite numbers, columns of another length, and labels outside the classes."""
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        videos = len(set(bad[:, 0].tolist()))
        place = found.place(int(bad[0, 0]), ids[int(bad[0, 0])])
        raise UsageError(f"{place}: class {bad[0, 1]} is NaN or infinite; NaN or infinite scores of {videos} videos")
    for name in ("labels", "groups", "folds", "predictions"):
        column = getattr(found, name)
        if column is not None and len(column) != len(ids):
            raise UsageError(f"{found.where}: {len(column)} {name} for {len(ids)} videos")
    wrong = np.flatnonzero((numbers >= values.shape[1]) | (numbers < UNLABELLED))
    if len(wrong):
        place = found.place(int(wrong[0]), ids[int(wrong[0])])
        raise UsageError(f"{place}: label {numbers[wrong[0]]}, but there are {values.shape[1]} classes")


def groups_of(found: Found, ids: list[str], given: ByVideo[str] | GroupRule, rule: GroupRule) -> tuple[list[str], str]:
    """The group of each video, and how they were told."""
    if callable(given):
        named, how = given(ids)
        told = list(named)
    elif given is not None:
        told, how = _by_id(found, ids, given, "groups"), "as given"
    elif found.groups is not None:
        told, how = [str(group) for group in found.groups], "of its own"
    else:
        named, how = rule(ids)
        return list(named), how
    return [group or video for group, video in zip(told, ids, strict=True)], how


def _by_id(found: Found, ids: list[str], given: Mapping[str, Any] | Sequence[Any], what: str) -> list[Any]:
    """What is given of each video, by its id or in the file's order."""
    if not isinstance(given, Mapping):
        if len(given) != len(ids):
            raise UsageError(f"{found.where}: {len(ids)} videos, but {len(given)} {what}")
        return list(given)
    known = list(given)
    matches = match_ids(known, ids)
    missing = [video for place, video in enumerate(ids) if place not in matches]
    if missing:
        raise UsageError(f"{found.where}: no {what} for {len(missing)} videos, first {', '.join(missing[:10])}")
    return [given[known[matches[place]]] for place in range(len(ids))]


def folds_of(found: Found, ids: list[str], role: Role, given: ByVideo[int | str]) -> NDArray[np.int32]:
    """`Scores.fold` of videos of a role."""
    if role != "oof":
        if given is not None:
            raise UsageError(f"folds are of out-of-fold scores (--role oof), not of {role} scores")
        if found.folds is not None:
            found.notes.append(f"not read: its folds, as these are {role} scores (--role oof)")
        return np.full(len(ids), TEST_VIDEO if role == "test" else 0, np.int32)
    told = _by_id(found, ids, given, "folds") if given is not None else found.folds
    if told is None:
        found.notes.append("nothing tells the folds: all are fold 0")
        return np.zeros(len(ids), np.int32)
    wrong = next((fold for fold in told if not re.fullmatch(r"\d{1,6}(\.0*)?", str(fold), re.ASCII)), None)
    if wrong is not None:
        raise UsageError(f"{found.where}: folds that are no whole numbers from 0 on, such as {wrong!r}")
    return np.array([int(float(fold)) for fold in told], np.int32)


def like_others(scores: Scores, like: Any, found: Found) -> Scores:
    """Scores under the ids and groups that `like` has for its videos; labels must agree."""
    if tuple(like.class_names) != scores.class_names:
        raise UsageError(f"{found.where}: its classes are not those given, such as {scores.class_names[0]}")
    matches = match_ids(like.ids.tolist(), scores.ids.tolist())
    if not matches:
        raise UsageError(f"{found.where}: shares no video with those given, such as {scores.ids[0]} and {like.ids[0]}")
    mine, theirs = np.array(list(matches), np.intp), np.array(list(matches.values()), np.intp)
    both = (scores.labels[mine] != UNLABELLED) & (like.labels[theirs] != UNLABELLED)
    differing = mine[both & (scores.labels[mine] != like.labels[theirs])]
    if len(differing):
        raise UsageError(
            f"{found.where}: labels that differ for {len(differing)} videos, first {scores.ids[differing[0]]}"
        )
    ids, groups = scores.ids.astype(object), scores.groups.astype(object)
    ids[mine], groups[mine] = like.ids[theirs], like.groups[theirs]
    scores = replace(scores, ids=ids.astype(str), groups=groups.astype(str), dataset=like.dataset)
    alone = sorted(set(range(len(scores.ids))) - set(matches))
    found.notes.append(f"{len(mine)} videos known by their ids")
    if alone:
        found.notes.append(
            f"{len(alone)} videos without partner keep their own ids: {first_few(scores.ids[alone], 10)}"
        )
    return scores
