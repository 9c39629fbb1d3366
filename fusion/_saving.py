"""A fitted rule on disk: JSON and safetensors, no pickle."""

import json
from pathlib import Path
from typing import Any

import numpy as np

import avr
from avr.core import UsageError, WorkError, write_whole

from ._base import Rule, load_rule, make_fuser

FORMAT = 1
FILE = "fusion.json"
ARRAYS = "fuser.safetensors"


def save_fuser(folder: Path | str, fuser: Rule, about: dict[str, Any] | None = None) -> Path:
    """Write a fitted rule as `fusion.json` (with `about` in it) and `fuser.safetensors` (its arrays).

    Returns:
        the path of `fusion.json`.
    """
    from safetensors.numpy import save_file

    folder = Path(folder)
    learnt = {name: value for name, value in vars(fuser).items() if name.endswith("_")}
    arrays = {name: np.ascontiguousarray(value) for name, value in learnt.items() if isinstance(value, np.ndarray)}
    values = {name: value for name, value in learnt.items() if name not in arrays}
    with write_whole(folder / ARRAYS) as temporary:
        save_file(arrays, temporary)
    content = {
        **(about or {}),
        "format": FORMAT,
        "rule": type(fuser).__module__.rpartition(".")[2].replace("_", "-"),
        "options": fuser.get_params(deep=False),
        "learnt": values,
        "avr": avr.__version__,
    }
    with write_whole(folder / FILE) as temporary:
        temporary.write_text(
            json.dumps(content, indent=2, ensure_ascii=False, default=lambda value: value.tolist()) + "\n"
        )
    return folder / FILE


def load_fuser(path: Path | str) -> Rule:
    """The fitted rule of a run folder that `avr fuse` wrote (or of its `fusion.json`).

    The result has, besides what the rule learnt, `about_`: the content of `fusion.json` (streams in order, class names,
    kinds, the score files it was fitted on, results).

    Raises:
        UsageError: no such file, or one of another format version.
        WorkError: a damaged file.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    path = Path(path)
    path = path / FILE if path.is_dir() else path
    if not path.is_file():
        raise UsageError(f"no {FILE} at {path}: give a folder that `avr fuse` wrote, such as runs/fuse-average-1")
    try:
        content = json.loads(path.read_text())
        if content["format"] != FORMAT:
            raise UsageError(f"{path} has format {content['format']}, this avr reads {FORMAT}: fuse again")
        options = load_rule(content["rule"]).options_of_before(content["options"])
        fuser = make_fuser(content["rule"], **options)
        learnt = {**content["learnt"], **load_file(path.with_name(ARRAYS))}
    except (KeyError, TypeError, json.JSONDecodeError, UnicodeDecodeError, OSError, SafetensorError) as error:
        raise WorkError(f"{path}: damaged ({type(error).__name__}: {error}); fuse again") from None
    for name, value in {**learnt, "about_": content}.items():
        if not name.isidentifier() or not name.endswith("_") or name.startswith("_"):
            raise WorkError(f"{path}: damaged (no learnt value is named '{name}'); fuse again")
        setattr(fuser, name, value)
    return fuser
