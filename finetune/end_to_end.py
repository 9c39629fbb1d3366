"""End to end: a trained head on top of its backbones, all trained together.

    checkpoint.safetensors              the head (<stream>/… where there is one a stream)
    rgb.safetensors, flow.safetensors   the backbones, for `avr extract`
    scores.h5, log.csv
    state.pt                            while it is not finished

in the split's folder of a run, which is one as `avr heads train` writes it: `avr fuse` and `avr predict` take it.
"""

import copy
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from avr.core import UsageError, measure, note, quiet
from avr.datasets import Video
from avr.extract.cache import DEFAULT_FOLDER, ClipCache
from avr.heads import Head, Training, with_average
from avr.store import RUNS, RunRecord, SplitRecord, read_head_record, read_record, split_folder
from avr.training import read_training

from .distributed import Processes, claim_together, join_processes
from .draws import DropoutKeys, key_dropout
from .learner import Economy, Learner
from .loop import Loop
from .networks import EndToEnd, begin_end_to_end, freeze_unused
from .parts import fill_cache, part_videos, plain
from .pipeline import Pipeline, open_pipeline
from .record import EndToEndResult, enter_split, paper_training, read_end_to_end
from .samples import VideoSamples, fixed_inputs
from .tuned_split import TunedSplit
from .tuning import Tuning

# Small steps from where head and backbones are, with the statistics of their batch norm as the head knows them.
DEFAULTS = Training(epochs=10, batch_size=16, optimizer="adamw", lr=1e-4, weight_decay=0.05, schedule="cosine")
TUNING = Tuning(batch_norm="frozen", new_factor=1.0)


