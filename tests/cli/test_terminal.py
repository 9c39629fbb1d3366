"""What a terminal gets: tables that fit it, names completed, names that are nearly right, help in groups."""

import os
import re
import shutil
import subprocess
import sys

import click
import pytest

from avr.cli import main
from avr.commands import extract, finetune


def completed(monkeypatch, runner, line: str) -> list[str]:
    """What bash would offer for a line whose last word is begun."""
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(len(line.split(" ")) - 1))
    done = runner.invoke(main, prog_name="avr", env={"_AVR_COMPLETE": "bash_complete"})
    return [line.partition(",")[2] for line in done.stdout.splitlines()]


def test_names_are_completed(monkeypatch, runner, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs/stfn-clips-1").mkdir(parents=True)
    assert completed(monkeypatch, runner, "avr recipe show stfn-t")[0] == "stfn-table1"
    assert completed(monkeypatch, runner, "avr heads train stf") == ["stfn"]
    assert completed(monkeypatch, runner, "avr extract --dataset hm") == ["hmdb51"]
    assert completed(monkeypatch, runner, "avr datasets show wei") == ["weizmann"]
    assert completed(monkeypatch, runner, "avr fuse mult") == ["multiply"]
    assert completed(monkeypatch, runner, "avr ru") == ["runs"]
    for line in ("runs show", "report", "heads export", "fuse awf", "heads train --config"):
        assert completed(monkeypatch, runner, f"avr {line} runs/s") == ["runs/stfn-clips-1"], line


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("extract --stream rgb,fl", ["rgb,flow"]),
        ("extract --stream slow=fl", ["flow"]),  # bash replaces what stands behind "=" alone
        ("finetune backbone --stream slow = fl", ["flow"]),  # and tells of "=" as of a word
        ("extract --stream = slow = fl", ["flow"]),
        ("extract --stream = fl", ["flow"]),
        ("heads train stfn --stream rgb,fl", ["rgb,flow"]),
        ("heads train stfn --training min_", ["min_steps=", "min_lr="]),
        ("heads tune stfn --training views=o", ["one"]),
        ("heads train stfn --training clip_norm=", [""]),
        ("extract --dataset ucf11 --set see", ["seed="]),
        ("extract --dataset gone --set see", [""]),
    ],
)
def test_what_stands_inside_a_value_is_completed(monkeypatch, runner, line, offered):
    assert completed(monkeypatch, runner, f"avr {line}") == offered


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_bash_itself_completes_a_value(tmp_path):
    program = tmp_path / "avr"
    program.write_text(f"#!/bin/sh\nexec '{sys.executable}' -m avr \"$@\"\n")
    program.chmod(0o755)
    code = f"""eval "$({program} completion bash)" 2> /dev/null
COMP_WORDS=(avr extract --stream = slow = fl) COMP_CWORD=6
_avr_completion {program}
echo "${{COMPREPLY[@]}}" """
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "flow\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_is_told_how(runner, shell):
    done = runner.invoke(main, ["completion", shell], prog_name="avr")
    assert done.exit_code == 0
    assert f"_AVR_COMPLETE={shell}_complete" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["extrct"], "extract"),
        (["heads", "trian"], "train"),
        (["store", "pakc"], "pack"),
        (["datasets", "lst"], "list"),
    ],
)
def test_a_command_that_is_nearly_right_is_named(runner, arguments, meant):
    done = runner.invoke(main, arguments)
    assert done.exit_code == 2
    assert f"No such command '{arguments[-1]}': did you mean {meant}?" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "commands", "others"),
    [
        (["extract"], [extract.command], {"strict", "profile", "as_json"}),
        (["finetune", "backbone"], list(finetune.command.commands.values()), {"as_json"}),
        (["finetune", "end-to-end"], list(finetune.command.commands.values())[::-1], {"as_json"}),
    ],
)
def test_help_lists_every_option_in_one_group(runner, arguments, commands, others):
    """Groups that two commands share name the options of both."""
    groups = commands[0].groups
    names = [name for names in groups.values() for name in names]
    assert len(set(names)) == len(names)
    options, *more = ({one.name for one in made.params if isinstance(one, click.Option)} for made in commands)
    assert options - set(names) == others
    assert set(names) <= options.union(*more)
    text = runner.invoke(main, [*arguments, "--help"]).stdout
    headings = re.findall(r"^(\S.*):$", text, re.MULTILINE)
    assert headings == [*groups, "Options"]
    shown = re.findall(r"^  (?:-h, )?(--[\w-]+)", text, re.MULTILINE)
    assert len(set(shown)) == len(options) + 1  # and --help


def on_terminal(code: str, width: int, **environment: str) -> str:
    """What a program prints on a terminal of so many columns."""
    import pty  # which Windows lacks

    parent, child = pty.openpty()
    told = {**os.environ, "COLUMNS": str(width), "TERM": "xterm-256color", **environment}
    done = subprocess.Popen([sys.executable, "-c", code], stdout=child, stdin=child, env=told)
    os.close(child)
    parts = []
    try:
        while part := os.read(parent, 65536):
            parts.append(part)
    except OSError:  # the program has ended
        pass
    done.wait()
    os.close(parent)
    return b"".join(parts).decode()


@pytest.mark.skipif(os.name == "nt", reason="no pseudo-terminals")
def test_a_table_fits_the_terminal_and_marks_the_best_row():
    code = (
        "from avr.commands._output import print_table;"
        "print_table(['run', 'top-1'], [['a rather long name of a run ' * 3, 1], ['[b]short', 22]], bold=[1])"
    )
    told = on_terminal(code, 40)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", told)
    assert max(map(len, plain.splitlines())) <= 40
    assert "[b]short" in plain  # no markup of anybody's
    assert re.search(r"\x1b\[1;32m\[b\]short", told)
    assert "\x1b[1;32m" not in on_terminal(code, 40, NO_COLOR="1")
