"""`avr store import-scores`: scores that other tools made become avr's."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ._options import PATH
from ._output import Reply, answering, print_lines

if TYPE_CHECKING:
    from avr.datasets import Listed
    from avr.store import FeatureStore, Videos


READING = ("id_column", "label_column", "array", "axes", "delimiter")


@click.command("import-scores")
@click.argument("files", type=PATH, nargs=-1, required=True)
@click.option("--out", type=PATH, default=Path("scores"), show_default=True, help="Folder to write to.")
@click.option("--overwrite", is_flag=True, help="Replace scores of the same role that are there.")
@click.option("--stream", help="What to call the stream.  [default: the file's name]")
@click.option("--names", type=PATH, help="Video names in the file's order, one a line, for files that hold none.")
@click.option(
    "--labels", type=PATH, help="Labels by video: lines 'video … label', csv, or a pickle of (names, labels)."
)
@click.option("--class-names", type=PATH, help="Class names in order, one a line.")
@click.option("--groups", type=PATH, help="csv of columns id, group: sources that folds never split.")
@click.option("--group-pattern", help=r"Regular expression whose first capture in an id is its group: 'P(\d+)'.")
@click.option("--store", type=PATH, help="Take ids, labels, groups and class order from this store.")
@click.option("--dataset", help="Take ids, labels, groups and class order from this data set.")
@click.option("--root", type=PATH, help="Folder of the data set's videos.  [default: data/DATASET]")
@click.option("--splits", type=PATH, help="Folder of the data set's split lists, if elsewhere.")
@click.option("--split", default="", help="The split's name, to be kept with the scores.")
@click.option(
    "--role",
    type=click.Choice(["test", "validation", "oof"]),
    default="test",
    show_default=True,
    help="Whose scores: fusion is judged on test videos, fitted on validation or out-of-fold scores.",
)
@click.option("--folds", type=PATH, help="Lines 'video fold', or csv of id, fold, for --role oof.")
@click.option(
    "--kind",
    type=click.Choice(["auto", "logits", "probabilities"]),
    default="auto",
    show_default=True,
    help="What the numbers are; auto tells by their own evidence, and says why.",
)
@click.option("--id-column", default="", metavar="NAME", help="Column or array of the names; a number from 1; 'none'.")
@click.option("--label-column", default="", metavar="NAME", help="Column or array of the labels; a number; 'none'.")
@click.option("--array", default="", metavar="NAME", help="Array of the scores, of several in a file.")
@click.option("--axes", default="", metavar="MVK", help="The scores' axes: M videos, V views (crops), K classes.")
@click.option("--delimiter", default="", metavar="SIGN", help="Between cells: ',', ';', '|', tab or blank.")
@answering
def import_scores_command(files: tuple[Path, ...], out: Path, overwrite: bool, **options: Any) -> Reply:
    """Import scores that other tools wrote: csv, tsv, json, parquet, npy, npz, pkl, pt, mat.

    Each file becomes OUT/<name>.h5, which `avr fuse` takes. What it was read as is said in a line, and what may be read
    in two ways is refused with the option that decides. Scores of another role (validation beside test) are added to
    OUT/<name>.h5.
    """
    from avr.core import note, warn
    from avr.store import beside_others, import_scores, write_scores

    targets = _targets(files, out, options["stream"])
    given = _given(options)
    imported = [import_scores(file, stream=target.stem, **given) for target, file in targets.items()]
    results, made = [], []
    warned: dict[str, list[str]] = {}
    for (target, file), one in zip(targets.items(), imported, strict=True):  # nothing is written before all are read
        for line in one.notes:
            note(f"{file}: {line}")
        for line in one.warnings:
            warned.setdefault(line, []).append(str(file))
        dataset = options["dataset"] or one.scores.dataset
        scores = replace(one.scores, split=options["split"], dataset=dataset)
        made.append((target, *beside_others(target, scores, overwrite=overwrite)))
        results.append({"file": file, "out": target, "notes": one.notes, "warnings": one.warnings})
    for line, places in warned.items():
        warn(f"{places[0]}{f' and {len(places) - 1} more' * (len(places) > 1)}: {line}")
    for target, scores, said in made:
        write_scores(target, scores)
        if said:
            note(f"{target}: {said}")
    return Reply({"imported": results}, lambda: print_lines(*(result["out"] for result in results)))


def _targets(files: tuple[Path, ...], out: Path, stream: str | None) -> dict[Path, Path]:
    """The file that each is to become."""
    from avr.core import UsageError, check_name, claim_files, name_from

    if stream and len(files) > 1:
        raise UsageError("--stream names one stream; import the files one by one")
    names = [check_name("stream", stream) if stream else name_from(file.stem) for file in files]
    outputs = [(file, out / f"{name}.h5") for file, name in zip(files, names, strict=True)]
    # What is there already may hold another role's scores: `beside_others` tells.
    claim_files(outputs, inputs=files, overwrite=True, apart="import them one by one with --stream")
    return {target: file for file, target in outputs}


def _given(options: dict[str, Any]) -> dict[str, Any]:
    """What is told of the files, for `import_scores`."""
    from avr.core import UsageError
    from avr.datasets import groups_by_name, groups_by_pattern, read_class_file, read_groups
    from avr.store import Reading

    names = _listed(options["names"], "labels") if options["names"] else None
    labels: Any = _labels(options["labels"]) if options["labels"] else None
    if names is not None and names.labels is not None:
        if labels is None:
            labels = names.labels
        else:
            beside = names.by_name()
            other = next((name for name in beside if name in labels and str(labels[name]) != beside[name]), None)
            if other is not None:
                raise UsageError(
                    f"{options['labels']}: {other} has label {labels[other]} here and {beside[other]} in "
                    f"{options['names']}"
                )
    pattern = options["group_pattern"]
    if pattern is not None and options["groups"]:
        raise UsageError("--group-pattern and --groups both tell the groups: leave one out")

    def by_pattern(ids: Any) -> tuple[list[str], str]:
        groups = groups_by_pattern(ids, pattern)
        return [groups.get(video, video) for video in ids], f"by {pattern!r}"

    return {
        "names": list(names.names) if names else None,
        "labels": labels,
        "class_names": read_class_file(options["class_names"]).names if options["class_names"] else None,
        "groups": by_pattern if pattern is not None else read_groups(options["groups"]) if options["groups"] else None,
        "group_rule": groups_by_name,
        "like": _videos_like(options),
        "kind": options["kind"],
        "role": options["role"],
        "folds": _labels(options["folds"], "folds") if options["folds"] else None,
        "reading": Reading(**{name: options[name] for name in READING}),
    }


def _labels(file: Path, role: str = "labels") -> dict[str, Any]:
    """Labels or folds by name, of a list, a table, or a pickle or JSON of names and labels."""
    from avr.store import LABEL_SUFFIXES, read_labels

    if file.suffix.lower() in LABEL_SUFFIXES:
        return read_labels(file)
    return _listed(file, role, labelled=True).by_name()


def _listed(file: Path, role: str, *, labelled: bool = False) -> "Listed":
    """A list or table of videos, whose columns have the headers of score files."""
    from avr.datasets import read_listed
    from avr.store import SCORE_WORDS

    return read_listed(file, labelled=labelled, words={"id": SCORE_WORDS["ids"], "label": SCORE_WORDS[role]})


def _videos_like(options: dict[str, Any]) -> "FeatureStore | Videos | None":
    """Ids, labels, groups and classes of the store or data set named, or None."""
    if options["store"]:
        from avr.store import FeatureStore

        return FeatureStore(options["store"])
    if not options["dataset"]:
        return None
    from avr.datasets import index_dataset
    from avr.store import Videos

    return Videos.of(index_dataset(options["dataset"], options["root"], splits=options["splits"]))