def finetune_end_to_end(  # noqa: PLR0913 (the stage's one entry: all it can be told, keyword-only)
    run: Path,
    *,
    split: str = "",
    root: Path | None = None,
    weights: tuple[str, ...] = (),
    training: Training | Mapping[str, object] | None = None,
    paper: bool = False,
    tuning: Tuning = TUNING,
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
    if seed < 0:
        raise UsageError(f"the seed must be at least 0, not {seed}")
    if not isinstance(training, Training):
        training = read_training(paper_training(about.head) if paper else DEFAULTS, training or {})
    names = list(about.splits) if split == "all" else [split or next(iter(about.splits))]
    with join_processes(device) as (processes, place), quiet(not processes.first):
        first = open_pipeline(run, split=names[0], root=root, weights=weights)
        identity = {
            "run": str(run.resolve()),
            "splits": names,
            "training": asdict(training),
            "tuning": tuning.identity(),
            "seed": seed,
        }
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
            job = _Job(opened, training, tuning, seed, cache or DEFAULT_FOLDER / opened.dataset.name, place)
            if done and fresh is not None:
                written = replace(done, store=job.tuned.add_store(where, fresh)) if processes.first else done
            else:
                found = job.run(where, processes, fresh=fresh, stop_after=stop_after)
                if found is None:
                    return None
                written = found
            if processes.first:
                enter_split(folder, name, written)
                # Not before: a run that is killed while it writes would else begin again.
                (where / "state.pt").unlink(missing_ok=True)
            processes.wait()
    return read_end_to_end(folder)


@dataclass(frozen=True)
class _Job:
    """One split's end-to-end training, settled."""

    pipeline: Pipeline
    training: Training
    tuning: Tuning
    seed: int
    cache_folder: Path
    device: torch.device

    def run(
        self, folder: Path, processes: Processes, *, fresh: Path | None, stop_after: int | None
    ) -> SplitRecord | None:
        """Train, write the split's folder, and give what the record keeps of it; None where it was left early."""
        opened = self.pipeline
        cache = ClipCache(self.cache_folder, opened.settings, device=str(self.device))
        train_videos, test_videos = fill_cache(cache, opened.dataset, opened.split, processes)
        network = self._network()
        folder.mkdir(parents=True, exist_ok=True)
        identity = {"training": asdict(self.training), "tuning": self.tuning.identity(), "seed": self.seed}
        started = folder / "state.pt"
        before = {} if started.exists() else self._accuracy(network, test_videos, cache)
        learner, samples = self._learner(network, train_videos, cache)
        economy = Economy(self.tuning.micro_batch, self.tuning.bf16, self.tuning.save_every)
        settings = plain({**identity, "split": opened.split.name})
        loop = Loop(
            learner,
            samples,
            training=self.training,
            seed=self.seed,
            economy=economy,
            folder=folder,
            settings=settings,
        )
        fitted = loop.run(processes, self.device, stop_after=stop_after)
        if not fitted.finished:
            return None
        if not processes.first:
            return SplitRecord(results={})
        before = before or self._accuracy(self._network(), test_videos, cache)
        scores = self._outputs(network, test_videos, cache) if test_videos else {}
        return self.tuned.write(folder, network, test_videos, scores, fitted, before=before, fresh=fresh)

    @property
    def tuned(self) -> TunedSplit:
        """Writes what the training leaves."""
        return TunedSplit(self.pipeline, self.training, self.seed, self.cache_folder, self.device)

    def _network(self) -> EndToEnd:
        opened = self.pipeline
        readers = {stream: copy.deepcopy(reader) for stream, reader in opened.networks.readers.items()}
        head, steps = copy.deepcopy(opened.trained.head), opened.settings.num_steps
        network = EndToEnd(readers, head, opened.layers, num_steps=steps)
        network.to(self.device)
        for reader in network.readers.values():
            reader.requires_grad_(True).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return network

    def _learner(self, network: EndToEnd, videos: list[Video], cache: ClipCache) -> tuple[Learner, VideoSamples]:
        keys = DropoutKeys(self.seed)
        for reader in network.readers.values():
            key_dropout(reader, keys, p=self.tuning.dropout)
        network.keys, network.recompute = keys, self.tuning.recompute
        if self.tuning.compile:
            network.run = {stream: torch.compile(reader) for stream, reader in network.readers.items()}
        for part in network.head.modules():  # the loss is that of the parts, where there is one a stream
            if isinstance(part, Head):
                part.label_smoothing = self.training.label_smoothing
        freeze_unused(network)
        held_out: list[Video] = []
        if self.training.validation:
            videos, held_out = part_videos(videos, self.training.validation, seed=self.seed)
        samples = VideoSamples(
            videos,
            cache,
            settings=self.pipeline.settings,
            augmentation=self.tuning.augmentation,
            mirror=self.tuning.mirror,
            seed=self.seed,
        )
        backbones = [p for p in network.readers.parameters() if p.requires_grad]
        own = [p for p in network.head.parameters() if p.requires_grad]
        labels = np.array([video.label for video in held_out])

        def validate() -> float:
            scores = self._outputs(network, held_out, cache)[self.pipeline.trained.prediction]
            return -float(scores[np.arange(len(labels)), labels].mean())

        learner = Learner(
            network=network,
            loss=lambda outputs, labels: network.head.loss(outputs, labels),
            prediction=lambda outputs: outputs.get("fused", next(iter(outputs.values()))),
            begin=lambda: begin_end_to_end(network, self.tuning.batch_norm),
            groups=[(backbones, 1.0), (own, self.tuning.new_factor)],
            keys=keys,
            validate=validate if held_out else None,
        )
        return learner, samples

    def _outputs(self, network: EndToEnd, videos: list[Video], cache: ClipCache) -> dict[str, NDArray[np.float32]]:
        """Log-probabilities `(len(videos), K)` by output, averaged over views, of the frames extraction would take.

        As from a store: only the backbones run in the extraction's precision, features are rounded to fp16, and the
        head reads them in float32. `avr predict` gives the same.
        """
        settings = self.pipeline.settings
        network.eval()
        rows: dict[str, list[NDArray]] = {}
        bf16 = settings.precision == "bfloat16"
        with torch.no_grad():
            for inputs in fixed_inputs(videos, cache, settings, device=self.device, at_once=1):
                with torch.autocast(self.device.type, torch.bfloat16, enabled=bf16):
                    layers = {stream: network.features(stream, inputs[stream]) for stream in network.layers}
                outputs = network.head({stream: layer.half() for stream, layer in layers.items()})
                for name, scores in outputs.items():
                    mean = torch.softmax(scores.double(), dim=1).mean(0).clamp_min(1e-300)
                    rows.setdefault(name, []).append(torch.log(mean).float().cpu().numpy())
        stacked = {name: np.stack(parts) for name, parts in rows.items()}
        return with_average(stacked, joint=type(network.head).joint)

    def _accuracy(self, network: EndToEnd, videos: list[Video], cache: ClipCache) -> dict[str, dict[str, float]]:
        if not videos:
            return {}
        labels = np.array([video.label for video in videos])
        return {name: measure(scores, labels) for name, scores in self._outputs(network, videos, cache).items()}
