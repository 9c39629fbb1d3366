"""Writing stores: contents, equal bytes, resume, refusals, failures."""

import json
import os
import re
import resource
import signal
import subprocess
import sys
import textwrap
import time

import h5py
import numpy as np
import pytest

from avr.core import UsageError, WorkError
from avr.store import FeatureStore, ShardWriter, StoreWriter, verify
from avr.store.features.writer import default_shard_videos


def files_of(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.suffix == ".h5"}


def test_a_store_gives_back_what_was_written(toy, toy_store):
    store = FeatureStore(toy_store)
    ids = [video.id for video in toy.dataset.videos if video.id != toy.dataset.videos[5].id]
    assert store.ids.tolist() == ids
    assert store.labels.tolist() == [video.label for video in toy.dataset.videos if video.id in ids]
    assert store.groups[0] == "film0"
    assert store.paths[0] == "/data/0.avi"
    assert store.frames.tolist() == [10 + i for i in range(20) if i != 5]
    assert store.views.tolist() == [1 + i % 3 for i in range(20) if i != 5]
    assert store.class_names == ("walk", "run", "jump")
    assert store.split_names == ("1", "two")
    assert store.failures == [{"id": toy.dataset.videos[5].id, "reason": "cannot be decoded"}]
    assert store.provenance["settings"] == {"backbone": "resnet18", "segments": 3}
    assert {name: array.shape for name, array in store.arrays.items()} == {
        "flow/map": (2, 4, 3, 3),
        "rgb/pooled": (3, 16),
    }
    for name in store.arrays:
        np.testing.assert_array_equal(store.read_whole(*name.split("/")), toy.expected(name, ids))


def test_h5py_alone_reads_the_index_and_a_shard(toy, toy_store):
    ids = [video.id for video in toy.dataset.videos if video.id != toy.dataset.videos[5].id]
    with h5py.File(toy_store / "index.h5") as file:
        np.testing.assert_array_equal(file["rgb/pooled"][()], toy.expected("rgb/pooled", ids))
        assert file["rgb/pooled"].dtype == np.float16
        assert file["rgb/pooled"].is_virtual
        assert [text.decode() for text in file["index/videos/id"][()]] == ids
        first, rows = file["index/videos/first_row"][3], file["index/videos/rows"][3]
        np.testing.assert_array_equal(file["flow/map"][first : first + rows], toy.expected("flow/map", ids[3:4]))
    with h5py.File(toy_store / "shard-00001.h5") as file:
        assert file["flow/map"].chunks == (1, 2, 4, 3, 3)  # a chunk is a view
        np.testing.assert_array_equal(file["flow/map"][()], toy.expected("flow/map", ids[5:11]))


def test_order_of_adding_and_time_do_not_change_a_byte(toy, tmp_path):
    ids = [video.id for video in toy.dataset.videos]
    first = files_of(toy.write(tmp_path / "first"))
    time.sleep(1.1)  # HDF5's time stamps count seconds
    assert files_of(toy.write(tmp_path / "second", order=ids[::-1])) == first


def test_workers_in_other_processes_give_the_same_bytes(toy, tmp_path):
    alone = files_of(toy.write(tmp_path / "alone"))
    failed = toy.dataset.videos[5].id
    writer = StoreWriter(tmp_path / "many", toy.dataset, **toy.options())
    pending = writer.pending_shards()
    assert [shard.number for shard in pending] == [0, 1, 2, 3]
    assert [len(shard.video_ids) for shard in pending] == [6, 6, 6, 2]
    for shard in reversed(pending):
        if os.fork() == 0:  # a worker: knows the folder and the number, holds no lock
            worker = ShardWriter(str(tmp_path / "many"), shard.number)
            for video in worker.missing:
                if video == failed:
                    worker.fail(video, "cannot be decoded")
                else:
                    worker.add(video, toy.features[video], frames=10 + writer.plan.ids.index(video))
            worker.finish()
            os._exit(0)
        os.wait()
    writer.close()
    assert files_of(tmp_path / "many") == alone


