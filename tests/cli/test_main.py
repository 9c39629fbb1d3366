"""The root command: commands found by file, errors as one line with the right exit code."""

import os
import subprocess
import sys

import pytest

from avr.cli import main
from avr.core import item_names


def test_help_has_a_line_for_every_command(runner):
    output = runner.invoke(main, ["--help"]).output
    lines = {
        line.split()[0]: line.split()[1:] for line in output.partition("Commands:")[2].splitlines() if line.strip()
    }
    assert set(lines) == set(item_names("avr.commands"))
    assert all(lines.values())


def test_an_unknown_command_is_bad_usage(runner):
    result = runner.invoke(main, ["fly"])
    assert result.exit_code == 2
    assert "No such command 'fly'" in result.output


@pytest.mark.parametrize(
    ("arguments", "known"),
    [
        (["heads", "train", "transformer", "--store", "nowhere"], "stfn"),
        (["fuse", "median"], "awf"),
        (["datasets", "show", "kinetic"], "kinetics"),
        (["extract", "--dataset", "hmdb52"], "hmdb51"),
        (["recipe", "show", "stfn-table22"], "stfn-table2"),
    ],
    ids=["head", "rule", "dataset", "dataset-of-extract", "recipe"],
)
def test_an_unknown_name_lists_the_known_ones_in_one_line(runner, arguments, known):
    result = runner.invoke(main, arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert known in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert "Traceback" not in result.stderr


def test_debug_shows_where(runner):
    result = runner.invoke(main, ["--debug", "datasets", "show", "kinetic"])
    assert result.exit_code == 2
    assert "Traceback" in result.stderr


def test_help_is_shown_where_text_is_not_utf_8():
    code = "from avr.cli import main; main(['fuse', '--help'])"
    plain = {**os.environ, "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run([sys.executable, "-X", "utf8=0", "-c", code], env=plain, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["datasets", "show", "shapes", "--set", "root=other"], "--set root=… is no option of a data set's own"),
        (["datasets", "show", "shapes", "--set", "name=x"], "--set name=… is no option of a data set's own"),
        (["demo", "--out", __file__], "is a file, or lies below one; choose another folder"),
    ],
    ids=["root", "name", "demo"],
)
def test_what_cannot_be_is_one_line(runner, arguments, message):
    result = runner.invoke(main, arguments)
    assert result.exit_code == 2
    assert message in result.stderr.splitlines()[-1]


@pytest.mark.parametrize(("before", "after"), [({}, "passive"), ({"OMP_WAIT_POLICY": "active"}, "active")])
def test_waiting_threads_give_their_core_away(runner, monkeypatch, before, after):
    """Unless the user says otherwise. torch's threads read it; commands import torch later."""
    monkeypatch.setenv("OMP_WAIT_POLICY", "")  # so that it is put back
    monkeypatch.delenv("OMP_WAIT_POLICY")
    for name, value in before.items():
        monkeypatch.setenv(name, value)
    assert runner.invoke(main, ["datasets", "show", "hmdb51"]).exit_code == 0
    assert os.environ["OMP_WAIT_POLICY"] == after


def test_a_command_computes_on_one_thread_of_numpys():
    code = "import os, sys, avr.cli; assert 'numpy' not in sys.modules; print(os.environ['OPENBLAS_NUM_THREADS'])"
    for told, found in ((None, "1"), ("3", "3")):
        environment = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
        environment |= {"OPENBLAS_NUM_THREADS": told} if told else {}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == found
