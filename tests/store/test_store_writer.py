"""Writing stores: contents, equal bytes, resume, refusals, failures."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time

import h5py
import numpy as np
import pytest

from avr.core import UsageError, WorkError
from avr.store import FeatureStore, ShardWriter, StoreWriter, describe, repair, verify
from avr.store.features.facts import Facts


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
    assert store.notes == [{"id": toy.dataset.videos[7].id, "note": "2 frames do not decode"}]
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
        assert file["flow/map"].chunks is None  # contiguous
        np.testing.assert_array_equal(file["flow/map"][()], toy.expected("flow/map", ids[5:11]))


def test_order_of_adding_and_time_do_not_change_a_byte(toy, tmp_path):
    ids = [video.id for video in toy.dataset.videos]
    first = files_of(toy.write(tmp_path / "first"))
    time.sleep(1.01 - time.time() % 1)  # HDF5's time stamps count seconds
    assert files_of(toy.write(tmp_path / "second", order=ids[::-1])) == first


def in_children(works):
    """Run functions at once, each in a fork, which holds no lock of ours; all must end well."""
    children = []
    for work in works:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                work()
                code = 0
            finally:
                os._exit(code)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * len(children)


@pytest.mark.usefixtures("locks")
def test_workers_share_out_a_store_and_give_the_same_bytes(toy, tmp_path):
    """Three that know the data set begin or join it at once, as a batch system starts them; each makes some shards."""
    alone = files_of(toy.write(tmp_path / "alone", shard_videos=2))

    def work():
        with StoreWriter(tmp_path / "many", toy.dataset, **toy.options(shard_videos=2)) as writer:
            for shard in writer.shards(poll=0.01):
                with open(tmp_path / "log", "a") as log:
                    log.write(f"{shard.number} {os.getpid()}\n")
                toy.fill(shard)
                time.sleep(0.02)
                shard.finish()

    in_children([work] * 3)
    made = [line.split() for line in (tmp_path / "log").read_text().splitlines()]
    assert sorted(int(number) for number, _ in made) == list(range(10))  # none twice
    assert len({process for _, process in made}) == 3
    assert files_of(tmp_path / "many") == alone
    assert not list((tmp_path / "many").glob(".*.tmp"))


@pytest.mark.usefixtures("locks")
def test_a_second_worker_takes_what_the_first_has_not_claimed(toy, tmp_path):
    with StoreWriter(tmp_path / "store", toy.dataset, **toy.options()) as writer:
        held = writer.claim(1)
        assert held.video_ids == tuple(video.id for video in toy.dataset.videos[6:12])
        assert writer.claim(1) is None

        def work():
            with StoreWriter(tmp_path / "store", toy.dataset, **toy.options()) as joined:
                assert joined.claim(1) is None
                while (shard := joined.claim_next()) is not None:
                    toy.fill(shard)
                    shard.finish()
                assert joined.missing() == [1]
                assert not joined.finish()

        in_children([work])
        assert writer.claim(0) is None  # it is there
        assert writer.claim_next() is None  # the one that is missing is ours
        toy.fill(held)
        held.finish()
    assert files_of(tmp_path / "store") == files_of(toy.write(tmp_path / "alone"))


def test_of_many_workers_one_builds_the_index(toy, tmp_path):
    """Reading the tables of every shard takes long in a large store: who comes to it last need not do it again."""
    with StoreWriter(tmp_path, toy.dataset, **toy.options()) as writer:
        for shard in writer.shards():
            toy.fill(shard)
        assert writer.finish()
        before = (tmp_path / "index.h5").stat().st_mtime_ns, (tmp_path / "shard-00000.h5").read_bytes()
        (tmp_path / "shard-00000.h5").write_bytes(b"would be read and refused")
    (tmp_path / "shard-00000.h5").write_bytes(before[1])
    assert (tmp_path / "index.h5").stat().st_mtime_ns == before[0]


def test_a_shard_may_be_written_without_a_claim(toy, tmp_path):
    with StoreWriter(tmp_path / "store", toy.dataset, **toy.options()) as writer:
        shards = [ShardWriter(tmp_path / "store", number) for number in writer.missing()]
        with pytest.raises(UsageError, match="no shard 4; there are 4"):
            ShardWriter(tmp_path / "store", 4)
        for shard in shards:
            toy.fill(shard)
            shard.finish()
    assert files_of(tmp_path / "store") == files_of(toy.write(tmp_path / "alone"))


def test_an_interrupted_run_goes_on_and_does_finished_shards_no_second_time(toy, tmp_path):
    with StoreWriter(tmp_path / "store", toy.dataset, **toy.options()) as writer:
        whole, begun = writer.claim(1), writer.claim(2)
        toy.fill(whole)
        whole.finish()
        begun.fail(begun.video_ids[0], "")
        with pytest.raises(UsageError, match=r"shard-00002.h5: 5 videos missing, first class1/clip 13é"):
            begun.finish()
    (tmp_path / "store" / ".shard-00002.h5.77.tmp").write_bytes(b"half a shard")
    with StoreWriter(tmp_path / "store", toy.dataset, **toy.options()) as again:
        assert again.missing() == [0, 2, 3]
        assert again.claim(2).missing == again.plan.ids[12:18]
    toy.write(tmp_path / "store")
    assert not list((tmp_path / "store").glob(".*.tmp"))
    assert files_of(tmp_path / "store") == files_of(toy.write(tmp_path / "whole"))


def test_shards_made_with_other_versions_are_taken_when_the_plan_is_lost(toy, toy_store, tmp_path):
    """The plan flipped, repaired, a library's version changed, repaired again: no shard is lost."""
    shards = {name: content for name, content in files_of(toy_store).items() if name.startswith("shard")}
    for index in (True, False):  # without an index, only the same settings tell the plan again
        content = bytearray((toy_store / "plan.h5").read_bytes())
        content[5000] ^= 1
        (toy_store / "plan.h5").write_bytes(content)
        if not index:
            (toy_store / "index.h5").unlink()
        assert repair(toy_store)["dropped"] == ["plan.h5"]
        assert (toy_store / "plan.h5").exists() == index
        other = toy.options(provenance={"settings": toy.settings, "versions": {"torch": "3"}})
        with StoreWriter(toy_store, toy.dataset, **other) as writer:
            assert writer.missing() == []
        assert repair(toy_store)["dropped"] == []
        assert {name: content for name, content in files_of(toy_store).items() if name.startswith("shard")} == shards
        assert verify(toy_store)["ok"]


