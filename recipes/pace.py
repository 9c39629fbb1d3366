"""Timing this machine: what `avr recipe plan` estimates hours with."""

import time
from collections.abc import Callable, Iterable

import cv2
import numpy as np
import torch

from avr.extract.flow import load
from avr.heads import build_head
from avr.training import Training, build_optimizer

from .planning import Pace


def measure_pace(flow_methods: Iterable[str]) -> Pace:
    """Time flow pairs of 320×240 and a convolution, on the GPU where there is one, and a step of a small head; a few
    seconds in all."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    pairs = 64 if device == "cuda" else 4
    frames = np.random.default_rng(0).integers(0, 255, (pairs, 240, 320), dtype=np.uint8)
    first = np.stack([cv2.GaussianBlur(frame, (9, 9), 3) for frame in frames])
    seconds = {}
    for name in flow_methods:
        method = load(name, device)
        previous = np.repeat(first[..., None], 3, axis=3) if method.needs_colour else first
        following = np.roll(previous, 2, axis=2)
        seconds[name] = _fastest(lambda m=method, p=previous, f=following: m(p, f)) / pairs  # type: ignore[misc]
    image, kernel = torch.zeros(8, 64, 56, 56, device=device), torch.zeros(64, 64, 3, 3, device=device)

    def convolve() -> None:
        torch.nn.functional.conv2d(image, kernel, padding=1)
        if device == "cuda":
            torch.cuda.synchronize()

    head = build_head("stfn", {"rgb": (4, 8), "flow": (4, 8)}, 8)
    optimizer = build_optimizer(head.parameters(), Training())
    features, labels = {stream: torch.zeros(8, 4, 8) for stream in head.streams}, torch.arange(8)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(head.loss(head(features), labels))
        optimizer.step()

    a_step = _fastest(step) / len(list(head.parameters()))
    return Pace(seconds, 2 * 8 * 64 * 64 * 9 * 56 * 56 / 1e9 / _fastest(convolve), a_step)


def _fastest(work: Callable[[], object]) -> float:
    """Seconds of the fastest of seven times, or of as many as fit in a second."""
    taken: list[float] = []
    while len(taken) < 7 and sum(taken) < 1:
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return min(taken)
