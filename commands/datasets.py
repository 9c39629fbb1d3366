"""`avr datasets list | show | check`."""

from pathlib import Path
from typing import Any

import click

from ._output import json_option, print_json, print_table


def _options(pairs: tuple[str, ...]) -> dict[str, str]:
    """`--set name=value` pairs as keyword arguments."""
    for pair in pairs:
        if "=" not in pair:
            raise click.BadParameter(f"{pair!r} is not name=value", param_hint="--set")
    return {name.replace("-", "_"): value for name, _, value in (pair.partition("=") for pair in pairs)}


@click.group()
def command() -> None:
    """List, show and check data sets."""


@command.command("list")
@json_option
def list_datasets(as_json: bool) -> None:
    """List the data sets that avr knows."""
    from avr.core import item_names
    from avr.datasets import describe_dataset

    known = {name: describe_dataset(name).text for name in item_names("avr.datasets")}
    if as_json:
        print_json(known)
        return
    width = max(map(len, known))
    for name, text in known.items():
        click.echo(f"{name.ljust(width)}  {text}")


@command.command()
@click.argument("name")
@click.option("--root", type=click.Path(path_type=Path), help="Folder of the videos.  [default: data/NAME]")
@click.option("--splits", type=click.Path(path_type=Path), help="Folder or file of the split lists, if elsewhere.")
@click.option("--set", "pairs", multiple=True, metavar="NAME=VALUE", help="An option of the data set's own.")
@json_option
def show(name: str, root: Path | None, splits: Path | None, pairs: tuple[str, ...], as_json: bool) -> None:
    """Show what a data set is, how to lay it out, and, where its videos are there, its classes and splits."""
    from avr.core import quiet
    from avr.datasets import DEFAULT_FOLDER, describe_dataset, index_dataset

    about = describe_dataset(name)
    result: dict[str, Any] = {"name": name, "description": about.text, "layout": about.layout, "source": about.source}
    result["options"] = about.options
    dataset = None
    if root is not None or (DEFAULT_FOLDER / name).is_dir():
        with quiet(as_json):
            dataset = index_dataset(name, root, splits=splits, **_options(pairs))
        result |= _counts(dataset)
    if as_json:
        print_json(result)
        return
    click.echo(f"{name}: {about.text}\nlayout:  {about.layout}")
    if about.source:
        click.echo(f"source:  {about.source}")
    for option, default in about.options.items():
        click.echo(f"option:  {option} [default: {default}]")
    if dataset is None:
        what = (
            "it is drawn there when first used"
            if about.makes_itself
            else "put it there, or name its folder with --root"
        )
        click.echo(f"\nnot in {DEFAULT_FOLDER / name}: {what}")
        return
    click.echo(f"\n{result['videos']} videos in {result['root']}, {result['groups']} groups\n")
    print_table(["class", "videos"], list(result["classes"].items()))
    click.echo()
    print_table(
        ["split", "train", "test", "neither"],
        [
            [split, *(counts[part] for part in ("train", "test", "neither"))]
            for split, counts in result["splits"].items()
        ],
    )


def _counts(dataset: Any) -> dict[str, Any]:
    """How many videos there are of each class and in each split."""
    numbers = [0] * len(dataset.class_names)
    for video in dataset.videos:
        numbers[video.label] += 1
    splits = {}
    for name, split in dataset.splits.items():
        train, test = len(split.train), len(split.test)
        splits[name] = {"train": train, "test": test, "neither": len(dataset.videos) - train - test}
    return {
        "root": str(dataset.root),
        "videos": len(dataset.videos),
        "groups": len({video.group for video in dataset.videos}),
        "classes": dict(zip(dataset.class_names, numbers, strict=True)),
        "splits": splits,
    }


@command.command()
@click.argument("name")
@click.option("--root", type=click.Path(path_type=Path), help="Folder of the videos.  [default: data/NAME]")
@click.option("--splits", type=click.Path(path_type=Path), help="Folder or file of the split lists, if elsewhere.")
@click.option("--set", "pairs", multiple=True, metavar="NAME=VALUE", help="An option of the data set's own.")
@click.option("--workers", default=0, show_default=True, help="Processes that decode; 0: one a core.")
@click.option("--time-limit", default=120.0, show_default=True, metavar="SECONDS", help="That one video may take.")
@json_option
@click.pass_context
def check(
    ctx: click.Context,
    name: str,
    root: Path | None,
    splits: Path | None,
    pairs: tuple[str, ...],
    workers: int,
    time_limit: float,
    as_json: bool,
) -> None:
    """Decode every video and list the bad ones. Exit code 1 when there are any."""
    from avr.core import quiet
    from avr.datasets import index_dataset
    from avr.video import check_dataset

    with quiet(as_json):
        dataset = index_dataset(name, root, splits=splits, **_options(pairs))
        result = check_dataset(dataset, workers=workers, time_limit=time_limit)
    if as_json:
        found = {kind: [vars(finding) for finding in getattr(result, kind)] for kind in ("bad", "notes")}
        print_json({"name": name, "videos": result.videos, "frames": result.frames, "seconds": result.seconds} | found)
    else:
        for finding in result.notes:
            click.echo(f"note  {finding.path}: {finding.reason}")
        for finding in result.bad:
            click.echo(f"bad   {finding.path}: {finding.reason}")
        click.echo(
            f"{result.videos} videos, {result.frames} frames in {result.seconds:.1f} s: "
            f"{len(result.bad)} bad, {len(result.notes)} noted"
        )
    ctx.exit(1 if result.bad else 0)
