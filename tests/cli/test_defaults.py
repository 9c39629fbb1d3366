"""The command line's defaults are the functions' defaults: one drifting from the other is a defect nobody sees."""

import inspect

import click
import pytest

from avr.cli import main


def command_at(path: str) -> click.Command:
    """The click command of "heads train"."""
    command: click.Command = main
    for name in path.split():
        command = command.get_command(click.Context(command), name)
    return command


def callables(names: str) -> list:
    """The functions or dataclasses of "avr.heads:train_run avr.extract:Settings"."""
    found = []
    for name in names.split():
        module, _, attribute = name.partition(":")
        found.append(getattr(__import__(module, fromlist=[attribute]), attribute))
    return found


def plain(value):
    """Unset is unset, however it is written: None, "" and () are one; sequences are tuples."""
    if value is None or value == "" or str(value) == "Sentinel.UNSET":
        return ()
    if isinstance(value, str) and "," in value:
        return tuple(value.split(","))
    if isinstance(value, (list, tuple)):
        return tuple(value)
    return str(value) if hasattr(value, "parts") else value


COMMANDS = {
    "extract": "avr.extract:Settings avr.extract:Running avr.extract:extract",
    "heads train": "avr.heads:train_run",
    "fuse average": "avr.fusion:fuse avr.fusion:Evaluation",
    "fuse awf": "avr.fusion:fuse avr.fusion:Evaluation",
    "fuse compare": "avr.fusion:compare avr.fusion:Evaluation",
    "fuse early-svm": "avr.fusion:fuse_features",
}


# Names on the command line of what the function takes as an object.
TRANSLATED = {"engine"}


@pytest.mark.parametrize("path", COMMANDS)
def test_command_and_function_have_the_same_defaults(path):
    defaults = {}
    for function in callables(COMMANDS[path]):
        for name, parameter in inspect.signature(function).parameters.items():
            if parameter.default is not inspect.Parameter.empty:
                defaults[name] = parameter.default
    compared, different = 0, {}
    for parameter in command_at(path).params:
        if parameter.name not in defaults or parameter.required or parameter.name in TRANSLATED:
            continue
        compared += 1
        ours, theirs = plain(parameter.default), plain(defaults[parameter.name])
        if ours != theirs and not (ours in ((), False) and theirs in ((), False)):
            different[parameter.name] = (ours, theirs)
    assert not different
    assert compared >= 3
