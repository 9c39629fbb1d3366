"""`extract`: a data set's videos to a store of features, continued where it stopped."""

import math
import platform
import subprocess
import time
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from avr.core import Busy, Progress, WorkError, note, tell, warn
from avr.datasets import Dataset
from avr.store import FeatureStore

from .cache import ClipCache
from .cluster import run_on_ray
from .engines import run_children
from .extractor import Extractor
from .networks import Networks, load_networks
from .settings import Engine, Running, Settings
from .weights import trained_on
from .worker import Step, Task, work

DEFAULT_FOLDER = Path("features")


@dataclass
class Summary:
    """What an extraction did.

    Attributes:
        store: the folder written.
        videos: videos of the data set.
        extracted: videos whose features this run wrote.
        failures: id and reason of the videos that have no features, whichever run found out.
        notes: id and remark of videos that have, such as frames their header promised and that do not decode.
        seconds: wall time from the first video begun to the last one written.
        busy: share of the time that each stage's threads worked.
    """

    store: Path
    videos: int
    extracted: int = 0
    failures: list[tuple[str, str]] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)
    seconds: float = 0.0
    busy: dict[str, float] = field(default_factory=dict)

    @property
    def bottleneck(self) -> str:
        """The stage that was busiest, "" when nothing was left to do."""
        return max(self.busy, key=lambda name: self.busy[name], default="")

    def line(self) -> str:
        """What was done, for a person."""
        there = self.videos - self.extracted - len(self.failures)
        parts = [f"{self.extracted} extracted"] + ([f"{there} were there"] if there else [])
        parts += [f"{len(self.failures)} failed"] if self.failures else []
        rate = f", {self.extracted / self.seconds:.3g} videos/s" if self.extracted else ""
        return f"{self.store}: {self.videos} videos: {', '.join(parts)}{rate}"

    def to_dict(self) -> dict[str, Any]:
        """For `--json`."""
        result = asdict(self) | {"store": str(self.store), "bottleneck": self.bottleneck}
        for name in ("failures", "notes"):
            result[name] = [{"id": video, "reason": reason} for video, reason in result[name]]
        result["videos_per_second"] = self.extracted / self.seconds if self.seconds else None
        return result


def extract(
    dataset: Dataset,
    out: Path | None = None,
    *,
    settings: Settings | None = None,
    running: Running | None = None,
    engine: Engine | None = None,
    strict: bool = False,
) -> Summary:
    """Extract features of every video into a store. An interrupted run, started again, goes on; a second one joins in.

    Args:
        dataset: of `avr.datasets.index_dataset`.
        out: the store's folder; default `features/<dataset>`.
        settings: everything that changes a feature; default ResNet-50 with its default weights, both streams.
        running: device and sizes.
        engine: where the work is done; default this process alone.
        strict: videos without features are an error, once all others are done.

    Raises:
        UsageError: unknown names, or a store begun with other settings (says which differ).
        WorkError: weights that cannot be had, a full disk; with `strict`, failed videos.
    """
    out = DEFAULT_FOLDER / dataset.name if out is None else Path(out)
    settings, running, engine = settings or Settings(), running or Running(), engine or Engine()
    where = engine.where(running)
    extractor = Extractor(settings, running=running) if engine.alone else None
    networks = extractor.networks if extractor else load_networks(settings)
    running = replace(running, shard_videos=running.shard_videos or shard_videos(networks.shapes, networks.settings))
    _say_what(dataset, out, networks, where, cache=extractor.cache if extractor else None)
    task = Task(dataset, out.absolute(), settings, running, made_with(), Path.cwd())
    watch = _Watch(dataset, out, running.shard_videos)
    with watch.progress:
        busy = _run_workers(engine, task, extractor, watch)
    summary = Summary(out, len(dataset.videos), seconds=watch.ended - watch.began)
    with FeatureStore(out) as store:
        summary.failures = [(failure["id"], failure["reason"]) for failure in store.failures]
        summary.notes = [(noted["id"], noted["note"]) for noted in store.notes]
    failed, size = dict(summary.failures), running.shard_videos
    own = (video for number in watch.own for video in dataset.videos[number * size : (number + 1) * size])
    summary.extracted = sum(video.id not in failed for video in own)
    if watch.own:
        summary.busy = shares(busy, summary.seconds)
    for line in tell(summary.notes, label="note: "):
        note(line)
    for line in tell(summary.failures, label="no features: ", most=20):
        warn(line)
    if summary.notes or summary.failures:
        note(f"avr store info {out} tells all of them")
    if strict and summary.failures:
        count = len(summary.failures)
        raise WorkError(f"{count} video{'s' * (count > 1)} without features (listed above); the others are in {out}")
    return summary


