"""A network run by OpenVINO on a CPU (`--runtime openvino`, extra `openvino`), in float32.

`openvino.convert_model` is not used: it reports each conversion to its maker. The parts below it, and `import openvino`
itself, send nothing.
"""

import importlib
import warnings
from collections.abc import Callable
from threading import local
from typing import Any

import torch
from torch import Tensor, nn

from avr.core import UsageError, load_extra, message_of

from .backbones import LayerReader

NEAR = 2e-5  # of the largest value: what a converted network may differ by; rounding alone makes some 1e-6


def openvino_reader(
    reader: LayerReader, shape: tuple[int, ...], *, stream: str, calls: int
) -> Callable[[Tensor], dict[str, Tensor]]:
    """A network's layers, computed by OpenVINO.

    A call runs on one thread, and calls of several threads side by side: so sums depend on no number of cores.

    Args:
        reader: on the CPU, in evaluation mode.
        shape: of one input, without the batch.
        stream: whose network it is.
        calls: how many at once.

    Returns:
        Called as the reader is, by any thread: `(B, *shape)` float32 to layers by name.

    Raises:
        UsageError: OpenVINO is not there, or cannot take the network.
    """
    ov = load_extra("openvino", "--runtime openvino")
    try:
        model = _convert(ov, reader, shape)
        # No core of its own for a thread: another process would take the same one.
        how = {"INFERENCE_PRECISION_HINT": "f32", "ENABLE_CPU_PINNING": False}
        threads = {"NUM_STREAMS": calls, "INFERENCE_NUM_THREADS": calls}
        compiled = ov.Core().compile_model(model, "CPU", how | threads)
        own = local()

        def read(images: Tensor) -> dict[str, Tensor]:
            if not hasattr(own, "request"):
                own.request = compiled.create_infer_request()
            found = own.request.infer([images.contiguous().numpy()])
            return {layer: torch.from_numpy(found[place]) for place, layer in enumerate(reader.layers)}

        _compare(reader, read, shape)
    except Exception as error:  # whatever torch, the network or OpenVINO raises of what it does not know
        raise UsageError(
            f"OpenVINO cannot take the network of stream {stream} ({message_of(error)}): leave --runtime out"
        ) from error
    return read


class _Outputs(nn.Module):
    """A reader whose layers come in their order, without names."""

    def __init__(self, reader: LayerReader) -> None:
        super().__init__()
        self.reader = reader

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        found = self.reader(images)
        return tuple(found[layer] for layer in self.reader.layers)


def _convert(ov: Any, reader: LayerReader, shape: tuple[int, ...]) -> Any:
    """An `openvino.Model` of batches of any size."""
    decoders: Any = importlib.import_module("openvino.frontend.pytorch.ts_decoder")
    frontends: Any = importlib.import_module("openvino.frontend")
    jit: Any = torch.jit
    example = torch.zeros(2, *shape)
    # Traced, as OpenVINO itself does: `torch.export` takes 3 to 15 s where this takes a tenth. How another batch would
    # go a trace cannot know: it is tried afterwards. Frozen: a traced module may have no part that is called graph.
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        traced = jit.freeze(jit.trace(_Outputs(reader).eval(), example, check_trace=False))
    decoder = decoders.TorchScriptPythonDecoder(traced, example_input=(example,))
    frontend = frontends.FrontEndManager().load_by_framework("pytorch")
    loaded = frontend.load(decoder)
    (place,) = loaded.get_inputs()
    loaded.set_element_type(place, ov.Type.f32)
    loaded.set_partial_shape(place, ov.PartialShape([-1, *shape]))
    return frontend.convert(loaded)


def _compare(reader: LayerReader, read: Callable[[Tensor], dict[str, Tensor]], shape: tuple[int, ...]) -> None:
    """Raise RuntimeError where a converted network gives anything but the network's own layers."""
    images = torch.randn(1, *shape, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        wanted, found = reader(images), read(images)
    for layer, values in wanted.items():
        same = found[layer].shape == values.shape
        if not same or not (found[layer] - values).abs().max() <= NEAR * values.abs().max():
            raise RuntimeError(f"its {layer} comes out otherwise than torch's")
