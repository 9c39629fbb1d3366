"""Files that are there whole or not at all, readable by whom the umask says."""

import os
import re
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from avr.core import (
    UsageError,
    WorkError,
    claim_file,
    claim_files,
    claim_folder,
    make_folder,
    remove_leftovers,
    write_folder,
    write_whole,
)


@pytest.mark.skipif(not hasattr(os, "fchmod"), reason="no permissions of files here")
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


def leave(path: Path, writer: str, size: int = 1000) -> Path:
    left = path.with_name(f".{path.name}.{writer}.tmp")
    left.write_bytes(b"x" * size)
    return left


def test_the_next_writer_removes_what_a_dead_one_left_and_no_other(tmp_path, capsys):
    """Names end in host, process and a random part: who lives, or lies on another host, is left alone."""
    path, host = tmp_path / "file[1]", re.sub(r"[^A-Za-z0-9]", "_", socket.gethostname())[:32]
    gone = subprocess.Popen(["true"])
    gone.wait()
    dead = leave(path, f"{host}-{gone.pid}-0123abcd")
    alive = leave(path, f"{host}-{os.getpid()}-0123abcd")
    elsewhere, long_ago = leave(path, "other-1-0123abcd"), leave(path, "another-1-0123abcd")
    os.utime(long_ago, (0, time.time() - 90_000))
    others = leave(tmp_path / "file", f"{host}-{gone.pid}-0123abcd")
    with write_whole(path) as temporary:
        temporary.write_text("new")
    assert {one.name for one in tmp_path.iterdir()} == {one.name for one in (path, alive, elsewhere, others)}
    assert "file[1]: removed what 2 killed writers left of it (2 KB)" in capsys.readouterr().err
    assert not dead.exists()
    remove_leftovers(path, alone=True)
    assert {one.name for one in tmp_path.iterdir()} == {path.name, others.name}


def test_a_writer_that_is_killed_leaves_a_name_that_the_next_one_removes(tmp_path):
    code = (
        "import os, sys; from pathlib import Path; from avr.core import write_whole, write_folder\n"
        "with write_whole(Path(sys.argv[1])) as one, write_folder(Path(sys.argv[2])) as two:\n"
        "    one.write_text('half'); (two / 'half').write_text('half'); os.kill(os.getpid(), 9)"
    )
    file, folder = tmp_path / ("n" * 250), tmp_path / "folder"
    subprocess.run([sys.executable, "-c", code, file, folder], check=False)
    assert len(list(tmp_path.iterdir())) == 2
    with write_whole(file) as one, write_folder(folder) as two:
        one.write_text("whole")
        (two / "whole").write_text("whole")
    assert {one.name: one.is_dir() for one in tmp_path.iterdir()} == {file.name: False, "folder": True}
    assert [one.name for one in folder.iterdir()] == ["whole"]


def test_a_folder_comes_with_all_its_files_or_not_at_all(tmp_path):
    def fail(folder):
        with write_folder(folder) as inside:
            (inside / "one").write_text("new")
            raise KeyError

    for name in ("new", "there"):
        with pytest.raises(KeyError):
            fail(tmp_path / name)
        assert not (tmp_path / "new").exists()
        (tmp_path / "there").mkdir(exist_ok=True)
    (tmp_path / "there" / "one").write_text("old")
    (tmp_path / "there" / "other").write_text("old")
    with write_folder(tmp_path / "there") as inside:
        (inside / "below").mkdir()
        for name in ("one", "below/two"):
            (inside / name).write_text("new")
    found = {p.relative_to(tmp_path).as_posix(): p.read_text() for p in tmp_path.rglob("*") if p.is_file()}
    assert found == {"there/one": "new", "there/other": "old", "there/below/two": "new"}


def test_a_folder_tells_of_a_failed_write_only_where_that_is_what_failed(tmp_path):
    def work(folder, *, missing):
        with write_folder(folder) as inside:
            (inside / "one").write_text("new")
            ((inside if missing == "below" else tmp_path) / "none" / "input").read_bytes()

    for name in ("new", "there"):
        (tmp_path / "there").mkdir(exist_ok=True)
        with pytest.raises(FileNotFoundError):
            work(tmp_path / name, missing="elsewhere")
        with pytest.raises(WorkError, match=f"{name}: cannot be written \\(No such file or directory\\)"):
            work(tmp_path / name, missing="below")
    assert [p.name for p in tmp_path.rglob("*")] == ["there"]


