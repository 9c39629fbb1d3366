"""Files that are damaged or forged, and what avr makes of them: one line each, in bounded time and memory.

    python benchmarks/fuzz.py --files 20000 --seed 0      # counts by kind and outcome; each fault
    python benchmarks/fuzz.py --files 400 --kinds scores  # one kind
    python benchmarks/fuzz.py --kinds scores --only 17    # one file, with its traceback

A case is a sound file of some kind with bytes flipped, cut, doubled, dropped, filled, or numbers and words in it
replaced; of sealed files also with the seal made right again, as a forger would. It is read as its command reads it, in
a process that may take 5 s of a processor, and 64 MB and four times the file more than before (Linux). Outcomes:

    same       read, and equal to the sound file
    refused    one line for a person (avr.core.AvrError)
    other      read, and not equal: for files without a checksum, and forged ones; of others it is a fault
    fault      a traceback, a crash, too slow, too much memory, a file written outside the folder, a wrong number
"""

import argparse
import atexit
import functools
import hashlib
import itertools
import json
import multiprocessing
import pickle
import random
import re
import shutil
import sys
import tempfile
import time
import traceback
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

CLEAR = Path("/proc/self/clear_refs")  # Linux: what memory is measured by
SECONDS, MORE_BYTES, TIMES = 5.0, 64 << 20, 4
CLASSES, VIDEOS, STREAMS = 3, 24, ("rgb", "flow")


class Kind(NamedTuple):
    """Files of one kind: `make` writes sound ones to a folder, `read` gives all that is read of them.

    `harmed`: patterns of the files that are damaged. `checked`: whether damage must be noticed. `sealed`: whether they
    are avr's sealed files, which a forger would seal again.
    """

    make: Callable[[Path], None]
    read: Callable[[Path], Any]
    harmed: tuple[str, ...] = ("*",)
    checked: bool = False
    sealed: bool = False


# --- sound files ------------------------------------------------------------------------------------------------------
def made_scores(**more: Any) -> Any:
    """Scores of 24 videos in two streams."""
    from avr.store import Scores, Videos

    generator, labels = np.random.default_rng(0), np.arange(VIDEOS) % CLASSES
    videos = Videos(
        np.array([f"c{label}/v{number:02d}" for number, label in enumerate(labels)]),
        labels,
        np.array([f"g{number // 2}" for number in range(VIDEOS)]),
        tuple(f"c{number}" for number in range(CLASSES)),
        "made",
    )
    outputs = {stream: generator.normal(size=(VIDEOS, CLASSES)) + 2 * np.eye(CLASSES)[labels] for stream in STREAMS}
    return Scores.of(videos, outputs, split="1", head="made", **more)


def make_store(folder: Path, *, parts: Sequence[tuple[str, ...]] = (("rgb",), ("flow",))) -> None:
    """A store of two streams and two shards each, a part a stream or (`parts` of one) all in one."""
    from avr.datasets import Dataset, Split, Video
    from avr.store import StoreWriter

    scores, generator = made_scores(), np.random.default_rng(1)
    videos = tuple(
        Video(str(name), Path("clips") / name, int(label), str(group))
        for name, label, group in zip(scores.ids, scores.labels, scores.groups, strict=True)
    )
    ids, labels = tuple(video.id for video in videos), {video.id: video.label for video in videos}
    dataset = Dataset("made", Path("clips"), scores.class_names, videos, {"1": Split("1", ids[:16], ids[16:])})
    for streams in parts:
        place = folder / "store" / (streams[0] if len(parts) > 1 else "")
        arrays = {f"{stream}/pooled": (2, 8) for stream in streams}
        with StoreWriter(place, dataset, arrays=arrays, provenance={"settings": {}}, shard_videos=12) as writer:
            for shard in writer.shards():
                for video in shard.video_ids:
                    made = {key: generator.normal(size=(1, 2, 8)) + np.eye(8)[labels[video]] for key in arrays}
                    shard.add(video, {key: values.astype(np.float16) for key, values in made.items()}, frames=25)


def make_together(folder: Path) -> None:
    """A store of one part, its files at the top."""
    make_store(folder, parts=[STREAMS])


