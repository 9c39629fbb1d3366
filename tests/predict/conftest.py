import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "finetune"))


@pytest.fixture(scope="session")
def dataset(tmp_path_factory):
    from clips import make_dataset

    return make_dataset(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def runs(tmp_path_factory, dataset):
    """A folder of runs on one store: stfn, linear, and a fusion of linear's streams."""
    from clips import make_run

    from avr.fusion import fuse

    folder = tmp_path_factory.mktemp("runs")
    for head in ("stfn", "linear"):
        make_run(folder, dataset, head, folds=2)
    fuse("weighted", [folder / "linear"], out=folder / "fused")
    return folder
