"""Fine-tuning a backbone alone: the two-stream ConvNets of the papers, one stream at a time.

backbones/<backbone>-<stream>-<dataset>-<split>-<k>/weights.safetensors   for `avr extract --weights`
                                                    scores.h5             of the test videos, by its own classifier
                                                    state.pt              while it is not finished
                                                    last-good.safetensors where a loss that is not finite stopped it

and the record and the log that every run has (`avr.store.runs`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from avr.core import UsageError, measure, note, quiet
from avr.datasets import Dataset, Video, choose_split
from avr.extract import Settings
from avr.extract.backbones import in_channels, load_networks
from avr.extract.cache import DEFAULT_FOLDER, ClipCache
from avr.heads import Training, head_class
from avr.store import RunRecord, Scores, SplitRecord, Videos, read_record, record_split, score_path, write_scores

from .batchnorm import set_mode
from .distributed import claim_together, join_processes
from .draws import DropoutKeys
from .learner import Economy, Learner
from .loop import LAST_GOOD, Loop
from .networks import SegmentNetwork, build_classifier, classifier_of, redraw, set_dropout
from .parts import fill_cache, part_videos, plain
from .samples import VideoSamples, fixed_inputs
from .tuning import Tuning
from .weights import save_weights

# Train well on small data sets from ImageNet weights: small steps for the trunk, which a new classifier would else undo
# in its first steps, ten times larger ones for the classifier. From random weights lr=1e-3 is better.
DEFAULTS = Training(epochs=20, batch_size=16, optimizer="adamw", lr=1e-4, weight_decay=0.05, schedule="cosine")
# STFN sec. 4.2: SGD, momentum 0.9, batch 32, 1e-3 x 0.1 when the validation error saturates.
PAPER = head_class("linear").paper
TEST_SEGMENTS = 7  # frames or stacks a video that the classifier's own test scores are averaged over


@dataclass(frozen=True)
class BackboneResult:
    """A fine-tuned backbone.

    Attributes:
        folder: what was written.
        weights: the safetensors file.
        history: one row an epoch.
        accuracy: top-1, top-5 and mean class accuracy of the test videos by the network's own classifier.
        losses: of every step.
    """

    folder: Path
    weights: Path
    history: list[dict[str, float]]
    accuracy: dict[str, float]
    losses: list[float]


def finetune_backbone(  # noqa: PLR0913 (the stage's one entry: all it can be told, keyword-only)
    dataset: Dataset,
    *,
    stream: str = "rgb",
    settings: Settings | None = None,
    training: Training = DEFAULTS,
    tuning: Tuning | None = None,
    split: str = "",
    seed: int = 0,
    out: Path | None = None,
    cache: Path | None = None,
    device: str = "auto",
    stop_after: int | None = None,
) -> BackboneResult | None:
    """Fine-tune a backbone on the training videos of a split. An interrupted run, started again, goes on.

    Args:
        dataset: of `avr.datasets.index_dataset`.
        stream: "rgb" or "flow".
        settings: backbone, weights, flow, sizes, as for `avr.extract.extract`; `segments` is TSN's K, drawn one a
            segment (1: the plain two-stream ConvNet). Layers and views are not read.
        training: optimiser, schedule, epochs, batch size over all processes.
        tuning: augmentation, batch norm, dropout, memory.
        split: its name; "" is the first.
        seed: of the new classifier, order, frames, crops, dropout, validation part.
        out: the run's folder; default the next free `backbones/<backbone>-<stream>-<dataset>-<split>-<k>`.
        cache: folder of decoded frames and flow; default `cache/<dataset>`.
        device: "auto", "cpu", "cuda", "cuda:1".
        stop_after: leave after so many steps as if interrupted, and give None.

    Raises:
        UsageError: unknown names, settings that contradict one another, a folder that holds something else.
        WorkError: no video decodes, a loss that is not finite, a full disk.
    """
    tuning = tuning or Tuning()
    if tuning.recompute:
        raise UsageError("recompute is of end-to-end training: use micro-batch to save memory")
    settings = (settings or Settings(segments=1)).change(streams=(stream,), layers=("pooled",))
    chosen = choose_split(dataset, split)
    with join_processes(device) as (processes, place), quiet(not processes.first):
        with quiet():
            filled = load_networks(settings, cuda=place.type == "cuda").settings
        identity = {
            "dataset": dataset.name,
            "split": chosen.name,
            "extraction": {k: v for k, v in filled.to_dict().items() if k not in ("layers", "views")},
            "training": asdict(training),
            "tuning": tuning.identity(),
            "seed": seed,
        }
        prefix = f"backbones/{settings.backbone}-{stream}-{dataset.name}-{chosen.name}"
        folder = claim_together(out, prefix, RunRecord(kind="backbone", identity=identity), processes=processes)
        if read_record(folder).complete:
            note(f"{folder} is finished already: nothing to do")
            return read_result(folder)
        clips = ClipCache(cache or DEFAULT_FOLDER / dataset.name, filled, device=str(place))
        train_videos, test_videos = fill_cache(clips, dataset, chosen, processes)
        job = _Job(dataset, chosen.name, settings, filled, training, tuning, seed, clips, identity)
        learner, samples = job.learner(train_videos, place)
        economy = Economy(tuning.micro_batch, tuning.bf16, tuning.save_every)
        loop = Loop(
            learner, samples, training=training, seed=seed, economy=economy, folder=folder, settings=plain(identity)
        )
        fitted = loop.run(processes, place, stop_after=stop_after)
        if not fitted.finished:
            return None
        if processes.first:
            job.write(folder, learner.network, test_videos, place, fitted.history, fitted.losses)
        processes.wait()
        return read_result(folder)


@dataclass(frozen=True)
class _Job:
    """What one fine-tuning is, settled."""

    dataset: Dataset
    split: str
    asked: Settings
    settings: Settings
    training: Training
    tuning: Tuning
    seed: int
    cache: ClipCache
    identity: Mapping[str, Any]

    @property
    def stream(self) -> str:
        return self.settings.streams[0]

    def learner(self, videos: Sequence[Video], device: torch.device) -> tuple[Learner, VideoSamples]:
        """The network in its first state, and the samples it learns from."""
        keys = DropoutKeys(self.seed)
        model = build_classifier(
            self.settings.backbone,
            len(self.dataset.class_names),
            weights=self.asked.weights_of(self.stream),
            in_channels=in_channels(self.settings, self.stream),
            seed=self.settings.seed,
        )
        if self.seed != self.settings.seed:
            redraw(classifier_of(model), self.seed)
        set_dropout(model, keys, self.tuning.dropout)
        network: Any = SegmentNetwork(model, self.stream, self.settings.num_steps)
        network.to(device, memory_format=torch.channels_last)
        if self.tuning.compile:
            network.run = {self.stream: torch.compile(model)}
        held_out: list[Video] = []
        if self.training.validation:
            videos, held_out = part_videos(videos, self.training.validation, seed=self.seed)
        samples = VideoSamples(
            videos,
            self.cache,
            settings=self.settings,
            augmentation=self.tuning.augmentation,
            mirror=self.tuning.mirror,
            seed=self.seed,
        )
        new = list(classifier_of(model).parameters())
        others = [p for p in model.parameters() if not any(p is own for own in new)]
        stream, smoothing = self.stream, self.training.label_smoothing
        learner = Learner(
            network=network,
            loss=lambda outputs, labels: nn.functional.cross_entropy(
                outputs[stream], labels, label_smoothing=smoothing
            ),
            prediction=lambda outputs: outputs[stream],
            begin=lambda: set_mode(network, self.tuning.batch_norm),
            groups=[(others, 1.0), (new, self.tuning.new_factor)],
            keys=keys,
            validate=(lambda: self._validation_loss(network, held_out, device)) if held_out else None,
            weights_prefix="model.",
        )
        return learner, samples

    def scores(self, network: nn.Module, videos: Sequence[Video], device: torch.device) -> NDArray[np.float32]:
        """Logits `(len(videos), K)` of fixed frames: the mean over `TEST_SEGMENTS` frames or stacks, centre crop."""
        test = self.settings.change(
            plan="segments", view="fixed", views=1, per_segment=1, segments=max(TEST_SEGMENTS, self.settings.segments)
        )
        network.eval()
        steps, network.num_segments = network.num_segments, test.num_steps  # type: ignore[assignment]
        rows = []
        bf16 = self.tuning.bf16 and device.type == "cuda"
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            for inputs in fixed_inputs(videos, self.cache, test, device=device):
                rows.append(network(inputs)[self.stream].float().cpu().numpy())
        network.num_segments = steps  # type: ignore[assignment]
        return np.concatenate(rows) if rows else np.zeros((0, len(self.dataset.class_names)), np.float32)

    def _validation_loss(self, network: nn.Module, videos: Sequence[Video], device: torch.device) -> float:
        logits = torch.from_numpy(self.scores(network, videos, device))
        return float(nn.functional.cross_entropy(logits, torch.tensor([video.label for video in videos])))

    def write(
        self,
        folder: Path,
        network: nn.Module,
        videos: Sequence[Video],
        device: torch.device,
        history: list[dict[str, float]],
        losses: list[float],
    ) -> None:
        """Weights, test scores and the record; then the state is no longer needed."""
        about = {**plain(self.identity), "class_names": self.dataset.class_names, "stream": self.stream}
        model: Any = network.model
        save_weights(folder / "weights.safetensors", model.state_dict(), about)
        accuracy: dict[str, float] = {}
        if videos:
            logits = self.scores(network, videos, device)
            labels = np.array([video.label for video in videos])
            accuracy = measure(logits, labels)
            of_videos, made_by = Videos.of(self.dataset, videos), plain(self.identity)
            outputs = {self.stream: logits}
            scores = Scores.of(of_videos, outputs, split=self.split, head="backbone", provenance=made_by)
            write_scores(score_path(folder), scores)
        results = {self.stream: accuracy} if accuracy else {}
        split = SplitRecord(results, history=history, losses=losses)
        record_split(folder, self.split, split, summary=results)
        for name in ("state.pt", LAST_GOOD):
            (folder / name).unlink(missing_ok=True)


def read_result(folder: Path) -> BackboneResult:
    """The result of a finished fine-tuning, from its folder."""
    (split,) = read_record(folder).splits.values()
    accuracy = next(iter(split.results.values()), {})
    return BackboneResult(folder, folder / "weights.safetensors", split.history, accuracy, split.losses)