def test_a_damaged_plan_is_written_again_by_the_same_settings(toy, toy_store, capsys):
    whole = files_of(toy_store)
    for index in (True, False):
        (toy_store / "plan.h5").write_bytes(whole["plan.h5"][:5000])
        if not index:
            (toy_store / "index.h5").unlink()
        toy.write(toy_store)
        assert "plan.h5 is damaged or gone, and is written anew" in capsys.readouterr().err
        assert files_of(toy_store) == whole
    (toy_store / "plan.h5").write_bytes(whole["plan.h5"].replace(b"avr-store 1", b"avr-store 2"))
    (toy_store / "index.h5").unlink()
    with pytest.raises(UsageError, match="format version '2'"):  # a newer avr's, and not damaged
        toy.write(toy_store)


def test_an_unfinished_store_reads_what_is_there_and_says_so(toy, tmp_path, capsys):
    ids = [video.id for video in toy.dataset.videos]
    with StoreWriter(tmp_path / "store", toy.dataset, **toy.options()) as writer:
        shard = writer.claim(2)
        toy.fill(shard)
        shard.finish()
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
    reasons = []
    with StoreWriter(tmp_path / "store", toy.dataset, **toy.options()) as writer:
        for shard in writer.shards():
            reasons += [shard.add(video, toy.features[video], frames=1) for video in shard.video_ids]
            shard.finish()
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
    first, second = (video.id for video in toy.dataset.videos[:2])
    with StoreWriter(tmp_path / "store", toy.dataset, **toy.options()) as writer:
        shard = writer.claim(0)
        assert re.search(reason, shard.add(first, features, frames=1))
        assert first not in shard.missing
        with pytest.raises(UsageError, match="added twice"):
            shard.add(first, toy.features[first], frames=1)
        with pytest.raises(UsageError, match="nobody: not in shard 0"):
            shard.fail("nobody", "")
        with pytest.raises(UsageError, match=r"arrays \['rgb/pooled'\], expected"):
            shard.add(second, {"rgb/pooled": np.zeros((1, 3, 16))}, frames=1)


def test_a_store_in_which_every_video_failed(toy, tmp_path):
    with StoreWriter(tmp_path / "store", toy.dataset, **toy.options()) as writer:
        for shard in writer.shards():
            for video in shard.video_ids:
                shard.fail(video, "no such file\nat all")
            shard.finish()
    store = FeatureStore(tmp_path / "store")
    assert len(store) == 0
    assert len(store.failures) == 20
    assert store.failures[3]["reason"] == "no such file at all"
    assert store.read_whole("rgb", "pooled").shape == (0, 3, 16)
    assert verify(tmp_path / "store")["ok"]


