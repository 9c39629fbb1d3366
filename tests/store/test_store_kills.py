"""Two writers at once, killed at random moments: what is finished stays, no more is done twice, the end is equal."""

import os
import random
import subprocess
import sys
import textwrap
import time

from avr.store import FeatureStore, verify

VIDEOS, SHARD = 60, 4
WRITER = f"""
    import sys, time
    from types import SimpleNamespace as Namespace
    import numpy as np
    from avr.store import StoreWriter
    videos = [Namespace(id=f"a/v{{i}}", path=f"/{{i}}", label=i % 2, group=f"g{{i}}") for i in range({VIDEOS})]
    dataset = Namespace(name="made", class_names=("a", "b"), videos=videos, splits={{}})
    writer = StoreWriter(
        sys.argv[1], dataset, arrays={{"rgb/pooled": (2, 4096)}}, provenance={{"settings": {{}}}}, shard_videos={SHARD}
    )
    print("ready", flush=True)
    for shard in writer.shards():
        for video in shard.video_ids:
            time.sleep(0.002)
            number = int(video[3:])
            features = np.random.default_rng(number).normal(size=(1 + number % 2, 2, 4096))
            with open(sys.argv[2], "a") as log:
                log.write(video + "\\n")
            shard.add(video, {{"rgb/pooled": features}}, frames=number)
        shard.finish()
    writer.close()
"""


def start(folder, log):
    command = [sys.executable, "-c", textwrap.dedent(WRITER), str(folder), str(log)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def test_after_kills_the_store_is_as_if_there_had_been_none(tmp_path):
    """Six of them, twenty with AVR_TEST_EXAMPLES=full."""
    whole = start(tmp_path / "whole", tmp_path / "whole.log")
    whole.communicate(timeout=60)
    assert whole.returncode == 0
    draw = random.Random(7)
    kills = 0
    while kills < (20 if os.environ.get("AVR_TEST_EXAMPLES") == "full" else 6):
        writers = [start(tmp_path / "killed", tmp_path / "killed.log") for _ in range(2)]
        for writer in writers:
            writer.stdout.readline()
        time.sleep(draw.uniform(0, 0.025))  # a shard takes about 10 ms
        for writer in writers:
            writer.kill()
            writer.communicate()
            kills += 1
    last = start(tmp_path / "killed", tmp_path / "killed.log")
    last.communicate(timeout=60)
    assert last.returncode == 0
    files = {path.name: path.read_bytes() for path in (tmp_path / "whole").glob("*.h5")}
    assert {path.name: path.read_bytes() for path in (tmp_path / "killed").glob("*.h5")} == files
    assert not list((tmp_path / "killed").glob(".*.tmp"))
    added = (tmp_path / "killed.log").read_text().split()
    assert len(added) <= VIDEOS + kills * SHARD  # a kill costs the shard that was open, no more
    assert verify(tmp_path / "killed")["ok"]
    with FeatureStore(tmp_path / "killed") as store:
        assert len(store) == VIDEOS
        assert len(store.read_whole("rgb", "pooled")) == VIDEOS * 3 // 2


def test_what_a_killed_run_left_can_be_read(tmp_path):
    writer = start(tmp_path / "killed", tmp_path / "log")
    writer.stdout.readline()
    while not (tmp_path / "killed" / "shard-00002.h5").exists():
        time.sleep(0.002)
    writer.kill()
    writer.communicate()
    if not (tmp_path / "killed" / "index.h5").exists():
        with FeatureStore(tmp_path / "killed") as store:
            assert not store.complete
            assert len(store) >= 3 * SHARD
            assert len(store.read_whole("rgb", "pooled")) == store.views.sum()
