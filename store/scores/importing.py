"""Scores that other tools wrote, made into avr's: TSN's npz, mmaction2's results, pickled dicts, npy and csv."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from avr.core import UsageError, sha256_of
from avr.store.matching import match_ids, without_suffix

from .file import Kind, Scores, Videos, check_scores, reordered
from .foreign import Foreign, read_foreign

GroupRule = Callable[[Sequence[str]], tuple[Sequence[str], str]]


def each_its_own(ids: Sequence[str]) -> tuple[Sequence[str], str]:
    """The rule where nothing is known of the names: each video is its own group."""
    return ids, "(each video its own)"


@dataclass(frozen=True)
class Imported:
    """Imported scores, and what was found out on the way, a line each."""

    scores: Scores
    notes: list[str]


def import_scores(
    path: Path | str,
    *,
    stream: str | None = None,
    ids: Sequence[str] | None = None,
    labels: Mapping[str, int] | Sequence[int] | None = None,
    class_names: Sequence[str] | None = None,
    group_rule: GroupRule = each_its_own,
    like: Any = None,
    kind: Literal["auto", "logits", "probabilities"] = "auto",
) -> Imported:
    """Read a file of scores that another tool wrote. Crops and segments of a video are averaged.

    Ids that say "class/video" name the classes: where each label goes with one class folder, column k of the scores
    is the class whose videos carry label k, whatever the alphabet says. `class_names` then only sets the order.

    Args:
        path: `.npz` as TSN's tools write it (`scores` or the first array: object rows of (crops × K, label), or
            M × K; `labels` and `names` if there), `.pkl` of mmaction2 (a list of vectors, or of dicts with
            `pred_score`) or of {video: vector}, `.npy` M × K, `.csv` (id, K scores; or K scores).
        stream: what to call the stream; the file's name by default.
        ids: the videos' ids in the file's order, for files that hold none.
        labels: class numbers, by id or in the file's order, for files that hold none, else checked against them.
        class_names: K names. Where ids name the classes, too, the columns are put into this order.
        group_rule: from all ids to their groups (source film, scene) and, in words, how they were told, such as
            `avr.datasets.groups_by_name`; by default each video is its own group.
        like: a store, `Videos` or other scores of the same videos: its ids are taken for the videos that meet one,
            also by sanitised names, with its groups; labels and classes must fit its own.
        kind: what the numbers are; "auto" looks: rows of non-negative numbers that sum to 1 are probabilities.

    Raises:
        UsageError: a format not known, a pickle with names that are not allowed, no ids, no labels, NaN, ids that
            repeat, labels that disagree, one class.
        WorkError: damaged.
    """
    path = Path(path)
    foreign = read_foreign(path)
    notes: list[str] = []
    found = _ids(foreign, ids, path)
    if like is not None:
        class_names = like.class_names if class_names is None else class_names
        if labels is None and foreign.labels is None:
            labels = dict(zip(like.ids.tolist(), like.labels.tolist(), strict=True))
    numbers = _labels(foreign, found, labels, path)
    names = _class_names(found, numbers, foreign, class_names, notes)
    what = kind if kind != "auto" else tell_kind(foreign.values)
    notes.append(f"the numbers are {what}" + ("" if kind != "auto" else " (by their look; --kind says otherwise)"))
    groups, how = group_rule(found)
    notes.append(f"{len(set(groups))} groups {how}")
    dataset = "" if like is None else like.dataset
    with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, and refused as such
        scores = Scores.of(
            Videos(np.array(found, dtype=str), numbers, np.array(groups, dtype=str), tuple(names), dataset),
            {stream or re.sub(r"[^\w.-]", "_", path.stem): foreign.values},
            kind=what,
            head="imported",
            provenance={"imported": path.name, "sha256": sha256_of(path), "format": foreign.format},
        )
    return Imported(_fitted(scores, class_names, like, path, notes), notes)


def _fitted(scores: Scores, class_names: Sequence[str] | None, like: Any, path: Path, notes: list[str]) -> Scores:
    """Scores that make sense, in the order of the classes given, under the ids and groups of the videos given."""
    width = next(iter(scores.streams.values())).shape[1]
    if width != len(scores.class_names):
        raise UsageError(f"{path}: {width} scores a video, but {len(scores.class_names)} class names")
    check_scores(scores, where=f"{path}: ")
    if class_names is not None and tuple(class_names) != scores.class_names:
        if sorted(class_names) != sorted(scores.class_names):
            raise UsageError(f"{path}: its classes are not those given, such as {scores.class_names[0]}")
        scores = reordered(scores, tuple(class_names))
        notes.append("columns put into the order of the class names given: the file numbers its classes otherwise")
    if like is not None:
        scores = _like(scores, like, path, notes)
    right = float((next(iter(scores.streams.values())).argmax(axis=1) == scores.labels).mean()) * 100
    notes.append(f"{len(scores.ids)} videos, {len(scores.class_names)} classes, top-1 accuracy {right:.1f} %")
    return scores


def _like(scores: Scores, like: Any, path: Path, notes: list[str]) -> Scores:
    """Scores under the ids and groups that `like` has for its videos; labels must agree."""
    if tuple(like.class_names) != scores.class_names:
        raise UsageError(f"{path}: its classes are not those given, such as {scores.class_names[0]}")
    matches = match_ids(like.ids.tolist(), scores.ids.tolist())
    if not matches:
        raise UsageError(f"{path}: shares no video with those given, such as {scores.ids[0]} and {like.ids[0]}")
    mine, theirs = np.array(list(matches), np.intp), np.array(list(matches.values()), np.intp)
    differing = mine[scores.labels[mine] != like.labels[theirs]]
    if len(differing):
        raise UsageError(f"{path}: labels that differ for {len(differing)} videos, first {scores.ids[differing[0]]}")
    ids, groups = scores.ids.astype(object), scores.groups.astype(object)
    ids[mine], groups[mine] = like.ids[theirs], like.groups[theirs]
    scores = replace(scores, ids=ids.astype(str), groups=groups.astype(str))
    alone = sorted(set(range(len(scores.ids))) - set(matches))
    notes.append(f"{len(mine)} videos known by their ids")
    if alone:
        first = ", ".join(scores.ids[alone[:10]].tolist()) + (", …" if len(alone) > 10 else "")
        notes.append(f"{len(alone)} videos without partner keep their own ids: {first}")
    return scores


def tell_kind(values: NDArray) -> Kind:
    """Whether scores `(M, K)` are probabilities: non-negative, every row summing to 1 within 1e-3 (float16 files)."""
    probable = bool((values >= 0).all()) and bool((np.abs(values.sum(axis=1, dtype=np.float64) - 1) < 1e-3).all())
    return "probabilities" if probable else "logits"


def _ids(foreign: Foreign, given: Sequence[str] | None, path: Path) -> list[str]:
    """Ids of the file's videos, checked."""
    found = list(given) if given is not None else foreign.ids
    if found is None:
        raise UsageError(f"{path}: holds no video names; give them in its order (--names FILE, one a line)")
    if len(found) != len(foreign.values):
        raise UsageError(f"{path}: {len(foreign.values)} videos, but {len(found)} names")
    found = [without_suffix(str(video)) for video in found]
    if not all(found):
        raise UsageError(f"{path}: a video without a name")
    repeated = [video for video, count in Counter(found).items() if count > 1]
    if repeated:
        raise UsageError(f"{path}: ids that repeat: {', '.join(repeated[:3])}")
    return found


