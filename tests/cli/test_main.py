"""The root command: commands found by file, errors as one line with the right exit code."""

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
