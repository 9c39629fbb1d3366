"""The state of a training on disk: what stops its writing is said, and what comes while it is written waits."""

import os
import signal
from collections import OrderedDict

import pytest
import torch

from avr.core import Stopped, UsageError, WorkError, stoppable
from avr.training import read_state, write_state


def test_a_state_reads_as_it_was_written_with_the_same_settings_alone(tmp_path):
    path = tmp_path / "state"
    assert read_state(path, {"lr": 0.1}) is None
    write_state(path, {"a": torch.arange(3), "rows": [{"loss": 0.5}]}, settings={"lr": 0.1})
    state = read_state(path, {"lr": 0.1})
    assert state["a"].tolist() == [0, 1, 2]
    assert state["rows"] == [{"loss": 0.5}]
    with pytest.raises(UsageError, match=r"other settings \(lr 0.1 → 0.2\)"):
        read_state(path, {"lr": 0.2})
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(WorkError, match="state is damaged"):
        read_state(path, {"lr": 0.1})


class Full:
    """What torch cannot write, because of what happens meanwhile."""

    def __init__(self, happens):
        self.happens = happens

    def __reduce__(self):
        self.happens()
        return (OrderedDict, ())


def test_sigterm_while_it_is_written_waits_until_it_is_there(tmp_path):
    def write() -> None:
        state = {"a": torch.zeros(100_000), "b": Full(lambda: os.kill(os.getpid(), signal.SIGTERM))}
        write_state(tmp_path / "state", state, settings={})

    with pytest.raises(Stopped), stoppable():
        write()
    assert [path.name for path in tmp_path.iterdir()] == ["state"]
    assert len(torch.load(tmp_path / "state", weights_only=True)["a"]) == 100_000


@pytest.mark.parametrize("raised", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_what_stops_the_writing_is_said_as_it_is(tmp_path, monkeypatch, raised):
    """torch makes a RuntimeError of whatever its file raises, "unexpected pos 704 vs 598"."""
    real = torch.save

    def save(state, file):
        class Broken:
            def write(self, data):
                raise raised

            flush = None

        real(state, Broken())

    monkeypatch.setattr(torch, "save", save)
    if isinstance(raised, OSError):
        with pytest.raises(WorkError, match=r"state: cannot be written \(No space left on device\)"):
            write_state(tmp_path / "state", {"a": torch.zeros(9)}, settings={})
    else:
        with pytest.raises(KeyboardInterrupt):
            write_state(tmp_path / "state", {"a": torch.zeros(9)}, settings={})
    assert list(tmp_path.iterdir()) == []