HOLDER = """
    import sys, time
    from avr.core import FolderLock
    from pathlib import Path
    lock = FolderLock(Path(sys.argv[1]), doing="writes to this store")
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.mark.usefixtures("locks")
def test_a_store_that_one_holds_alone_is_refused_until_it_dies(toy, toy_store):
    command = [sys.executable, "-c", textwrap.dedent(HOLDER), str(toy_store)]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        for begin in (lambda: StoreWriter(toy_store, toy.dataset, **toy.options()), lambda: repair(toy_store)):
            with pytest.raises(
                UsageError, match=rf"another run writes to this store \(process {holder.pid} on "
            ) as said:
                begin()
            assert "\n" not in str(said.value)
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        holder.stdout.close()
    toy.write(toy_store)


def test_this_process_is_refused_a_second_writer(toy, tmp_path):
    with (
        StoreWriter(tmp_path / "store", toy.dataset, **toy.options()),
        pytest.raises(UsageError, match="this process already writes"),
    ):
        toy.write(tmp_path / "store")
    toy.write(tmp_path / "store")


def test_a_full_disk_is_one_line_and_loses_nothing(toy, tmp_path):
    """A limit on the size of files stands for the full disk: the same failing write, as any user may set it."""
    resource = pytest.importorskip("resource")
    with StoreWriter(tmp_path / "store", toy.dataset, **toy.options()) as writer:
        for number in (0, 1):
            shard = writer.claim(number)
            toy.fill(shard)
            if number == 0:
                shard.finish()
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
        try:
            with pytest.raises(
                WorkError, match=r"shard-00001.h5: cannot be written \(File too large, .* KB needed\)"
            ) as caught:
                shard.finish()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert "\n" not in str(caught.value)
        assert sorted(path.name for path in (tmp_path / "store").glob("*shard*")) == ["shard-00000.h5"]
        shard.finish()  # there is room again: nothing of it was lost
        assert writer.missing() == [2, 3]


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
        ({"rgb/pooled": (7, 2048), "flow/pooled": (7, 2048)}, 1024),  # 57 KB a video
        ({"rgb/map": (12, 512, 7, 7), "rgb/pooled": (7, 2048)}, 106),  # 0.6 MB
        ({"flow/conv4_2": (24, 512, 28, 28)}, 3),  # 19 MB
        ({"rgb/huge": (100, 2048, 28, 28)}, 1),  # 321 MB
    ],
)
def test_shards_weigh_about_64_mb(toy, tmp_path, arrays, videos):
    with StoreWriter(tmp_path / "store", toy.dataset, **toy.options(arrays=arrays, shard_videos=None)) as writer:
        assert writer.plan.shard_videos == videos


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


def test_a_store_of_a_compressed_format_is_refused(toy_store, reseal):
    """Format 1 once knew compression: such a file says so in its tables."""
    index = toy_store / "index.h5"
    index.write_bytes(
        reseal(index.read_bytes(), lambda behind: behind.replace(b'"compression": null', b'"compression": "z" '))
    )
    with pytest.raises(UsageError, match="compressed with z, which avr reads no more: extract it again"):
        FeatureStore(toy_store)


def test_what_is_described_of_a_store(toy_store):
    said = describe(toy_store)
    assert (said["kind"], said["videos"], said["rows"], said["shards"], said["complete"]) == ("store", 19, 36, 4, True)
    assert said["notes"] == [{"id": "class1/clip 7é", "note": "2 frames do not decode"}]


def test_a_shard_names_its_plan_as_the_format_tells(toy, toy_store):
    arrays = [["flow/map", [2, 4, 3, 3]], ["rgb/pooled", [3, 16]]]
    fixed = [toy.settings, [video.id for video in toy.dataset.videos], arrays, 6]
    identity = hashlib.sha256(json.dumps(fixed, sort_keys=True).encode()).hexdigest()
    with h5py.File(toy_store / "shard-00002.h5") as file:
        assert json.loads(file["index/about"][()]) == {"number": 2, "plan": identity}


def test_the_seal_is_readable_by_eye(toy_store):
    lines = (toy_store / "shard-00000.h5").read_bytes().split(b"\n")
    assert lines[0] == b"avr-store 1"
    assert json.loads(lines[1])["kind"] == "shard"


def test_a_fact_beyond_its_column_is_the_last_that_it_holds():
    facts = Facts.of({"promised": 25_000_000_000, "width": -(10**12), "rate": 30.0}, None, (1, 2))
    assert {name: facts.videos[name].tolist() for name in ("promised", "width", "rate")} == {
        "promised": [2**31 - 1],
        "width": [-(2**31)],
        "rate": [30.0],
    }
