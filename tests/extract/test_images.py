"""Flow as images and images as network input, against the weights' own transforms and formulas written out."""

import numpy as np
import pytest
import torch
from PIL import Image

from avr.extract import Settings, crop_images, load_networks, open_backbone
from avr.extract.extractor import Items
from avr.extract.flow import encode_flow
from avr.extract.streams import stream_class


def test_flow_values_by_hand():
    pixels = torch.tensor([-30, -20, -10, 0, 0.04, 0.12, 10, 20, 1e9]).reshape(9, 1, 1)
    # 255·(v + 20)/40: −10 → 63.75, 0 → 127.5 (rounds to even), 0.04 → 127.755, 0.12 → 128.265, 10 → 191.25.
    assert encode_flow(pixels).ravel().tolist() == [0, 0, 64, 128, 128, 128, 191, 255, 255]
    assert encode_flow(pixels).dtype == torch.uint8
    unquantised = encode_flow(pixels, quantise=False)
    np.testing.assert_allclose(unquantised.ravel(), [0, 0, 63.75, 127.5, 127.755, 128.265, 191.25, 255, 255], rtol=1e-6)
    assert pixels[0] == -30  # the input is left alone


def test_flow_values_are_those_of_the_papers_tool():
    """TSN's dense_flow: CAST(v, L, H) = v > H ? 255 : v < L ? 0 : cvRound(255·(v − L)/(H − L))."""
    values = np.random.default_rng(0).normal(0, 9, 2000).astype(np.float32)
    expected = [255 if v > 20 else 0 if v < -20 else round(255 * (v + 20) / 40) for v in values.astype(np.float64)]
    found = encode_flow(torch.from_numpy(values).reshape(-1, 1, 1)).numpy().ravel().astype(int)
    # float32 against float64 may fall on the other side of a half, by one step and hardly ever.
    assert np.abs(found - expected).max() <= 1
    assert (found != expected).mean() < 0.005


def test_a_stack_is_x1_y1_x2_y2():
    images = torch.arange(4 * 2).reshape(1, 4, 2, 1, 1)  # of one crop; pair p: x = 2p, y = 2p + 1
    stacks = np.array([[0, 1, 2], [1, 2, 3]])
    items = Items(images, stacks, views=np.array([[0, 1]]))
    assert (items.count, items.take(0, 2).shape) == (2, (2, 3, 2, 1, 1))
    plain = Settings(kind="flow", mean=(0.0,), std=(1 / 255,))
    inputs = stream_class("flow")(plain).network_input(items.take(0, 2))
    assert inputs[..., 0, 0].tolist() == [[0, 1, 2, 3, 4, 5], [2, 3, 4, 5, 6, 7]]


def filled(**values) -> Settings:
    """Settings of one stream, with what its network brings."""
    return load_networks({"one": Settings(weights="random", **values)}).settings["one"]


@pytest.mark.parametrize("backbone", ["resnet18", "efficientnet_b0", "inception_v3"], ids=str)
@pytest.mark.parametrize("size", [(240, 320), (48, 64)], ids=["larger", "smaller"])
def test_input_is_what_the_weights_own_transforms_make(backbone, size):
    from torchvision import models

    settings = filled(backbone=backbone)
    frames = torch.randint(0, 256, (2, 3, *size), dtype=torch.uint8)
    ours = stream_class("rgb")(settings).network_input(crop_images(frames, settings)[0][:, None])
    # As the weights were made and measured: on PIL images.
    transforms = models.get_model_weights(backbone).DEFAULT.transforms()
    reference = torch.stack([transforms(Image.fromarray(frame.permute(1, 2, 0).numpy())) for frame in frames])
    # torchvision's fixed-point resizing rounds fewer than 2 % of the values to a neighbouring level (on noise, the
    # hardest image; two levels in bicubic); all others are equal up to float32 roundings.
    level = 1 / (255 * min(settings.std))
    difference = (ours - reference).abs()
    assert difference.max() < 2.01 * level
    assert (difference > 2e-6).float().mean() < 0.02


