"""What training a head costs: seconds an epoch on a store of HMDB51's size, for every head.

    python benchmarks/heads.py                         # this CPU, on 2 % of the videos, scaled up
    python benchmarks/heads.py --device cuda           # a GPU, on all videos, with its idle time
    python benchmarks/heads.py --heads stfn linear --fraction 0.1

The store is synthetic: 3 570 videos, two streams; `pooled` 7 segments × 2048, `map` 12 × 512×7×7. The convolutional
heads read the shapes of their papers, conv5_3 17 × 512×14×14 and conv4_2 24 × 512×28×28: 24 and 86 GB for all videos,
so they are run on a fraction even on a GPU (`--big-fraction`).

The features are in memory (on the GPU where there is one). An epoch is the second of a training of three: all steps,
with the head's own command settings. GPU idle time is 1 - (time in kernels, by torch's profiler, in the third epoch) /
(time of the second epoch, unprofiled).
"""

import argparse
import dataclasses
import platform

import numpy as np
import torch

from avr.core import AvrError, item_names
from avr.heads import MemoryExamples, build_head, head_class, train

VIDEOS, CLASSES = 3570, 51
PAPER_SHAPES = {"pooled": (7, 2048), "map": (12, 512, 7, 7), "conv5_3": (17, 512, 14, 14), "conv4_2": (24, 512, 28, 28)}
# temporal-pyramid samples 24 frames of both streams.
SPECIAL = {"temporal-pyramid": {"rgb": (24, 512, 14, 14), "flow": (24, 512, 28, 28)}}
BIG = {"frame-attention", "temporal-pyramid"}


def shapes_of(name: str) -> dict[str, tuple[int, ...]]:
    """What a head reads of both streams; single-stream heads read one."""
    if name in SPECIAL:
        return SPECIAL[name]
    reads = head_class(name).reads
    streams = ("rgb", "flow") if head_class(name).joint else ("rgb",)
    return {stream: PAPER_SHAPES[reads.get(stream) or reads.get("*") or "pooled"] for stream in streams}


class Clock:
    """Called after each epoch: its seconds, and the kernels' time in the third one."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.ends, self.busy = device, [], float("nan")
        self.profiler = None

    def __call__(self, row: dict[str, float]) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.ends.append(row["seconds"])
        if self.device.type != "cuda":
            return
        if len(self.ends) == 2:
            self.profiler = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA])
            self.profiler.start()
        elif len(self.ends) == 3:
            self.profiler.stop()
            self.busy = sum(event.self_device_time_total for event in self.profiler.key_averages()) / 1e6

    @property
    def epoch(self) -> float:
        """Seconds of the second epoch."""
        return self.ends[1] - self.ends[0]


def measure(name: str, *, device: torch.device, fraction: float) -> tuple[float, float, int, dict]:
    """Seconds an epoch, share of it that the GPU idles, parameters, shapes."""
    shapes = shapes_of(name)
    count = max(int(VIDEOS * fraction), 8)
    random = torch.Generator(device=device).manual_seed(0)
    arrays = {
        stream: torch.randn((count, *shape), generator=random, device=device, dtype=torch.float16)
        for stream, shape in shapes.items()
    }
    labels = np.arange(count) % CLASSES
    examples = MemoryExamples(arrays, np.ones(count), labels, device=device)
    with torch.device(device):
        head = build_head(name, shapes, CLASSES)
    training = dataclasses.replace(
        head_class(name).defaults, epochs=3, min_steps=0, steps=0, validation=0.0, early_stopping=0, schedule="cosine"
    )
    names = np.array([f"v{i}" for i in range(count)])
    clock = Clock(device)
    train(head, examples, np.arange(count), training=training, groups=names, names=names, seed=0, on_epoch=clock)
    parameters = sum(parameter.numel() for parameter in head.parameters())
    return clock.epoch * VIDEOS / count, 1 - clock.busy / clock.epoch, parameters, shapes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--heads", nargs="*", default=item_names("avr.heads"))
    parser.add_argument("--fraction", type=float, help="of the 3 570 videos [default: 0.02 on the CPU, 1 on a GPU]")
    parser.add_argument("--big-fraction", type=float, help="of the convolutional heads [default: 0.003, 0.1]")
    chosen = parser.parse_args()
    device = torch.device(chosen.device)
    cuda = device.type == "cuda"
    fraction = chosen.fraction or (1.0 if cuda else 0.02)
    big = chosen.big_fraction or (0.1 if cuda else 0.003)
    machine = torch.cuda.get_device_name(device) if cuda else f"{platform.processor() or platform.machine()} CPU"
    threads = "" if cuda else f", {torch.get_num_threads()} threads"
    print(f"{machine}{threads}, torch {torch.__version__}; 3 570 videos, scaled up from the share that was run\n")
    print("| head | reads | parameters | share run | s an epoch | GPU idle |")
    print("|---|---|---:|---:|---:|---:|")
    for name in chosen.heads:
        share = big if name in BIG else fraction
        try:
            seconds, idle, parameters, shapes = measure(name, device=device, fraction=share)
        except (AvrError, RuntimeError) as error:
            print(f"| {name} | failed: {str(error).splitlines()[0][:100]} |", flush=True)
            continue
        reads = ", ".join(f"{stream} {'×'.join(map(str, shape))}" for stream, shape in shapes.items())
        idle_text = f"{100 * idle:.0f} %" if cuda else "–"
        cells = [name, reads, f"{parameters / 1e6:.1f} M", f"{share:g}", f"{seconds:.2f}", idle_text]
        print("| " + " | ".join(cells) + " |", flush=True)
        if cuda:
            torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
