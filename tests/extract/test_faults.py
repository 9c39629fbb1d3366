"""Extractions that are killed, starved, fed with poison or run twice: what is finished stays, and is right."""

import json
import os
import pickle
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small import TOLD

from avr.core import FolderLock, UsageError, WorkError
from avr.datasets import Video
from avr.extract import Running, extract, read_streams
from avr.store import FeatureStore, repair, verify

SETTINGS = read_streams(["rgb,flow"], TOLD)
RUNNING = Running(device="cpu", decoders=1, shard_videos=2)
# A kill costs what was on its way: 3 decoded and one in hand, then groups, here a shard's two videos each: one being
# filled, 4 becoming images, their two calls each in 3 of the network's hands, one being written.
IN_HAND = 3 + 1 + RUNNING.shard_videos * (1 + 4 + 2 + 1)


# A process that imports everything once and then forks: one child is one run of the command, killed so many seconds
# after so many videos, or left to end. A decoder is told of each video in a log, which outlives the child.
SERVER = """
import json, os, pickle, signal, sys, time
import torch, torchvision.models.feature_extraction, torchvision.transforms.v2  # else each run would
from avr.core import quiet
from avr.extract import extract
from avr.video import Decoder
import avr.extract.run
avr.extract.run._commit = lambda _: ""
torch.set_num_threads(1)
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # one core: how far the stages run ahead depends on it
dataset, settings, running = pickle.load(open(sys.argv[1], "rb"))
decode = Decoder.__call__
def logged(self, video, needs):
    with open(os.environ["DECODE_LOG"], "a") as log:
        log.write(video.id + "\\n")
    return decode(self, video, needs)
Decoder.__call__ = logged
def decoded():
    return open(os.environ["DECODE_LOG"]).read().count("\\n")
for line in sys.stdin:
    order, before = json.loads(line), decoded()
    child = os.fork()
    if not child:
        try:
            with quiet():
                extract(dataset, order["out"], streams=settings, running=running)
            os._exit(0)
        except BaseException as error:
            with open(order["out"] + ".error", "w") as file:
                file.write(str(error))
            os._exit(9)
    status, reached = 0, None
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        if reached is None and order["videos"] is not None and decoded() - before >= order["videos"]:
            reached = time.monotonic()
        if reached is not None and time.monotonic() - reached >= order["seconds"]:
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            break
        time.sleep(0.005)
    print(os.waitstatus_to_exitcode(status), flush=True)
os._exit(0)
"""


@pytest.fixture(scope="module", autouse=True)
def one_commit():
    """A store keeps avr's own commit, and somebody may commit while the tests run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("avr.extract.run._commit", lambda _: "")
        yield


class Runs:
    """Runs of `extract` in forked children of one prepared process."""

    def __init__(self, folder: Path, dataset, settings, running: Running) -> None:
        self.log = folder / "decoded.txt"
        self.log.touch()
        (folder / "task.pickle").write_bytes(pickle.dumps((dataset, settings, running)))
        environment = {**os.environ, "DECODE_LOG": str(self.log), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-c", SERVER, str(folder / "task.pickle")]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True
        )

    def __call__(self, out: Path, videos: int | None = None, seconds: float = 0.0) -> int:
        """One run, killed `seconds` after it had so many videos in hand; its exit code (-9: killed)."""
        self.process.stdin.write(json.dumps({"out": str(out), "videos": videos, "seconds": seconds}) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def decoded(self) -> list[str]:
        """The videos handed to a decoder so far."""
        return self.log.read_text().split()

    def close(self) -> None:
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


@pytest.fixture(scope="module")
def many(dataset):
    """The six clips eight times over: 48 videos, 24 shards."""
    videos = [replace(video, id=f"{video.id}-{copy}") for copy in range(8) for video in dataset.videos]
    return replace(dataset, videos=tuple(videos), splits={})


@pytest.fixture(scope="module")
def runs(many, tmp_path_factory):
    made = Runs(tmp_path_factory.mktemp("runs"), many, SETTINGS, RUNNING)
    yield made
    made.close()


@pytest.fixture(scope="module")
def uninterrupted(runs, many, tmp_path_factory):
    """A whole run's files."""
    out = tmp_path_factory.mktemp("uninterrupted") / "store"
    assert runs(out) == 0
    assert runs.decoded() == [video.id for video in many.videos]
    files = files_of(out)
    assert len(files) == 2 * (2 + 24)  # of rgb and flow: plan, index, shards
    return files


def is_ours(path: Path) -> bool:
    """Whether it is a file of the store, or one that was left: all but the lock's, which says who wrote last."""
    return path.is_file() and path.name != ".lock"


