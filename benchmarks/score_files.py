"""Random score files, as scripts with pandas, NumPy, csv, json and pickle write them: each must come back equal, or be
refused with what to type.

    python benchmarks/score_files.py --files 5000 --seed 0

Each file is drawn from a seed of its own, so that `--only N --keep FOLDER` writes and reads one again. Ends with exit
code 1 where a file came back otherwise than it was written, or where anything but avr's own error was raised.
"""

import argparse
import csv
import json
import pickle
import re
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from avr.core import AvrError, log_softmax, softmax
from avr.store import import_scores

KINDS = ("logits", "softmax", "percent", "rounded", "log-softmax", "summed", "svm", "frames", "positive", "votes")
SOFT = ("softmax", "percent", "rounded", "summed")


@dataclass
class Truth:
    """What a file holds, and what is told of it besides.

    Attributes:
        ids, labels, class_names, values: (M,), (M,), (K,) and (M, K).
        kind: of the numbers, one of `KINDS`.
        told: keyword arguments of `import_scores`.
        has: which of "ids", "labels", "class_names" the file tells.
        shuffled: its columns have names, and are in another order than the classes.
        reordered: its rows are in another order.
    """

    ids: list
    labels: np.ndarray
    class_names: list
    values: np.ndarray
    kind: str
    told: dict = field(default_factory=dict)
    has: set = field(default_factory=set)
    shuffled: bool = False
    reordered: bool = False

    @property
    def expected(self):
        """The numbers as avr keeps them."""
        return self.values / self.values.sum(axis=1, keepdims=True) if self.kind in SOFT else self.values


def draw_truth(rng):
    """Videos, classes and scores; nothing of a file yet."""
    M, K = int(rng.integers(2, 40)), int(rng.choice([2, 3, 4, 5, 7, 11, 12, 51]))
    labels = rng.integers(0, K, M)
    words = ["walk", "run", "jump", "brush hair", "hand-stand", "Golf_Swing", "ride bike", "été", "wave 1", "wave 2"]
    style = rng.choice(["words", "numbered", "prefixed", "padded"])
    names = {
        "words": [words[k] if k < len(words) else f"class{k:03d}x" for k in range(K)],
        "numbered": [str(k) for k in range(K)],
        "prefixed": [f"c{k}" for k in range(K)],
        "padded": [f"A{k + 1:03d}" for k in range(K)],
    }[style]
    naming = rng.choice(["folder", "flat", "numbers", "zeros", "youtube", "suffix", "spaces", "comma", "quoted"])
    ids = {
        "folder": [f"{names[label]}/v_{i:03d}" for i, label in enumerate(labels)],
        "flat": [f"clip_{i}" for i in range(M)],
        "numbers": [str(1000 + 7 * i) for i in range(M)],
        "zeros": [f"{i * 3:06d}" for i in range(M)],
        "youtube": [f"-aB{i}_x{'_' * (i % 3)}" for i in range(M)],
        "suffix": [f"v{i}.avi" for i in range(M)],
        "spaces": [f"my clip {i}" for i in range(M)],
        "comma": [f"a, b{i}" for i in range(M)],
        "quoted": [f'say "hi" {i}' for i in range(M)],
    }[naming]
    kind = str(rng.choice(KINDS))
    logits = rng.normal(size=(M, K)) * rng.uniform(0.5, 4)
    logits[np.arange(M), labels] += rng.uniform(0, 4)
    values = {
        "logits": lambda: logits,
        "softmax": lambda: softmax(logits),
        "percent": lambda: 100 * softmax(logits),
        "rounded": lambda: np.round(softmax(logits), 4),
        "log-softmax": lambda: log_softmax(logits),
        "summed": lambda: 25 * softmax(logits),
        "svm": lambda: logits / 20,
        "frames": lambda: logits * rng.integers(10, 250, (M, 1)),
        "positive": lambda: np.abs(logits) + 0.01,
        "votes": lambda: np.round(4 * np.abs(logits)) + rng.integers(0, 3, (M, K)),
    }[kind]()
    if rng.random() < 0.3:
        values = values.astype(np.float32).astype(np.float64)
    if rng.random() < 0.3 and kind != "softmax":
        values = np.round(values, int(rng.integers(3, 7)))
    if kind in ("softmax", "percent", "summed") and rng.random() < 0.1:  # saturated: whole numbers among others
        values[rng.integers(M)] = np.eye(K)[rng.integers(K)] * values[0].sum()
    return Truth(ids, labels, names, values, kind)


