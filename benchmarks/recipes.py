"""A recipe that fine-tunes, from one command to the printed table, killed in every stage and continued.

    python benchmarks/recipes.py stilt-table4 --work benchmarks-work/recipes -- --dataset shapes --extract segments=3 …

Runs `avr recipe plan` and then `avr recipe run` of the recipe with `--finetune` and the options behind `--`, in the
folder --work. The run is killed with SIGKILL, process group and all, once in every stage (or in those of --kill):
while a network is fine-tuned, while a store is extracted, while a head is trained, while all are trained end to end,
and while rows are measured. After each kill the same command runs again. Printed: the commands, what was there at each
kill and whether it was made again, and the table.
"""

import argparse
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

AVR = str(Path(sys.executable).with_name("avr"))


def made(work: Path) -> dict[Path, int]:
    """Finished networks, trainings and figures, with their times of change."""
    found = [*work.glob("stages/backbones/*/weights.safetensors"), *work.glob("out/rows/*/*.json")]
    found += [*work.glob("stages/heads/*/*/split-*/scores.h5"), *work.glob("stages/tuned/*/*/split-*/scores.h5")]
    return {path: path.stat().st_mtime_ns for path in found}


def grew(work: Path, pattern: str) -> bool:
    return any(True for _ in work.glob(pattern))


INSIDE: dict[str, Callable[[Path], bool]] = {
    "backbone": lambda work: grew(work, "stages/backbones/*/state.pt"),
    "store": lambda work: grew(work, "stages/stores/*/*/shard-*.h5"),
    "head": lambda work: grew(work, "stages/heads/*/*/.begun/*"),
    "end to end": lambda work: grew(work, "stages/tuned/*/*/split-*/state.pt"),
    "measuring": lambda work: grew(work, "out/rows/*/*.json"),
}


def kill_inside(command: list[str], work: Path, stage: str) -> bool:
    """Run the command until it is inside a stage, and kill it; False where it was over before."""
    with subprocess.Popen(
        command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True
    ) as running:
        while running.poll() is None and not INSIDE[stage](work):
            time.sleep(0.02)
        if running.poll() is not None:
            return False
        os.killpg(running.pid, signal.SIGKILL)
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("--work", type=Path, default=Path("benchmarks-work/recipes"))
    parser.add_argument("--kill", default=",".join(INSIDE), help="Stages with commas; '' kills in none.")
    own, _, options = " ".join(map(shlex.quote, sys.argv[1:])).partition(" -- ")  # those behind -- are avr's
    chosen = parser.parse_args(shlex.split(own))
    work: Path = chosen.work
    told = [chosen.recipe, "--finetune", *shlex.split(options)]
    told += ["--stages", str(work / "stages"), "--cache", str(work / "cache"), "--out", str(work / "out")]
    print(f"$ {shlex.join(['avr', 'recipe', 'plan', *told])}", flush=True)
    subprocess.run([AVR, "recipe", "plan", *told], check=True)
    command = [AVR, "recipe", "run", *told]
    print(f"\n$ {shlex.join(['avr', *command[1:]])}", flush=True)
    before: dict[Path, int] = {}
    started = time.perf_counter()
    for stage in filter(None, chosen.kill.split(",")):
        if not kill_inside(command, work, stage):
            print(f"was over before it could be killed in stage {stage}", flush=True)
            continue
        there = made(work)
        again = [path for path, when in before.items() if there.get(path) != when]
        print(f"killed in stage {stage}: {len(there)} results there, {len(again)} made again", flush=True)
        before = there
    done = subprocess.run(command, stderr=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=True)
    there = made(work)
    again = [path for path, when in before.items() if there.get(path) != when]
    print(
        f"continued to the end: {len(there)} results there, {len(again)} made again, "
        f"{time.perf_counter() - started:.0f} s in all\n\n{done.stdout}",
        flush=True,
    )


if __name__ == "__main__":
    main()
