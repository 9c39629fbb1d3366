"""Reading stores: any videos in any order, folder and packed file, rows kept and mapped, threads, damage."""

import os
import pickle
import shutil
import threading
from types import SimpleNamespace

import h5py
import numpy as np
import pytest

from avr.cli import main
from avr.core import UsageError, WorkError
from avr.store import FeatureStore, ShardWriter, StoreWriter, default_store, describe, export, pack, verify


@pytest.fixture(scope="session")
def packed(written, tmp_path_factory):
    """A packed file, for all tests that only read it."""
    return pack(written, tmp_path_factory.mktemp("packed") / "any.h5")


@pytest.fixture(params=["folder", "packed"])
def any_store(request, written, packed):
    """The same store in each of its shapes, to be read."""
    return packed if request.param == "packed" else written


@pytest.mark.parametrize("options", [{}, {"cache_bytes": 0}], ids=["kept", "mapped"])
@pytest.mark.parametrize(
    "videos",
    [[0], [18], [3, 4, 5, 6, 7], [7, 3, 3, 18, 0], [], list(range(19)), list(range(18, -1, -1))],
    ids=["first", "last", "run", "mixed", "none", "all", "backwards"],
)
def test_any_videos_in_any_order(toy, any_store, videos, options):
    with FeatureStore(any_store, **options) as store:
        for name, array in store.arrays.items():
            ids = store.ids[videos].tolist() if videos else []
            for _ in range(3):  # the first read checks, later ones come from memory or do not
                got = store.read(array.stream, array.layer, videos)
                assert got.dtype == np.float16
                assert got.shape[1:] == array.shape
                if videos:
                    np.testing.assert_array_equal(got, toy.expected(name, ids))
            assert store.views[videos].sum() == len(got)


def test_a_caller_may_change_what_it_was_given(toy, toy_store):
    with FeatureStore(toy_store) as store:
        store.read("rgb", "pooled", [0, 1])[:] = 7
        store.read_whole("rgb", "pooled")[:] = 7
        np.testing.assert_array_equal(store.read("rgb", "pooled", [1]), toy.expected("rgb/pooled", [store.ids[1]]))


def test_packed_and_folder_are_one_store(any_store, toy_store):
    with FeatureStore(any_store) as any_shape, FeatureStore(toy_store) as folder:
        assert any_shape.digest == folder.digest
        assert any_shape.notes == folder.notes
        assert any_shape.ids.tolist() == folder.ids.tolist()
        assert any_shape.failures == folder.failures
        assert any_shape.split("two")[0].tolist() == folder.split("two")[0].tolist()


def test_h5py_alone_reads_a_packed_file(toy, toy_store):
    with h5py.File(pack(toy_store)) as file, FeatureStore(toy_store) as store:
        np.testing.assert_array_equal(file["flow/map"][()], store.read_whole("flow", "map"))
        assert not file["flow/map"].is_virtual
    moved = toy_store.with_name("moved.h5")
    shutil.move(toy_store.with_name("store.h5"), moved)
    shutil.rmtree(toy_store)
    with FeatureStore(moved) as store:
        assert len(store.read_whole("rgb", "pooled")) == 36


def test_pack_says_what_it_cannot_do(toy, toy_store, tmp_path):
    pack(toy_store)
    with pytest.raises(UsageError, match="is there already; --overwrite"):
        pack(toy_store)
    assert pack(toy_store, overwrite=True) == tmp_path / "store.h5"
    with pytest.raises(UsageError, match="not a store's folder"):
        pack(tmp_path / "store.h5")
    (toy_store / "index.h5").unlink()
    (toy_store / "shard-00002.h5").unlink()
    with pytest.raises(UsageError, match="unfinished"):
        pack(toy_store, tmp_path / "other.h5")
    assert not list(tmp_path.glob("*other*"))


def test_two_may_pack_to_one_file_at_once(toy_store, tmp_path):
    """Two machines may have one process number; here two threads of one process do."""
    said = []

    def work():
        try:
            said.append(pack(toy_store, tmp_path / "packed.h5", overwrite=True))
        except Exception as error:
            said.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said == [tmp_path / "packed.h5"] * 4
    assert not list(tmp_path.glob(".*.tmp"))


