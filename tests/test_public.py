"""What Python users may rely on: the names of six packages, each with a docstring and a page; `import avr` is light."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import avr

ROOT = Path(__file__).parents[1]
PUBLIC = {
    "datasets": "Dataset Description RawFrames Split Video describe_dataset index_dataset",
    "extract": "Engine Running Settings Summary extract",
    "fusion": "Applied Average Awf Comparison EarlySvm Evaluation Fuser FusionResult GreedySelection LogLinearPool "
    "LogisticStacking LpBeta Maximum Multiply Svm Table Weighted apply_fusion compare expected_calibration_error "
    "fit_temperature fuse fuse_features gather load_fuser make_fuser mcnemar_p paired_bootstrap reliability_table "
    "save_fuser",
    "heads": "Epoch FeatureDataset Head RunRequest RunResult TensorBoard TrainedRun Training Trial Tuned build_head "
    "load_head load_run train_run train_runs tune_run",
    "predict": "OnnxFile Prediction Predictor Window draw_prediction export_onnx write_table",
    "store": "TEST_VIDEO TRAINED_ON UNLABELLED FeatureStore Imported ImportedFeatures Laying Reading RunRecord Scores "
    "ShardWriter SplitRecord StoreWriter StreamLayer Videos describe drop export finished_runs import_features "
    "import_scores pack read_record read_scores repair verify write_scores",
}


def test_the_public_packages_are_these():
    assert avr.__all__ == list(PUBLIC)
    assert set(PUBLIC) <= set(dir(avr))
    with pytest.raises(AttributeError, match="module 'avr' has no attribute 'nothing'"):
        avr.nothing  # noqa: B018


@pytest.mark.parametrize("room", PUBLIC)
def test_the_public_names_are_these_each_told(room):
    package = getattr(avr, room)
    assert package is importlib.import_module(f"avr.{room}")
    assert sorted(package.__all__) == sorted(PUBLIC[room].split())  # change both, and CHANGELOG.md, where one is new
    sources = "".join(path.read_text() for path in (ROOT / room).rglob("*.py"))
    for name in package.__all__:
        value = getattr(package, name)
        if callable(value):
            told = (value.__doc__ or "").strip()
            assert told, name
            assert not told.startswith(f"{name}("), f"{name}: what a dataclass says of itself by default"
        else:  # a constant: a text behind it, which the page shows
            assert re.search(rf'^{name} = .*\n"""', sources, re.MULTILINE), name


@pytest.mark.parametrize("room", PUBLIC)
def test_each_package_has_a_page_which_lists_all_its_names(room):
    """mkdocstrings lists what `__all__` does."""
    text = (ROOT / "docs" / "api" / f"{room}.md").read_text()
    assert re.search(rf"^::: avr\.{room}$", text, re.MULTILINE)
    assert f"api/{room}.md" in (ROOT / "mkdocs.yml").read_text()


def test_importing_avr_loads_nothing_heavy():
    code = (
        "import sys, avr; print([m for m in sys.modules if m.startswith('avr.')], 'numpy' in sys.modules);"
        "avr.datasets.index_dataset; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["[] False", "False"]
