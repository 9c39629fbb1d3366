"""A room's face: what is imported at its first use is found, listed, and nothing else is."""

import subprocess
import sys

import pytest

import avr.core


def test_every_name_of_the_face_is_there():
    assert {"FolderLock", "grouped_folds", "softmax"} <= set(dir(avr.core))
    assert all(getattr(avr.core, name) is not None for name in dir(avr.core) if not name.startswith("__"))
    with pytest.raises(AttributeError, match=r"module 'avr.core' has no attribute 'nothing'"):
        avr.core.nothing  # noqa: B018


def test_names_that_need_numpy_are_imported_at_their_first_use():
    code = (
        "import sys, avr.core; before = 'numpy' in sys.modules; avr.core.softmax; print(before, 'numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
