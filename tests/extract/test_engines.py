"""Engines: shards given out and taken back, worker processes and Ray actors, the same bytes as one process."""

import importlib.util
import os
import signal
import subprocess
import sys
import threading
import time
from multiprocessing import Pipe
from pathlib import Path

import cv2
import numpy as np
import pytest

from avr.core import Busy, UsageError, WorkError
from avr.datasets import Dataset, Split, Video
from avr.extract import Engine, Running, Settings, extract
from avr.extract._engines import ATTEMPTS, Dispatcher, join_reports
from avr.extract._processes import _hear, _Worker
from avr.extract.pipeline import Job, Report
from avr.store import verify

SETTINGS = Settings(
    backbone="squeezenet1_1", weights=("random",), layers=("pooled",), segments=2, stack=2, resize=48, crop=40
)
RUNNING = Running(device="cpu", decoders=1, shard_videos=2)


@pytest.fixture(scope="module", autouse=True)
def one_commit():
    """A store keeps avr's own commit, and somebody may commit while the tests run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("avr.extract.run._commit", lambda _: "")
        yield


@pytest.fixture(scope="module")
def sixteen(tmp_path_factory):
    """Sixteen small clips of two classes."""
    root = tmp_path_factory.mktemp("sixteen")
    videos = []
    for index in range(16):
        texture = np.random.default_rng(index).integers(0, 256, (64, 80, 3), dtype=np.uint8)
        path = root / f"v{index:02d}.avi"
        writer = cv2.VideoWriter(str(path), cv2.CAP_OPENCV_MJPEG, cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 48))
        for step in range(8 + index % 3):
            writer.write(np.ascontiguousarray(texture[step : step + 48, step : step + 64]))
        writer.release()
        videos.append(Video(f"v{index:02d}", path, index % 2, f"g{index // 2}"))
    ids = tuple(video.id for video in videos)
    return Dataset("sixteen", root, ("even", "odd"), tuple(videos), {"1": Split("1", ids[:8], ids[8:])})


@pytest.fixture(scope="module")
def alone(sixteen, tmp_path_factory):
    """The files of a store that this process extracted alone."""
    out = tmp_path_factory.mktemp("alone")
    summary = extract(sixteen, out, settings=SETTINGS, running=RUNNING)
    assert summary.extracted == 16
    return files_of(out)


def files_of(store: Path) -> dict[str, bytes]:
    """A finished store's files; the lock's holds who wrote it."""
    return {path.name: path.read_bytes() for path in sorted(store.iterdir()) if path.name != ".lock"}


def kill_one_worker(store: Path, marker: str, killed: list[int]) -> threading.Thread:
    """Once a shard is there, SIGKILL one process whose command line holds `marker`; a thread, started."""

    def watch() -> None:
        for _ in range(1200):
            time.sleep(0.05)
            if list(store.glob("shard-*.h5")):
                mine = [pid for pid in processes(marker) if pid != os.getpid()]
                if mine:
                    os.kill(mine[0], signal.SIGKILL)
                    killed.append(mine[0])
                    return

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


def processes(marker: str) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if marker in entry.read_bytes().replace(b"\0", b" ").decode(errors="replace"):
                found.append(int(entry.parent.name))
        except OSError:
            continue
    return sorted(found)


class TestDispatcher:
    @staticmethod
    def jobs(count=3):
        videos = [Video(f"v{index}", Path("x"), 0, "g") for index in range(2 * count)]
        return [Job(number, tuple(videos[2 * number : 2 * number + 2])) for number in range(count)]

    def test_gives_out_in_order_and_ends(self):
        dispatcher = Dispatcher(self.jobs(2))
        assert dispatcher.next(0).number == 0
        assert dispatcher.next(1).number == 1
        assert dispatcher.next(0) == "wait"
        for worker, video in ((0, "v0"), (0, "v1"), (1, "v2")):
            dispatcher.video(worker, video, "")
        assert dispatcher.next(0) == "wait"  # worker 1 may yet be lost
        assert not dispatcher.done()
        dispatcher.video(1, "v3", "no frame")
        assert dispatcher.next(0) == "end"
        assert dispatcher.done()
        assert dispatcher.results() == {"v0": "", "v1": "", "v2": "", "v3": "no frame"}

    def test_a_lost_workers_shards_come_first_and_count_once(self):
        dispatcher = Dispatcher(self.jobs())
        assert [dispatcher.next(0).number, dispatcher.next(0).number] == [0, 1]
        for video in ("v0", "v1", "v2"):
            dispatcher.video(0, video, "")
        dispatcher.lost(0, "SIGKILL")
        assert [dispatcher.next(1).number, dispatcher.next(1).number] == [1, 2]  # shard 0 was written
        assert dispatcher.news() == [("v0", ""), ("v1", ""), ("v2", "")]
        dispatcher.video(1, "v2", "")
        dispatcher.video(1, "v3", "")
        assert dispatcher.news() == [("v3", "")]

    def test_a_shard_that_ends_every_worker_ends_the_run(self):
        dispatcher = Dispatcher(self.jobs(1))
        for worker in range(ATTEMPTS - 1):
            dispatcher.next(worker)
            dispatcher.lost(worker, "SIGSEGV")
        dispatcher.next(9)
        with pytest.raises(WorkError, match=r"3 workers were lost on shard 0 \(v0 …\), the last one: out of memory"):
            dispatcher.lost(9, "out of memory")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "slurm"}, "unknown engine 'slurm'; known: local, ray"),
        ({"workers": 2}, "--workers and --address are of --engine ray"),
        ({"name": "ray", "devices": ("0",)}, "--devices is of --engine local"),
        ({"name": "ray", "workers": -1}, "at least 0"),
    ],
    ids=["name", "workers", "devices", "negative"],
)
def test_engines_that_make_no_sense(options, message):
    with pytest.raises(UsageError, match=message):
        Engine(**options)


def test_numbers_are_gpus():
    assert Engine(devices=("0", "cuda:3", "cpu")).devices == ("cuda:0", "cuda:3", "cpu")


@pytest.mark.slow
def test_two_processes_one_killed_write_the_same_bytes(sixteen, alone, tmp_path, capsys):
    killed: list[int] = []
    watcher = kill_one_worker(tmp_path / "store", "avr.extract._processes import serve", killed)
    summary = extract(
        sixteen, tmp_path / "store", settings=SETTINGS, running=RUNNING, engine=Engine(devices=("cpu", "cpu"))
    )
    watcher.join()
    assert killed
    assert "the worker on cpu was lost (SIGKILL); another takes its shards" in capsys.readouterr().err
    assert summary.extracted == 16
    assert summary.failures == []
    assert verify(tmp_path / "store")["ok"]
    assert files_of(tmp_path / "store") == alone


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed: pip install 'avr[ray]'")
@pytest.mark.filterwarnings("default")  # Ray's own
def test_two_ray_workers_one_killed_write_the_same_bytes(sixteen, alone, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "0")  # what else runs here must not make Ray kill more
    killed: list[int] = []
    watcher = kill_one_worker(tmp_path / "store", "ray::ExtractionWorker", killed)
    try:
        summary = extract(
            sixteen, tmp_path / "store", settings=SETTINGS, running=RUNNING, engine=Engine(name="ray", workers=2)
        )
    finally:
        import ray

        ray.shutdown()
    watcher.join()
    assert killed
    assert summary.extracted == 16
    assert verify(tmp_path / "store")["ok"]
    assert files_of(tmp_path / "store") == alone


@pytest.mark.parametrize(
    ("flow", "engine", "message"),
    [
        ("dus", Engine(devices=("cpu", "cpu")), "unknown flow method 'dus'"),
        ("dis", Engine(devices=("cuda:7",)), "cuda:7: no CUDA device here"),
    ],
    ids=["flow", "device"],
)
def test_what_no_worker_could_do_is_refused_before_a_store_is_begun(sixteen, tmp_path, flow, engine, message):
    with pytest.raises(UsageError, match=message):
        extract(sixteen, tmp_path / "store", settings=SETTINGS.change(flow=flow), running=RUNNING, engine=engine)
    assert not (tmp_path / "store").exists()


class TestWhatAWorkerSays:
    @pytest.fixture
    def worker(self):
        ours, theirs = Pipe()
        process = subprocess.Popen([sys.executable, "-c", "import sys; sys.exit(3)"])
        made = _Worker(7, "cuda:1", (), process, ours)
        yield made, theirs
        made.end()
        theirs.close()

    @pytest.mark.parametrize(("usage", "kind"), [(True, UsageError), (False, WorkError)])
    def test_an_error_of_avrs_own_ends_the_run(self, worker, usage, kind):
        worker, pipe = worker
        pipe.send(("error", usage, "the disk is full"))
        with pytest.raises(kind, match="the disk is full"):
            _hear(worker, Dispatcher([]), [])

    def test_any_other_loses_the_worker_as_its_end_does(self, worker):
        worker, pipe = worker
        pipe.send(("crash", "RuntimeError: CUDA error"))
        assert _hear(worker, Dispatcher([]), []) == "RuntimeError: CUDA error"
        pipe.close()
        assert _hear(worker, Dispatcher([]), []) == "exit code 3"

    def test_it_takes_jobs_and_reports(self, worker):
        worker, pipe = worker
        dispatcher, reports = Dispatcher(TestDispatcher.jobs(1)), []
        for message in (("next",), ("video", "v0", ""), ("video", "v1", "no frame"), ("next",), ("report", Report())):
            pipe.send(message)
        heard = [_hear(worker, dispatcher, reports) for _ in range(5)]
        assert heard == [None, None, None, None, ""]
        assert pipe.recv().number == 0
        assert pipe.recv() == "end"
        assert dispatcher.results() == {"v0": "", "v1": "no frame"}
        assert len(reports) == 1


def test_reports_are_joined():
    reports = [
        Report(done=2, notes=[("v0", "short")], seconds=3.0, busy={"flow": Busy(2, 3.0)}),
        Report(done=1, seconds=4.0, busy={"flow": Busy(2, 5.0), "write": Busy(1, 1.0)}),
    ]
    joined = join_reports(reports, {"v0": "", "v1": "no frame", "v2": ""}, seconds=4.0)
    assert (joined.done, joined.failures, joined.notes) == (2, [("v1", "no frame")], [("v0", "short")])
    assert joined.shares() == {"flow": 8.0 / (4.0 * 4), "write": 0.25}
