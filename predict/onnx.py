"""A trained head, alone or behind its stream's backbone, as an ONNX file for other runtimes, checked in one of them.

Note [torch's older exporter]: it follows one call of the network, in a second; the newer one, of torch.export, takes
minutes for some heads and half a dozen packages. What following one call may get wrong, the check at another number of
rows finds.
"""

import io
import json
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from avr.core import UsageError, WorkError, claim_file, load_extra, message_of, write_whole
from avr.extract import LayerReader, Origin, Stream, open_streams
from avr.heads import Head, SeparateHeads, TrainedRun, load_run
from avr.store import AVERAGE, MULTIPLY

OPSET = 18
ENOUGH = 1e-4  # of a probability: float32 in another order of arithmetic stays far below


@dataclass(frozen=True)
class OnnxFile:
    """An ONNX file that was written.

    Attributes:
        path: the file. Its metadata say class_names, prediction, head, layers (JSON).
        inputs: name to shape, the first being free: features of a stream, (B, N, …) float32 as in the store; or with
            the backbone its cropped images, (B, N, T, C, h, w) float32, 0…255: N steps of T frames, or flow images.
        outputs: names, "<output>_probabilities", (B, K) float32 each.
        prediction: the output that is the run's prediction.
        difference: the largest from torch's probabilities, of random inputs.
    """

    path: Path
    inputs: dict[str, tuple[int, ...]]
    outputs: tuple[str, ...]
    prediction: str
    difference: float