def test_splits_hold_only_videos_with_features(toy, toy_store):
    with FeatureStore(toy_store) as store:
        train, test = store.split("1")
        assert train.tolist() == [True] * 11 + [False] * 8
        assert test.tolist() == [False] * 11 + [True] * 8
        train, test = store.split("two")
        assert np.flatnonzero(train).tolist() == [9, 10, 11, 12, 13]
        assert np.flatnonzero(test).tolist() == [0, 1, 2]


def test_videos_are_named_by_id_position_or_mask(toy_store):
    store = FeatureStore(toy_store)
    mask = store.split("1")[1]
    ids = store.ids[mask]
    expected = store.read("rgb", "pooled", np.flatnonzero(mask))
    assert len(expected) == store.views[mask].sum()
    for videos in (mask, mask.tolist(), ids, ids.tolist(), ids.astype(object)):
        np.testing.assert_array_equal(store.read("rgb", "pooled", videos), expected)
    assert list(store.positions([ids[1], ids[0], ids[1]])) == [np.flatnonzero(mask)[place] for place in (1, 0, 1)]
    assert len(store.positions(np.zeros(len(store), dtype=bool))) == len(store.positions([])) == 0
    assert list(store) == store.ids.tolist()
    one = store[ids[0]]
    assert set(one) == {"rgb/pooled", "flow/map"}
    for name, values in one.items():
        np.testing.assert_array_equal(values, store.read(*name.split("/"), np.flatnonzero(mask)[:1]))


def test_a_store_shows_itself_in_a_line_a_table_and_a_frame(toy_store):
    store = FeatureStore(toy_store)
    held = ", ".join(f"{name} {'×'.join(map(str, array.shape))}" for name, array in store.arrays.items())
    assert repr(store) == (f"FeatureStore(toy: 19 videos, 3 classes, {held}; {toy_store})")
    store.class_names = ("<b>", *store.class_names[1:])
    store.dataset = "<i>toy"
    shown = store._repr_html_()
    assert "&lt;i&gt;toy" in shown
    assert "<i>" not in shown
    frame = store.to_frame()
    assert frame.index.tolist() == store.ids.tolist()
    assert frame["label"].tolist() == [store.class_names[label] for label in store.labels]
    assert frame["views"].tolist() == store.views.tolist()
    train, test = store.split("two")
    assert frame.index[frame["split two"] == "train"].tolist() == store.ids[train].tolist()
    assert frame.index[frame["split two"] == "test"].tolist() == store.ids[test].tolist()


def test_wrong_names_and_positions_list_the_known_ones(toy_store):
    store = FeatureStore(toy_store)
    with pytest.raises(UsageError, match="no split '3'; known: 1, two"):
        store.split("3")
    with pytest.raises(UsageError, match="no array 'rgb/map'; it holds flow/map, rgb/pooled"):
        store.read("rgb", "map", [0])
    with pytest.raises(UsageError, match=r"must lie in 0 … 18"):
        store.read("rgb", "pooled", [19])
    with pytest.raises(UsageError, match=r"must lie in 0 … 18"):
        store.read("rgb", "pooled", [-1])
    with pytest.raises(UsageError, match=r"no video 'class9/clip' with features; there are class0/.*, …"):
        store.read("rgb", "pooled", ["class9/clip"])
    with pytest.raises(UsageError, match=r"a mask of shape \(3,\) for 19 videos"):
        store.read("rgb", "pooled", [True, False, True])
    with pytest.raises(UsageError, match="not by float64"):
        store.read("rgb", "pooled", [0.5])
    assert store.streams == ("flow", "rgb")
    assert store.layers("rgb") == ("pooled",)
    assert store.nbytes("flow", "map") == 36 * 2 * 4 * 3 * 3 * 2