def tell_the_rest(truth, rng):
    """What the file does not hold is told as a user would: names in order, labels by id, class names."""
    truth.told = {}
    if "ids" not in truth.has:
        truth.told["names"] = list(truth.ids)
    if "labels" not in truth.has and rng.random() < 0.8:
        told = [truth.class_names[label] for label in truth.labels] if rng.random() < 0.3 else truth.labels.tolist()
        named = isinstance(told[0], str)
        by_id = rng.random() < 0.8 or truth.reordered
        truth.told["labels"] = dict(zip(truth.ids, told, strict=True)) if by_id else told
        if named and "class_names" not in truth.has:
            truth.told["class_names"] = list(truth.class_names)
            truth.has.add("class_names")
        truth.has.add("labels")
        if not named and truth.shuffled:  # numbers of classes, of which only their list can tell the columns
            truth.told["class_names"] = list(truth.class_names)
    if "class_names" not in truth.has and rng.random() < 0.4:
        truth.told["class_names"] = list(truth.class_names)
        truth.has.add("class_names")


def table_of(truth, rng):
    """Header and rows of a table: an id, a label or none, a score a class, in some order."""
    M, K = truth.values.shape
    order = rng.permutation(K) if rng.random() < 0.2 else np.arange(K)
    truth.has, truth.shuffled = set(), bool((order != np.arange(K)).any())
    columns = [(truth.class_names[k], truth.values[:, k].tolist()) for k in order]
    id_word = str(rng.choice(["video", "id", "name", "filename", "video_id", "path", "clip", "Video ID", "sample"]))
    label_word = str(rng.choice(["label", "class", "target", "gt_label", "y_true", "Label"]))
    front = []
    if rng.random() < 0.9:
        front.append((id_word, list(truth.ids)))
        truth.has.add("ids")
    if rng.random() < 0.6:
        named = rng.random() < 0.4
        front.append((label_word, [truth.class_names[k] if named else int(k) for k in truth.labels]))
        truth.has.add("labels")
        if not named and (order != np.arange(K)).any():  # numbers of columns are of the file's own order
            front[-1] = (label_word, [int(np.flatnonzero(order == k)[0]) for k in truth.labels])
            if truth.class_names[0] in ("0", "c0", "A001"):  # the classes' names number them
                front[-1] = (label_word, truth.labels.tolist())
    if rng.random() < 0.1:
        front.append(("group", [f"g{i // 3}" for i in range(M)]))
    if rng.random() < 0.1:
        front.append(("prediction", [truth.class_names[k] for k in truth.values.argmax(axis=1)]))
    if rng.random() < 0.1:
        front.append(("frames", rng.integers(20, 300, M).tolist()))
    place = int(rng.integers(len(columns) + 1)) if rng.random() < 0.3 else 0
    columns = columns[:place] + front + columns[place:]
    truth.has.add("class_names")
    return (
        [name for name, _ in columns],
        [list(row) for row in zip(*(cells for _, cells in columns), strict=True)],
        order,
    )


