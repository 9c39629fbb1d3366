"""Images resized and cropped on the device.

Resizing and cropping are those of the weights' own `transforms()`: on uint8, with antialiasing. Flow images are
resized and cropped like frames, a pair once, before pairs are gathered into stacks.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from .settings import Settings


def to_device(array: Any, device: torch.device | str) -> Tensor:
    """An array, through pinned memory, or a tensor that may be there already, on a device."""
    tensor: Tensor = array if isinstance(array, Tensor) else torch.from_numpy(array)
    if torch.device(device).type == "cuda" and tensor.device.type == "cpu":
        return tensor.contiguous().pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def channels_last(values: Tensor) -> Tensor:
    """Images `(B, C, H, W)`, clips `(B, C, T, H, W)` or kernels, in the layout in memory that convolutions are fastest
    on; anything else as it is."""
    layouts = {4: torch.channels_last, 5: torch.channels_last_3d}
    return values.contiguous(memory_format=layouts.get(values.dim(), torch.preserve_format))


def lay_out(model: nn.Module) -> None:
    """Put a network's kernels into that layout, in place."""
    for parameter in model.parameters():
        parameter.data = channels_last(parameter.data)


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
    """Images `(…, C, H, W)` at `settings.resize`, as the weights were made: by PIL's arithmetic (uint8, antialiased),
    or not antialiased, as torchvision resizes clips."""
    from torchvision.transforms import InterpolationMode  # here, as everywhere: it takes seconds to load
    from torchvision.transforms.v2 import functional

    size = resized_to(images, settings)
    if tuple(images.shape[-2:]) == size:
        return images
    mode = InterpolationMode.BICUBIC if settings.interpolation == "bicubic" else InterpolationMode.BILINEAR
    # Weights of clips, which were not made with antialiasing, were made on tensors, in floating point.
    values = images if settings.antialias else images.float()
    resized: Tensor = functional.resize(values, list(size), interpolation=mode, antialias=settings.antialias)
    return resized if resized.dtype == images.dtype else resized.round_().to(images.dtype)


def resized_to(images: Tensor, settings: Settings) -> tuple[int, int]:
    """Height and width that `resize_images` makes of images `(…, H, W)`: an exact size, or the short side's."""
    if len(settings.resize) == 2:
        height, width = settings.resize
        return height, width
    (short,) = settings.resize
    height, width = images.shape[-2:]
    # torchvision's own rounding
    return (short, int(short * width / height)) if height <= width else (int(short * height / width), short)


def _places(images: Tensor, settings: Settings) -> Iterator[tuple[int, int]]:
    """Top and left of each crop, before mirroring."""
    down, right = images.shape[-2] - settings.crop, images.shape[-1] - settings.crop
    if settings.crops != "center":
        yield from ((0, 0), (0, right), (down, 0), (down, right))
    if settings.crops != "corners":
        yield round(down / 2.0), round(right / 2.0)
