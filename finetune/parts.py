"""Which videos train, test and validate, and settings in the form that files keep."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from avr.core import validation_part
from avr.datasets import Dataset, Split, Video
from avr.extract.cache import ClipCache, leave_out

from .distributed import Processes


def fill_cache(
    cache: ClipCache, dataset: Dataset, split: Split, processes: Processes
) -> tuple[list[Video], list[Video]]:
    """Store the split's videos; gives the training and the test videos that decode.

    The processes of a machine share the work; then all see what is there.
    """
    by_id = {video.id: video for video in dataset.videos}
    train, test = [by_id[name] for name in split.train], [by_id[name] for name in split.test]
    mine = [*train, *test][processes.local_rank :: processes.local_world]
    failures = {name: reason for found in processes.gather(cache.build(mine)) for name, reason in found.items()}
    return leave_out(train, failures), leave_out(test, failures)


def part_videos(videos: Sequence[Video], share: float, *, seed: int) -> tuple[list[Video], list[Video]]:
    """Training and validation videos, whole groups only."""
    groups, labels = np.array([video.group for video in videos]), np.array([video.label for video in videos])
    apart = validation_part(labels, groups=groups, share=share, seed=seed)
    return (
        [video for video, out in zip(videos, apart, strict=True) if not out],
        [video for video, out in zip(videos, apart, strict=True) if out],
    )


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON gives it back."""
    result: dict[str, Any] = json.loads(json.dumps(values, default=list))
    return result
