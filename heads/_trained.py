"""Trained heads on disk: checkpoints, the head of a split as one module, and prediction from features.

A checkpoint is a head's weights in one safetensors file, with everything that is needed to build it again as JSON.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from avr.core import AvrError, UsageError, WorkError, as_json, digest_of, write_whole
from avr.store import find_split, prediction_of

from ._base import Head, build_head, head_class
from ._examples import MemoryExamples
from ._predicting import predict

CHECKPOINT = "checkpoint.safetensors"
METADATA = "avr"  # the key of what a checkpoint says, which safetensors keeps as text
DIGEST = "sha256"  # of tensors and all else that it says


class SeparateHeads(Head):
    """The networks of a single-stream head, one a stream, as one head: outputs by stream, no output "fused"."""

    def __init__(self, heads: Mapping[str, Head]) -> None:
        """Take trained heads by stream; each keeps its own statistics."""
        super().__init__({s: head.shapes[s] for s, head in heads.items()}, next(iter(heads.values())).num_classes)
        self.heads = nn.ModuleDict(heads)

    @property
    def prediction(self) -> str:
        """The only stream, or "multiply", which `predict` adds to several."""
        return prediction_of(self.streams)

    def forward(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Logits `(B, K)` by stream."""
        return {stream: head({stream: features[stream]})[stream] for stream, head in self.heads.items()}

    def attention(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Those of the networks."""
        found = (head.attend({stream: features[stream]}) for stream, head in self.heads.items())  # type: ignore[operator]
        return {name: weights for part in found for name, weights in part.items()}

    def loss(self, outputs: dict[str, Tensor], labels: Tensor) -> Tensor:
        """Sum of the networks' losses: their gradients do not meet."""
        losses = [head.loss({stream: outputs[stream]}, labels) for stream, head in self.heads.items()]  # type: ignore[operator]
        return torch.stack(losses).sum()


@dataclass(frozen=True, repr=False)
class TrainedRun:
    """One split of a run, ready to predict.

    Attributes:
        folder: the split's folder.
        head: in evaluation mode; `SeparateHeads` for single-stream heads.
        metadata: of the (first) checkpoint: head, options, training, shapes, class_names, layers, store, split, seed.
    """

    folder: Path
    head: Head
    metadata: dict[str, Any]

    def __repr__(self) -> str:
        reads = ", ".join(f"{stream}/{layer}" for stream, layer in self.layers.items())
        return f"TrainedRun({self.metadata['head']} on {reads}, {len(self.class_names)} classes; {self.folder})"

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the K classes."""
        return tuple(self.metadata["class_names"])

    @property
    def layers(self) -> dict[str, str]:
        """Stream -> the layer of it that the head reads."""
        return {stream: self.metadata["layers"][stream] for stream in self.head.streams}

    @property
    def prediction(self) -> str:
        """The output that is the run's prediction: "fused", the only stream, or "multiply" of several streams."""
        return self.head.prediction

    def predict(self, features: Mapping[str, NDArray]) -> dict[str, NDArray[np.float32]]:
        """Log-probabilities `(K,)` of one video by output, averaged over its views as probabilities.

        Args:
            features: stream -> `(V, N, D)`, `(V, N, P, D)` or `(V, N, C, H, W)`, as in the store; rounded to fp16 as
                there.

        Raises:
            UsageError: a stream is missing, or has another shape than the head was trained on.
        """
        for stream, shape in self.head.shapes.items():
            if stream not in features:
                raise UsageError(f"the run reads the streams {', '.join(self.head.shapes)}; {stream} is missing")
            if features[stream].shape[1:] != shape:
                raise UsageError(f"{stream} features are {features[stream].shape[1:]} a view, the run reads {shape}")
        arrays = {stream: np.asarray(features[stream], dtype=np.float16) for stream in self.head.shapes}
        views = len(next(iter(arrays.values())))
        device = next(self.head.parameters()).device
        examples = MemoryExamples(arrays, np.array([views]), np.zeros(1, dtype=np.int64), device=device)
        return {name: scores[0] for name, scores in predict(self.head, examples, np.array([0])).items()}


def save_tensors(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Write a network's tensors by name, whole or not at all: a head's checkpoint, a fine-tuned backbone.

    Args:
        path: the file; a head's is `checkpoint.safetensors`.
        tensors: the state of the network; a head's holds its statistics.
        about: what they are, JSON values; of a head "head", "options", "shapes", "class_names" at least.

    Raises:
        WorkError: the file cannot be written, such as on a full disk.
    """
    state = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    told = as_json(about)
    told[DIGEST] = _digest(state, told)
    with write_whole(path) as temporary:
        save_file(state, temporary, metadata={METADATA: json.dumps(told)})  # of one entry: several come in any order


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors, on the CPU, and what is said of them, of a file of `save_tensors`; older ones have no digest.

    Raises:
        SafetensorError, KeyError, ValueError, OSError: it is none, or was changed since.
    """
    with safe_open(path, framework="pt") as file:
        about = json.loads((file.metadata() or {})[METADATA])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no dict)
    if not isinstance(about, dict):
        raise ValueError("it says nothing of itself")
    digest = about.pop(DIGEST, "")
    if digest and digest != _digest(tensors, about):
        raise ValueError("its bytes do not hash to what it says")
    return tensors, about


def _digest(tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(digest_of(about).encode())
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def load_checkpoint(path: Path) -> tuple[Head, dict[str, Any]]:
    """Build the head of a checkpoint, in evaluation mode on the CPU, and give its metadata.

    Raises:
        UsageError: no such file.
        WorkError: damaged, or not written by avr; names the file.
    """
    if not path.is_file():
        raise UsageError(f"no checkpoint at {path}")
    try:
        tensors, metadata = read_tensors(path)
        shapes = {stream: tuple(shape) for stream, shape in metadata["shapes"].items()}
        made = head_class(metadata["head"])
        options = {**made.before, **metadata["options"]}
        options = {name: value for name, value in options.items() if name not in made.starting}  # files may be gone
        with torch.random.fork_rng(devices=[]):  # fresh weights are drawn, and at once replaced
            head = build_head(metadata["head"], shapes, len(metadata["class_names"]), options=options)
        wanted = head.state_dict()
        for name in {**wanted, **tensors}:
            if name not in wanted or name not in tensors or wanted[name].shape != tensors[name].shape:
                raise WorkError(
                    f"{path}: its {name} does not fit head {metadata['head']} with the options it names: another "
                    "version of avr wrote it; train it again"
                )
        head.load_state_dict(tensors)
    except (SafetensorError, KeyError, ValueError, RuntimeError, TypeError, AttributeError, OSError) as error:
        if isinstance(error, AvrError):
            raise
        raise WorkError(f"{path} is damaged or not a checkpoint of avr ({error})".replace("\n", " ")) from error
    return head.eval(), metadata


def load_head(folder: Path) -> tuple[Head, dict[str, Any]]:
    """The trained head of a split folder (`runs/…/split-1`), or of one stream's (`runs/…/split-1/rgb`).

    Returns:
        The head, on the CPU in evaluation mode (`SeparateHeads` when the split holds one network a stream), and the
        metadata of its checkpoint, the first one's where there are several; "layers" then names all streams.

    Raises:
        UsageError: no checkpoint there.
        WorkError: a damaged checkpoint.
    """
    folder = Path(folder)
    if (folder / CHECKPOINT).is_file():
        return load_checkpoint(folder / CHECKPOINT)
    found = sorted(folder.glob(f"*/{CHECKPOINT}"))
    if not found:
        raise UsageError(
            f"no checkpoint in {folder}: name the folder of a run's split, such as runs/stfn-shapes-1/split-1"
        )
    loaded = [load_checkpoint(path) for path in found]
    loaded.sort(key=lambda pair: list(pair[1]["streams"]).index(pair[0].streams[0]))
    heads = {head.streams[0]: head for head, _ in loaded}
    layers = {stream: layer for _, metadata in loaded for stream, layer in metadata["layers"].items()}
    shapes = {stream: shape for _, metadata in loaded for stream, shape in metadata["shapes"].items()}
    return SeparateHeads(heads).eval(), {**loaded[0][1], "layers": layers, "shapes": shapes}


def load_run(path: Path, *, split: str | None = None) -> TrainedRun:
    """A trained run, ready to predict: `load_run("runs/stfn-shapes-1").predict(features)`.

    Args:
        path: folder of the run, or of one of its splits.
        split: name of the split; None takes the run's first.

    Raises:
        UsageError: no run there, or no such split in it.
        WorkError: damaged run.json or checkpoint.
    """
    folder = find_split(Path(path), split)
    head, metadata = load_head(folder)
    return TrainedRun(folder, head, metadata)
