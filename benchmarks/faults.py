"""Commands killed at random moments and given again: is the result that of a run that nobody killed?

    python benchmarks/faults.py --kills 200 --seed 1
    python benchmarks/faults.py --kills 0 --places

Draws 24 clips of 64 x 48, extracts them with a small network from random weights, and runs each command once without a
fault. Then, again and again, one is begun anew, killed at a random moment of its time by SIGKILL or SIGTERM, to itself
or to its whole process group, as often as three times in a row, and given once more, unbroken. What lies there then
must be what the unbroken run left: equal bytes of stores, checkpoints, scores, weights, tables and pages; records and
logs equal but for seconds and dates. SIGTERM must end a command within 10 s with exit code 143, and say how to go on;
no temporary file, no state and no process may be left. Printed: kills by command and outcome, and what differed first.

With --places first the outputs of each command lie where something else is, on a read-only or a full disk (a tmpfs,
where it may be mounted), or where files are limited in size: printed is what each answers, which must be one line.

Trainings keep their state after each epoch here, and not once a minute, so that they are continued from there, too.
"""

import argparse
import csv
import json
import os
import random
import re
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # whatever is trained at once, the sums are the same
for name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

import numpy as np  # noqa: E402
import torch  # noqa: E402
import torchvision.models.feature_extraction  # noqa: E402
import torchvision.transforms.v2  # noqa: E402, F401 (what each command would import, once)

import avr.heads._engines  # noqa: E402
import avr.recipes.running  # noqa: E402
import avr.training.state  # noqa: E402
from avr.cli import main as avr_main  # noqa: E402

CLASSES, SCENES, FRAMES = ("left", "right", "up"), 8, 12
MARK = "AVR_FAULTS"  # in the environment of all that a command starts
EXTRACT = "--backbone squeezenet1_1 --weights random --layers pooled,map --segments 2 --stack 2 --resize 40 --crop 36"
CLIPS = "--dataset WORK/clips --set num_splits=2"
TUNE = f"{EXTRACT.replace(' --layers pooled,map', '').replace('--segments 2', '--segments 1')} --device cpu"
LATE = ("is there already", "holds", "is finished already")  # it was over before the kill: the result is there
SOON = 10.0  # seconds after SIGTERM


@dataclass(frozen=True)
class Case:
    """A command, what it writes (`out`, in a folder of its own), and what it needs there first."""

    name: str
    command: str
    needs: tuple[str, ...] = ()
    out: str = "out"
    kills: bool = True  # the same command goes on, or begins again
    shows: bool = False  # its table is printed even where it cannot be written
    mine: str = ""  # what it must not write over; default `out` itself, or something in it


