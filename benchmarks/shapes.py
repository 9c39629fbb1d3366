"""How hard `shapes` is: what a frozen, randomly started ResNet-18 sees of it in each stream, and what leaks.

    python benchmarks/shapes.py --out /tmp/shapes [--backbone-seed 0 1]

Plain torchvision and scikit-learn, nothing of avr but the clips: 7 frames a clip, and 7 stacks of 10 DIS flow pairs
centred on them, through a ResNet-18 started at random; global pooling, mean over the 7, logistic regression. Mean over
the three splits. "leak" rows must stay near chance: the motion seen in RGB, or the appearance seen in flow, among
clips that do not differ in the other.
"""

import argparse
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import torch
import torchvision
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from avr.datasets import Dataset, Video, index_dataset

NUM_SEGMENTS, NUM_PAIRS = 7, 10


def read_clip(video: Video) -> tuple[NDArray, NDArray]:
    """RGB frames (7, 3, H, W) uint8 and flow stacks (7, 20, H, W) float32 in pixels."""
    capture, frames = cv2.VideoCapture(str(video.path)), []
    while (read := capture.read())[0]:
        frames.append(read[1])
    grey = [cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY) for frame in frames]
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    flow = [np.moveaxis(dis.calc(*pair, None), -1, 0) for pair in pairwise(grey)]
    centres = [int((segment + 0.5) * len(frames) / NUM_SEGMENTS) for segment in range(NUM_SEGMENTS)]
    rgb = np.stack([np.moveaxis(frames[centre][..., ::-1], -1, 0) for centre in centres])
    starts = [min(max(centre - NUM_PAIRS // 2, 0), len(flow) - NUM_PAIRS) for centre in centres]
    return rgb, np.stack([np.concatenate(flow[start : start + NUM_PAIRS]) for start in starts])


def features(images: torch.Tensor, seed: int) -> NDArray:
    """Pooled features (M, 512) of images (M, 7, C, H, W): random ResNet-18, mean over the 7."""
    torch.manual_seed(seed)
    network = torchvision.models.resnet18(weights=None).eval()
    network.fc = torch.nn.Identity()
    channels = images.shape[2]
    if channels != 3:  # the papers' cross-modality start: mean over RGB, repeated
        weight = network.conv1.weight.data.mean(1, keepdim=True).repeat(1, channels, 1, 1)
        network.conv1 = torch.nn.Conv2d(channels, 64, 7, 2, 3, bias=False)
        network.conv1.weight.data = weight
    with torch.inference_mode():
        pooled = torch.cat([network(batch) for batch in images.flatten(0, 1).split(64)])
    return pooled.view(len(images), NUM_SEGMENTS, -1).mean(1).numpy()


def prepare(rgb: NDArray, flow: NDArray) -> tuple[torch.Tensor, torch.Tensor]:
    """Network inputs: RGB with ImageNet's mean and deviation; flow clipped at 20 pixels, quantised to 256 levels."""
    mean, deviation = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[..., None, None]
    colour = (torch.from_numpy(rgb).float() / 255 - mean) / deviation
    levels = torch.round((torch.from_numpy(flow).clamp(-20, 20) + 20) * 255 / 40)
    return colour, (levels / 255 - 0.5) / 0.226


def measure(dataset: Dataset, rgb: NDArray, flow: NDArray) -> dict[str, float]:
    """Accuracies by name, means over the splits; rgb and flow are features (M, D)."""
    names = [name.split("-") for name in dataset.class_names]
    labels = np.array([video.label for video in dataset.videos])
    appearance = np.unique([names[label][0] for label in labels], return_inverse=True)[1]
    motion = np.unique([names[label][1] for label in labels], return_inverse=True)[1]
    found: dict[str, list[float]] = {}
    for split in dataset.splits.values():
        test = np.isin([video.id for video in dataset.videos], split.test)

        def fit(name: str, inputs: NDArray, target: NDArray, keep: NDArray | bool = True, test: NDArray = test):
            model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=500))
            model.fit(inputs[~test & keep], target[~test & keep])
            right = model.predict(inputs[test & keep]) == target[test & keep]
            found.setdefault(name, []).append(float(right.mean()))
            return model.predict_log_proba(inputs[test & keep])

        fit("appearance from rgb", rgb, appearance)
        fit("motion from flow", flow, motion)
        for value in np.unique(appearance):
            if len(np.unique(motion[appearance == value])) > 1:
                fit("leak: motion from rgb, of two", rgb, motion, appearance == value)
        for value in np.unique(motion):
            if len(np.unique(appearance[motion == value])) > 1:
                fit("leak: appearance from flow, of two", flow, appearance, motion == value)
        scores = fit("class from rgb", rgb, labels), fit("class from flow", flow, labels)
        fused = np.argmax(scores[0] + scores[1], axis=1)
        found.setdefault("class, product of scores", []).append(float((fused == labels[test]).mean()))
        fit("class, both features", np.concatenate([rgb, flow], axis=1), labels)
    return {name: float(np.mean(values)) for name, values in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("data/shapes"), help="where the clips are, or are drawn")
    parser.add_argument("--backbone-seed", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", category=FutureWarning)
    cv2.setNumThreads(1)
    torch.set_num_threads(arguments.threads)
    start = time.monotonic()
    dataset = index_dataset("shapes", arguments.out)
    print(f"{len(dataset.videos)} clips indexed: {time.monotonic() - start:.1f} s")
    with ThreadPoolExecutor(arguments.threads) as pool:
        rgb, flow = (np.stack(part) for part in zip(*pool.map(read_clip, dataset.videos), strict=True))
    print(f"decoded, flow: {time.monotonic() - start:.1f} s; mean |flow| {np.abs(flow).mean():.2f} px")
    colour, stacks = prepare(rgb, flow.astype(np.float32))
    for seed in arguments.backbone_seed:
        results = measure(dataset, features(colour, seed), features(stacks, seed))
        print(f"backbone seed {seed}: {time.monotonic() - start:.1f} s")
        for name, value in results.items():
            print(f"  {name:36s} {100 * value:5.1f} %")


if __name__ == "__main__":
    main()
