"""Crops and mirroring: torchvision as the outside reference, literal boxes where the papers give them."""

from collections import Counter

import numpy as np
import pytest
import torch

from avr.core import UsageError
from avr.extract.streams import stream_class
from avr.finetune.augmentation import AUGMENTATIONS, Crop, centre_crop, draw_crop
from avr.finetune.samples import apply_crop


def crops(name, size, count=2000):
    return [draw_crop(name, size, np.random.default_rng([7, number])) for number in range(count)]


def test_corner_crops_are_the_papers_sides_at_the_papers_places():
    drawn = crops("corners", (256, 340))
    assert {crop.height for crop in drawn} == {crop.width for crop in drawn} == {256, 224, 192, 168}
    assert {(crop.top, crop.left) for crop in drawn if (crop.height, crop.width) == (192, 224)} == {
        (0, 0),
        (0, 340 - 224),
        (256 - 192, 0),
        (256 - 192, 340 - 224),
        ((256 - 192) // 2, (340 - 224) // 2),
    }
    # 16 pairs of sides, equally likely: 125 of 2000 expected, standard deviation 10.8; five of them.
    assert all(abs(count - 125) < 54 for count in Counter((c.height, c.width) for c in drawn).values())


def test_corner_crops_keep_their_share_of_smaller_images():
    assert {crop.height for crop in crops("corners", (64, 80))} == {64, 56, 48, 42}


def test_random_resized_crops_are_spread_as_torchvisions():
    from torchvision.transforms import RandomResizedCrop

    torch.manual_seed(3)
    image = torch.empty(3, 240, 320)
    theirs = np.array(
        [RandomResizedCrop.get_params(image, [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(2000)], dtype=float
    )
    ours = np.array([(c.top, c.left, c.height, c.width) for c in crops("random-resized", (240, 320))], dtype=float)
    # Quartiles of 2000 draws: their standard error is below 3 pixels here.
    for quantile in (0.25, 0.5, 0.75):
        difference = np.quantile(ours, quantile, axis=0) - np.quantile(theirs, quantile, axis=0)
        assert np.abs(difference).max() < 12
    assert (ours[:, 0] + ours[:, 2]).max() <= 240
    assert (ours[:, 1] + ours[:, 3]).max() <= 320
    assert ours.min(axis=0)[2] < 80


def test_random_resized_crop_of_an_image_too_long_takes_the_largest_box_in_the_middle():
    crop = draw_crop("random-resized", (10, 1000), np.random.default_rng(0))
    assert (crop.top, crop.left, crop.height, crop.width) == (0, (1000 - 13) // 2, 10, 13)


def test_jitter_takes_224_of_256_to_320():
    sides = [crop.height for crop in crops("jitter", (256, 340))]
    assert (min(sides), max(sides)) == (round(256 * 224 / 320), 224)
    assert all(crop.height == crop.width for crop in crops("jitter", (256, 340), 50))


def test_centre_crop_is_the_middle():
    assert centre_crop(256, 340) == Crop(16, 58, 224, 224)


@pytest.mark.parametrize("name", sorted(AUGMENTATIONS))
def test_mirroring_is_fair_and_can_be_forbidden_without_shifting_other_draws(name):
    allowed = crops(name, (100, 120))
    assert 0.45 < np.mean([crop.mirrored for crop in allowed]) < 0.55  # 0.5 ± 4.5 standard errors
    for number in range(20):
        crop = draw_crop(name, (100, 120), np.random.default_rng([7, number]), mirror=False)
        assert not crop.mirrored
        assert (crop.top, crop.left, crop.height) == (allowed[number].top, allowed[number].left, allowed[number].height)


def test_an_unknown_augmentation_lists_the_known_ones():
    with pytest.raises(UsageError, match="unknown augmentation 'wild'; known: corners, random-resized, jitter, centre"):
        draw_crop("wild", (10, 10), np.random.default_rng(0))


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_crop_resizes_as_torchvision_does(mirrored):
    from torchvision.transforms import functional as reference

    images = torch.randint(0, 256, (4, 3, 50, 70), dtype=torch.uint8)
    ours = apply_crop(images, Crop(5, 11, 40, 33, mirrored), 24, mirror=stream_class("rgb").mirror)
    theirs = reference.resized_crop(images.float(), 5, 11, 40, 33, [24, 24], antialias=True)
    # Both interpolate in float32; mirroring before or after resizing sums the same products in another order.
    torch.testing.assert_close(ours, reference.hflip(theirs) if mirrored else theirs, atol=1e-3, rtol=0)


def test_all_frames_of_a_sample_get_the_same_box():
    image = torch.rand(1, 3, 32, 40)
    out = apply_crop(image.expand(5, -1, -1, -1), Crop(2, 3, 20, 20, True), 16, mirror=stream_class("rgb").mirror)
    assert torch.equal(out, out[:1].expand_as(out))


def mirror_pixels(flow):
    """Flow in pixels mirrored as images are, in which 127.5 is no motion."""
    return stream_class("flow").mirror(flow + 127.5) - 127.5


def test_mirrored_flow_points_the_other_way_in_x_alone():
    # One pair: x is 3 in the left column and -1 in the right; y is 5 and 7.
    stack = torch.tensor([[[[3.0, -1.0]], [[5.0, 7.0]]]]).reshape(1, 2, 1, 2)
    assert mirror_pixels(stack).reshape(2, 2).tolist() == [[1.0, -3.0], [7.0, 5.0]]


def test_mirrored_quantised_flow_is_255_minus_x():
    stack = torch.tensor([200.0, 127.5, 0.0, 10.0]).reshape(1, 2, 1, 2)
    assert stream_class("flow").mirror(stack).reshape(2, 2).tolist() == [[127.5, 55.0], [10.0, 0.0]]


def test_flow_computed_on_mirrored_frames_is_the_mirrored_flow():
    """A square that moves right by 3 pixels: OpenCV's DIS on the mirrored pair gives what the stream makes."""
    from avr.extract.flow import load

    generator = np.random.default_rng(0)
    texture = generator.integers(60, 250, (24, 24), dtype=np.uint8).repeat(2, 0).repeat(2, 1)
    frames = np.full((2, 96, 128), 30, np.uint8)
    frames[0, 24:72, 30:78] = texture
    frames[1, 24:72, 33:81] = texture
    method = load("dis")
    straight = torch.from_numpy(method(frames[:1], frames[1:]))
    mirrored = torch.from_numpy(method(frames[:1, :, ::-1].copy(), frames[1:, :, ::-1].copy()))
    inside = (slice(None), slice(None), slice(36, 60), slice(128 - 66, 128 - 42))
    # DIS is not exactly symmetric: its patches start at the top left. A tenth of a pixel of three.
    expected = mirror_pixels(straight)[inside].mean((-1, -2))
    torch.testing.assert_close(mirrored[inside].mean((-1, -2)), expected, atol=0.1, rtol=0)
    assert mirrored[inside][:, 0].mean() < -2.5


def test_sizes_follow_what_testing_sees():
    """Tested with the whole shorter side, the papers' 168 of 224 is three quarters of it, and nothing is larger."""
    crops = [draw_crop("corners", (144, 180), np.random.default_rng(n), part=1.0) for n in range(60)]
    assert {crop.height for crop in crops} == {144, 123, 108}
    assert draw_crop("centre", (144, 180), np.random.default_rng(0), part=1.0).height == 144
    jittered = [draw_crop("jitter", (144, 180), np.random.default_rng(n), part=1.0).height for n in range(60)]
    assert max(jittered) <= 144
    assert min(jittered) >= 115
