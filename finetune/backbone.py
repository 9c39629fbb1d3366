"""Fine-tuning a backbone alone: the two-stream ConvNets of the papers, one stream at a time.

backbones/<backbone>-<stream>-<dataset>-<split>-<k>/weights.safetensors   for `avr extract --weights`
                                                    scores.h5             of the test videos, by its own classifier
                                                    state.pt              while it is not finished
                                                    last-good.safetensors where a loss that is not finite stopped it

and the record and the log that every run has (`avr.store.runs`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from avr.core import UsageError, name_from, note, quiet
from avr.datasets import Dataset, choose_split
from avr.extract import Settings, lay_out, load_networks, open_streams
from avr.heads import head_class, save_tensors
from avr.store import RunRecord, SplitRecord, read_record, record_split
from avr.training import OnEpoch, Training

from .distributed import claim_together, join_processes
from .draws import DropoutKeys
from .loop import LAST_GOOD, STATE, Fitted
from .networks import SegmentNetwork, build_classifier, classifier_of, redraw, set_dropout, start_flow
from .task import Task
from .tuning import BACKBONE, Tuning, settle_training

# STFN sec. 4.2: SGD, momentum 0.9, batch 32, 1e-3 x 0.1 when the validation error saturates.
PAPER = head_class("linear").paper
TEST_SEGMENTS = 7  # frames or stacks a video that the classifier's own test scores are averaged over


@dataclass(frozen=True)
class BackboneResult:
    """A fine-tuned backbone.

    Attributes:
        weights: the safetensors file.
        history: one row an epoch.
        accuracy: top-1, top-5 and mean class accuracy of the test videos by the network's own classifier.
        losses: of every step.
    """

    folder: Path
    weights: Path
    history: list[dict[str, float]] = field(repr=False)
    accuracy: dict[str, float]
    losses: list[float] = field(repr=False)


def finetune_backbone(  # noqa: PLR0913 (the stage's one entry: all it can be told, keyword-only)
    dataset: Dataset,
    *,
    stream: str = "rgb",
    settings: Settings | None = None,
    training: Training | Mapping[str, object] | None = None,
    paper: bool = False,
    tuning: Tuning | None = None,
    split: str = "",
    seed: int = 0,
    out: Path | None = None,
    cache: Path | None = None,
    device: str = "auto",
    stop_after: int | None = None,
    on_epoch: OnEpoch | None = None,
) -> BackboneResult | None:
    """Fine-tune a backbone on the training videos of a split. An interrupted run, started again, goes on.

    Args:
        dataset: of `avr.datasets.index_dataset`.
        stream: its name, such as "rgb" or "flow".
        settings: its own, by default of the kind it is called by; `segments` is TSN's K, drawn one a segment (1: the
            plain two-stream ConvNet). Layers and views are not read.
        training: changes to the defaults (or the paper's settings), or whole settings; batches are of all processes.
        paper: start from STFN's settings.
        tuning: augmentation, batch norm, dropout, memory.
        split: its name; "" is the first.
        seed: of the new classifier, order, frames, crops, dropout, validation part.
        out: the run's folder; default the next free `backbones/<backbone>-<stream>-<dataset>-<split>-<k>`.
        cache, device: folder of decoded frames and flow, default `cache/<dataset>`; "auto", "cpu", "cuda", "cuda:1".
        stop_after: leave after so many steps as if interrupted, and give None.
        on_epoch: called with each `Epoch` that ends, in the first process; log.csv holds them in any case.

    Raises:
        UsageError: unknown names, settings that contradict one another, a folder that holds something else.
        WorkError: no video decodes, a loss that is not finite, a full disk.
    """
    training, tuning = settle_training(PAPER if paper else BACKBONE, training), tuning or Tuning()
    if tuning.recompute:
        raise UsageError("recompute is of end-to-end training: use micro-batch to save memory")
    settings = (settings or Settings(kind=stream, segments=1)).change(layers=("pooled",))
    chosen = choose_split(dataset, split)
    with join_processes(device) as processes, quiet(not processes.first):
        with quiet():
            filled = load_networks({stream: settings}, cuda=processes.cuda).settings
        task = _BackboneTask(dataset, chosen, filled, training, tuning, seed, cache, processes, on_epoch=on_epoch)
        identity = task.identity()
        prefix = f"backbones/{name_from(filled[stream].backbone)}-{stream}-{dataset.name}-{chosen.name}"
        folder = claim_together(out, prefix, _begun(dataset, settings, identity), processes=processes)
        if read_record(folder).complete:
            note(f"{folder} is finished already: nothing to do")
            return read_result(folder)
        network = task.network(settings)
        fitted = task.fit(network, folder, settings=identity, stop_after=stop_after)
        if not fitted.finished:
            return None
        if processes.first:
            task.write(folder, network, fitted, identity)
        processes.wait()
        return read_result(folder)


def _begun(dataset: Dataset, settings: Settings, identity: dict[str, Any]) -> RunRecord:
    """A run's record, with what whoever repeats it needs beside its identity: where data set and weights are."""
    file = Path(settings.weights)
    weights = str(file.resolve()) if file.is_file() else settings.weights
    store = {"dataset": dataset.name, "index": dataset.found, "weights": weights}
    return RunRecord(kind="backbone", identity=identity, store=store)


class _BackboneTask(Task):
    """A backbone's fine-tuning on one split."""

    def identity(self, **own: Any) -> dict[str, Any]:
        """What a run that goes on must share: the data and the settings that a network reads, too."""
        (settings,) = self.streams.values()
        extraction = {k: v for k, v in settings.to_dict().items() if k not in ("layers", "views")}
        return super().identity(dataset=self.dataset.name, split=self.split.name, extraction=extraction, **own)

    @property
    def prediction(self) -> str:
        return next(iter(self.streams))

    @property
    def tested(self) -> tuple[dict[str, Settings], dict[str, bool], int]:
        """Fixed frames, at least `TEST_SEGMENTS` of them or stacks, centre crop."""
        name, settings = next(iter(self.streams.items()))
        segments = max(TEST_SEGMENTS, settings.segments)
        fixed = settings.change(plan="segments", view="fixed", views=1, per_segment=1, segments=segments)
        return {name: fixed}, {name: self.tuning.bf16 and self.processes.cuda}, 8

    def network(self, asked: Settings) -> SegmentNetwork:
        """The network in its first state: of the backbone, and from the weights, that were asked for."""
        (settings,) = self.streams.values()
        keys, seed = DropoutKeys(self.seed), settings.seed
        model = build_classifier(
            asked.backbone or settings.backbone,
            len(self.dataset.class_names),
            weights=asked.weights,
            in_channels=open_streams(self.streams)[self.prediction].input_shape[0],
            seed=seed,
        )
        if self.seed != seed:
            redraw(classifier_of(model), self.seed)
        if self.tuning.flow_start == "random" and settings.kind == "flow":
            start_flow(model, self.seed)
        set_dropout(model, keys, self.tuning.dropout)
        lay_out(model.to(self.processes.device))
        smoothing = self.training.label_smoothing
        return SegmentNetwork(model, self.prediction, settings.num_steps, keys=keys, label_smoothing=smoothing)

    def write(self, folder: Path, network: SegmentNetwork, fitted: Fitted, identity: Mapping[str, Any]) -> None:
        """Weights, test scores and the record; then the state is no longer needed."""
        about = {**identity, "class_names": self.dataset.class_names, "stream": network.stream}
        save_tensors(folder / "weights.safetensors", network.model.state_dict(), about)
        outputs = self.outputs(network, self.videos[1])
        self.write_scores(folder, outputs, head="backbone", provenance=identity)
        split = SplitRecord(self.accuracies(outputs), history=fitted.history, losses=fitted.losses)
        record_split(folder, self.split.name, split)
        for name in (STATE, LAST_GOOD):
            (folder / name).unlink(missing_ok=True)


def read_result(folder: Path) -> BackboneResult:
    """The result of a finished fine-tuning, from its folder."""
    (split,) = read_record(folder).splits.values()
    accuracy = next(iter(split.results.values()), {})
    return BackboneResult(folder, folder / "weights.safetensors", split.history, accuracy, split.losses)
