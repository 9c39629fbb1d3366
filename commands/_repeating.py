"""`--config RUN`: a run repeated from its record, but for what the command line says beside it."""

import shlex
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from avr.core import AvrError, UsageError, WorkError, as_text, options_of, warn

from ._options import NOT_OWN
from ._shell import among_runs

if TYPE_CHECKING:
    from avr.store import RunRecord

COMMANDS = {"head": "heads train", "fuse": "fuse", "backbone": "finetune backbone", "end-to-end": "finetune end-to-end"}


DICTS = ("evaluation", "extraction", "scores", "training", "tuning")  # of an identity


def repeating(run: Path, record: "RunRecord") -> str:
    """The command that repeats a run."""
    rule = f" {record.head.removeprefix('fuse-')}" if record.kind == "fuse" else ""
    more = " --start-from RUN" if record.identity.get("start") else ""
    return f"avr {COMMANDS[record.kind]}{rule} --config {shlex.quote(str(run))}{more}"


def ways_again(run: Path, record: "RunRecord") -> list[str]:
    """The commands that repeat a run, or go on with one that is not finished: none that cannot work."""
    own = [record.command] if record.command else []
    try:
        _tell(run, record, record.head.removeprefix("fuse-"))
    except AvrError:
        return own
    return [repeating(run, record), *own]


def config_option(kind: str) -> Callable[[Any], Any]:
    """Add `--config`, for runs of a kind: what their record says holds where the command line says nothing."""

    def take(ctx: click.Context, _: click.Parameter, config: Path | None) -> Path | None:
        if config is not None:
            told = _tell(config, record_of(config, kind), ctx.info_name or "")
            many = {one.name for one in ctx.command.params if one.multiple or one.nargs != 1}
            ctx.default_map = {name: _given(value, name in many) for name, value in told.items()}
        return config

    return click.option(
        "--config",
        type=click.Path(path_type=Path, exists=True),
        is_eager=True,
        callback=take,
        metavar="RUN",
        shell_complete=among_runs,
        help="Repeat a run, named by its folder or run.json, but for what else is given.",
    )


def record_of(config: Path, kind: str) -> "RunRecord":
    """The record of a run that is named by its folder or by a file in it, such as run.json.

    Raises:
        UsageError: no run, or one that another command repeats.
    """
    from avr.store import KINDS, read_record

    record = read_record(run_at(config))
    if record.kind != kind:
        raise UsageError(f"{config} is {KINDS[record.kind]}: {repeating(config, record)} repeats it")
    return record


def _tell(config: Path, record: "RunRecord", rule: str) -> dict[str, Any]:
    """What a run says of the options of its command, by their names; `rule` is of a fusion that is to be made of it.

    Raises:
        UsageError: it is not finished, or does not say what is needed to repeat it.
        WorkError: it is damaged.
    """
    if not record.finished:
        raise UsageError(f"{config} is not finished: {record.command or 'the command that began it'} goes on with it")
    try:
        if not all(isinstance(record.identity.get(name, {}), dict) for name in DICTS):
            raise TypeError
        told = TOLD[record.kind](config, record, rule)
    except AvrError:
        raise
    except (TypeError, ValueError, AttributeError, LookupError) as error:
        raise WorkError(f"{config} is damaged: its record is none that avr writes") from error
    return {name: value for name, value in told.items() if value not in (None, "", [], (), ("",))}


def _given(value: object, many: bool) -> str | list[str]:
    """A value as the command line would give it, where an option is repeated or not."""
    if not many:
        return as_text(value)
    return [as_text(one) for one in (value if isinstance(value, (list, tuple)) else [value])]


def run_at(config: Path) -> Path:
    """The folder of such a run."""
    from avr.store import run_of

    return run_of(config if config.is_dir() else config.parent)


def is_given(name: str) -> bool:
    """Whether the command line says a parameter: it is no default, nor of a run that is repeated."""
    source = click.get_current_context().get_parameter_source(name)
    return source not in (ParameterSource.DEFAULT, ParameterSource.DEFAULT_MAP)


def check_same(config: Path, before: object, now: object, what: str) -> None:
    """Warn where a run that is repeated was made of other content, by its digest."""
    if before not in (None, "", now):
        warn(f"{what} than those that {config} was made of")


def _of_head(_: Path, record: "RunRecord", _rule: str) -> dict[str, Any]:
    """Of options and settings see `repeated_head`."""
    return {
        "head": record.head,
        "stores": record.store.get("paths") or [record.store.get("path", "")],
        "streams": list(record.layers),
        "split": record.wanted or list(record.splits),
        "folds": record.identity.get("folds"),
        "seed": record.seed,
        "freeze": record.identity.get("freeze"),
        "keep_statistics": record.identity.get("keep_statistics", False),
    }