@pytest.mark.parametrize("options", [{}, {"cache_bytes": 0}])
def test_rows_are_streamed_in_the_order_given(toy, any_store, options):
    with FeatureStore(any_store, **options) as store:
        order = np.array([18, 0, 5, 4, 9, 9, 2])
        rows = np.concatenate([store.first_row[video] + np.arange(store.views[video]) for video in order])
        steps = list(store.iterate_rows(["rgb/pooled", "flow/map"], rows, batch_rows=3))
        assert [len(step["rgb/pooled"]) for step in steps] == [len(rows[at : at + 3]) for at in range(0, len(rows), 3)]
        for name in ("rgb/pooled", "flow/map"):
            seen = np.concatenate([step[name] for step in steps])
            np.testing.assert_array_equal(seen, toy.expected(name, store.ids[order]))


def test_threads_may_share_a_store(toy, toy_store):
    with FeatureStore(toy_store) as store:
        wrong = []

        def work(seed):
            draw = np.random.default_rng(seed)
            for _ in range(30):
                videos = draw.integers(0, 19, 6)
                name = ("rgb/pooled", "flow/map")[draw.integers(2)]
                got = store.read(*name.split("/"), videos)
                if not np.array_equal(got, toy.expected(name, store.ids[videos])):
                    wrong.append(videos)

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong


def test_a_store_can_be_pickled_and_closed_and_read_again(toy, toy_store):
    store = FeatureStore(toy_store)
    expected = store.read("rgb", "pooled", [1, 2])
    copy = pickle.loads(pickle.dumps(store))
    store.close()
    np.testing.assert_array_equal(copy.read("rgb", "pooled", [1, 2]), expected)
    np.testing.assert_array_equal(store.read("rgb", "pooled", [1, 2]), expected)


