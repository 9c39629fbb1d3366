"""The fusers' speed and memory, and the rules on real scores.

    python benchmarks/fusion.py speed --out fusion.json   # full LP-B through plain linprog against ours; Kinetics' size
    python benchmarks/fusion.py rules                     # all rules on scores of HMDB51's size
    python benchmarks/fusion.py start                     # the whole command `avr fuse average`, imports and all
    python benchmarks/fusion.py real                      # five grouped folds, three repeats, on all real score sets

`speed` solves one made problem a size twice in one run: all n(K-1) rows through `scipy.optimize.linprog`, and by cuts.
The plain program takes ten minutes at 9 537 × 101 × 2 (HiGHS uses one thread), and is run there with `--plain` alone.
CPU seconds are printed beside wall seconds, since other work on the machine changes the latter. `--sizes small` and
`--quick` take seconds. `real` takes seven minutes of CPU time for all sets and rules; `--sets` and `--rules` choose.
"""

import argparse
import csv
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.optimize import linprog
from scipy.sparse import coo_matrix

from avr.core import grouped_folds
from avr.fusion import gather, make_fuser, paired_bootstrap, rule_names
from avr.fusion._probabilities import calibrate, temperatures_of
from avr.fusion.programs import MarginProgram

MADE = {"small": (600, 12, 2), "hmdb51": (3570, 51, 2), "ucf101": (9537, 101, 2), "kinetics": (240_000, 400, 2)}
NU = 0.3
DMC_NET, SEQVLAD = "hmdb51-split1", "seqvlad-hmdb51-s1"
# Score sets: their streams, by folder of `scores/`.
SETS = {
    "hmdb51-2": {DMC_NET: ("rgb", "flow")},
    "hmdb51-4": {DMC_NET: ("rgb", "flow", "mv", "residual")},
    "seqvlad-3": {SEQVLAD: ("rgb", "flow", "idt")},
    "joined-7": {DMC_NET: ("rgb", "flow", "mv", "residual"), SEQVLAD: ("rgb", "flow", "idt")},
    "orri17-2": {"orri17-ucf101-s1": ("rgb", "flow")},
    "ucf15-3": {"ucf15-s1": ("rgb", "flow", "pose_flow")},
    "ntu11-4": {"ntu11-xview-agcn": ("joint", "bone", "p2_joint", "p2_bone")},
}


