"""What a score file holds, as plain values."""

from pathlib import Path
from typing import Any

import numpy as np

from .file import TRAINED_ON, is_test, read_scores


def describe_scores(path: Path) -> dict[str, Any]:
    """Describe a score file."""
    scores = read_scores(path)
    return {
        "kind": "scores",
        "path": str(path),
        "dataset": scores.dataset,
        "head": scores.head,
        "split": scores.split,
        "videos": len(scores.ids),
        "test_videos": int(is_test(scores.fold).sum()),
        "out_of_fold_videos": int((scores.fold >= 0).sum()),
        "trained_on_videos": int((scores.fold == TRAINED_ON).sum()),
        "classes": len(scores.class_names),
        "class_names": list(scores.class_names),
        "groups": len(np.unique(scores.groups)),
        "numbers": scores.kind,
        "streams": list(scores.streams),
        "fused": scores.fused,
        "provenance": scores.provenance,
    }