def make_unfinished(folder: Path) -> None:
    """A store without indexes, so that its plans and shards are read."""
    make_store(folder)
    for path in folder.glob("store/*/index.h5"):
        path.unlink()


def make_packed(folder: Path) -> None:
    """The same in one file."""
    from avr.store import pack

    make_store(folder)
    pack(folder / "store", folder / "packed.h5")
    shutil.rmtree(folder / "store")


def make_score_file(folder: Path) -> None:
    """A score file of avr's."""
    from avr.store import write_scores

    write_scores(folder / "scores.h5", made_scores())


def make_fusion(folder: Path) -> None:
    """A fitted rule."""
    from avr.fusion import fuse

    make_score_file(folder)
    fuse("awf", [folder / "scores.h5"], out=folder / "run")
    (folder / "scores.h5").unlink()


def make_run(folder: Path) -> None:
    """A head's run."""
    from avr.heads import train_run

    make_store(folder)
    train_run(folder / "store", "linear", out=folder / "run", training={"epochs": 1}, folds=2, device="cpu")
    shutil.rmtree(folder / "store")


def make_exported(folder: Path) -> None:
    """An exported store: npy and csv."""
    from avr.store import export

    make_store(folder)
    export(folder / "store", folder / "export")
    shutil.rmtree(folder / "store")


def foreign(suffix: str) -> Callable[[Path], None]:
    """Scores as other tools write them."""

    def make(folder: Path) -> None:
        scores = made_scores()
        path, values = folder / f"rgb.{suffix}", scores.streams["rgb"]
        if suffix == "npz":
            np.savez(path, scores=values, ids=scores.ids, labels=scores.labels)
        elif suffix == "npy":
            np.save(path, values)
        elif suffix == "pkl":
            rows = zip(scores.ids, values, scores.labels, strict=True)
            path.write_bytes(pickle.dumps([{"name": str(n), "pred_score": v, "gt_label": int(g)} for n, v, g in rows]))
        elif suffix == "json":
            path.write_text(json.dumps({str(name): row.tolist() for name, row in zip(scores.ids, values, strict=True)}))
        elif suffix == "pt":
            import torch

            torch.save({"scores": torch.tensor(values), "labels": torch.tensor(scores.labels)}, path)
        elif suffix == "mat":
            from scipy.io import savemat

            savemat(path, {"scores": values})
        elif suffix == "txt":
            rows = zip(scores.ids, values.tolist(), scores.labels, strict=True)
            path.write_text("81.2, 95.0\n" + "".join(f"{n} {v} {k} {i} 0\n" for n, v, k in rows for i in range(2)))
        elif suffix == "parquet":
            import pandas as pd

            pd.DataFrame(values, index=scores.ids, columns=list(scores.class_names)).to_parquet(path)
        else:
            lines = ["video,label," + ",".join(scores.class_names)]
            rows = zip(scores.ids, scores.labels, values, strict=True)
            lines += [f"{name},{label},{','.join(map(str, row))}" for name, label, row in rows]
            path.write_text("\n".join(lines) + "\n")

    return make


def make_weights(folder: Path) -> None:
    """A network's weights, by torch and by safetensors."""
    import torch
    from safetensors.torch import save_file

    state = {"a.weight": torch.arange(12.0).reshape(3, 4), "a.bias": torch.arange(3.0), "n": torch.tensor(3)}
    torch.save({"state_dict": state}, folder / "network.pth")
    save_file(state, folder / "network.safetensors")


def make_lists(folder: Path) -> None:
    """Lists of videos, with their class names."""
    for number in range(6):
        (folder / f"v{number}.avi").write_bytes(b"RIFF")
    for part, numbers in (("train", range(4)), ("val", range(4, 6))):
        lines = [f"v{number}.avi {number % 2}" for number in numbers]
        (folder / f"own_{part}_split_1.txt").write_text("\n".join(lines) + "\n")
    (folder / "classes.txt").write_text("walk\nrun\n")


def make_recipe(folder: Path) -> None:
    """A recipe of one's own."""
    import avr

    shutil.copy(Path(avr.__file__).parent / "recipes" / "stfn-table2.toml", folder / "own.toml")


