"""A small training for the loop's tests: noise images whose class is a bar's place, drawn anew each epoch. Run as a
script it trains as the process that its environment says."""

from dataclasses import replace

import torch
from torch import nn

from avr.finetune import Tuning
from avr.finetune.distributed import join_processes
from avr.finetune.draws import DropoutKeys, generator_for, key_dropout
from avr.finetune.loop import Loop
from avr.finetune.networks import TunedNetwork
from avr.training import Training

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


class Net(TunedNetwork):
    weights_prefix = "layers."

    def __init__(self, batch_norm, seed):
        super().__init__({}, DropoutKeys(seed))
        torch.manual_seed(seed)
        norm = nn.BatchNorm2d(6) if batch_norm else nn.Identity()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 6, 3), norm, nn.ReLU(), nn.Dropout(0.4), nn.Flatten(), nn.Dropout(0.2), nn.Linear(216, 3)
        )
        key_dropout(self, self.keys)

    @property
    def new(self):
        return self.layers[-1]

    def forward(self, x):
        return {"rgb": self.layers(x)}

    def loss(self, outputs, labels):
        return nn.functional.cross_entropy(outputs["rgb"], labels)


def make_loop(folder=None, *, mode="", samples=None, training=TRAINING, seed=0, validate=None, **tuning):
    """`mode`: of batch norm; without one there is none."""
    return Loop(
        Net(bool(mode), seed),
        samples or Noise(),
        training=training,
        tuning=Tuning(batch_norm=mode or "local", new_factor=1.0, **tuning),
        seed=seed,
        validate=validate,
        folder=folder,
        settings={"lr": training.lr},
    )


def losses(processes, **options):
    return make_loop(**options).run(processes).losses


def one_video_a_batch(processes):
    """The losses, and the variance that batch norm remembers: it tells how many positions were counted."""
    loop = make_loop(mode="sync", samples=Noise(3), training=replace(TRAINING, batch_size=1))
    return loop.run(processes).losses + loop.network.state_dict()["layers.1.running_var"].tolist()


def all_losses(processes):
    """Of every kind of training, by name."""
    return {
        "plain": losses(processes),
        "pieces": losses(processes, micro_batch=2),
        "sync": losses(processes, mode="sync"),
        "one video": one_video_a_batch(processes),
        "frozen": losses(processes, mode="frozen"),
        "local": losses(processes, mode="local"),
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    with join_processes("cpu") as processes:
        all_losses(processes)
