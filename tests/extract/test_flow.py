"""Every flow method against motion that is known because the frames were drawn with it."""

import cv2
import numpy as np
import pytest
import torch

from avr.core import UsageError, WorkError, item_names
from avr.extract.flow import load

ON_CPU = ["dis", "farneback", "tvl1"]


def textured(height, width, shift, seed=0):
    """A smooth texture moved by `shift` (x, y) pixels: twelve waves, evaluated, not resampled."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width].astype(np.float64)
    image = np.zeros((height, width))
    for _ in range(12):
        (wave_x, wave_y), phase = generator.uniform(-0.45, 0.45, 2), generator.uniform(0, 6.3)
        image += np.sin(wave_x * (x - shift[0]) + wave_y * (y - shift[1]) + phase)
    return np.clip(128 + 22 * image, 0, 255).astype(np.uint8)


def pairs_of(shifts, height=72, width=96):
    previous = np.stack([textured(height, width, (0, 0), seed) for seed in range(len(shifts))])
    following = np.stack([textured(height, width, shift, seed) for seed, shift in enumerate(shifts)])
    return previous, following


def test_one_file_a_method():
    assert item_names("avr.extract.flow") == ["dis", "farneback", "raft", "tvl1"]


@pytest.mark.parametrize(
    ("name", "options", "tolerance"),
    # Mean endpoint error away from the border, where texture comes in that the first frame does not show. DIS works on
    # patches of 8 pixels and stops at half resolution; the others are good to a few hundredths of a pixel.
    [
        ("dis", {}, 0.25),
        ("farneback", {}, 0.1),
        ("tvl1", {}, 0.1),
        ("tvl1", {"backend": "opencv"}, 0.1),
        ("tvl1", {"backend": "torch"}, 0.1),
    ],
    ids=lambda value: str(value) if not isinstance(value, float) else "",
)
def test_translation_is_found(name, options, tolerance):
    shifts = [(1.5, -1.0), (-0.75, 2.25)]
    flow = load(name, **options)(*pairs_of(shifts))
    assert flow.shape == (2, 2, 72, 96)
    assert flow.dtype == np.float32
    for found, shift in zip(flow, shifts, strict=True):
        error = np.hypot(found[0] - shift[0], found[1] - shift[1])[12:-12, 12:-12]
        assert error.mean() < tolerance


# Farnebäck's polynomials see the frames' borders, and OpenCV's implementation moves a little there by itself.
@pytest.mark.parametrize(("name", "border"), [("dis", 0), ("farneback", 16), ("tvl1", 0)])
def test_a_still_pair_does_not_move(name, border):
    frame = pairs_of([(0, 0)])[0]
    flow = load(name)(frame, frame)[..., border : 72 - border, border : 96 - border]
    assert np.abs(flow).max() < 2e-2


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(
    ("name", "size"), [("dis", (72, 96)), ("dis", (30, 40)), ("farneback", (72, 96)), ("tvl1", (72, 96))]
)
def test_a_pair_does_not_depend_on_its_companions(name, size, threads, monkeypatch):
    monkeypatch.setattr(cv2, "getNumThreads", lambda: threads)
    method = load(name)
    previous, following = pairs_of([(1, 0), (3.5, -2), (0, 0), (-1, 1)], *size)
    together = method(previous, following)
    for pair in (2, 0, 3, 1):
        alone = method(previous[pair : pair + 1], following[pair : pair + 1])
        np.testing.assert_array_equal(alone[0], together[pair])  # bit for bit


@pytest.mark.parametrize("method", [*ON_CPU, "tvl1 opencv", "tvl1 torch"])
def test_frames_of_any_size_have_flow(method):
    name, _, kind = method.partition(" ")
    found = load(name, **({"backend": kind} if kind else {}))
    for height, width in [(1, 1), (1, 9), (2, 2), (3, 15), (11, 11), (11, 64), (12, 300), (15, 64), (64, 7), (20, 300)]:
        frames = np.random.default_rng(0).integers(0, 256, (2, 1, height, width), dtype=np.uint8)
        flow = found(*frames)
        assert flow.shape == (1, 2, height, width)
        assert np.isfinite(flow).all()


def test_small_frames_are_padded_by_their_border_and_others_are_not():
    previous, following = pairs_of([(1, 0), (0, 1)], 12, 40)
    wide = [np.pad(frames, ((0, 0), (2, 2), (0, 0)), mode="edge") for frames in (previous, following)]
    dis = load("dis")
    np.testing.assert_array_equal(dis(previous, following), dis(*wide)[:, :, 2:14])
    large = pairs_of([(1, 0)], 16, 300)
    expected = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(large[0][0], large[1][0], None)
    np.testing.assert_array_equal(dis(*large)[0], expected.transpose(2, 0, 1))


def test_opencv_solver_is_not_spoilt_by_a_smaller_frame():
    # OpenCV's DualTVL1 remembers the fewest pyramid levels it has used; a large motion then comes out wrong.
    method = load("tvl1", backend="opencv")
    large, small = pairs_of([(4, 3)]), pairs_of([(1, 0)], 20, 20)
    before = method(*large)
    method(*small)
    np.testing.assert_array_equal(method(*large), before)


def test_an_unknown_method_lists_the_known_and_weights_are_of_those_that_have_some():
    with pytest.raises(UsageError, match=r"unknown flow method 'tvl' .*known: dis, farneback, raft, tvl1"):
        load("tvl")
    with pytest.raises(UsageError, match="flow 'dis' has no weights: leave =random out"):
        load("dis=random")


class TestRaft:
    @pytest.fixture(autouse=True)
    def _quick(self, monkeypatch):
        monkeypatch.setattr("avr.extract.flow.raft.UPDATES", 2)

    @pytest.fixture(scope="class")
    @staticmethod
    def raft():
        return load("raft", weights="random")

    def frames(self, height=60, width=150):
        generator = np.random.default_rng(1)
        return generator.integers(0, 256, (2, 2, height, width, 3), dtype=np.uint8)

    def test_is_torchvisions_network_on_torchvisions_preprocessing(self, raft):
        from torchvision.models.optical_flow import Raft_Small_Weights, raft_small

        previous, following = self.frames(128, 136)  # needs no padding
        torch.manual_seed(0)
        network = raft_small(weights=None).eval()
        transform = Raft_Small_Weights.DEFAULT.transforms()
        first, second = (torch.from_numpy(frames).permute(0, 3, 1, 2) for frames in (previous, following))
        with torch.no_grad():
            wanted = network(*transform(first, second), num_flow_updates=2)[-1].numpy()
        # One network, the same weights and inputs but for rounding of the scaling: a thousandth of a pixel is ample.
        np.testing.assert_allclose(raft(previous, following), wanted, atol=1e-3)

    def test_pads_to_eight_and_128_and_cuts_back(self, raft):
        previous, following = self.frames()
        flow = raft(previous, following)
        assert flow.shape == (2, 2, 60, 150)
        padded = [np.pad(frames, ((0, 0), (34, 34), (1, 1), (0, 0)), mode="edge") for frames in (previous, following)]
        np.testing.assert_allclose(flow, raft(*padded)[..., 34:94, 1:151], atol=1e-4)
        alone = raft(previous[1:], following[1:])
        np.testing.assert_allclose(alone[0], flow[1], atol=1e-3)  # convolutions of another batch size round otherwise

    def test_weights_from_a_file(self, raft, tmp_path):
        from safetensors.torch import save_file
        from torchvision.models.optical_flow import raft_small

        torch.manual_seed(0)
        state = raft_small(weights=None).state_dict()
        save_file(state, tmp_path / "raft.safetensors")
        torch.save(state, tmp_path / "raft.pth")
        previous, following = self.frames()
        wanted = raft(previous, following)
        for name in ("raft.safetensors", "raft.pth"):
            loaded = load(f"raft={tmp_path / name}")
            np.testing.assert_array_equal(loaded(previous, following), wanted)

    def test_weights_that_do_not_fit_or_read(self, tmp_path):
        torch.save({"other": torch.zeros(1)}, tmp_path / "other.pth")
        with pytest.raises(WorkError, match=r"other.pth do not fit raft_small"):
            load("raft", weights=str(tmp_path / "other.pth"))
        (tmp_path / "text.pth").write_text("not weights")
        with pytest.raises(WorkError, match=r"text.pth: no weights that can be read"):
            load("raft", weights=str(tmp_path / "text.pth"))
        with pytest.raises(UsageError, match="no weights 'IMAGENET' for raft_small: neither a file nor one of C_T_V1"):
            load("raft", weights="IMAGENET")

    def test_no_network_names_the_way_out(self, tmp_path, monkeypatch):
        monkeypatch.setenv("TORCH_HOME", str(tmp_path))
        monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # refuses
        with pytest.raises(WorkError, match=r"raft_small DEFAULT cannot be downloaded .*--flow raft=FILE"):
            load("raft")