HEAD = "heads train {} --store WORK/whole/extract/out --out out --split all --folds 2"
CASES = [
    Case("extract", f"extract {CLIPS} {EXTRACT} --shard-videos 2 --out out"),
    Case(
        "extract, two workers",
        f"extract {CLIPS} {EXTRACT} --shard-videos 2 --out out --devices cpu,cpu",
    ),
    Case(
        "extract, Ray",
        f"extract {CLIPS} {EXTRACT} --shard-videos 2 --out out --engine ray --workers 2",
    ),
    Case("heads, one stream", f"{HEAD.format('linear')} --stream rgb --epochs 12", ("extract",)),
    Case("heads, two streams", f"{HEAD.format('linear')} --epochs 12", ("extract",)),
    Case("heads, joint", f"{HEAD.format('stfn')} --epochs 6 --training validation=0.3", ("extract",)),
    Case(
        "heads, maps",
        f"{HEAD.format('attention-streams')} --epochs 4 --set hidden=16 --set layers=1 --layer map",
        ("extract",),
    ),
    Case("heads, two workers", f"{HEAD.format('linear')} --epochs 12 --workers 2", ("extract",)),
    Case(
        "recipe",
        "recipe run stfn-table2 --store WORK/whole/extract/out --out out --splits all --training epochs=4",
        ("extract",),
    ),
    Case(
        "finetune backbone",
        f"finetune backbone {CLIPS} {TUNE} --weights random --epochs 3 --batch-size 4 --cache WORK/cache --out out",
    ),
    Case(
        "finetune end to end",
        "finetune end-to-end --run 'WORK/whole/heads, joint/out' --split all --epochs 2 --batch-size 4 "
        "--cache WORK/cache --out out --device cpu",
        ("extract", "heads, joint"),
    ),
    Case("store pack", "store pack WORK/whole/extract/out --out out.h5", ("extract",), "out.h5"),
    Case("store export", "store export WORK/whole/extract/out --out out", ("extract",)),
    Case("store import-features", "store import-features 'WORK/whole/store export/out' --out out", ("store export",)),
    Case("store import-scores", "store import-scores WORK/scores.npz --out out", mine="out/scores.h5"),
    Case("fuse", "fuse awf 'WORK/whole/heads, two streams/out' --out out", ("heads, two streams",), shows=True),
    Case(
        "predict",
        "predict WORK/clips/left --run 'WORK/whole/heads, joint/out' --split 1 --device cpu --out out.csv",
        ("extract", "heads, joint"),
        "out.csv",
    ),
    Case(
        "predict, drawn",
        "predict WORK/clips/left --run 'WORK/whole/heads, joint/out' --split 1 --device cpu --draw out",
        ("extract", "heads, joint"),
        mine="out/scene0.mp4",
        kills=False,  # what is drawn stays, and is replaced with --overwrite alone
    ),
    Case(
        "attention",
        "attention 'WORK/whole/heads, maps/out' --split 1 --video left/scene0 --out out",
        ("extract", "heads, maps"),
    ),
    Case("report", "report 'WORK/whole/heads, two streams/out' --out out.html", ("heads, two streams",), "out.html"),
]


def draw_clips(root: Path) -> None:
    """A bright square that moves, over noise."""
    from avr.video import write_video

    for label, name in enumerate(CLASSES):
        for scene in range(SCENES):
            noise = np.random.default_rng([label, scene])
            path = root / name / f"scene{scene}.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            images = []
            for step in range(FRAMES):
                image = noise.integers(0, 60, (48, 64, 3), dtype=np.uint8)
                x, y = ((8 + 3 * step, 16), (48 - 3 * step, 16), (24, 4 + 2 * step))[label]
                image[y : y + 12, x : x + 12] = 220
                images.append(image)
            write_video(path, images, rate=10)


def write_scores(path: Path) -> None:
    """Scores of 3000 videos, as another tool writes them."""
    draws = np.random.default_rng(0)
    names = np.array([f"clips/v_{i:05d}_g{i % 50:02d}" for i in range(3000)])
    np.savez(path, names=names, scores=draws.normal(size=(3000, 101)).astype("f4"), labels=draws.integers(0, 101, 3000))


# --- running ----------------------------------------------------------------------------------------------------------
@dataclass
class Ended:
    """How a command ended: exit code (negative: the signal), seconds, what it said, whether it was killed before."""

    code: int
    seconds: float
    said: str
    killed: bool
    after: float = 0.0  # seconds from the signal to the end


def run(
    arguments: str,
    folder: Path,
    *,
    work: Path,
    kill_after: float = -1.0,
    sent: int = 0,
    group: bool = False,
    largest: int = 0,
) -> Ended:
    """A command in a fork of this process, which has imported all that it needs; killed after so many seconds.

    `largest` is how many bytes a file may have; what it says goes to `said.txt` beside the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    log = work / "said.txt"
    log.write_text("")
    began = time.monotonic()
    child = os.fork()
    if not child:
        os.setsid()
        os.chdir(folder)
        os.environ[MARK] = str(os.getpid())
        os.dup2(os.open(log, os.O_WRONLY), 2)
        os.dup2(os.open(work / "printed.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
        if largest:
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
        code = 99
        try:
            avr_main(shlex.split(arguments.replace("WORK", str(work))), prog_name="avr")
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 98
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            sys.stderr.flush()
            _leave(code)
    killed_at, done, status = 0.0, 0, 0
    while not done:
        done, status = os.waitpid(child, os.WNOHANG)
        now = time.monotonic()
        if not done and kill_after >= 0 and not killed_at and now - began >= kill_after:
            try:
                (os.killpg if group else os.kill)(child, sent)
            except ProcessLookupError:  # it has no group yet
                os.kill(child, sent)
            killed_at = now
        if not done and now - began > 600:
            os.killpg(child, signal.SIGKILL)
        time.sleep(0.002)
    ended = time.monotonic()
    code = os.waitstatus_to_exitcode(status)
    killed = bool(killed_at) and (code == -sent or code == 128 + sent)
    return Ended(code, ended - began, log.read_text(errors="replace"), killed, ended - killed_at if killed_at else 0.0)


def _leave(code: int) -> None:
    """End as Python does, threads waited for and what is registered called, but for this fork's copies of the rest."""
    import atexit
    import threading

    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    os._exit(code)


