"""The extraction pipeline against its slowest stage alone, its peak memory, and videos a second of the HMDB51 setting.

    python benchmarks/extract.py                                  # dis and ResNet-18: the ratios
    python benchmarks/extract.py --setting clip                   # R3D-18 over clips: the same ratios
    python benchmarks/extract.py --setting hmdb51 --videos 6      # ResNet-50, 10-pair TV-L1, pooled and map
    python benchmarks/extract.py --setting hmdb51 --device cuda --videos 500
    python benchmarks/extract.py --runtime openvino               # the same ratios with the networks run by OpenVINO
    python benchmarks/extract.py --networks resnet18,clip=r3d_18  # networks alone, by torch and by OpenVINO, in turn

The clips are those of `$AVR_TEST_DATA/clips` or `../shared/data/clips` (UCF101, 320 × 240, 76 to 181 frames), taken in
turn until there are as many as asked; without them, drawn ones of that size. A repeat measures every stage alone, with
its input in memory, and then the pipeline, one after the other, so that what else the machine does meets all alike.

On a CPU the stages share the cores, so "alone" has three meanings, and all are printed:
    on one core: the stage alone on one core (two heavy stages on two cores have one each);
    on all cores: the stage alone with all the cores that the pipeline has for all stages together;
    the floor: CPU seconds of all stages alone, added, over the number of cores. No pipeline can be faster.
"""

import argparse
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch

from avr.core import quiet
from avr.datasets import Dataset, Video
from avr.extract import Extractor, Running, Settings, Summary, channels_last, extract, read_streams
from avr.extract.queue import about, choose_shard_videos, open_queue
from avr.extract.running import num_cores
from avr.extract.task import Task
from avr.video import Decoder, decode

BOTH = {"weights": "random", "layers": ("pooled", "map")}
SETTINGS = {
    "resnet18": read_streams(["rgb", "flow"], BOTH | {"backbone": "resnet18"}),
    "hmdb51": read_streams(["rgb", "flow"], BOTH | {"backbone": "resnet50", "flow": "tvl1"}),
    "clip": read_streams(["clip"], {"weights": "random", "backbone": "r3d_18"}),
}
HMDB51_VIDEOS = 6766  # of the whole data set; each split uses 5 100


def clips(count: int, folder: Path) -> Dataset:
    """So many videos: the real clips in turn, or drawn ones."""
    places = (os.environ.get("AVR_TEST_DATA"), Path(__file__).resolve().parents[1] / ".." / "shared" / "data")
    paths = next((sorted(Path(place, "clips").glob("*.avi")) for place in places if place), [])
    if not paths:
        paths = [draw(folder / f"drawn{index}.avi", index) for index in range(6)]
    videos = tuple(Video(f"{index:04d}", paths[index % len(paths)], 0, str(index)) for index in range(count))
    return Dataset("clips", folder, ("all",), videos, {})


def draw(path: Path, seed: int) -> Path:
    """A clip of 120 frames, 320 × 240: a texture that moves."""
    generator = np.random.default_rng(seed)
    texture = cv2.GaussianBlur(generator.integers(0, 256, (480, 640, 3), dtype=np.uint8), (0, 0), 3)
    writer = cv2.VideoWriter(str(path), cv2.CAP_OPENCV_MJPEG, cv2.VideoWriter.fourcc(*"MJPG"), 25, (320, 240))
    for index in range(120):
        writer.write(np.roll(texture, (index, 2 * index), (0, 1))[:240, :320])
    writer.release()
    return path