def make_rows(folder: Path) -> None:
    """A recipe's folder, its rows measured."""
    make_store(folder)
    read_rows(folder)


def make_cache(folder: Path) -> None:
    """The clip cache of fine-tuning: a video's frames and what is known of it."""
    read_cache(folder)


@functools.cache
def drawn_video() -> Path:
    """A video outside of the folders, as a cache knows a video by its place."""
    import cv2

    folder = tempfile.TemporaryDirectory()
    atexit.register(folder.cleanup)
    path = Path(folder.name) / "drawn.avi"
    writer = cv2.VideoWriter(str(path), cv2.CAP_OPENCV_MJPEG, cv2.VideoWriter.fourcc(*"MJPG"), 25, (32, 32))
    for frame in np.random.default_rng(0).integers(0, 255, (12, 32, 32, 3), dtype=np.uint8):
        writer.write(frame)
    writer.release()
    return path


# --- reading them -----------------------------------------------------------------------------------------------------
def read_store(path: Path) -> Any:
    from avr.store import FeatureStore

    with FeatureStore(path) as store:
        arrays = [store.read_whole(stream, "pooled") for stream in STREAMS]
        arrays += [store.read(stream, "pooled", np.arange(len(store))[::-1]) for stream in STREAMS]
        told = [store.ids, store.labels, store.groups, store.frames, store.views, store.failures, store.dataset]
        return [*arrays, *told, store.class_names, store.split_names, repr(store.provenance), *store.split("1")]


def read_plans(folder: Path) -> Any:
    from avr.store import describe, verify

    verify(folder / "store")
    return json.dumps(describe(folder / "store"), default=str, sort_keys=True).replace(str(folder), "")


def read_score_file(path: Path) -> Any:
    from avr.store import read_scores

    scores = read_scores(path)
    return [*scores.streams.values(), scores.ids, scores.labels, scores.groups, scores.fold, scores.class_names]


def read_fusion(folder: Path) -> Any:
    from avr.fusion import load_fuser

    scores = made_scores()
    X = np.stack([scores.streams[stream] for stream in STREAMS], axis=1)
    return load_fuser(folder / "run").predict_proba(X)


def read_run(folder: Path) -> Any:
    from avr.heads import load_run
    from avr.store import read_record

    run, record = load_run(folder / "run"), read_record(folder / "run")
    features = {stream: np.ones((1, *shape), np.float16) for stream, shape in run.head.shapes.items()}
    return [*run.predict(features).values(), run.class_names, json.dumps(record.to_dict(), default=list)]


def read_exported(folder: Path) -> Any:
    from avr.store import import_export

    import_export(folder / "export", out=folder / "again")
    return read_store(folder / "again")


def read_foreign(suffix: str) -> Callable[[Path], Any]:
    def read(folder: Path) -> Any:
        from avr.store import import_scores

        videos, more = made_scores(), {}
        if suffix in ("npy", "pt", "mat"):
            more = {"names": videos.ids.tolist(), "labels": videos.labels.tolist()}
        scores = import_scores(folder / f"rgb.{suffix}", class_names=videos.class_names, **more).scores
        assert all(np.isfinite(values).all() for values in scores.streams.values())
        return [*scores.streams.values(), scores.ids, scores.labels]

    return read


def read_network(folder: Path) -> Any:
    from avr.extract.weights import read_weights

    found = []
    for path in sorted(folder.glob("network.*")):
        held = read_weights(path)
        found += [str(sorted(held))]
    return found


def read_lists(folder: Path) -> Any:
    from avr.datasets import index_dataset

    dataset = index_dataset("list", folder, classes="classes.txt")
    return [video.id for video in dataset.videos], [video.label for video in dataset.videos], dataset.class_names


def read_recipe(folder: Path) -> Any:
    from avr.recipes import load_recipe

    return repr(load_recipe(str(folder / "own.toml")))


