"""The same numbers on a GPU as on a CPU, in float32: flow, extraction, heads, fine-tuning, two processes on one GPU.

Skipped without one, unless FAIL_WITHOUT_CUDA is set; `benchmarks/gpu.py` runs this file on a machine that has one. The
clips are folders of images, so that no decoder of videos is needed there.
"""

import os
import subprocess
import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest

from avr.datasets import Dataset, RawFrames, Split, Video
from avr.store import FeatureStore, read_record

pytestmark = pytest.mark.usefixtures("needs_cuda")

CUDA, FRAMES = "cuda", 14
SETTINGS = {"backbone": "resnet18", "weights": "random", "segments": 2, "resize": 48, "crop": 40, "stack": 5}


def texture(height, width, seed):
    """(H, W) float32, 0…255."""
    noise = np.random.default_rng(seed).standard_normal((height, width))
    smooth = sum(cv2.GaussianBlur(noise, (0, 0), sigma) * sigma for sigma in (1.5, 4.0))
    return ((smooth - smooth.min()) / np.ptp(smooth) * 255).astype(np.float32)


@pytest.fixture(scope="session")
def clips(tmp_path_factory) -> Dataset:
    """Eight clips of two classes: a texture that slides right, or down."""
    root, videos = tmp_path_factory.mktemp("clips"), []
    for number in range(8):
        label, ground = number % 2, texture(120, 140, number).astype(np.uint8)
        folder = root / f"class{label}" / f"clip{number}"
        folder.mkdir(parents=True)
        for time in range(FRAMES):
            shift = (0, 2 * time) if label else (2 * time, 0)
            frame = np.repeat(np.roll(ground, shift, (0, 1))[:72, :96, None], 3, axis=2)
            cv2.imwrite(str(folder / f"img_{time + 1:05d}.jpg"), frame)
        videos.append(Video(f"class{label}/{folder.name}", folder, label, f"group{number}", frames=RawFrames(FRAMES)))
    ids = tuple(video.id for video in videos)
    return Dataset("slides", root, ("class0", "class1"), tuple(videos), {"1": Split("1", ids[:6], ids[6:])})


@pytest.mark.parametrize("backend", ["triton", "torch"])
def test_tvl1_on_a_gpu_is_that_of_the_cpu(backend):
    from avr.extract.flow import load

    ground = texture(160, 200, 0).astype(np.uint8)
    pairs = [(ground[20:140, 20:180], ground[20 - dy : 140 - dy, 20 - dx : 180 - dx]) for dy, dx in ((0, 2), (3, -4))]
    first, second = (np.array(side) for side in zip(*pairs, strict=True))
    method = load("tvl1", CUDA, backend=backend)
    assert method.backend == backend
    found, wanted = method(first, second), load("tvl1")(first, second)
    assert np.hypot(*wanted.swapaxes(0, 1)).mean() > 2
    assert np.hypot(*(found - wanted).swapaxes(0, 1)).mean() < 0.02
    np.testing.assert_array_equal(method(first, second), found)  # sums have a fixed order: the same bytes each time


@pytest.mark.parametrize("flow", ["dis", "tvl1"])
def test_extraction_gives_what_a_cpu_gives(clips, tmp_path, flow):
    """Resizing may round to a neighbouring grey level, and cuDNN sums in another order."""
    from avr.extract import Running, extract, read_streams

    streams = read_streams(["rgb", "flow"], SETTINGS | {"layers": ("pooled", "map"), "flow": flow})
    streams = {name: settings.change(precision="float32") for name, settings in streams.items()}
    rows = {}
    for device in ("cpu", CUDA):
        extract(clips, tmp_path / device, streams=streams, running=Running(device=device, decoders=1))
        with FeatureStore(tmp_path / device) as store:
            rows[device] = {
                f"{name}/{layer}": store.read_whole(name, layer).astype(np.float32)
                for name in streams
                for layer in ("pooled", "map")
            }
    for name, wanted in rows["cpu"].items():
        np.testing.assert_allclose(rows[CUDA][name], wanted, atol=0.02 * np.abs(wanted).max(), err_msg=name)


