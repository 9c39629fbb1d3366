"""`avr store`: look at, verify, pack, repair and fill stores."""

import json
from pathlib import Path
from typing import Any

import click

from avr.core import as_size, first_few

from ._import import import_features_command
from ._import_scores import import_scores_command
from ._options import PATH, chosen_store
from ._output import Reply, answering, print_lines, print_table
from ._shell import Group

STORE = click.argument("store", type=PATH, required=False)


@click.group(cls=Group)
def command() -> None:
    """Look at, verify, pack, repair and fill stores.

    STORE is a store's folder, its packed file, or a score file; without one, the newest store under features/ is
    taken.
    """


@command.command()
@STORE
@answering
def info(store: Path | None) -> Reply:
    """Show what a store or score file holds: arrays, sizes, splits, failures with their reasons, settings."""
    from avr.store import describe

    result = describe(chosen_store(store))
    return Reply(result, lambda: _show(result))


def _show(result: dict[str, Any]) -> None:
    from avr.core import tell

    apart = ("warnings", "rates", "sizes", "codecs", "arrays", "splits", "failures", "notes", "provenance")
    hidden = (*apart, "class_names", "streams")
    width = max(map(len, result))
    for name, value in result.items():
        if name not in hidden:
            shown = as_size(value) if name.endswith("bytes_on_disk") else value
            click.echo(f"{name.replace('_', ' ').ljust(width)}  {shown}")
    for name in ("rates", "sizes", "codecs"):
        if name in result:
            most = [f"{value or 'not known'} ({count})" for value, count in result[name].items()]
            click.echo(f"{name.ljust(width)}  {first_few(most, 5)}")
    print_lines(*(f"warning: {line}" for line in result.get("warnings", [])))
    if result["kind"] == "scores":
        click.echo(f"{'streams'.ljust(width)}  {', '.join(result['streams'])}")
    if result.get("arrays"):
        click.echo()
        told = [
            [
                name,
                s["kind"],
                s["steps"],
                s["videos"],
                s["failures"],
                as_size(sum(a["bytes"] for a in s["arrays"].values())),
            ]
            for name, s in result["streams"].items()
        ]
        print_table(["stream", "kind", "steps", "videos", "failures", "size"], told)
        click.echo()
        rows = [
            [n, " × ".join(map(str, a["shape"])), a["dtype"], as_size(a["bytes"])] for n, a in result["arrays"].items()
        ]
        print_table(["array", "shape of a view", "dtype", "size"], rows)
    if result.get("splits"):
        click.echo()
        print_table(["split", "train", "test"], [[n, s["train"], s["test"]] for n, s in result["splits"].items()])
    for kind, what, have in (("failures", "reason", "have no features"), ("notes", "note", "have notes")):
        if result.get(kind):
            click.echo(f"\n{len(result[kind])} videos {have}:")
            print_lines(
                *(f"  {line}" for line in tell([(video["id"], video[what]) for video in result[kind]], most=20))
            )
    print_lines("\nprovenance", json.dumps(result["provenance"], indent=2, ensure_ascii=False, sort_keys=True))


@command.command()
@STORE
@answering
def verify(store: Path | None) -> Reply:
    """Read every byte and check it. Names what is damaged, and then ends with exit code 1."""
    from avr.store import verify

    result = verify(chosen_store(store))
    lines = [f"{damage['file']}: {damage['problem']}" for damage in result["damaged"]]
    if result["missing_shards"]:
        lines.append(f"unfinished: {result['missing_shards']} shards are missing; `avr extract` makes them")
    checked = f"{result['files']} files, {as_size(result['bytes'])}"
    bad = len(result["damaged"])
    lines.append(f"sound: {checked}" if result["ok"] else f"damaged: {bad} of {checked}; see `avr store repair`")
    return Reply(result, lambda: print_lines(*lines), failed=not result["ok"])


@command.command()
@STORE
@click.option("--failures", is_flag=True, help="Also drop the shards that hold failed videos, to try these again.")
@answering
def repair(store: Path | None, failures: bool) -> Reply:
    """Drop what is damaged in a store's folder, so that `avr extract` makes it again."""
    from avr.store import repair

    result = repair(chosen_store(store), failures=failures)
    lines = [f"dropped: {', '.join(result['dropped']) or 'nothing'}"]
    if not result["complete"]:
        lines.append("the store is unfinished: run `avr extract` again with the same settings to finish it")
    return Reply(result, lambda: print_lines(*lines))


@command.command()
@click.argument("stream")
@STORE
@answering
def drop(stream: str, store: Path | None) -> Reply:
    """Remove STREAM from a store's folder; `avr extract` makes it again, with these settings or others."""
    from avr.store import drop

    result = drop(chosen_store(store), stream)
    rest = ", ".join(result["streams"]) or "nothing now"
    return Reply(result, lambda: click.echo(f"dropped: {stream} ({as_size(result['bytes'])}); the store holds {rest}"))


@command.command()
@STORE
@click.option("--out", type=PATH, help="File to write.  [default: the folder's name with .h5, beside it]")
@click.option("--overwrite", is_flag=True, help="Replace a file that is there.")
@answering
def pack(store: Path | None, out: Path | None, overwrite: bool) -> Reply:
    """Copy a store's folder into one self-contained file, which every command takes in its place."""
    from avr.store import pack

    written = pack(chosen_store(store), out, overwrite=overwrite)
    size = written.stat().st_size
    return Reply({"path": written, "bytes": size}, lambda: click.echo(f"{written} ({as_size(size)})"))


@command.command()
@STORE
@click.option("--out", type=PATH, required=True, help="Folder to write to.")
@click.option("--overwrite", is_flag=True, help="Replace files that are there already.")
@answering
def export(store: Path | None, out: Path, overwrite: bool) -> Reply:
    """Write a store or score file as .npy arrays, videos.csv and classes.txt."""
    from avr.store import export

    written = export(chosen_store(store), out, overwrite=overwrite)
    return Reply({"written": written}, lambda: print_lines(*written))


command.add_command(import_features_command)
command.add_command(import_scores_command)
