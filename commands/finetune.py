"""`avr finetune`: backbones, alone or with a head on top."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

from avr.finetune import BACKBONE, END_TO_END, END_TO_END_TUNING, UNREAD, Tuning

from ._options import record_options, training_options
from ._output import json_option, print_json, print_table


@click.group()
def command() -> None:
    """Train the backbone, alone or with a head on top.

    Under torchrun the same command trains on several GPUs or machines: `torchrun --standalone --nproc-per-node 2
    --no-python -- avr finetune backbone …`. --batch-size counts the videos of all processes. An interrupted run,
    started again with the same options, goes on where it stopped.
    """


@command.command()
@click.option("--dataset", required=True, help="A data set that avr knows (`avr datasets list`).")
@click.option("--root", type=click.Path(path_type=Path, file_okay=False), help="Its folder.  [default: data/<dataset>]")
@click.option(
    "--splits", type=click.Path(path_type=Path, exists=True), help="Its split lists, where they are not in the folder."
)
@click.option("--stream", default="rgb", show_default=True, help="Which network: rgb or flow.")
@click.option("--split", default="", help="Whose training videos.  [default: the first]")
@click.option("--backbone", default="resnet50", show_default=True, help="A torchvision classification model.")
@click.option(
    "--weights",
    default="DEFAULT",
    show_default=True,
    metavar="NAME|FILE|random",
    help="Where it starts; weights for RGB start flow's network too (first convolution: mean over RGB, repeated).",
)
@click.option(
    "--segments", default=1, show_default=True, metavar="K", help="Frames a video, their scores averaged (TSN)."
)
@click.option("--stack", default=10, show_default=True, metavar="L", help="Flow pairs centred on a frame.")
@click.option("--flow", default="dis", show_default=True, help="dis, farneback, tvl1 or raft.")
@click.option(
    "--flow-size", default=0, show_default=True, metavar="PIXELS", help="Short side for flow; 0 is the frame's."
)
@click.option(
    "--resize", default=0, show_default=True, metavar="PIXELS", help="Short side of frames; 0 is the weights' own."
)
@click.option(
    "--crop", default=0, show_default=True, metavar="PIXELS", help="Side of the input; 0 is the weights' own."
)
@click.option("--paper", is_flag=True, help="STFN's settings: SGD 1e-3, batch 32, x 0.1 when validation stops falling.")
@training_options(BACKBONE, unread=UNREAD)
@record_options("tuning", Tuning())
@click.option("--seed", default=0, show_default=True, help="Of the classifier, order, frames, crops, dropout.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="The run's folder.  [default: backbones/<backbone>-<stream>-<dataset>-<split>-<k>]",
)
@click.option("--cache", type=click.Path(path_type=Path), help="Frames and flow.  [default: cache/<dataset>]")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 …")
@json_option
def backbone(as_json: bool, dataset: str, root: Path | None, splits: Path | None, **options: Any) -> None:
    """Fine-tune the network of one stream; writes weights that `avr extract --weights` takes."""
    from avr.core import quiet
    from avr.datasets import index_dataset
    from avr.extract import CACHE_FOLDER, Settings
    from avr.finetune import finetune_backbone

    names = ("backbone", "segments", "stack", "flow", "flow_size", "resize", "crop")
    own = {name: options.pop(name) for name in names}
    settings = Settings(streams=(options["stream"],), weights=(options.pop("weights"),), **own)
    with quiet(as_json):
        found = index_dataset(dataset, root, splits=splits)
        result = finetune_backbone(found, settings=settings, **options)
    assert result is not None
    if not _speaks():
        return
    if as_json:
        print_json(asdict(replace(result, losses=[])) | {"epochs": len(result.history)})
        return
    click.echo(f"{result.folder}: {len(result.history)} epochs, last loss {result.history[-1]['loss']:.3f}")
    for name, value in result.accuracy.items():
        click.echo(f"  {name} {100 * value:.1f} % of the test videos, by its own classifier")
    cache = options["cache"] or CACHE_FOLDER / found.name
    click.echo(
        f"next: avr extract --dataset {dataset} --weights {options['stream']}={result.weights} --cache {cache} …"
    )


@command.command("end-to-end")
@click.option(
    "--run", "run", required=True, type=click.Path(path_type=Path, exists=True, file_okay=False), help="A trained run."
)
@click.option("--split", default="", help="One of its splits, or all.  [default: its first]")
@click.option("--root", type=click.Path(path_type=Path, file_okay=False), help="The videos, if not where they were.")
@click.option("--weights", multiple=True, metavar="STREAM=FILE", help="The backbones' weights, if not where they were.")
@click.option("--paper", is_flag=True, help="The end-to-end settings of the head's paper.")
@training_options(END_TO_END, unread=UNREAD)
@record_options("tuning", END_TO_END_TUNING)
@click.option("--seed", default=0, show_default=True, help="Of order, frames, crops, dropout.")
@click.option("--out", type=click.Path(path_type=Path), help="The new run.  [default: runs/<head>-<dataset>-tuned-<k>]")
@click.option("--store", type=click.Path(path_type=Path), help="Also write a fresh store with the new backbones.")
@click.option("--cache", type=click.Path(path_type=Path), help="Frames and flow.  [default: cache/<dataset>]")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 …")
@json_option
def end_to_end(as_json: bool, run: Path, **options: Any) -> None:
    """Train a run's head and its backbones together; writes backbones, head and scores as a new run."""
    from avr.core import quiet
    from avr.finetune import finetune_end_to_end

    with quiet(as_json):
        result = finetune_end_to_end(run, **options)
    assert result is not None
    if not _speaks():
        return
    if as_json:
        print_json(asdict(result))
        return
    rows = [
        [split, name, f"{100 * result.before[split][name]['top1']:.1f} %", f"{100 * scores['top1']:.1f} %"]
        for split, outputs in result.results.items()
        for name, scores in outputs.items()
    ]
    print_table(["split", "output", "top-1 before", "after"], rows, title=str(result.folder))


def _speaks() -> bool:
    """Under torchrun the first process prints, the others do not."""
    import os

    return os.environ.get("RANK", "0") == "0"
