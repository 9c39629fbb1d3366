"""What `avr recipe plan` and `avr recipe run` are told."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click
from click.core import ParameterSource

from avr.core import UsageError

from ._options import PATH, apply, chosen_store, trials_option
from ._values import list_option, named_value, set_option

if TYPE_CHECKING:
    from avr.datasets import Dataset
    from avr.recipes import Recipe

# What says which stores a run makes, and how.
MAKING = (
    "dataset",
    "root",
    "called",
    "data",
    "finetune",
    "extract",
    "backbones",
    "end_to_end",
    "stages",
    "cache",
    "keep_stores",
)
OF_TRAINED = ("backbones", "end_to_end", "cache", "keep_stores")  # of these, what frozen networks have no use for


def run_options(function: Any) -> Any:
    """Add what both `plan` and `run` are told: data, stores, fine-tuning, splits, seeds, changes."""
    return apply(
        [
            click.option("--dataset", default="", help="Make what the rows need of this data set, or folder of clips."),
            click.option("--root", type=PATH, help="Folder of its videos.  [default: data/NAME]"),
            click.option("--name", "called", help="What to call it.  [default: its name, or its folder's]"),
            set_option("--data", "An option of the data set's own, or splits=FOLDER; repeat."),
            click.option("--finetune", is_flag=True, help="Train the networks too, each split's on its training part."),
            set_option("--extract", "Change a store setting (backbone, weights, segments, …); repeat.", unit="SECTION"),
            set_option("--backbones", "Change a setting of the networks' fine-tuning; repeat."),
            set_option("--end-to-end", "Change a setting of the trainings end to end; repeat."),
            click.option("--stages", type=PATH, help="Where all that lies.  [default: runs/stages-DATASET]"),
            click.option("--cache", type=PATH, help="Frames and flow.  [default: cache/DATASET]"),
            click.option(
                "--keep-stores", is_flag=True, help="Keep fine-tuned networks' stores when rows are measured."
            ),
            click.option(
                "--store",
                "stores",
                multiple=True,
                metavar="[SECTION[@SPLIT]=]PATH",
                help="Feature store, for the rows it fits that no other serves, or for those of one section; repeat.  "
                "[default: without --dataset the newest under features/]",
            ),
            click.option(
                "--start-from",
                "start",
                default="",
                metavar="DATASET[=ROOT]|STORE",
                help="Where rows that start from another's train before: with --dataset a data set, else a store.",
            ),
            click.option("--splits", default="", help='Names with commas, "first" or "all".  [default: the paper\'s]'),
            list_option(
                "--seeds",
                "seeds",
                tuple[int, ...],
                default="0",
                unit="NUMBERS",
                text="With commas: each row is trained once a seed.",
            ),
            click.option(
                "--settings",
                type=click.Choice(["auto", "paper", "small"]),
                default="auto",
                show_default=True,
                help="Training settings: the paper's, those for small data, or the paper's on the paper's data sets.",
            ),
            set_option("--set", "Change an option of the heads that have it; repeat.", name="options"),
            set_option("--training", "Change a training setting; repeat."),
            click.option("--tune", is_flag=True, help="Choose each head's settings by trials on the training part."),
            trials_option,
            set_option("--layer", "Read another layer than the head's own; repeat.", name="layers", bare="STREAM"),
            set_option("--scores", "Outside scores that a row asks for; repeat.", free=True, unit="SPLIT"),
            click.option(
                "--out", type=PATH, help="Folder of the run.  [default: runs/recipe-NAME-DATASET[-finetuned]]"
            ),
        ],
        function,
    )


def typed() -> dict[str, str]:
    """The options that stand on the command line: name -> flag."""
    context = click.get_current_context()
    options = [one for one in context.command.params if isinstance(one, click.Option)]
    source = {one: context.get_parameter_source(str(one.name)) for one in options}
    return {str(one.name): one.opts[0] for one in options if source[one] is ParameterSource.COMMANDLINE}


class Told(NamedTuple):
    """What a run was told, read: what `run_recipe` and `settle` take, where it works, and how its videos are found, and
    those of the data set that rows start from."""

    request: dict[str, Any]
    out: Path
    where: str
    start: str


def told(recipe: "Recipe", options: dict[str, Any]) -> Told:
    """Read what a run was told; a data set is indexed before torch is loaded.

    Raises:
        UsageError: options that contradict one another, no such store or data set.
    """
    from avr.store import RUNS, FeatureStore

    given = {name: options.pop(name) for name in MAKING}
    tune, trials = options.pop("tune"), options.pop("trials")
    if "trials" in typed() and not tune:
        raise UsageError("--trials are of --tune: say both, or leave it out")
    named = [named_value("--store", text, bare=True) for text in options.pop("stores")]
    paths = [(key, chosen_store(Path(value))) for key, value in named]
    out, dataset, where, start = options.pop("out"), None, "", options.pop("start")
    began: Any = None  # the data set, or store, of what rows start from
    began_where = ""
    if given["dataset"]:
        extra = [flag for name, flag in typed().items() if name in OF_TRAINED and not given["finetune"]]
        if extra:
            raise UsageError(f"{extra[0]} is of networks that the run trains: say --finetune, or leave it out")
        dataset, where = _index(given)
        if start:
            name, _, root = start.partition("=")
            place = Path(root) if root else None
            began, began_where = _index({"dataset": name, "root": place, "called": None, "data": {}})
    elif extra := [flag for name, flag in typed().items() if name in MAKING]:
        raise UsageError(f"{extra[0]} is of stores that the run makes: say of which videos, --dataset")
    else:
        paths = paths or [("", chosen_store(None))]
        began = chosen_store(Path(start)) if start else None
    if out is None:
        if dataset is None:
            with FeatureStore(paths[0][1]) as store:
                called = store.dataset
        else:
            called = dataset.name + "-finetuned" * given["finetune"]
        out = RUNS / f"recipe-{recipe.name}-{called}"
    from avr.extract import CACHE_FOLDER
    from avr.recipes import Changes, Making  # torch, after what needs none

    def making(of: "Dataset", cache: Path | None) -> Making:
        return Making(
            of,
            folder=given["stages"] or RUNS / f"stages-{of.name}",
            cache=cache or CACHE_FOLDER / of.name,
            **{name: given[name] for name in ("finetune", "extract", "backbones", "end_to_end", "keep_stores")},
        )

    changes = Changes(
        scores={key: Path(value) for key, value in options.pop("scores").items()},
        trials=trials if tune else 0,
        **{key: options.pop(key) for key in ("settings", "options", "training", "layers")},
    )
    request = {"stores": paths, "changes": changes, "splits": options.pop("splits"), "seeds": options.pop("seeds")}
    if dataset is not None:
        request["making"] = making(dataset, given["cache"])
        began = began and making(began, given["cache"] and given["cache"] / began.name)
    return Told({**request, "start": began}, out, where, began_where)


def _index(given: dict[str, Any]) -> "tuple[Dataset, str]":
    """The data set, and the words that find it on a command line."""
    from avr.datasets import index_dataset

    root, called, data = given["root"], given["called"], given["data"]
    words = ["--dataset", given["dataset"]]
    for option, value in (("--root", root), ("--name", called), ("--splits", data.get("splits"))):
        words += [option, str(value)] if value else []
    words += [word for key, value in data.items() if key != "splits" for word in ("--set", f"{key}={value}")]
    own = {**data, "splits": Path(data["splits"])} if "splits" in data else data
    return index_dataset(given["dataset"], root, called=called, **own), shlex.join(words)
