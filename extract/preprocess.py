"""Images resized and cropped on the device.

Resizing and cropping are those of the weights' own `transforms()`: on uint8, with antialiasing. Flow images are
resized and cropped like frames, a pair once, before pairs are gathered into stacks.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from .settings import Settings


def to_device(array: Any, device: torch.device | str) -> Tensor:
    """An array, through pinned memory, or a tensor that may be there already, on a device."""
    tensor: Tensor = array if isinstance(array, Tensor) else torch.from_numpy(array)
    if torch.device(device).type == "cuda" and tensor.device.type == "cpu":
        return tensor.contiguous().pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def crop_images(images: Tensor, settings: Settings, mirror: Callable[[Tensor], Tensor] | None = None) -> Tensor:
    """All crops of a video's images.

    Args:
        images: (n, C, H, W) uint8 or float32, 0…255.
        settings: resize, crop, interpolation, crops, mirror.
        mirror: a stream's own; None exchanges left and right.

    Returns:
        (A, n, C, crop, crop) of the same dtype, A = `settings.crops_a_view`: the corners (top left, top right, bottom
        left, bottom right), the center, as `crops` has them, then the same mirrored.
    """
    resized = resize_images(images, settings)
    side = settings.crop
    plain = torch.stack(
        [resized[..., top : top + side, left : left + side] for top, left in _places(resized, settings)]
    )
    if not (settings.mirror or settings.crops == "ten"):
        return plain
    return torch.cat([plain, plain.flip(-1) if mirror is None else mirror(plain)])


def resize_images(images: Tensor, settings: Settings) -> Tensor:
    """Images `(…, C, H, W)` with their short side at `settings.resize`, by PIL's arithmetic (uint8, antialiased)."""
    from torchvision.transforms import InterpolationMode  # here, as everywhere: it takes seconds to load
    from torchvision.transforms.v2 import functional

    height, width = images.shape[-2:]
    if min(height, width) == settings.resize:
        return images
    mode = InterpolationMode.BICUBIC if settings.interpolation == "bicubic" else InterpolationMode.BILINEAR
    resized: Tensor = functional.resize(images, [settings.resize], interpolation=mode, antialias=True)
    return resized


def _places(images: Tensor, settings: Settings) -> Iterator[tuple[int, int]]:
    """Top and left of each crop, before mirroring."""
    down, right = images.shape[-2] - settings.crop, images.shape[-1] - settings.crop
    if settings.crops != "center":
        yield from ((0, 0), (0, right), (down, 0), (down, right))
    if settings.crops != "corners":
        yield round(down / 2.0), round(right / 2.0)