def read_rows(folder: Path) -> Any:
    """What a recipe takes for measured; what it does not is measured again."""
    from avr.recipes import load_recipe, run_recipe

    outcome = run_recipe(load_recipe("stfn-table5"), stores=[("resnet101", folder / "store")], out=folder / "out")
    return [(row.row.name, sorted(row.values.items())) for row in outcome.rows]


def read_cache(folder: Path) -> Any:
    from avr.datasets import Video
    from avr.extract import ClipCache, read_streams

    streams = read_streams(["rgb"], {"backbone": "squeezenet1_1", "weights": "random", "resize": 32, "crop": 32})
    cache, video = ClipCache(folder / "cache", streams), Video("drawn", drawn_video(), 0, "drawn")
    cache.build([video])
    decoded = cache.decoded(video, streams)
    return [decoded.facts, decoded.note, decoded.answers["rgb"].ready]


KINDS = {
    "shards": Kind(make_store, lambda folder: read_store(folder / "store"), ("store/*/shard-*",), True, True),
    "indexes": Kind(make_store, lambda folder: read_store(folder / "store"), ("store/*/index.h5",), True, True),
    "shards alone": Kind(
        make_unfinished, lambda folder: read_store(folder / "store"), ("store/*/shard-*",), True, True
    ),
    "one part": Kind(make_together, lambda folder: read_store(folder / "store"), ("store/*.h5",), True, True),
    "plans": Kind(make_unfinished, read_plans, ("store/*/plan.h5",), True, True),
    "packed": Kind(make_packed, lambda folder: read_store(folder / "packed.h5"), ("packed.h5",), True, True),
    "scores": Kind(make_score_file, lambda folder: read_score_file(folder / "scores.h5"), ("scores.h5",), True, True),
    "fusions": Kind(make_fusion, read_fusion, ("run/fus*",)),
    "runs": Kind(make_run, read_run, ("run/run.json", "run/split-1/*/checkpoint.safetensors")),
    "exports": Kind(make_exported, read_exported, ("export/*",)),
    **{
        f"foreign {s}": Kind(foreign(s), read_foreign(s), (f"rgb.{s}",))
        for s in ["npz", "npy", "pkl", "csv", "txt", "json", "parquet", "pt", "mat"]
    },
    "weights": Kind(make_weights, read_network, ("network.*",)),
    "lists": Kind(make_lists, read_lists, ("own_*", "classes.txt")),
    "recipes": Kind(make_recipe, read_recipe, ("own.toml",)),
    "recipe rows": Kind(make_rows, read_rows, ("out/recipe.json", "out/rows/*/*.json")),
    "caches": Kind(make_cache, read_cache, ("cache/*/*",)),
}


# --- harm -------------------------------------------------------------------------------------------------------------
def harm(data: bytes, generator: random.Random) -> bytes:
    """Damage some bytes, once to four times."""
    for _ in range(generator.choice((1, 1, 1, 2, 4))):
        data = generator.choice(HARMS)(data, generator) if data else generator.randbytes(generator.randrange(200))
    return data


def _flip(data: bytes, generator: random.Random) -> bytes:
    at = generator.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << generator.randrange(8)]) + data[at + 1 :]


def _cut(data: bytes, generator: random.Random) -> bytes:
    return data[: generator.randrange(len(data))]


def _double(data: bytes, generator: random.Random) -> bytes:
    start = generator.randrange(len(data))
    return data[: start + generator.randrange(1, 400)] + data[start:]


def _drop(data: bytes, generator: random.Random) -> bytes:
    start = generator.randrange(len(data))
    return data[:start] + data[start + generator.randrange(1, 100) :]


def _fill(data: bytes, generator: random.Random) -> bytes:
    start, count = generator.randrange(len(data)), generator.randrange(1, 64)
    filled = generator.choice((b"\0" * count, b"\xff" * count, generator.randbytes(count)))
    return data[:start] + filled + data[start + count :]


def _number(data: bytes, generator: random.Random) -> bytes:
    """A number written in digits becomes another, of the kinds that code forgets."""
    found = list(re.finditer(rb"-?\d+(\.\d+)?", data))
    if not found:
        return _flip(data, generator)
    match = generator.choice(found)
    new = generator.choice(
        (b"-1", b"0", b"1", b"2147483648", b"9" * 18, b"1e400", b"NaN", b"null", b"[]", b'"x"', b"0.5")
    )
    return data[: match.start()] + new + data[match.end() :]


