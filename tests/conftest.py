"""Fixtures for the whole suite: the command line, the real data (skipped, saying so, where missing), random state."""

import io
import os
import random
from pathlib import Path

import numpy as np
import pytest

# Networks this small gain nothing from a second thread, and lose much where others use the cores, as the workers of a
# parallel run do. Said before torch is loaded anywhere.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture
def real_data() -> Path:
    """The folder of real clips, lists, weights and scores, or a skip that says where it was looked for."""
    for place in (os.environ.get("AVR_TEST_DATA"), Path(__file__).parents[2] / "shared" / "data"):
        if place and Path(place).is_dir():
            return Path(place)
    pytest.skip("no real data: set AVR_TEST_DATA, or lay them at ../shared/data")


@pytest.fixture
def locks() -> None:
    """Skips where files cannot be locked, which is warned of: `tests/blocked` takes POSIX's locks from Linux."""
    if os.name != "nt":
        pytest.importorskip("fcntl", reason="no locks here")


@pytest.fixture
def endless(tmp_path) -> Path:
    """A sound video that takes a minute to decode: a large picture, a thousand times."""
    from PIL import Image

    kept = io.BytesIO()
    Image.fromarray(np.zeros((3000, 3000), np.uint8)).save(kept, format="GIF", duration=40)
    data = kept.getvalue()
    start = data.index(b"\x21\xf9\x04")  # where the picture begins, with how long it is shown
    path = tmp_path / "endless.gif"
    path.write_bytes(data[:start] + data[start:-1] * 1000 + data[-1:])
    return path


@pytest.fixture
def runner():
    """click's test runner; what is slow to load is loaded before, so that no line tells of it on a slow day."""
    import torchvision  # noqa: F401
    from click.testing import CliRunner

    return CliRunner()


@pytest.fixture(autouse=True)
def _stay():
    """SIGTERM that a test sends ends the test, not what comes after it: else the process would end in seconds."""
    from avr.core import stopping

    yield
    stopping._watch.cancel()


@pytest.fixture(autouse=True)
def _random_state():
    """Each test starts from the same random state."""
    import torch

    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture
def permute_test_labels(monkeypatch):
    """Gives every store of four classes other labels in the test part of a split."""
    from avr.store import FeatureStore

    def permute(split: str) -> None:
        real = FeatureStore.__init__

        def permuted(store, *arguments, **options):
            real(store, *arguments, **options)
            test = store.split(split)[1]
            store.labels = store.labels.copy()
            store.labels[test] = (store.labels[test] + 1) % 4

        monkeypatch.setattr(FeatureStore, "__init__", permuted)

    return permute


@pytest.fixture
def needs_cuda() -> None:
    """Skip without a GPU, unless FAIL_WITHOUT_CUDA is set, so that a GPU run cannot skip silently."""
    import torch

    if not torch.cuda.is_available() and not os.environ.get("FAIL_WITHOUT_CUDA"):
        pytest.skip("no CUDA device")
