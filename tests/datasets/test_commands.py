"""The `avr datasets` commands that list and show."""

import json

from avr.cli import main


def test_command_list(runner):
    known = json.loads(runner.invoke(main, ["datasets", "list", "--json"]).stdout)
    assert set(known) == {
        *("diving48", "folder", "hmdb51", "kinetics", "list", "shapes"),
        *("ssv2", "ucf-sports", "ucf101", "ucf11", "weizmann"),
    }
    assert "weizmann" in runner.invoke(main, ["datasets", "list"]).stdout


def test_command_show_counts(runner, tree):
    root = tree([f"{name}/{number}.avi" for name in "ab" for number in range(10)])
    arguments = ["datasets", "show", "folder", "--root", str(root), "--set", "num-splits=2", "--json"]
    found = json.loads(runner.invoke(main, arguments).stdout)
    assert found["classes"] == {"a": 10, "b": 10}
    assert found["splits"] == {name: {"train": 14, "test": 6, "neither": 0} for name in "12"}
    assert found["options"]["seed"] == 0


def test_command_show_without_the_videos(runner, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = runner.invoke(main, ["datasets", "show", "shapes"])
    assert result.exit_code == 0
    assert "not in data/shapes: it is drawn there when first used" in result.stdout
    assert list(tmp_path.iterdir()) == []


def test_command_unknown_data_set_exits_2(runner):
    result = runner.invoke(main, ["datasets", "show", "hmbd51"])
    assert result.exit_code == 2
    assert "error: unknown data set 'hmbd51' (did you mean hmdb51?)" in result.stderr
    assert "Traceback" not in result.stderr


def test_command_set_without_a_value_exits_2(runner, tmp_path):
    result = runner.invoke(main, ["datasets", "check", "folder", "--root", str(tmp_path), "--set", "seed"])
    assert result.exit_code == 2