class Alone:
    """Each stage by itself, on inputs made beforehand."""

    def __init__(self, extractor: Extractor, dataset: Dataset, folder: Path) -> None:
        self.extractor, self.dataset, self.folder = extractor, dataset, folder
        self.decoded = [decode(video, extractor.needs) for video in dataset.videos]
        self.groups = [self.decoded[:1]]
        for decoded in self.decoded[1:]:
            if extractor.fits([*self.groups[-1], decoded]):
                self.groups[-1].append(decoded)
            else:
                self.groups.append([decoded])
        made = [extractor.prepare(group) for group in self.groups]
        self.calls = [(group, call) for group in made for call in extractor.calls(group)]
        self.features = [extractor.features_of(decoded) for decoded in self.decoded]
        self.decoder = Decoder(decode)

    def decode(self) -> None:
        """One child process, as on two cores."""
        for video in self.dataset.videos:
            self.decoder(video, self.extractor.needs)

    def images(self) -> None:
        """As in the pipeline: two groups at a time on a CPU, their pairs on all cores; resized and cropped."""
        with ThreadPoolExecutor(1 if self.extractor.device.type == "cuda" else 2) as pool:
            list(pool.map(self.extractor.prepare, self.groups))

    def network(self) -> None:
        """Calls side by side, a core each."""
        with ThreadPoolExecutor(1 if self.extractor.device.type == "cuda" else num_cores()) as pool:
            list(pool.map(lambda both: self.extractor.forward(*both), self.calls))

    def write(self) -> None:
        """Into a new store."""
        networks = self.extractor.networks
        task = Task(self.dataset, Path(), {}, Running(shard_videos=choose_shard_videos(networks)), {}, Path())
        by_id = dict(zip((video.id for video in self.dataset.videos), self.features, strict=True))
        with (
            tempfile.TemporaryDirectory(dir=self.folder) as place,
            open_queue(replace(task, store=Path(place) / "store"), about(self.extractor)) as queue,
        ):
            while shards := queue.claim_next():
                for stream, shard in shards.items():
                    for video in shard.video_ids:
                        own = {name: rows for name, rows in by_id[video].items() if name.startswith(f"{stream}/")}
                        shard.add(video, own, frames=1)
                    shard.finish()


def cpu_seconds() -> float:
    """CPU time of this process and of its children that have ended."""
    return sum(part for part in os.times()[:4])


def measured(work: Callable[[], object], *, cores: int | None = None) -> tuple[float, float]:
    """Wall and CPU seconds of some work, on so many of the cores."""
    all_cores = os.sched_getaffinity(0)
    if cores:
        os.sched_setaffinity(0, sorted(all_cores)[:cores])
    wall, cpu = time.perf_counter(), cpu_seconds()
    try:
        work()
        return time.perf_counter() - wall, cpu_seconds() - cpu
    finally:
        os.sched_setaffinity(0, all_cores)


def table(header: list[str], rows: list[list[str]]) -> None:
    """Print Markdown."""
    print("| " + " | ".join(header) + " |")
    print("|" + "---|" * len(header))
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print()


def spread(values: list[float], form: str = "{:.2f}") -> str:
    """Median and range."""
    return " ".join(form.format(v) for v in (statistics.median(values),)) + (
        f" ({form.format(min(values))}–{form.format(max(values))})"
    )


def compare(streams: dict[str, Settings], running: Running, dataset: Dataset, repeats: int, folder: Path) -> None:
    """Every stage alone and the pipeline, in turn; prints the tables."""
    extractor = Extractor(streams, running=running)
    if extractor.device.type == "cpu":
        torch.set_num_threads(1)
    alone = Alone(extractor, dataset, folder)
    names = ["decode", "images", "network", "write"]
    one, every, cpu = ({name: [] for name in names} for _ in range(3))
    summaries: list[Summary] = []
    whole, whole_cpu, ratios = [], [], {"one core": [], "all cores": [], "the floor": []}
    cores = num_cores()
    for repeat in range(repeats):
        for name in names:
            wall, _ = measured(getattr(alone, name), cores=1)
            one[name].append(wall)
            wall, used = measured(getattr(alone, name))
            every[name].append(wall)
            # A decoding child lives on: its CPU time is its wall time, one video at a time.
            cpu[name].append(wall if name == "decode" else used)
        out = folder / f"run{repeat}"
        with quiet():
            _, used = measured(
                lambda out=out: summaries.append(extract(dataset, out, streams=streams, running=running))
            )
        summary = summaries[-1]
        whole.append(summary.seconds)
        whole_cpu.append(used)
        ratios["one core"].append(max(one[name][-1] for name in names) / whole[-1])
        ratios["all cores"].append(max(every[name][-1] for name in names) / whole[-1])
        ratios["the floor"].append(sum(cpu[name][-1] for name in names) / cores / whole[-1])
    alone.decoder.close()
    count = len(dataset.videos)
    rows = [
        [name, *(spread([1000 * v / count for v in of[name]], "{:.0f}") for of in (one, every, cpu))] for name in names
    ]
    # Its CPU time holds what comes once a run, too: building the networks, starting the decoder.
    rows.append(["**pipeline**", "", *(spread([1000 * v / count for v in of], "{:.0f}") for of in (whole, whole_cpu))])
    table(["stage alone, ms a video", "on one core", f"on all {cores}", "CPU time"], rows)
    table(
        ["pipeline's rate over", "median (range)"],
        [[f"the slowest stage alone, {name}" if "core" in name else name, spread(v)] for name, v in ratios.items()],
    )
    print("busy in the last run: " + ", ".join(f"{n} {100 * s:.0f} %" for n, s in summary.busy.items()))
    print(f"bottleneck: {summary.bottleneck}\n")


