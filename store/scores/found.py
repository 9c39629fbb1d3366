"""What is found in a score file, and the words by which others call its parts."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avr.core import UsageError

# Headers of tables and keys of dicts, in small letters, with `_` for blanks and `-`; the first that is there is taken.
SCORE_WORDS = {
    "ids": (
        *("id", "video_id", "video", "name", "video_name", "filename", "file_name", "file", "path", "video_path"),
        *("frame_dir", "clip", "clip_name", "clip_id", "sample", "sample_name", "sample_id", "vid", "ids", "video_ids"),
        *("videos", "names", "video_names", "filenames", "files", "paths", "sample_names"),
        *("filepath", "file_path", "videopath", "clip_path", "video_file", "videofile"),
    ),
    "labels": (
        *("label", "labels", "gt_label", "gt_labels", "target", "targets", "gt", "ground_truth", "groundtruth"),
        *(
            "true_label",
            "true_class",
            "y_true",
            "truth",
            "class",
            "class_id",
            "action",
            "class_name",
            "label_name",
            "category",
            "activity",
            "y",
        ),
    ),
    "groups": ("group", "groups", "source", "subject", "person", "performer", "scene"),
    "folds": ("fold", "folds"),
    "predictions": (
        *("prediction", "predicted", "pred", "pred_label", "pred_labels", "pred_class", "predicted_label", "y_pred"),
        *("predicted_class", "top1", "top_1"),
    ),
    "class_names": ("class_names", "classes", "label_names"),
    "scores": (
        *("pred_scores", "pred_score", "scores", "score", "cls_score", "logits", "logit", "probabilities", "probs"),
        *("prob", "outputs", "output", "preds", "predictions", "softmax"),
    ),
    # Numbers of a video that are no scores.
    "others": (
        *("frames", "num_frames", "n_frames", "total_frames", "fps", "rate", "duration", "seconds", "start", "end"),
        *("start_frame", "end_frame", "width", "height", "confidence", "rank", "split", "subset", "num_clips"),
    ),
}
NO_COLUMN = "none"


@dataclass(frozen=True)
class Reading:
    """How a score file is read, where it does not tell by itself; what is empty is found out.

    Attributes:
        id_column: the column, or array, of the videos' names; a column's number counts from 1; "none": there is none.
        label_column: that of the labels.
        array: that of the scores, of several in a file.
        axes: of the scores, a letter an axis: M videos, V views (crops, clips), K classes.
        delimiter: what stands between a table's cells: ",", ";", "|", "tab" or "blank".
    """

    id_column: str = ""
    label_column: str = ""
    array: str = ""
    axes: str = ""
    delimiter: str = ""

    def column(self, role: str) -> str:
        """The name given for a role's column."""
        return {"ids": self.id_column, "labels": self.label_column}.get(role, "")

    def check(self, where: Path | str, form: str, used: Sequence[str]) -> None:
        """Refuse what is given (UsageError) where this form of file has a use for those named alone; axes all have."""
        for name in ("id_column", "label_column", "array", "delimiter"):
            if getattr(self, name) and name not in used:
                raise UsageError(f"{where}: --{name.replace('_', '-')} is of no use here, this is {form}: leave it out")


@dataclass(frozen=True)
class Known:
    """What is known of the videos and classes of a score file before it is read.

    Attributes:
        names: how many names of videos are given; None: none are.
        ids: videos whose labels are given.
        classes: the classes' names, if they are given.
    """

    names: int | None = None
    ids: frozenset[str] = frozenset()
    classes: tuple[str, ...] | None = None


@dataclass
class Found:
    """What a score file holds, before it is told which axis is what.

    Attributes:
        where: the file, for messages.
        form: the kind of file, in words.
        values: numbers of two or more axes; or those of each video, of one or more.
        ids, labels, groups, folds, predictions: of each video, as they are written; None: it holds none.
        class_names: of the columns.
        again: further labels, by the words for their column or array.
        axes: of the scores, as `Reading` has them, where that is known.
        lines: of a table, the line of each video.
        told: which column or array is what, for the line that says so.
        notes: what else is to be said.
    """

    where: str
    form: str
    values: NDArray | list[NDArray]
    ids: list[str] | None = None
    labels: list[Any] | None = None
    groups: list[Any] | None = None
    folds: list[Any] | None = None
    predictions: list[Any] | None = None
    class_names: list[str] | None = None
    again: dict[str, list[Any]] = field(default_factory=dict)
    axes: str = ""
    lines: list[int] | None = None
    told: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def place(self, video: int, name: str = "") -> str:
        """ "file:line: video x", for messages."""
        line = f":{self.lines[video]}" if self.lines else ""
        known = name or (self.ids[video] if self.ids else "")
        return f"{self.where}{line}: video {known or video}"


def role_of(name: str) -> str:
    """What a header or key is for; empty where it is no known word."""
    text = heading(name)
    return next((role for role, words in SCORE_WORDS.items() if text in words), "")


def heading(name: str) -> str:
    """A header or key as words are compared."""
    return re.sub("[ -]", "_", str(name).strip().lower())


def pick(names: list[str], role: str) -> str | None:
    """Of several headers or keys the one that says a role best."""
    said = {heading(name): name for name in reversed(names)}
    return next((said[word] for word in SCORE_WORDS[role] if word in said), None)


def text_of(value: Any, path: Path | str, what: str) -> str:
    """A name that is text, or a whole number."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, str):
        return value
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return str(value)
    raise UsageError(f"{path}: {what} that are neither text nor whole numbers ({type(value).__name__})")
