"""SIGTERM ends a command in order: what must be cleaned up is, what must not be broken is not; it says how to go on."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from avr.core import Child, Stopped, stoppable, unbroken
from avr.core.ray import _own_signals


def stop() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def test_sigterm_is_raised_once_and_the_handler_is_put_back():
    before = signal.getsignal(signal.SIGTERM)
    cleaned = []

    def work() -> None:
        try:
            stop()
            time.sleep(5)
        finally:
            stop()  # a second one does not break the way out
            cleaned.append(1)

    with pytest.raises(Stopped), stoppable():
        work()
    assert cleaned == [1]
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("made", [KeyboardInterrupt, RuntimeError])
def test_sigterm_that_a_library_makes_something_else_of_is_still_one(made):
    def work() -> None:
        try:
            stop()
        except Stopped:
            raise made from None

    with pytest.raises(Stopped), stoppable():
        work()
    with pytest.raises(KeyboardInterrupt) as plain, stoppable():
        raise KeyboardInterrupt
    assert not isinstance(plain.value, Stopped)


def test_sigterm_while_ray_starts_is_still_one():
    """Ray handles SIGTERM by `sys.exit(15)` then."""

    def start() -> None:
        with _own_signals():
            signal.signal(signal.SIGTERM, lambda number, _: sys.exit(number))
            stop()
            time.sleep(5)

    with pytest.raises(Stopped), stoppable():
        start()


def test_a_block_that_must_not_be_broken_is_done_to_its_end():
    done = []

    def work() -> None:
        with unbroken():
            with unbroken():
                stop()
                done.append(1)
            done.append(2)
        done.append(3)

    with pytest.raises(Stopped), stoppable():
        work()
    assert done == [1, 2]


def test_in_another_thread_nothing_changes():
    before, seen = signal.getsignal(signal.SIGTERM), []

    def work() -> None:
        with stoppable():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]


def test_a_way_out_that_hangs_is_cut_short():
    code = (
        "import os, signal, time; from avr.core import stopping\n"
        "stopping.MOST_SECONDS = 0.2\n"
        "with stopping.stoppable():\n"
        "    try: os.kill(os.getpid(), signal.SIGTERM); time.sleep(9)\n"
        "    finally: time.sleep(60)"
    )
    began = time.monotonic()
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 143
    assert time.monotonic() - began < 30


def test_a_thread_that_is_busy_at_the_end_is_cut_short_too():
    """The interpreter joins the threads of pools when all blocks are left."""
    code = (
        "import os, signal, time; from concurrent.futures import ThreadPoolExecutor; from avr.core import stopping\n"
        "stopping.MOST_SECONDS = 0.2\n"
        "ThreadPoolExecutor().submit(time.sleep, 20)\n"
        "with stopping.stoppable(): os.kill(os.getpid(), signal.SIGTERM); time.sleep(9)"
    )
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], check=False, stderr=subprocess.DEVNULL)
    assert done.returncode == 143
    assert time.monotonic() - began < 15


def test_a_child_leaves_sigterm_to_its_parent(tmp_path, monkeypatch):
    (tmp_path / "waiting.py").write_text("def serve(pipe): pipe.recv()")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    child = Child("a child", "waiting:serve")
    try:
        child.started()
        child.process.terminate()
        time.sleep(0.1)
        assert child.process.poll() is None
    finally:
        child.close()


@pytest.mark.parametrize(("sent", "code", "told"), [(signal.SIGTERM, 143, "SIGTERM"), (signal.SIGINT, 130, "Ctrl-C")])
def test_a_command_says_how_to_go_on(tmp_path, sent, code, told):
    """`avr demo` while it draws its clips; nothing is left half written."""
    # A shell's background jobs ignore Ctrl-C, and what they start, too: this suite may be one.
    heeding = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    command = [
        sys.executable,
        "-c",
        f"{heeding}; from avr.cli import main; main()",
        "demo",
        "--out",
        str(tmp_path / "demo"),
    ]
    running = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    for line in running.stderr:
        if "drawing" in line:
            break
    running.send_signal(sent)
    said = running.stderr.read()
    running.stderr.close()
    assert running.wait() == code
    assert said == f"stopped by {told}: what is finished stays; run the same command again to go on\n"
    assert not list(tmp_path.rglob("*.tmp"))