def made_scores(n, K, S, *, seed=0, dtype=np.float64):
    """Logits whose streams know different classes, with noise that groups of eight videos and both streams share."""
    random = np.random.default_rng(seed)
    group = random.integers(0, n // 8, n)
    y = random.integers(0, K, n // 8)[group]
    confusion, common = random.normal(size=(K, K)), random.normal(size=(n, K)).astype(dtype)
    X = np.empty((n, S, K), dtype)
    for s in range(S):
        signal = 2.5 * np.exp(0.5 * random.normal(size=K))
        X[:, s] = random.normal(size=(n, K)) + 0.7 * random.normal(size=(n // 8, K))[group]
        X[:, s] += 0.3 * common + 0.4 * confusion[y]
        X[np.arange(n), s, y] += signal[y]
    return X, y, group


def full_program(F, y, nu):
    """LP-B with all its rows through plain linprog: objective."""
    n, S, K = F.shape
    video = np.repeat(np.arange(n), K - 1)
    rival = np.tile(np.arange(K), (n, 1))[np.arange(K) != y[:, None]]
    rows = np.arange(len(video))
    parts = [(rows, y[video] * S + s, -F[video, s, y[video]]) for s in range(S)]
    parts += [(rows, rival * S + s, F[video, s, rival]) for s in range(S)]
    parts += [(rows, np.full(len(rows), K * S), np.ones(len(rows))), (rows, K * S + 1 + video, -np.ones(len(rows)))]
    row, column, value = (np.concatenate([part[i] for part in parts]) for i in range(3))
    size = K * S + 1 + n
    matrix = coo_matrix((value, (row, column)), shape=(len(rows), size)).tocsr()
    equal = coo_matrix((np.ones(K * S), (np.repeat(np.arange(K), S), np.arange(K * S))), shape=(K, size)).tocsr()
    cost = np.concatenate([np.zeros(K * S), [-1.0], np.full(n, 1 / (nu * n))])
    bounds = [(0, 1)] * (K * S) + [(None, None)] + [(0, None)] * n
    found = linprog(
        cost, A_ub=matrix, b_ub=np.zeros(len(rows)), A_eq=equal, b_eq=np.ones(K), bounds=bounds, method="highs"
    )
    if found.status != 0:
        sys.exit(found.message)
    return found.fun


class Clock:
    """Wall and CPU seconds of a block."""

    def __enter__(self):
        self.start = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_):
        self.wall, self.cpu = time.perf_counter() - self.start[0], time.process_time() - self.start[1]


def memory_gb():
    """The most memory that this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def speed(sizes, repeats, plain):
    """One row a size: plain linprog once, where it takes no minutes or is asked for, and ours `repeats` times."""
    rows = []
    for size in sizes:
        n, K, S = MADE[size]
        X, y, _ = made_scores(n, K, S, dtype=np.float32 if n > 100_000 else np.float64)
        scores = make_fuser("multiply").fit(X[:1000], y[:1000])._log_probabilities(X)
        del X
        scores = calibrate(scores, temperatures_of(scores, y))
        tolerance = 1e-3 if n > 100_000 else 1e-4
        walls, cpus = [], []
        for _ in range(repeats if n < 100_000 else 1):
            with Clock() as clock:
                solution = MarginProgram(scores, y).solve(NU, 1.0, start=np.full((K, S), 1 / S), tolerance=tolerance)
            walls.append(clock.wall)
            cpus.append(clock.cpu)
        row = {"size": f"{n} x {K} x {S}", "ours_s": sorted(walls), "ours_cpu_s": sorted(cpus)}
        row |= {"objective": solution.objective, "lower_bound": solution.lower_bound, "iterations": solution.iterations}
        row["memory_gb"] = memory_gb()
        if n < 5_000 or (plain and n < 100_000):
            with Clock() as clock:
                full = full_program(scores, y, NU)
            row |= {"plain_s": clock.wall, "plain_cpu_s": clock.cpu, "plain_objective": full}
            row["ratio"] = clock.wall / float(np.median(walls))
            row["ratio_cpu"] = clock.cpu / float(np.median(cpus))
        print(json.dumps(row), flush=True)
        rows.append(row)
    return rows


def rules(size, repeats):
    """Seconds of each rule's fit and prediction, median of `repeats`."""
    X, y, groups = made_scores(*MADE[size])
    fixed = {"awf margin": ("awf", {"objective": "margin"})}
    rows = []
    for name, (rule, options) in ({rule: (rule, {}) for rule in rule_names()} | fixed).items():
        clocks = []
        for _ in range(repeats):
            with Clock() as clock:
                make_fuser(rule, **options).fit(X, y, groups).predict_proba(X)
            clocks.append(clock)
        row = {"rule": name, "s": float(np.median([clock.wall for clock in clocks]))}
        row |= {"cpu_s": float(np.median([clock.cpu for clock in clocks])), "memory_gb": memory_gb()}
        rows.append(row)
        print(json.dumps(row, ensure_ascii=False), flush=True)
    total = {"rule": "all", "s": sum(row["s"] for row in rows), "cpu_s": sum(row["cpu_s"] for row in rows)}
    print(json.dumps(total))
    return [*rows, total]


def start(size, repeats):
    """CPU seconds of whole processes: the command, what it cannot do without, and what it loaded before."""
    from avr.store import Scores, write_scores

    n, K, S = MADE[size]
    X, y, groups = made_scores(n * 10 // 7, K, S)  # three of ten videos are test videos
    scores = Scores(
        ids=np.array([f"class{label}/video{video}" for video, label in enumerate(y)]),
        labels=y,
        groups=np.array([f"film{group}" for group in groups]),
        class_names=tuple(f"class{label}" for label in range(K)),
        streams={name: X[:, s].astype(np.float32) for s, name in enumerate(("rgb", "flow"))},
        kind="logits",
        split="1",
        fold=np.where(groups % 10 < 3, -1, groups % 4).astype(np.int32),
        head="made",
    )
    works = {
        "avr fuse average": "from avr.cli import main; main(['fuse', 'average', 'scores.h5'])",
        "import numpy, h5py, click": "import numpy, h5py, click",
        "import sklearn.base, scipy.stats": "import sklearn.base, scipy.stats",
    }
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        write_scores(Path(folder) / "scores.h5", scores)
        for name, code in works.items():
            cpus = []
            for _ in range(repeats + 1):  # the first may have to compile
                before = resource.getrusage(resource.RUSAGE_CHILDREN)
                subprocess.run([sys.executable, "-c", code], cwd=folder, check=True, capture_output=True)
                after = resource.getrusage(resource.RUSAGE_CHILDREN)
                cpus.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
            rows.append({"process": name, "cpu_s": float(np.median(cpus[1:])), "range": [min(cpus[1:]), max(cpus[1:])]})
            print(json.dumps(rows[-1]), flush=True)
    return rows


def real_scores(name):
    """A real score set of `$AVR_TEST_DATA` or `../shared/data`: X (M, S, K), labels and groups; None where missing."""
    from avr.datasets import groups_by_name
    from avr.store import import_scores

    for place in (os.environ.get("AVR_TEST_DATA"), Path(__file__).parents[2] / "shared" / "data"):
        folder = Path(place or "/nowhere") / "scores"
        if not folder.is_dir():
            continue
        files = [folder / part / f"{stream}.npz" for part, streams in SETS[name].items() for stream in streams]
        scores = [in_order(import_scores(file, group_rule=groups_by_name).scores) for file in files]
        names = [f"{file.parent.name}-{file.stem}" for file in files]
        table = gather(list(zip(names, scores, strict=True)))
        listed = files[0].with_name("groups.csv")
        if listed.is_file():
            with listed.open() as lines:
                group = {row["name"]: row["group"] for row in csv.DictReader(lines)}
            return table.X, table.labels, np.array([group[video] for video in table.ids])
        # Sanitised and plain names of one film differ in their signs alone.
        return table.X, table.labels, np.array([re.sub(r"\W", "_", str(group)) for group in table.groups])
    return None


def in_order(scores):
    """Scores with their classes in the order of their names, which files of one data set need not share."""
    order = np.argsort(scores.class_names)
    names = tuple(scores.class_names[k] for k in order)
    streams = {name: values[:, order] for name, values in scores.streams.items()}
    return replace(scores, class_names=names, labels=np.argsort(order)[scores.labels], streams=streams)


def cross_validated(rule, X, y, groups, repeats):
    """Whether a video is right, as a share of the repeats `(M,)`; top-1 a repeat; CPU seconds a fit."""
    name, _, objective = rule.partition(" ")
    options = {"objective": objective} if objective else {}
    if name == "weighted" and X.shape[1] != 2:
        options["weights"] = [1.0] * X.shape[1]  # TSN's weights are of two streams
    right, cpu, fits = np.zeros((repeats, len(y))), 0.0, 0
    for seed in range(repeats):
        fold = grouped_folds(y, groups=groups, seed=seed)
        for f in range(fold.max() + 1):
            held = fold == f
            with Clock() as clock:
                fuser = make_fuser(name, **options).fit(X[~held], y[~held], groups[~held])
            right[seed, held] = fuser.predict(X[held]) == y[held]
            cpu, fits = cpu + clock.cpu, fits + 1
    return right.mean(axis=0), 100 * right.mean(axis=1), cpu / fits


def real(sets, rules, repeats):
    """Top-1 of each rule by five grouped folds, a table a set, and the mean over the sets.

    The interval is of the mean over the repeats, over groups (`paired_bootstrap`).
    """
    rules = list(dict.fromkeys(["multiply", *rules]))
    rows, base = [], np.zeros(0)
    for name in sets:
        found = real_scores(name)
        if found is None:
            sys.exit("no real scores: set AVR_TEST_DATA, or lay them at ../shared/data")
        X, y, groups = found
        single = max(100 * float((X[:, s].argmax(axis=1) == y).mean()) for s in range(X.shape[1]))
        print(f"\n{name}: {' x '.join(map(str, X.shape))}, {len(set(groups))} groups; best single stream {single:.2f}")
        print(f"{'rule':20s} {'top-1':>6s}  {'against multiply':24s} {'single':>6s} {'CPU s a fit':>12s}  repeats")
        for rule in rules:
            right, tops, cpu = cross_validated(rule, X, y, groups, repeats)
            base = right if rule == "multiply" else base
            low, high = paired_bootstrap(100 * (right - base), groups)
            row = {"set": name, "rule": rule, "top1": float(tops.mean()), "repeats": tops.tolist()}
            row |= {"difference": row["top1"] - 100 * float(base.mean()), "interval": [low, high]}
            rows.append(row | {"over_single": row["top1"] - single, "cpu_s": cpu})
            against = f"{row['difference']:+6.2f}  ({low:+.2f} … {high:+.2f})"
            print(
                f"{rule:20s} {row['top1']:6.2f}  {against:24s} {row['top1'] - single:+6.2f} {cpu:12.3f}  "
                f"{np.round(tops, 2)}",
                flush=True,
            )
    columns = ("top1", "difference", "over_single", "cpu_s")
    print(f"\nmean over {len(sets)} sets")
    print(f"{'rule':20s} {'top-1':>6s} {'multiply':>9s} {'least':>6s} {'single':>7s} {'least':>6s} {'CPU s':>6s}")
    for rule in rules:
        own = [row for row in rows if row["rule"] == rule]
        mean = {column: float(np.mean([row[column] for row in own])) for column in columns}
        mean |= {"set": "mean", "rule": rule, "least": min(row["difference"] for row in own)}
        mean["least_over_single"] = min(row["over_single"] for row in own)
        print(
            f"{rule:20s} {mean['top1']:6.2f} {mean['difference']:+9.2f} {mean['least']:+6.2f} "
            f"{mean['over_single']:+7.2f} {mean['least_over_single']:+6.2f} {mean['cpu_s']:6.2f}"
        )
        rows.append(mean)
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["speed", "rules", "start", "real"])
    parser.add_argument(
        "--sizes", nargs="+", default=["hmdb51", "ucf101", "kinetics"], choices=MADE, help="speed: made"
    )
    parser.add_argument("--sets", nargs="+", default=[*SETS], choices=SETS, help="real: which score sets")
    parser.add_argument(
        "--rules", nargs="+", default=[*rule_names(), "awf margin", "awf stilt"], help="real: which rules"
    )
    parser.add_argument("--plain", action="store_true", help="Run plain linprog where it takes minutes, too.")
    parser.add_argument("--quick", action="store_true", help="A small size, once.")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, help="Also write the rows as JSON.")
    options = parser.parse_args()
    size, repeats = ("small", 1) if options.quick else ("hmdb51", options.repeats)
    work = {
        "speed": lambda: speed([size] if options.quick else options.sizes, repeats, options.plain),
        "rules": lambda: rules(size, repeats),
        "start": lambda: start(size, repeats),
        "real": lambda: real(options.sets, options.rules, repeats),
    }
    rows = work[options.what]()
    if options.out:
        options.out.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
