"""Frame attention: its wiring step by step, its sizes, and fc6's start."""

import numpy as np
import pytest
import torch

from avr.core import UsageError, WorkError
from avr.heads import build_head, train_run
from avr.heads.frame_attention import HEAD as FrameAttention

SHAPES = {"rgb": (3, 4, 6, 6), "flow": (3, 4, 6, 6)}


def features(shapes, B=2):
    return {stream: torch.randn(B, *shape) for stream, shape in shapes.items()}


def test_wiring_is_the_papers_two_branches_and_a_third_lstm():
    """Eq. 1-2 and 7-12, from the head's own layers, one video and one step at a time."""
    head, batch = FrameAttention(SHAPES, 5, fc6_width=7, hidden=8, readout="hidden").eval(), features(SHAPES)
    outputs = head(batch)
    for video in range(2):
        fused = head.fusion([batch[stream][video : video + 1] for stream in ("rgb", "flow")])[0]  # (N, C, H, W)
        x_conv = torch.stack([fused[t].reshape(-1) for t in range(3)])
        pool5 = fused.view(3, 4, 3, 2, 3, 2).amax((3, 5))  # maximum over 2×2 windows
        x_fc = torch.stack([torch.relu(head.fc6(pool5[t].reshape(-1))) for t in range(3)])
        h_conv, _ = head.lstm_conv(x_conv[None])
        h_fc, _ = head.lstm_fc(x_fc[None])
        both = torch.stack([head.join(torch.cat([h_conv[0, t], h_fc[0, t]])) for t in range(3)])
        states, _ = head.lstm_joined(both[None])
        torch.testing.assert_close(outputs["fused"][video], states[0, -1, :5], rtol=1e-5, atol=1e-5)
    assert outputs["fused"].abs().max() < 1  # a hidden state: why the paper's readout caps confidence


def test_sizes_are_the_papers():
    with torch.device("meta"):
        head = FrameAttention({"rgb": (17, 512, 14, 14), "flow": (17, 512, 14, 14)}, 101)
    assert tuple(head.fusion.convolution.weight.shape) == (512, 1024, 3, 3, 3)
    assert tuple(head.fc6.weight.shape) == (4096, 512 * 7 * 7)
    assert head.lstm_conv.input_weight.shape == (4 * 101, 512 * 14 * 14)
    assert (head.lstm_fc.hidden_size, head.lstm_joined.hidden_size) == (101, 101)
    assert (head.fc6_dropout.p, head.lstm_dropout.p) == (0.5, 0.25)


@pytest.mark.parametrize(
    ("shapes", "options", "fc6_inputs"),
    [
        ({"rgb": (2, 8, 13, 13), "flow": (2, 8, 13, 13)}, {}, 8 * 6 * 6),
        ({"rgb": (2, 8, 7, 7)}, {}, 8 * 3 * 3),
        ({"rgb": (2, 8, 7, 7), "flow": (2, 6, 14, 14), "pose": (2, 8, 1, 1)}, {}, 8),
        ({"rgb": (2, 8, 13, 13), "flow": (2, 8, 13, 13)}, {"reduce": 4, "size": 5}, 4 * 2 * 2),
    ],
    ids=["13×13", "one stream", "unequal streams", "reduced"],
)
def test_other_maps_work_too(shapes, options, fc6_inputs):
    head = FrameAttention(shapes, 3, fc6_width=6, hidden=9, **options)
    assert head.fc6.in_features == fc6_inputs
    outputs = head(features(shapes))
    assert outputs["fused"].shape == (2, 3)
    head.loss(outputs, torch.tensor([0, 2])).backward()
    without = [name for name, parameter in head.named_parameters() if parameter.grad is None]
    assert without == []


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_fc6_starts_from_a_file_of_vgg16_weights(tmp_path, suffix):
    state = {"classifier.0.weight": torch.randn(7, 4 * 3 * 3), "classifier.0.bias": torch.randn(7)}
    path = tmp_path / f"vgg{suffix}"
    if suffix == ".pth":
        torch.save(state, path)
    else:
        from safetensors.torch import save_file

        save_file(state, path)
    head = FrameAttention(SHAPES, 5, fc6_width=7, fc6_weights=str(path))
    np.testing.assert_array_equal(head.fc6.weight.detach(), state["classifier.0.weight"])
    np.testing.assert_array_equal(head.fc6.bias.detach(), state["classifier.0.bias"])
    with pytest.raises(UsageError, match=r"is \(7, 36\), here it would be \(8, 36\)"):
        FrameAttention(SHAPES, 5, fc6_width=8, fc6_weights=str(path))


def test_fc6_starts_from_torchvisions_weights_by_name(monkeypatch):
    from torchvision.models import VGG16_Weights

    state = {"classifier.0.weight": torch.randn(7, 4 * 3 * 3), "classifier.0.bias": torch.randn(7)}
    monkeypatch.setattr(VGG16_Weights, "get_state_dict", lambda self, **_: state)
    for name in ("DEFAULT", "IMAGENET1K_V1"):
        head = FrameAttention(SHAPES, 5, fc6_width=7, fc6_weights=name)
        assert torch.equal(head.fc6.weight, state["classifier.0.weight"])

    def offline(self, **_):
        raise OSError("no route to host")

    monkeypatch.setattr(VGG16_Weights, "get_state_dict", offline)
    with pytest.raises(WorkError, match=r"cannot be had \(no route to host\): give its file, fc6_weights=vgg16-"):
        FrameAttention(SHAPES, 5, fc6_weights="DEFAULT")


