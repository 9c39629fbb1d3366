"""What needs no torch is told before torch is loaded, which takes seconds; and while it is loaded, a line says so."""

import json
import subprocess
import sys

import pytest

from avr.core import say_loading

# Commands that cannot be done as they stand, and the error's last line.
REFUSED = {
    "extract --dataset nosuch": "error: unknown data set 'nosuch'",
    "extract --dataset folder --root nowhere": "error: nowhere: no such folder",
    "extract --dataset folder --flow horn": "error: unknown flow method 'horn'",
    "extract --dataset folder --stream sound": "error: unknown kind of stream 'sound'",
    "extract --dataset folder --device tpu": "error: unknown device 'tpu'",
    "extract --dataset folder --devices tpu": "error: unknown device 'tpu'",
    "extract --dataset folder --segments x": "error: segments=x is not possible",
    "extract --dataset folder --resize 3 --crop 9": "error: crop 9 does not fit into frames resized to 3",
    "extract --dataset folder --weights gone.pth": "error: gone.pth: no such weights file",
    "finetune backbone --dataset nosuch": "error: unknown data set 'nosuch'",
    "finetune backbone --dataset folder --stream sound": "error: unknown kind of stream 'sound'",
    "finetune backbone --dataset folder --weights a/b": "error: a/b: no such weights file",
    "finetune end-to-end --run data": "error: no run at data: it has no run.json",
    "heads train nosuch": "error: unknown head 'nosuch'",
    "heads train stfn": "error: no store under features/: run `avr extract",
    "heads train stfn --store nowhere": "error: nowhere: cannot be opened (no such file or folder)",
    "heads train stfn --training nosuch=3": "error: unknown training setting 'nosuch'",
    "heads train stfn --lr x": "error: lr=x is not possible",
    "heads train stfn --device tpu": "error: unknown device 'tpu'",
    "recipe run nosuch": "error: unknown recipe 'nosuch'",
    "recipe run stfn-table2": "error: no store under features/: run `avr extract",
    "recipe run stfn-table2 --store nowhere": "error: nowhere: cannot be opened (no such file or folder)",
    "recipe plan nosuch": "error: unknown recipe 'nosuch'",
    "attention data --video a --out b": "error: no run at ",
    "predict data/folder/jump/a.avi": "error: no run: name one that `avr heads train` wrote",
    "predict data/folder/jump/a.avi --run data": "error: no run at data: it has no run.json",
    "predict data/folder/jump/a.avi --run data --device tpu": "error: unknown device 'tpu'",
    "predict data/folder/jump/a.avi --run data --window nan": "error: window and step must be seconds",
    "predict gone.avi --run data": "error: gone.avi: no such video",
    "predict data/*.mov --run data": "error: data/*.mov: no video matches this pattern",
    "predict data/folder/jump/a.avi --fuse data --out data/new/a.csv": "error: no fusion.json at data",
    "predict data/folder/jump/a.avi --fuse data/nosuch": "Error: Invalid value for '--fuse': Path 'data/nosuch'",
    "predict . --run data --out data/folder/run/b.avi": "error: data/folder/run/b.avi: is one of the files",
    "demo --out data/folder/jump/a.avi": "error: data/folder/jump/a.avi: is a file, or lies below one",
}
CODE = """
import json, sys
from click.testing import CliRunner

class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torchvision"):
            raise RuntimeError("torch is being loaded")

sys.meta_path.insert(0, NoTorch())
from avr.cli import main

done = {text: CliRunner().invoke(main, text.split()) for text in json.load(sys.stdin)}
print(json.dumps({text: [result.exit_code, result.stderr] for text, result in done.items()}))
"""


def test_what_needs_no_torch_is_told_before_it_is_loaded(tmp_path):
    for name in ("jump/a", "jump/b", "jump/c", "run/a", "run/b", "run/c"):
        path = tmp_path / "data" / "folder" / f"{name}.avi"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    done = subprocess.run(
        [sys.executable, "-c", CODE], input=json.dumps(list(REFUSED)), cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found = {text: (code, said.splitlines()[-1]) for text, (code, said) in json.loads(done.stdout).items()}
    wrong = {
        text: found[text] for text, start in REFUSED.items() if found[text][0] != 2 or start not in found[text][1][:90]
    }
    assert not wrong


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """Two packages, the second of which is there once the first lines of standard error are, or after ten seconds."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "quick_one.py").write_text("VALUE = 1\n")
    (tmp_path / "slow_one.py").write_text(
        "import sys, time\n"
        "end = time.monotonic() + 10\n"
        "while not sys.stderr.getvalue() and time.monotonic() < end:\n"
        "    time.sleep(0.005)\n"
        "VALUE = 2\n"
    )
    yield
    for name in ("quick_one", "slow_one"):
        sys.modules.pop(name, None)


def test_a_package_that_is_slow_to_load_is_named_once(packages, capsys):
    before = list(sys.meta_path)
    with say_loading("quick_one", seconds=60):
        import quick_one
    assert capsys.readouterr().err == ""
    with say_loading("json", "quick_one", "slow_one", seconds=0.01):
        import slow_one
    assert (quick_one.VALUE, slow_one.VALUE) == (1, 2)
    assert capsys.readouterr().err == "loading slow_one …\n"
    assert sys.meta_path == before