def write_csv(truth, rng, path):
    """By hand, in a random dialect."""
    header, rows, order = table_of(truth, rng)
    mark = str(rng.choice([",", ";", "\t", "|", " "], p=[0.45, 0.2, 0.2, 0.05, 0.1]))
    comma = rng.random() < (0.5 if mark == ";" else 0.1)
    spec = str(rng.choice(["repr", ".6f", ".4e", ".8g"]))
    quoting = int(rng.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]))
    lines = str(rng.choice(["\n", "\r\n"]))
    if truth.kind not in ("softmax", "percent", "summed", "rounded") or spec != ".4e":
        truth.values = np.array([[float(_number(v, spec)) for v in row] for row in truth.values.tolist()])
    else:
        spec = "repr"

    def cell(value):
        if not isinstance(value, float):
            return value
        text = _number(value, spec)
        return text.replace(".", ",") if comma else text

    if rng.random() < 0.15 and (order == np.arange(len(order))).all():  # no header
        names = set(header) & {
            "label",
            "class",
            "target",
            "gt_label",
            "y_true",
            "Label",
            "prediction",
            "frames",
            "group",
        }
        keep = [place for place, name in enumerate(header) if name not in names]
        rows = [[row[place] for place in keep] for row in rows]
        header = []
        truth.has = {"ids"} & truth.has
    elif rng.random() < 0.15 and "ids" in truth.has:  # an index beside it
        header = ["", *header]
        rows = [[number, *row] for number, row in enumerate(rows)]
    if header and rng.random() < 0.1 and mark != " ":  # each line ends with what stands between cells
        header, rows = [*header, ""], [[*row, ""] for row in rows]
    with open(path, "w", encoding="utf-8-sig" if rng.random() < 0.2 else "utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=mark, quoting=quoting, lineterminator=lines)
        if header:
            writer.writerow(header)
        writer.writerows([cell(value) for value in row] for row in rows)


def _number(value, spec):
    return repr(value) if spec == "repr" else format(value, spec)


def frame_of(truth, rng):
    """A pandas DataFrame, with its ids as a column or as the index."""
    import pandas as pd

    header, rows, _ = table_of(truth, rng)
    frame = pd.DataFrame(rows, columns=header)
    named = next((name for name in header if _word(name) in IDS), None)
    if named and rng.random() < 0.4:
        frame = frame.set_index(named)
        if rng.random() < 0.5:
            frame.index.name = None
    elif named and rng.random() < 0.1:
        frame = frame.sample(frac=1, random_state=int(rng.integers(1000)))
        frame = frame.reset_index(drop=True)
        truth.reordered = True
    return frame


def _word(name):
    return name.lower().replace(" ", "_")


IDS = {"video", "id", "name", "filename", "video_id", "path", "clip", "sample"}


def write_pandas(truth, rng, path):
    frame = frame_of(truth, rng)
    text = not isinstance(frame.index, type(frame.reset_index().index))
    mark = str(rng.choice([",", ";", "\t"]))
    decimal = "," if mark == ";" and rng.random() < 0.5 else "."
    if not text and rng.random() < 0.1:
        frame = frame.rename_axis("Unnamed: 0").reset_index()
    frame.to_csv(
        path,
        sep=mark,
        decimal=decimal,
        index=bool(text or rng.random() < 0.5),
        quoting=int(rng.choice([csv.QUOTE_MINIMAL, csv.QUOTE_NONNUMERIC])),
        encoding=str(rng.choice(["utf-8", "utf-8-sig"])),
        lineterminator=str(rng.choice(["\n", "\r\n"])),
    )


def write_parquet(truth, rng, path):
    frame_of(truth, rng).to_parquet(path)


def write_frame_json(truth, rng, path):
    frame = frame_of(truth, rng)
    if str(frame.index.dtype) != "int64":
        frame = frame.reset_index(names="video" if frame.index.name is None else frame.index.name)
    frame.to_json(
        path, orient=str(rng.choice(["records", "columns"])), force_ascii=bool(rng.random() < 0.5), double_precision=15
    )


def arrays_of(truth, rng, *, lists=False):
    """Arrays by name."""
    truth.has = set()
    values = views_of(truth, rng)
    arrays = {str(rng.choice(["scores", "logits", "probs", "preds", "pred_scores", "x"])): values}
    if rng.random() < 0.7:
        arrays[str(rng.choice(["names", "ids", "videos", "video_names", "filenames"]))] = np.array(truth.ids)
        truth.has.add("ids")
    if rng.random() < 0.7:
        form = rng.choice(["numbers", "names", "one-hot"])
        arrays[str(rng.choice(["labels", "label", "gt", "y_true", "targets"]))] = {
            "numbers": truth.labels,
            "names": np.array([truth.class_names[label] for label in truth.labels]),
            "one-hot": np.eye(len(truth.class_names), dtype=int)[truth.labels],
        }[form]
        truth.has.add("labels")
        if form == "names" or rng.random() < 0.4:
            arrays[str(rng.choice(["class_names", "classes"]))] = np.array(truth.class_names)
            truth.has.add("class_names")
    if rng.random() < 0.1:
        arrays["groups"] = np.array([f"g{i // 3}" for i in range(len(truth.ids))])
    return {name: array.tolist() for name, array in arrays.items()} if lists else arrays


def views_of(truth, rng):
    """The values, or views of which they are the mean, in some order of axes and of some type."""
    types = ["f4", "f8", ">f4", ">f8", "f2"] if truth.kind in ("logits", "svm", "softmax") else ["f4", "f8"]
    values = np.asarray(truth.values.astype(rng.choice(types)), order=str(rng.choice(["C", "F"])))
    truth.values = values.astype(np.float64)
    if rng.random() < 0.3:
        count = int(rng.choice([1, 3, 10]))
        shifts = np.linspace(-1, 1, count) if truth.kind not in (*SOFT, "log-softmax") else np.zeros(count)
        views = np.stack([values + shift for shift in shifts], axis=1).astype(values.dtype)
        truth.values = views.astype(np.float64).mean(axis=1)
        return np.moveaxis(views, rng.permutation(3), (0, 1, 2)) if rng.random() < 0.3 else views
    return values.T if rng.random() < 0.1 else values


def write_npz(truth, rng, path):
    arrays = arrays_of(truth, rng)
    if rng.random() < 0.2:
        arrays = {name: a.astype(object) if a.dtype.kind == "U" else a for name, a in arrays.items()}
    (np.savez_compressed if rng.random() < 0.3 else np.savez)(path, **arrays)


def write_tsn(truth, rng, path):
    """TSN's rows of (views × K, label)."""
    views = int(rng.choice([1, 10, 25]))
    rows = np.empty((len(truth.ids), 2), dtype=object)
    for i, (row, label) in enumerate(zip(truth.values, truth.labels, strict=True)):
        rows[i] = [np.repeat(row[None], views, axis=0).astype("f4"), int(label)]
    truth.values = truth.values.astype("f4").astype("f8")
    truth.has = {"labels"}
    np.savez(path, scores=rows, labels=truth.labels)


def write_npy(truth, rng, path):
    truth.has = set()
    if rng.random() < 0.2:
        truth.has = {"ids"}
        truth.values = truth.values.astype("f4").astype("f8")
        np.save(path, dict(zip(truth.ids, truth.values.astype("f4"), strict=True)), allow_pickle=True)
    else:
        np.save(path, views_of(truth, rng))


def write_savetxt(truth, rng, path):
    truth.has = set()
    spec = str(rng.choice(["%.18e", "%.6f", "%.8g"]))
    truth.values = np.array([[float(spec % v) for v in row] for row in truth.values])
    np.savetxt(path, truth.values, fmt=spec, delimiter=str(rng.choice([" ", ",", "\t"])))


def write_views(truth, rng, path):
    """VideoMAE's lines of a view each, of several processes after one another, some views twice."""
    logits = np.log(np.maximum(truth.expected, 1e-30)) if truth.kind in SOFT else truth.values
    truth.values, truth.kind, truth.has = softmax(logits), "softmax", {"ids", "labels"}
    views = [(chunk, crop) for chunk in range(rng.integers(1, 4)) for crop in range(rng.integers(1, 4))]
    rows = [
        f"{video} {row.tolist()} {label} {chunk} {crop}\n"
        for video, row, label in zip(truth.ids, logits, truth.labels, strict=True)
        for chunk, crop in views
    ]
    rows += [rows[place] for place in rng.integers(0, len(rows), rng.integers(0, 4))]
    parts = np.array_split(rng.permutation(len(rows)), rng.integers(1, 3))
    top = f"{rng.uniform(0, 100)}, {rng.uniform(0, 100)}\n" if rng.random() < 0.8 else ""
    path.write_text("".join(top + "".join(rows[place] for place in part) for part in parts), encoding="utf-8")
    truth.reordered = True


def write_lists(truth, rng, path):
    """A table of which one cell holds all scores of a video, as pandas writes a column of lists or arrays."""
    import pandas as pd

    rows = list(truth.values) if rng.random() < 0.5 else truth.values.tolist()
    if isinstance(rows[0], np.ndarray):  # printed with eight digits, over several lines
        rows = [np.array(str(row).strip("[]").split(), dtype=float) for row in rows]
        truth.values = np.array(rows)
    frame = pd.DataFrame({"video": truth.ids, "scores": rows, "label": truth.labels})
    truth.has = {"ids", "labels"}
    frame.to_csv(path, sep=str(rng.choice([",", ";", "\t"])), index=bool(rng.random() < 0.5))


def write_pickle(truth, rng, path):
    path.write_bytes(pickle.dumps(objects_of(truth, rng), protocol=int(rng.integers(0, 6))))


def write_json(truth, rng, path):
    value = json.loads(json.dumps(objects_of(truth, rng), default=lambda value: value.tolist()))
    path.write_text(json.dumps(value, ensure_ascii=bool(rng.random() < 0.5)), encoding="utf-8")


def objects_of(truth, rng):
    """Lists and dicts, as mmaction2, SlowFast and ST-GCN's relatives pickle them."""
    rows = list(truth.values.astype(rng.choice(["f4", "f8"])))
    truth.values = np.array(rows).astype("f8")
    labels = truth.labels.tolist()
    names = dict(zip(truth.ids, rows, strict=True))
    forms = {
        "vectors": (lambda: rows, set()),
        "by name": (lambda: names, {"ids"}),
        "mmaction2": (
            lambda: [{"pred_score": r, "gt_label": [k]} for r, k in zip(rows, labels, strict=True)],
            {"labels"},
        ),
        "mmaction2 named": (
            lambda: [
                {"filename": v, "pred_scores": {"item": r}, "gt_labels": {"item": k}, "num_clips": 1}
                for v, r, k in zip(truth.ids, rows, labels, strict=True)
            ],
            {"ids", "labels"},
        ),
        "slowfast": (lambda: [np.array(rows), truth.labels], {"labels"}),
        "st-gcn": (lambda: list(names.items()), {"ids"}),
        "with label": (lambda: {v: (r, k) for v, r, k in zip(truth.ids, rows, labels, strict=True)}, {"ids", "labels"}),
        "arrays": (None, set()),
    }
    form = str(rng.choice(list(forms)))
    if form == "arrays":
        return arrays_of(truth, rng)
    make, truth.has = forms[form]
    truth.has = set(truth.has)
    return make()


def write_mat(truth, rng, path):
    from scipy.io import savemat

    savemat(path, arrays_of(truth, rng), do_compression=bool(rng.random() < 0.5))


def write_torch(truth, rng, path):
    import torch

    def tensors(value):
        if isinstance(value, np.ndarray) and value.dtype.kind in "fiu":
            return torch.from_numpy(np.ascontiguousarray(value, dtype=value.dtype.newbyteorder("=")))
        if isinstance(value, dict):
            return {key: tensors(item) for key, item in value.items()}
        if isinstance(value, np.ndarray | list | tuple):
            return [tensors(item) for item in (value.tolist() if isinstance(value, np.ndarray) else value)]
        return value

    torch.save(tensors(objects_of(truth, rng)), path)


WRITERS = {
    "csv": (write_csv, ".csv", 10),
    "pandas csv": (write_pandas, ".csv", 8),
    "savetxt": (write_savetxt, ".txt", 2),
    "a line a view": (write_views, ".txt", 3),
    "lists csv": (write_lists, ".csv", 3),
    "npz": (write_npz, ".npz", 5),
    "tsn npz": (write_tsn, ".npz", 1),
    "npy": (write_npy, ".npy", 2),
    "pickle": (write_pickle, ".pkl", 5),
    "json": (write_json, ".json", 4),
    "pandas json": (write_frame_json, ".json", 2),
    "parquet": (write_parquet, ".parquet", 2),
    "mat": (write_mat, ".mat", 2),
    "torch": (write_torch, ".pt", 1),
}


def draw_file(seed, folder, writers=tuple(WRITERS)):
    """Write the file of a seed into a folder: its path, its writer's name, and the truth."""
    rng = np.random.default_rng(seed)
    truth = draw_truth(rng)
    weights = np.array([WRITERS[name][2] for name in writers], dtype=float)
    name = str(rng.choice(writers, p=weights / weights.sum()))
    write, suffix, _ = WRITERS[name]
    path = Path(folder) / f"file_{'_'.join(map(str, np.atleast_1d(seed)))}{suffix}"
    write(truth, rng, path)
    tell_the_rest(truth, rng)
    return path, name, truth


def outcome(path, truth):
    """ "equal", "refused: why", or what is wrong with what came back."""
    try:
        scores = import_scores(path, **truth.told).scores
    except AvrError as error:
        line = str(error).removeprefix(f"{path}").lstrip(":")
        if "\n" in line:
            return f"WRONG: an error of several lines: {line!r}"
        return "refused: " + re.sub(r"'[^']*'|[\d.]+", "…", line)[:110]
    except Exception as error:
        return f"WRONG: {type(error).__name__}: {error}"
    ids = [re.sub(r"\.avi$", "", video) for video in truth.ids]
    place = {video: row for row, video in enumerate(scores.ids.tolist())}
    if sorted(place) != sorted(ids):
        return f"WRONG: ids {list(place)[:3]} for {ids[:3]}"
    rows = np.array([place[video] for video in ids])
    if "class_names" in truth.has or set(scores.class_names) == set(truth.class_names):
        names = list(scores.class_names)
        if names == [f"class {k}" for k in range(len(names))] and truth.class_names == list(
            map(str, range(len(names)))
        ):
            names = truth.class_names  # what only numbers its columns names none
        if set(names) != set(truth.class_names):
            return f"WRONG: classes {names[:4]} for {truth.class_names[:4]}"
        columns = np.array([names.index(name) for name in truth.class_names])
    else:
        columns = np.arange(truth.values.shape[1])
        if len(scores.class_names) != len(columns):
            return f"WRONG: {len(scores.class_names)} classes for {len(columns)}"
    soft = truth.kind in SOFT
    if (scores.kind == "probabilities") != soft:
        return f"WRONG: {truth.kind} taken as {scores.kind}"
    values = next(iter(scores.streams.values()))[np.ix_(rows, columns)]
    expected = truth.expected
    if soft:  # of probabilities that are rounded, the sum need not be 1
        values = values / values.sum(axis=1, keepdims=True)
    if np.abs(values - expected).max() > 1e-5 * np.abs(expected).max():
        return f"WRONG: scores off by {np.abs(values - expected).max():.3g}"
    labels = scores.labels[rows]
    told = columns[truth.labels] if "labels" in truth.has else np.full(len(ids), -1)
    if (labels != told).any():
        return f"WRONG: labels {labels[:5]} for {told[:5]}"
    return "equal"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="The number of one file.")
    parser.add_argument("--keep", type=Path, help="Folder to keep the files in.")
    options = parser.parse_args()
    start = time.process_time()
    counts, by_writer, wrong = Counter(), Counter(), 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(options.files) if options.only is None else [options.only]:
            path, writer, truth = draw_file([options.seed, number], folder)
            result = outcome(path, truth)
            counts[result if result.startswith(("equal", "refused")) else "WRONG"] += 1
            by_writer[writer, result.partition(":")[0]] += 1
            if result.startswith("WRONG"):
                wrong += 1
                print(f"{number} {writer} ({truth.kind}): {result}", flush=True)
            if options.only is not None:
                print(result, truth, sep="\n")
            if options.keep is None:
                path.unlink()
    total = sum(counts.values())
    for result, count in counts.most_common():
        print(f"{count:6d}  {100 * count / total:5.2f} %  {result}")
    for writer in WRITERS:
        found = {what: by_writer[writer, what] for what in ("equal", "refused", "WRONG")}
        print(f"{writer:12s} " + "  ".join(f"{what} {count}" for what, count in found.items()))
    print(f"{total} files, {time.process_time() - start:.1f} s of CPU time")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