def left_processes(seconds: float) -> list[str]:
    """Processes that a command started and that live so long after it."""
    until = time.monotonic() + seconds
    while True:
        found = []
        for place in Path("/proc").glob("[0-9]*"):
            try:
                if f"{MARK}=".encode() in (place / "environ").read_bytes() and int(place.name) != os.getpid():
                    name = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")[:80].strip()
                    found += [] if re.fullmatch(r"ray::\w*Agent", name) else [name]  # Ray's own: they see it in time
            except OSError:
                continue
        if not found or time.monotonic() > until:
            return found
        time.sleep(0.1)


# --- comparing --------------------------------------------------------------------------------------------------------
def _without_time(value: object) -> object:
    if isinstance(value, dict):
        apart = ("seconds", "written", "versions", "path", "paths", "seconds_rounded", "sha256")
        return {key: _without_time(item) for key, item in value.items() if key not in apart}
    return [_without_time(item) for item in value] if isinstance(value, list) else value


def content(path: Path) -> object:
    """What is compared of a file: its bytes, of records and logs all but seconds and dates."""
    if path.name == "run.json":
        return _without_time(json.loads(path.read_text()))
    if path.name == "log.csv":
        return _without_seconds(path)
    if path.name == "epochs.csv":  # trainings that run side by side end their epochs in any order
        return sorted(sorted(row.items()) for row in _without_seconds(path))
    return path.read_bytes()


def _without_seconds(path: Path) -> list[dict[str, str]]:
    return [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(path.open())]


def files(out: Path) -> dict[str, Path]:
    """All files of an output, but for locks."""
    found = [out] if out.is_file() else [path for path in out.rglob("*") if path.is_file()]
    return {path.relative_to(out.parent).as_posix(): path for path in found if path.name != ".lock"}


def differences(whole: Path, killed: Path) -> list[str]:
    """How an output differs from that of an unbroken run."""
    one, other = files(whole), files(killed)
    lines = [f"{name} is missing" for name in one.keys() - other.keys()]
    lines += [f"{name} is left" for name in other.keys() - one.keys()]
    lines += [f"{name} differs" for name in one.keys() & other.keys() if content(one[name]) != content(other[name])]
    beside = [path.name for path in killed.parent.iterdir() if path.name != killed.name]
    return sorted(lines) + [f"{name} is left beside it" for name in beside]


# --- the work ---------------------------------------------------------------------------------------------------------
@dataclass
class Tally:
    """What happened to one command."""

    kills: Counter[str] = field(default_factory=Counter)
    results: int = 0
    wrong: list[str] = field(default_factory=list)
    slowest: float = 0.0


def prepare(work: Path, cases: list[Case], say: Callable[[str], object]) -> dict[str, float]:
    """Draw the clips, run every command once, unbroken; gives their seconds."""
    draw = os.fork()
    if not draw:
        draw_clips(work / "clips")
        write_scores(work / "scores.npz")
        os._exit(0)
    os.waitpid(draw, 0)
    needed = {name for case in cases for name in case.needs}
    needed |= {name for case in CASES if case.name in needed for name in case.needs}
    seconds = {}
    for case in CASES:
        if case in cases or case.name in needed:
            done = run(case.command, work / "whole" / case.name, work=work)
            if done.code:
                raise SystemExit(f"{case.name}: exit code {done.code} without a fault\n{done.said}")
            seconds[case.name] = done.seconds
            say(f"{case.name}: {done.seconds:.1f} s")
    return seconds