def test_an_interrupted_run_goes_on_and_does_finished_shards_no_second_time(toy, tmp_path):
    ids = [video.id for video in toy.dataset.videos]
    writer = StoreWriter(tmp_path / "store", toy.dataset, **toy.options())
    for video in ids[6:14]:
        writer.add(video, toy.features[video], frames=10 + ids.index(video))
    assert writer.done == set(ids[6:14])
    writer.close()  # shard 1 is whole, shard 2 was open
    (tmp_path / "store" / ".shard-00002.h5.77.tmp").write_bytes(b"half a shard")
    again = StoreWriter(tmp_path / "store", toy.dataset, **toy.options())
    assert again.done == set(ids[6:12])
    assert not list((tmp_path / "store").glob(".*.tmp"))
    with pytest.raises(UsageError, match="written already"):
        again.add(ids[6], toy.features[ids[6]], frames=1)
    again.close()
    toy.write(tmp_path / "store")
    assert files_of(tmp_path / "store") == files_of(toy.write(tmp_path / "whole"))


def test_an_unfinished_store_reads_what_is_there_and_says_so(toy, tmp_path, capsys):
    ids = [video.id for video in toy.dataset.videos]
    writer = StoreWriter(tmp_path / "store", toy.dataset, **toy.options())
    for video in ids[12:18]:
        writer.add(video, toy.features[video], frames=1)
    writer.close()
    store = FeatureStore(tmp_path / "store")
    assert not store.complete
    assert "unfinished, 3 of 4 shards are missing" in capsys.readouterr().err
    np.testing.assert_array_equal(store.read("rgb", "pooled", [1]), toy.expected("rgb/pooled", ids[13:14]))
    assert store.split("1")[1].tolist() == [True] * 6


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        pytest.param(
            {"provenance": {"settings": {"backbone": "resnet50", "segments": 3}}},
            'backbone "resnet18" → "resnet50"',
            id="setting",
        ),
        pytest.param({"provenance": {"settings": {"backbone": "resnet18"}}}, "segments 3 → null", id="setting gone"),
        pytest.param({"arrays": {"rgb/pooled": (3, 16)}}, r"flow/map \[2, 4, 3, 3\] → null", id="array gone"),
        pytest.param({"shard_videos": 7}, "shard_videos 6 → 7", id="shard size"),
        pytest.param({"compression": "gzip"}, "compression None → gzip", id="compression"),
    ],
)
def test_other_settings_are_refused_and_named(toy, toy_store, changed, message):
    with pytest.raises(UsageError, match=message):
        StoreWriter(toy_store, toy.dataset, **toy.options(**changed))
    assert verify(toy_store)["ok"]


def test_another_video_list_is_refused(toy, toy_store):
    toy.dataset.videos.pop()
    with pytest.raises(UsageError, match=r"videos \(20 → 19\)"):
        StoreWriter(toy_store, toy.dataset, **toy.options())


def test_other_versions_warn_and_go_on(toy, toy_store, capsys):
    before = files_of(toy_store)
    options = toy.options(provenance={"settings": toy.settings, "versions": {"torch": "3"}}, shard_videos=None)
    StoreWriter(toy_store, toy.dataset, **options).close()
    assert 'versions.torch "2" → "3"' in capsys.readouterr().err
    assert files_of(toy_store) == before


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (np.nan, "rgb/pooled: 1 values are NaN or infinite"),
        (-np.inf, "rgb/pooled: 1 values are NaN or infinite"),
        (65520.0, "rgb/pooled: a value of 65520 is more than fp16 holds"),
        (-7e4, "rgb/pooled: a value of 70000 is more than fp16 holds"),
    ],
)
def test_what_fp16_cannot_hold_is_a_failure_with_its_reason(toy, tmp_path, value, reason):
    ids = [video.id for video in toy.dataset.videos]
    toy.features[ids[8]]["rgb/pooled"][-1, 1, 2] = value
    with StoreWriter(tmp_path / "store", toy.dataset, **toy.options()) as writer:
        reasons = [writer.add(video, toy.features[video], frames=1) for video in ids]
    assert reasons[8].startswith(reason)
    assert [r for i, r in enumerate(reasons) if i != 8] == [None] * 19
    store = FeatureStore(tmp_path / "store")
    assert store.failures == [{"id": ids[8], "reason": reasons[8]}]
    assert ids[8] not in store.ids


def test_the_largest_half_is_stored(toy, tmp_path):
    video = toy.dataset.videos[0].id
    toy.features[video]["rgb/pooled"][0, 0, :2] = 65504, -65504
    store = FeatureStore(toy.write(tmp_path / "store"))
    assert store.read("rgb", "pooled", [0])[0, 0, :2].tolist() == [65504, -65504]


