"""`avr datasets`: list, show and check data sets."""

from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from ._options import dataset_options
from ._output import Reply, answering, print_lines, print_table
from ._shell import Group, among_items

if TYPE_CHECKING:
    from avr.datasets import Dataset, Description
    from avr.video import CheckResult


@click.group(cls=Group)
def command() -> None:
    """List, show and check data sets."""


@command.command("list")
@answering
def list_datasets() -> Reply:
    """List the data sets that avr knows."""
    from avr.core import item_names
    from avr.datasets import describe_dataset

    known = {name: describe_dataset(name).text for name in item_names("avr.datasets")}

    def show() -> None:
        print_table(["data set", "what it is"], list(known.items()), align="ll")
        print_lines(
            "",
            "Your own clips are folder (a sub-folder a class) or list (a csv of path,label): give their folder's",
            "path for a name, as avr extract --dataset clips/mine does. More on each: avr datasets show NAME",
        )

    return Reply(known, show)


@command.command()
@click.argument("name", shell_complete=among_items("avr.datasets"))
@dataset_options
@answering
def show(name: str, where: dict[str, Any]) -> Reply:
    """Show a layout, options, classes and splits.

    Of a data set what it is and how to lay it out; where its videos are there, also its classes and splits.

    NAME is a data set that avr knows, or the folder of your own clips.
    """
    from avr.core import overheard
    from avr.datasets import describe_dataset, index_dataset

    with overheard() as said:
        about = describe_dataset(name, **{key: where[key] for key in ("root", "splits", "called")})
        result: dict[str, Any] = {"name": about.name, "description": about.text, "layout": about.layout}
        result |= {"source": about.source, "options": {key: one.default for key, one in about.options.items()}}
        if where["root"] is not None or about.root.is_dir():
            result |= _counts(index_dataset(name, **where)) | vars(said)
    return Reply(result, lambda: _show(about, result))


def _show(about: "Description", result: dict[str, Any]) -> None:
    from avr.core import as_text

    print_lines(f"{about.name}: {about.text}", f"layout:  {about.layout}")
    if about.source:
        click.echo(f"source:  {about.source}")
    for name, option in about.options.items():
        told = f"  {option.about.text}" if option.about.text else ""
        click.echo(f"option:  {name}{told} [default: {as_text(option.default)}]")
    if about.options:
        click.echo("options are given as --set NAME=VALUE")
    if "videos" not in result:
        drawn, absent = "it is drawn there when first used", "put it there, or name its folder with --root"
        click.echo(f"\nnot in {about.root}: {drawn if about.makes_itself else absent}")
        return
    click.echo(f"\n{result['called']}: {result['videos']} videos in {result['root']}, {result['groups']} groups\n")
    print_table(["class", "videos"], list(result["classes"].items()))
    click.echo()
    rows = [[split, *counts.values()] for split, counts in result["splits"].items()]
    print_table(["split", "train", "test", "neither"], rows)


def _counts(dataset: "Dataset") -> dict[str, Any]:
    """How many videos there are of each class and in each split."""
    labels = Counter(video.label for video in dataset.videos)
    splits = {}
    for name, split in dataset.splits.items():
        train, test = len(split.train), len(split.test)
        splits[name] = {"train": train, "test": test, "neither": len(dataset.videos) - train - test}
    return {
        "called": dataset.name,
        "root": dataset.root,
        "videos": len(dataset.videos),
        "groups": len({video.group for video in dataset.videos}),
        "classes": {name: labels[label] for label, name in enumerate(dataset.class_names)},
        "splits": splits,
    }


@command.command()
@click.argument("name", shell_complete=among_items("avr.datasets"))
@dataset_options
@click.option("--workers", default=0, show_default=True, help="Processes that decode; 0: one a core.")
@click.option("--time-limit", default=120.0, show_default=True, metavar="SECONDS", help="That one video may take.")
@answering
def check(name: str, where: dict[str, Any], **options: Any) -> Reply:
    """Decode every video; say what is bad or unusual.

    Exit code 1 when any is bad. NAME is a data set that avr knows, or the folder of your own clips.
    """
    from avr.datasets import index_dataset
    from avr.video import check_dataset

    result = check_dataset(index_dataset(name, drawn=False, **where), **options)
    return Reply({"name": name, **vars(result)}, lambda: _show_check(result), failed=bool(result.bad))


def _show_check(result: "CheckResult") -> None:
    from avr.core import tell

    for label, findings, most in (("note  ", result.notes, 3), ("bad   ", result.bad, 10)):
        print_lines(*tell([(str(finding.path), finding.reason) for finding in findings], label=label, most=most))
    noted = len({finding.id for finding in result.notes})
    click.echo(
        f"{result.videos} videos, {result.frames} frames in {result.seconds:.1f} s: "
        f"{len(result.bad)} bad, {noted} with notes"
    )