def test_the_folder_that_files_come_into_is_synced(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr("avr.core.files.sync", synced.append)
    for _ in range(2):
        with write_folder(tmp_path / "folder"):
            pass
    assert synced == [tmp_path, tmp_path / "folder"]


def test_output_never_lands_on_what_is_there(tmp_path):
    for name in ("video", "report", "below/page"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    inputs = [tmp_path / "video"]

    def claim(*outputs, **told):
        claim_files([("", tmp_path / one) for one in outputs], inputs=inputs, **told)

    claim("new/one", "new/two")
    assert not (tmp_path / "new").exists()
    claim("report", overwrite=True)
    claim("report", own=lambda path: path.read_text() == "report", kind="page")
    for outputs, told, message in (
        (["report"], {}, "report: is there already; --overwrite replaces it"),
        (
            ["below/page"],
            {"own": lambda _: False, "kind": "report"},
            "page: is there and is no report of avr's; --over",
        ),
        (["below/../video"], {"overwrite": True}, "video: is one of the files that are read"),
        (["new/x", "other/../new/x"], {"overwrite": True}, "x: would be written twice"),
        (["new/x", "new/x/y"], {"overwrite": True}, "x: is a folder; name a file"),
        (["below"], {"overwrite": True}, "below: is a folder; name a file"),
        (["report/new"], {}, "report is a file; choose another place"),
    ):
        with pytest.raises(UsageError, match=message):
            claim(*outputs, **told)
    with pytest.raises(UsageError, match=r"a.npz and b.npz both become .*one.h5; choose another place for one"):
        claim_files([("a.npz", tmp_path / "one.h5"), ("b.npz", tmp_path / "one.h5")])
    with pytest.raises(WorkError, match="/proc/avr/file: cannot be written \\("):
        claim_file(Path("/proc/avr/file"))


def test_a_folder_is_claimed_where_it_is_empty_or_may_be_written_over(tmp_path):
    claim_folder(tmp_path / "new")
    (tmp_path / "there").mkdir()
    leave(tmp_path / "there" / "there", "host-1-0123abcd")  # a killed writer's
    claim_folder(tmp_path / "there")
    (tmp_path / "there" / "thesis.txt").touch()
    with pytest.raises(UsageError, match=r"there: holds thesis.txt already; choose another folder, or --overwrite"):
        claim_folder(tmp_path / "there")
    claim_folder(tmp_path / "there", overwrite=True)
    with pytest.raises(UsageError, match="is a file; name a folder"):
        claim_folder(tmp_path / "there" / "thesis.txt", overwrite=True)


def test_what_cannot_be_written_is_told_in_one_line_with_what_is_needed(tmp_path):
    """A full disk, as a limit of the process has it; and safetensors, which has an error of its own."""
    pytest.importorskip("resource")
    code = (
        "import resource, sys; from pathlib import Path; import numpy as np; from safetensors.numpy import save_file\n"
        "from avr.core import WorkError, write_whole\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "def tensors(p): save_file({'a': np.zeros(9000)}, p)\n"
        "for write in (lambda p: p.write_bytes(bytes(9000)), tensors):\n"
        "    try:\n"
        "        with write_whole(Path(sys.argv[1]), needed=9000) as place: write(place)\n"
        "    except WorkError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "file"], capture_output=True, text=True, check=True)
    first, second = done.stdout.splitlines()
    assert first.endswith("file: cannot be written (File too large, 9 KB needed); nothing written before is lost")
    assert second.endswith("file: cannot be written (File too large, 9 KB needed); nothing written before is lost")
    assert list(tmp_path.iterdir()) == []
    with (
        pytest.raises(WorkError, match=r"No space left on device, 1e\+06 TB needed"),
        write_whole(tmp_path / "file", needed=10**18),
    ):
        pass
