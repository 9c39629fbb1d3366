"""2 000 damaged and forged files of benchmarks/fuzz.py: each is read as it was, or refused in a line."""

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "fuzz.py"


def test_no_damaged_or_forged_file_gets_through():
    told = [sys.executable, SCRIPT, "--files", "2000", "--seed", "1"]
    few = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(told, capture_output=True, text=True, check=False, env=few)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [[cell.strip() for cell in line.split("|")] for line in done.stdout.splitlines()[2:-2]]
    assert len(rows) == 24
    assert sum(int(row[2]) for row in rows) >= 2000
    assert all(int(row[4]) for row in rows)  # of each kind, some are refused