def test_many_files_need_few_descriptors(toy, tmp_path):
    resource = pytest.importorskip("resource")
    path = toy.write(tmp_path / "store", shard_videos=1)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    # A reader takes a quarter of it, and mappings another; what tests before this one left open must fit in the rest.
    limit = max(48, 2 * (1 + max(map(int, os.listdir("/proc/self/fd")))))
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, before[1]))
    try:
        with FeatureStore(path, cache_bytes=0) as store:
            for _ in range(2):
                got = store.read("rgb", "pooled", np.arange(19)[::-1])
                np.testing.assert_array_equal(got, toy.expected("rgb/pooled", store.ids[::-1]))
                assert (
                    sum(path.name in os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd"))
                    <= limit // 2
                )
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_large_reads_are_shared_out_among_threads(tmp_path):
    """Rows of 0.4 MB, several MB at once, some of them side by side in one shard and some not."""
    videos = [SimpleNamespace(id=str(i), path="", label=0, group="") for i in range(16)]
    dataset = SimpleNamespace(name="large", class_names=("a",), videos=videos, splits={})
    values = np.random.default_rng(0).normal(size=(16, 1, 200_000)).astype(np.float16)
    with StoreWriter(
        tmp_path / "store", dataset, arrays={"rgb/x": (200_000,)}, provenance={}, shard_videos=5
    ) as writer:
        for shard in writer.shards():
            for video in shard.video_ids:
                shard.add(video, {"rgb/x": values[int(video)]}, frames=1)
            shard.finish()
    for cache_bytes in (0, 1 << 30):
        with FeatureStore(tmp_path / "store", cache_bytes=cache_bytes) as store:
            for order in (np.arange(16), np.arange(16)[::-1], np.array([3, 4, 5, 6, 0, 15, 14, 3])):
                for _ in range(2):
                    np.testing.assert_array_equal(store.read("rgb", "x", order), values[order, 0])


@pytest.mark.parametrize("options", [{}, {"cache_bytes": 0}], ids=["kept", "mapped"])
def test_a_flipped_row_is_never_returned(toy, toy_store, options):
    shard = toy_store / "shard-00001.h5"
    with h5py.File(shard) as file:
        start, row_bytes = file["rgb/pooled"].id.get_offset(), file["rgb/pooled"][0].nbytes
    content = bytearray(shard.read_bytes())
    content[start + 3 * row_bytes + 10] ^= 0x10
    shard.write_bytes(content)
    with FeatureStore(toy_store, **options) as store:
        bad = int(np.flatnonzero(store.first_row <= store.first_row[5] + 3)[-1])
        for _ in range(2):
            with pytest.raises(WorkError, match=r"shard-00001.h5: row 3 of rgb/pooled is damaged; `avr store verify`"):
                store.read("rgb", "pooled", [0, bad])
        with pytest.raises(WorkError, match="row 3"):
            store.read_whole("rgb", "pooled")
        others = [video for video in range(19) if video != bad]
        np.testing.assert_array_equal(
            store.read("rgb", "pooled", others), toy.expected("rgb/pooled", store.ids[others])
        )
        np.testing.assert_array_equal(store.read("flow", "map", [bad]), toy.expected("flow/map", store.ids[[bad]]))


@pytest.mark.parametrize("options", [{}, {"cache_bytes": 0}], ids=["kept", "mapped"])
def test_a_shard_cut_while_it_is_read_is_an_error_and_no_signal(toy, toy_store, options):
    shard = toy_store / "shard-00000.h5"
    with FeatureStore(toy_store, **options) as store:
        expected = store.read("rgb", "pooled", [0])
        store.read("rgb", "pooled", [0])
        with open(shard, "rb+") as file:
            file.truncate(2000)
        if options:
            with pytest.raises(WorkError, match=r"shard-00000.h5: has 2000 bytes"):
                store.read("rgb", "pooled", [0])
        else:
            np.testing.assert_array_equal(store.read("rgb", "pooled", [0]), expected)
        with pytest.raises(WorkError, match=r"shard-00000.h5: cut short"):
            store.read("flow", "map", [2])


def test_a_shard_that_is_gone_or_another_ones_is_an_error(toy, toy_store):
    shutil.copy(toy_store / "shard-00001.h5", toy_store / "shard-00002.h5")
    (toy_store / "shard-00000.h5").unlink()
    store = FeatureStore(toy_store)
    with pytest.raises(WorkError, match=r"shard-00000.h5: cannot be opened or read \(No such file"):
        store.read("rgb", "pooled", [0])
    with pytest.raises(
        WorkError, match=r"shard-00002.h5: (has \d+ bytes, the index says|row \d+ of rgb/pooled is damaged)"
    ):
        store.read("rgb", "pooled", [12])


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (b"avr-store 2\n{}\n", UsageError, "format version '2', but this avr reads version 1: update avr"),
        (b"\x89HDF\r\n\x1a\n", UsageError, "no file of avr's"),
        (b"", WorkError, "damaged"),
        (b"\0" * 4096, WorkError, "its first bytes are gone"),
        (b"avr-store 1\nno json\n12345678\n", WorkError, "damaged .*behind its seal"),
    ],
    ids=["newer", "plain hdf5", "empty", "zeros", "no seal"],
)
def test_what_is_no_store_says_so(toy_store, tmp_path, content, error, message):
    (toy_store / "index.h5").write_bytes(content)
    with pytest.raises(error, match=message):
        FeatureStore(toy_store)
    (tmp_path / "file.h5").write_bytes(content)
    with pytest.raises(error, match=message):
        FeatureStore(tmp_path / "file.h5")


def test_no_store_at_all(tmp_path):
    with pytest.raises(UsageError, match="no store"):
        FeatureStore(tmp_path)
    with pytest.raises(UsageError, match=r"cannot be opened \(No such file"):
        FeatureStore(tmp_path / "nothing.h5")


def test_the_newest_store_is_the_default(toy, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="no store under features/: run `avr extract"):
        default_store()
    (tmp_path / "features" / "empty").mkdir(parents=True)
    toy.write(tmp_path / "features" / "old")
    toy.write(tmp_path / "features" / "new")
    assert default_store().as_posix() == "features/new"
    assert "store: features/new (the newest of 2 under features/)" in capsys.readouterr().err


