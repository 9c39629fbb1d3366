"""TV-L1 in its forms (NumPy, numba, PyTorch, Triton) against OpenCV's DualTVL1 and against one another."""

import importlib.util
import sys
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from avr.core import UsageError
from avr.extract.flow import _tvl1_batch, load, tvl1
from avr.extract.flow._tvl1 import Parameters, pyramid_sizes
from avr.extract.flow._tvl1_batch import EagerLevel, resize, solve_batch, texture
from avr.extract.flow._tvl1_cpu import NumpyLevel, centred_gradient, solve_pair

KERNELS = Path(_tvl1_batch.__file__).with_name("_tvl1_kernels.py")


def endpoint_error(found, wanted):
    return np.hypot(*(found - wanted).swapaxes(0, 1))


@pytest.fixture
def rolling():
    """Two pairs of a smooth random texture under a motion that differs from place to place, (2, 60, 80) uint8 twice."""
    generator = np.random.default_rng(3)
    y, x = np.mgrid[:60, :80].astype(np.float32)
    previous, following = [], []
    for strength in (1.0, 2.5):
        image = cv2.GaussianBlur(generator.uniform(0, 255, (60, 80)).astype(np.float32), (0, 0), 2)
        image = cv2.normalize(image, None, 0, 255, cv2.NORM_MINMAX)
        bend_x, bend_y = strength * np.sin(y / 12), strength * np.cos(x / 15)
        previous.append(image.astype(np.uint8))
        following.append(cv2.remap(image, x - bend_x, y - bend_y, cv2.INTER_LINEAR, None, cv2.BORDER_REFLECT))
    return np.stack(previous), np.stack(following).astype(np.uint8)


def test_pyramid_sizes_are_opencvs():
    assert pyramid_sizes(240, 320, Parameters()) == [(240, 320), (192, 256), (154, 205), (123, 164), (98, 131)]
    assert pyramid_sizes(144, 180, Parameters(scales=3)) == [(144, 180), (115, 144), (92, 115)]
    assert pyramid_sizes(25, 30, Parameters()) == [(25, 30), (20, 24), (16, 19)]
    assert pyramid_sizes(8, 8, Parameters()) == [(8, 8)]


def test_resize_is_opencvs():
    image = np.random.default_rng(0).uniform(0, 255, (154, 205)).astype(np.float32)
    smaller = cv2.resize(image, None, fx=0.8, fy=0.8)
    found = resize(torch.from_numpy(image), (123, 164), 1.25)
    np.testing.assert_allclose(found, smaller, atol=1e-3)  # values to 255 in float32
    larger = resize(torch.from_numpy(smaller), (154, 205))
    np.testing.assert_allclose(larger, cv2.resize(smaller, (205, 154)), atol=1e-3)


def test_gradients_halve_at_the_border():
    image = np.array([[0, 2, 8], [4, 4, 4], [6, 0, 0]], np.float32)
    along_x, along_y = centred_gradient(image)
    np.testing.assert_array_equal(along_x, [[1, 4, 3], [0, 0, 0], [-3, -3, 0]])
    np.testing.assert_array_equal(along_y, [[2, 1, -2], [3, -1, -4], [1, -2, -2]])
    np.testing.assert_array_equal(texture(torch.from_numpy(image)[None])[0], np.stack([image, along_x, along_y]))


@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_flow_is_opencvs(rolling, backend):
    wanted = load("tvl1", backend="opencv")(*rolling)
    found = load("tvl1", backend=backend)(*rolling)
    # Only rounding differs, and with it now and then the iteration at which a warp stops; where the energy has two
    # minima (the border) a pixel may end in the other one. Half of what is asked on real clips.
    error = endpoint_error(found, wanted)
    assert error.mean() < 0.05
    assert np.median(error) < 5e-3
    assert np.hypot(*wanted.swapaxes(0, 1)).mean() > 0.5  # there is motion to find