def _labels(
    foreign: Foreign, ids: list[str], given: Mapping[str, int] | Sequence[int] | None, path: Path
) -> NDArray[np.int64]:
    """Labels of the file's videos: the file's own, else those given; those given are checked against the file's."""
    if given is None and foreign.labels is None:
        raise UsageError(f"{path}: holds no labels; give them (--labels FILE: 'id number' a line, or --dataset)")
    if given is None:
        return np.asarray(foreign.labels, dtype=np.int64)
    if isinstance(given, Mapping):
        known = list(given)
        matches = match_ids(known, ids)
        missing = [video for index, video in enumerate(ids) if index not in matches]
        if missing:
            raise UsageError(f"{path}: no label for {len(missing)} videos, first {', '.join(missing[:10])}")
        numbers = np.array([given[known[matches[index]]] for index in range(len(ids))], dtype=np.int64)
    else:
        numbers = np.asarray(given, dtype=np.int64)
        if numbers.shape != (len(ids),):
            raise UsageError(f"{path}: {len(ids)} videos, but {numbers.size} labels")
    if foreign.labels is not None:
        differing = np.flatnonzero(numbers != foreign.labels)
        if len(differing):
            at = differing[0]
            raise UsageError(
                f"{path}: its own labels disagree with those given for {len(differing)} videos, first {ids[at]} "
                f"({foreign.labels[at]} and {numbers[at]}); leave out the labels, or give those of its class order"
            )
    return numbers


def _class_names(
    ids: list[str], labels: NDArray[np.int64], foreign: Foreign, given: Sequence[str] | None, notes: list[str]
) -> tuple[str, ...]:
    """Names of the columns: as the ids' folders tell, else the file's own, else those given, else numbers."""
    count = foreign.values.shape[1]
    by_label: dict[int, set[str]] = {}
    for video, label in zip(ids, labels.tolist(), strict=True):
        by_label.setdefault(label, set()).add(video.rpartition("/")[0].rpartition("/")[2])
    folders = {label: next(iter(names)) for label, names in by_label.items() if len(names) == 1}
    told = len(folders) == len(by_label) == len(set(folders.values())) and all(folders.values())
    if told and set(folders) == set(range(count)) and (given is None or set(given) == set(folders.values())):
        notes.append("class names from the folders in the ids")
        return tuple(folders[label] for label in range(count))
    if told and given is not None and len(set(given)) == count:
        wrong = [label for label, name in folders.items() if not 0 <= label < count or given[label] != name]
        if wrong and set(folders.values()) <= set(given):
            raise UsageError(
                f"label {wrong[0]} is of class folder '{folders[wrong[0]]}' in the file, but not in the class names "
                "given; as not every class has a video here, give the names in the file's order"
            )
    if foreign.class_names is not None:
        return tuple(foreign.class_names)
    return tuple(given) if given is not None else tuple(f"class {number}" for number in range(count))


def ids_from_list(path: Path) -> list[str]:
    """Video names, one a line; a line may go on with more fields (TSN and mmaction2 lists), which are left out."""
    return [name for _, name, _ in _lines(path)]


def labels_from_list(path: Path) -> dict[str, int]:
    """Class numbers by video: "name … label" a line, the label last.

    Raises:
        UsageError: a line without a label (file:line).
    """
    found: dict[str, int] = {}
    for number, name, numbers in _lines(path):
        if not numbers:
            raise UsageError(f"{path}:{number}: expected 'video … label'")
        found[name] = int(numbers[-1])
    return found


def _lines(path: Path) -> Iterator[tuple[int, str, list[str]]]:
    """Place, name and trailing whole numbers of each line that is not empty; names with spaces stay whole."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read as text ({error})") from error
    for number, line in enumerate(map(str.strip, lines), 1):
        if line:
            name = re.sub(r"(?:[ \t,]+-?\d+)+$", "", line)
            yield number, name, line[len(name) :].replace(",", " ").split()
