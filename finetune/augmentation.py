"""The papers' augmentation: which part of the image is taken, at what scale, mirrored or not, the same for all frames.

A way of cropping is a pure function of the image's size and a generator; it gives a `Crop`, which `samples` applies to
all frames of a sample and, as STFN asks (sec. 4.2), to its flow stacks too. Sizes are relative to what testing sees:
the papers' 224 of 256 pixels, or whatever share of the shorter side (`part`) the network is tested with. Training and
testing then differ in scale as the papers' do, whatever the frames' size.

    corners          STFN sec. 4.2, after Wang et al. 2015: width and height drawn one by one from
                     {256, 224, 192, 168} / 224 of the tested side, at one of the four corners or the centre
    random-resized   GLKA: 0.08 to 1 of the area, aspect 3/4 to 4/3
    jitter           scale jitter (Simonyan and Zisserman 2014): the shorter side is resized to 256…320, then a square
                     of 224 is taken anywhere
    centre           the square in the middle: what testing sees
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from avr.core import check_known

PART = 224 / 256  # of the shorter side, which the papers test with
SIDES = (256 / 224, 224 / 224, 192 / 224, 168 / 224)  # of that, STFN sec. 4.2


@dataclass(frozen=True)
class Crop:
    """A box of an image in whole pixels, and whether it is mirrored left to right."""

    top: int
    left: int
    height: int
    width: int
    mirrored: bool = False


Augmentation = Callable[[int, int, np.random.Generator, float], Crop]


def corner_crop(height: int, width: int, generator: np.random.Generator, part: float = PART) -> Crop:
    """Four corners or centre, width and height one by one from `SIDES` of the tested side, at most the shorter side."""
    shorter = min(height, width)
    sides = [min(shorter, max(1, round(shorter * part * side))) for side in SIDES]
    tall, wide = (sides[index] for index in generator.integers(len(SIDES), size=2))
    place = int(generator.integers(5))  # corners from the top left, row by row; 4 the centre
    if place == 4:
        return Crop((height - tall) // 2, (width - wide) // 2, tall, wide)
    return Crop((height - tall) * (place // 2), (width - wide) * (place % 2), tall, wide)


def random_resized_crop(height: int, width: int, generator: np.random.Generator, part: float = PART) -> Crop:
    """A box of 0.08 to 1 of the area, aspect 3/4 to 4/3 (uniform in its logarithm), anywhere.

    Ten draws are made; when none fits, the largest centred box within the range of aspects is taken: the rule of
    torchvision's `RandomResizedCrop`, with numpy's generator. What testing sees has no part in it.
    """
    for _ in range(10):
        area = height * width * generator.uniform(0.08, 1.0)
        aspect = math.exp(generator.uniform(math.log(3 / 4), math.log(4 / 3)))
        wide, tall = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < wide <= width and 0 < tall <= height:
            top, left = int(generator.integers(height - tall + 1)), int(generator.integers(width - wide + 1))
            return Crop(top, left, tall, wide)
    tall, wide = min(height, round(width * 4 / 3)), min(width, round(height * 4 / 3))
    return Crop((height - tall) // 2, (width - wide) // 2, tall, wide)


def jitter_crop(height: int, width: int, generator: np.random.Generator, part: float = PART) -> Crop:
    """A square anywhere: the tested side of an image whose shorter side is resized to 1…1.25 of it (256…320)."""
    side = max(1, round(min(height, width) * part * 256 / int(generator.integers(256, 321))))
    top, left = int(generator.integers(height - side + 1)), int(generator.integers(width - side + 1))
    return Crop(top, left, side, side)


def centre_crop(height: int, width: int, generator: np.random.Generator | None = None, part: float = PART) -> Crop:
    """The square in the middle that testing sees; nothing is drawn."""
    side = max(1, round(min(height, width) * part))
    return Crop((height - side) // 2, (width - side) // 2, side, side)


AUGMENTATIONS: dict[str, Augmentation] = {
    "corners": corner_crop,
    "random-resized": random_resized_crop,
    "jitter": jitter_crop,
    "centre": centre_crop,
}


def draw_crop(
    name: str, size: tuple[int, int], generator: np.random.Generator, *, mirror: bool = True, part: float = PART
) -> Crop:
    """One sample's crop of images of a size (height, width), mirrored with probability one half where `mirror` allows.

    Args:
        part: share of the shorter side that testing sees, above 0 and at most 1.

    Raises:
        UsageError: unknown name; the known ones are listed.
    """
    check_known("augmentation", name, AUGMENTATIONS)
    crop = AUGMENTATIONS[name](*size, generator, part)
    mirrored = bool(generator.integers(2)) and mirror  # drawn in any case: `mirror` does not shift later draws
    return replace(crop, mirrored=mirrored)