def break_and_go_on(case: Case, work: Path, seconds: float, draw: random.Random, tally: Tally, *, most: int) -> int:
    """Kill a command up to three times, let it go on, compare; gives how many kills there were."""
    folder = work / "killed" / case.name
    shutil.rmtree(folder, ignore_errors=True)
    kills = 0
    for _ in range(draw.randint(1, min(3, most))):
        sent, group = draw.choice((signal.SIGKILL, signal.SIGTERM)), draw.random() < 0.5
        ended = run(case.command, folder, work=work, kill_after=draw.uniform(0, seconds), sent=sent, group=group)
        if not ended.killed:
            if ended.code and not any(text in ended.said for text in LATE):
                tally.wrong.append(f"exit code {ended.code}: {ended.said.strip()[-300:]}")
            tally.kills["over before"] += 1
            break
        kills += 1
        tally.kills[f"{signal.Signals(sent).name}{' to the group' if group else ''}"] += 1
        if sent == signal.SIGTERM and ended.code == 128 + sent:
            tally.slowest = max(tally.slowest, ended.after)
            if "stopped by SIGTERM" not in ended.said:
                tally.wrong.append(f"SIGTERM and not a word: {ended.said.strip()[-200:]}")
            if ended.after > SOON:
                tally.wrong.append(f"SIGTERM took {ended.after:.0f} s")
        if "Traceback" in ended.said:
            tally.wrong.append(f"a traceback: {ended.said.strip()[-400:]}")
        if left := left_processes(60.0 if "Ray" in case.name else 10.0):
            tally.wrong.append(f"processes left: {left}")
    last = run(case.command, folder, work=work)
    if last.code and not (last.code == 2 and any(text in last.said for text in LATE)):
        tally.wrong.append(f"does not go on, exit code {last.code}: {last.said.strip()[-300:]}")
    tally.results += 1
    found = differences(work / "whole" / case.name / case.out, folder / case.out)
    if found:
        tally.wrong.append("; ".join(found[:4]))
    return kills


# --- places that cannot be written ------------------------------------------------------------------------------------
PLACES = ("taken", "read-only", "full", "limit")


