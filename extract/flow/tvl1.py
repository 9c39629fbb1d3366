"""TV-L1 (Zach, Pock and Bischof, DAGM 2007), the flow that the two-stream papers use.

Ours follows OpenCV's DualTVL1 step by step (`_tvl1.py`), with the same parameters and the same stopping rule a pair.
Against OpenCV 5 it differs in rounding alone; OpenCV 4 rounds the warp's positions to 1/32 pixel, ours does not.
"""

from contextlib import nullcontext
from typing import Literal

import torch

from ._method import FlowMethod, in_slices, padded
from ._opencv import cv, over_pairs, over_threads
from ._tvl1 import Parameters

DESCRIPTION = "TV-L1, the papers' flow: batched on a GPU, vectorised on a CPU"

BATCH_PIXELS = 512 * 320 * 240  # pixels of one batch on a GPU: about 9 GB there


def build(
    device: str = "cpu",
    *,
    backend: Literal["auto", "numpy", "opencv", "torch", "triton"] = "auto",
    parameters: Parameters | None = None,
    threads: int | None = None,
) -> FlowMethod:
    """TV-L1 with the parameters of OpenCV's DualTVL1.

    Args:
        device: "cpu", or "cuda" …
        backend: "auto" is the fastest: "numpy" on a CPU (several times OpenCV's, `benchmarks/flow.py`), "triton" on a
            GPU, "torch" where that has no Triton.
        parameters: None: OpenCV's defaults.
        threads: how many pairs at once on a CPU; None: one a core.
    """
    chosen = parameters or Parameters()
    if backend == "auto":
        backend = "numpy" if device == "cpu" else "triton" if device.startswith("cuda") else "torch"
    if backend == "opencv":
        return FlowMethod("tvl1", over_pairs(lambda: _opencv_solver(chosen), threads=threads))
    if backend == "numpy":
        from ._tvl1_cpu import solve_pair

        solve = over_threads(lambda first, second: solve_pair(first, second, chosen)[0], threads=threads)
        return FlowMethod("tvl1", solve, backend="numpy")
    return _batched(device, backend, chosen)


def _opencv_solver(chosen: Parameters) -> object:
    """OpenCV's own solver with these parameters."""
    return cv.optflow.DualTVL1OpticalFlow_create(
        tau=chosen.tau,
        lambda_=chosen.attachment,
        theta=chosen.theta,
        nscales=chosen.scales,
        warps=chosen.warps,
        epsilon=chosen.epsilon,
        innnerIterations=chosen.inner_iterations,  # OpenCV's spelling
        outerIterations=chosen.outer_iterations,
        scaleStep=chosen.scale_step,
        medianFiltering=5 if chosen.median else 1,
    )


def _batched(device: str, backend: str, parameters: Parameters) -> FlowMethod:
    """The batched form on a device, in Triton where it can be."""
    from ._tvl1_batch import EagerLevel, solve_batch

    place = torch.device(device)
    level = None
    if backend == "triton":
        from ._tvl1_fused import kernels_or_none

        level = kernels_or_none(place)
    made = level or EagerLevel

    def on_place(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        # Triton launches on the present device, whatever its arguments' device is.
        with torch.cuda.device(place) if place.type == "cuda" else nullcontext():
            return solve_batch(first, second, parameters, made)

    named = "triton" if level else "torch"
    # A side of one pixel has no middle about which torch's sampling could scale.
    return FlowMethod("tvl1", in_slices(padded(on_place, 2), BATCH_PIXELS), backend=named, device=device)
