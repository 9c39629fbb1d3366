"""TV-L1 (Zach, Pock and Bischof, DAGM 2007), the flow that the two-stream papers use.

Ours follows OpenCV's DualTVL1 step by step (`_tvl1.py`), with the same parameters and the same stopping rule a pair.
Against OpenCV 5 it differs in rounding alone; OpenCV 4 rounds the warp's positions to 1/32 pixel, ours does not.
"""

from contextlib import nullcontext
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from avr.core import UsageError, installing, message_of, note, warn

from ._method import FlowMethod, in_slices, padded
from ._opencv import cv, over_pairs, over_threads
from ._tvl1 import Parameters, small_pair

if TYPE_CHECKING:
    from ._tvl1_cpu import MakeLevel

DESCRIPTION = "TV-L1, the papers' flow: batched on a GPU, compiled on a CPU where numba is installed"

_TRYING = Lock()  # the compiled form is tried once
BATCH_PIXELS = 512 * 320 * 240  # pixels of one batch on a GPU: about 9 GB there


def build(
    device: str = "cpu",
    *,
    backend: Literal["auto", "numba", "numpy", "opencv", "torch", "triton"] = "auto",
    parameters: Parameters | None = None,
) -> FlowMethod:
    """TV-L1 with the parameters of OpenCV's DualTVL1.

    Args:
        device: "cpu", or "cuda" …
        backend: "auto" is the fastest: on a CPU "numba", or "numpy" where that is not installed (`benchmarks/flow.py`),
            "triton" on a GPU, "torch" where that has no Triton. numba's flow is NumPy's bit for bit, and so it is
            called "numpy" in a store: workers with and without numba may share one.
        parameters: None: OpenCV's defaults.
    """
    chosen = parameters or Parameters()
    if backend == "numba" and not _is_compiled():
        raise UsageError(f"TV-L1's compiled form cannot be used here; it needs: {installing('fast')}")
    if backend == "auto":
        backend = "numba" if device == "cpu" else "triton" if device.startswith("cuda") else "torch"
    if backend == "opencv":
        return FlowMethod("tvl1", over_pairs(lambda: _opencv_solver(chosen)))
    if backend in ("numba", "numpy"):
        return _by_pairs(chosen, compiled=backend == "numba")
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


def _by_pairs(parameters: Parameters, *, compiled: bool) -> FlowMethod:
    """Pair by pair on a CPU."""
    from ._tvl1_cpu import NumpyLevel, solve_pair

    def one(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        level: MakeLevel = NumpyLevel
        if compiled:
            with _TRYING:  # numba is loaded for the first pair: settings are asked for more often than flow
                level = _compiled_or_numpy()
        return solve_pair(first, second, parameters, level)[0]

    return FlowMethod("tvl1", over_threads(one), backend="numpy")


def _is_compiled() -> bool:
    """Whether pairs are computed by the compiled level."""
    from ._tvl1_cpu import NumpyLevel

    with _TRYING:
        return _compiled_or_numpy() is not NumpyLevel


@cache
def _compiled_or_numpy() -> "MakeLevel":
    """The compiled level, or NumPy's where there is no numba or it does not give the same: that costs speed alone."""
    from ._tvl1_cpu import NumpyLevel, solve_pair

    try:
        from ._tvl1_compiled import CompiledLevel

        quick = Parameters(scales=2, warps=1, inner_iterations=10, outer_iterations=2)
        found, wanted = (solve_pair(*small_pair(), quick, level)[0] for level in (CompiledLevel, NumpyLevel))
        if not np.array_equal(found, wanted):
            raise RuntimeError("it differs from NumPy")
    except ModuleNotFoundError as error:
        note(f"TV-L1 is computed without {error.name}: with it, {installing('fast')}, it takes a third of the time")
        return NumpyLevel
    except Exception as error:
        warn(f"TV-L1's compiled form cannot be used ({message_of(error)}): NumPy, a third as fast, is")
        return NumpyLevel
    return CompiledLevel


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