def test_fc6_starts_from_what_the_store_names(make_store, tmp_path):
    store = make_store(tmp_path / "store", backbone="vgg16", weights="vgg.pth")
    named = {"options": {"fc6_weights": "store", "fc6_width": 7}, "streams": ("rgb",), "layers": {"": "map"}}
    with pytest.raises(UsageError, match=r"fc6_weights: no file vgg\.pth; or say DEFAULT"):
        train_run(store, "frame-attention", **named, out=tmp_path / "run")
    nameless = make_store(tmp_path / "nameless")
    with pytest.raises(UsageError, match="fc6_weights=store: the store does not say with which weights its rgb was"):
        train_run(nameless, "frame-attention", **named, out=tmp_path / "run")


def test_bad_requests_are_refused(tmp_path):
    with pytest.raises(UsageError, match="no file"):
        FrameAttention(SHAPES, 5, fc6_weights=str(tmp_path / "none.pth"))
    torch.save({"features.0.weight": torch.zeros(1)}, tmp_path / "trunk.pth")
    with pytest.raises(UsageError, match=r"has no classifier\.0"):
        FrameAttention(SHAPES, 5, fc6_weights=str(tmp_path / "trunk.pth"))
    with pytest.raises(UsageError, match="layer read of flow is pooled"):
        FrameAttention({"rgb": (3, 4, 6, 6), "flow": (3, 4)}, 5)
    with pytest.raises(UsageError, match="lengths differ: rgb 3, flow 4"):
        FrameAttention({"rgb": (3, 4, 6, 6), "flow": (4, 4, 6, 6)}, 5)
    with pytest.raises(UsageError, match=r"hidden must be at least 5 \(or 0\), not 4"):
        FrameAttention(SHAPES, 5, readout="hidden", hidden=4)


@pytest.mark.parametrize("name", ["frame-attention", "temporal-pyramid"])
def test_units_behind_the_classes_are_pressed_down_and_have_no_score(name):
    """The loss is over all 101 units; a trained head scores the first K, and their probabilities sum to one."""
    head, batch = build_head(name, SHAPES, 5, options={"readout": "hidden"}), features(SHAPES)
    head.train()
    outputs = head(batch)
    outputs["fused"].retain_grad()
    loss = head.loss(outputs, torch.tensor([0, 2]))
    loss.backward()
    assert outputs["fused"].shape == (2, 101)
    expected = -torch.log_softmax(outputs["fused"], 1)[[0, 1], [0, 2]].mean()
    torch.testing.assert_close(loss, expected)
    assert (outputs["fused"].grad[:, 5:] > 0).all()  # a step against the gradient lowers them
    assert head.eval()(batch)["fused"].shape == (2, 5)


@pytest.mark.parametrize(
    ("classes", "readout", "units"), [(2, "linear", 32), (2, "hidden", 101), (51, "linear", 51), (120, "hidden", 120)]
)
def test_few_classes_get_more_units_before_a_linear_readout(classes, readout, units):
    shapes = {"rgb": (3, 8, 4, 4), "flow": (3, 8, 4, 4)}
    for name in ("frame-attention", "temporal-pyramid"):
        head = build_head(name, shapes, classes, options={"readout": readout})
        lstm = head.lstm_conv if name == "frame-attention" else head.lstm
        assert lstm.hidden_size == units


def test_a_trained_head_needs_the_file_that_fc6_started_from_no_more(tmp_path):
    from avr.heads import load_checkpoint, save_tensors

    path = tmp_path / "vgg16.pth"
    options = {"fc6_width": 16, "fc6_weights": str(path)}
    torch.save({"classifier.0.weight": torch.randn(16, 8 * 2 * 2), "classifier.0.bias": torch.randn(16)}, path)
    shapes = {"rgb": (3, 8, 4, 4)}
    head = build_head("frame-attention", shapes, 3, options=options).eval()
    about = {
        "head": "frame-attention",
        "options": options,
        "shapes": {"rgb": [3, 8, 4, 4]},
        "class_names": ["a", "b", "c"],
    }
    save_tensors(tmp_path / "checkpoint.safetensors", head.state_dict(), about)
    path.unlink()
    again, metadata = load_checkpoint(tmp_path / "checkpoint.safetensors")
    assert metadata["options"]["fc6_weights"] == str(path)  # where it started is still told
    features = {"rgb": torch.randn(2, 3, 8, 4, 4)}
    assert torch.equal(again(features)["fused"], head(features)["fused"])


@pytest.mark.parametrize("name", ["frame-attention", "temporal-pyramid"])
def test_a_checkpoint_of_other_units_is_refused_in_one_line(tmp_path, name):
    """Before, `readout=hidden` had as many units as there are classes."""
    from avr.heads import load_checkpoint, save_tensors

    shapes, options = {"rgb": (2, 4, 2, 2)}, {"readout": "hidden"} | ({"fc6_width": 4} if name[0] == "f" else {})
    state = build_head(name, shapes, 5, options=options | {"hidden": 5}).state_dict()
    about = {"head": name, "options": options, "shapes": shapes, "class_names": list("abcde")}
    save_tensors(tmp_path / "checkpoint.safetensors", state, about)
    with pytest.raises(WorkError, match=rf"its lstm\S+ does not fit head {name} .*: another version of avr wrote it"):
        load_checkpoint(tmp_path / "checkpoint.safetensors")