def head_names():
    """All of them."""
    from avr.core import item_names

    return item_names("avr.heads")


@pytest.mark.parametrize("name", head_names())
def test_a_head_trains_as_on_a_cpu_and_the_same_each_time(name):
    import torch

    from avr.heads import MemoryExamples, build_head, head_class, head_options, predict, train

    kind = head_class(name)
    shape = (4, 32, 6, 6) if kind.needs_maps else (4, 32)
    shapes = dict.fromkeys(("rgb", "flow") if kind.joint else ("rgb",), shape)
    random = np.random.default_rng(0)
    labels = np.arange(24) % 3
    arrays = {
        stream: (random.standard_normal((24, *shape)) + labels.reshape(-1, *(1,) * len(shape)) / 2).astype(np.float16)
        for stream in shapes
    }
    training = replace(
        kind.defaults, epochs=3, min_steps=0, steps=0, batch_size=8, validation=0.0, early_stopping=0, bf16=False
    )
    names, logs, scores = np.array([f"v{i}" for i in range(24)]), [], []
    for device in ("cpu", CUDA, CUDA):
        examples = MemoryExamples(arrays, np.ones(24), labels, device=torch.device(device))
        torch.manual_seed(0)
        options = {option: 0.0 for option in head_options(name, {}) if "dropout" in option}
        head = build_head(name, shapes, 3, options=options)
        videos = np.arange(24)
        trained = train(head, examples, videos, training=training, groups=names, names=names, seed=0)
        logs.append([row["loss"] for row in trained.rows])
        scores.append(predict(head, examples, videos, names=names))
    assert len(logs[0]) == 3
    np.testing.assert_allclose(logs[1], logs[0], rtol=0.02)
    assert logs[1] == logs[2]
    for output, found in scores[1].items():
        np.testing.assert_array_equal(found, scores[2][output])


def test_fine_tuning_goes_as_on_a_cpu(clips, tmp_path):
    from avr.extract import read_streams
    from avr.finetune import Tuning, finetune_backbone

    (settings,) = read_streams(["rgb"], SETTINGS).values()
    losses = {}
    for device in ("cpu", CUDA):
        result = finetune_backbone(
            clips,
            stream="rgb",
            settings=settings,
            training={"epochs": 3, "batch_size": 3, "lr": 1e-3},
            tuning=Tuning(bf16=False, batch_norm="frozen"),
            out=tmp_path / device,
            cache=tmp_path / "cache",
            device=device,
        )
        losses[device] = result.losses
    assert len(losses["cpu"]) == 6
    np.testing.assert_allclose(losses[CUDA], losses["cpu"], rtol=0.02)


def test_two_processes_on_one_gpu_train_as_one(clips, tmp_path):
    listed = [f"{video.id} {FRAMES} {video.label}\n" for video in clips.videos]
    for part, lines in {"train": listed[:6], "val": listed[6:]}.items():
        (clips.root / f"slides_{part}_split_1.txt").write_text("".join(lines))
    script = tmp_path / "avr_main.py"
    script.write_text("from avr.cli import main\nmain()\n")
    told = [f"--{name}={value}" for name, value in SETTINGS.items() if name != "stack"]  # which is of flow
    command = [
        *(
            str(script),
            "finetune",
            "backbone",
            "--dataset",
            "list",
            "--root",
            str(clips.root),
            "--stream",
            "rgb",
            *told,
        ),
        *("--no-bf16", "--batch-norm", "frozen", "--epochs", "3", "--batch-size", "4", "--device", f"{CUDA}:0"),
        *("--cache", "cache"),
    ]
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    losses = []
    for name, start in {"one": [], "two": launch}.items():
        done = subprocess.run(
            [sys.executable, *start, *command, "--out", name],
            cwd=tmp_path,
            # By TF32 a convolution of two images and one of four differ in the fourth digit.
            env={**os.environ, "OMP_NUM_THREADS": "1", "NVIDIA_TF32_OVERRIDE": "0"},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        (split,) = read_record(tmp_path / name).splits.values()
        losses.append(split.losses)
    assert len(losses[0]) == 6
    np.testing.assert_allclose(losses[1], losses[0], atol=1e-4)