class Exported(nn.Module):
    """Probabilities `(B, K)` by output, of features, or of images where a reader stands before the head."""

    def __init__(self, head: Head, reader: LayerReader | None = None, stream: Stream | None = None) -> None:
        super().__init__()
        self.head, self.reader, self.stream = head, reader, stream

    def forward(self, *arrays: Tensor) -> tuple[Tensor, ...]:
        features = dict(zip(self.head.streams, arrays, strict=True))
        if self.reader is not None and self.stream is not None:
            (images,) = arrays
            read = self.reader(self.stream.network_input(images.flatten(0, 1)))[self.reader.layers[0]]
            features = {self.head.streams[0]: read.unflatten(0, (-1, images.shape[1]))}
        return tuple(self.probabilities(features).values())

    def probabilities(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        """By output; of several networks of one stream each, of their average and product too."""
        logs = {name: torch.log_softmax(scores.float(), dim=1) for name, scores in self.head(features).items()}
        found = {name: log.exp() for name, log in logs.items()}
        if self.head.prediction not in found:
            found |= {
                AVERAGE: torch.stack(list(found.values())).mean(dim=0),
                MULTIPLY: torch.stack(list(logs.values())).mean(dim=0).softmax(dim=1),
            }
        return found


def export_onnx(
    run: Path | str,
    out: Path | str,
    *,
    split: str = "",
    backbone: str = "",
    weights: Iterable[str] = (),
    overwrite: bool = False,
) -> OnnxFile:
    """Write a trained head as an ONNX file, and check it: onnxruntime's probabilities against torch's.

    Args:
        run: folder of a run, or of one of its splits.
        out: the file.
        split: of the run; "" is its first.
        backbone: a stream, whose network is put before the head: of a head that reads it alone, or of one that has a
            network a stream.
        weights: where the backbones' weights lie now, "rgb=FILE", if not where they were.
        overwrite: replace a file that is there.

    Raises:
        UsageError: no such run, split or stream, a head that reads several streams at once behind a backbone, a file
            that is there, onnx or onnxruntime not installed.
        WorkError: the network cannot be written as a graph, or the file gives other probabilities.
    """
    for module in ("onnx", "onnxruntime"):
        load_extra(module, "writing an ONNX file", extra="onnx")
    out = claim_file(Path(out), overwrite=overwrite)
    trained = load_run(Path(run), split=split or None)
    model, inputs = _behind(trained, backbone, weights) if backbone else (Exported(trained.head), trained.head.shapes)
    content, outputs, prediction = _graph(model.eval(), inputs, trained)
    difference = _check(content, model, inputs)
    if not difference <= ENOUGH:
        raise WorkError(f"{run}: as a graph the head gives other probabilities, by {difference:.2g}: it is not written")
    with write_whole(out) as temporary:
        Path(temporary).write_bytes(content)
    return OnnxFile(out, inputs, outputs, prediction, difference)


def _behind(trained: TrainedRun, stream: str, weights: Iterable[str]) -> tuple[Exported, dict[str, tuple[int, ...]]]:
    """The head of a stream behind its backbone."""
    head = trained.head
    if isinstance(head, SeparateHeads) and stream in head.streams:
        head = head.heads[stream]  # type: ignore[assignment]
    if head.streams != (stream,):
        raise UsageError(
            f"{trained.folder}: a backbone goes before a head of its stream alone, and this one reads "
            f"{', '.join(head.streams)}: leave the backbone out, or name the run of another head"
        )
    origin = Origin.of(trained.metadata, trained.folder)
    networks = origin.restore_networks(weights).only([stream])
    made = open_streams(networks.settings)[stream]
    side, steps = made.settings.crop, made.settings.num_steps
    shape = (steps, made.images_a_step, made.image_channels, side, side)
    return Exported(head, networks.readers[stream], made), {stream: shape}


def _graph(
    model: Exported, inputs: dict[str, tuple[int, ...]], trained: TrainedRun
) -> tuple[bytes, tuple[str, ...], str]:
    """The file's content, names of its outputs, and of the one that is the prediction."""
    import onnx

    with torch.no_grad():
        features = {stream: torch.zeros(1, *shape) for stream, shape in model.head.shapes.items()}
        names = tuple(f"{name}_probabilities" for name in model.probabilities(features))
    prediction = f"{model.head.prediction}_probabilities"
    file: Any = io.BytesIO()  # which the older exporter takes, and its types do not say
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what is taken as fixed (only B is not), and of the exporter's age
            torch.onnx.export(
                model,
                tuple(_random(inputs, rows=2).values()),
                file,
                input_names=list(inputs),
                output_names=list(names),
                dynamic_axes={name: {0: "B"} for name in (*inputs, *names)},
                opset_version=OPSET,
                dynamo=False,  # see Note [torch's older exporter]
            )
    except (RuntimeError, ValueError, TypeError) as error:
        raise WorkError(f"{trained.folder}: cannot be written as a graph ({message_of(error)})") from error
    graph = onnx.load_from_string(file.getvalue())
    about = {
        "class_names": json.dumps(trained.class_names),
        "prediction": prediction,
        "head": str(trained.metadata["head"]),
        "layers": json.dumps({stream: trained.layers[stream] for stream in model.head.streams}),
    }
    onnx.helper.set_model_props(graph, about)
    onnx.checker.check_model(graph)
    return graph.SerializeToString(), names, prediction


def _check(content: bytes, model: Exported, inputs: dict[str, tuple[int, ...]]) -> float:
    """The largest difference between the file's and torch's probabilities, of another number of rows than it was made
    of."""
    import onnxruntime

    arrays = _random(inputs, rows=3)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    found = session.run(None, {name: array.numpy() for name, array in arrays.items()})
    with torch.no_grad():
        expected = model(*arrays.values())
    return max(float(np.abs(one - other.numpy()).max()) for one, other in zip(found, expected, strict=True))


def _random(inputs: dict[str, tuple[int, ...]], *, rows: int) -> dict[str, Tensor]:
    """Features, or images of 0…255, which are told by how many sides they have."""
    generator = torch.Generator().manual_seed(rows)
    return {
        name: torch.rand(rows, *shape, generator=generator) * (255 if len(shape) == 5 else 1)
        for name, shape in inputs.items()
    }
