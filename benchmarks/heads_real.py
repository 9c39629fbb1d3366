"""Every head on three real data sets, beside plain scikit-learn on the same features.

    python benchmarks/heads_real.py --data ../shared/data --out heads_real.md
    python benchmarks/heads_real.py --data ../shared/data --datasets ut --heads linear,stfn --seeds 0

Weizmann (nine persons, one left out each), JHMDB split 1 (11 classes) and UT-Interaction set 1 (ten sequences, one left
out each), of SqueezeNet 1.1 and of MobileNetV2, both of ImageNet. Of each head and seed the accuracy over the test
videos of all splits together: mean and standard deviation over seeds, and a 95 % interval over groups (persons, films,
sequences drawn with replacement; the seeds' mean). "Seeds averaged": the mean probabilities of one head's seeds, where
it is trained step by step. scikit-learn's logistic regression and linear SVM read the mean over
segments, standardised, and choose C on a path by five grouped folds of the training part: as `linear` does; of two
streams the product of probabilities, of the SVM the sum of values.

Nothing here is chosen by a test part. What lies in --work is not done again, so a stopped script goes on. Heads on maps
would take hours at their papers' size: the options below make them small, and stand in the table.
"""

import argparse
import json
import os
import statistics
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax, logsumexp
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from avr.core import grouped_folds, note, possible_folds, write_whole
from avr.datasets import index_dataset
from avr.extract import extract, read_streams
from avr.fusion import paired_bootstrap
from avr.heads import head_class, train_run, with_average
from avr.store import FeatureStore, is_test, read_scores, score_path, split_folder

# name -> data set, folder of --data, options of its index, options of its extraction. Weizmann's people are some 60
# pixels high and move by a pixel or two: flow at three times the size uses the range of grey levels that it is kept in.
DATASETS: dict[str, tuple[str, str, dict[str, object], dict[str, object]]] = {
    "weizmann": ("weizmann", "weizmann", {}, {"flow_size": 432}),
    "jhmdb": ("hmdb51", "jhmdb", {"called": "jhmdb"}, {}),
    "ut": ("folder", "ut-interaction-set1", {"called": "ut", "group_pattern": r"/(s\d+)_", "folds": "10"}, {}),
}
BACKBONES = {"squeezenet1_1": "squeezenet1_1.pth", "mobilenet_v2": "mobilenet_v2_features.pth"}
SMALL = {
    "frame-attention": ({"reduce": 32, "size": 5, "fc6_width": 128, "hidden": 64}, {"epochs": 10, "min_steps": 300}),
    "temporal-pyramid": ({"reduce": 16, "hidden": 64}, {"epochs": 10, "min_steps": 300}),
    "attention-streams": (
        {"hidden": 128, "layers": 2, "attention_hidden": 32},
        {"epochs": 10, "min_steps": 200, "batch_size": 16, "lr": 1e-3},
    ),
}
POOLED = ("linear", "statistics-pooling", "consensus", "attentive", "stfn", "coattention")
PLAIN = ("scikit-learn logistic regression", "scikit-learn linear SVM")
PATHS = {PLAIN[0]: 10.0 ** np.arange(-4, 1.1, 0.5), PLAIN[1]: 10.0 ** np.arange(-5, -0.9)}  # of C


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = os.environ.get("AVR_TEST_DATA") or Path(__file__).parents[2] / "shared" / "data"
    parser.add_argument("--data", type=Path, default=default, help="folder of the clips and of weights/")
    parser.add_argument("--work", type=Path, default=Path("benchmarks-work/heads_real"))
    parser.add_argument("--out", type=Path, default=Path("heads_real.md"))
    parser.add_argument("--datasets", default=",".join(DATASETS))
    parser.add_argument("--backbones", default=",".join(BACKBONES))
    parser.add_argument("--heads", default=",".join(POOLED), help="also: " + ", ".join(SMALL))
    parser.add_argument("--seeds", default="0,1,2")
    chosen = parser.parse_args()
    heads, seeds = chosen.heads.split(","), [int(seed) for seed in chosen.seeds.split(",")]
    lines = ["| data set | backbone | head | output | top-1 % | seeds | 95 % over groups | s a seed |"]
    lines += ["|---|---|---|---|---|---|---|---|"]
    for dataset in chosen.datasets.split(","):
        for backbone in chosen.backbones.split(","):
            place = extracted(dataset, backbone, chosen.data, chosen.work, maps=any(name in SMALL for name in heads))
            for name in (*PLAIN, *heads):
                measured = [
                    measure(name, [seed], place, chosen.work) for seed in (seeds if name in heads else seeds[:1])
                ]
                lines += [f"| {dataset} | {backbone} | {name} | {row}" for row in rows_of(measured)]
                if len(measured) > 1 and head_class(name).defaults.optimizer != "lbfgs":
                    together = rows_of([measure(name, seeds, place, chosen.work)])
                    lines += [f"| {dataset} | {backbone} | {name}, seeds averaged | {row}" for row in together]
                with write_whole(chosen.out) as temporary:  # after each, so that a stopped script leaves what it has
                    temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(chosen.out.read_text(encoding="utf-8"))


