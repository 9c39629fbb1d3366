"""`avr finetune`: train the backbone, alone or with a head on top."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from avr.core import UsageError, options_of, sha256_of
from avr.extract import STREAMS, Settings, read_streams
from avr.finetune import BACKBONE, END_TO_END, END_TO_END_TUNING, UNREAD, Tuning

from ._options import (
    COMMON,
    PATH,
    dataset_option,
    dataset_options,
    device_option,
    log_option,
    record_options,
    training_options,
)
from ._output import Reply, answering, print_lines, print_table
from ._repeating import (
    check_same,
    config_option,
    is_given,
    record_of,
    repeated_index,
    repeated_training,
)
from ._shell import Group, Grouped, among_parts

TUNING = [name for name, option in options_of(Tuning).items() if option.about.text]
SETTINGS = ("backbone", "stack", "clip_frames", "frame_stride", "flow", "flow_size", "resize", "crop")  # read here

GROUPS = {  # of the help; what is not named is told last
    "Data": ("config", "dataset", "root", "splits", "called", "pairs", "run", "split", "out", "store"),
    "Network and its input": ("stream", "weights", "segments", *SETTINGS, "flow_start"),
    "Training": ("paper", *COMMON, "training", "seed"),
    "Samples, batch norm, dropout": ("augmentation", "mirror", "dropout", "batch_norm", "new_factor"),
    "Machine": ("device", "cache", "micro_batch", "recompute", "bf16", "compile", "save_every", "log"),
}


@click.group(cls=Group)
def command() -> None:
    """Train the backbone, alone or with a head on top.

    Under torchrun the same command trains on several GPUs or machines: `torchrun --standalone --nproc-per-node 2
    --no-python -- avr finetune backbone …`. --batch-size counts the videos of all processes. An interrupted run,
    started again with the same options, goes on where it stopped.
    """


@command.command(cls=Grouped, groups=GROUPS)
@config_option("backbone")
@dataset_option
@dataset_options
@click.option(
    "--stream",
    default="rgb",
    show_default=True,
    shell_complete=among_parts(STREAMS),
    help="What it looks at: a kind, or NAME=KIND.",
)
@click.option("--split", default="", help="Whose training videos.  [default: the first]")
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
@record_options("settings", Settings, only=SETTINGS)
@click.option("--paper", is_flag=True, help="STFN's settings: SGD 1e-3, batch 32, x 0.1 when validation stops falling.")
@training_options(BACKBONE, unread=UNREAD)
@record_options("tuning", Tuning)
@click.option("--seed", default=0, show_default=True, help="Of the classifier, order, frames, crops, dropout.")
@click.option(
    "--out", type=PATH, help="The run's folder.  [default: backbones/<backbone>-<stream>-<dataset>-<split>-<k>]"
)
@click.option("--cache", type=PATH, help="Frames and flow.  [default: cache/<dataset>]")
@device_option
@log_option
@answering
def backbone(
    dataset: str,
    where: dict[str, Any],
    config: Path | None,
    weights: str,
    segments: int,
    settings: dict[str, Any],
    **options: Any,
) -> Reply | None:
    """Fine-tune the network of one stream; writes weights that `avr extract --weights` takes."""
    from avr.datasets import index_dataset

    # Before torch is loaded, as what else may be refused at once.
    found = index_dataset(dataset, **repeated_index(config, where))
    told = {"weights": weights, "segments": segments, **settings}
    streams = read_streams([options["stream"]], told)
    if len(streams) > 1:
        raise UsageError("--stream names one network: fine-tune them one by one")
    ((options["stream"], whole),) = streams.items()
    whole.require_files()
    options["training"] = repeated_training(config, "backbone", options["training"], UNREAD)
    if config is not None and not is_given("weights") and Path(weights).is_file():
        before = record_of(config, "backbone").identity.get("extraction", {}).get("weights_sha256")
        check_same(config, before, sha256_of(Path(weights)), f"{weights}: holds other weights")
    from avr.extract import CACHE_FOLDER
    from avr.finetune import finetune_backbone

    result = finetune_backbone(found, settings=whole, **options)
    if result is None or not _speaks():
        return None
    accuracies = (
        f"  {name} {100 * value:.1f} % of the test videos, by its own classifier"
        for name, value in result.accuracy.items()
    )
    lines = (
        f"{result.folder}: {len(result.history)} epochs, last loss {result.history[-1]['loss']:.3f}",
        *accuracies,
        f"next: avr extract --dataset {dataset} --stream {options['stream']}={whole.kind} --weights {result.weights} "
        f"--cache {options['cache'] or CACHE_FOLDER / found.name} …",
    )
    json = vars(replace(result, losses=[])) | {"epochs": len(result.history)}
    return Reply(json, lambda: print_lines(*lines))


@command.command("end-to-end", cls=Grouped, groups=GROUPS)
@config_option("end-to-end")
@click.option(
    "--run", required=True, type=click.Path(path_type=Path, exists=True, file_okay=False), help="A trained run."
)
@click.option("--split", default="", help="One of its splits, or all.  [default: its first]")
@click.option("--root", type=PATH, help="The videos, if not where they were.")
@click.option("--weights", multiple=True, metavar="STREAM=FILE", help="The backbones' weights, if not where they were.")
@click.option("--paper", is_flag=True, help="The end-to-end settings of the head's paper.")
@training_options(END_TO_END, unread=UNREAD)
@record_options("tuning", Tuning, only=TUNING, defaults=END_TO_END_TUNING)
@click.option("--seed", default=0, show_default=True, help="Of order, frames, crops, dropout.")
@click.option("--out", type=PATH, help="The new run.  [default: runs/<head>-<dataset>-tuned-<k>]")
@click.option("--store", type=PATH, help="Also write a fresh store with the new backbones.")
@click.option("--cache", type=PATH, help="Frames and flow.  [default: cache/<dataset>]")
@device_option
@log_option
@answering
def end_to_end(run: Path, config: Path | None, tuning: dict[str, Any], **options: Any) -> Reply | None:
    """Train a run's head and its backbones together; writes backbones, head and scores as a new run.

    The head of a run of no epochs (avr heads train --epochs 0) starts anew, and the rate is then 1e-4 unless told.
    """
    from avr.store import read_head_record, warn_unfinished

    read_head_record(run)  # no run is told before torch is loaded
    if _speaks():
        warn_unfinished(run)
    from avr.finetune import finetune_end_to_end

    repeats = config is not None and not is_given("paper")
    given = {name: value for name, value in tuning.items() if repeats or is_given(name)}
    options["training"] = repeated_training(config, "end-to-end", options["training"], UNREAD)
    result = finetune_end_to_end(run, tuning=given, **options)
    if result is None or not _speaks():
        return None
    rows = [
        [split, name, f"{100 * result.before[split][name]['top1']:.1f} %", f"{100 * scores['top1']:.1f} %"]
        for split, outputs in result.results.items()
        for name, scores in outputs.items()
    ]
    header = ["split", "output", "top-1 before", "after"]
    return Reply(result, lambda: print_table(header, rows, title=str(result.folder)))


def _speaks() -> bool:
    """Under torchrun the first process prints, the others do not."""
    return os.environ.get("RANK", "0") == "0"
