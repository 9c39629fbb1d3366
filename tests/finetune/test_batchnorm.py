"""Batch norm's modes, against torch's own layer."""

import pytest
import torch
from torch import nn
from torchvision.models import resnet18

from avr.finetune.batchnorm import SyncedBatchNorm, set_mode


@pytest.mark.parametrize(
    ("layer", "shape"), [(nn.BatchNorm2d, (4, 6, 5, 3)), (nn.BatchNorm1d, (7, 6)), (nn.BatchNorm1d, (4, 6, 9))]
)
def test_synced_batch_norm_of_one_process_is_torchs(layer, shape):
    torch.manual_seed(1)
    theirs = layer(6, momentum=0.2).double()
    nn.init.normal_(theirs.weight)
    ours = SyncedBatchNorm(layer(6, momentum=0.2).double())
    ours.load_state_dict(theirs.state_dict())
    inputs = [torch.randn(shape, dtype=torch.float64) * 3 + 5 for _ in range(3)]
    for x in inputs:
        left, right = x.clone().requires_grad_(), x.clone().requires_grad_()
        expected, found = theirs(left), ours(right)
        expected.pow(3).sum().backward()
        found.pow(3).sum().backward()
        torch.testing.assert_close(found, expected)  # float64: 1e-7
        torch.testing.assert_close(right.grad, left.grad)
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value)
    torch.testing.assert_close(ours.eval()(inputs[0]), theirs.eval()(inputs[0]))


@pytest.mark.parametrize(("mode", "learning"), [("local", 20), ("partial", 1), ("frozen", 0), ("sync", 20)])
def test_how_many_of_resnets_layers_keep_learning_statistics(mode, learning):
    network = resnet18(weights=None)
    keys = list(network.state_dict())
    set_mode(network, mode)
    before = {name: value.clone() for name, value in network.state_dict().items() if "running_mean" in name}
    network(torch.randn(2, 3, 32, 32))
    moved = [name for name, value in before.items() if not torch.equal(network.state_dict()[name], value)]
    assert len(before) == 20
    assert len(moved) == learning
    assert mode != "partial" or moved == ["bn1.running_mean"]
    assert list(network.state_dict()) == keys


def test_a_video_that_stands_in_for_none_does_not_count(monkeypatch):
    """Two processes, of which the second has no video of its own: the statistics are those of the first alone."""
    from avr.finetune import batchnorm
    from avr.finetune.batchnorm import count_in

    layers = [set_mode(nn.Sequential(nn.BatchNorm2d(3)), "sync") for _ in range(2)]
    count_in(layers[1], False)
    images = [torch.randn(4, 3, 5, 5), torch.randn(1, 3, 5, 5) + 7]
    alone = nn.BatchNorm2d(3).train()(images[0])
    # What the second adds to every sum, and so to the first's statistics: nothing.
    added = []
    monkeypatch.setattr(batchnorm, "_summed", lambda x: added.append(x) or x)
    layers[1](images[1])
    count, mean, variance = added
    assert float(count) == 0
    assert not mean.any()
    assert not torch.nan_to_num(variance).any()
    monkeypatch.undo()
    torch.testing.assert_close(layers[0](images[0]), alone)
