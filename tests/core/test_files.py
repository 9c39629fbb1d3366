"""Files that are there whole or not at all, readable by whom the umask says."""

import stat
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from avr.core import UsageError, WorkError, make_folder, write_whole


def test_a_file_of_safetensors_has_the_permissions_of_any_other(tmp_path):
    with write_whole(tmp_path / "tensors") as temporary:
        save_file({"a": np.zeros(3)}, temporary)
    (tmp_path / "plain").write_text("text")
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("tensors", "plain")}
    assert len(modes) == 1


def test_two_writers_of_one_number_do_not_meet(tmp_path):
    """As on two machines that share a folder, where process numbers may be the same."""
    path = tmp_path / "file"
    with write_whole(path) as first:
        first.write_text("first")
        with write_whole(path) as second:
            second.write_text("second")
        assert path.read_text() == "second"
        assert first != second
    assert path.read_text() == "first"


def test_a_failed_write_leaves_what_was_there(tmp_path):
    path = tmp_path / "file"
    path.write_text("before")

    def fail():
        with write_whole(path) as temporary:
            temporary.write_text("half")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert [other.name for other in tmp_path.iterdir()] == ["file"]
    assert path.read_text() == "before"


def test_a_folder_is_made_or_refused_in_one_line(tmp_path):
    assert make_folder(make_folder(tmp_path / "a" / "b")).is_dir()
    (tmp_path / "file").touch()
    for place in ("file", "file/below"):
        with pytest.raises(UsageError, match="is a file, or lies below one; choose another folder"):
            make_folder(tmp_path / place)
    with pytest.raises(WorkError, match="/proc/avr: cannot be made"):
        make_folder(Path("/proc/avr"))