def _run_workers(engine: Engine, task: Task, extractor: Extractor | None, watch: "_Watch") -> list[dict[str, Busy]]:
    """Have all shards made where the engine says; gives how long each worker's stages were busy."""
    if engine.alone:
        return [work(task, extractor, on_step=watch)]
    if engine.name == "ray":
        return run_on_ray(task, engine.workers, engine.address, on_step=watch)
    return run_children(task, engine.devices, on_step=watch)


class _Watch:
    """A run as its steps tell it: the bar, and which shards are its own."""

    def __init__(self, dataset: Dataset, out: Path, shard_videos: int) -> None:
        self.own: dict[int, Step] = {}  # how far each shard is that this run's workers claimed
        self.began = self.ended = 0.0
        self.failed = 0
        count, numbers = len(dataset.videos), (path.stem[6:] for path in out.glob("shard-*.h5"))
        there = sum(min(shard_videos, count - int(number) * shard_videos) for number in numbers if number.isdigit())
        self.progress = Progress("extract", total=count - there, unit="videos")

    def __call__(self, step: Step) -> None:
        """Take a step. Of a shard that is done again after its worker was lost, only what is new counts."""
        self.ended = time.perf_counter()
        self.began = self.began or self.ended
        before = self.own.get(step.shard, Step(step.shard))
        if step.videos >= before.videos:
            self.own[step.shard] = step
            self.failed += step.failed - before.failed
        shown = {"failed": self.failed} if self.failed else {}
        self.progress.advance(max(0, step.videos - before.videos), **shown)


def shares(workers: list[dict[str, Busy]], seconds: float) -> dict[str, float]:
    """Share of so many seconds that each stage's threads were busy, over all workers, 0…1."""
    threads: Counter[str] = Counter()
    worked: dict[str, float] = defaultdict(float)
    for name, stage in (item for busy in workers for item in busy.items()):
        threads[name] += stage.threads
        worked[name] += stage.seconds
    return {name: worked[name] / max(1e-9, seconds * threads[name]) for name in threads}


def expected_bytes(shapes: dict[str, tuple[int, ...]], settings: Settings, num_videos: int) -> int:
    """Bytes of features that a store of so many videos will hold; of plan clips, at most."""
    row = sum(2 * math.prod(shape) for shape in shapes.values())
    return row * settings.views * settings.crops_a_view * num_videos


def shard_videos(shapes: dict[str, tuple[int, ...]], settings: Settings) -> int:
    """Videos a shard, so that it weighs about 64 MB: 1 to 64. It is held in memory, and it is what a crash costs."""
    return max(1, min(64, (1 << 26) // expected_bytes(shapes, settings, 1)))


def _say_what(dataset: Dataset, out: Path, networks: Networks, where: str, *, cache: ClipCache | None) -> None:
    settings, shapes, count = networks.settings, networks.shapes, len(dataset.videos)
    size = _size(expected_bytes(shapes, settings, count))
    arrays = ", ".join(f"{name} {'×'.join(map(str, shape))}" for name, shape in shapes.items())
    views = settings.views * settings.crops_a_view
    most = "at most " if settings.plan == "clips" else ""
    weights = ", ".join(settings.weights)
    note(f"extract: {count} videos of {dataset.name} → {out}; {settings.backbone} ({weights}) on {where}")
    note(f"extract: {most}{views} view{'s' * (views > 1)} a video of {arrays}; {most or 'about '}{size} in all")
    # Fine-tuned backbones have seen the training videos of one split, and some of those are tested on in others.
    for name, split in sorted({trained_on(Path(file)) for file in networks.files.values()}):
        if split in dataset.splits and len(dataset.splits) > 1 and name in ("", dataset.name):
            warn(f"these weights were trained on split {split}: train heads on that split alone")
    there = sum(cache.has(video) for video in dataset.videos) if cache else 0
    if there and cache:
        note(f"extract: frames and flow of {there} of {count} videos are taken from {cache.folder}")
    elif cache:
        warn(f"{cache.folder} holds none of the videos at these settings (streams, flow, resize): all are decoded")


def _size(num_bytes: float) -> str:
    for unit in ("B", "KB", "MB", "GB"):
        if num_bytes < 1000:
            return f"{num_bytes:.3g} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.3g} TB"


def made_with() -> dict[str, Any]:
    """What a store keeps of the software that made it. Nothing of the run itself: it must not change the bytes."""
    import cv2
    import numpy
    import torch
    import torchvision

    import avr
    from avr.video import decoder_versions

    versions = {"avr": avr.__version__, "python": platform.python_version(), "torch": torch.__version__}
    versions |= {"torchvision": torchvision.__version__, "opencv": cv2.__version__, "numpy": numpy.__version__}
    versions |= decoder_versions()
    return {"versions": versions, "commit": _commit(Path(avr.__file__).parent)}


def _commit(folder: Path) -> str:
    """avr's own git commit when it runs from a clone, "" else; "+" marks changes not committed."""
    if not (folder / ".git").exists():
        return ""
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty=+", "--abbrev=40"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
