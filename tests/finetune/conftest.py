import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def dataset(tmp_path_factory):
    from clips import make_dataset

    return make_dataset(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def workplace(tmp_path_factory):
    return tmp_path_factory.mktemp("workplace")


@pytest.fixture(scope="session")
def stfn_run(workplace, dataset):
    from clips import make_run

    return make_run(workplace, dataset, "stfn", split=("1", "2"))


@pytest.fixture(scope="session")
def linear_run(workplace, dataset, stfn_run):
    from clips import make_run

    return make_run(workplace, dataset, "linear")
