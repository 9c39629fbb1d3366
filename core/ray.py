"""Ray, which is installed where it is asked for: the connection, and the options that name it."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

from .errors import UsageError, WorkError
from .extras import installing, load_extra
from .marks import About

STARTS = 3  # attempts to start Ray on this machine

# Of every command that can work on a cluster.
EngineName = Annotated[Literal["local", "ray"], About(f"This machine, or a Ray cluster ({installing('ray')}).")]
EngineAddress = Annotated[str, About("Of engine ray: a running cluster's; else Ray is started on this machine.")]


def connect_ray(address: str) -> Any:
    """The module `ray`, connected to the cluster at an address; "" starts Ray on this machine. Lasts as long as this
    process.

    Raises:
        UsageError: Ray is not installed, or there is no cluster at the address.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anybody
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # the coming behaviour, and no warning of it
    os.environ.setdefault("RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S", "0")  # else SIGTERM in its start waits 30 s
    ray: Any = load_extra("ray", "--engine ray")
    if ray.is_initialized():
        return ray
    options: dict[str, Any] = {"address": address} if address else {"include_dashboard": False}
    for attempt in range(STARTS):
        try:
            with _own_signals():
                ray.init(**options, log_to_driver=False, logging_level="ERROR")
            break
        except Exception as error:
            ray.shutdown()
            if not address and attempt < STARTS - 1:  # Ray gives its own processes 30 s; a busy machine may need more
                continue
            where = f"connect to Ray at {address}" if address else "start Ray on this machine"
            raise UsageError(f"cannot {where}: {first_line(error)}") from error
    return ray


@contextmanager
def _own_signals() -> Iterator[None]:
    """Ray takes SIGTERM of its driver for itself, and ends it by a code of its own; broken off otherwise while it
    starts, it aborts the process. After the block SIGTERM is as before, and one that came does what it would have."""
    before, came = signal.getsignal(signal.SIGTERM), False
    try:
        yield
    except SystemExit:
        came = True
    finally:
        on_its_way_out = signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
        if threading.current_thread() is threading.main_thread() and not on_its_way_out:
            signal.signal(signal.SIGTERM, before)
    if came:
        signal.raise_signal(signal.SIGTERM)


def go_to(folder: Path) -> None:
    """Work in the folder of the run that a worker belongs to, against which relative paths are meant.

    Raises:
        WorkError: it is not on this machine.
    """
    try:
        os.chdir(folder)
    except OSError as error:
        raise WorkError(f"{folder}: not on this machine; workers need the run's folder shared") from error


def first_line(error: Exception) -> str:
    """What an error of Ray's says, without the log that it quotes."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
