"""Engines: children that claim shards, Ray actors, several runs on one store; the same bytes as one process."""

import contextlib
import importlib.util
import os
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import Pipe
from pathlib import Path

import cv2
import numpy as np
import pytest
from altering import altered
from small import TOLD

from avr.core import Busy, UsageError, WorkError
from avr.datasets import Dataset, Split, Video
from avr.extract import Engine, Running, extract, read_streams
from avr.extract.engines import serve, shares_of_cores
from avr.extract.run import shares
from avr.extract.worker import Task
from avr.heads import train_run
from avr.store import verify
from avr.training import Engine as Trainings

SETTINGS = read_streams(["rgb,flow"], TOLD)
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
    summary = extract(sixteen, out, streams=SETTINGS, running=RUNNING)
    assert summary.extracted == 16
    return files_of(out)


def files_of(store: Path) -> dict[str, bytes]:
    """A finished store's files; the lock's holds who wrote it."""
    return {
        str(path.relative_to(store)): path.read_bytes()
        for path in sorted(store.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def kill_one_worker(store: Path, marker: str, killed: list[int]) -> threading.Thread:
    """Once a shard is there, SIGKILL one process whose command line holds `marker`; a thread, started."""

    def watch() -> None:
        for _ in range(4800):  # Ray may take minutes to start on a busy machine
            time.sleep(0.05)
            if list(store.glob("flow/shard-*.h5")):
                mine = processes(marker)
                if mine:
                    os.kill(mine[0], signal.SIGKILL)
                    killed.append(mine[0])
                    return

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


def processes(marker: str) -> list[int]:
    """Processes that this one started, or that one of those did, whose command line holds `marker`."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            pid = int(entry.parent.name)
            said = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if marker in said and os.getpid() in ancestors(pid):
                found.append(pid)
    return sorted(found)


def ancestors(pid: int) -> list[int]:
    found = []
    while pid > 1:
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        found.append(pid)
    return found


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "slurm"}, r"name=slurm is not possible; name takes local\|ray"),
        ({"workers": 2}, "--workers and --address are of --engine ray"),
        ({"name": "ray", "devices": ("0",)}, "--devices is of --engine local"),
        ({"name": "ray", "workers": -1}, "workers takes int ≥ 0"),
    ],
    ids=["name", "workers", "devices", "negative"],
)
def test_engines_that_make_no_sense(options, message):
    with pytest.raises(UsageError, match=message):
        Engine(**options)


def test_numbers_are_gpus():
    assert Engine(devices=("0", "cuda:3", "cpu")).devices == ("cuda:0", "cuda:3", "cpu")


@pytest.mark.slow
def test_two_worker_processes_one_killed_write_the_same_bytes(sixteen, alone, tmp_path, capsys):
    killed: list[int] = []
    watcher = kill_one_worker(tmp_path / "store", "avr.extract.engines:serve", killed)
    summary = extract(
        sixteen, tmp_path / "store", streams=SETTINGS, running=RUNNING, engine=Engine(devices=("cpu", "cpu"))
    )
    watcher.join()
    assert killed
    assert "the worker on cpu was lost (SIGKILL); another takes its shards" in capsys.readouterr().err
    assert summary.extracted == 16
    assert summary.failures == []
    assert verify(tmp_path / "store")["ok"]
    assert files_of(tmp_path / "store") == alone


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")
@pytest.mark.filterwarnings("default")  # Ray's own
def test_two_ray_workers_one_killed_write_the_same_bytes(sixteen, alone, tmp_path, monkeypatch):
    """And trainings on Ray, one of whose processes is killed too; here, since Ray takes long to start."""
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "0")  # what else runs here must not make Ray kill more
    killed: list[int] = []
    watcher = kill_one_worker(tmp_path / "store", "ray::extract_shards", killed)
    try:
        summary = extract(
            sixteen, tmp_path / "store", streams=SETTINGS, running=RUNNING, engine=Engine(name="ray", workers=2)
        )
        trained = {memory: runs_on_ray(tmp_path, killed, memory_gb=memory) for memory in (None, 0.0)}
        import ray

        if not ray.cluster_resources().get("GPU"):
            with pytest.raises(UsageError, match="device cuda: the cluster has no GPU; use --device cpu"):
                train_run(tmp_path / "store", "linear", out=tmp_path / "gpu", device="cuda", engine=Trainings("ray"))
    finally:
        import ray

        ray.shutdown()
    watcher.join()
    assert len(killed) == 2
    assert summary.extracted == 16
    assert verify(tmp_path / "store")["ok"]
    assert files_of(tmp_path / "store") == alone
    for here, there in trained.values():
        assert here.keys() == there.keys()
        same = [name for name in here if here[name] == there[name]]
        assert len([name for name in same if name.endswith((".safetensors", ".h5"))]) == 3


def runs_on_ray(folder: Path, killed: list[int], *, memory_gb: float | None) -> list[dict[str, bytes]]:
    """The files of a run trained here, and of one on Ray, which loses a process where the features are in memory."""
    found = []
    for name in ("local", "ray"):
        watcher = None
        if name == "ray" and memory_gb is None:
            watcher = kill_one_worker(folder / "store", "ray::train_on_ray", killed)
        run = train_run(
            folder / "store",
            "linear",
            folds=2,
            training={"epochs": 300 if memory_gb is None else 2, "min_steps": 0},
            out=folder / f"{name}-{memory_gb}",
            memory_gb=memory_gb,
            device="cpu",
            engine=Trainings(name=name, workers=0 if name == "ray" else 1),
        )
        if watcher:
            watcher.join()
        found.append(files_of(run.folder))
    return found


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
        extract(sixteen, tmp_path / "store", streams=altered(SETTINGS, flow=flow), running=RUNNING, engine=engine)
    assert not (tmp_path / "store").exists()


@pytest.mark.slow
def test_a_shard_that_ends_every_worker_ends_the_run(sixteen, tmp_path, monkeypatch):
    """Each worker is killed as soon as it has claimed the first shard, as a video that crashes it would do."""
    monkeypatch.setattr("avr.extract.engines.ATTEMPTS", 2)
    store, over = tmp_path / "store", threading.Event()

    def kill() -> None:
        while not over.wait(0.02):
            lock = store / "rgb" / ".lock"
            claimed = lock.read_bytes()[128:256] if lock.exists() else b""
            for pid in processes("avr.extract.engines:serve"):
                if f'"pid": {pid},'.encode() in claimed:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        with pytest.raises(WorkError, match=r"2 workers were lost on shard 0 \(v00 …\), the last one: SIGKILL"):
            extract(sixteen, store, streams=SETTINGS, running=RUNNING, engine=Engine(devices=("cpu",)))
    finally:
        over.set()
        thread.join()
    assert not (store / "rgb" / "shard-00000.h5").exists()


def test_a_worker_whose_decoder_does_not_start_says_so(sixteen, tmp_path, monkeypatch):
    """Its pipe breaks as the parent's would, and is not taken for that one."""
    task = Task(sixteen, tmp_path / "store", SETTINGS, RUNNING, {}, Path.cwd())
    ours, theirs = Pipe()
    with ThreadPoolExecutor(1) as pool:
        monkeypatch.setattr(sys, "executable", "/bin/false")
        served = pool.submit(serve, theirs)
        ours.send((task, ()))
        said = [ours.recv()]
        while said[-1][0] == "step":
            said.append(ours.recv())
        served.result()
    kind, error = said[-1]
    assert (kind, type(error)) == ("error", WorkError)
    assert "the decoding process does not start: exit code 1" in str(error)


def test_workers_on_the_cpu_share_its_cores():
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("which cores a process takes cannot be set here")
    cores = sorted(os.sched_getaffinity(0))
    alone, first, second = (shares_of_cores(("cpu",) * count) for count in (1, 2, 2 * len(cores) + 1))
    assert alone == [tuple(cores)]
    assert sorted(core for share in first for core in share) == cores if len(cores) > 1 else True
    assert all(len(share) == 1 for share in second)  # more workers than cores: one each, never () for all of them
    assert shares_of_cores(("cuda:0", "cpu")) == [(), tuple(cores)]


def test_shares_of_several_workers():
    workers = [{"flow": Busy(2, 3.0)}, {"flow": Busy(2, 5.0), "write": Busy(1, 1.0)}]
    assert shares(workers, 4.0) == {"flow": 8.0 / (4.0 * 4), "write": 0.25}