def _word(data: bytes, generator: random.Random) -> bytes:
    """A word becomes another one of the file, a path, or an opcode's worth of it."""
    found = list(re.finditer(rb"[A-Za-z_]{2,}", data))
    if not found:
        return _flip(data, generator)
    match, other = generator.choice(found), generator.choice(found)
    new = generator.choice((other[0], b"../../escaped", b"/tmp/escaped", b"", b"null", b"{}", b"true"))
    return data[: match.start()] + new + data[match.end() :]


def _integer(data: bytes, generator: random.Random) -> bytes:
    """Four or eight bytes become a number that code forgets."""
    width = generator.choice((4, 8))
    at = generator.randrange(max(1, len(data) - width))
    value = generator.choice((0, 1, -1, 2**31 - 1, -(2**31), 2**30))
    return data[:at] + value.to_bytes(width, "little", signed=True) + data[at + width :]


HARMS = (_flip, _cut, _double, _drop, _fill, _number, _word, _integer)


def forge(data: bytes, generator: random.Random) -> bytes:
    """Damage a sealed file's seal or content and make its hashes right again."""
    head, line, _, _rest = data.split(b"\n", 3)
    block = data.index(b"\x89HDF\r\n\x1a\n")
    fields, body = json.loads(line), data[block:]
    if generator.random() < 0.5:
        body = harm(body, generator)
    else:
        for _ in range(generator.choice((1, 2))):
            text = harm(json.dumps(fields).encode(), generator)
            try:
                found = json.loads(text)
            except ValueError:
                continue
            fields = found if isinstance(found, dict) else fields
    fields["size"] = fields.get("size") if generator.random() < 0.1 else block + len(body)
    everything, structure, at = hashlib.sha256(body), hashlib.sha256(), block
    try:
        for start, stop in [*fields["rows"], [block + len(body)] * 2]:
            structure.update(data[:block][at:] + body[max(0, at - block) : max(0, start - block)])
            at = stop
    except (KeyError, TypeError, ValueError):
        pass
    fields["sha256"], fields["structure_sha256"] = everything.hexdigest(), structure.hexdigest()
    sealed = head + b"\n" + json.dumps(fields, sort_keys=True).encode() + b"\n"
    sealed += b"%08x\n" % zlib.crc32(sealed)
    return sealed.ljust(block, b"\0")[:block] + body


# --- one process that reads -------------------------------------------------------------------------------------------
def digest_of(value: Any) -> str:
    """Of whatever a reader gave."""
    if isinstance(value, (list, tuple)):
        return hashlib.sha256("".join(map(digest_of, value)).encode()).hexdigest()
    if isinstance(value, np.ndarray) and value.dtype.kind != "O":
        return hashlib.sha256(str((value.dtype.kind, value.shape)).encode() + value.tobytes()).hexdigest()
    return hashlib.sha256(repr(value).encode()).hexdigest()


def peak_bytes() -> int:
    """The most memory that this process held since it was last reset (Linux)."""
    if not CLEAR.exists():
        return 0
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) << 10


