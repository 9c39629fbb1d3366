"""End to end: a trained head on top of its backbones, all trained together.

    checkpoint.safetensors              the head (<stream>/… where there is one a stream)
    rgb.safetensors, flow.safetensors   the backbones, for `avr extract`
    scores.h5, log.csv
    state.pt                            while it is not finished

in the split's folder of a run, which is one as `avr heads train` writes it: `avr fuse` and `avr predict` take it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avr.core import UsageError, note, quiet, sha256_of
from avr.datasets import Video
from avr.extract import LayerReader, Networks, Origin, Running, Settings, extract, lay_out, open_backbone, refuse_unused
from avr.heads import CHECKPOINT, Head, SeparateHeads, TrainedRun, head_class, load_run, save_tensors, with_average
from avr.store import RUNS, UNTRAINED, RunRecord, SplitRecord, read_head_record, read_record, record_split, split_folder
from avr.training import OnEpoch, Training

from .backbone import PAPER
from .distributed import claim_together, join_processes
from .draws import DropoutKeys, key_dropout
from .loop import STATE, Fitted
from .networks import EndToEnd, TunedNetwork, start_flow
from .task import Task
from .tuning import END_TO_END, END_TO_END_TUNING, FROM_START, Tuning, is_fresh, settle_training, settle_tuning
from .vectors import keep_vectors


@dataclass(frozen=True)
class EndToEndResult:
    """A run fine-tuned end to end.

    Attributes:
        results: split -> output -> top-1, top-5, mean class accuracy of the test videos.
        before: the same of the run it started from, measured in the same way.
        history: split -> one row an epoch.
        stores: split -> the fresh store, where one was asked for.
    """

    folder: Path
    results: dict[str, dict[str, dict[str, float]]]
    before: dict[str, dict[str, dict[str, float]]]
    history: dict[str, list[dict[str, float]]] = field(repr=False)
    stores: dict[str, str]


def finetune_end_to_end(  # noqa: PLR0913 (the stage's one entry: all it can be told, keyword-only)
    run: Path,
    *,
    split: str = "",
    root: Path | None = None,
    weights: tuple[str, ...] = (),
    training: Training | Mapping[str, object] | None = None,
    paper: bool = False,
    tuning: Tuning | Mapping[str, object] | None = None,
    seed: int = 0,
    out: Path | None = None,
    store: Path | None = None,
    cache: Path | None = None,
    device: str = "auto",
    stop_after: int | None = None,
    on_epoch: OnEpoch | None = None,
) -> EndToEndResult | None:
    """Train a run's head and its backbones together. An interrupted run, started again, goes on.

    Args:
        run: of `avr heads train`, or of this function. The head of a run of no epochs, `--epochs 0`, starts at random:
            head and backbones are then trained together from the start.
        split: a split of the run; "" is its first, "all" every one.
        root: the data set's folder; None takes the videos where the run's store says they are.
        weights: where the backbones' weights lie now, "rgb=FILE", if not where they were.
        training: changes to the defaults (or to the paper's settings), or whole settings.
        paper: start from the paper's settings of this head, which are other ones where the head was not trained yet.
        tuning: changes to the defaults (or to what the paper says of augmentation and batch norm), or a whole record.
        seed: of order, frames, crops, dropout, validation part.
        out: the new run's folder; default the next `runs/<head>-<dataset>-tuned-<k>`.
        store: also extract a fresh store there, with the new backbones (with several splits `<store>-<split>`). It
            holds that split alone, whose training videos the backbones have seen. A finished run's is made later too.
        cache: folder of decoded frames and flow; default `cache/<dataset>`.
        device: "auto", "cpu", "cuda", "cuda:1".
        stop_after: leave after so many steps as if interrupted, and give None.
        on_epoch: called with each `Epoch` that ends, in the first process; log.csv holds them in any case.

    Raises:
        UsageError: no such run or split, a folder that holds none or is not finished, weights or videos that are gone
            or others, a folder that another process trains in.
        WorkError: a loss that is not finite, a full disk, damaged files.
    """
    run = Path(run)
    about = read_head_record(run)
    made = head_class(about.head)
    # The head's own end-to-end settings in its paper; the two-stream ConvNet's where it has none.
    papers, ours = (made.paper, FROM_START) if is_fresh(about.training) else (made.end_to_end or PAPER, END_TO_END)
    settled: dict[str, Any] = {
        "training": settle_training(papers if paper else ours, training),
        "tuning": settle_tuning(replace(END_TO_END_TUNING, **made.end_to_end_tuning if paper else {}), tuning),
        "seed": seed,
        "cache_folder": cache,
        "on_epoch": on_epoch,
    }
    names = list(about.splits) if split == "all" else [split or next(iter(about.splits))]
    with join_processes(device) as processes, quiet(not processes.first):
        opening = partial(EndToEndTask.open, run, root=root, weights=weights, processes=processes, **settled)
        return _train_splits(run, about, names, opening, out=out, store=store, stop_after=stop_after)


def _train_splits(
    run: Path,
    about: RunRecord,
    names: list[str],
    opening: Callable[[str], "EndToEndTask"],
    *,
    out: Path | None,
    store: Path | None,
    stop_after: int | None,
) -> EndToEndResult | None:
    """Every split of a run, in one new run; None where it was left before its end."""
    first = opening(names[0])
    processes = first.processes
    record = RunRecord(
        kind="end-to-end",
        identity=first.identity(run=str(run.resolve()), splits=names),
        head=about.head,
        options=about.options,
        training=asdict(first.training),
        layers=first.trained.metadata["layers"],
        seed=first.seed,
        store={"path": "", "digest": "", "dataset": first.dataset.name},
    )
    folder = claim_together(out, str(RUNS / f"{about.head}-{first.dataset.name}-tuned"), record, processes=processes)
    for name in names:
        where, done = split_folder(folder, name), read_record(folder).splits.get(name)
        fresh = None if store is None else store if len(names) == 1 else store.with_name(f"{store.name}-{name}")
        if done:
            note(f"{where} is finished already")
            if fresh is None or (done.store == str(fresh.resolve()) and fresh.exists()):
                continue
        task = first if name == names[0] else opening(name)
        if done is None:
            network = task.network()
            before = task.accuracies(task.outputs(network, task.videos[1])) if processes.first else {}
            fitted = task.fit(network, where, settings=task.identity(split=name), stop_after=stop_after)
            if not fitted.finished:
                return None
            if processes.first:
                done = task.write(where, network, fitted, before=before)
                record_split(folder, name, done)
                # Not before: a run that is killed while it writes would else begin again.
                (where / STATE).unlink(missing_ok=True)
        if done and fresh is not None and processes.first:
            record_split(folder, name, replace(done, store=task.add_store(where, fresh)))
        processes.wait()
    return _read_result(folder)


@dataclass(frozen=True)
class EndToEndTask(Task):
    """One split's training of a run's head and backbones together."""

    trained: TrainedRun
    networks: Networks  # on the CPU

    @classmethod
    def open(
        cls, run: Path, split: str, *, root: Path | None = None, weights: Iterable[str] = (), **settled: Any
    ) -> "EndToEndTask":
        """Open a split of a run with all that made it, found through its provenance; `settled` is for `Task`."""
        trained = load_run(run, split=split)
        origin = Origin.of(trained.metadata, trained.folder)
        refuse_unused(weights, [origin.settings])
        for stream, settings in origin.settings.items():
            if open_backbone(settings.backbone).local:
                which = f"stream {stream} is of {settings.backbone}, a local folder's network"
                raise UsageError(f"{which}: only networks by name are trained end to end; what comes is no such folder")
        networks = origin.restore_networks(weights)
        dataset = origin.restore_dataset(root)
        if split not in dataset.splits:
            raise UsageError(f"{dataset.name} has no split '{split}', which the run was trained on; give its --root")
        return cls(dataset, dataset.splits[split], origin.settings, trained=trained, networks=networks, **settled)

    @property
    def prediction(self) -> str:
        return self.trained.prediction

    @property
    def tested(self) -> tuple[dict[str, Settings], dict[str, bool], int]:
        """The frames and crops that extraction takes, in its precision; a video's views at once, which are averaged."""
        return self.streams, {name: own.precision == "bfloat16" for name, own in self.streams.items()}, 1

    def outputs(self, network: TunedNetwork, videos: Sequence[Video]) -> dict[str, NDArray[np.float32]]:
        """Log-probabilities `(len(videos), K)` by output, averaged over views."""
        return with_average(super().outputs(network, videos))

    def network(self) -> EndToEnd:
        """Head and backbones as the run has them, ready to train: the very ones that were opened."""
        keys, device = DropoutKeys(self.seed), self.processes.device
        for stream, reader in self.networks.readers.items():
            if self.tuning.flow_start == "random" and self.streams[stream].kind == "flow":
                start_flow(reader, self.seed)
            reader.requires_grad_(True)
            key_dropout(reader, keys, p=self.tuning.dropout)
            lay_out(reader.to(device))
        network = EndToEnd(
            self.networks.readers,
            self.trained.head,
            self.trained.layers,
            num_steps={stream: settings.num_steps for stream, settings in self.streams.items()},
            keys=keys,
            label_smoothing=self.training.label_smoothing,
            recompute=self.tuning.recompute,
        )
        network.to(device)
        network.freeze_unused()
        return network

    def write(
        self, folder: Path, network: EndToEnd, fitted: Fitted, *, before: dict[str, dict[str, float]]
    ) -> SplitRecord:
        """Write backbones, head and scores; gives what the run's record keeps of the split.

        The training's state stays until that is recorded.
        """
        about = {"dataset": self.dataset.name, "split": self.split.name}
        files = self._files(folder)
        for stream, reader in network.readers.items():
            assert isinstance(reader, LayerReader)
            own = {"stream": stream, "backbone": self.streams[stream].backbone, **about}
            save_tensors(files[stream], reader.trunk_state(), own)
        source = self._write_head(folder, network.head)
        outputs = self.outputs(network, self.videos[1])
        kept = {name: value for name, value in outputs.items() if name not in UNTRAINED}
        keep_vectors(self, network, folder)
        trained, made = self.trained.metadata, {"store": source, "seed": self.seed}
        self.write_scores(folder, kept, head=trained["head"], provenance=made | {"options": trained["options"]})
        return SplitRecord(
            results=self.accuracies(outputs),
            seconds=round(sum(row["seconds"] for row in fitted.history), 3),
            before=before,
            history=fitted.history,
        )

    def add_store(self, folder: Path, fresh: Path) -> str:
        """Extract a fresh store of a finished split with the backbones that lie there; gives its absolute path.

        It holds this split alone: heads of another split would be tested on videos that its backbones were trained on.
        """
        asked = {name: self.streams[name].change(weights=str(path)) for name, path in self._files(folder).items()}
        cached = all(settings.quantise for settings in asked.values())
        running = Running(device=str(self.processes.device), cache=str(self.cache.folder) if cached else "")
        dataset = replace(self.dataset, splits={self.split.name: self.split})
        path = str(extract(dataset, fresh, streams=asked, running=running).store.resolve())
        self._write_head(folder, load_run(folder).head, store=path)
        return path

    def _files(self, folder: Path) -> dict[str, Path]:
        """Stream -> the weights file of its backbone."""
        return {stream: folder / f"{stream}.safetensors" for stream in self.networks.readers}

    def _write_head(self, folder: Path, head: Head, *, store: str = "") -> dict[str, Any]:
        """Write the head; gives what it remembers of its features: how they were made, where its videos are found."""
        metadata, files = self.trained.metadata, self._files(folder)
        tuned = {
            name: self.streams[name].change(weights=path.name, weights_sha256=sha256_of(path))
            for name, path in files.items()
        }
        source = {
            "path": store,
            "digest": "",
            "dataset": self.dataset.name,
            "streams": {name: settings.to_dict() for name, settings in tuned.items()},
            "videos": metadata["store"].get("path") or metadata["store"].get("videos", ""),
        }
        about = {**metadata, "training": asdict(self.training), "seed": self.seed, "store": source}
        if not isinstance(head, SeparateHeads):
            save_tensors(folder / CHECKPOINT, head.state_dict(), about)
            return source
        for stream, part in head.heads.items():
            assert isinstance(part, Head)
            own = {"layers": {stream: metadata["layers"][stream]}, "shapes": {stream: list(part.shapes[stream])}}
            save_tensors(folder / stream / CHECKPOINT, part.state_dict(), {**about, **own})
        return source


def _read_result(folder: Path) -> EndToEndResult:
    splits = read_record(folder).splits
    return EndToEndResult(
        folder,
        results={name: split.results for name, split in splits.items()},
        before={name: split.before for name, split in splits.items()},
        history={name: split.history for name, split in splits.items()},
        stores={name: split.store for name, split in splits.items() if split.store},
    )
