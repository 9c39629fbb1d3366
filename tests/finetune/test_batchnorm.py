"""Batch norm's modes, against torch's own layer."""

import pytest
import torch
from torch import nn

from avr.finetune import batchnorm
from avr.finetune.batchnorm import SyncedBatchNorm, count_images, set_mode


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


def test_what_stands_in_for_an_empty_part_does_not_count(monkeypatch):
    """Two processes' sums, the second's taken after the first's: its images are normalised with the first's alone."""
    torch.manual_seed(2)
    mine, stand_in = torch.randn(3, 6, 5, 4, dtype=torch.float64) + 2, torch.randn(1, 6, 5, 4, dtype=torch.float64)
    network = nn.Sequential(nn.BatchNorm2d(6).double())
    set_mode(network, "sync")
    sums = []
    monkeypatch.setattr(batchnorm, "_summed", lambda x: sums.append(x) or x)
    network(mine)
    first = list(sums)
    own = []
    monkeypatch.setattr(batchnorm, "_summed", lambda x: own.append(x) or x + first[len(own) - 1])
    count_images(network, counted=False)
    found = network(stand_in)
    assert all(not part.any() for part in own)
    variance, mean = torch.var_mean(mine, (0, 2, 3), correction=0, keepdim=True)
    torch.testing.assert_close(found, (stand_in - mean) / (variance + 1e-5).sqrt())
    count_images(network, counted=True)
    assert network[0].share == 1


@pytest.mark.parametrize(("mode", "learning"), [("local", 20), ("partial", 1), ("frozen", 0), ("sync", 20)])
def test_how_many_of_resnets_layers_keep_learning_statistics(mode, learning):
    from torchvision.models import resnet18

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