def work(pipe: Any) -> None:
    """Read case after case, and tell how each ended."""
    from avr.core import AvrError, quiet

    warnings.simplefilter("error", RuntimeWarning)  # NumPy's words about numbers are no line for a person
    made = None
    with tempfile.TemporaryDirectory() as place, quiet():
        sound, folder = Path(place) / "sound", Path(place) / "in" / "case"
        while (asked := pipe.recv()) is not None:
            name, case = asked
            kind = KINDS[name]
            shutil.rmtree(folder.parent, ignore_errors=True)
            if made != name:
                shutil.rmtree(sound, ignore_errors=True)
                sound.mkdir()
                kind.make(sound)
                shutil.copytree(sound, folder)
                right, made = digest_of(kind.read(folder)), name
                pipe.send(("ready", ""))
                shutil.rmtree(folder.parent)
            shutil.copytree(sound, folder)
            harmed, forged = harm_case(kind, name, folder, case)
            allowed = MORE_BYTES + TIMES * sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
            if CLEAR.exists():
                CLEAR.write_text("5")
            before, started = peak_bytes(), time.process_time()
            try:
                found, said = digest_of(kind.read(folder)), ""
                told = "same" if found == right else "other"
                if told == "other" and kind.checked and not forged:
                    told, said = "fault", f"a wrong number out of {harmed}"
            except AvrError as error:
                told, said = "refused", str(error)
                if "\n" in said:
                    told = "fault"
            except BaseException:
                told, said = "fault", traceback.format_exc()
            seconds, more = time.process_time() - started, peak_bytes() - before
            if seconds > SECONDS:
                told, said = "fault", f"took {seconds:.1f} s; {said}"
            if more > allowed:
                told, said = "fault", f"took {more >> 20} MB; {said}"
            written = {path.name for where in (Path(place), folder.parent) for path in where.iterdir()}
            if written != {"sound", "in", "case"} or Path("/tmp/escaped").exists():
                told, said = "fault", f"wrote outside its folder: {written}"
            pipe.send((told, said))


def harm_case(kind: Kind, name: str, folder: Path, case: int) -> tuple[str, bool]:
    """Harm one of a case's files; its name, and whether it was sealed again."""
    generator = random.Random(f"{name} {case}")
    files = sorted(path for pattern in kind.harmed for path in folder.glob(pattern) if path.is_file())
    path = generator.choice(files)
    forged = kind.sealed and generator.random() < 0.5
    data = path.read_bytes()
    path.write_bytes(forge(data, generator) if forged else harm(data, generator))
    return path.name, forged


def outcomes(cases: Sequence[tuple[str, int]]) -> Iterator[tuple[str, str]]:
    """How each case of a kind ended; a process that hangs or dies is a fault, and another goes on."""
    context, child, made = multiprocessing.get_context("spawn"), None, None
    for name, case in cases:
        if child is None:
            made = None
            ours, theirs = context.Pipe()
            child = context.Process(target=work, args=(theirs,), daemon=True)
            child.start()
            theirs.close()
        try:
            ours.send((name, case))
            if made != name:
                if not ours.poll(24 * SECONDS):
                    raise EOFError
                ours.recv()
                made = name
        except (EOFError, OSError):
            sys.exit(f"{name}: the sound files cannot be made or read")
        try:
            if ours.poll(12 * SECONDS):
                yield ours.recv()
                continue
            child.kill()
            yield "fault", "hangs"
        except EOFError:
            child.join()
            yield "fault", f"the process died ({child.exitcode})"
        child = None
    if child:
        ours.send(None)
        child.join(10)


def main() -> None:
    """Read so many files of each kind, print counts and faults; exit 1 where there is one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=2000, help="in all, shared out among the kinds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="*", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--only", type=int, help="one case by its number")
    options = parser.parse_args()
    each = -(-options.files // len(options.kinds))
    first = options.seed * 1_000_000
    numbers = range(first, first + each) if options.only is None else [options.only]
    ended = outcomes([(name, case) for name in options.kinds for case in numbers])
    faults = 0
    print("| kind | files | same | refused | other | faults |\n|---|---:|---:|---:|---:|---:|")
    for name in options.kinds:
        told_of = list(zip(numbers, itertools.islice(ended, len(numbers)), strict=True))
        counts = Counter(told for _, (told, _) in told_of)
        columns = [counts[told] for told in ("same", "refused", "other", "fault")]
        print(f"| {name} | {len(numbers)} | {' | '.join(map(str, columns))} |", flush=True)
        for case, (told, said) in told_of:
            if options.only is not None or told == "fault":
                shown = said if options.only is not None else last_line(said)
                print(f"    --kinds {name!r} --only {case}: {told}: {shown}")
        faults += counts["fault"]
    print(f"\n{faults} faults")
    sys.exit(bool(faults))


def last_line(text: str) -> str:
    """What a traceback ends with."""
    return (text.strip().splitlines() or [""])[-1][:200]


if __name__ == "__main__":
    main()
