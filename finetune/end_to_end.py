"""End to end: a trained head on top of its backbones, all trained together.

    checkpoint.safetensors              the head (<stream>/… where there is one a stream)
    rgb.safetensors, flow.safetensors   the backbones, for `avr extract`
    scores.h5, log.csv
    state.pt                            while it is not finished

in the split's folder of a run, which is one as `avr heads train` writes it: `avr fuse` and `avr predict` take it.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from avr.core import note, quiet, sha256_of
from avr.datasets import Video
from avr.extract import LayerReader, Running, Settings, extract
from avr.heads import CHECKPOINT, Head, SeparateHeads, head_class, load_run, save_tensors, with_average
from avr.store import (
    AVERAGE,
    RUNS,
    RunRecord,
    SplitRecord,
    read_head_record,
    read_record,
    record_split,
    score_path,
    split_folder,
    write_scores,
)
from avr.training import Training

from .backbone import PAPER
from .distributed import claim_together, join_processes
from .draws import DropoutKeys, key_dropout
from .loop import STATE, Fitted
from .networks import EndToEnd, TunedNetwork
from .pipeline import Pipeline, open_pipeline
from .task import Task, accuracies, identity_of
from .tuning import END_TO_END, END_TO_END_TUNING, Tuning, settle_training


@dataclass(frozen=True)
class EndToEndResult:
    """A run fine-tuned end to end.

    Attributes:
        folder: the new run.
        results: split -> output -> top-1, top-5, mean class accuracy of the test videos.
        before: the same of the run it started from, measured in the same way.
        history: split -> one row an epoch.
        stores: split -> the fresh store, where one was asked for.
    """

    folder: Path
    results: dict[str, dict[str, dict[str, float]]]
    before: dict[str, dict[str, dict[str, float]]]
    history: dict[str, list[dict[str, float]]]
    stores: dict[str, str]


def finetune_end_to_end(  # noqa: PLR0913 (the stage's one entry: all it can be told, keyword-only)
    run: Path,
    *,
    split: str = "",
    root: Path | None = None,
    weights: tuple[str, ...] = (),
    training: Training | Mapping[str, object] | None = None,
    paper: bool = False,
    tuning: Tuning = END_TO_END_TUNING,
    seed: int = 0,
    out: Path | None = None,
    store: Path | None = None,
    cache: Path | None = None,
    device: str = "auto",
    stop_after: int | None = None,
) -> EndToEndResult | None:
    """Train a run's head and its backbones together. An interrupted run, started again, goes on.

    Args:
        run: of `avr heads train`, or of this function.
        split: a split of the run; "" is its first, "all" every one.
        root: the data set's folder; None takes the videos where the run's store says they are.
        weights: where the backbones' weights lie now, "rgb=FILE", if not where they were.
        training: changes to the defaults (or to the paper's settings), or whole settings.
        paper: start from the paper's settings of this head.
        tuning: augmentation, batch norm, memory.
        seed: of order, frames, crops, dropout, validation part.
        out: the new run's folder; default the next `runs/<head>-<dataset>-tuned-<k>`.
        store: also extract a fresh store there, with the new backbones (with several splits `<store>-<split>`). It
            holds that split alone, whose training videos the backbones have seen. A finished run's is made later too.
        cache: folder of decoded frames and flow; default `cache/<dataset>`.
        device: "auto", "cpu", "cuda", "cuda:1".
        stop_after: leave after so many steps as if interrupted, and give None.

    Raises:
        UsageError: no such run or split, a folder that holds none or is not finished, weights or videos that are gone
            or others, a folder that another process trains in.
        WorkError: a loss that is not finite, a full disk, damaged files.
    """
    run = Path(run)
    about = read_head_record(run)
    # The head's own end-to-end settings in its paper; the two-stream ConvNet's where it has none.
    base = (head_class(about.head).end_to_end or PAPER) if paper else END_TO_END
    training = settle_training(base, training)
    names = list(about.splits) if split == "all" else [split or next(iter(about.splits))]
    with join_processes(device) as (processes, place), quiet(not processes.first):
        first = open_pipeline(run, split=names[0], root=root, weights=weights)
        settled: dict[str, Any] = {"training": training, "tuning": tuning, "seed": seed, "processes": processes}
        identity = identity_of(run=str(run.resolve()), splits=names, **settled)
        record = RunRecord(
            kind="end-to-end",
            identity=identity,
            head=about.head,
            options=about.options,
            training=asdict(training),
            layers=first.metadata["layers"],
            seed=seed,
            store={"path": "", "digest": "", "dataset": first.dataset.name},
        )
        prefix = str(RUNS / f"{about.head}-{first.dataset.name}-tuned")
        folder = claim_together(out, prefix, record, processes=processes)
        for name in names:
            done = read_record(folder).splits.get(name)
            where = split_folder(folder, name)
            fresh = None if store is None else store if len(names) == 1 else store.with_name(f"{store.name}-{name}")
            if done:
                note(f"{where} is finished already")
            if done and (fresh is None or (done.store == str(fresh.resolve()) and fresh.exists())):
                continue
            opened = first if name == names[0] else open_pipeline(run, split=name, root=root, weights=weights)
            own = (opened.dataset, opened.split, opened.settings)
            task = _EndToEndTask(*own, training, tuning, seed, cache, processes, place, opened)
            if done and fresh is not None:
                written = replace(done, store=task.add_store(where, fresh)) if processes.first else None
            else:
                network = task.network()
                fitted = task.fit(network, where, settings=identity_of(split=name, **settled), stop_after=stop_after)
                if not fitted.finished:
                    return None
                written = task.write(where, network, fitted, fresh=fresh) if processes.first else None
            if written is not None:
                _enter_split(folder, name, written)
                # Not before: a run that is killed while it writes would else begin again.
                (where / STATE).unlink(missing_ok=True)
            processes.wait()
    return _read_result(folder)


@dataclass(frozen=True)
class _EndToEndTask(Task):
    """One split's training of a run's head and backbones together."""

    pipeline: Pipeline

    @property
    def prediction(self) -> str:
        return self.pipeline.trained.prediction

    @property
    def tested(self) -> tuple[Settings, bool, int]:
        """The frames and crops that extraction takes, in its precision; a video's views at once, which are averaged."""
        return self.settings, self.settings.precision == "bfloat16", 1

    def outputs(self, network: TunedNetwork, videos: Sequence[Video]) -> dict[str, NDArray[np.float32]]:
        """Log-probabilities `(len(videos), K)` by output, averaged over views."""
        return with_average(super().outputs(network, videos))

    def network(self) -> EndToEnd:
        """Head and backbones as the run has them, ready to train."""
        keys, opened = DropoutKeys(self.seed), self.pipeline
        readers = {stream: copy.deepcopy(reader) for stream, reader in opened.networks.readers.items()}
        for reader in readers.values():
            reader.requires_grad_(True)
            key_dropout(reader, keys, p=self.tuning.dropout)
            reader.to(self.device).to(memory_format=torch.channels_last)
        network = EndToEnd(
            readers,
            copy.deepcopy(opened.trained.head),
            opened.layers,
            num_steps=self.settings.num_steps,
            keys=keys,
            label_smoothing=self.training.label_smoothing,
            recompute=self.tuning.recompute,
        )
        network.to(self.device)
        network.freeze_unused()
        return network

    # --- what is written ----------------------------------------------------------------------------------------------

    def write(self, folder: Path, network: EndToEnd, fitted: Fitted, *, fresh: Path | None) -> SplitRecord:
        """Write backbones, head, scores and, if asked, a fresh store; gives what the run's record keeps of the split.

        The training's state stays until that is recorded.
        """
        files: dict[str, Path] = {}
        about = {"backbone": self.settings.backbone, "dataset": self.dataset.name, "split": self.split.name}
        for stream, reader in network.readers.items():
            assert isinstance(reader, LayerReader)
            files[stream] = folder / f"{stream}.safetensors"
            save_tensors(files[stream], reader.trunk_state(), {"stream": stream, **about})
        source = self._source(files, store="" if fresh is None else self._extract(files, fresh))
        self._write_head(folder, network.head, source)
        videos = self.videos[1]
        outputs = self.outputs(network, videos)
        before = self.outputs(self.network(), videos)
        if videos:
            kept = {name: values for name, values in outputs.items() if name != AVERAGE}
            made = {"store": source, "options": self.pipeline.metadata["options"], "seed": self.seed}
            scores = self.scores(videos, kept, head=self.pipeline.metadata["head"], provenance=made)
            write_scores(score_path(folder), scores)
        return SplitRecord(
            results=accuracies(outputs, videos),
            seconds=round(sum(row["seconds"] for row in fitted.history), 3),
            before=accuracies(before, videos),
            history=fitted.history,
            store=source["path"],
        )

    def add_store(self, folder: Path, fresh: Path) -> str:
        """Extract the fresh store of a split that is finished, from the weights that lie there; gives its path."""
        files = {stream: folder / f"{stream}.safetensors" for stream in self.pipeline.networks.readers}
        path = self._extract(files, fresh)
        self._write_head(folder, load_run(folder).head, self._source(files, store=path))
        return path

    def _source(self, files: Mapping[str, Path], *, store: str) -> dict[str, Any]:
        """What the head remembers of its features: how they were made, and where its videos are found."""
        before = self.pipeline.metadata["store"]
        settings = self.settings.change(
            weights=tuple(f"{stream}={path.name}" for stream, path in files.items()),
            weights_sha256=tuple(f"{stream}={sha256_of(path)}" for stream, path in files.items()),
        )
        return {
            "path": store,
            "digest": "",
            "dataset": self.dataset.name,
            "settings": settings.to_dict(),
            "videos": before.get("path") or before.get("videos", ""),
        }

    def _extract(self, files: Mapping[str, Path], fresh: Path) -> str:
        """A store of the new backbones' features, on the same device; gives its absolute path.

        It holds this split alone: heads of another split would be tested on videos that its backbones were trained on.
        """
        asked = self.settings.change(
            weights=tuple(f"{stream}={path}" for stream, path in files.items()), weights_sha256=()
        )
        running = Running(device=str(self.device), cache=str(self.folder_of_cache) if asked.quantise else "")
        dataset = replace(self.dataset, splits={self.split.name: self.split})
        return str(extract(dataset, fresh, settings=asked, running=running).store.resolve())

    def _write_head(self, folder: Path, head: Head, source: dict[str, Any]) -> None:
        metadata = self.pipeline.metadata
        about = {**metadata, "training": asdict(self.training), "seed": self.seed, "store": source}
        if not isinstance(head, SeparateHeads):
            save_tensors(folder / CHECKPOINT, head.state_dict(), about)
            return
        for stream, part in head.heads.items():
            assert isinstance(part, Head)
            own = {"layers": {stream: metadata["layers"][stream]}, "shapes": {stream: list(part.shapes[stream])}}
            save_tensors(folder / stream / CHECKPOINT, part.state_dict(), {**about, **own})


def _enter_split(folder: Path, name: str, split: SplitRecord) -> None:
    """Enter a split in the run's record, with the mean over those that are there."""
    splits = {**read_record(folder).splits, name: split}
    summary = {
        output: {
            figure: float(np.mean([split.results[output][figure] for split in splits.values()])) for figure in figures
        }
        for output, figures in split.results.items()
    }
    record_split(folder, name, split, summary=summary)


def _read_result(folder: Path) -> EndToEndResult:
    """The result of an end-to-end run, from its folder."""
    splits = read_record(folder).splits
    return EndToEndResult(
        folder,
        results={name: split.results for name, split in splits.items()},
        before={name: split.before for name, split in splits.items()},
        history={name: split.history for name, split in splits.items()},
        stores={name: split.store for name, split in splits.items() if split.store},
    )
