"""avr beside what a user would pick instead: whole commands, their start included, on the same clips, frames, network.

    python benchmarks/peers.py                              # avr, and the loop that everybody writes
    python benchmarks/peers.py --video-features CHECKOUT    # and video_features, where a checkout with its needs lies
    python benchmarks/peers.py --clips FOLDER --weights resnet18.pth

The loop is torchvision and OpenCV: read a clip, pick its frames, resize, crop, normalise, one call of the network a
clip, `np.save`. All read 25 frames a clip, evenly spread, in float32 on the CPU, and write one vector a frame. The
rounds take the tools in turn; the figures are images a second of wall time, CPU seconds, and the most memory that all
processes of a tool held at once (Linux: the sum of their proportional shares). Features of the loop and of avr are
compared: they differ by how a picture is made smaller.
"""

import argparse
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

FRAMES = 25  # of a clip, as TSN's tests take them


def plain(listed: Path, weights: Path, out: Path) -> None:
    """The loop that everybody writes."""
    import cv2
    import torch
    from torchvision import models, transforms

    network = models.resnet18()
    network.load_state_dict(torch.load(weights))
    network.fc = torch.nn.Identity()
    network.eval()
    change = transforms.Compose(
        [
            transforms.ToPILImage(),
            transforms.Resize(256),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )
    for line in listed.read_text().splitlines():
        path, _ = line.rsplit(" ", 1)
        capture, frames = cv2.VideoCapture(str(listed.parent / path)), []
        while True:
            good, frame = capture.read()
            if not good:
                break
            frames.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
        places = [int((2 * k + 1) * len(frames) / (2 * FRAMES)) for k in range(FRAMES)]
        with torch.no_grad():
            features = network(torch.stack([change(frames[place]) for place in places]))
        np.save(out / f"{Path(path).stem}.npy", features.numpy())


class Memory(threading.Thread):
    """The most memory that a process and its descendants hold at once, MB; looked at ten times a second."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid, self.peak, self.over = pid, 0.0, threading.Event()
        self.start()

    def run(self) -> None:
        while not self.over.wait(0.1):
            self.peak = max(self.peak, sum(map(share_of, family(self.pid))))


def family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    found = [pid]
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += family(int(child))
    except OSError:
        pass
    return found


def share_of(pid: int) -> float:
    """A process's proportional share of memory, MB; 0 where nothing tells."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def measured(command: list[str], folder: Path | None = None) -> tuple[float, float, float]:
    """Wall seconds, CPU seconds and memory of a whole command."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    with tempfile.TemporaryFile("w+") as said:
        child = subprocess.Popen(command, cwd=folder, stdout=said, stderr=said)
        memory = Memory(child.pid)
        code = child.wait()
        wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
        memory.over.set()
        if code:
            said.seek(0)
            raise SystemExit(f"{' '.join(command)} ended with {code}:\n{said.read()[-2000:]}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu, memory.peak


def list_clips(clips: Path, count: int, folder: Path) -> Path:
    """So many clips, the real ones in turn, as links, and a list of them that avr reads too."""
    if not clips.is_dir():
        raise SystemExit(f"no clips at {clips}: set AVR_TEST_DATA or give --clips")
    paths = sorted(path for path in clips.iterdir() if path.suffix.lower() in {".avi", ".mp4", ".mkv", ".webm"})
    if not paths:
        raise SystemExit(f"no clips in {clips}: give --clips")
    names = [f"{n:04d}{paths[n % len(paths)].suffix}" for n in range(count)]
    for name, path in zip(names, (paths[n % len(paths)] for n in range(count)), strict=True):
        (folder / name).symlink_to(path.resolve())
    listed = folder / "clips_train_split_1.txt"
    listed.write_text("".join(f"{name} 0\n" for name in names[1:]))
    (folder / "clips_val_split_1.txt").write_text(f"{names[0]} 0\n")
    every = folder / "every.txt"
    every.write_text("".join(f"{name} 0\n" for name in names))
    return every


def commands(listed: Path, weights: Path, out: Path, checkout: Path | None) -> dict[str, tuple[list[str], Path | None]]:
    """What each tool's user types, by the tool's name; and where it is typed."""
    script = str(Path(__file__).resolve())
    own = ["extract", "--dataset", "list", "--root", str(listed.parent), "--stream", "rgb", "--segments", str(FRAMES)]
    own += ["--backbone", "resnet18", "--weights", str(weights), "--device", "cpu", "--out", str(out / "store")]
    found: dict[str, tuple[list[str], Path | None]] = {
        "the loop": ([sys.executable, script, "--plain", str(listed), str(weights), str(out)], None),
        "avr": ([sys.executable, "-c", "from avr.cli import main; main()", *own], None),
    }
    if checkout:
        paths = ",".join(str(listed.parent / line.rsplit(" ", 1)[0]) for line in listed.read_text().splitlines())
        told = ["feature_type=resnet", "model_name=resnet18", "device=cpu", f"extraction_total={FRAMES}"]
        told += ["batch_size=32", "on_extraction=save_numpy", f"output_path={out}/peer", f"tmp_path={out}/peer-tmp"]
        found["video_features"] = ([sys.executable, "main.py", *told, f"video_paths=[{paths}]"], checkout.resolve())
    return found


def compare(listed: Path, out: Path) -> str:
    """How far avr's features are from the loop's."""
    from avr.store import FeatureStore

    with FeatureStore(out / "store") as store:
        ours = store.read_whole("rgb", "pooled").astype(np.float32)
        ids = store.ids.tolist()
    theirs = np.stack([np.load(out / f"{Path(name).stem}.npy") for name in ids])
    dots = (ours * theirs).sum(-1) / np.linalg.norm(ours, axis=-1) / np.linalg.norm(theirs, axis=-1)
    return f"cosine of avr's and the loop's features: {dots.mean():.4f} in the mean, {dots.min():.4f} at least"


def spread(values: list[float], form: str) -> str:
    """Median and range."""
    return "{} ({}–{})".format(*(form.format(v) for v in (statistics.median(values), min(values), max(values))))


def main() -> None:
    """Run all tools in turn; print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = Path(os.environ.get("AVR_TEST_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    parser.add_argument("--clips", type=Path, default=data / "clips")
    parser.add_argument("--videos", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--weights", type=Path, help="of torchvision's resnet18; else random ones, for all tools")
    parser.add_argument("--video-features", type=Path, help="a checkout of video_features")
    parser.add_argument("--plain", nargs=3, type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.plain:
        plain(*options.plain)
        return
    taken: dict[str, list[tuple[float, float, float]]] = {}
    with tempfile.TemporaryDirectory() as place:
        folder, weights = Path(place) / "clips", options.weights or Path(place) / "resnet18.pth"
        folder.mkdir()
        if options.weights is None:
            import torch
            from torchvision.models import resnet18

            torch.manual_seed(0)
            torch.save(resnet18().state_dict(), weights)
        listed = list_clips(options.clips, options.videos, folder)
        for number in range(options.rounds):
            out = Path(place) / f"round{number}"
            out.mkdir()
            for name, (command, where) in commands(listed, weights, out, options.video_features).items():
                taken.setdefault(name, []).append(measured(command, where))
        same = compare(listed, out)
    images = options.videos * FRAMES
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; {options.videos} clips, ", end=""
    )
    print(f"{images} images, resnet18, {options.rounds} rounds in turn\n")
    print("| tool | images a second | CPU seconds | memory, MB | avr's rate over its | avr's CPU over its |")
    print("|---|---|---|---|---|---|")
    for name, rounds in taken.items():
        walls, cpus, peaks = (list(values) for values in zip(*rounds, strict=True))
        rate = [theirs[0] / ours[0] for theirs, ours in zip(rounds, taken["avr"], strict=True)]
        cost = [ours[1] / theirs[1] for theirs, ours in zip(rounds, taken["avr"], strict=True)]
        cells = [name, spread([images / wall for wall in walls], "{:.1f}"), spread(cpus, "{:.1f}")]
        cells += [spread(peaks, "{:.0f}"), spread(rate, "{:.2f}"), spread(cost, "{:.2f}")]
        print("| " + " | ".join(cells) + " |")
    print(f"\n{same}")


if __name__ == "__main__":
    main()
