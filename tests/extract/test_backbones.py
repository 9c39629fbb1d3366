"""Backbones against torchvision's own networks, read by forward hooks; weights from files, good and bad."""

import functools
import pickle

import pytest
import torch
from safetensors.torch import save_file

from avr.core import UsageError, WorkError
from avr.extract import LayerReader, Settings, build_backbone, load_networks
from avr.extract.backbones import source_of
from avr.extract.weights import first_convolution, read_state


def hooked(model, module, images, *, taken="output"):
    """What a module gives (or takes), by a hook."""
    found = {}

    def hook(_, inputs, output):
        found["output"], found["input"] = output, inputs[0]

    handle = model.get_submodule(module).register_forward_hook(hook)
    with torch.inference_mode():
        model(images)
    handle.remove()
    return found[taken]


@functools.cache
def cached(name):
    """A network at random, made once: VGG's takes seconds."""
    return build_backbone(name, weights="random")


# Backbone, short layer, the module whose output (or input) it is, shape at 64 pixels.
LAYERS = [
    ("resnet18", "map", "layer4", "output", (512, 2, 2)),
    ("resnet18", "pooled", "fc", "input", (512,)),
    ("vgg16", "conv5_3", "features.29", "output", (512, 4, 4)),
    ("vgg16", "conv4_2", "features.20", "output", (512, 8, 8)),
    ("vgg16", "map", "features", "output", (512, 2, 2)),
    ("vgg16", "fc6", "classifier.1", "output", (4096,)),
    ("squeezenet1_1", "map", "features", "output", (512, 3, 3)),
    ("densenet121", "pooled", "classifier", "input", (1024,)),
    ("efficientnet_b0", "pooled", "classifier.1", "input", (1280,)),
    ("mobilenet_v2", "map", "features", "output", (1280, 2, 2)),
    ("mobilenet_v3_small", "pooled", "classifier.0", "input", (576,)),
    ("convnext_tiny", "pooled", "classifier.2", "input", (768,)),
    ("swin_t", "pooled", "head", "input", (768,)),
    ("regnet_y_400mf", "map", "trunk_output", "output", (440, 2, 2)),
    ("shufflenet_v2_x0_5", "pooled", "fc", "input", (1024,)),
    ("mnasnet0_5", "pooled", "classifier.1", "input", (1280,)),
]


@pytest.mark.parametrize(("name", "layer", "module", "taken", "shape"), LAYERS)
def test_short_names_are_the_layers_they_say(name, layer, module, taken, shape):
    model = cached(name)
    images = torch.randn(2, 3, 64, 64)
    expected = hooked(model, module, images, taken=taken)
    with torch.inference_mode():
        found = LayerReader(model, name, [layer])(images)[layer]
    assert found.shape == (2, *shape)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["inception_v3", "vit_b_16"])
def test_networks_of_one_input_size(name):
    model = build_backbone(name, weights="random")
    side = {"inception_v3": 299, "vit_b_16": 224}[name]
    head = {"inception_v3": "fc", "vit_b_16": "heads.head"}[name]
    images = torch.randn(1, 3, side, side)
    with torch.inference_mode():
        found = LayerReader(model, name, ["pooled"])(images)["pooled"]
    torch.testing.assert_close(found, hooked(model, head, images, taken="input"), rtol=0, atol=0)


@pytest.mark.parametrize("name", ["resnet18", "vgg16", "squeezenet1_1", "mobilenet_v2", "densenet121"])
def test_pooled_is_the_mean_of_the_map(name):
    reader = LayerReader(cached(name), name, ["pooled", "map"])
    with torch.inference_mode():
        found = reader(torch.randn(2, 3, 64, 64))
    # Sums in another order.
    torch.testing.assert_close(found["pooled"], found["map"].mean((2, 3)), rtol=1e-5, atol=1e-5)


def test_conv5_3_is_after_relu_and_before_pooling():
    model = cached("vgg16")
    assert source_of("vgg16").short_layers(model, "vgg16")["conv5_3"] == "features.29"
    assert isinstance(model.features[29], torch.nn.ReLU)
    assert isinstance(model.features[30], torch.nn.MaxPool2d)
    assert model.features[28].weight.shape == (512, 512, 3, 3)


def test_any_node_can_be_read_and_an_unknown_one_lists_them():
    model = build_backbone("resnet18", weights="random")
    assert LayerReader(model, "resnet18", ["layer2.0.relu"])(torch.randn(1, 3, 64, 64))["layer2.0.relu"].shape[1] == 128
    with pytest.raises(
        UsageError, match=r"resnet18 has no layer 'layer9'; short names: map, pooled; nodes: .*layer4.1"
    ):
        LayerReader(model, "resnet18", ["layer9"])
    with pytest.raises(UsageError, match="has no layer 'fc6'"):
        LayerReader(model, "resnet18", ["fc6"])


def test_random_weights_are_those_of_the_seed():
    one, same, other = (build_backbone("squeezenet1_1", weights="random", seed=seed) for seed in (3, 3, 4))
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), same.state_dict().values(), strict=True))
    assert not torch.equal(next(iter(one.parameters())), next(iter(other.parameters())))


@pytest.mark.parametrize("name", ["resnet18", "densenet121", "swin_t"])
def test_the_flow_network_starts_from_the_mean_over_rgb(name):
    rgb = build_backbone(name, weights="random", seed=1)
    flow = build_backbone(name, weights="random", seed=1, in_channels=8)
    path, first = first_convolution(flow)
    expected = rgb.get_submodule(path).weight.mean(1, keepdim=True)
    assert first.weight.shape[1] == 8
    for channel in range(8):
        assert torch.equal(first.weight[:, channel], expected[:, 0])
    rest = {key: value for key, value in rgb.state_dict().items() if key != f"{path}.weight"}
    assert all(torch.equal(value, flow.state_dict()[key]) for key, value in rest.items())


