"""Recipes from one command to the printed table, killed in the middle and continued.

    python benchmarks/recipes.py --work benchmarks-work/recipes

Draws shapes, extracts it with a SqueezeNet 1.1 from random weights, and runs `stfn-table2` and `stilt-table5` on all
three splits as a user would type them. Each is killed with SIGKILL, process group and all: the first once four of its
nine figures are there, the second inside its first training. It is then run again with the same command. Printed: the
commands, what was there when it was killed and whether it was touched again, and the tables.
"""

import argparse
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from avr.store import score_paths

AVR = str(Path(sys.executable).with_name("avr"))
EXTRACT = "--backbone squeezenet1_1 --weights random --segments 4 --stack 5 --resize 96 --crop 84"


def figures(out: Path) -> dict[Path, int]:
    """Measured figures and finished trainings, with their times of change."""
    trained = [path for run in (out / "runs").glob("*/seed-*") for path in score_paths(run)]
    found = [*(out / "rows").rglob("*.json"), *trained]
    return {path: path.stat().st_mtime_ns for path in found}


def four_figures(out: Path) -> bool:
    return len(list((out / "rows").rglob("*.json"))) >= 4


def inside_a_training(out: Path) -> bool:
    """Two seconds after the first training has begun."""
    begun = list((out / "runs").glob("*/seed-*"))
    return bool(begun) and time.time() - begun[0].stat().st_ctime > 2


KILLED_WHEN: dict[str, Callable[[Path], bool]] = {"stfn-table2": four_figures, "stilt-table5": inside_a_training}


def run(recipe: str, store: Path, work: Path, training: list[str]) -> None:
    out = work / recipe
    shutil.rmtree(out, ignore_errors=True)
    command = [AVR, "recipe", "run", recipe, "--store", str(store), "--splits", "all", "--out", str(out), *training]
    print(f"\n$ {shlex.join(['avr', *command[1:]])}", flush=True)
    with subprocess.Popen(
        command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True
    ) as first:
        while first.poll() is None and not KILLED_WHEN[recipe](out):
            time.sleep(0.02)
        if first.poll() is not None:
            raise SystemExit(f"{recipe} was over before it could be killed (exit code {first.returncode})")
        os.killpg(first.pid, signal.SIGKILL)
    kept = figures(out)
    started = time.perf_counter()
    done = subprocess.run(command, stderr=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=True)
    seconds = time.perf_counter() - started
    after = figures(out)
    again = [path for path in kept if after.get(path) != kept[path]]
    print(f"killed with {len(kept)} figures and trainings there; continued in {seconds:.0f} s to {len(after)};")
    print(f"made again of those that were there: {len(again)}\n\n{done.stdout}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("benchmarks-work/recipes"))
    parser.add_argument("--training", action="append", default=[], metavar="SETTING=VALUE", help="As of recipe run.")
    chosen = parser.parse_args()
    store = chosen.work / "store"
    command = [AVR, "extract", "--dataset", "shapes", "--root", str(chosen.work / "shapes"), *EXTRACT.split()]
    print(f"$ avr extract --dataset shapes {EXTRACT}", flush=True)
    subprocess.run([*command, "--out", str(store)], check=True)
    training = [text for value in chosen.training for text in ("--training", value)]
    for recipe in KILLED_WHEN:
        run(recipe, store, chosen.work, training)


if __name__ == "__main__":
    main()