def files_of(store: Path) -> dict[str, bytes]:
    """A finished store's files; the lock's holds who wrote it."""
    return {str(path.relative_to(store)): path.read_bytes() for path in sorted(store.rglob("*")) if is_ours(path)}


def videos_in_shards(store: Path, dataset) -> set[str]:
    """The videos of the shards that are there, of every stream that was begun."""
    parts = [plan.parent for plan in store.rglob("plan.h5")]
    there = [{int(path.stem.split("-")[1]) for path in part.glob("shard-*.h5")} for part in parts]
    numbers = set.intersection(*there) if there else set()
    return {video.id for index, video in enumerate(dataset.videos) if index // RUNNING.shard_videos in numbers}


@pytest.mark.slow
def test_killed_at_twenty_random_moments(runs, many, uninterrupted, tmp_path):
    generator = np.random.default_rng(20)
    kills = finished = partly = 0
    store = tmp_path / "store-0"
    while kills < 20:
        there, before = videos_in_shards(store, many), len(runs.decoded())
        left = 48 - len(there)
        code = runs(store, videos=int(generator.integers(0, left + 1)), seconds=generator.uniform(0, 0.1))
        kills += code == -9
        now = runs.decoded()[before:]
        assert not there & set(now)  # what was in a shard is never decoded again
        assert len(now) == len(set(now))
        lost = set(now) - videos_in_shards(store, many)
        assert len(lost) <= IN_HAND
        partly += bool(lost)
        if code == 0:
            finished += 1
            assert files_of(store) == uninterrupted
            store = tmp_path / f"store-{finished}"
    assert partly >= 5  # the kills did hit work
    assert runs(store) == 0
    assert verify(store)["ok"]
    assert files_of(store) == uninterrupted


@pytest.mark.slow
def test_a_second_run_joins_in_and_goes_on_when_the_first_is_killed(runs, many, uninterrupted, tmp_path):
    store, before = tmp_path / "store", len(runs.decoded())
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(runs, store, videos=6)
        while len(runs.decoded()) == before and not first.done():
            time.sleep(0.01)  # on a busy machine this run would be over before the first has begun
        summary = extract(many, store, streams=SETTINGS, running=RUNNING)
        assert first.result() in (-9, 0)
    theirs = set(runs.decoded()[before:])
    assert theirs  # both worked
    assert 48 - len(theirs) <= summary.extracted <= 48  # of what the first had in hand this one did the rest
    assert files_of(store) == uninterrupted


def test_a_store_that_another_holds_alone_is_refused(dataset, tmp_path):
    (tmp_path / "flow").mkdir()
    lock = FolderLock(tmp_path / "flow", doing="repairs this store")
    with pytest.raises(UsageError, match="this process already"):
        extract(dataset, tmp_path, streams=SETTINGS, running=RUNNING)
    lock.release()


@pytest.fixture
def smallest_files():
    """A function that sets how many bytes a file may grow to (-1: any), as a full disk would; lifted at the end."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(size: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))

    yield limit
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_no_room_stops_the_run_and_it_goes_on_later(dataset, tmp_path, smallest_files):
    whole = tmp_path / "whole"
    extract(dataset, whole, streams=SETTINGS, running=RUNNING)
    sizes = sorted(path.stat().st_size for path in whole.glob("*/shard-*.h5"))
    assert (whole / "rgb" / "plan.h5").stat().st_size < sizes[0]
    store = tmp_path / "store"
    smallest_files(sizes[0] - 1)
    with pytest.raises(WorkError, match="shard-0000"):
        extract(dataset, store, streams=SETTINGS, running=RUNNING)
    assert not list(store.rglob("*.tmp"))
    assert not list(store.rglob("index.h5"))
    smallest_files(-1)
    extract(dataset, store, streams=SETTINGS, running=RUNNING)
    assert files_of(store) == files_of(whole)


def test_a_folder_that_cannot_be_made_is_one_line(dataset):
    with pytest.raises(WorkError, match=r"/proc/avr-store/rgb: cannot be made"):
        extract(dataset, Path("/proc/avr-store"), streams=SETTINGS, running=RUNNING)


def test_reading_a_store_opens_nothing_for_writing(dataset, tmp_path):
    """As on a read-only disk: no file is opened to be written, made, renamed or removed."""
    store = tmp_path / "store"
    extract(dataset, store, streams=SETTINGS, running=RUNNING)
    touched = []
    watching = True

    def watch(event: str, arguments: tuple) -> None:
        if watching and event == "open" and str(arguments[0]).startswith(str(store)):
            flags = arguments[2] or 0
            if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) or set(arguments[1] or "") & set("wax+"):
                touched.append(arguments)
        if watching and event in ("os.rename", "os.remove", "os.mkdir") and str(store) in str(arguments[0]):
            touched.append((event, *arguments))

    sys.addaudithook(watch)
    before = {path: path.stat().st_mtime_ns for path in [store, *store.iterdir()]}
    with FeatureStore(store) as opened:
        opened.read("rgb", "pooled", np.arange(6))
        assert sum(len(found["flow/pooled"]) for found in opened.iterate_rows(["flow/pooled"], np.arange(6))) == 6
    assert verify(store)["ok"]
    watching = False
    assert touched == []
    assert {path: path.stat().st_mtime_ns for path in [store, *store.iterdir()]} == before


def test_a_video_that_hangs_the_decoder_costs_itself(dataset, tmp_path, endless):
    videos = list(dataset.videos)
    videos[2] = Video("hangs", endless, 0, "group1")
    start = time.monotonic()
    summary = extract(
        replace(dataset, videos=tuple(videos), splits={}),
        tmp_path / "store",
        streams=SETTINGS,
        running=replace(RUNNING, time_limit=3.0),
    )
    assert time.monotonic() - start < 60
    assert summary.extracted == 5
    assert [video for video, _ in summary.failures] == ["hangs"]
    assert "took more than 3 s" in summary.failures[0][1]
    with FeatureStore(tmp_path / "store") as store:
        assert len(store) == 5
        assert store.failures[0]["id"] == "hangs"
    extract(dataset, tmp_path / "usual", streams=SETTINGS, running=RUNNING)
    with FeatureStore(tmp_path / "store") as store, FeatureStore(tmp_path / "usual") as usual:
        for name in ("rgb", "flow"):  # the others are what they are without it
            found = store.read(name, "pooled", np.arange(5))[0]
            wanted = usual.read(name, "pooled", np.array([0, 1, 3, 4, 5]))[0]
            np.testing.assert_allclose(found, wanted, rtol=2e-3, atol=1e-4)  # fp16; other rows of a batch


def test_values_past_all_bounds_from_a_network_are_failures_not_features(dataset, tmp_path):
    from torchvision.models import squeezenet1_1

    state = squeezenet1_1(weights=None).state_dict()
    state["features.0.weight"] *= 1e38  # sums beyond float32; weights that hold a NaN themselves are refused before
    torch.save(state, tmp_path / "broken.pth")
    settings = SETTINGS | {"rgb": SETTINGS["rgb"].change(weights=str(tmp_path / "broken.pth"))}
    for _ in range(2):  # though another run found out
        with pytest.raises(WorkError, match=r"none of 6 videos gives features, first .*: rgb: rgb/pooled: .*NaN"):
            extract(dataset, tmp_path / "store", streams=settings, running=RUNNING)
    with FeatureStore(tmp_path / "store", streams=["flow"]) as store:
        assert len(store) == 6  # the other stream has them all


def test_a_damaged_shard_is_found_dropped_and_done_again(dataset, tmp_path):
    store = tmp_path / "store"
    extract(dataset, store, streams=SETTINGS, running=RUNNING)
    whole = files_of(store)
    for damage in ("flipped", "cut"):
        path = store / "rgb" / "shard-00001.h5"
        image = bytearray(path.read_bytes())
        if damage == "flipped":
            image[len(image) // 2] ^= 0x40
        path.write_bytes(image if damage == "flipped" else image[: len(image) // 3])
        report = verify(store)
        assert not report["ok"]
        assert [entry["file"] for entry in report["damaged"]] == ["rgb/shard-00001.h5"]
        assert "rgb/shard-00001.h5" in repair(store)["dropped"]
        summary = extract(dataset, store, streams=SETTINGS, running=RUNNING)
        assert summary.extracted == 2  # that shard's videos alone
        assert files_of(store) == whole


def test_a_stream_added_to_a_finished_store_costs_itself_and_a_kill_its_shards_in_hand(many, tmp_path):
    """Of the others no byte changes; the new one has the bytes of one that was extracted by itself."""
    store, alone = tmp_path / "store", tmp_path / "alone"
    third = read_streams(["difference"], {"backbone": "squeezenet1_1", "weights": "random", "segments": 2, "crop": 40})
    extract(many, store, streams={"rgb": SETTINGS["rgb"]}, running=RUNNING)
    before = files_of(store)
    added = Runs(tmp_path, many, third, RUNNING)
    try:
        assert added(store, videos=20) == -9
        there = videos_in_shards(store / "difference", many)
        assert 0 < len(there) < 48
        assert len(set(added.decoded()) - there) <= IN_HAND
        seen = len(added.decoded())
        assert added(store) == 0
        assert not there & set(added.decoded()[seen:])
    finally:
        added.close()
    extract(many, alone, streams=third, running=RUNNING)
    assert files_of(store) == before | files_of(alone)
