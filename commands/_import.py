"""`avr store import-features`: features that other tools made become streams of a store."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ._options import PATH, dataset_options
from ._output import Reply, answering, print_lines, print_table

if TYPE_CHECKING:
    from avr.store import ImportedFeatures

DEFAULT_FOLDER = Path("features")


@click.command("import-features")
@click.argument("paths", type=PATH, nargs=-1, required=True)
@click.option(
    "--dataset", help="Whose videos they are: a data set that avr knows, a folder of clips, or a list's file."
)
@dataset_options
@click.option("--store", type=PATH, help="Take videos, labels, groups and splits from this store instead.")
@click.option("--out", type=PATH, help="The store's folder.  [default: --store, or features/<dataset>]")
@click.option("--stream", default="", help="What to call the stream, or which of several to take.  [default: by names]")
@click.option("--names", type=PATH, help="Video names in the file's order, one a line, for a file that holds none.")
@click.option("--layer", default="", help="The store's layer.  [default: pooled of (T, D), map of (T, C, H, W)]")
@click.option("--axes", default="", help="The arrays' axes, where they are others: DT, THWC; TPD of P tokens.")
@click.option("--segments", type=click.IntRange(0), default=0, help="N a video.  [default: all videos' steps, or 7]")
@click.option(
    "--how",
    type=click.Choice(["average", "pick"]),
    default="average",
    show_default=True,
    help="Of equal parts of a video's steps.",
)
@click.option("--strict", is_flag=True, help="Videos without features are an error, once the others are done.")
@answering
def import_features_command(paths: tuple[Path, ...], strict: bool, **options: Any) -> Reply:
    """Make features of other tools streams of a store: npy, npz, pt, pkl, mat, h5 or csv.

    PATHS are folders of a file a video, files of one video each, or files of all videos; or what `avr store export`
    wrote. Names are matched to videos as those of scores are; a stream may stand behind them (clip_rgb.npy) or before
    them (rgb/clip.npy). Videos that have no features are kept in the store with the reason.
    """
    result = _imported(paths, **options)
    failed = sum(len(stream.failures) for stream in result.streams.values())
    return Reply(result, lambda: _show(result), failed=strict and failed > 0)


def _imported(paths: tuple[Path, ...], dataset: str | None, store: Path | None, **options: Any) -> "ImportedFeatures":
    from avr.core import UsageError
    from avr.datasets import read_listed
    from avr.store import Laying, import_export, import_features, is_export

    where, out = options["where"], options["out"]
    laying = Laying(*(options[name] for name in ("layer", "axes", "segments", "how")))
    if len(paths) == 1 and is_export(paths[0]):
        told = dataset or store or options["names"] or options["stream"] or {**where, "called": None} != _NOTHING
        if told or laying != Laying():
            raise UsageError(f"{paths[0]}: what `avr store export` wrote is taken as it is; --name and --out alone go")
        name = where["called"] or ""
        return import_export(paths[0], out or DEFAULT_FOLDER / (name or paths[0].absolute().name), name=name)
    if (dataset is None) == (store is None):
        raise UsageError("say whose videos they are: --dataset NAME, folder or list, or --store STORE")
    videos = _videos(dataset, store, where)
    names = list(read_listed(options["names"]).names) if options["names"] else None
    out = out or (store if store and store.is_dir() else DEFAULT_FOLDER / videos.name)
    return import_features(paths, videos, out, stream=options["stream"], names=names, laying=laying)


_NOTHING = {"root": None, "splits": None, "called": None}


def _videos(dataset: str | None, store: Path | None, where: dict[str, Any]) -> Any:
    """The data set named, by its lists alone where its videos are not there, or the store's."""
    if store is None:
        from avr.datasets import index_dataset

        return index_dataset(str(dataset), lists_suffice=True, **where)
    from avr.core import UsageError
    from avr.store import videos_of

    if where != _NOTHING:
        raise UsageError("--store tells the videos: leave out what is said of a data set")
    return videos_of(store)


def _show(result: "ImportedFeatures") -> None:
    from avr.core import first_few, tell

    rows = [
        [name, " × ".join(map(str, shape)), stream.videos, len(stream.failures), stream.settings["rule"]]
        for stream in result.streams.values()
        for name, shape in stream.arrays.items()
    ]
    print_table(["array", "shape", "videos", "without", "rule"], rows, align="lrrrl")
    for name, stream in result.streams.items():
        failed = [(failure["id"], failure["reason"]) for failure in stream.failures]
        print_lines(*tell(failed, label=f"{name}: no features: "))
    places: dict[str, list[str]] = {}
    for left in result.left_out:
        places.setdefault(left["reason"], []).append(left["place"])
    for reason, found in places.items():
        click.echo(f"not taken, {len(found)}: {reason}: {first_few(found)}")
    click.echo(str(result.out))
