"""The fusers' speed and memory, and the rules on real scores.

    python benchmarks/fusion.py speed --out fusion.json   # full LP-B through plain linprog against ours; Kinetics' size
    python benchmarks/fusion.py rules                     # all rules on scores of HMDB51's size
    python benchmarks/fusion.py start                     # the whole command `avr fuse average`, imports and all
    python benchmarks/fusion.py real                      # five grouped folds, three repeats, on real HMDB51 scores

`speed` solves one made problem a size twice in one run: all n(K-1) rows through `scipy.optimize.linprog`, and by cuts.
The plain program takes ten minutes at 9 537 × 101 × 2 (HiGHS uses one thread), and is run there with `--plain` alone.
CPU seconds are printed beside wall seconds, since other work on the machine changes the latter. `--sizes small` and
`--quick` take seconds.
"""

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from scipy.optimize import linprog
from scipy.sparse import coo_matrix

from avr.core import grouped_folds
from avr.fusion import gather, make_fuser, rule_class, rule_names
from avr.fusion.programs import MarginProgram, calibrate, temperatures_of

SIZES = {"small": (600, 12, 2), "hmdb51": (3570, 51, 2), "ucf101": (9537, 101, 2), "kinetics": (240_000, 400, 2)}
NU = 0.3


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
        n, K, S = SIZES[size]
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
    X, y, groups = made_scores(*SIZES[size])
    fixed = {"awf ν 0.8, δ 0.4": ("awf", {"nu": 0.8, "delta": 0.4})}
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

    n, K, S = SIZES[size]
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


def real_scores(streams):
    """The real HMDB51 scores of `$AVR_TEST_DATA` or `../shared/data`: X, labels, source films; None where missing."""
    from avr.datasets import groups_by_name
    from avr.store import import_scores

    for place in (os.environ.get("AVR_TEST_DATA"), Path(__file__).parents[2] / "shared" / "data"):
        folder = Path(place or "/nowhere") / "scores" / "hmdb51-split1"
        if folder.is_dir():
            files = [folder / f"{name}.npz" for name in streams]
            table = gather([(f.stem, import_scores(f, group_rule=groups_by_name).scores) for f in files])
            # Sanitised and plain names of one film differ in their signs alone.
            films = [re.sub(r"\W", "_", str(group)) for group in table.groups]
            return table.X, table.labels, np.array(films)
    return None


def real(repeats):
    """Top-1 of each rule by five grouped folds, mean and spread over the repeats."""
    rows = []
    for streams in (("rgb", "flow"), ("rgb", "flow", "mv", "residual")):
        found = real_scores(streams)
        if found is None:
            sys.exit("no real scores: set AVR_TEST_DATA, or lay them at ../shared/data")
        X, y, groups = found
        print(f"{' + '.join(streams)}: {len(y)} videos of {len(set(groups))} films")
        for rule in [*rule_names(), "awf stilt"]:
            if rule == "weighted" and len(streams) > 2:
                continue  # it has weights of rgb and flow alone
            options = {"objective": "stilt"} if rule == "awf stilt" else {}
            options |= rule_class(rule.split()[0]).options_for(streams)
            tops = []
            for seed in range(repeats):
                fold = grouped_folds(y, groups=groups, seed=seed)
                right = 0
                for f in range(5):
                    fit, held = fold != f, fold == f
                    fuser = make_fuser(rule.split()[0], **options).fit(X[fit], y[fit], groups[fit])
                    right += int((fuser.predict(X[held]) == y[held]).sum())
                tops.append(100 * right / len(y))
            rows.append({"streams": list(streams), "rule": rule, "top1": float(np.mean(tops)), "repeats": tops})
            print(f"  {rule:18s} {np.mean(tops):6.2f} ± {np.std(tops, ddof=1):.2f}  {np.round(tops, 2)}", flush=True)
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["speed", "rules", "start", "real"])
    parser.add_argument("--sizes", nargs="+", default=["hmdb51", "ucf101", "kinetics"], choices=SIZES)
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
        "real": lambda: real(repeats),
    }
    rows = work[options.what]()
    if options.out:
        options.out.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