def repeated_head(
    config: Path, head: str, streams: tuple[str, ...], start_from: Path | None, given: dict[str, dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Layers, options of the head and settings of a run that is repeated, each with what is given in its place.

    Raises:
        UsageError: its weights did not start at random, and nothing says from where they are to start now.
    """
    from avr.heads import head_class

    record = record_of(config, "head")
    if record.identity.get("start") and start_from is None:
        raise UsageError(f"{config} started from the weights of another run: name that one with --start-from")
    layers = {} if "" in given["layers"] else {s: record.layers[s] for s in streams if s in record.layers}
    options = {**head_class(head).before, **record.options} if head == record.head else {}
    return {
        "layers": layers | given["layers"],
        "options": _texts(options) | given["options"],
        "training": repeated_training(config, "head", given["training"]),
    }


def repeated_training(
    config: Path | None, kind: str, given: dict[str, Any], unread: Iterable[str] = ()
) -> dict[str, Any]:
    """The settings of a training that is repeated, each with what is given in its place; --paper is given, too."""
    if config is None or is_given("paper"):
        return given
    record = record_of(config, kind)
    before = record.training or record.identity.get("training", {})
    if "epochs" in given:  # as on a command line it holds, whatever number of steps there was
        before = before | {"min_steps": 0, "steps": 0}
    return {name: value for name, value in _texts(before).items() if name not in unread} | given


def _texts(values: Mapping[str, Any], known: Iterable[str] | None = None) -> dict[str, Any]:
    """Values as texts, of the known names alone: a record names no place to write to."""
    return {name: as_text(value) for name, value in values.items() if known is None or name in known}


def _of_fusion(config: Path, record: "RunRecord", rule: str) -> dict[str, Any]:
    """The rule's own options are those of a run of the same rule alone."""
    from avr.fusion import Evaluation, make_fuser
    from avr.store import read_scores, score_paths

    every = [read_scores(path).provenance for path in score_paths(run_at(config))]
    read = {name: [path for one in every for path in _read(one, name)] for name in ("scores", "stores")}
    if not all(map(all, read.values())) or not any(read.values()):
        raise UsageError(f"{config} does not say where the scores lie that it fused: give its options in full")
    own = _texts(record.options, options_of(type(make_fuser(rule)))) if record.head == f"fuse-{rule}" else {}
    return {
        **own,
        **_texts(record.identity.get("evaluation", {}), options_of(Evaluation)),
        **{name: list(dict.fromkeys(paths)) for name, paths in read.items()},
        "streams": record.identity.get("streams"),
        "split": record.wanted[0] if read["stores"] and len(record.wanted) == 1 else None,  # scores are of theirs
    }


def _read(provenance: Mapping[str, Any], name: str) -> list[str]:
    """The score files, or stores, that a fusion read, in their order; of an older one, as its sources have them."""
    sources = [source for source in provenance.get("sources", ()) if isinstance(source, dict)]
    before = {
        "scores": [source.get("path") for source in sources if "layer" not in source],
        "stores": [path for source in sources for path in source.get("store", "").split(", ") if path],
    }
    return [str(path or "") for path in provenance.get(name, before[name])]


def _of_backbone(config: Path, record: "RunRecord", _rule: str) -> dict[str, Any]:
    """Of the rest see `repeated_index` and `repeated_training`. What the kind of stream does not read is 0 or ""."""
    from avr.extract import Settings
    from avr.finetune import Tuning

    index = record.store.get("index")
    if index is None:
        raise UsageError(f"{config} does not say where its videos lay: give its options in full")
    if {*NOT_OWN} & {*index} or not all(isinstance(value, str) for value in index.values()):
        raise TypeError
    name = next((output for split in record.splits.values() for output in split.results), "")
    settings = Settings.from_dict(record.identity.get("extraction", {}), name)
    own = {key: value for key in options_of(Settings) if (value := getattr(settings, key)) not in (0, "", (), (0,))}
    return {
        **_texts(own),
        **_texts(record.identity.get("tuning", {}), options_of(Tuning)),
        "dataset": index.get("dataset"),
        "stream": f"{name}={settings.kind}" if name else settings.kind,
        "split": record.identity.get("split"),
        "weights": record.store.get("weights", settings.weights),
        "seed": record.identity.get("seed"),
    }


def repeated_index(config: Path | None, where: dict[str, Any]) -> dict[str, Any]:
    """What finds the data set of a fine-tuning that is repeated, each with what is given in its place."""
    if config is None or is_given("dataset"):
        return where
    index = {name: value for name, value in record_of(config, "backbone").store["index"].items() if name != "dataset"}
    paths = {name: Path(index[name]) for name in ("root", "splits") if name in index}
    return index | paths | {name: value for name, value in where.items() if value is not None}


def _of_end_to_end(_: Path, record: "RunRecord", _rule: str) -> dict[str, Any]:
    from avr.finetune import Tuning

    return {
        **_texts(record.identity.get("tuning", {}), options_of(Tuning)),
        "run": record.identity.get("run"),
        "split": "all" if len(record.wanted) > 1 else "".join(record.wanted),
        "seed": record.seed,
    }


TOLD = {"head": _of_head, "fuse": _of_fusion, "backbone": _of_backbone, "end-to-end": _of_end_to_end}