@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_each_parameter_does_what_opencvs_does(rolling, backend):
    one = [frames[1:] for frames in rolling]
    usual = load("tvl1", backend="opencv")(*one)
    for change in (
        {"attachment": 0.05},
        {"theta": 0.5, "tau": 0.2},
        {"scales": 2},
        {"warps": 1},
        {"epsilon": 0.1},
        {"inner_iterations": 4, "outer_iterations": 3, "epsilon": 1e-4},
        {"scale_step": 0.5},
        {"median": False},
    ):
        parameters = Parameters(**change)
        wanted = load("tvl1", backend="opencv", parameters=parameters)(*one)
        found = load("tvl1", backend=backend, parameters=parameters)(*one)
        difference, effect = np.median(endpoint_error(found, wanted)), np.median(endpoint_error(usual, wanted))
        # Far nearer to OpenCV's so set than to OpenCV's as usual.
        assert effect > 2e-3, change
        assert difference < effect / 3, change


def test_an_easy_pair_does_not_pay_for_a_hard_one(rolling):
    previous, following = rolling
    still, easy = solve_pair(previous[0], previous[0], Parameters(), NumpyLevel)
    assert np.abs(still).max() < 1e-3
    _, hard = solve_pair(previous[1], following[1], Parameters(), NumpyLevel)
    assert [level.iterations for level in easy] == [5] * 5  # one a warp finds that nothing moves
    assert [level.pixels for level in easy] == [24 * 33, 30 * 41, 38 * 51, 48 * 64, 60 * 80]
    assert sum(level.iterations for level in hard) > 4 * 25


def test_a_batch_drops_pairs_as_they_converge(rolling):
    previous = torch.from_numpy(np.stack([rolling[0][0], rolling[0][1]])).float()
    following = torch.from_numpy(np.stack([rolling[0][0], rolling[1][1]])).float()
    level = EagerLevel(previous, following, torch.zeros(2, 2, 60, 80), Parameters(epsilon=1e-3))
    level.warp()
    assert level.iterate(torch.arange(2), 5).tolist() == [1]
    assert level.iterate(torch.tensor([1]), 2000).tolist() == []


def test_a_pair_does_not_depend_on_its_companions_in_a_batch(rolling):
    method = load("tvl1", backend="torch")
    together = method(*rolling)
    for pair in range(2):
        # Bit for bit on a CPU: every step is elementwise, and a pair's error is summed in an order of its own.
        alone = method(rolling[0][pair : pair + 1], rolling[1][pair : pair + 1])
        np.testing.assert_array_equal(alone[0], together[pair])


def test_colourless_and_tiny_frames():
    flat = np.full((1, 12, 9), 77, np.uint8)
    for backend in ("numpy", "torch"):
        np.testing.assert_array_equal(load("tvl1", backend=backend)(flat, flat), np.zeros((1, 2, 12, 9), np.float32))


def test_real_clips_within_a_tenth_of_a_pixel(real_data):
    """A slow, a fast and a middling pair; benchmarks/flow.py takes more of them."""
    previous, following = [], []
    for path in sorted((real_data / "clips").glob("*.avi"))[1::2]:
        capture = cv2.VideoCapture(str(path))
        frames = [capture.read()[1] for _ in range(42)]
        previous.append(cv2.cvtColor(frames[40], cv2.COLOR_BGR2GRAY))
        following.append(cv2.cvtColor(frames[41], cv2.COLOR_BGR2GRAY))
    assert len(previous) == 3
    wanted = load("tvl1", backend="opencv")(np.stack(previous), np.stack(following))
    found = load("tvl1")(np.stack(previous), np.stack(following))
    motion = np.hypot(*wanted.swapaxes(0, 1)).mean((1, 2))
    assert motion.max() > 5  # one of them is fast
    assert (endpoint_error(found, wanted).mean((1, 2)) <= np.where(motion < 5, 0.1, 0.05 * motion)).all()