@pytest.mark.parametrize("backbone", ["r3d_18", "s3d", "mvit_v2_s", "swin3d_t"])
@pytest.mark.parametrize("size", [(240, 320), (100, 64)], ids=["larger", "smaller"])
def test_clips_are_what_the_weights_own_transforms_make(backbone, size):
    """To float32's last bits, frames resized to an exact size among them, and not antialiased."""
    from torchvision import models

    own = open_backbone(backbone).preprocessing("random")
    told = {name: getattr(own, name) for name in ("crop", "resize", "interpolation", "antialias", "mean", "std")}
    settings = Settings(kind="clip", clip_frames=3, frame_stride=1, **told)
    frames = torch.randint(0, 256, (3, 3, *size), dtype=torch.uint8)
    ours = stream_class("clip")(settings).network_input(crop_images(frames, settings)[0][None])[0]
    reference = models.get_model_weights(backbone).DEFAULT.transforms()(frames)
    torch.testing.assert_close(ours, reference, rtol=0, atol=2e-6)


def settings_of(**values) -> Settings:
    """Filled in by hand, without a network."""
    return Settings(
        resize=(20,), crop=16, interpolation="bilinear", mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7), **values
    )


def test_crops_are_torchvisions_five_and_ten():
    from torchvision.transforms.v2 import functional

    images = torch.randint(0, 256, (2, 3, 20, 31), dtype=torch.uint8)
    *corners, center = functional.five_crop(images, [16, 16])
    assert torch.equal(crop_images(images, settings_of()), center[None])
    assert torch.equal(crop_images(images, settings_of(crops="corners")), torch.stack(corners))
    assert torch.equal(crop_images(images, settings_of(crops="five")), torch.stack([*corners, center]))
    ten = functional.ten_crop(images, [16, 16])
    assert torch.equal(
        crop_images(images, settings_of(crops="ten")),
        torch.stack([*ten[:5], *(crop.flip(-1) for crop in ten[:5])]),
    )
    for crops in ("center", "corners", "five"):
        for mirror in (False, True):
            settings = settings_of(crops=crops, mirror=mirror)
            assert len(crop_images(images, settings)) == settings.crops_a_view


def test_mirrored_flow_runs_the_other_way():
    images = torch.randint(0, 256, (3, 2, 20, 31), dtype=torch.uint8)
    plain, mirrored = crop_images(images, settings_of(mirror=True), stream_class("flow").mirror)
    assert torch.equal(mirrored[:, 0].flip(-1), 255 - plain[:, 0])
    assert torch.equal(mirrored[:, 1].flip(-1), plain[:, 1])


@pytest.mark.parametrize("size", [(24, 40), (17, 19), (20, 20)])
def test_flow_images_are_resized_a_pair_at_a_time_as_a_stack_would_be(size):
    from torchvision.transforms.v2 import functional

    images = torch.randint(0, 256, (5, 2, *size), dtype=torch.uint8)
    positions = np.array([[0, 1, 2], [2, 3, 4]])
    ours = crop_images(images, settings_of(), stream_class("flow").mirror)[0]
    stacks = images[positions].flatten(1, 2)
    reference = functional.center_crop(functional.resize(stacks, [20], antialias=True), [16, 16])
    assert torch.equal(ours[positions].flatten(1, 2), reference)


def test_flow_normalisation():
    settings = settings_of(kind="flow").change(mean=(0.5,), std=(0.25,))
    images = torch.tensor([0, 127.5, 255, 0]).view(1, 2, 2, 1, 1)
    found = stream_class("flow")(settings).network_input(images)
    assert found.ravel().tolist() == pytest.approx([-2, 0, 2, -2], abs=1e-6)


@pytest.mark.parametrize(("backbone", "std"), [("squeezenet1_1", (0.229 + 0.224 + 0.225) / 3), ("inception_v3", 0.5)])
def test_flow_is_normalised_as_tsn_does(backbone, std):
    settings = filled(kind="flow", backbone=backbone)
    assert settings.mean == (0.5,)
    assert settings.std == pytest.approx((std,), abs=1e-6)


def test_a_crop_asked_for_alone_keeps_the_weights_proportion():
    assert filled(backbone="squeezenet1_1", crop=112).resize == (128,)  # 256 : 224
    assert filled(backbone="squeezenet1_1", crop=112, resize=(120,)).resize == (120,)
