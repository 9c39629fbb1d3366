"""torchvision's image networks against their own layers, read by forward hooks."""

import functools

import pytest
import torch
from safetensors.torch import save_file

from avr.core import UsageError, WorkError
from avr.extract import build_backbone, open_backbone
from avr.extract.weights import first_convolution


def read(model, name, layers, images):
    """What a network's reader gives."""
    with torch.inference_mode():
        return open_backbone(name).reader(model, layers).eval()(images)


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
    found = read(model, name, [layer], images)[layer]
    assert found.shape == (2, *shape)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["inception_v3", "vit_b_16"])
def test_networks_of_one_input_size(name):
    model = build_backbone(name, weights="random")
    side = {"inception_v3": 299, "vit_b_16": 224}[name]
    head = {"inception_v3": "fc", "vit_b_16": "heads.head"}[name]
    images = torch.randn(1, 3, side, side)
    found = read(model, name, ["pooled"], images)["pooled"]
    torch.testing.assert_close(found, hooked(model, head, images, taken="input"), rtol=0, atol=0)


@pytest.mark.parametrize("name", ["resnet18", "vgg16", "squeezenet1_1", "mobilenet_v2", "densenet121"])
def test_pooled_is_the_mean_of_the_map(name):
    found = read(cached(name), name, ["pooled", "map"], torch.randn(2, 3, 64, 64))
    # Sums in another order.
    torch.testing.assert_close(found["pooled"], found["map"].mean((2, 3)), rtol=1e-5, atol=1e-5)


def test_conv5_3_is_after_relu_and_before_pooling():
    model = cached("vgg16")
    assert open_backbone("vgg16").reader(model, ["conv5_3"]).nodes == {"conv5_3": ("", "features.29")}
    assert isinstance(model.features[29], torch.nn.ReLU)
    assert isinstance(model.features[30], torch.nn.MaxPool2d)
    assert model.features[28].weight.shape == (512, 512, 3, 3)


def test_any_node_can_be_read_and_an_unknown_one_lists_them():
    model = build_backbone("resnet18", weights="random")
    assert read(model, "resnet18", ["layer2.0.relu"], torch.randn(1, 3, 64, 64))["layer2.0.relu"].shape[1] == 128
    with pytest.raises(
        UsageError, match=r"resnet18 has no layer 'layer9'; short names: map, pooled, tokens; nodes: .*layer4.1"
    ):
        open_backbone("resnet18").reader(model, ["layer9"])
    with pytest.raises(UsageError, match="has no layer 'fc6'"):
        open_backbone("torchvision:resnet18").reader(model, ["fc6"])


def test_random_weights_are_those_of_the_seed():
    one, same, other = (build_backbone("squeezenet1_1", weights="random", seed=seed) for seed in (3, 3, 4))
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), same.state_dict().values(), strict=True))
    assert not torch.equal(next(iter(one.parameters())), next(iter(other.parameters())))


@pytest.mark.parametrize("name", ["resnet18", "densenet121", "swin_t"])
def test_the_flow_network_starts_from_the_mean_over_rgb(name):
    rgb = build_backbone(name, weights="random", seed=1)
    flow = build_backbone(name, weights="random", seed=1, in_channels=8)
    path, started = first_convolution(rgb)
    first, expected = flow.get_submodule(path), started.weight.mean(1, keepdim=True)
    assert first.weight.shape[1] == 8
    for channel in range(8):
        assert torch.equal(first.weight[:, channel], expected[:, 0])
    rest = {key: value for key, value in rgb.state_dict().items() if key != f"{path}.weight"}
    assert all(torch.equal(value, flow.state_dict()[key]) for key, value in rest.items())


def test_a_reader_trains_the_network_it_reads():
    model = build_backbone("resnet18", weights="random").train()
    reader = open_backbone("resnet18").reader(model, ["pooled"]).train()
    reader(torch.randn(2, 3, 64, 64))["pooled"].sum().backward()
    assert model.conv1.weight.grad is not None
    assert model.bn1.num_batches_tracked == 1


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
    ours, theirs = (read(model, name, ["map"], images)["map"] for model in (start, again))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