class TestCompiled:
    """numba's form against NumPy's."""

    @pytest.fixture
    def compiled(self):
        pytest.importorskip("numba")
        from avr.extract.flow import _tvl1_compiled

        return _tvl1_compiled

    @pytest.mark.parametrize(
        "change",
        [
            {},
            {"epsilon": 1e-6, "warps": 2, "outer_iterations": 2},  # never near enough
            {"epsilon": 0.3},  # stops after one, or in the midst of several at once
            {"inner_iterations": 1, "median": False},
            {"inner_iterations": 7, "scale_step": 0.5, "theta": 0.5, "tau": 0.2},
        ],
        ids=str,
    )
    def test_it_is_numpys_bit_for_bit(self, compiled, rolling, change):
        parameters = Parameters(**change)
        for rows, columns in ((60, 80), (41, 53), (17, 16), (3, 1), (1, 5)):
            for pair in range(2):
                frames = [images[pair, :rows, :columns] for images in rolling]
                flow, work = solve_pair(*frames, parameters, compiled.CompiledLevel)
                wanted, wanted_work = solve_pair(*frames, parameters, NumpyLevel)
                np.testing.assert_array_equal(flow, wanted)
                assert work == wanted_work

    def test_it_is_what_a_cpu_uses(self, compiled):
        assert tvl1._compiled_or_numpy() is compiled.CompiledLevel
        assert load("tvl1").backend == "numpy"  # the same bytes: one name in a store

    def test_a_place_to_keep_it_is_not_needed(self, compiled, monkeypatch):
        from numba.core.caching import CacheImpl

        monkeypatch.setattr(CacheImpl, "_locator_classes", [])  # as where neither site-packages nor a home is writable
        assert compiled._compiled(_twice)(2) == 4

    def test_without_numba_it_is_numpys(self, monkeypatch, capsys):
        monkeypatch.setitem(sys.modules, "numba", None)
        monkeypatch.delitem(sys.modules, "avr.extract.flow._tvl1_compiled", raising=False)
        monkeypatch.setattr(tvl1, "_compiled_or_numpy", tvl1._compiled_or_numpy.__wrapped__)
        assert tvl1._compiled_or_numpy() is NumpyLevel
        assert "pip install 'avr-video[fast]'" in capsys.readouterr().err
        with pytest.raises(UsageError, match="pip install 'avr-video\\[fast\\]'"):
            load("tvl1", backend="numba")


def _twice(value):
    return value + value


