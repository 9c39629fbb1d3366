"""Verify finds every damaged file, repair drops it, and a rerun makes the store whole again."""

import os
import random

import pytest

from avr.core import UsageError, WorkError
from avr.store import FeatureStore, StoreWriter, pack, repair, verify, write_scores


def damage(path, how, seed=0):
    content = bytearray(path.read_bytes())
    draw = random.Random(seed)
    if how == "flipped":
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    elif how == "cut":
        del content[draw.randrange(len(content)) :]
    elif how == "longer":
        content += b"\0"
    elif how == "empty":
        content.clear()
    path.write_bytes(content)


FILES = ["plan.h5", "index.h5", "shard-00000.h5", "shard-00003.h5"]


@pytest.mark.parametrize("how", ["flipped", "cut", "longer", "empty"])
@pytest.mark.parametrize("name", FILES)
def test_damage_is_found_and_repaired(toy, toy_store, name, how):
    whole = {path.name: path.read_bytes() for path in toy_store.glob("*.h5")}
    damage(toy_store / name, how)
    result = verify(toy_store)
    assert not result["ok"]
    assert [item["file"] for item in result["damaged"]] == [name]
    assert result["files"] == 6
    result = repair(toy_store)
    assert name in result["dropped"]
    assert result["complete"] == (name in ("plan.h5", "index.h5"))  # each of these two tells the other
    toy.write(toy_store)
    assert verify(toy_store)["ok"]
    assert {path.name: path.read_bytes() for path in toy_store.glob("*.h5")} == whole


@pytest.mark.parametrize("index", [True, False], ids=["with index", "without"])
@pytest.mark.parametrize("plan", ["flipped", "gone"])
def test_shards_are_checked_though_the_plan_is_damaged(toy_store, plan, index):
    if plan == "flipped":
        damage(toy_store / "plan.h5", "flipped", seed=8)
    else:
        (toy_store / "plan.h5").unlink()
    damage(toy_store / "shard-00002.h5", "flipped", seed=5)
    if not index:
        (toy_store / "index.h5").unlink()
    result = verify(toy_store)
    assert [item["file"] for item in result["damaged"]] == ["plan.h5", "shard-00002.h5"]
    assert result["files"] == 5 + index - (plan == "gone")
    assert "shard-00002.h5" in repair(toy_store)["dropped"]


def test_a_plan_of_a_newer_format_is_neither_damaged_nor_dropped(toy_store):
    (toy_store / "index.h5").unlink()
    newer = (toy_store / "plan.h5").read_bytes().replace(b"avr-store 1", b"avr-store 2")
    (toy_store / "plan.h5").write_bytes(newer)
    for check in (verify, repair):
        with pytest.raises(UsageError, match="format version '2', but this avr reads version 1: update avr"):
            check(toy_store)
    assert (toy_store / "plan.h5").read_bytes() == newer


def test_every_single_byte_of_a_shard_counts(toy, toy_store):
    """Flip one bit at 60 places (300 with AVR_TEST_EXAMPLES=full), the seal and its padding among them: verify always
    names the shard.
    """
    shard = toy_store / "shard-00002.h5"
    whole = shard.read_bytes()
    draw = random.Random(1)
    places = list(range(0, 4096, 151)) + [draw.randrange(len(whole)) for _ in range(270)]
    for place in places if os.environ.get("AVR_TEST_EXAMPLES") == "full" else places[::5]:
        content = bytearray(whole)
        content[place] ^= 1 << draw.randrange(8)
        shard.write_bytes(content)
        assert [item["file"] for item in verify(toy_store)["damaged"]] == ["shard-00002.h5"], place


def test_shards_that_changed_places_are_found(toy_store):
    first, second = toy_store / "shard-00000.h5", toy_store / "shard-00001.h5"
    swapped = first.read_bytes(), second.read_bytes()
    second.write_bytes(swapped[0])
    first.write_bytes(swapped[1])
    result = verify(toy_store)
    assert [item["file"] for item in result["damaged"]] == ["shard-00000.h5", "shard-00001.h5"]
    assert "holds shard 1" in result["damaged"][0]["problem"]


def test_a_shard_of_another_run_is_found(toy, toy_store, tmp_path):
    toy.settings = {"backbone": "resnet18", "segments": 4}
    other = toy.write(tmp_path / "other")
    (toy_store / "shard-00001.h5").write_bytes((other / "shard-00001.h5").read_bytes())
    result = verify(toy_store)
    assert "belongs to another run" in result["damaged"][0]["problem"]
    assert repair(toy_store)["dropped"] == ["shard-00001.h5", "index.h5"]


def test_an_index_that_describes_other_shards_is_found(toy, toy_store, tmp_path):
    video = toy.dataset.videos[3].id
    toy.features[video]["rgb/pooled"][0, 0, 0] += 1
    other = toy.write(tmp_path / "other")
    (toy_store / "index.h5").write_bytes((other / "index.h5").read_bytes())
    assert [item["file"] for item in verify(toy_store)["damaged"]] == ["index.h5"]
    with pytest.raises(WorkError, match="is damaged"):
        FeatureStore(toy_store).read("rgb", "pooled", [3])
    assert repair(toy_store) == {"dropped": ["index.h5"], "complete": True, "missing_shards": 0}
    assert verify(toy_store)["ok"]


def test_failures_can_be_tried_again(toy, toy_store):
    failed = toy.dataset.videos[5].id
    result = repair(toy_store, failures=True)
    assert result["dropped"] == ["shard-00000.h5", "index.h5"]
    with StoreWriter(toy_store, toy.dataset, **toy.options()) as writer:
        for shard in writer.shards():
            for video in shard.video_ids:
                shard.add(video, toy.features[video], frames=1)
            shard.finish()
    with FeatureStore(toy_store) as store:
        assert failed in store.ids
        assert store.failures == []


def test_repair_waits_for_no_run_and_needs_a_folder(toy, toy_store, tmp_path):
    writer = StoreWriter(toy_store, toy.dataset, **toy.options())
    with pytest.raises(UsageError, match="already writes"):
        repair(toy_store)
    writer.close()
    with pytest.raises(UsageError, match="not a store's folder"):
        repair(pack(toy_store))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no store"):
        repair(tmp_path / "empty")
    assert not list((tmp_path / "empty").iterdir())
    with pytest.raises(UsageError, match="no store"):
        verify(tmp_path / "empty")


@pytest.mark.parametrize("how", ["flipped", "cut", "longer"])
@pytest.mark.parametrize("kind", ["packed", "scores"])
def test_single_files_are_verified_too(toy_store, toy_scores, tmp_path, kind, how):
    path = pack(toy_store) if kind == "packed" else write_scores(tmp_path / "scores.h5", toy_scores())
    assert verify(path)["ok"]
    damage(path, how, seed=4)
    result = verify(path)
    assert not result["ok"]
    assert result["damaged"][0]["file"] == str(path)
