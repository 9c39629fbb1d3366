"""CSV that a spreadsheet may open."""

import csv
import os
import subprocess
import sys

import pytest

from avr.core import UsageError, safe_cell, write_csv


@pytest.mark.parametrize(
    "text", ["=cmd|' /C calc'!A0", "+1", "@SUM(A1)", "\tx", "\rx", "-2+3+cmd|' /C calc'!A0", "-f(1)"]
)
def test_what_a_spreadsheet_would_run_gets_an_apostrophe(text):
    assert safe_cell(text) == f"'{text}"


@pytest.mark.parametrize("value", ["-YouTubeId_0", "a=b", "run", "", "'x", -3.5, 7, None])
def test_other_cells_stay(value):
    assert safe_cell(value) is value


def test_a_table_is_read_back_and_says_what_it_changed(tmp_path, capsys):
    rows = [["id", "label", "score"], ["=1+1", 'say "hi", twice', 0.5], ["caf\udce9", "é\nö", None], ["a\rb", "c", 1]]
    write_csv(tmp_path / "table.csv", rows)
    with open(tmp_path / "table.csv", encoding="utf-8", newline="") as file:
        found = list(csv.reader(file))
    assert found[:2] == [["id", "label", "score"], ["'=1+1", 'say "hi", twice', "0.5"]]
    assert found[2:] == [["caf\\udce9", "é\nö", ""], ["a\rb", "c", "1"]]
    assert capsys.readouterr().err.endswith(
        "table.csv: 1 cells that a spreadsheet would run begin with an apostrophe\n"
    )
    code = (
        "import pathlib; from avr.core import write_csv; write_csv(pathlib.Path('table.csv'), [['path'], [chr(233)]])"
    )
    subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        check=True,
    )
    assert (tmp_path / "table.csv").read_bytes() == "path\r\né\r\n".encode()
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="file: is a file, or lies below one"):
        write_csv(tmp_path / "file" / "table.csv", rows)
