"""A Python process of its own, for what may hang, crash or hold a device: started anew, never forked.

A fork would copy a process full of threads and CUDA. A child started anew imports what it needs by itself, so three
things are seen to here: it never imports from the working directory, where any file may lie; it says why when it does
not start; and it ends with its parent.
"""

import contextlib
import importlib
import os
import signal
import subprocess
import sys
import tempfile
from multiprocessing import Pipe
from pathlib import Path

from .errors import WorkError
from .system import die_with_parent, hand_down, taken_over

START_LIMIT = 120.0  # seconds a child may take to start
# avr comes from where this process has it, wherever a path would lead; `-P` keeps the working directory off that.
_BOOT = """
import sys
from importlib.util import module_from_spec, spec_from_file_location
spec = spec_from_file_location("avr", sys.argv[1] + "/__init__.py", submodule_search_locations=[sys.argv[1]])
sys.modules["avr"] = module_from_spec(spec)
spec.loader.exec_module(sys.modules["avr"])
from avr.core.child import run
run()
"""


class Child:
    """A Python process that runs one function with one end of a pipe; the other end is `pipe`.

    It ends with the thread that made it, at the latest. Ctrl-C and SIGTERM are for its parent alone. Several can start
    side by side: make them all, then ask each whether it has `started`.

    Args:
        name: what the process is, for messages, such as "the decoder".
        target: "module:function"; the module is imported there, the function called with a `Connection`.
        quiet: nothing that it prints is seen. Otherwise it prints where this process does.

    Raises:
        WorkError: no process can be made.
    """

    def __init__(self, name: str, target: str, *, quiet: bool = False) -> None:
        self.name = name
        self._printed = tempfile.TemporaryFile()  # noqa: SIM115 (what it prints until it has started)
        self.pipe, theirs = Pipe()
        errors = os.open(os.devnull, os.O_WRONLY) if quiet else os.dup(2)
        handles, given = hand_down(theirs, errors)
        place = str(Path(__file__).parents[1])
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-c", _BOOT, place, target, *handles],
                **given,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL if quiet else None,
                stderr=self._printed,
            )
        except OSError as error:
            self.pipe.close()
            self._printed.close()
            raise WorkError(f"{name} does not start: {error}") from error
        finally:
            theirs.close()
            os.close(errors)

    def started(self, limit: float = START_LIMIT) -> None:
        """Wait until the function is about to be called. To be called once, before the first message is received.

        Args:
            limit: seconds to wait.

        Raises:
            WorkError: it has ended, or takes too long; says what it printed. The child is closed.
        """
        try:
            if not self.pipe.poll(limit):
                self.close()
                raise WorkError(f"{self.name} does not start within {limit:g} s")
            self.pipe.recv()
        except (EOFError, ConnectionResetError):
            raise WorkError(f"{self.name} does not start: {self.ended()}") from None
        self._printed.close()

    def ended(self) -> str:
        """Why a child whose pipe has broken is gone, such as "SIGSEGV" or "exit code 1: MemoryError"; closes it."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(5.0)
        code = self.process.returncode
        why = signal.Signals(-code).name if code and code < 0 else f"exit code {code}"
        # An error's own line is the last that is neither indented nor the heading of a traceback.
        printed = b""
        if not self._printed.closed:
            self._printed.seek(0)
            printed = self._printed.read()
        lines = [line for line in printed.decode(errors="replace").splitlines() if line.strip() and line[0] != " "]
        said = next((line.strip() for line in reversed(lines) if not line.endswith(":")), "")
        self.close()
        return f"{why}: {said[:300]}" if said else why

    def kill(self) -> None:
        """End it at once, from any thread; whoever waits for its pipe is told that it has broken."""
        self.process.kill()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.pipe.close()
        self._printed.close()


def run() -> None:
    """The start of a child, on its side; `Child` alone calls it."""
    target, (pipe, errors) = sys.argv[2], taken_over(*sys.argv[3:5])
    for sent in (signal.SIGINT, signal.SIGTERM):  # to a whole group, as batch systems do: the parent ends its children
        signal.signal(sent, signal.SIG_IGN)
    die_with_parent()
    module, _, function = target.partition(":")
    serve = getattr(importlib.import_module(module), function)
    sys.stderr.flush()
    os.lseek(2, 0, os.SEEK_SET)
    os.write(errors, os.read(2, 1 << 20))  # such as warnings of what was imported
    os.dup2(errors, 2)
    os.close(errors)
    pipe.send(None)
    serve(pipe)
