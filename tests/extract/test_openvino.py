"""Networks run by OpenVINO: the layers that torch gives, by batches of any size and by several threads at once."""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from avr.core import UsageError
from avr.extract import Extractor, LayerReader, Origin, Running, Settings, extract, read_streams
from avr.extract.openvino import openvino_reader
from avr.store import FeatureStore

RUNNING = Running(device="cpu", decoders=1)
SMALL = {"backbone": "squeezenet1_1", "weights": "random", "segments": 3, "stack": 2, "resize": 64, "crop": 56}


@pytest.fixture
def telemetry(monkeypatch):
    """Every attempt to report to somebody; nothing is installed that would."""
    pytest.importorskip("openvino")
    reports = []
    main = pytest.importorskip("openvino_telemetry.main")
    monkeypatch.setattr(main.Telemetry, "__init__", lambda *told, **how: reports.append((told, how)))
    return reports


@pytest.mark.parametrize(
    ("backbone", "kind", "layers"),
    [
        ("squeezenet1_1", "flow", ("pooled", "map", "tokens", "features.3")),
        ("timm:test_vit", "rgb", ("pooled", "map", "tokens")),
        ("timm:test_convnext", "rgb", ("pooled", "map")),
        ("mc3_18", "clip", ("pooled", "map", "tokens")),
    ],
)
def test_layers_are_torchs(telemetry, backbone, kind, layers):
    if backbone.startswith("timm"):
        pytest.importorskip("timm")
    asked = Settings(kind=kind, backbone=backbone, weights="random", layers=layers)
    asked = asked.change(**{"flow": {"stack": 2, "crop": 64}, "clip": {"clip_frames": 4, "crop": 64}}.get(kind, {}))
    plain, other = (
        Extractor({"own": asked.change(runtime=runtime)}, running=RUNNING) for runtime in ("torch", "openvino")
    )
    assert other.networks.shapes == plain.networks.shapes
    shape = plain.streams["own"].input_shape
    batches = [torch.randn(count, *shape, generator=torch.Generator().manual_seed(count)) for count in (1, 3, 2, 3)]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(other.readers["own"], batches))
    for images, layered in zip(batches, found, strict=True):
        with torch.inference_mode():
            wanted = plain.readers["own"](images)
        assert list(layered) == list(wanted)
        for layer, values in wanted.items():
            # Float32 in another order: some 1e-6 of the largest value.
            torch.testing.assert_close(layered[layer], values, rtol=0, atol=2e-5 * float(values.abs().max()))
    assert telemetry == []


def test_a_store_says_what_ran_its_networks(dataset, tmp_path):
    pytest.importorskip("openvino")
    streams = read_streams(["rgb,flow"], {**SMALL, "runtime": ["rgb=openvino"]})
    assert [own.runtime for own in streams.values()] == ["openvino", "torch"]
    for name in ("one", "two"):
        extract(dataset, tmp_path / name, streams=streams, running=RUNNING)
    extract(dataset, tmp_path / "torch", streams=read_streams(["rgb"], SMALL), running=RUNNING)
    rows = {}
    for name in ("one", "two", "torch"):
        with FeatureStore(tmp_path / name, streams=["rgb"]) as store:
            rows[name] = torch.from_numpy(store.read_whole("rgb", "pooled"))
            kept = store.provenance["settings"] if name == "one" else None
        if kept:
            assert kept["runtime"] == "openvino"
            assert store.provenance["versions"]["openvino"]
            # What comes after extraction has torch do it, and needs no OpenVINO.
            about = {"streams": {"rgb": kept}, "dataset": "clips", "paths": [str(tmp_path / name)]}
            origin = Origin.of({"store": about, "layers": {"rgb": "pooled"}}, Path())
            assert origin.settings["rgb"] == Settings.from_dict(kept, "rgb").change(runtime="torch")
    assert torch.equal(rows["one"], rows["two"])
    torch.testing.assert_close(rows["one"], rows["torch"], rtol=2**-10, atol=1e-6)  # a step of fp16
    with pytest.raises(UsageError, match=r'other settings: runtime "openvino" → null'):
        extract(dataset, tmp_path / "one", streams=read_streams(["rgb"], SMALL), running=RUNNING)


def test_where_it_cannot_be_it_is_refused(monkeypatch):
    with pytest.raises(UsageError, match="runtime openvino computes in float32"):
        Settings(runtime="openvino", precision="bfloat16")
    asked = read_streams(["rgb"], {**SMALL, "runtime": "openvino"})
    with pytest.raises(UsageError, match="--runtime openvino is for a CPU, and this extraction is told to compile"):
        Extractor(asked, running=Running(device="cpu", compile=True))
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(UsageError, match=r"--runtime openvino needs openvino: pip install 'avr-video\[openvino\]'"):
        Extractor(asked, running=RUNNING)


class Fixed(LayerReader):
    """A network that a trace does not show whole: it does otherwise with more than one image."""

    def forward(self, images):
        return {"pooled": self.graph(images).flatten(1) * (2 if len(images) > 1 else 1)}


def test_a_network_that_comes_out_otherwise_is_refused():
    pytest.importorskip("openvino")
    reader = Fixed(torch.nn.Conv2d(3, 4, 3), ["pooled"]).eval()
    with pytest.raises(UsageError, match=r"cannot take the network of stream own \(its pooled comes out otherwise"):
        openvino_reader(reader, (3, 8, 8), stream="own", calls=1)
