"""Flow as the networks see it: clipped to ±20 pixels and scaled to 0…255, as the papers' JPEG flow images are.

v pixels become round(255 · (v + 20) / 40), so no motion is 128 (127.5, rounded to even as OpenCV's cvRound does) and
a stack of L pairs is (2L, H, W), ordered x1 y1 x2 y2 …. Unquantised, the same scale without rounding, in float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from avr.extract.preprocess import to_device

from ._method import FlowMethod

if TYPE_CHECKING:
    from avr.video import Answer

BOUND = 20.0  # pixels
# Flow in pixels is held for so many pairs, encoded flow for all of a call. A GPU works best on many at once.
PAIRS_AT_ONCE = {"cpu": 16, "cuda": 256}


def encode_flow(flow: Tensor, *, quantise: bool = True) -> Tensor:
    """Flow `(…, 2, H, W)` in pixels, x then y, as image values 0…255: uint8, or unquantised float32."""
    scaled = flow.clamp(-BOUND, BOUND).add_(BOUND).mul_(255 / (2 * BOUND))
    return scaled.round_().to(torch.uint8) if quantise else scaled


@torch.inference_mode()
def encoded_flows(method: FlowMethod, videos: Sequence[Answer], *, quantise: bool = True) -> list[Tensor]:
    """Encoded flow of several videos' pairs, computed together: one video's, 70 by default, do not fill a GPU.

    A pair's flow does not depend on the pairs beside it, so neither does a video's on the videos beside it, which
    may be of several sizes. For each video (P, 2, H, W), uint8, or float32 unquantised, on the method's device.
    """
    found: list[Tensor] = [torch.empty(0)] * len(videos)
    sizes: dict[tuple[int, ...], list[int]] = {}
    for index, video in enumerate(videos):
        sizes.setdefault(video.images.shape[1:], []).append(index)
    for members in sizes.values():
        for index, flow in zip(members, _encoded(method, [videos[index] for index in members], quantise), strict=True):
            found[index] = flow
    return found


def _encoded(method: FlowMethod, videos: list[Answer], quantise: bool) -> Sequence[Tensor]:
    """Of videos of one frame size."""
    frames = to_device(np.concatenate([video.images for video in videos]), method.device)
    ends, counts, offset = [], [], 0
    for video in videos:
        assert video.pairs is not None
        ends.append(offset + video.pairs.ends)  # (2, P)
        counts.append(len(video.pairs.firsts))
        offset += len(video.images)
    first, second = torch.from_numpy(np.concatenate(ends, axis=1)).to(frames.device)
    at_once = PAIRS_AT_ONCE.get(frames.device.type, 16)
    chunks = zip(torch.split(first, at_once), torch.split(second, at_once), strict=True)
    flow = torch.cat([encode_flow(method.solve(frames[a], frames[b]), quantise=quantise) for a, b in chunks])
    return torch.split(flow, counts)
