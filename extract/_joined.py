"""The flow stage where flow is computed by PyTorch: one call for the pairs of several videos.

One video's pairs, 70 by default, do not fill a GPU: on the pyramid's coarse levels a kernel over them is over before
the next one is launched. Videos are therefore joined until they have `PAIRS`, or until their shard ends. A pair's flow
does not depend on the others (`avr.extract.flow`), so neither do the features.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from avr.video import Decoded

from .encoding import BOUND
from .extractor import Extractor

PAIRS = 256
Item = TypeVar("Item")


def groups(
    items: Iterable[Item], *, pairs: Callable[[Item], int], last: Callable[[Item], bool]
) -> Iterator[list[Item]]:
    """Consecutive items, until they have `PAIRS` pairs or one is the last of its shard."""
    group: list[Item] = []
    waiting = 0
    for item in items:
        group.append(item)
        waiting += pairs(item)
        if waiting >= PAIRS or last(item):
            yield group
            group, waiting = [], 0
    if group:
        yield group


@torch.inference_mode()
def compute_flows(extractor: Extractor, videos: list[Decoded]) -> list[Any]:
    """Encoded flow of several videos, `Extractor.compute_flow` of each, computed together.

    Args:
        extractor: one whose flow method has an `on_device`.
        videos: of one frame size or several; those with flow images of their own keep them.

    Returns:
        For each video (P, 2, H, W), uint8 or float32 unquantised: a tensor on the device, or its own flow images.
    """
    answers = [video.answers["flow"] for video in videos]
    results: list[Any] = [answer.flow_images for answer in answers]
    sizes: dict[tuple[int, ...], list[int]] = {}
    for index, answer in enumerate(answers):
        if answer.flow_images is None:
            sizes.setdefault(answer.images.shape[1:], []).append(index)
    for members in sizes.values():
        frames = extractor.to_device(np.concatenate([answers[index].images for index in members]))
        firsts, seconds, offset = [], [], 0
        for index in members:
            pairs = answers[index].pairs
            assert pairs is not None
            firsts.append(offset + pairs.ends[0])
            seconds.append(offset + pairs.ends[1])
            offset += len(pairs.frames)
        first, second = (torch.from_numpy(np.concatenate(places)).to(frames.device) for places in (firsts, seconds))
        flow = encode(extractor.flow.on_device(frames[first], frames[second]), quantise=extractor.settings.quantise)
        parts = torch.split(flow, [len(places) for places in firsts])
        for index, part in zip(members, parts, strict=True):
            results[index] = part
    return results


def encode(flow: Tensor, *, quantise: bool = True) -> Tensor:
    """`encode_flow` of a tensor, on its device, value for value."""
    scaled = (flow.clamp(-BOUND, BOUND) + BOUND) * (255 / (2 * BOUND))
    return scaled.round().to(torch.uint8) if quantise else scaled
