"""Child processes: how they start, what is said of those that do not, and how they end."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from avr.core import Child, WorkError

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="children take their pipe as a POSIX handle")


@pytest.fixture
def children() -> Iterator[list[Child]]:
    made: list[Child] = []
    yield made
    for child in made:
        child.close()


def test_a_child_imports_nothing_from_the_working_directory(tmp_path, monkeypatch, children):
    for name in ("queue", "numpy", "avr"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('taken from the working directory')")
    monkeypatch.chdir(tmp_path)
    children.append(Child("a child", "queue:Queue"))
    children[0].started()


def test_children_start_side_by_side(children):
    children += [Child("a child", "time:sleep") for _ in range(2)]
    for child in children:
        child.started()


def test_a_child_that_does_not_start_says_what_it_printed(children):
    child = Child("the decoder", "avr.nothing:serve", quiet=True)
    with pytest.raises(WorkError) as caught:
        child.started()
    assert str(caught.value) == (
        "the decoder does not start: exit code 1: ModuleNotFoundError: No module named 'avr.nothing'"
    )


def test_a_program_that_is_not_there(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(WorkError, match=r"the decoder does not start: .*No such file or directory"):
        Child("the decoder", "avr.nothing:serve")


def test_a_child_that_takes_too_long(tmp_path, monkeypatch):
    (tmp_path / "slow.py").write_text("import time; time.sleep(60)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(WorkError, match=r"the decoder does not start within 0.2 s"):
        Child("the decoder", "slow:serve").started(0.2)


def test_what_is_imported_may_print_and_a_quiet_child_may_not(tmp_path, monkeypatch, capfd):
    (tmp_path / "loud.py").write_text("""
import sys
print("imported", file=sys.stderr)
def serve(pipe):
    print("called", file=sys.stderr, flush=True)
    pipe.send("done")
""")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    for quiet, printed in ((False, "imported\ncalled\n"), (True, "")):
        child = Child("a child", "loud:serve", quiet=quiet)
        child.started()
        assert child.pipe.recv() == "done"
        assert child.ended() == "exit code 0"
        assert capfd.readouterr().err == printed


def test_how_a_child_ended(children):
    child = Child("a child", "time:sleep", quiet=True)
    child.started()
    with pytest.raises(EOFError):
        child.pipe.recv()
    assert child.ended() == "exit code 1"  # sleep(pipe) is a TypeError: printed by a quiet child, so not seen
    child = Child("a child", "multiprocessing.connection:deliver_challenge", quiet=True)
    child.kill()
    with pytest.raises(WorkError, match="a child does not start: SIGKILL"):
        child.started()


def test_a_child_ends_with_its_parent(tmp_path):
    (tmp_path / "hang.py").write_text("import time\ndef serve(pipe):\n    time.sleep(60)\n")
    code = """
import os, signal
from avr.core import Child
child = Child("a child", "hang:serve")
child.started()
print(child.process.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment)
    assert done.returncode == -signal.SIGKILL
    child, deadline = int(done.stdout), time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            with open(f"/proc/{child}/stat") as file:
                if file.read().rsplit(")", 1)[1].split()[0] == "Z":  # nobody takes its code in a container
                    return
        except FileNotFoundError:
            return
        time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    pytest.fail("the child lives on")