def runtimes(names: list[str], repeats: int) -> None:
    """A call of each network as on a CPU, 8 images or a clip on one thread: CPU time by torch and by OpenVINO."""
    torch.set_num_threads(1)
    rows = []
    for name in names:
        kind, _, backbone = name.rpartition("=")
        asked = Settings(kind=kind or "rgb", backbone=backbone, weights="random")
        by = {
            runtime: Extractor({"own": asked.change(runtime=runtime)}, running=Running(device="cpu"))
            for runtime in ("torch", "openvino")
        }
        shape = by["torch"].streams["own"].input_shape
        images = channels_last(torch.rand(by["torch"].call_size("own"), *shape))
        taken: dict[str, list[float]] = {runtime: [] for runtime in by}
        found = {}
        for repeat in range(repeats + 1):
            for runtime, extractor in by.items():
                with torch.inference_mode():
                    before = time.process_time()
                    found[runtime] = extractor.readers["own"](images)["pooled"]
                if repeat:  # the first call makes buffers
                    taken[runtime].append(1000 * (time.process_time() - before))
        ratios = [own / other for own, other in zip(taken["torch"], taken["openvino"], strict=True)]
        off = (found["openvino"] - found["torch"]).abs().max() / found["torch"].abs().max()
        rows.append([name, *(spread(taken[runtime], "{:.0f}") for runtime in by), spread(ratios), f"{float(off):.0e}"])
    table(["network", "torch, CPU ms a call", "OpenVINO", "ratio", "largest difference, relative"], rows)


def decoder_peak(streams: dict[str, Settings], dataset: Dataset) -> float:
    """Peak memory of a decoding child that has decoded every clip, MB (Linux)."""
    needs = Extractor(streams).needs
    with Decoder(decode) as decoder:
        for video in dataset.videos[:6]:
            decoder(video, needs)
        (pid,) = decoder.pids
        status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def rate(streams: dict[str, Settings], running: Running, dataset: Dataset, folder: Path) -> None:
    """Videos a second of one setting, after a warm-up on the first few videos."""
    with quiet():
        few = replace(dataset, videos=dataset.videos[: min(8, len(dataset.videos))])
        extract(few, folder / "warm-up", streams=streams, running=running)
        summary = extract(dataset, folder / "run", streams=streams, running=running)
    speed = summary.extracted / summary.seconds
    shares = ", ".join(f"{name} {100 * share:.0f} %" for name, share in summary.busy.items())
    table(
        ["videos", "videos/s", f"HMDB51 ({HMDB51_VIDEOS} videos), minutes", "busy"],
        [[str(summary.extracted), f"{speed:.3g}", f"{HMDB51_VIDEOS / speed / 60:.1f}", shares]],
    )


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--setting", choices=SETTINGS, default="resnet18")
    parser.add_argument("--videos", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--runtime", choices=("torch", "openvino"), default="torch")
    parser.add_argument("--networks", default="", help="these alone, by both runtimes: NAME or clip=NAME, with commas")
    parser.add_argument("--only-rate", action="store_true", help="no stage alone; the rate of one run")
    options = parser.parse_args()
    running = Running(device=options.device, compile=options.compile)
    if options.networks:
        runtimes(options.networks.split(","), options.repeats)
        return
    streams = {name: own.change(runtime=options.runtime) for name, own in SETTINGS[options.setting].items()}
    told = "; ".join(f"{name}: {one.backbone}, {', '.join(one.layers)}" for name, one in streams.items())
    print(f"{platform.machine()}, {num_cores()} cores, load {os.getloadavg()[0]:.1f}, {options.device}; ", end="")
    print(f"{options.setting}: {told}; {options.videos} videos, {options.repeats} repeats\n")
    with tempfile.TemporaryDirectory() as folder:
        dataset = clips(options.videos, Path(folder))
        if options.setting != "hmdb51" and not options.only_rate:
            compare(streams, running, dataset, options.repeats, Path(folder))
            # In a process of its own: this one holds the inputs of every stage.
            subprocess.run([sys.executable, __file__, "--only-rate", *sys.argv[1:]], check=True)
        else:
            rate(streams, running, dataset, Path(folder))
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(f"peak memory of an extraction: {peak:.0f} MB, and {decoder_peak(streams, dataset):.0f} MB a decoder")


if __name__ == "__main__":
    main()
