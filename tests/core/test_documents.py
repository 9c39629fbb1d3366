"""JSON files: as written, or refused in a line."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from avr.core import WorkError, read_json, write_json

CONTENT = {
    "figures": {"top1": 0.1 + 0.2, "none": None},
    "names": ("a", "é"),
    "array": np.arange(3),
    "nan": float("inf"),
}


def test_a_document_comes_back(tmp_path):
    write_json(tmp_path / "a.json", CONTENT)
    found = read_json(tmp_path / "a.json")
    assert found == {
        "figures": {"top1": 0.30000000000000004, "none": None},
        "names": ["a", "é"],
        "array": [0, 1, 2],
        "nan": float("inf"),
    }
    (tmp_path / "old.json").write_text('{"figure": 1}')  # of before there were digests
    assert read_json(tmp_path / "old.json") == {"figure": 1}
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "none.json")
    with pytest.raises(NotADirectoryError):
        read_json(tmp_path / "a.json" / "b.json")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has none")
def test_what_would_be_waited_for_is_refused(tmp_path):
    os.mkfifo(tmp_path / "a.json")
    for path in (tmp_path, tmp_path / "a.json", "/dev/null"):
        with pytest.raises(WorkError, match="not a regular file"):
            read_json(Path(path))


@pytest.mark.parametrize(
    "harm",
    [
        lambda text: text.replace("0.3000", "0.9000"),
        lambda text: text.replace('"a"', '"b"'),
        lambda text: text[: len(text) // 2],
        lambda text: "[" * 100_000,
        lambda text: "[]",
        lambda text: json.dumps({**json.loads(text), "more": 1}),
        lambda text: text + "\0",
    ],
)
def test_what_was_changed_is_said_in_a_line(tmp_path, harm):
    path = tmp_path / "a.json"
    write_json(path, CONTENT)
    path.write_text(harm(path.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(WorkError, match=r"a\.json: damaged \(") as caught:
        read_json(path)
    assert "\n" not in str(caught.value)
