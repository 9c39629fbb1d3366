"""`avr store`: what it prints, its exit codes, and JSON that is JSON."""

import inspect
import json
from types import SimpleNamespace

import click
import numpy as np
import pytest

from avr.cli import main
from avr.store import StoreWriter, export, import_scores, pack, read_scores, repair


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A store of eight videos, one of them failed, where `avr store` looks for it."""
    monkeypatch.chdir(tmp_path)
    videos = [SimpleNamespace(id=f"a/v{i}", path=f"/{i}.avi", label=i % 2, group=f"g{i // 2}") for i in range(8)]
    splits = {"1": SimpleNamespace(train=[video.id for video in videos[:4]], test=[video.id for video in videos[4:]])}
    dataset = SimpleNamespace(name="toy", class_names=("a", "b"), videos=videos, splits=splits)
    settings = {"arrays": {"rgb/pooled": (3, 16)}, "provenance": {"settings": {"backbone": "vgg16"}}, "shard_videos": 3}
    path = tmp_path / "features" / "toy"
    with StoreWriter(path, dataset, **settings) as writer:
        for shard in writer.shards():
            for video in shard.video_ids:
                if video == "a/v0":
                    shard.fail(video, "no frames")
                else:
                    note = "cut short" if video == "a/v1" else ""
                    shard.add(video, {"rgb/pooled": np.ones((2, 3, 16))}, frames=30, note=note)
    return path


def run(runner, *arguments):
    return runner.invoke(main, ["store", *map(str, arguments)])


def test_info_takes_the_newest_store(runner, store):
    done = run(runner, "info")
    assert done.exit_code == 0
    assert "store: features/toy" in done.stderr
    lines = done.stdout.splitlines()
    assert "dataset         toy" in lines
    assert "rgb/pooled           3 × 16  float16  1.34 KB" in lines
    assert "rgb      rgb      3       7         1  1.34 KB" in lines
    assert "1          3     4" in lines
    assert "  a/v0: no frames" in lines
    assert "  a/v1: cut short" in lines


def test_info_json(runner, store):
    done = run(runner, "info", "--json")
    found = json.loads(done.stdout)
    assert found["videos"] == 7
    assert found["failures"] == [{"id": "a/v0", "reason": "no frames"}]
    assert found["arrays"] == {"rgb/pooled": {"shape": [3, 16], "dtype": "float16", "bytes": 1344}}
    assert found["streams"]["rgb"]["settings"] == {"backbone": "vgg16"}
    assert found["splits"] == {"1": {"train": 3, "test": 4}}
    assert found["provenance"]["settings"] == {"backbone": "vgg16"}
    assert not done.stderr


def test_verify_says_in_json_that_the_plan_is_damaged_and_checks_the_shards(runner, store):
    for name in ("plan.h5", "shard-00001.h5"):
        content = bytearray((store / name).read_bytes())
        content[-1] ^= 1
        (store / name).write_bytes(content)
    done = run(runner, "verify", "--json")
    assert done.exit_code == 1
    assert [damage["file"] for damage in json.loads(done.stdout)["damaged"]] == ["plan.h5", "shard-00001.h5"]


def test_verify_names_the_damaged_shard_and_repair_drops_it(runner, store):
    assert run(runner, "verify", store).stdout.startswith("sound: 5 files")
    shard = store / "shard-00001.h5"
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    done = run(runner, "verify")
    assert done.exit_code == 1
    assert done.stdout.startswith("shard-00001.h5: ")
    done = run(runner, "verify", "--json")
    assert done.exit_code == 1
    assert json.loads(done.stdout)["damaged"][0]["file"] == "shard-00001.h5"
    done = run(runner, "repair")
    assert done.exit_code == 0
    assert done.stdout.startswith("dropped: shard-00001.h5, index.h5\nthe store is unfinished: run `avr extract` again")
    assert json.loads(run(runner, "repair", "--json").stdout) == {"dropped": [], "complete": False, "missing_shards": 1}


def test_pack_and_export(runner, store, tmp_path):
    assert run(runner, "pack", store).stdout.startswith(str(store) + ".h5 (")
    done = run(runner, "pack", store)
    assert done.exit_code == 2
    assert done.stderr == f"error: {store}.h5: is there already; --overwrite replaces it\n"
    assert json.loads(run(runner, "pack", store, "--overwrite", "--json").stdout)["path"] == f"{store}.h5"
    assert run(runner, "info", f"{store}.h5").exit_code == 0
    assert run(runner, "export", store, "--out", tmp_path / "plain").exit_code == 0
    assert np.load(tmp_path / "plain" / "rgb_pooled.npy").shape == (14, 3, 16)


def test_drop(runner, store, tmp_path):
    done = run(runner, "drop", "rgb")
    assert done.exit_code == 2
    assert done.stderr.splitlines()[-1].startswith("error: features/toy: rgb lies in the store's own folder")
    part = tmp_path / "features" / "new" / "rgb"
    store.rename(tmp_path / "rgb")
    part.parent.mkdir()
    (tmp_path / "rgb").rename(part)
    done = run(runner, "drop", "flow", part.parent)
    assert done.stderr == f"error: {part.parent}: unknown stream 'flow'; known: rgb\n"
    done = run(runner, "drop", "rgb")
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("dropped: rgb (")
    assert done.stdout.endswith("the store holds nothing now\n")
    assert not part.exists()


def test_import_scores(runner, store, tmp_path):
    np.save(tmp_path / "flow.npy", np.eye(2)[[1, 0, 1]])
    (tmp_path / "names.txt").write_text("a/v1.avi\na/v2.avi\na/v3.avi\n")
    done = run(runner, "import-scores", "flow.npy", "--names", "names.txt", "--store", store, "--split", "1")
    assert done.exit_code == 0, done.output
    assert done.stdout == "scores/flow.h5\n"
    assert "flow.npy: 3 videos × 2 classes (npy); ids: the names given" in done.stderr
    assert "; probabilities (rows sum to 1); test; 100.0 % right" in done.stderr
    assert "flow.npy: 3 videos known by their ids" in done.stderr
    scores = read_scores(tmp_path / "scores" / "flow.h5")
    assert scores.labels.tolist() == [1, 0, 1]
    assert scores.split == "1"
    assert scores.dataset == "toy"
    assert run(runner, "info", "scores/flow.h5").exit_code == 0
    done = run(runner, "import-scores", "flow.npy")
    assert done.exit_code == 2
    assert done.stderr.startswith("error: flow.npy: holds no video names; give them")
    done = run(runner, "import-scores", "flow.npy", "names.txt", "--stream", "x")
    assert done.exit_code == 2
    done = run(runner, "import-scores", "flow.npy", "--names", "names.txt", "--store", store, "--out", "names.txt")
    assert done.exit_code == 2
    assert done.stderr.splitlines()[-1] == "error: names.txt/flow.h5: names.txt is a file; choose another place"


def test_import_scores_tells_groups_as_the_data_set_does(runner, store, tmp_path):
    names = ["Roundoff_Flick__flic_flac_f_cm_np1_fr_bad_0.avi", "Roundoff_Flick__wave_f_cm_np1_fr_bad_0.avi"]
    (tmp_path / "scores.csv").write_text("id,flic_flac,wave,label\n" + "".join(f"{n},1,0,0\n" for n in names))
    done = run(runner, "import-scores", "scores.csv")
    assert done.exit_code == 0, done.output
    assert "scores.csv: 1 groups from the names of hmdb51" in done.stderr
    assert read_scores(tmp_path / "scores" / "scores.h5").groups.tolist() == ["Roundoff_Flick_"] * 2


@pytest.mark.parametrize("action", ["info", "verify", "repair", "pack"])
def test_without_a_store_one_line_says_so(runner, tmp_path, monkeypatch, action):
    monkeypatch.chdir(tmp_path)
    done = run(runner, action)
    assert done.exit_code == 2
    assert done.stderr.startswith("error: no store under features/: run `avr extract")
    assert done.stderr.count("\n") == 1
    assert run(runner, action, "nothing").exit_code == 2


def test_command_and_function_defaults_agree():
    commands = main.get_command(None, "store").commands
    functions = {"repair": repair, "pack": pack, "export": export, "import-scores": import_scores}
    for name, function in functions.items():
        context = click.Context(commands[name])
        options = {option.name: option.get_default(context) for option in commands[name].params}
        for parameter in inspect.signature(function).parameters.values():
            if parameter.default not in (parameter.empty, None) and parameter.name in options:
                assert options[parameter.name] == parameter.default, (name, parameter.name)
