"""A fitted rule on disk: JSON and safetensors, no pickle."""

from pathlib import Path
from typing import Any

import numpy as np

import avr
from avr.core import (
    AvrError,
    UsageError,
    WorkError,
    check_name,
    message_of,
    note,
    read_json,
    sha256_of,
    write_json,
    write_whole,
)
from avr.store import split_folder, split_names

from ._base import Fuser, Rule, load_rule, make_fuser

FORMAT = 1
FILE = "fusion.json"
ARRAYS = "fuser.safetensors"
# Of the first, which is parsed to objects that may take twenty times its bytes; its own are a few KB.
LARGEST = 3 << 20
MOST_SCORES = 1e6  # of one video: streams × classes, or streams × width


def save_fuser(folder: Path | str, fuser: Rule, about: dict[str, Any] | None = None) -> Path:
    """Write a fitted rule as `fusion.json` (with `about` in it) and `fuser.safetensors` (its arrays).

    Returns:
        the path of `fusion.json`.
    """
    from safetensors.numpy import save

    folder = Path(folder)
    learnt = {name: value for name, value in vars(fuser).items() if name.endswith("_")}
    arrays = {
        name: np.ascontiguousarray(value)
        for name, value in learnt.items()
        if isinstance(value, np.ndarray) and value.dtype.kind != "U"  # names of classes are texts
    }
    values = {name: value for name, value in learnt.items() if name not in arrays}
    with write_whole(folder / ARRAYS) as temporary:
        temporary.write_bytes(save(arrays))
    digest = sha256_of(folder / ARRAYS)
    content = {
        **(about or {}),
        "format": FORMAT,
        "rule": type(fuser).__module__.rpartition(".")[2].replace("_", "-"),
        "options": fuser.get_params(deep=False),
        "learnt": values,
        "arrays_sha256": digest,
        "avr": avr.__version__,
    }
    write_json(folder / FILE, content)
    return folder / FILE


def find_fusion(fused: Path, split: str = "") -> Path:
    """The folder of one fitted rule: `fused` itself (or the folder of its fusion.json), or of a fusion of several
    splits that of one, by default the first, which is said.

    Raises:
        UsageError: no such split.
    """
    if fused.name == FILE and fused.is_file():
        return fused.parent
    names = [] if (fused / FILE).is_file() else split_names(fused)
    if names and split and split not in names:
        raise UsageError(f"{fused} has no split '{split}'; it holds {', '.join(names)}: name one with --split")
    if len(names) > 1 and not split:
        note(f"{fused} is of splits {', '.join(names)}: takes that of {names[0]} (--split names another)")
    return split_folder(fused, split or names[0]) if names else fused


def load_fuser(path: Path | str) -> Rule:
    """The fitted rule of a run folder that `avr fuse` wrote (or of its `fusion.json`).

    The result has, besides what the rule learnt, `about_`: the content of `fusion.json` (streams in order, class names,
    kinds, the score files it was fitted on, results).

    Raises:
        UsageError: no such file, one of another format version, or of a rule or option that this avr does not know.
        WorkError: a damaged file.
    """
    path = Path(path)
    path = path / FILE if path.is_dir() else path
    if not path.is_file():
        raise UsageError(f"no {FILE} at {path}: give a folder that `avr fuse` wrote, such as runs/fuse-average-1")
    try:
        return _read_fuser(path)
    except AvrError:
        raise
    except Exception as error:  # a forged file can make any code raise nearly any built-in error
        raise WorkError(f"{path}: damaged ({message_of(error)}); fuse again") from error


def _read_fuser(path: Path) -> Rule:
    from safetensors.numpy import load_file

    arrays = path.with_name(ARRAYS)
    if path.stat().st_size > LARGEST:
        raise ValueError(f"more than {LARGEST >> 20} MB")
    if not arrays.is_file():
        raise ValueError(f"no {ARRAYS} beside it")
    content = read_json(path)
    if content.get("arrays_sha256", "") not in ("", sha256_of(arrays)):
        raise ValueError(f"{ARRAYS} is not the one that was written with it")
    if content["format"] != FORMAT:
        raise UsageError(f"{path} has format {content['format']}, this avr reads {FORMAT}: fuse again")
    try:
        rule = str(content["rule"])
        fuser = make_fuser(rule, **load_rule(rule).options_of_before(content["options"]))
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error
    for name, value in {**content["learnt"], **load_file(arrays), "about_": content}.items():
        if not name.isidentifier() or not name.endswith("_") or name.startswith("_"):
            raise ValueError(f"no learnt value is named '{name}'")
        setattr(fuser, name, np.asarray(value) if name == "classes_" else value)
    _try(fuser)
    return fuser


def _try(fuser: Rule) -> None:
    """Refuse a rule that lacks something it should have learnt, by asking it for the scores of one video."""
    shape = (len(fuser.kinds_), len(fuser.classes_)) if isinstance(fuser, Fuser) else tuple(fuser.shape_)  # type: ignore[attr-defined]
    if not 0 < np.prod(shape, dtype=float) <= MOST_SCORES:
        raise ValueError(f"scores of shape {shape} a video")
    given = fuser.decision_function(np.zeros((1, *shape)))
    if given.shape != (1, len(fuser.classes_)) or not np.isfinite(given).all():
        raise ValueError("what it learnt gives no scores")


def about_scores(fuser: Rule, where: Path) -> dict[str, Any]:
    """What a fuser's file says of the scores that it was fitted on: rule, split, streams, kinds, class_names, sources.

    Raises:
        UsageError: a split that is no name.
        WorkError: it does not say it.
    """
    about: dict[str, Any] = getattr(fuser, "about_", {})
    texts = [about.get(name) for name in ("rule", "split")]
    lists = [about.get(name) for name in ("streams", "kinds", "class_names")]
    sources = about.get("sources")
    told = all(isinstance(one, list) and all(isinstance(item, str) for item in one) for one in lists)
    if told and all(isinstance(text, str) for text in texts) and isinstance(sources, list):
        streams, kinds, class_names = map(len, lists)  # type: ignore[arg-type]
        fit = streams == kinds == len(sources) and class_names == len(fuser.classes_)
        if fit and all(isinstance(source, dict) and {"file", "stream"} <= set(source) for source in sources):
            if about["split"]:
                check_name(f"{where / FILE}: split", about["split"])
            return about
    raise WorkError(f"{where / FILE}: damaged (it does not say which scores it was fitted on); fuse again")
