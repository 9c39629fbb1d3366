"""Keyed randomness: what depends on what."""

import pytest
import torch
from torch import nn

from avr.finetune.draws import (
    DropoutKeys,
    KeyedDropout,
    KeyedHeadDropout,
    epoch_order,
    generator_for,
    key_dropout,
    seed_for,
    share,
)


def test_an_order_is_a_permutation_of_its_own_for_each_epoch_and_seed():
    assert sorted(epoch_order(0, 0, 50)) == list(range(50))
    assert epoch_order(0, 3, 50) == epoch_order(0, 3, 50)
    assert len({tuple(epoch_order(seed, epoch, 50)) for seed in range(3) for epoch in range(3)}) == 9


def test_purposes_do_not_share_draws():
    assert generator_for(0, "order", 1).random() != generator_for(0, "crop", 1).random()
    assert seed_for(0, "step", 1, 2) != seed_for(0, "step", 2, 1)


@pytest.mark.parametrize(
    ("world", "expected"), [(1, ["abcde"]), (2, ["abc", "de"]), (6, ["a", "b", "c", "d", "e", ""])]
)
def test_shares_are_contiguous_and_complete(world, expected):
    assert ["".join(share("abcde", rank, world)) for rank in range(world)] == expected


def test_a_dropout_mask_belongs_to_its_video_whatever_lies_beside_it():
    keys = DropoutKeys(4)
    layer = KeyedDropout(0.5, keys, 0).train()
    x = torch.ones(6, 40)  # two rows a video
    keys.set(7, [3, 1, 2])
    whole = layer(x)
    keys.set(7, [1, 2])
    assert torch.equal(layer(x[:4]), whole[2:])
    keys.set(8, [1, 2])
    assert not torch.equal(layer(x[:4]), whole[2:])


def test_keyed_dropout_keeps_the_mean_and_does_nothing_in_evaluation():
    layer = KeyedDropout(0.3, DropoutKeys(0), 0).train()
    out = layer(torch.ones(1, 100_000))
    assert out.unique().tolist() == pytest.approx([0, 1 / 0.7])
    assert out.mean() == pytest.approx(1, abs=0.02)  # standard error 0.002
    assert torch.equal(layer.eval()(torch.ones(2, 3)), torch.ones(2, 3))


def test_every_dropout_of_a_network_is_replaced_in_place():
    network = nn.Sequential(nn.Dropout(0.2), nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.7)))
    assert key_dropout(network, DropoutKeys(0)) == 2
    assert [m.p for m in network.modules() if isinstance(m, KeyedDropout)] == [0.2, 0.7]
    assert key_dropout(nn.Sequential(nn.Dropout(0.2)), DropoutKeys(0), p=0.9) == 1


def test_stochastic_depth_drops_rows_by_video_whatever_lies_beside_them():
    from torchvision.ops import StochasticDepth

    keys = DropoutKeys(1)
    network = nn.Sequential(nn.Conv2d(2, 2, 1), StochasticDepth(0.5, "row"), StochasticDepth(0.5, "row"))
    assert key_dropout(network, keys, p=0.9) == 0  # it is no dropout: a classifier may still get its own
    first, second = network[1], network[2]
    assert first.p == 0.5
    x = torch.ones(80, 2, 3, 3)  # two images a video
    keys.set(3, range(40))
    whole = first(x)
    rows = whole.flatten(1)
    assert rows.unique().tolist() == [0, 2]
    assert (rows == rows[:, :1]).all()
    assert not torch.equal(second(x), whole)
    keys.set(3, range(10, 40))
    torch.manual_seed(99)
    assert torch.equal(first(x[:60]), whole[20:])
    assert torch.equal(first.eval()(x), x)


def test_functional_dropout_is_keyed_by_video_too_and_layers_differ():
    keys, x = DropoutKeys(2), torch.ones(3, 50)

    def masks(videos):
        keys.set(1, videos)
        with KeyedHeadDropout(keys, 1000):
            ours = x[: len(videos)]
            return (
                nn.functional.dropout(ours, 0.5, True),
                nn.Dropout(0.5)(ours),
                nn.functional.dropout(ours, 0.5, False),
            )

    first, second, off = masks([5, 6, 7])
    assert not torch.equal(first, second)
    assert torch.equal(off, x)
    alone = masks([6, 7])
    assert torch.equal(alone[0], first[1:])
    assert torch.equal(alone[1], second[1:])
