"""What features cost on disk, told before they are written."""

from collections.abc import Mapping
from math import prod

BYTES = 2  # of a value: stores hold fp16


def bytes_per_view(shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Bytes of one view of one video, without the store's small overhead.

    Args:
        shapes: any name -> `(N, D)` or `(N, C, H, W)`.

    Example: temporal-pyramid's paper shapes, (24, 512, 14, 14) and (24, 512, 28, 28), take 24 084 480 bytes.
    """
    return BYTES * sum(prod(shape) for shape in shapes.values())


def store_bytes(shapes: Mapping[str, tuple[int, ...]], *, videos: int, views: int = 1) -> int:
    """Bytes of a store of so many videos with so many views each."""
    return bytes_per_view(shapes) * views * videos