@pytest.mark.parametrize(
    ("features", "reason"),
    [
        ({"flow/map": np.zeros((2, 2, 4, 3, 3)), "rgb/pooled": np.zeros((1, 3, 16))}, "unequal views"),
        ({"flow/map": np.zeros((1, 2, 4, 3, 2)), "rgb/pooled": np.zeros((1, 3, 16))}, r"shape \(1, 2, 4, 3, 2\)"),
        ({"flow/map": np.zeros((0, 2, 4, 3, 3)), "rgb/pooled": np.zeros((0, 3, 16))}, r"shape \(0, 2"),
    ],
)
def test_bad_shapes_are_failures(toy, tmp_path, features, reason):
    writer = StoreWriter(tmp_path / "store", toy.dataset, **toy.options())
    assert re.search(reason, writer.add(toy.dataset.videos[0].id, features, frames=1))
    assert toy.dataset.videos[0].id in writer.done
    with pytest.raises(UsageError, match="added twice"):
        writer.add(toy.dataset.videos[0].id, toy.features[toy.dataset.videos[0].id], frames=1)
    with pytest.raises(UsageError, match="not in the data set"):
        writer.fail("nobody", "")
    with pytest.raises(UsageError, match=r"arrays \['rgb/pooled'\], expected"):
        writer.add(toy.dataset.videos[1].id, {"rgb/pooled": np.zeros((1, 3, 16))}, frames=1)
    writer.close()


def test_a_store_in_which_every_video_failed(toy, tmp_path):
    with StoreWriter(tmp_path / "store", toy.dataset, **toy.options()) as writer:
        for video in toy.dataset.videos:
            writer.fail(video.id, "no such file\nat all")
    store = FeatureStore(tmp_path / "store")
    assert len(store) == 0
    assert len(store.failures) == 20
    assert store.failures[3]["reason"] == "no such file at all"
    assert store.read_whole("rgb", "pooled").shape == (0, 3, 16)
    assert verify(tmp_path / "store")["ok"]


