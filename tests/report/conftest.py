"""A small run by hand."""

from pathlib import Path

import numpy as np
import pytest

from avr.store import Scores, write_scores

CLASS_NAMES = ("walk", "run <fast>", "jump & skip")


def one_hot(predicted: list[int], margin: float = 4.0) -> np.ndarray:
    return (margin * np.eye(3)[predicted]).astype(np.float32)


@pytest.fixture
def run(tmp_path) -> Path:
    """A run of two splits and two streams, with a hand-made score file each, and a log."""
    folder = tmp_path / "runs" / "linear-toy-1"
    for split in ("1", "2"):
        scores = Scores(
            ids=np.array([f"v{number}" for number in range(6)]),
            labels=np.array([0, 0, 1, 1, 2, 0]),
            groups=np.array([f"g{number}" for number in range(6)]),
            class_names=CLASS_NAMES,
            # The last video is an out-of-fold one, and wrong in both: it must count nowhere.
            streams={
                "rgb": one_hot([0, 0, 1, 1, 2, 1] if split == "1" else [0, 0, 0, 1, 2, 1], margin=8),
                "flow": one_hot([0, 1, 1, 0, 2, 1], margin=2),
            },
            kind="logits",
            split=split,
            fold=np.array([-1, -1, -1, -1, -1, 0], dtype=np.int32),
            head="linear",
            dataset="toy",
        )
        write_scores(folder / f"split-{split}" / "scores.h5", scores)
    (folder / "split-1" / "rgb").mkdir()
    log = "epoch,step,lr,loss,accuracy,seconds\n1,3,0.1,1.5,0.25,0.1\n2,6,0.1,0.5,,0.2\n"
    (folder / "split-1" / "rgb" / "log.csv").write_text(log)
    return folder