def try_place(case: Case, place: str, work: Path) -> tuple[str, list[str]]:
    """A command whose output's place is taken by something else, read-only, full after a while, or limits the size of
    files (as a quota does); gives what it answered, and what is wrong with that."""
    folder, whole = work / "placed" / place / case.name, work / "whole" / case.name
    folder.mkdir(parents=True)
    own = files(whole / case.out).values()
    size, largest = sum(path.stat().st_size for path in own), max(path.stat().st_size for path in own)
    limit, mounted = 0, False
    if place == "taken":
        mine = folder / (case.mine or (case.out if "." in case.out else f"{case.out}/thesis.txt"))
        mine.parent.mkdir(exist_ok=True)
        mine.write_text("mine")
    elif place == "limit":
        limit = max(largest // 2, 64)
    else:
        pages = size // 2 // 4096  # beside the one that is taken below
        options = "ro,size=64k" if place == "read-only" else f"size={(pages + 1) * 4096}"
        if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", folder], capture_output=True).returncode:
            return "no right to mount", []
        mounted = True
        if place == "full":
            (folder / "other").write_bytes(bytes(4096))
    try:
        ended = run(case.command, folder, work=work, largest=limit)
        left = [path.relative_to(folder).as_posix() for path in folder.rglob("*.tmp")]
        kept = place != "taken" or mine.read_bytes() == b"mine"
    finally:
        if mounted:
            subprocess.run(["umount", folder], check=True)
    lines = [line for line in ended.said.splitlines() if line.startswith("error: ") or ": cannot be written (" in line]
    wrong = [] if lines else [f"no error line: {ended.said.strip()[-200:]}"]
    if case.shows and place in ("full", "limit") and not (work / "printed.txt").read_text():
        wrong.append("what was computed is not printed")
    right = 2 if place == "taken" or "cannot start Ray" in ended.said else 1  # Ray writes files of its own
    wrong += [f"exit code {ended.code}"] if ended.code != right else []
    wrong += ["a traceback"] if "Traceback" in ended.said else []
    wrong += [f"names an exception: {line}" for line in lines if re.search(r"\b\w*(Error|Exception)\b", line)]
    wrong += [f"{left[0]} is left"] if left else []
    wrong += [] if kept else ["what was there is gone"]
    answer = lines[-1].removeprefix("error: ").replace(f"{work}/", "") if lines else "nothing"
    return f"{ended.code}: {answer}", wrong


def try_places(cases: list[Case], places: list[str], work: Path) -> int:
    """Print a table of what each command answers in each place; gives how much of it is wrong."""
    found = {(case.name, place): try_place(case, place, work) for case in cases for place in places}
    print(f"\n| command | {' | '.join(places)} |\n|---|{'---|' * len(places)}")
    for case in cases:
        print(f"| {case.name} | {' | '.join(found[case.name, place][0] for place in places)} |")
    for (name, place), (_, wrong) in found.items():
        for line in wrong:
            print(f"{name}, {place}: {line}")
    return sum(len(wrong) for _, wrong in found.values())


def main() -> None:
    """Prepare, break, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="*", metavar="NAME", help="such as extract, heads: what the names begin with")
    parser.add_argument("--without", nargs="*", default=[], metavar="NAME")
    parser.add_argument("--places", nargs="*", choices=PLACES, help="first try outputs that cannot be written there")
    parser.add_argument("--work", type=Path, help="a folder to work in, kept; it must be new")
    told = parser.parse_args()
    cases = [c for c in CASES if told.only is None or any(c.name.startswith(name) for name in told.only)]
    cases = [case for case in cases if not any(case.name.startswith(name) for name in told.without)]
    torch.set_num_threads(1)
    avr.training.state.EVERY = 0.0
    work = told.work or Path(tempfile.mkdtemp(prefix="avr-faults-"))
    work.mkdir(parents=True, exist_ok=True)
    draw, tallies = random.Random(told.seed), {case.name: Tally() for case in cases if case.kills}
    try:
        seconds = prepare(work, cases, partial(print, flush=True))
        wrong = 0 if told.places is None else try_places(cases, told.places or list(PLACES), work)
        killed, kills, turn = [case for case in cases if case.kills], 0, 0
        while kills < told.kills:
            case = killed[turn % len(killed)]
            kills += break_and_go_on(case, work, seconds[case.name], draw, tallies[case.name], most=told.kills - kills)
            turn += 1
        if kills:
            _print(tallies)
    finally:
        if told.work is None:
            shutil.rmtree(work, ignore_errors=True)
    raise SystemExit(wrong > 0 or any(tally.wrong for tally in tallies.values()))


def _print(tallies: dict[str, Tally]) -> None:
    kinds = ("SIGKILL", "SIGKILL to the group", "SIGTERM", "SIGTERM to the group", "over before")
    print(f"\n| command | {' | '.join(kinds)} | results | not equal or wrong | slowest end after SIGTERM, s |")
    print(f"|---|{'--:|' * (len(kinds) + 3)}")
    for name, tally in tallies.items():
        counts = " | ".join(str(tally.kills[kind]) for kind in kinds)
        print(f"| {name} | {counts} | {tally.results} | {len(tally.wrong)} | {tally.slowest:.1f} |")
    total = Counter[str]()
    for tally in tallies.values():
        total.update(tally.kills)
    print(
        f"| all | {' | '.join(str(total[kind]) for kind in kinds)} | {sum(t.results for t in tallies.values())} | "
        f"{sum(len(t.wrong) for t in tallies.values())} | {max(t.slowest for t in tallies.values()):.1f} |"
    )
    for name, tally in tallies.items():
        for line in tally.wrong:
            print(f"{name}: {line}")


if __name__ == "__main__":
    main()
