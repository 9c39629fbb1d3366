"""Every claim that avr makes of a GPU, measured within eight minutes on one H200-class machine, from a bare checkout.

    python benchmarks/gpu.py                       # writes gpu.json and gpu.md here
    python benchmarks/gpu.py --out results         # … or there
    python benchmarks/gpu.py --parts tvl1 heads    # some parts
    python benchmarks/gpu.py --device cpu --quick  # a rehearsal: small sizes, no GPU

Nothing needs to be installed but torch, torchvision, OpenCV and what avr itself imports; the checkout's folder may have
any name. Without PyAV the clips are folders of JPEG images. Clips are drawn; where `$AVR_TEST_DATA/clips` lies, TV-L1
is also held against real ones. Each part runs in a process of its own, with a limit of time, and writes each row as
soon as it is measured: a part that fails or hangs costs its own rows.

    machine      copies and matrix products: the rates that the floors are counted with
    tests        tests/test_cuda.py: the same numbers on a GPU as on a CPU
    tvl1         TV-L1 by every backend: endpoint error against the CPU's, pairs a second, share of the floor
    heads        an epoch of every head on a store of HMDB51's size, and the share of it that the GPU idles
    extraction   videos of HMDB51's shape a second, and how busy each stage is
    finetune     images a second of fine-tuning, float32 and bfloat16, and end to end
    ddp          two processes on one GPU: the losses of one process, and the time
"""

import argparse
import dataclasses
import importlib.util
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[1]
# Of HMDB51: videos, those that a split uses, classes, frames of a clip.
HMDB51_VIDEOS, SPLIT_VIDEOS, CLASSES, FRAMES = 6766, 5100, 51, 90


class Report:
    """What one part found: tables of rows, and remarks; in its file after every row."""

    def __init__(self, path: Path) -> None:
        self.path, self.tables, self.remarks = path, {}, []

    def row(self, table: str, **cells: Any) -> None:
        """A row of a table; its columns are those of the table's first row."""
        self.tables.setdefault(table, []).append(cells)
        print("   ", table, cells, flush=True)
        self.write()

    def remark(self, text: str) -> None:
        """A line beside the tables."""
        self.remarks.append(text)
        print("   ", text, flush=True)
        self.write()

    def write(self) -> None:
        """What is known so far."""
        self.path.write_text(json.dumps({"tables": self.tables, "remarks": self.remarks}, indent=1))

    @contextmanager
    def guarded(self, what: str) -> Iterator[None]:
        """What fails inside is told of, and the rest goes on."""
        try:
            yield
        except Exception as error:
            traceback.print_exc()
            lines = str(error).strip().splitlines() or [""]
            self.remark(f"{what} failed: {type(error).__name__}: {lines[0][:200]}")


@dataclasses.dataclass(frozen=True)
class Size:
    """How much of each thing is measured: `Size()` on a GPU, `QUICK` in a rehearsal."""

    device: str = "cuda"
    matrix: int = 8192
    copied: int = 2**30
    videos: int = SPLIT_VIDEOS * 7 // 10  # 3 570 train a head
    maps: float = 0.05  # share of the videos, of heads that read the papers' maps
    pairs: tuple[int, ...] = (32, 128, 512)
    clips: int = 240
    frames: int = FRAMES
    height: int = 240
    segments: int = 7
    backbone: str = "resnet50"
    tuned: int = 96
    repeats: int = 3

    @property
    def cuda(self) -> bool:
        """Whether this is no rehearsal."""
        return self.device != "cpu"

    def wait(self) -> None:
        """Until the GPU has done what it was told."""
        import torch

        if self.cuda:
            torch.cuda.synchronize()

    def seconds(self, work: Callable[[], Any], repeats: int = 0) -> list[float]:
        """Wall seconds of some work, over the repeats, after one that warms up."""
        work()
        taken = []
        for _ in range(repeats or self.repeats):
            self.wait()
            started = time.perf_counter()
            work()
            self.wait()
            taken.append(time.perf_counter() - started)
        return taken