def extracted(dataset: str, backbone: str, data: Path, work: Path, *, maps: bool) -> Path:
    """The store of a data set and backbone, made if it is not there."""
    name, folder, options, settings = DATASETS[dataset]
    place = work / f"{dataset}-{backbone}{'-maps' if maps else ''}"
    if not place.exists() and not (data / folder).is_dir():
        raise SystemExit(f"skipped: no {data / folder}; name the folder with --data or AVR_TEST_DATA")
    told = {
        "backbone": backbone,
        "weights": str(data / "weights" / BACKBONES[backbone]),
        "layers": ("pooled", "map") if maps else ("pooled",),
        "segments": 7,
        "resize": 160,
        "crop": 160,
        "mirror": True,
        **settings,
    }
    if not (place / "index.h5").is_file():
        extract(index_dataset(name, data / folder, **options), place, streams=read_streams(["rgb", "flow"], told))
    return place


def measure(name: str, seeds: list[int], place: Path, work: Path) -> dict:
    """Which test videos of all splits each output of a head, or of its seeds together, gets right, and their groups."""
    numbers = "-".join(map(str, seeds))
    kept = work / "measured" / f"{place.name}-{name.replace(' ', '_')}-{numbers}.json"
    if kept.is_file():
        return json.loads(kept.read_text(encoding="utf-8"))
    note(f"{place.name}: {name}, seed {numbers}")
    started = time.perf_counter()
    found: dict[str, list] = {}
    for outputs, labels, groups in plain(name, place) if name in PLAIN else trained(name, seeds, place, work):
        found.setdefault("groups", []).extend(groups)
        for output, scores in outputs.items():
            found.setdefault(output, []).extend((scores.argmax(axis=1) == labels).tolist())
    groups = [str(group) for group in found.pop("groups")]
    told = {"right": found, "groups": groups, "seconds": time.perf_counter() - started}
    kept.parent.mkdir(parents=True, exist_ok=True)
    with write_whole(kept) as temporary:
        temporary.write_text(json.dumps(told), encoding="utf-8")
    return told


def trained(
    name: str, seeds: list[int], place: Path, work: Path
) -> Iterator[tuple[dict[str, NDArray], NDArray, NDArray]]:
    """Scores by output, labels and groups of each split's test videos, of a head; of several seeds the mean
    probability."""
    options, training = SMALL.get(name, ({}, {}))
    layers = {"": "map"} if name in SMALL else {"": "pooled"}
    told = {"streams": ("rgb", "flow"), "layers": layers, "options": options, "training": training}
    runs = []
    for seed in seeds:
        out = work / "runs" / f"{place.name}-{name}-{seed}"
        runs.append(train_run(place, name, split="all", folds=0, seed=seed, out=out, **told))
    for split in runs[0].splits:
        each = [read_scores(score_path(split_folder(run.folder, split))) for run in runs]
        test = is_test(each[0].fold)
        streams = each[0].streams
        outputs = with_average(
            {one: mean_probability([scores.streams[one][test] for scores in each]) for one in streams}
        )
        if head_class(name).joint:
            outputs = {"fused": outputs["fused"]}
        yield outputs, each[0].labels[test], each[0].groups[test]


