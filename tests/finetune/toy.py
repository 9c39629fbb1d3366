"""A small training for the loop's tests: noise images whose class is a bar's place, drawn anew each epoch. Run as a
script it trains under whatever started it (python, torchrun) and writes the losses it saw."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from avr.finetune.batchnorm import set_mode
from avr.finetune.distributed import join_processes
from avr.finetune.draws import DropoutKeys, generator_for, key_dropout
from avr.finetune.learner import Economy, Learner
from avr.finetune.loop import Loop
from avr.heads import Training

TRAINING = Training(epochs=4, batch_size=5, optimizer="sgd", lr=0.05, schedule="cosine")


class Noise:
    """13 videos of 3 classes: noise of (seed, epoch, video) with a bright column of the class."""

    def __init__(self, count=13, poison=None):
        self.names = [f"class{index % 3}/video{index}" for index in range(count)]
        self.poison = poison

    def read(self, videos, epoch):
        images = []
        for video in videos:
            image = torch.from_numpy(generator_for(5, "noise", epoch, video).standard_normal((1, 8, 8))).float()
            image[:, :, 2 * (video % 3)] += 2
            if (epoch, video) == self.poison:
                image[:] = float("nan")
            images.append(image)
        return torch.stack(images), torch.tensor([video % 3 for video in videos])

    def prepare(self, raw, device):
        return raw[0].to(device), raw[1].to(device)


class Net(nn.Module):
    def __init__(self, batch_norm):
        super().__init__()
        norm = nn.BatchNorm2d(6) if batch_norm else nn.Identity()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 6, 3), norm, nn.ReLU(), nn.Dropout(0.4), nn.Flatten(), nn.Dropout(0.2), nn.Linear(216, 3)
        )

    def forward(self, x):
        return {"rgb": self.layers(x)}


def learner(*, batch_norm=False, mode="local", seed=0, validate=None):
    torch.manual_seed(seed)
    network, keys = Net(batch_norm), DropoutKeys(seed)
    key_dropout(network, keys)
    return Learner(
        network=network,
        loss=lambda outputs, labels: nn.functional.cross_entropy(outputs["rgb"], labels),
        prediction=lambda outputs: outputs["rgb"],
        begin=lambda: set_mode(network, mode),
        groups=[(list(network.parameters()), 1.0)],
        keys=keys,
        validate=validate,
    )


def losses(processes, device, *, micro_batch=0, **options):
    loop = Loop(learner(**options), Noise(), training=replace(TRAINING), economy=Economy(micro_batch=micro_batch))
    return loop.run(processes, device).losses


def one_video_a_batch(processes, device):
    """The losses, and the variance that batch norm remembers: it tells how many positions were counted."""
    made = learner(batch_norm=True, mode="sync")
    fitted = Loop(made, Noise(3), training=replace(TRAINING, batch_size=1)).run(processes, device)
    return fitted.losses + made.network.state_dict()["layers.1.running_var"].tolist()


if __name__ == "__main__":
    with join_processes("cpu") as (processes, device):
        found = {
            "plain": losses(processes, device),
            "pieces": losses(processes, device, micro_batch=2),
            "sync": losses(processes, device, batch_norm=True, mode="sync"),
            "one video": one_video_a_batch(processes, device),
            "frozen": losses(processes, device, batch_norm=True, mode="frozen"),
            "local": losses(processes, device, batch_norm=True, mode="local"),
        }
        if processes.first:
            Path(sys.argv[1]).write_text(json.dumps(found))