def test_a_reader_trains_the_network_it_reads():
    model = build_backbone("resnet18", weights="random").train()
    reader = LayerReader(model, "resnet18", ["pooled"]).train()
    reader(torch.randn(2, 3, 64, 64))["pooled"].sum().backward()
    assert model.conv1.weight.grad is not None
    assert model.bn1.num_batches_tracked == 1


@pytest.fixture
def trained(tmp_path):
    """A network with a classifier of its own, and its state dict."""
    from torchvision import models

    return models.squeezenet1_1(num_classes=1000).state_dict()


@pytest.mark.parametrize("form", ["pth", "safetensors", "wrapped"])
def test_weights_from_a_file(tmp_path, trained, form):
    path = tmp_path / f"net.{'safetensors' if form == 'safetensors' else 'pth'}"
    if form == "safetensors":
        save_file(trained, path)
    else:
        torch.save(
            {"state_dict": {f"module.{k}": v for k, v in trained.items()}} if form == "wrapped" else trained, path
        )
    model = build_backbone("squeezenet1_1", weights=str(path))
    assert all(torch.equal(value, trained[key]) for key, value in model.state_dict().items())
    flow = build_backbone("squeezenet1_1", weights=str(path), in_channels=20)
    mean = trained["features.0.weight"].mean(1)
    assert torch.equal(flow.state_dict()["features.0.weight"][:, 13], mean)


def test_flow_weights_from_a_file_are_taken_as_they_are(tmp_path):
    state = build_backbone("resnet18", weights="random", in_channels=20, num_classes=5).state_dict()
    save_file(state, tmp_path / "flow.safetensors")
    model = build_backbone("resnet18", weights=str(tmp_path / "flow.safetensors"), in_channels=20)
    assert torch.equal(model.conv1.weight, state["conv1.weight"])
    with pytest.raises(WorkError, match=r"not weights of resnet18 with 3 input channels.*conv1.weight \(shape"):
        build_backbone("resnet18", weights=str(tmp_path / "flow.safetensors"))


def test_another_classifier_still_gives_the_trunk(tmp_path, capsys):
    from torchvision import models

    state = models.resnet18(num_classes=51).state_dict()
    torch.save(state, tmp_path / "hmdb.pth")
    settings = Settings(streams=("rgb",), backbone="resnet18", weights=(str(tmp_path / "hmdb.pth"),))
    networks = load_networks(settings)
    assert capsys.readouterr().err == ""  # nobody reads the classifier here
    build_backbone("resnet18", weights=str(tmp_path / "hmdb.pth"), num_classes=7)
    assert "left out fc.weight, fc.bias" in capsys.readouterr().err
    assert torch.equal(networks.readers["rgb"].state_dict()["graph.conv1.weight"], state["conv1.weight"])
    assert networks.settings.weights == ("rgb=hmdb.pth",)  # the folder is no setting, the content is
    assert networks.files == {"rgb": str(tmp_path / "hmdb.pth")}
    assert len(networks.settings.weights_sha256[0]) == len("rgb=") + 64
    with pytest.raises(WorkError, match=r"has no fc.bias, which layers fc need"):
        load_networks(settings.change(layers=("fc",)))


def test_weights_of_another_network(tmp_path, trained):
    torch.save(trained, tmp_path / "squeezenet.pth")
    with pytest.raises(WorkError, match=r"not weights of resnet18.*tensors do not fit, first conv1.weight \(missing\)"):
        build_backbone("resnet18", weights=str(tmp_path / "squeezenet.pth"))


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
        read_state(tmp_path / "net.pth")


def test_a_torch_file_with_code_is_refused(tmp_path):
    torch.save({"weight": torch.zeros(1), "evil": Evil()}, tmp_path / "net.pth")
    with pytest.raises(WorkError, match="it holds code, not only tensors"):
        read_state(tmp_path / "net.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(WorkError, match="holds no state dict"):
        read_state(tmp_path / "list.pth")


def test_unknown_names_list_the_known_ones():
    with pytest.raises(UsageError, match=r"unknown backbone 'resnet19'.*resnet18"):
        build_backbone("resnet19", weights="random")
    with pytest.raises(UsageError, match="resnet50 has no weights 'IMAGENET'; known: IMAGENET1K_V1, IMAGENET1K_V2"):
        build_backbone("resnet50", weights="IMAGENET")
    with pytest.raises(UsageError, match=r"gone.pth: no such weights file"):
        build_backbone("resnet50", weights="gone.pth")


def test_weights_that_cannot_be_downloaded(tmp_path, monkeypatch):
    def no_network(*_, **__):
        raise OSError("Name or service not known")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", no_network)
    with pytest.raises(
        WorkError, match=r"resnet18 DEFAULT cannot be downloaded .Name or service.*--weights FILE.*random"
    ):
        build_backbone("resnet18")


@pytest.mark.parametrize("name", ["inception_v3", "googlenet"])
def test_a_network_that_started_at_random_reads_the_same_input_when_its_file_is_loaded(tmp_path, name):
    """Inception's own change of normalisation belongs to the network, not to where its weights come from."""
    start = build_backbone(name, weights="random", num_classes=4)
    save_file(start.state_dict(), tmp_path / "own.safetensors")
    again = build_backbone(name, weights=str(tmp_path / "own.safetensors"))
    assert start.transform_input is again.transform_input is True
    assert build_backbone(name, weights="random", in_channels=4).transform_input is False
    images = torch.randn(1, 3, 80, 80)
    with torch.inference_mode():
        ours, theirs = (LayerReader(model, name, ["map"])(images)["map"] for model in (start, again))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