QUICK = Size(
    "cpu",
    256,
    2**20,
    videos=16,
    maps=0.25,
    pairs=(2,),
    clips=4,
    frames=16,
    height=60,
    segments=2,
    backbone="resnet18",
    tuned=8,
    repeats=1,
)


def spread(values: list[float], form: str = "{:.3g}") -> str:
    """Median and range."""
    middle, low, high = (form.format(value) for value in (statistics.median(values), min(values), max(values)))
    return f"{middle} ({low}–{high})"


def machine(report: Report, size: Size) -> None:
    """The rates that floors are counted with."""
    import cv2
    import torch

    if size.cuda:
        about = torch.cuda.get_device_properties(0)
        report.remark(f"{about.name}, {about.total_memory / 2**30:.0f} GiB, {about.multi_processor_count} processors")
    report.remark(
        f"{os.cpu_count()} CPU cores, {platform.machine()}, Python {platform.python_version()}, torch "
        f"{torch.__version__}, OpenCV {cv2.__version__}"
    )
    source = torch.empty(size.copied // 4, device=size.device)
    target = torch.empty_like(source)
    taken = size.seconds(lambda: target.copy_(source), 10)
    report.row("rates", what="copy, bytes read and written", rate=f"{2 * source.nbytes / min(taken) / 1e12:.3g} TB/s")
    side = size.matrix
    for name, kind, tf32 in (
        ("float32", torch.float32, False),
        ("TF32", torch.float32, True),
        ("bfloat16", torch.bfloat16, False),
    ):
        torch.backends.cuda.matmul.allow_tf32 = tf32
        one, other = (torch.randn(side, side, device=size.device, dtype=kind) for _ in range(2))
        taken = size.seconds(lambda one=one, other=other: one @ other, 10)
        rate = 2 * side**3 / statistics.median(taken) / 1e12
        report.row("rates", what=f"matrix product, {name}", rate=f"{rate:.3g} TFLOP/s")


def tests(report: Report, size: Size) -> None:
    """The tests that need a GPU; none may be skipped for want of one."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/test_cuda.py"]
    environment = {**os.environ, "OMP_NUM_THREADS": "4"} | ({"FAIL_WITHOUT_CUDA": "1"} if size.cuda else {})
    done = subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False)
    print(done.stdout[-6000:], done.stderr[-2000:])
    lines = done.stdout.strip().splitlines() or [done.stderr.strip()[-200:]]
    for line in [line for line in lines if line.startswith(("FAILED", "ERROR"))]:
        report.remark(line[:300])
    report.row("tests/test_cuda.py", result=lines[-1].strip("= "))


def textured(height: int, width: int, seed: int) -> Any:
    """A smooth random texture `(height, width)` float32, 0…255, with detail of several sizes."""
    import cv2
    import numpy as np

    generator = np.random.default_rng(seed)
    parts = [cv2.GaussianBlur(generator.standard_normal((height, width)), (0, 0), s) * s for s in (1.5, 4, 12)]
    texture = np.sum(parts, axis=0)
    return ((texture - texture.min()) / np.ptp(texture) * 255).astype(np.float32)


def moving(count: int, seed: int, height: int) -> tuple[Any, Any]:
    """Drawn pairs of 320 × 240: a ground that turns, slides and grows; (count, height, width) uint8 each."""
    import cv2
    import numpy as np

    generator, pairs = np.random.default_rng(seed), []
    for number in range(count):
        ground = textured(340, 420, seed + number)
        turn = cv2.getRotationMatrix2D((210, 170), generator.uniform(-2, 2), generator.uniform(0.98, 1.02))
        turn[:, 2] += generator.uniform(-4, 4, 2)
        moved = cv2.warpAffine(ground, turn, (420, 340), flags=cv2.INTER_CUBIC)
        pairs.append(
            [
                np.clip(image[50:, 50:][:height, : height * 4 // 3], 0, 255).round().astype(np.uint8)
                for image in (ground, moved)
            ]
        )
    first, second = np.array(pairs).swapaxes(0, 1)
    return first, second


def real_pairs() -> tuple[Any, Any] | None:
    """A pair out of the middle of each real clip of 320 × 240, where clips lie."""
    import cv2
    import numpy as np

    folder, pairs = Path(os.environ.get("AVR_TEST_DATA", "")) / "clips", []
    for path in sorted(folder.glob("*.avi")):
        capture, frames = cv2.VideoCapture(str(path)), []
        while (read := capture.read())[0]:
            frames.append(cv2.cvtColor(read[1], cv2.COLOR_BGR2GRAY))
        if frames and frames[0].shape == (240, 320):
            pairs.append(frames[len(frames) // 2 :][:2])
    return tuple(np.array(pairs).swapaxes(0, 1)) if pairs else None


def tvl1(report: Report, size: Size) -> None:
    """Endpoint errors against the CPU's form, then pairs a second."""
    import numpy as np

    from avr.extract.flow import load

    on_cpu = load("tvl1")
    backends = ["triton", "torch"] if size.cuda else ["torch"]
    drawn = moving(max(size.pairs[0] // 4, 2), 0, size.height)
    sets = {"drawn": drawn, "real": real_pairs()}
    for name, pairs in sets.items():
        if pairs is None:
            continue
        wanted = on_cpu(*pairs)
        for backend in backends:
            with report.guarded(f"parity of {backend}, {name}"):
                found = load("tvl1", size.device, backend=backend)(*pairs)
                errors = np.hypot(*(found - wanted).swapaxes(0, 1)).mean((1, 2))
                report.row(
                    "TV-L1 against the CPU's form",
                    backend=backend,
                    pairs=f"{len(wanted)} {name}",
                    motion_px=f"{np.hypot(*wanted.swapaxes(0, 1)).mean():.3g}",
                    mean_endpoint_error_px=f"{errors.mean():.2g}",
                    worst_pair_px=f"{errors.max():.2g}",
                )
    speed_of_flow(report, size, backends, sets["real"] or drawn)


def speed_of_flow(report: Report, size: Size, backends: list[str], pairs: tuple[Any, Any]) -> None:
    """Pairs a second by every backend, in batches on the GPU, and of CPU methods on all cores."""
    import numpy as np
    import torch

    from avr.extract.flow import load

    for backend in backends:
        for count in size.pairs if backend != "torch" else size.pairs[:2]:
            with report.guarded(f"speed of {backend}, {count} pairs"):
                repeats = -(-count // len(pairs[0]))
                first, second = (
                    torch.from_numpy(np.concatenate([side] * repeats)[:count]).to(size.device) for side in pairs
                )
                method = load("tvl1", size.device, backend=backend)
                rates = [count / taken for taken in size.seconds(lambda m=method, a=first, b=second: m.solve(a, b))]
                report.row("TV-L1, pairs a second", backend=backend, at_once=count, rate=spread(rates))
    for name, options in (
        ("tvl1", {"backend": "numba"}),
        ("tvl1", {"backend": "numpy"}),
        ("tvl1", {"backend": "opencv"}),
        ("dis", {}),
        ("farneback", {}),
    ):
        with report.guarded(f"CPU's {name} {options}"):
            method, some = load(name, **options), [side[: 2 * (os.cpu_count() or 1)] for side in pairs]
            rates = [len(some[0]) / taken for taken in size.seconds(lambda m=method, s=some: m(*s))]
            told = f"CPU, {name}, {options.get('backend') or method.backend}"
            report.row("TV-L1, pairs a second", backend=told, at_once=len(some[0]), rate=spread(rates))


PAPER_SHAPES = {"pooled": (7, 2048), "map": (12, 512, 7, 7), "conv5_3": (17, 512, 14, 14), "conv4_2": (24, 512, 28, 28)}
# temporal-pyramid samples 24 frames of both streams.
SPECIAL = {"temporal-pyramid": {"rgb": (24, 512, 14, 14), "flow": (24, 512, 28, 28)}}
LARGE = {"frame-attention", "temporal-pyramid"}  # 24 and 86 GB for all videos


class Clock:
    """Called after each epoch: its seconds, and the kernels' time in the third one."""

    def __init__(self, size: Size) -> None:
        self.size, self.ends, self.busy = size, [], float("nan")

    def __call__(self, row: dict[str, float]) -> None:
        import torch

        self.size.wait()
        self.ends.append(row["seconds"])
        if self.size.cuda and len(self.ends) == 2:
            self.profiler = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA])
            self.profiler.start()
        elif self.size.cuda and len(self.ends) == 3:
            self.profiler.stop()
            self.busy = sum(event.self_device_time_total for event in self.profiler.key_averages()) / 1e6


def heads(report: Report, size: Size) -> None:
    """The second epoch of a training with the command's own settings, features on the GPU."""
    import numpy as np
    import torch

    from avr.core import item_names
    from avr.heads import MemoryExamples, build_head, head_class, train

    def measure(name: str, shapes: dict[str, tuple[int, ...]], share: float) -> None:
        count = int(size.videos * share)
        made = torch.Generator(device=size.device).manual_seed(0)
        arrays = {
            stream: torch.randn((count, *shape), generator=made, device=size.device, dtype=torch.float16)
            for stream, shape in shapes.items()
        }
        examples = MemoryExamples(arrays, np.ones(count), np.arange(count) % CLASSES, device=torch.device(size.device))
        head = build_head(name, shapes, CLASSES)
        training = dataclasses.replace(
            head_class(name).defaults, epochs=3, min_steps=0, steps=0, validation=0.0, early_stopping=0
        )
        names, clock = np.array([f"v{i}" for i in range(count)]), Clock(size)
        train(head, examples, np.arange(count), training=training, groups=names, names=names, seed=0, on_epoch=clock)
        epoch = clock.ends[1] - clock.ends[0]
        report.row(
            "heads, an epoch",
            head=name,
            reads=", ".join(f"{stream} {'×'.join(map(str, shape))}" for stream, shape in shapes.items()),
            parameters=f"{sum(p.numel() for p in head.parameters()) / 1e6:.1f} M",
            videos=count,
            seconds=f"{epoch:.3g}",
            videos_a_second=f"{count / epoch:.3g}",
            gpu_idle=f"{max(0.0, 1 - clock.busy / epoch):.0%}" if size.cuda else "–",
        )

    for name in sorted(item_names("avr.heads"), key=lambda name: name in LARGE):
        with report.guarded(name):
            kind = head_class(name)
            streams = ("rgb", "flow") if kind.joint else ("rgb",)
            reads = {stream: kind.reads.get(stream) or kind.reads.get("*") or "pooled" for stream in streams}
            shapes = SPECIAL.get(name) or {stream: PAPER_SHAPES[layer] for stream, layer in reads.items()}
            measure(name, shapes, size.maps if name in LARGE else 1.0)
        if size.cuda:
            torch.cuda.empty_cache()


def drawn_clips(folder: Path, count: int, frames: int, *, height: int = 240, classes: int = 4) -> Any:
    """A data set of clips, 4:3: MPEG-4 as HMDB51's where PyAV can read it, else folders of JPEG images."""
    import cv2
    import numpy as np

    from avr.datasets import Dataset, RawFrames, Split, Video

    videos, files = [], importlib.util.find_spec("av") is not None
    for number in range(min(count, 30)):
        ground, label = textured(480, 640, number), number % classes
        colours = cv2.applyColorMap(ground.astype(np.uint8), cv2.COLORMAP_TWILIGHT if label % 2 else cv2.COLORMAP_JET)
        path = folder / f"class{label}" / f"clip{number:02d}{'.avi' * files}"
        (path.parent if files else path).mkdir(parents=True, exist_ok=True)
        code = cv2.VideoWriter.fourcc(*"XVID")
        writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, code, 30, (height * 4 // 3, height)) if files else None
        for time_ in range(frames):
            shift = (time_, 2 * time_) if label < 2 else (2 * time_, -time_)
            frame = np.ascontiguousarray(np.roll(colours, shift, (0, 1))[:height, : height * 4 // 3])
            if writer:
                writer.write(frame)
            else:
                cv2.imwrite(str(path / f"img_{time_ + 1:05d}.jpg"), frame)
        if writer:
            writer.release()
        videos.append((path, label))
    kept = tuple(
        Video(f"{n:04d}", path, label, f"g{n}", frames=None if files else RawFrames(frames))
        for n in range(count)
        for path, label in [videos[n % len(videos)]]
    )
    # Lists of the files themselves, for commands.
    lines = [f"{path.relative_to(folder)} {f'{frames} ' * (not files)}{label}\n" for path, label in videos]
    for part, some in {"train": lines[: 3 * len(lines) // 4], "val": lines[3 * len(lines) // 4 :]}.items():
        (folder / f"clips_{part}_split_1.txt").write_text("".join(some))
    ids = tuple(video.id for video in kept)
    split = Split("1", ids[: 3 * count // 4], ids[3 * count // 4 :])
    return Dataset("drawn", folder, tuple(f"class{n}" for n in range(classes)), kept, {"1": split})


def kind_of_clips() -> str:
    """What the drawn clips are here."""
    return "MPEG-4 files" if importlib.util.find_spec("av") else "folders of JPEG images (PyAV is not installed)"


def extraction(report: Report, size: Size) -> None:
    """Videos a second, after a warm-up, of settings from light to the full one of the papers."""
    from avr.extract import Running, extract, read_streams

    base = {"weights": "random", "segments": size.segments}
    both = base | {"layers": ("pooled", "map")}
    settings = {
        "DIS flow, ResNet-18, pooled": read_streams(["rgb", "flow"], base | {"backbone": "resnet18"}),
        f"TV-L1 flow, {size.backbone}, pooled and map": read_streams(
            ["rgb", "flow"], both | {"backbone": size.backbone, "flow": "tvl1"}
        ),
        "clips, r3d_18": read_streams(["clip"], base | {"backbone": "r3d_18"}),
    }
    with tempfile.TemporaryDirectory() as place:
        dataset = drawn_clips(Path(place) / "clips", size.clips, size.frames, height=size.height)
        report.remark(f"extraction: clips of {size.frames} frames, {size.height} lines, {kind_of_clips()}")
        few = dataclasses.replace(dataset, videos=dataset.videos[: max(size.clips // 12, 2)], splits={})
        for name, streams in settings.items():
            with report.guarded(f"extraction, {name}"):
                running = Running(device=size.device)
                whole = dataclasses.replace(dataset, splits={})
                extract(few, Path(place) / f"few-{name[:4]}", streams=streams, running=running)
                summary = extract(whole, Path(place) / f"all-{name[:4]}", streams=streams, running=running)
                rate = summary.extracted / summary.seconds
                report.row(
                    "extraction",
                    setting=name,
                    videos=summary.extracted,
                    videos_a_second=f"{rate:.3g}",
                    hmdb51_minutes=f"{HMDB51_VIDEOS / rate / 60:.1f}",
                    busy=", ".join(f"{stage} {share:.0%}" for stage, share in summary.busy.items()),
                )


def finetune(report: Report, size: Size) -> None:
    """Images a second of an epoch, from decoded clips in the cache on; then end to end."""
    from avr.extract import Running, extract, read_streams
    from avr.finetune import Tuning, finetune_backbone, finetune_end_to_end
    from avr.heads import train_run

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        dataset = drawn_clips(folder / "clips", size.tuned, min(size.frames, 48), height=size.height)
        streams = read_streams(["rgb", "flow"], {"backbone": size.backbone, "weights": "random", "segments": 3})
        training, videos = {"epochs": 4, "batch_size": 32, "lr": 1e-4}, len(dataset.splits["1"].train)

        def row(what: str, precision: str, history: list[dict[str, float]], images: int) -> None:
            ends = [epoch["seconds"] for epoch in history]
            epochs = ends[1:]  # the first one warms up
            report.row(
                "fine-tuning",
                what=what,
                precision=precision,
                images_a_video=images,
                images_a_second=spread([videos * images / seconds for seconds in epochs]),
                loss=" → ".join(f"{epoch['loss']:.3g}" for epoch in (history[0], history[-1])),
            )

        for stream in streams:
            for bf16 in (False, True):
                with report.guarded(f"fine-tuning {stream}, bf16 {bf16}"):
                    result = finetune_backbone(
                        dataset,
                        stream=stream,
                        settings=streams[stream],
                        training=training,
                        tuning=Tuning(bf16=bf16),
                        out=folder / f"{stream}-{bf16}",
                        cache=folder / "cache",
                        device=size.device,
                    )
                    precision = "bfloat16" if bf16 and size.cuda else "float32"
                    row(f"{size.backbone}, {stream}", precision, result.history, 3)
        with report.guarded("end to end"):
            running = Running(device=size.device, cache=str(folder / "cache"))
            extract(dataset, folder / "store", streams=streams, running=running)
            run = train_run(folder / "store", "stfn", out=folder / "run", folds=0, device=size.device)
            told = finetune_end_to_end(
                run.folder,
                training={**training, "batch_size": 16},
                out=folder / "together",
                cache=folder / "cache",
                device=size.device,
            )
            row(f"stfn and two {size.backbone}, end to end", "bfloat16", told.history["1"], 6)


SMALL = ["--backbone", "resnet18", "--weights", "random", "--segments", "2", "--batch-norm", "frozen", "--no-bf16"]


def ddp(report: Report, size: Size) -> None:
    """The same fine-tuning by one process and by two under torchrun, both on this GPU."""
    from avr.store import read_record

    device = "cuda:0" if size.cuda else "cpu"
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        drawn_clips(folder / "clips", 16, 24, height=size.height)
        script = folder / "avr_main.py"
        script.write_text("from avr.cli import main\nmain()\n")
        command = [str(script), "finetune", "backbone", "--dataset", "list", "--root", str(folder / "clips"), *SMALL]
        command += ["--stream", "rgb", "--epochs", "3", "--batch-size", "8", "--device", device]
        launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        found = {}
        for name, start in {"one process": [sys.executable], "two processes": launch}.items():
            started = time.perf_counter()
            out = folder / name.partition(" ")[0]
            done = subprocess.run(
                [*start, *command, "--cache", str(folder / "cache"), "--out", str(out)],
                capture_output=True,
                text=True,
                check=False,
                # By TF32 a convolution of four images and one of eight differ in the fourth digit.
                env={**os.environ, "OMP_NUM_THREADS": "2", "NVIDIA_TF32_OVERRIDE": "0"},
            )
            if done.returncode:
                report.remark(f"ddp, {name} failed: {done.stderr.strip()[-600:]}")
                continue
            record = read_record(out).splits
            (split,) = record.values()
            found[name] = split.losses
            report.row(
                "two processes on one device",
                processes=name,
                steps=len(split.losses),
                seconds_with_start=f"{time.perf_counter() - started:.1f}",
                last_epoch_seconds=f"{split.history[-1]['seconds']:.3g}",
                last_loss=f"{split.losses[-1]:.6f}",
            )
        if len(found) == 2:
            one, two = found.values()
            apart = max(abs(a - b) for a, b in zip(one, two, strict=True))
            report.remark(f"losses of one and of two processes differ by {apart:.2g} at most, over {len(one)} steps")


# In this order: what is short, and what most hangs on, first. Seconds of eight minutes that each may take.
PARTS: dict[str, tuple[Callable[[Report, Size], None], int]] = {
    "machine": (machine, 60),
    "tvl1": (tvl1, 120),
    "heads": (heads, 120),
    "extraction": (extraction, 150),
    "finetune": (finetune, 120),
    "ddp": (ddp, 90),
    "tests": (tests, 180),
}


def run_part(name: str, folder: Path, limit: float, options: argparse.Namespace) -> dict[str, Any]:
    """One part in a process of its own, ended with all its children at the limit; what it found."""
    path = folder / f"{name}.json"
    command = [sys.executable, __file__, "--part", name, "--result", str(path), "--device", options.device]
    started, ended = time.perf_counter(), ""
    child = subprocess.Popen([*command, *(["--quick"] * options.quick)], start_new_session=True)
    try:
        if child.wait(timeout=limit):
            ended = f"{name} ended with {child.returncode}"
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        ended = f"{name} was ended at its limit of {limit:.0f} s"
    found = json.loads(path.read_text()) if path.exists() else {"tables": {}, "remarks": []}
    found["remarks"] += [ended] if ended else []
    return {**found, "seconds": round(time.perf_counter() - started, 1)}


def markdown(results: dict[str, Any], device: str) -> str:
    """All parts as tables."""
    lines = [f"Measured by `python benchmarks/gpu.py --device {device}`.", ""]
    for name, part in results.items():
        lines += [f"**{name}** ({part['seconds']} s)", ""]
        lines += [f"- {remark}" for remark in part["remarks"]] + [""] * bool(part["remarks"])
        for title, rows in part["tables"].items():
            columns = list(rows[0])
            lines += [f"{title}:", "", "| " + " | ".join(column.replace("_", " ") for column in columns) + " |"]
            lines += ["|" + "---|" * len(columns)]
            lines += ["| " + " | ".join(str(row.get(column, "")) for column in columns) + " |" for row in rows] + [""]
    return "\n".join(lines)


def main() -> None:
    """Run the parts one after another, each in a process; or, told so, one part in this one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true", help="small sizes: a rehearsal")
    parser.add_argument("--parts", nargs="*", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--minutes", type=float, default=8.0, help="for all parts together")
    parser.add_argument("--out", type=Path, default=Path())
    parser.add_argument("--part", choices=list(PARTS), help=argparse.SUPPRESS)
    parser.add_argument("--result", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        size = dataclasses.replace(QUICK if options.quick else Size(), device=options.device)
        report = Report(options.result)
        with report.guarded(options.part):
            PARTS[options.part][0](report, size)
        return
    end, results = time.monotonic() + 60 * options.minutes, {}
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        # The checkout is the package: it is found under its name whatever its folder is called.
        (Path(place) / "avr").symlink_to(CHECKOUT, target_is_directory=True)
        os.environ["PYTHONPATH"] = os.pathsep.join([place, *filter(None, [os.environ.get("PYTHONPATH")])])
        for name in options.parts:
            limit = min(PARTS[name][1] * options.minutes / 8, end - time.monotonic())
            if limit < 5:
                results[name] = {"tables": {}, "remarks": ["no time was left for it"], "seconds": 0}
                continue
            print(f"== {name}, {limit:.0f} s at most", flush=True)
            results[name] = run_part(name, Path(place), limit, options)
            (options.out / "gpu.json").write_text(json.dumps(results, indent=1))
            (options.out / "gpu.md").write_text(markdown(results, options.device))
    print(markdown(results, options.device))


if __name__ == "__main__":
    main()