def mean_probability(scores: list[NDArray]) -> NDArray:
    """Of logits `(M, K)` of several seeds the mean probability's logarithm, up to a constant."""
    return logsumexp(log_softmax(np.stack(scores), axis=2), axis=0)


def plain(name: str, place: Path) -> Iterator[tuple[dict[str, NDArray], NDArray, NDArray]]:
    """The same of scikit-learn's classifiers, a video's views as samples of its weight, their scores averaged."""
    warnings.simplefilter("ignore", ConvergenceWarning)
    with FeatureStore(place) as store:
        owner = np.repeat(np.arange(len(store.labels)), store.views)
        means = {s: store.read_whole(s, "pooled").astype(np.float64).mean(axis=1) for s in ("rgb", "flow")}
        for split in store.split_names:
            train, test = (np.flatnonzero(mask) for mask in store.split(split))
            folds = possible_folds(store.groups[train], folds=5)
            fold = grouped_folds(store.labels[train], groups=store.groups[train], folds=folds, seed=0)
            outputs = {}
            for stream, vectors in means.items():

                def fit(c: float, seen: NDArray, scored: NDArray, vectors: NDArray = vectors) -> NDArray:
                    return scores_of(name, c, vectors, store.labels, owner, seen, scored, len(store.class_names))

                losses = []
                for c in PATHS[name]:
                    found = np.zeros((len(train), len(store.class_names)))
                    for held in range(folds):
                        found[fold == held] = fit(c, train[fold != held], train[fold == held])
                    wanted = store.labels[train]
                    right = (found.argmax(axis=1) == wanted).mean()
                    losses.append(-right if "SVM" in name else -found[np.arange(len(train)), wanted].mean())
                outputs[stream] = fit(float(PATHS[name][int(np.argmin(losses))]), train, test)
            yield outputs | {"multiply": sum(outputs.values())}, store.labels[test], store.groups[test]


def scores_of(
    name: str,
    c: float,
    vectors: NDArray,
    labels: NDArray,
    owner: NDArray,
    seen: NDArray,
    scored: NDArray,
    classes: int,
) -> NDArray:
    """Log-probabilities, of the SVM values, `(len(scored), K)`; of a class that was not seen very low ones."""
    rows = np.isin(owner, seen)
    if "SVM" in name:
        model = make_pipeline(StandardScaler(), LinearSVC(C=c, max_iter=1000, dual=True, random_state=0))
    else:
        model = make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=500))
    model.fit(vectors[rows], labels[owner[rows]])
    out = np.isin(owner, scored)
    found = model.decision_function(vectors[out]) if "SVM" in name else model.predict_proba(vectors[out])
    whose = owner[out]
    averaged = np.stack([found[whose == video].mean(axis=0) for video in scored])
    scores = np.full((len(scored), classes), -30.0)
    scores[:, model.classes_] = averaged if "SVM" in name else np.log(np.maximum(averaged, 1e-12))
    return scores


def rows_of(measured: list[dict]) -> Iterator[str]:
    """The rest of a table's row for each output."""
    groups = np.array(measured[0]["groups"])
    for output in measured[0]["right"]:
        right = np.array([run["right"][output] for run in measured], dtype=float)  # (seeds, videos)
        top1 = 100 * right.mean(axis=1)
        spread = f" ± {statistics.stdev(top1):.1f}" if len(top1) > 1 else ""
        low, high = paired_bootstrap(right.mean(axis=0), groups, repeats=2000, seed=0)
        listed = ", ".join(f"{value:.1f}" for value in top1)
        seconds = statistics.mean(run["seconds"] for run in measured)
        yield f"{output} | {top1.mean():.1f}{spread} | {listed} | {100 * low:.1f} … {100 * high:.1f} | {seconds:.0f} |"


if __name__ == "__main__":
    main()
