"""A store of parts: one that grows, is joined when it is read, and loses a stream whole or not at all."""

import os
import pickle
import random
import shutil
import signal
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest

from avr.core import UsageError, WorkError
from avr.store import (
    FeatureStore,
    StoreWriter,
    check_part,
    default_store,
    describe,
    describe_parts,
    drop,
    export,
    pack,
    repair,
    verify,
)

DATA = Path(__file__).parents[1] / "data"
SPLIT = SimpleNamespace(train=["class0/clip 0é"], test=["class1/clip 1é"])


def files_of(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*.h5"))}


def digest_of(store, *streams):
    with FeatureStore(store, streams=streams) as opened:
        return opened.digest


@pytest.fixture
def toy(toy):
    """With a third stream, of four steps."""
    draw = np.random.default_rng(8)
    for number, rows in enumerate(toy.features.values()):
        rows["clip/tokens"] = draw.normal(size=(1 + number % 3, 4, 5, 2)).astype(np.float32)
    return toy


@pytest.fixture(params=["folder", "packed"])
def any_parts(request, written_parts, tmp_path):
    return pack(written_parts, tmp_path / "parts.h5") if request.param == "packed" else written_parts


@pytest.mark.parametrize("cache_bytes", [0, 1 << 30], ids=["mapped", "kept"])
def test_parts_read_as_one_store(toy, any_parts, cache_bytes):
    ids = [video.id for video in toy.dataset.videos]
    with FeatureStore(any_parts, cache_bytes=cache_bytes) as store:
        assert store.streams == ("flow", "rgb")
        assert store.ids.tolist() == [video for video in ids if video != ids[5]]
        assert store.frames.tolist() == [10 + i for i in range(20) if i != 5]
        assert store.failures == [{"id": ids[5], "reason": "cannot be decoded"}]
        assert store.notes == [{"id": ids[7], "note": "2 frames do not decode"}]
        assert store.split("two")[0].sum() == 5
        assert (store.settings("flow"), store.kind("flow")) == ({"kind": "flow", "of": "flow"}, "flow")
        assert store.provenance == {"streams": {name: {"settings": store.settings(name)} for name in store.streams}}
        assert [store.shown(name)[0].shape for name in store.streams] == [(36, 2), (36, 3)]
        assert store.nbytes("rgb", "pooled") == 36 * 3 * 16 * 2
        copy = pickle.loads(pickle.dumps(store))
        for opened in (store, copy):
            for name in ("flow/map", "rgb/pooled"):
                for videos in ([3, 0, 18, 3], np.arange(19), [2]):
                    got = opened.read(*name.split("/"), videos)
                    np.testing.assert_array_equal(got, toy.expected(name, store.ids[videos]))
        rows = np.array([30, 2, 2, 0])
        (step,) = store.iterate_rows(["rgb/pooled", "flow/map"], rows)
        for name, found in step.items():
            np.testing.assert_array_equal(found, store.read_whole(*name.split("/"))[rows])


@pytest.mark.usefixtures("locks")
def test_a_video_that_one_part_lacks_is_left_out_and_told(toy, toy_parts, capsys):
    """Its rows lie elsewhere then in each part, and every reading finds them."""
    ids = [video.id for video in toy.dataset.videos]
    toy.features[ids[8]]["clip/tokens"][0, 0, 0, 0] = np.nan
    with StoreWriter(
        toy_parts / "clip", toy.dataset, arrays={"clip/tokens": (4, 5, 2)}, provenance={}, shard_videos=7
    ) as writer:
        for shard in writer.shards():
            for video in shard.video_ids:
                if video == ids[0]:
                    shard.fail(video, "too short")
                else:
                    shard.add(video, {"clip/tokens": toy.features[video]["clip/tokens"]}, frames=5, note="grey")
    kept = [video for video in ids if video not in (ids[0], ids[5], ids[8])]
    for cache_bytes in (0, 1 << 30):
        with FeatureStore(toy_parts, cache_bytes=cache_bytes) as store:
            assert store.ids.tolist() == kept
            for array in store.arrays.values():
                expected = toy.expected(array.name, kept)
                np.testing.assert_array_equal(store.read_whole(array.stream, array.layer), expected)
                for videos in ([9, 0, 16], [4], np.arange(17)[::-1]):
                    got = store.read(array.stream, array.layer, videos)
                    np.testing.assert_array_equal(got, toy.expected(array.name, store.ids[videos]))
            steps = store.iterate_rows(["clip/tokens", "rgb/pooled"], np.arange(len(expected))[::-1], batch_rows=5)
            seen = np.concatenate([step["rgb/pooled"] for step in steps])
            np.testing.assert_array_equal(seen[::-1], toy.expected("rgb/pooled", kept))
            assert [len(store.shown(stream)[0]) for stream in store.streams] == [len(expected)] * 3
            assert {failed["id"]: failed["reason"] for failed in store.failures} == {
                ids[0]: "clip: too short",
                ids[5]: "flow: cannot be decoded; rgb: cannot be decoded",
                ids[8]: "clip: clip/tokens: 1 values are NaN or infinite",
            }
            notes = {noted["id"]: noted["note"] for noted in store.notes}
            assert (len(notes), notes[ids[1]]) == (17, "clip: grey")
            assert notes[ids[7]] == "clip: grey; flow: 2 frames do not decode; rgb: 2 frames do not decode"
    told = capsys.readouterr().err.splitlines()
    assert told[0].endswith(
        f"3 of 20 videos are left out, 2 not in {toy_parts}/clip, 1 not in {toy_parts}/flow, 1 not in {toy_parts}/rgb; "
        f"first {ids[5]}, {ids[0]}, {ids[8]}"
    )
    assert len(FeatureStore(toy_parts, streams=["flow", "rgb"])) == 19  # what is not read leaves none out
    assert not capsys.readouterr().err


def test_a_stream_more_touches_nothing_and_changes_no_run(toy, toy_parts):
    before, digest = files_of(toy_parts), digest_of(toy_parts)
    assert digest != digest_of(toy_parts, "rgb") != digest_of(toy_parts, "flow")
    toy.write_part(toy_parts, "clip")
    assert {name: content for name, content in files_of(toy_parts).items() if "clip" not in name} == before
    packed = pack(toy_parts)
    for store in (toy_parts, packed):
        assert digest_of(store, "rgb", "flow") == digest_of(store, "flow", "rgb") == digest
        assert digest_of(store) == digest_of(toy_parts) != digest
        with FeatureStore(store, streams=("clip",)) as opened:
            assert list(opened.arrays) == ["clip/tokens"]
            np.testing.assert_array_equal(
                opened.read("clip", "tokens", [4]), toy.expected("clip/tokens", opened.ids[[4]])
            )
    drop(toy_parts, "clip")
    assert files_of(toy_parts) == before


@pytest.mark.parametrize("form", ["folder", "packed"])
@pytest.mark.parametrize("version", ["store-v1", "store-v1-3"])
def test_a_store_of_before_gets_a_part_beside_it(tmp_path, version, form):
    """Its two streams are one part, in the store's own folder, which keeps its bytes and its digest."""
    store = shutil.copytree(DATA / version / "store", tmp_path / "store")
    before, digest = files_of(store), digest_of(store)
    with FeatureStore(store) as old:
        ids, old_ids = [*old.ids.tolist(), "a/v2 é!"], old.ids.tolist()
        videos = [
            SimpleNamespace(id=video, path="", label=label, group=group)
            for video, label, group in zip(ids, [*old.labels, 0], [*old.groups, "g2"], strict=True)
        ]
        splits = {
            name: SimpleNamespace(train=old.ids[old.split(name)[0]], test=old.ids[old.split(name)[1]])
            for name in old.split_names
        }
        dataset = SimpleNamespace(name="old", class_names=old.class_names, videos=videos, splits=splits)
        views = dict(zip(ids, [*old.views.tolist(), 1], strict=True))
    with StoreWriter(store / "clip", dataset, arrays={"clip/pooled": (3, 4)}, provenance={}) as writer:
        for shard in writer.shards():
            for number, video in enumerate(shard.video_ids):
                shard.add(video, {"clip/pooled": np.full((views[video], 3, 4), number)}, frames=1)
    assert {name: content for name, content in files_of(store).items() if "clip" not in name} == before
    assert verify(store) == {**verify(store), "ok": True, "files": len(before) + 3}
    read = pack(store, tmp_path / "packed.h5") if form == "packed" else store
    assert digest_of(read, "rgb", "flow") == digest_of(read, "flow") == digest
    with FeatureStore(read) as opened:
        assert opened.streams == ("clip", "flow", "rgb")
        assert opened.ids.tolist() == old_ids
        assert opened.settings("flow") == {"backbone": "resnet18"}
        assert (opened.kind("flow"), opened.kind("clip")) == ("flow", "clip")
        assert opened.read("clip", "pooled", [4])[0, 0, 0] == 4
        assert opened.failures == [{"id": "a/v2 é!", "reason": "flow, rgb: cut"}]
        with FeatureStore(DATA / version / "store") as old:
            for array in old.arrays.values():
                whole = opened.read_whole(array.stream, array.layer)
                np.testing.assert_array_equal(whole, old.read_whole(array.stream, array.layer))
    with pytest.raises(UsageError, match=r"rgb lies in the store's own folder with all of flow, rgb, .* dropped alone"):
        drop(store, "rgb")
    with pytest.raises(UsageError, match="holds a stream rgb already, in one part with others"):
        check_part(store, "rgb", dataset)
    assert list(describe_parts(store)) == ["", "clip"]
    drop(store, "clip")
    assert files_of(store) == before


def other_store(toy, path, stream="rgb", **changed):
    """A store of the toy's videos changed: in another order, classes in another order, some gone."""
    videos = [SimpleNamespace(**{**vars(video), "label": 2 - video.label}) for video in toy.dataset.videos[::-1]]
    dataset = {**vars(toy.dataset), "videos": videos, "class_names": toy.dataset.class_names[::-1], **changed}
    own, toy.dataset = toy.dataset, SimpleNamespace(**dataset)
    ids = [video.id for video in own.videos]
    try:
        arrays = {name: rows.shape[1:] for name, rows in toy.features[ids[0]].items() if stream in name}
        with StoreWriter(path / stream, toy.dataset, **toy.options(arrays=arrays)) as writer:
            for shard in writer.shards():
                for video in shard.video_ids:
                    features = {name: toy.features[video][name] for name in arrays}
                    shard.add(video, features, frames=0)
    finally:
        toy.dataset = own
    return path


def test_stores_are_joined_by_id(toy, toy_parts, tmp_path, capsys):
    """Another order of videos and classes, videos that one alone has, and streams of one name."""
    videos = [video.id for video in toy.dataset.videos]
    other = other_store(toy, tmp_path / "other one")
    with FeatureStore([toy_parts, str(other)]) as store:
        assert store.streams == ("flow", "other_one-rgb", "parts-rgb")
        assert store.places == (toy_parts.resolve(), other.resolve())
        assert store.ids.tolist() == [video for video in videos if video != videos[5]]
        assert store.class_names == ("walk", "run", "jump")
        assert store.labels.tolist() == [i % 3 for i in range(20) if i != 5]
        for stream in ("other_one-rgb", "parts-rgb"):
            np.testing.assert_array_equal(store.read_whole(stream, "pooled"), toy.expected("rgb/pooled", store.ids))
            assert store.kind(stream) == "rgb"
        assert store.failures == [{"id": videos[5], "reason": "flow: cannot be decoded; parts-rgb: cannot be decoded"}]
    assert f"1 of 20 videos are left out, 1 not in {toy_parts}/flow" in capsys.readouterr().err
    with FeatureStore([other, toy_parts], streams=["parts-rgb", "flow"]) as store:
        assert store.streams == ("flow", "parts-rgb")
        assert store.digest != digest_of(toy_parts)  # a stream is called otherwise
    with pytest.raises(UsageError, match=r"unknown stream 'rgb'.*; known: other_one-rgb, flow, parts-rgb"):
        FeatureStore([other, toy_parts], streams=["rgb"])
    shutil.copytree(toy_parts, tmp_path / "elsewhere" / "parts")
    with pytest.raises(UsageError, match="both hold what is called parts-flow: rename"):
        FeatureStore([toy_parts, tmp_path / "elsewhere" / "parts"])
    with pytest.raises(UsageError, match="parts/flow: is named twice"):
        FeatureStore([toy_parts, toy_parts])


def test_videos_of_one_store_alone_are_told(toy, toy_parts, tmp_path, capsys):
    videos = [SimpleNamespace(**vars(video)) for video in toy.dataset.videos[2:]]
    videos[3].id = "new"  # in place of the one that failed
    toy.features["new"] = toy.features[toy.dataset.videos[0].id]
    other = other_store(toy, tmp_path / "other", videos=videos, class_names=toy.dataset.class_names, splits={})
    with FeatureStore([toy_parts, other], streams=("flow", "other-rgb")) as store:
        assert len(store) == 17
        assert store.split_names == ()
        reasons = {failed["id"]: failed["reason"] for failed in store.failures}
        assert reasons["new"] == f"flow: not among the videos of {toy_parts}/flow"
        assert reasons["class0/clip 0é"] == f"other-rgb: not among the videos of {other}/rgb"
    told = capsys.readouterr().err
    assert f"3 of 20 videos are left out, 1 not in {toy_parts}/flow, 2 not in {other}/rgb; first class0/clip 0é" in told
    assert "splits left out, which not all that is read together has: 1, two" in told


@pytest.mark.parametrize(
    ("group", "changed", "said"),
    [
        ("", {"class_names": ("walk", "run", "jump")}, "class of 12 videos, first of class0/clip 0é: walk and jump"),
        ("film9", {}, "group of 19 videos, first of class0/clip 0é: film0 and film9"),
        ("", {"splits": {"1": SPLIT}}, "part in split 1 of 18 videos, first of class1/clip 1é: training and test"),
    ],
)
def test_stores_that_disagree_are_refused(toy, toy_parts, tmp_path, group, changed, said):
    videos = [SimpleNamespace(**{**vars(video), "label": 2 - video.label}) for video in toy.dataset.videos]
    for video in videos:
        video.group = group or video.group
    other = other_store(toy, tmp_path / "other", videos=videos, **changed)
    with pytest.raises(UsageError) as caught:
        FeatureStore([toy_parts, other], streams=("flow", "other-rgb"))
    assert f"{toy_parts}/flow and {other}/rgb disagree on the {said}" in str(caught.value)


def test_unequal_views_and_no_common_video_are_refused(toy, toy_parts, tmp_path):
    ids = [video.id for video in toy.dataset.videos]
    toy.features[ids[1]]["rgb/pooled"] = toy.features[ids[1]]["rgb/pooled"][:1]
    other = other_store(toy, tmp_path / "other")
    with pytest.raises(UsageError, match=r"number of views of 1 videos, first of class1/clip 1é: 2 and 1; .*--views"):
        FeatureStore([toy_parts, other], streams=("flow", "other-rgb"))
    videos = [SimpleNamespace(**{**vars(video), "id": f"x{n}"}) for n, video in enumerate(toy.dataset.videos)]
    toy.features |= {f"x{n}": toy.features[video] for n, video in enumerate(ids)}
    third = other_store(toy, tmp_path / "third", videos=videos)
    with pytest.raises(
        UsageError, match=r"no video is in all .*: the first are class0/clip 0é in .*flow, .*, x0 in .*rgb$"
    ):
        FeatureStore([toy_parts, third])


def test_what_is_known_by_one_part_is_known(toy, tmp_path):
    """Features made elsewhere know no file; those beside them do."""
    for stream, path, facts in (("a", "", {}), ("b", "/v.avi", {"rate": 25.0, "codec": "h264", "start": 2.0})):
        videos = [SimpleNamespace(id="v", path=path, label=0, group="")]
        dataset = SimpleNamespace(name="one", class_names=("c",), videos=videos, splits={})
        with StoreWriter(tmp_path / stream, dataset, arrays={f"{stream}/x": (2,)}, provenance={}) as writer:
            for shard in writer.shards():
                shard.add("v", {f"{stream}/x": np.zeros((1, 2))}, frames=9 * len(facts), facts=facts)
    with FeatureStore(tmp_path) as store:
        assert (store.paths[0], store.frames[0]) == ("/v.avi", 27)
        assert [store.facts[name][0] for name in ("rate", "codec", "start", "width")] == [25.0, "h264", 2.0, 0]


def test_a_part_of_which_shards_are_missing(toy, toy_parts, capsys):
    (toy_parts / "flow" / "index.h5").unlink()
    (toy_parts / "flow" / "shard-00001.h5").unlink()
    with FeatureStore(toy_parts) as store:
        assert not store.complete
        assert len(store) == 13
        assert len(store.failures) == 1  # what is not made yet has not failed
        np.testing.assert_array_equal(store.read_whole("rgb", "pooled"), toy.expected("rgb/pooled", store.ids))
    assert f"{toy_parts}/flow: unfinished, 1 of 4 shards are missing" in capsys.readouterr().err
    assert FeatureStore(toy_parts, streams=["rgb"]).complete
    plan = describe_parts(toy_parts)["flow"]
    assert (plan.settings, plan.shard_videos) == ({"kind": "flow", "of": "flow"}, 6)
    assert verify(toy_parts)["missing_shards"] == 1
    with pytest.raises(UsageError, match="parts/flow: unfinished"):
        pack(toy_parts)


def test_a_folder_of_stores_is_no_store(toy, written, tmp_path):
    shutil.copytree(written, tmp_path / "features" / "toy")
    for work in (FeatureStore, verify, repair, pack, describe_parts, lambda store: drop(store, "toy")):
        with pytest.raises(UsageError, match=r"features/toy: holds flow, rgb and is no part 'toy' of a store"):
            work(tmp_path / "features")
    assert verify(tmp_path / "features" / "toy")["ok"]


def test_a_new_part_must_be_of_the_same_videos(toy, toy_parts, tmp_path):
    check_part(toy_parts, "clip", toy.dataset)
    check_part(toy_parts, "rgb", toy.dataset)
    check_part(tmp_path / "nothing", "rgb", toy.dataset)
    assert not (tmp_path / "nothing").exists()
    changed = {
        "videos": {"videos": toy.dataset.videos[1:]},
        "class_names": {"class_names": ("walk", "run", "leap")},
        "split_names": {"splits": {"1": toy.dataset.splits["1"]}},
        "splits": {"splits": {**toy.dataset.splits, "two": toy.dataset.splits["1"]}},
    }
    for what, other in changed.items():
        with pytest.raises(UsageError, match=rf"the videos of flow are others: .*{what} \(.*; use the same data set"):
            check_part(toy_parts, "clip", SimpleNamespace(**{**vars(toy.dataset), **other}))
    for what, value in (("labels", 1), ("groups", "film7")):
        videos = [SimpleNamespace(**vars(video)) for video in toy.dataset.videos]
        setattr(videos[3], what.removesuffix("s"), value)
        with pytest.raises(UsageError, match=rf"{what} \(number 3: .* → {value}\)"):
            check_part(toy_parts, "clip", SimpleNamespace(**{**vars(toy.dataset), "videos": videos}))
    (tmp_path / "photos" / "rgb").mkdir(parents=True)  # as another worker has just made it
    (tmp_path / "photos" / "rgb" / ".lock").touch()
    check_part(tmp_path / "photos", "flow", toy.dataset)
    (tmp_path / "photos" / "holiday.jpg").touch()
    with pytest.raises(UsageError, match=r"photos: holds holiday.jpg but no plan.h5: no store"):
        check_part(tmp_path / "photos", "flow", toy.dataset)


def test_a_stream_is_dropped_and_made_again(toy, toy_parts):
    before = files_of(toy_parts)
    size = sum(path.stat().st_size for path in (toy_parts / "flow").iterdir())
    assert drop(toy_parts, "flow") == {"dropped": "flow", "bytes": size, "streams": ["rgb"]}
    assert [path.name for path in toy_parts.iterdir()] == ["rgb"]
    with FeatureStore(toy_parts) as store:
        assert store.streams == ("rgb",)
    with pytest.raises(UsageError, match=r"unknown stream 'flow'.*; known: rgb"):
        drop(toy_parts, "flow")
    toy.write_part(toy_parts, "flow")
    assert files_of(toy_parts) == before
    drop(toy_parts, "flow")
    assert drop(toy_parts, "rgb")["streams"] == []
    for read in (FeatureStore, verify, lambda store: drop(store, "rgb")):
        with pytest.raises(UsageError, match="no store"):
            read(toy_parts)
    check_part(toy_parts, "rgb", toy.dataset)
    toy.write_part(toy_parts, "rgb")


def test_what_must_stay_is_not_dropped(toy, toy_parts):
    writer = StoreWriter(
        toy_parts / "rgb",
        toy.dataset,
        **toy.options(arrays={"rgb/pooled": (3, 16)}, provenance={"settings": {"kind": "rgb", "of": "rgb"}}),
    )
    with pytest.raises(UsageError, match="this process already writes to this store"):
        drop(toy_parts, "rgb")
    with pytest.raises(UsageError, match="this process already writes to this store"):
        repair(toy_parts)
    writer.close()
    with pytest.raises(UsageError, match="not a store's folder"):
        drop(pack(toy_parts), "rgb")
    (toy_parts / "rgb" / "mine.txt").touch()
    with pytest.raises(UsageError, match=r"also holds mine.txt; move that"):
        drop(toy_parts, "rgb")
    assert verify(toy_parts)["ok"]


def test_a_killed_drop_leaves_the_stream_or_none(toy, toy_parts):
    """Killed at any moment; what it leaves is seen by nobody, and removed by who comes next."""
    draw, before = random.Random(3), files_of(toy_parts)
    outcomes = Counter()
    for attempt in range(24 if os.environ.get("AVR_TEST_EXAMPLES") == "full" else 12):
        child = os.fork()
        if child == 0:
            try:
                drop(toy_parts, "flow")
            finally:
                os._exit(0)
        time.sleep(draw.uniform(0, 0.012) * 1.3**attempt)  # sooner or later it has time to end, on a slow machine too
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        gone = not (toy_parts / "flow").exists()
        outcomes[gone, bool(list(toy_parts.glob(".*.dropped")))] += 1
        assert verify(toy_parts)["ok"]
        with FeatureStore(toy_parts) as store:
            assert store.streams == (("rgb",) if gone else ("flow", "rgb"))
        if attempt % 2:
            left = [path.name for path in toy_parts.glob(".*")]
            assert repair(toy_parts)["dropped"] == left
        if gone:
            toy.write_part(toy_parts, "flow")
            assert not list(toy_parts.glob(".*.dropped"))
        assert files_of(toy_parts) == before
    assert len(outcomes) > 1  # killed before and after it was done, at the least
    (toy_parts / ".flow.12ab34cd.dropped").mkdir()
    (toy_parts / ".flow.12ab34cd.dropped" / "shard-00000.h5").touch()
    toy.write_part(toy_parts, "flow")
    assert [path.name for path in toy_parts.glob(".*")] == []


@pytest.mark.parametrize("name", ["plan.h5", "index.h5", "shard-00002.h5"])
def test_damage_in_one_part_is_named_and_hides_no_other(toy, toy_parts, name):
    before = files_of(toy_parts)
    for part, place in (("flow", -3), ("rgb", -3)) if name.startswith("shard") else (("flow", 5000),):
        content = bytearray((toy_parts / part / name).read_bytes())
        content[place] ^= 1
        (toy_parts / part / name).write_bytes(content)
    (toy_parts / "rgb" / ".shard-00001.h5.7.tmp").touch()
    found = verify(toy_parts)
    damaged = [item["file"] for item in found["damaged"]]
    assert damaged == [f"flow/{name}"] + [f"rgb/{name}"] * name.startswith("shard")
    assert (found["ok"], found["files"]) == (False, 12)
    if name == "index.h5":
        with pytest.raises(WorkError, match=r"flow/index.h5: damaged"):
            FeatureStore(toy_parts)
        assert len(FeatureStore(toy_parts, streams=["rgb"])) == 19
    result = repair(toy_parts)
    assert {*damaged, "rgb/.shard-00001.h5.7.tmp"} <= {*result["dropped"]}
    assert result["complete"] == (not name.startswith("shard"))
    assert result["missing_shards"] == 2 * name.startswith("shard")
    for stream in ("flow", "rgb"):
        toy.write_part(toy_parts, stream)
    assert files_of(toy_parts) == before


def test_a_packed_store_of_parts_is_the_folder(toy, toy_parts, tmp_path):
    packed = pack(toy_parts)
    assert verify(packed)["ok"]
    with h5py.File(packed) as file, FeatureStore(toy_parts) as store:
        for array in store.arrays.values():
            np.testing.assert_array_equal(file[array.name][()], store.read_whole(array.stream, array.layer))
            tables = file[f"index/parts/{array.stream}"]
            assert [video.decode() for video in tables["videos/id"][()]] == store.ids.tolist()
    told = [
        {**describe(path), "path": "", "packed": "", "shards": 0, "bytes_on_disk": 0} for path in (toy_parts, packed)
    ]
    assert told[0] == told[1]
    assert list(told[0]["streams"]) == ["flow", "rgb"]
    assert (told[0]["streams"]["rgb"]["steps"], told[0]["streams"]["flow"]["failures"]) == (3, 1)
    for path in (toy_parts, packed):
        export(path, tmp_path / f"out{path.suffix}")
    written = {path.name: path.read_bytes() for path in (tmp_path / "out.h5").iterdir()}
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == written
    assert np.load(tmp_path / "out.h5" / "rgb_row_frames.npy").shape == (36, 3)
    content = bytearray(packed.read_bytes())
    with h5py.File(packed) as file:
        content[file["rgb/pooled"].id.get_offset() + 5 * file["rgb/pooled"][0].nbytes + 4] ^= 4
    packed.write_bytes(content)
    assert not verify(packed)["ok"]
    with FeatureStore(packed) as store:
        store.read_whole("flow", "map")
        with pytest.raises(WorkError, match="row 5 of rgb/pooled is damaged"):
            store.read_whole("rgb", "pooled")


def test_the_newest_store_is_told_by_its_newest_part(toy, tmp_path):
    for name, stream in (("one", "rgb"), ("two", "rgb"), ("one", "flow")):
        toy.write_part(tmp_path / name, stream)
        time.sleep(0.01)
    assert default_store(tmp_path) == tmp_path / "one"


def test_two_arrays_never_become_one_file(tmp_path):
    videos = [SimpleNamespace(id="x/v", path="/v", label=0, group="g")]
    dataset = SimpleNamespace(name="made", class_names=("x",), videos=videos, splits={})
    for stream, layer in (("a_b", "c"), ("a", "b_c")):
        arrays = {f"{stream}/{layer}": (2, 3)}
        with StoreWriter(tmp_path / "s" / stream, dataset, arrays=arrays, provenance={"settings": {}}) as writer:
            for shard in writer.shards():
                shard.add("x/v", {f"{stream}/{layer}": np.ones((1, 2, 3))}, frames=3)
    with pytest.raises(UsageError, match=r"two arrays would become a_b_c.npy"):
        export(tmp_path / "s", tmp_path / "out")
    assert not (tmp_path / "out").exists()