def test_export_gives_plain_files(toy, toy_store, tmp_path):
    export(toy_store, tmp_path / "out")
    with FeatureStore(toy_store) as store:
        np.testing.assert_array_equal(np.load(tmp_path / "out" / "flow_map.npy"), store.read_whole("flow", "map"))
    lines = (tmp_path / "out" / "videos.csv").read_text().splitlines()
    assert lines[0] == (
        "ids,paths,labels,groups,frames,first_row,views,promised,rate,varies,start,end,seconds,width,height,codec,"
        "split 1,split two"
    )
    assert lines[1] == "class0/clip 0é,/data/0.avi,0,film0,10,0,1,0,0.0,0,0.0,0.0,0.0,0,0,,train,test"
    for stream in ("flow", "rgb"):
        assert (np.load(tmp_path / "out" / f"{stream}_row_frames.npy") == -1).all()
        assert np.isnan(np.load(tmp_path / "out" / f"{stream}_row_seconds.npy")).all()
    assert (tmp_path / "out" / "classes.txt").read_text() == "walk\nrun\njump\n"
    with pytest.raises(UsageError, match=r"out: holds classes.txt already"):
        export(toy_store, tmp_path / "out")


def test_what_is_known_of_videos_and_rows_is_kept_with_them(toy, tmp_path):
    known = {"promised": 40, "rate": 29.97, "varies": True, "start": 2.5, "end": 3.75, "seconds": 1.25}
    known |= {"width": 320, "height": 240, "codec": "h264"}
    ids = [video.id for video in toy.dataset.videos]
    with StoreWriter(tmp_path / "store", toy.dataset, **toy.options()) as writer:
        for shard in writer.shards():
            for number, video in enumerate(shard.video_ids):
                features = {name: rows[:1] for name, rows in toy.features[video].items()}
                shown = ([[number, 9]], [[2.5, 2.8]])
                if video == ids[3]:  # of which nothing is known
                    shard.add(video, features, frames=30)
                    continue
                shard.add(video, features, frames=30, facts=known, shown=shown)
    with pytest.raises(UsageError, match=r"frames and seconds of shape \(1, 5\) and \(1, 5\), not \(1, 2\)"):
        ShardWriter(tmp_path / "store", 0).add(ids[0], features, frames=30, shown=(np.zeros((1, 5)), np.zeros((1, 5))))
    pack(tmp_path / "store", tmp_path / "packed.h5")
    (tmp_path / "part").mkdir()
    for name in ("plan.h5", "shard-00000.h5"):  # unfinished: the shards tell
        shutil.copy(tmp_path / "store" / name, tmp_path / "part")
    for place, count in (("store", 20), ("packed.h5", 20), ("part", 6)):
        with FeatureStore(tmp_path / place) as store:
            others = np.arange(count) != 3
            for name, value in known.items():
                assert (store.facts[name][others] == value).all()
            assert (store.facts["rate"][3], store.facts["codec"][3]) == (0.0, "")
            frames, seconds = store.shown("flow")
            assert frames[:6].tolist() == [[0, 9], [1, 9], [2, 9], [-1, -1], [4, 9], [5, 9]]
            np.testing.assert_array_equal(seconds[others], [[2.5, 2.8]] * (count - 1))
            assert np.isnan(seconds[3]).all()
    found = describe(tmp_path / "store")
    assert (found["rates"], found["codecs"]) == ({"29.97": 19, "": 1}, {"h264": 19, "": 1})
    assert (found["sizes"], found["varying_rates"]) == ({"320x240": 19, "": 1}, 19)
    assert verify(tmp_path / "store")["ok"]


@pytest.mark.parametrize(
    ("provenance", "warned"),
    [
        ({"decoder": "opencv", "versions": {"opencv": "5.0.0.93"}}, True),
        ({"decoder": "opencv", "versions": {"opencv": "4.13.0"}}, True),
        ({"decoder": "opencv", "versions": {"opencv": "4.12.0"}}, False),
        ({"versions": {"opencv": "5.0.0.93", "pyav": "18.1.0"}}, False),
    ],
)
def test_a_store_of_a_decoder_that_misreads_is_warned_of(toy, tmp_path, runner, provenance, warned):
    with StoreWriter(
        tmp_path / "store", toy.dataset, **toy.options(provenance={"settings": {}, **provenance})
    ) as writer:
        for shard in writer.shards():
            toy.fill(shard)
    said = runner.invoke(main, ["store", "info", str(tmp_path / "store")]).stdout
    assert ("warning: these features were decoded by OpenCV" in said) == warned
