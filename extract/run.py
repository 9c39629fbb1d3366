"""`extract`: a data set's videos to a store of features, continued where it stopped."""

import importlib.util
import platform
import subprocess
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from avr.core import Busy, Progress, UsageError, WorkError, as_size, note, tell, warn
from avr.datasets import Dataset, Video
from avr.store import FeatureStore
from avr.video import Decoded, Decoder

from .backbones import open_backbone
from .cache import ClipCache
from .cluster import run_on_ray
from .engines import run_children
from .extractor import Extractor
from .networks import Networks, load_networks
from .queue import expected_bytes, join_parts
from .running import Engine, Running
from .settings import Settings, check_stream
from .task import Step, Task
from .weights import trained_on
from .worker import begin_decoder, work

DEFAULT_FOLDER = Path("features")
DEFAULT_STREAMS = {"rgb": Settings(), "flow": Settings(kind="flow")}


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
    streams: Mapping[str, Settings] | None = None,
    running: Running | None = None,
    engine: Engine | None = None,
    strict: bool = False,
) -> Summary:
    """Extract streams of every video into a store. An interrupted run, started again, goes on; a second one joins in.

    A store grows: what it holds of other streams is left as it is.

    Args:
        dataset: of `avr.datasets.index_dataset`.
        out: the store's folder; default `features/<dataset>`.
        streams: stream -> everything that changes its features; default rgb and flow by ResNet-50 with its default
            weights.
        running: device and sizes.
        engine: where the work is done; default this process alone.
        strict: videos without features are an error, once all others are done.

    Raises:
        UsageError: unknown names, or a stream begun with other settings (says which differ).
        WorkError: weights that cannot be had, a full disk; no video that gives features, or, with `strict`, one that
            does not.
    """
    out = DEFAULT_FOLDER / dataset.name if out is None else Path(out)
    streams = dict(DEFAULT_STREAMS if streams is None else streams)
    running, engine = running or Running(), engine or Engine()
    for name in streams:
        check_stream(name)
    if len({(settings.fps, settings.damage) for settings in streams.values()}) > 1:
        raise UsageError("streams told other --fps or --damage are extracted one after the other: each decides alone")
    where = engine.where(running)
    with ExitStack() as ending:
        decoder = ending.enter_context(begin_decoder(running)) if engine.alone else None
        extractor = Extractor(streams, running=running) if engine.alone else None
        networks = extractor.networks if extractor else load_networks(streams)
        sizes = join_parts(out, dataset, networks, running.shard_videos)
        _say_what(dataset, out, networks, where, cache=extractor.cache if extractor else None)
        watch = _Watch(dataset, out, sizes)
        busy = []
        with watch.progress:
            for size in dict.fromkeys(sizes.values()):  # parts that were begun apart may have shards of other sizes
                chosen = {name: streams[name] for name in streams if sizes[name] == size}
                told = replace(running, shard_videos=size)
                task = Task(dataset, out.absolute(), chosen, told, made_with(), Path.cwd())
                if extractor and set(chosen) != set(extractor.streams):
                    extractor = Extractor(chosen, running=told, networks=networks.only(chosen))
                watch.turn(size)
                busy += _run_workers(engine, task, extractor, decoder, watch)
    summary = _summarise(out, dataset, streams, watch, busy)
    _judge(summary, strict=strict)
    return summary


def _judge(summary: Summary, *, strict: bool) -> None:
    """Raise WorkError where the store, whichever run wrote it, holds no features, or with `strict` lacks those of some
    videos."""
    count = len(summary.failures)
    if count and count == summary.videos:
        raise WorkError(f"none of {count} videos gives features, first {': '.join(summary.failures[0])}")
    if strict and count:
        raise WorkError(
            f"{count} of {summary.videos} videos without features (listed above); the others are in {summary.store} "
            "(avr store repair --failures tries these again)"
        )


def _summarise(
    out: Path, dataset: Dataset, streams: Iterable[str], watch: "_Watch", busy: list[dict[str, Busy]]
) -> Summary:
    """What a run did, its failures and notes told."""
    summary = Summary(out, len(dataset.videos), seconds=watch.ended - watch.began)
    with FeatureStore(out, streams=list(streams)) as store:
        summary.failures = [(failure["id"], failure["reason"]) for failure in store.failures]
        summary.notes = [(noted["id"], noted["note"]) for noted in store.notes]
    failed = dict(summary.failures)
    summary.extracted = len(watch.ids.difference(failed))
    if watch.ids:
        summary.busy = shares(busy, summary.seconds)
    for line in tell(summary.notes, label="note: "):
        note(line)
    for line in tell(summary.failures, label="no features: ", most=20):
        warn(line)
    if summary.notes or summary.failures:
        note(f"avr store info {out} tells all of them")
    return summary


