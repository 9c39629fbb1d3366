"""What decoding a clip costs, avr's against OpenCV's, CPU time in one process and in turn.

    python benchmarks/decoding.py                        # the clips of ../shared/data/clips (UCF101), or drawn ones
    python benchmarks/decoding.py --clips DIR FILE …     # any others

Three plans: 7 RGB frames; the pairs of 7 stacks of 10 in grey, as a flow stream needs them; both, as `avr extract` has
them by default. `avr` is the whole call of `avr.video.decode`. `OpenCV` is the loop that avr had before it read by
PyAV: every frame grabbed and retrieved with one thread, held until the number of frames is known, then those of the
plan converted by `cvtColor`. `grab` decodes as OpenCV does and converts nothing: its floor. A ratio is of two times in
one repeat on one clip; below 1, avr needs less. The medians and ranges are over clips and repeats.
"""

import argparse
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np

from avr.datasets import Video
from avr.video import Need, Sampling, Steps, decode

SAMPLING = Sampling()
RGB, FLOW = Need(), Need(pairs=10, colour=False)
PLANS = {"7 RGB frames": {"rgb": RGB}, "7 × 10 grey pairs": {"flow": FLOW}, "both": {"rgb": RGB, "flow": FLOW}}


def opened(path: Path) -> cv2.VideoCapture:
    """By OpenCV's FFmpeg, one thread."""
    return cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])


def by_opencv(path: Path, needs: dict[str, Need]) -> list[np.ndarray]:
    """What a plan needs, by a loop over OpenCV."""
    capture, held = opened(path), []
    while capture.grab():
        held.append(capture.retrieve()[1])
    steps = Steps.of(SAMPLING.sample(len(held)), len(held))
    found = []
    for need in needs.values():
        numbers = steps.pairs(need.pairs).frames if need.pairs else steps.frames
        code = cv2.COLOR_BGR2RGB if need.colour else cv2.COLOR_BGR2GRAY
        found.append(np.stack([cv2.cvtColor(held[number], code) for number in numbers]))
    return found


def grab(path: Path) -> int:
    """Frames counted by OpenCV, none of them looked at."""
    capture, count = opened(path), 0
    while capture.grab():
        count += 1
    return count


def cpu(work: Callable[[], object]) -> float:
    """CPU seconds of a call, of all its threads."""
    start = time.process_time()
    work()
    return time.process_time() - start


def draw(folder: Path) -> list[Path]:
    """Six clips as UCF101 has them: MPEG-4 part 2 in AVI, 320 × 240, 120 frames of a texture that moves."""
    paths = []
    for seed in range(6):
        noise = np.random.default_rng(seed).integers(0, 256, (480, 640, 3), dtype=np.uint8)
        texture = cv2.GaussianBlur(noise, (0, 0), 3)
        paths.append(folder / f"drawn{seed}.avi")
        with av.open(str(paths[-1]), "w") as file:
            stream = file.add_stream("mpeg4", rate=25, options={"bf": "1", "b": "600k"})
            stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
            for index in range(120):
                image = np.roll(texture, (index, 2 * index), (0, 1))[:240, :320]
                file.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(image))))
            file.mux(stream.encode(None))
    return paths


def spread(values: list[float], form: str) -> str:
    """Median and range."""
    return f"{statistics.median(values):{form}} ({min(values):{form}}–{max(values):{form}})"


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, nargs="+", metavar="PATH", help="files, or folders of AVI files")
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    data = Path(os.environ.get("AVR_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
    places = options.clips or [data / "clips"]
    paths = [path for place in places for path in (sorted(place.glob("*.avi")) if place.is_dir() else [place])]
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        paths = [path for path in paths if path.is_file()] or draw(Path(folder))
        frames = sum(grab(path) for path in paths)
        print(
            f"{platform.machine()}, load {os.getloadavg()[0]:.1f}; OpenCV {cv2.__version__}, PyAV {av.__version__};",
            end=" ",
        )
        print(f"{len(paths)} clips, {frames} frames, {options.repeats} repeats\n")
        print("| plan | avr, CPU ms a clip | OpenCV | OpenCV's grab alone | avr / OpenCV | avr / grab |")
        print("|---|---|---|---|---|---|")
        for name, needs in PLANS.items():
            times: dict[str, list[float]] = {"avr": [], "OpenCV": [], "grab": []}
            for repeat in range(options.repeats + 1):
                for path in paths:
                    video = Video(path.stem, path, 0, "")
                    taken = {
                        "avr": cpu(lambda video=video, needs=needs: decode(video, needs)),
                        "OpenCV": cpu(lambda path=path, needs=needs: by_opencv(path, needs)),
                        "grab": cpu(lambda path=path: grab(path)),
                    }
                    for who, seconds in taken.items() if repeat else ():  # the first round warms up
                        times[who].append(1000 * seconds)
            ratios = [
                spread([one / other for one, other in zip(times["avr"], times[who], strict=True)], ".2f")
                for who in ("OpenCV", "grab")
            ]
            print(f"| {name} | " + " | ".join([*(spread(of, ".0f") for of in times.values()), *ratios]) + " |")


if __name__ == "__main__":
    main()
