"""Which settings a head trains best with, by inner grouped folds of several training parts.

    python benchmarks/defaults.py stfn features/jhmdb features/ut --splits 1,4,7 --try lr=3e-4,1e-3 --try dropout=0,0.5

Every combination of the values of `--try` is a trial, as `avr heads tune` judges one: trained on four fifths of the
groups of a split's training part, judged on the fifth left out, in turn; no label of a test part is there. Printed:
top-1 in percent and log-loss over the held-out videos, means over a store's splits and `--seeds`, of what the head
predicts (of one stream each: their product); the lowest loss first, as the mean over the stores of what it is to the
store's lowest. Trials that lie in --work are not done again.
"""

import argparse
import itertools
from collections import defaultdict
from pathlib import Path

import numpy as np

from avr.core import AvrError, note
from avr.heads._requests import RunRequest, settle
from avr.heads._trials import Trial, judge, keep_trials, read_trials
from avr.heads._tuning import _Work
from avr.store import FeatureStore
from avr.training import Engine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("head")
    parser.add_argument("stores", type=Path, nargs="+")
    parser.add_argument("--try", action="append", default=[], metavar="NAME=A,B", dest="tried")
    parser.add_argument("--splits", default="", help="several with commas; those that a store has, else its first")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--work", type=Path, default=Path("benchmarks-work/defaults"))
    chosen = parser.parse_args()
    named = dict(one.split("=", 1) for one in chosen.tried)
    trials = [dict(zip(named, v, strict=True)) for v in itertools.product(*(t.split(",") for t in named.values()))]
    found: dict[str, dict[str, list[Trial]]] = {}
    for path in chosen.stores:
        with FeatureStore(path) as store:
            splits = [name for name in chosen.splits.split(",") if name in store.split_names] or store.split_names[:1]
        of_store: dict[str, list[Trial]] = defaultdict(list)
        for split, seed in itertools.product(splits, map(int, chosen.seeds.split(","))):
            place = chosen.work / f"{path.name}-{chosen.head}-{split}-{seed}"
            for trial in tried(chosen.head, path, split, seed, trials=trials, place=place, workers=chosen.workers):
                of_store[spoken(trial.values)].append(trial)
        found[path.name] = of_store
    print(table(found, [spoken(trial) for trial in trials]))


def spoken(values: dict[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items()) or "as it is"


def tried(
    head: str, path: Path, split: str, seed: int, *, trials: list[dict[str, str]], place: Path, workers: int
) -> list[Trial]:
    """Each trial on a split's training part."""
    request = RunRequest(path, head, ("rgb", "flow"), split=split, seed=seed)
    place.mkdir(parents=True, exist_ok=True)
    known = {spoken(trial.values): trial for trial in read_trials(place)}
    missing = [trial for trial in trials if spoken(trial) not in known]
    if missing:
        note(f"{place.name}: {len(missing)} trials")
        with FeatureStore(path, streams=request.streams) as store:
            plan = settle(0, request, store).plan
            work = _Work(plan, {}, store, engine=Engine(workers=workers), device="cpu", most=None)
            fold_of = work.deal(work.videos)
            for trial, folds in zip(missing, work.run(missing, work.videos, fold_of), strict=True):
                known[spoken(trial)] = judge(trial, folds, work.labels[work.videos], fold_of)
                keep_trials(place, list(known.values()))
    return [known[spoken(trial)] for trial in trials]


def table(found: dict[str, dict[str, list[Trial]]], names: list[str]) -> str:
    losses = np.array([[mean(of_store[name], "loss") for of_store in found.values()] for name in names])
    relative = (losses / losses.min(axis=0)).mean(axis=1)
    lines = [f"| settings | {' | '.join(found)} | loss over the lowest |", f"|---|{'---|' * len(found)}--:|"]
    for row in np.argsort(relative):
        cells = [
            f"{100 * mean(of_store[names[row]], 'accuracy'):.1f}, {losses[row, column]:.3f}"
            for column, of_store in enumerate(found.values())
        ]
        lines.append(f"| {names[row]} | {' | '.join(cells)} | {relative[row]:.2f} |")
    return "\n".join(lines)


def mean(trials: list[Trial], figure: str) -> float:
    failed = [trial.error for trial in trials if trial.error]
    if failed:
        raise AvrError(failed[0])
    return float(np.mean([getattr(trial, figure) for trial in trials]))


if __name__ == "__main__":
    main()