def _run_workers(
    engine: Engine, task: Task, extractor: Extractor | None, decoder: Decoder[Decoded] | None, watch: "_Watch"
) -> list[dict[str, Busy]]:
    """Have all shards made where the engine says; gives how long each worker's stages were busy."""
    if engine.alone:
        return [work(task, extractor, decoder, on_step=watch)]
    if engine.name == "ray":
        return run_on_ray(task, engine.workers, engine.address, on_step=watch)
    return run_children(task, engine.devices, on_step=watch)


class _Watch:
    """A run as its steps tell it: the bar, and which videos are its own."""

    def __init__(self, dataset: Dataset, out: Path, sizes: Mapping[str, int]) -> None:
        self.own: dict[int, Step] = {}  # how far each shard is that this turn's workers claimed
        self.ids: set[str] = set()
        self.began = self.ended = 0.0
        self.failed, self.size, self.dataset = 0, 0, dataset
        total = 0
        for size in {*sizes.values()}:
            parts = [out / name for name, own in sizes.items() if own == size]
            there = set.intersection(*({path.name for path in part.glob("shard-*.h5")} for part in parts))
            numbers = (int(name[6:-3]) for name in there if name[6:-3].isdigit())
            total += len(dataset.videos) - sum(len(self._videos(number, size)) for number in numbers)
        self.progress = Progress("extract", total=total, unit="videos")

    def _videos(self, shard: int, size: int) -> Sequence[Video]:
        return self.dataset.videos[shard * size : (shard + 1) * size]

    def turn(self, size: int) -> None:
        """What follows is of shards of so many videos."""
        self.own, self.size = {}, size

    def __call__(self, step: Step) -> None:
        """Take a step. Of a shard that is done again after its worker was lost, only what is new counts."""
        self.ended = time.perf_counter()
        self.began = self.began or self.ended
        self.ids.update(video.id for video in self._videos(step.shard, self.size))
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


def _say_what(dataset: Dataset, out: Path, networks: Networks, where: str, *, cache: ClipCache | None) -> None:
    count = len(dataset.videos)
    note(f"extract: {count} videos of {dataset.name} → {out} on {where}")
    for name, settings in networks.settings.items():
        arrays = ", ".join(f"{array} {'×'.join(map(str, shape))}" for array, shape in networks.shapes[name].items())
        views = settings.views * settings.crops_a_view
        most = "at most " if settings.plan == "clips" else ""
        licence = "" if settings.weights == "random" else open_backbone(settings.backbone).licence(settings.weights)
        weights = settings.weights + (f", licence {licence}" if licence and not networks.files.get(name) else "")
        note(f"extract: {settings.backbone} ({weights}): {most}{views} view{'s' * (views > 1)} of {arrays}")
    note(f"extract: about {as_size(expected_bytes(networks, count))} in all")
    # Fine-tuned backbones have seen the training videos of one split, and some of those are tested on in others.
    for name, split in sorted({trained_on(Path(file)) for file in networks.files.values()}):
        if split in dataset.splits and len(dataset.splits) > 1 and name in ("", dataset.name):
            warn(f"these weights were trained on split {split}: train heads on that split alone")
    there = sum(cache.has(video) for video in dataset.videos) if cache else 0
    if there and cache:
        note(f"extract: images of {there} of {count} videos are taken from {cache.folder}")
    elif cache:
        warn(f"{cache.folder} holds none of the videos at these settings (streams, flow, resize): all are decoded")


def made_with() -> dict[str, Any]:
    """What a store keeps of the software that made it. Nothing of the run itself: it must not change the bytes."""
    import cv2
    import numpy
    import torch
    import torchvision

    import avr

    versions = {"avr": avr.__version__, "python": platform.python_version(), "torch": torch.__version__}
    versions |= {"torchvision": torchvision.__version__, "opencv": cv2.__version__, "numpy": numpy.__version__}
    if importlib.util.find_spec("av"):  # raw frames are read without
        from avr.video import decoder_versions

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
