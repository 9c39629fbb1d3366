"""Fusions that are damaged or forged: one line each, in no time, and none is half loaded."""

import json
import os
import re
import shutil
import time

import numpy as np
import pytest

from avr.core import AvrError, WorkError, sha256_of, write_json
from avr.fusion import apply_fusion, fuse, load_fuser
from avr.store import write_scores

from .test_fuse_files import QUICK, put, score_file


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A fitted fusion of two streams, and new scores for it."""
    folder = tmp_path_factory.mktemp("whole")
    scores = score_file(test_only=True)
    options = {"nu": 0.5, "delta": 0.1}
    fused = fuse("awf", [put(folder, scores)], out=folder / "fused", options=options, evaluation=QUICK).out
    return fused, write_scores(folder / "new.h5", scores)


def changed(**changes):
    """A change of fusion.json's entries; None takes one away."""

    def change(folder):
        content = json.loads((folder / "fusion.json").read_text()) | changes
        kept = {name: value for name, value in content.items() if value is not None}
        write_json(folder / "fusion.json", kept)

    return change


def learnt(**changes):
    def change(folder):
        content = json.loads((folder / "fusion.json").read_text())
        changed(learnt=content["learnt"] | changes)(folder)

    return change


def arrays(**changes):
    from safetensors.numpy import load_file, save_file

    def change(folder):
        tensors = load_file(folder / "fuser.safetensors") | changes
        save_file({name: array for name, array in tensors.items() if array is not None}, folder / "fuser.safetensors")
        changed(arrays_sha256=sha256_of(folder / "fuser.safetensors"))(folder)  # else that alone is found

    return change


def text(content):
    return lambda folder: (folder / "fusion.json").write_text(content)


def fifo(name):
    def change(folder):
        (folder / name).unlink()
        os.mkfifo(folder / name)

    return change


FORGED = {
    "cut": text('{"format": 1, "ru'),
    "no object": text("[1, 2]"),
    "deep": text("[" * 100_000),
    "wide": text("[" + "[]," * 2_000_000 + "[]]"),
    "no rule": changed(rule=None),
    "rule is a list": changed(rule=["awf"]),
    "rule is a path": changed(rule="../awf"),
    "unknown option": changed(options={"speed": 3}),
    "options are a list": changed(options=[1]),
    "wrong option": changed(options={"nu": "much"}),
    "learnt is a list": changed(learnt=[]),
    "learnt a method": learnt(fit="x"),
    "learnt a private name": learnt(__class__="x"),
    "kinds of a third stream": learnt(kinds_=["logits"] * 3),
    "no kinds": changed(learnt={}),
    "kinds without end": learnt(kinds_=["logits"] * 300_000),
    "no classes": arrays(classes_=None),
    "classes without end": arrays(classes_=np.arange(3_000_000)),
    "no exponents": arrays(exponents_=None),
    "exponents of another shape": arrays(exponents_=np.ones((3, 2))),
    "exponents that are no numbers": arrays(exponents_=np.full((4, 2), np.nan)),
    "arrays are gone": lambda folder: (folder / "fuser.safetensors").unlink(),
    "arrays are cut": lambda folder: os.truncate(folder / "fuser.safetensors", 100),
    "a header without end": lambda folder: (folder / "fuser.safetensors").write_bytes(b"\xff" * 16),
    "arrays are a fifo": fifo("fuser.safetensors"),
    "the record is a fifo": fifo("fusion.json"),
    "streams are gone": changed(streams=None),
    "streams are numbers": changed(streams=[1, 2]),
    "sources are texts": changed(sources=["a", "b"]),
    "another number of classes": changed(class_names=["a", "b"]),
    "split is a number": changed(split=3),
    "split is a path": changed(split="../../x"),
}


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_fusion_is_refused_in_one_line(name, whole, tmp_path):
    folder, new = shutil.copytree(whole[0], tmp_path / "fused"), whole[1]
    FORGED[name](folder)
    before, begun = sorted(tmp_path.parent.rglob("*")), time.monotonic()
    with pytest.raises(AvrError) as told:
        apply_fusion(folder, [new], out=tmp_path / "new.h5")
    assert "\n" not in str(told.value)
    assert not re.search(r"[a-z]Error|Exception", str(told.value))  # the name of one of Python's
    assert str(folder) in str(told.value)
    assert time.monotonic() - begun < 5
    assert sorted(tmp_path.parent.rglob("*")) == before


def test_bytes_that_are_flipped_never_give_a_traceback(whole, tmp_path):
    folder, new = shutil.copytree(whole[0], tmp_path / "fused"), whole[1]
    expected = apply_fusion(folder, [new], out=tmp_path / "whole.csv").probabilities
    random, told = np.random.default_rng(0), []
    for name in ("fusion.json", "fuser.safetensors"):
        content = (folder / name).read_bytes()
        for _ in range(100):
            flipped = bytearray(content)
            flipped[random.integers(len(content))] ^= 1 << random.integers(8)
            (folder / name).write_bytes(flipped)
            try:
                found = apply_fusion(folder, [new], out=tmp_path / "new.csv", overwrite=True).probabilities
                assert np.isfinite(found).all()
                assert found.shape == expected.shape
            except AvrError as error:
                told.append(str(error))
        (folder / name).write_bytes(content)
    assert len(told) > 20
    assert not any("\n" in line for line in told)
    np.testing.assert_array_equal(load_fuser(folder).predict_proba(np.zeros((1, 2, 4))).shape, (1, 4))


def test_a_damaged_fusion_says_so(whole, tmp_path):
    folder = shutil.copytree(whole[0], tmp_path / "fused")
    FORGED["exponents of another shape"](folder)
    with pytest.raises(WorkError, match=r"fusion\.json: damaged \(.*; fuse again"):
        load_fuser(folder)
