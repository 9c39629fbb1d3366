"""Weights from files: whatever layout people's checkpoints have, and what is refused."""

import argparse
import pickle
import runpy
import sys
from collections import OrderedDict

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from avr.core import WorkError
from avr.extract import Settings, build_backbone, load_networks
from avr.extract.weights import read_weights

NETWORK = "squeezenet1_1"


@pytest.fixture
def trained():
    """A network's state dict."""
    from torchvision import models

    return models.squeezenet1_1(num_classes=1000).state_dict()


def under(prefix, state):
    return {prefix + key: value for key, value in state.items()}


# How a file holds a network, and what is said of it.
LAYOUTS = {
    "plain": (lambda state: state, ""),
    "wrapped": (lambda state: {"state_dict": under("module.", state)}, "keys without 'module.'"),
    "tsn": (
        lambda state: {"epoch": 3, "best": torch.tensor(70.0), "state_dict": under("module.base_model.", state)},
        "keys without 'module.base_model.'",
    ),
    "mmaction": (
        lambda state: {"state_dict": {**under("backbone.", state), "cls_head.fc_cls.weight": torch.zeros(5, 512)}},
        "keys without 'backbone.'; left out 1 that the network does not have, first cls_head.fc_cls.weight",
    ),
    "deep": (lambda state: {"run": {"best": {"net": OrderedDict(state)}}}, ""),
    "average": (
        lambda state: {"model": dict(state), "model_ema": state, "lr": 0.1},
        "'model.' is taken, 'model_ema.' would fit as well",
    ),
    "beside": (
        lambda state: {"net": state, "optimizer": {"state": {0: {"step": torch.zeros(1)}}, "groups": [{"lr": 1}]}},
        "",
    ),
    "numpy number": (lambda state: {"state_dict": state, "best_acc1": np.float64(71.2)}, ""),
    "arguments": (lambda state: {"model": state, "args": argparse.Namespace(lr=0.1, device=torch.device("cpu"))}, ""),
    "half": (lambda state: {key: value.half() for key, value in state.items()}, ""),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_whatever_layout_a_file_has(tmp_path, trained, layout, capsys):
    made, said = LAYOUTS[layout]
    path = tmp_path / "net.pth"
    torch.save(made(trained), path)
    model = build_backbone(NETWORK, weights=str(path))
    told = capsys.readouterr().err
    assert told == (f"{path}: {said}\n" if said else "")
    exact = {key: value.half().float() if layout == "half" else value for key, value in trained.items()}
    assert all(torch.equal(value, exact[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("form", ["safetensors", "legacy"])
def test_formats_of_files(tmp_path, trained, form):
    path = tmp_path / "net.pth"
    if form == "safetensors":
        save_file(trained, path)
    else:
        torch.save(under("module.", trained), path, _use_new_zipfile_serialization=False)
    model = build_backbone(NETWORK, weights=str(path))
    assert all(torch.equal(value, trained[key]) for key, value in model.state_dict().items())
    flow = build_backbone(NETWORK, weights=str(path), in_channels=20)
    mean = trained["features.0.weight"].mean(1)
    assert torch.equal(flow.state_dict()["features.0.weight"][:, 13], mean)


def test_a_network_below_another_is_found(tmp_path, trained):
    """A detector's trunk beside a small one: the mapping and prefix under which most fits."""
    other = build_backbone("squeezenet1_0", weights="random").state_dict()
    torch.save({**under("teacher.net.", other), **under("student.net.", trained)}, tmp_path / "net.pth")
    model = build_backbone(NETWORK, weights=str(tmp_path / "net.pth"))
    assert all(torch.equal(value, trained[key]) for key, value in model.state_dict().items())


def test_weights_with_a_nan_are_refused_by_name(tmp_path, trained):
    trained["features.3.squeeze.weight"][0, 0] = torch.nan
    torch.save(trained, tmp_path / "nan.pth")
    with pytest.raises(WorkError, match=r"nan.pth: features.3.squeeze.weight holds a NaN: these weights cannot be us"):
        build_backbone(NETWORK, weights=str(tmp_path / "nan.pth"))


@pytest.mark.parametrize("empty", [{}, {"epoch": 3}, {"a": {"b": {"c": {"d": {"weight": torch.zeros(1)}}}}}])
def test_a_file_without_tensors_is_no_random_start(tmp_path, empty):
    torch.save(empty, tmp_path / "net.pth")
    with pytest.raises(WorkError, match=r"net.pth: holds no tensors"):
        build_backbone(NETWORK, weights=str(tmp_path / "net.pth"))


def test_the_field_s_checkpoints(tmp_path, real_data, monkeypatch):
    """As `make_weights.py` of the field's inputs writes them."""
    script, source = real_data / "field" / "make_weights.py", real_data / "weights" / "squeezenet1_1.pth"
    monkeypatch.setattr(sys, "argv", [str(script), str(source), str(tmp_path)])
    runpy.run_path(str(script))
    expected = build_backbone(NETWORK, weights=str(source)).state_dict()
    for path in sorted(tmp_path.glob("*.pth")):
        if path.stem == "nan":
            with pytest.raises(WorkError, match="holds a NaN"):
                build_backbone(NETWORK, weights=str(path))
            continue
        state = build_backbone(NETWORK, weights=str(path)).state_dict()
        for key, value in state.items():
            if not (path.stem == "classes51" and key.startswith("classifier")):
                torch.testing.assert_close(value, expected[key], rtol=1e-2, atol=1e-2)


def test_flow_weights_from_a_file_are_taken_as_they_are(tmp_path):
    state = build_backbone("resnet18", weights="random", in_channels=20, num_classes=5).state_dict()
    save_file(state, tmp_path / "flow.safetensors")
    model = build_backbone("resnet18", weights=str(tmp_path / "flow.safetensors"), in_channels=20)
    assert torch.equal(model.conv1.weight, state["conv1.weight"])
    with pytest.raises(
        WorkError, match=r"no weights of resnet18; 119 of 122 tensors fit.*missing conv1.weight \(shape"
    ):
        build_backbone("resnet18", weights=str(tmp_path / "flow.safetensors"))


def test_another_classifier_still_gives_the_trunk(tmp_path, capsys):
    from torchvision import models

    state = models.resnet18(num_classes=51).state_dict()
    torch.save(state, tmp_path / "hmdb.pth")
    settings = Settings(kind="rgb", backbone="resnet18", weights=str(tmp_path / "hmdb.pth"))
    networks = load_networks({"rgb": settings})
    assert capsys.readouterr().err == ""  # nobody reads the classifier here
    build_backbone("resnet18", weights=str(tmp_path / "hmdb.pth"), num_classes=7)
    assert "left out fc.weight, fc.bias" in capsys.readouterr().err
    assert torch.equal(networks.readers["rgb"].state_dict()["graph.conv1.weight"], state["conv1.weight"])
    assert networks.settings["rgb"].weights == "hmdb.pth"  # the folder is no setting, the content is
    assert networks.files == {"rgb": str(tmp_path / "hmdb.pth")}
    assert len(networks.settings["rgb"].weights_sha256) == 64
    with pytest.raises(WorkError, match=r"has no fc.bias, which layers fc need"):
        load_networks({"rgb": settings.change(layers=("fc",))})


def test_weights_of_another_network(tmp_path, trained):
    torch.save(trained, tmp_path / "squeezenet.pth")
    with pytest.raises(
        WorkError, match=r"squeezenet.pth: no weights of resnet18; 0 of 122 tensors fit, first missing conv1.weight"
    ):
        build_backbone("resnet18", weights=str(tmp_path / "squeezenet.pth"))
    del trained["features.4.squeeze.weight"]
    torch.save({"state_dict": under("net.", trained)}, tmp_path / "part.pth")
    nearest = r"nearest is 'state_dict.net.', 51 of 52 tensors fit, first missing features.4.squeeze.weight$"
    with pytest.raises(WorkError, match=nearest):
        build_backbone(NETWORK, weights=str(tmp_path / "part.pth"))


class Evil:
    """Runs code when it is unpickled without care."""

    def __reduce__(self):
        return (exec, ("raise SystemExit('code from a file was run')",))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"not weights at all", "no weights that can be read", id="noise"),
        pytest.param(b"", "no weights that can be read", id="empty"),
        pytest.param(pickle.dumps(Evil()), "it holds code, not only tensors", id="plain-pickle"),
    ],
)
def test_files_that_are_no_weights(tmp_path, content, message):
    (tmp_path / "net.pth").write_bytes(content)
    with pytest.raises(WorkError, match=message):
        read_weights(tmp_path / "net.pth")


def test_a_torch_file_with_code_is_refused(tmp_path):
    torch.save({"weight": torch.zeros(1), "evil": Evil()}, tmp_path / "net.pth")
    with pytest.raises(WorkError, match=r"it holds code, not only tensors: it asks for (builtins.)?exec"):
        read_weights(tmp_path / "net.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(WorkError, match="holds no state dict"):
        read_weights(tmp_path / "list.pth")