class TestKernels:
    """The Triton kernels: interpreted on the CPU, compiled for a GPU that is not there, and run on one that is."""

    SMALL = Parameters(scales=1, warps=1, inner_iterations=5, outer_iterations=2, epsilon=0.05)

    @pytest.fixture
    def interpreted(self, monkeypatch):
        pytest.importorskip("triton")
        monkeypatch.setenv("TRITON_INTERPRET", "1")
        return self.fresh()

    @staticmethod
    def fresh():
        """A copy of the kernels' module of its own: `jit` looks at TRITON_INTERPRET when it decorates."""
        spec = importlib.util.spec_from_file_location("avr_tvl1_kernels_copy", KERNELS)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    @staticmethod
    def frames(height, width):
        generator = np.random.default_rng(5)
        image = cv2.GaussianBlur(generator.uniform(0, 255, (height, width + 4)).astype(np.float32), (0, 0), 1.5)
        image = cv2.normalize(image, None, 0, 255, cv2.NORM_MINMAX)
        still = torch.from_numpy(image[:, 2:-2].copy())
        moved = torch.from_numpy(image[:, 1:-3].copy())
        return torch.stack([still, still]), torch.stack([still, moved])  # the first pair converges at once

    def levels(self, kernels, parameters, height=20, width=23):
        from avr.extract.flow._tvl1_fused import KernelLevel

        first, second = self.frames(height, width)
        flow = torch.from_numpy(np.random.default_rng(6).normal(0, 2, (2, 2, height, width)).astype(np.float32))
        flow[0] = 0
        return [make(first, second, flow, parameters) for make in (EagerLevel, partial(KernelLevel, kernels))]

    def test_exchanges_find_the_thirteenth_of_25(self):
        network = pytest.importorskip("avr.extract.flow._tvl1_kernels").EXCHANGES
        generator = np.random.default_rng(0)
        # A network that orders every 0-1 sequence orders everything; 4 000 random ones and every threshold of 25.
        values = np.concatenate([generator.integers(0, 2, (4000, 25)), np.tril(np.ones((25, 25), int))])
        wanted = np.sort(values, axis=1)[:, 12]
        for low, high in zip(network[::2], network[1::2], strict=True):
            pair = values[:, [low, high]]
            values[:, low], values[:, high] = pair.min(1), pair.max(1)
        np.testing.assert_array_equal(values[:, 12], wanted)
        assert len(network) // 2 == 113  # the full sort of 25 takes 138

    def test_warp_and_median(self, interpreted):
        eager, fused = self.levels(interpreted, self.SMALL)
        for level in (eager, fused):
            level.warp()
        # The flow leads out of the frame here and there. Values to 255, sampled 16-fold in another order.
        pixels = 20 * 23
        slope = fused.linear[:, :2, :pixels].reshape(2, 2, 20, 23)
        torch.testing.assert_close(slope, eager.slope, atol=2e-2, rtol=1e-3)
        constant = fused.linear[:, 2, :pixels].reshape(2, 20, 23)
        torch.testing.assert_close(constant, eager.constant, atol=0.1, rtol=1e-3)
        still = fused.flow[0].clone()
        for level in (eager, fused):
            level.median(torch.tensor([1]))
        torch.testing.assert_close(fused.flow[1], eager.flow[1], atol=0, rtol=0)  # a median picks, it computes nothing
        torch.testing.assert_close(fused.flow[0], still, atol=0, rtol=0)
        wanted = F.pad(self.levels(interpreted, self.SMALL)[0].flow[1:], (2, 2, 2, 2), mode="replicate")[0, 0]
        np.testing.assert_array_equal(fused.flow[1, 0], cv2.medianBlur(wanted.numpy(), 5)[2:-2, 2:-2])

    @pytest.mark.parametrize("count", [4, 3], ids=["even", "odd"])
    def test_iterations_and_stopping(self, interpreted, monkeypatch, count):
        from avr.extract.flow import _tvl1_fused

        monkeypatch.setitem(_tvl1_fused.ITERATE, "BLOCK", 256)  # several blocks a pair, also at this size
        eager, fused = self.levels(interpreted, self.SMALL)
        for level in (eager, fused):
            level.warp()
        active = [level.iterate(torch.arange(2), count).tolist() for level in (eager, fused)]
        assert active == [[1], [1]]
        # Rounding alone: an iteration moves by up to reach · slope, a few pixels, in float32.
        torch.testing.assert_close(fused.flow, eager.flow, atol=2e-3, rtol=1e-3)
        dual = fused.state[:, 2:, : 20 * 23].reshape(2, 2, 2, 20, 23)
        torch.testing.assert_close(dual, eager.dual, atol=2e-3, rtol=1e-3)

    def test_whole_solution(self, interpreted):
        first, second = (frames.round().to(torch.uint8) for frames in self.frames(20, 23))
        from avr.extract.flow._tvl1_fused import KernelLevel

        parameters = Parameters(scales=2, warps=1, inner_iterations=2, outer_iterations=2)
        wanted = solve_batch(first, second, parameters, EagerLevel)
        found = solve_batch(first, second, parameters, partial(KernelLevel, interpreted))
        # Four iterations a level on from rounding; at the border a sample of the frame or of the nothing beside it.
        assert (found - wanted).abs().mean() < 1e-3
        assert (found - wanted).abs().max() < 0.1
        assert wanted[1].abs().mean() > 0.3

    @pytest.mark.parametrize("name", ["_iterate", "_median", "_warp"])
    def test_compiles_for_hopper_without_spilling(self, name):
        """No GPU is needed to compile for one; whether it is right there, `tests/test_cuda.py` says."""
        pytest.importorskip("triton")
        compiled = compile_for_gpu(getattr(self.fresh(), name), capability=90)
        assert "cubin" in compiled.asm
        assert ".local " not in compiled.asm["ptx"]  # no array in slow memory


def compile_for_gpu(kernel, capability):
    """A kernel compiled as `KernelLevel` launches it."""
    triton = pytest.importorskip("triton")
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from avr.extract.flow._tvl1_fused import ITERATE, SAMPLE
    from avr.extract.flow._tvl1_kernels import EXCHANGES

    launch = ITERATE if kernel.__name__ == "_iterate" else SAMPLE
    constants = {"BLOCK": launch["BLOCK"], "BLOCKS": 128, "EXCHANGES": EXCHANGES}
    floats = {"limit", "reach", "theta", "dual_step"}
    pointers = {"source", "target", "first", "texture", "state", "linear", "shares"}
    signature = {
        name: "constexpr"
        if name in constants
        else "*i64"
        if name == "active"
        else "*fp32"
        if name in pointers
        else "fp32"
        if name in floats
        else "i32"
        for name in kernel.arg_names
    }
    values = {(place,): constants[name] for place, name in enumerate(kernel.arg_names) if name in constants}
    options = {key: value for key, value in launch.items() if key != "BLOCK"}
    source = ASTSource(fn=kernel, signature=signature, constexprs=values)
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
