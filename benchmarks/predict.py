"""`avr predict` against the stored pipeline on a clip outside the training persons, and its time for a 5-second clip.

    python benchmarks/predict.py --root ../shared/data/weizmann --weights ../shared/data/weights/squeezenet1_1.pth

Extracts Weizmann with SqueezeNet, trains `stfn` on the first split (that person's clips left out), predicts every test
clip from its file and prints the largest difference from the stored scores. Then times a clip of 5 seconds (a test
clip's frames, repeated) with the program's start included (the command, in a process of its own) and without it.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import torch

from avr.core import quiet
from avr.datasets import index_dataset
from avr.extract import extract, read_streams
from avr.heads import train_run
from avr.predict import Predictor
from avr.store import read_scores, score_path, split_folder
from avr.video import read_frames

SECONDS, RATE = 5, 25


def write_clip(path: Path, frames: np.ndarray) -> None:
    """A clip of `SECONDS` seconds: the frames forwards and backwards until they suffice."""
    size = (frames.shape[2], frames.shape[1])
    writer = cv2.VideoWriter(str(path), cv2.CAP_OPENCV_MJPEG, cv2.VideoWriter.fourcc(*"MJPG"), RATE, size)
    loop = [*frames, *frames[-2:0:-1]]
    for index in range(SECONDS * RATE):
        writer.write(cv2.cvtColor(loop[index % len(loop)], cv2.COLOR_RGB2BGR))
    writer.release()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    dataset = index_dataset("weizmann", options.root)
    split = next(iter(dataset.splits))
    by_id = {video.id: video for video in dataset.videos}
    with tempfile.TemporaryDirectory() as temporary, quiet():
        place = Path(temporary)
        told = {"backbone": "squeezenet1_1", "weights": str(options.weights)}
        extract(dataset, place / "store", streams=read_streams(["rgb", "flow"], told))
        run = train_run(place / "store", "stfn", split=split, folds=0, out=place / "run", device="cpu").folder
        stored = read_scores(score_path(split_folder(run, split)))
        predictor = Predictor(run, device="cpu")
        largest = dict.fromkeys(stored.streams, 0.0)
        same = 0
        for row, name in enumerate(stored.ids.tolist()):
            found = predictor.predict(by_id[name].path)
            for output, scores in stored.streams.items():
                difference = np.abs(np.exp(found.outputs[output]) - np.exp(scores[row])).max()
                largest[output] = max(largest[output], float(difference))
            same += int(found.probabilities.argmax() == stored.streams["fused"][row].argmax())
        clip = place / "clip.avi"
        video = by_id[str(stored.ids[0])]
        write_clip(clip, read_frames(video, range(20)))
        inside, whole = [], []
        for _ in range(options.repeats):
            started = time.perf_counter()
            predictor.predict(clip)
            inside.append(time.perf_counter() - started)
        command = [sys.executable, "-c", "from avr.cli import main; main()", "predict", str(clip), "--run", str(run)]
        for _ in range(options.repeats):
            started = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            whole.append(time.perf_counter() - started)
    result = {
        "split": split,
        "test clips": len(stored.ids),
        "largest difference of a probability": largest,
        "same class": same,
        "seconds without start": {"median": statistics.median(inside), "least": min(inside), "most": max(inside)},
        "seconds with start": {"median": statistics.median(whole), "least": min(whole), "most": max(whole)},
        "threads": options.threads,
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