HOLDER = """
    import sys, time
    from avr.core import StoreLock
    from pathlib import Path
    lock = StoreLock(Path(sys.argv[1]))
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_run_is_refused_and_a_dead_one_is_not(toy, tmp_path):
    (tmp_path / "store").mkdir()
    command = [sys.executable, "-c", textwrap.dedent(HOLDER), str(tmp_path / "store")]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UsageError, match=rf"another run writes to this store \(process {holder.pid} on ") as caught:
            StoreWriter(tmp_path / "store", toy.dataset, **toy.options())
        assert "\n" not in str(caught.value)
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        holder.stdout.close()
    toy.write(tmp_path / "store")


def test_this_process_is_refused_a_second_writer_too(toy, tmp_path):
    first = StoreWriter(tmp_path / "store", toy.dataset, **toy.options())
    with pytest.raises(UsageError, match="this process already writes"):
        StoreWriter(tmp_path / "store", toy.dataset, **toy.options())
    first.close()
    toy.write(tmp_path / "store")


def test_a_full_disk_is_one_line_and_loses_nothing(toy, tmp_path):
    """A limit on the size of files stands for the full disk: the same failing write, as any user may set it."""
    ids = [video.id for video in toy.dataset.videos]
    writer = StoreWriter(tmp_path / "store", toy.dataset, **toy.options())
    for video in ids[:6]:
        writer.add(video, toy.features[video], frames=1)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        for video in ids[6:11]:
            writer.add(video, toy.features[video], frames=1)
        with pytest.raises(WorkError, match=r"shard-00001.h5: cannot be written, \d+ bytes needed") as caught:
            writer.add(ids[11], toy.features[ids[11]], frames=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in (tmp_path / "store").glob("*shard*")) == ["shard-00000.h5"]
    writer.close()  # there is room again: the shard that was refused is written now
    assert sorted(path.name for path in (tmp_path / "store").glob("*shard*")) == ["shard-00000.h5", "shard-00001.h5"]
    assert StoreWriter(tmp_path / "store", toy.dataset, **toy.options()).done == set(ids[:12])


def test_a_really_full_disk(toy, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40k", "none", disk], capture_output=True).returncode:
        pytest.skip("needs the right to mount a small tmpfs")
    try:
        with pytest.raises(WorkError, match="No space left on device"):
            toy.write(disk / "store")
        assert not list((disk / "store").glob(".*.tmp"))
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_read_only_disk_is_one_line(toy, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "ro,size=40k", "none", disk], capture_output=True).returncode:
        pytest.skip("needs the right to mount a small tmpfs")
    try:
        with pytest.raises(WorkError, match=r"cannot be made \(Read-only file system\)"):
            toy.write(disk / "store")
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_read_only_store_can_be_read_and_not_written(toy, toy_store):
    if subprocess.run(["mount", "--bind", toy_store, toy_store], capture_output=True).returncode:
        pytest.skip("needs the right to mount")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", toy_store], check=True)
        with FeatureStore(toy_store) as store:
            assert len(store.read_whole("rgb", "pooled")) == int(store.views.sum())
        with pytest.raises(WorkError, match=r"cannot be written \(Read-only file system\)"):
            StoreWriter(toy_store, toy.dataset, **toy.options())
    finally:
        subprocess.run(["umount", toy_store], check=True)


def test_a_folder_of_something_else_is_refused(toy, tmp_path):
    (tmp_path / "holiday.jpg").write_bytes(b"")
    with pytest.raises(UsageError, match=r"holds holiday.jpg but no plan.h5"):
        StoreWriter(tmp_path, toy.dataset, **toy.options())
    with pytest.raises(UsageError, match="is a file"):
        StoreWriter(tmp_path / "holiday.jpg", toy.dataset, **toy.options())


@pytest.mark.parametrize(
    ("arrays", "videos"),
    [
        ({"rgb/pooled": (7, 2048), "flow/pooled": (7, 2048)}, 64),  # 57 KB a video
        ({"rgb/map": (12, 512, 7, 7), "rgb/pooled": (7, 2048)}, 64),  # 0.6 MB
        ({"flow/conv4_2": (24, 512, 28, 28)}, 3),  # 19 MB
        ({"rgb/huge": (100, 2048, 28, 28)}, 1),  # 321 MB
    ],
)
def test_shards_weigh_about_64_mb(arrays, videos):
    assert default_shard_videos(arrays) == videos


@pytest.mark.parametrize("name", ["pooled", "rgb/", "index/x", "a/b/c", "../x"])
def test_bad_array_names_are_refused(toy, tmp_path, name):
    with pytest.raises(UsageError, match="array name"):
        StoreWriter(tmp_path / "store", toy.dataset, **toy.options(arrays={name: (1, 2)}))


def test_bad_data_sets_are_refused(toy, tmp_path):
    toy.dataset.videos[3].id = toy.dataset.videos[4].id
    with pytest.raises(UsageError, match="1 ids repeat, first class1/clip 4é"):
        StoreWriter(tmp_path / "store", toy.dataset, **toy.options())
    toy.dataset.videos[3].id = ""
    with pytest.raises(UsageError, match="an id is empty"):
        StoreWriter(tmp_path / "store", toy.dataset, **toy.options())
    toy.dataset.videos[3].id, toy.dataset.videos[3].label = "new", 3
    with pytest.raises(UsageError, match="labels outside its 3 classes"):
        StoreWriter(tmp_path / "store", toy.dataset, **toy.options())


@pytest.mark.parametrize("compression", ["gzip", "lzf", "zstd", "blosc", "lz4", "bitshuffle"])
def test_compressed_stores_read_the_same(toy, tmp_path, compression):
    if compression not in ("gzip", "lzf"):
        pytest.importorskip("hdf5plugin", reason="hdf5plugin is not installed")
    plain = FeatureStore(toy.write(tmp_path / "plain"))
    path = toy.write(tmp_path / "small", compression=compression)
    assert files_of(path) == files_of(toy.write(tmp_path / "again", compression=compression))
    with FeatureStore(path) as store:
        for name in store.arrays:
            stream, layer = name.split("/")
            np.testing.assert_array_equal(store.read(stream, layer, [17, 0, 3]), plain.read(stream, layer, [17, 0, 3]))
            np.testing.assert_array_equal(store.read_whole(stream, layer), plain.read_whole(stream, layer))
    assert verify(path)["ok"]


def test_unknown_compression_is_refused(toy, tmp_path):
    with pytest.raises(UsageError, match="unknown compression 'zip'; known: gzip, lzf, zstd"):
        StoreWriter(tmp_path / "store", toy.dataset, **toy.options(compression="zip"))


def test_the_seal_is_readable_by_eye(toy_store):
    lines = (toy_store / "shard-00000.h5").read_bytes().split(b"\n")
    assert lines[0] == b"avr-store 1"
    assert json.loads(lines[1])["kind"] == "shard"
