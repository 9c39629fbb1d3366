"""Locks: one alone or several together, numbers claimed once, all of it gone with a killed process."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import textwrap

import pytest

from avr.core import FolderLock, UsageError

fcntl = pytest.importorskip("fcntl", reason="the tests of locks bend POSIX's own")

HOLDER = """
    import sys
    from pathlib import Path
    from avr.core import FolderLock
    lock = FolderLock(Path(sys.argv[1]), shared=sys.argv[2] == "shared")
    print(*[number for number in range(4) if lock.claim(number)], flush=True)
    sys.stdin.readline()
    lock.give_back(1)
    print("gave", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def holder(tmp_path):
    """Starts another process that holds the folder and claims 0 … 3; gives 1 back when told."""
    started = []

    def start(how):
        command = [sys.executable, "-c", textwrap.dedent(HOLDER), str(tmp_path), how]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        started.append(process)
        assert process.stdout.readline().split() == ["0", "1", "2", "3"]
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_one_alone_shuts_all_others_out_until_it_dies(tmp_path, holder):
    process = holder("alone")
    for shared in (False, True):
        with pytest.raises(
            UsageError, match=rf"another run works in this folder \(process {process.pid} on "
        ) as caught:
            FolderLock(tmp_path, shared=shared)
        assert "\n" not in str(caught.value)
    process.send_signal(signal.SIGKILL)
    process.wait()
    FolderLock(tmp_path).release()


def test_several_together_claim_each_number_once(tmp_path, holder):
    process = holder("shared")
    with pytest.raises(UsageError, match=rf"process {process.pid} on .*, or others with it"):
        FolderLock(tmp_path)
    with FolderLock(tmp_path, shared=True) as lock:
        assert [lock.claim(number) for number in range(5)] == [False] * 4 + [True]
        assert not lock.claim(4)  # nor twice by one process
        process.stdin.write("\n")
        assert process.stdout.readline() == "gave\n"
        assert [lock.claim(number) for number in range(3)] == [False, True, False]
        process.kill()
        process.wait()
        assert [lock.claim(number) for number in range(4)] == [True, False, True, True]
        lock.give_back(4)
        assert lock.claim(4)


def test_this_process_holds_a_folder_once(tmp_path):
    with FolderLock(tmp_path, shared=True), pytest.raises(UsageError, match="this process already trains"):
        FolderLock(tmp_path, shared=True, doing="trains in this folder")
    FolderLock(tmp_path).release()


def test_a_fork_neither_holds_nor_frees(tmp_path):
    with FolderLock(tmp_path, shared=True) as lock:
        lock.claim(0)
        child = os.fork()
        if child == 0:
            lock.release()
            with FolderLock(tmp_path, shared=True) as own:
                os._exit(0 if own.claim(1) and not own.claim(0) else 1)
        assert os.waitpid(child, 0)[1] == 0


def test_a_file_system_without_locks_is_said_once(tmp_path, monkeypatch, capsys):
    def unable(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", unable)
    with FolderLock(tmp_path, shared=True) as lock:
        assert lock.claim(0)
        assert not lock.claim(0)
        with lock.turn():
            lock.give_back(0)
    said = capsys.readouterr().err
    assert said.count("does not lock files (No locks available): start one run there at a time") == 1
    assert said.count("\n") == 1


def test_locks_that_another_machine_does_not_see_are_noticed(tmp_path, holder, capsys):
    """A second machine whose locks stay its own claims the same number: its name stands where ours did."""
    with FolderLock(tmp_path, shared=True) as lock:
        assert lock.claim(2)
        with subprocess.Popen(
            [
                sys.executable,
                "-c",
                "import sys; f = open(sys.argv[1], 'r+b'); f.seek(3 * 128); "
                'f.write(b\'{"pid": 7, "host": "node2"}\'.ljust(128))',
                tmp_path / ".lock",
            ]
        ) as other:
            other.wait()
        lock.give_back(2)
    assert "does not lock files (process 7 on node2 took the same work at the same time)" in capsys.readouterr().err


def test_a_folder_removed_just_before_it_is_locked_is_not_taken(tmp_path, monkeypatch):
    """A lock on a file that is no longer there keeps nobody out."""
    folder, lock = tmp_path / "part", fcntl.lockf

    def late(*arguments):
        shutil.rmtree(folder, ignore_errors=True)
        return lock(*arguments)

    for again in (False, True):  # another made it anew meanwhile
        folder.mkdir(exist_ok=True)
        monkeypatch.setattr(fcntl, "lockf", lambda *a, again=again: (late(*a), again and remake(folder)))
        with pytest.raises(UsageError, match="another run removed this folder just now: start again"):
            FolderLock(folder, shared=True)
    monkeypatch.undo()
    FolderLock(folder).release()


def remake(folder):
    folder.mkdir()
    (folder / ".lock").touch()
