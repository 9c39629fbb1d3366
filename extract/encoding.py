"""Flow as the networks see it: clipped to ±20 pixels and scaled to 0…255, as the papers' JPEG flow images are.

v pixels become round(255 · (v + 20) / 40), so no motion is 128 (127.5, rounded to even as OpenCV's cvRound does) and
a stack of L pairs is (2L, H, W), ordered x1 y1 x2 y2 …. Unquantised, the same scale without rounding, in float32.
"""

import numpy as np
from numpy.typing import NDArray

BOUND = 20.0  # pixels


def encode_flow(flow: NDArray[np.float32], *, quantise: bool = True) -> NDArray:
    """Flow in pixels as image values.

    Args:
        flow: (…, 2, H, W) float32, pixels, x then y.
        quantise: round to whole values.

    Returns:
        (…, 2, H, W), uint8 0…255, or float32 0…255 unquantised.
    """
    scaled = np.clip(flow, -BOUND, BOUND)
    scaled += BOUND
    scaled *= 255 / (2 * BOUND)
    return np.rint(scaled, out=scaled).astype(np.uint8) if quantise else scaled


def stack_flow(images: NDArray, positions: NDArray[np.intp]) -> NDArray:
    """Stacks out of encoded pairs: `(P, 2, H, W)` and `(…, L)` positions to `(…, 2L, H, W)`, x1 y1 x2 y2 …."""
    _, _, height, width = images.shape
    return images[positions].reshape(*positions.shape[:-1], 2 * positions.shape[-1], height, width)


def read_flow_images(x: NDArray[np.uint8], y: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """One pair's stored flow images, each (H, W) grey, as an encoded pair (2, H, W): they are taken as they are."""
    return np.stack([x, y])
