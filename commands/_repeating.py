"""A run repeated from its record (`avr heads train --config`), but for what the command line says."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from avr.core import UsageError, as_text, warn

if TYPE_CHECKING:
    from avr.store import RunRecord


def record_of(config: Path) -> "RunRecord":
    """The record of a run named by its folder or its run.json."""
    from avr.store import read_head_record, run_of

    return read_head_record(run_of(config if config.is_dir() else config.parent))


def repeated(
    config: Path, head: str, streams: tuple[str, ...] | None, start_from: Path | None, given: dict[str, dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Layers, options of the head and settings of a run that is repeated, each with what is given in its place.

    Raises:
        UsageError: its weights did not start at random, and nothing says from where they are to start now.
    """
    from avr.heads import head_class

    record = record_of(config)
    if record.identity.get("start") and start_from is None:
        raise UsageError(f"{config} started from the weights of another run: name that one with --start-from")
    layers = {} if "" in given["layers"] else {s: record.layers[s] for s in streams or () if s in record.layers}
    options = {**head_class(head).before, **record.options} if head == record.head else {}
    # as on a command line a number of epochs holds, whatever number of steps there was
    training = record.training | ({"min_steps": 0, "steps": 0} if "epochs" in given["training"] else {})
    before = {"layers": layers, "options": options, "training": training}
    return {kind: {name: as_text(value) for name, value in before[kind].items()} | told for kind, told in given.items()}


def compare_stores(config: Path, stores: tuple[Path, ...], streams: tuple[str, ...]) -> None:
    """Warn where a run that is repeated was made of other features."""
    from avr.store import FeatureStore

    before = record_of(config).identity.get("digest")
    with FeatureStore(stores, streams=streams) as store:
        if before not in (None, store.digest):
            warn(f"{' and '.join(map(str, stores))}: holds other features than those that {config} was made of")
