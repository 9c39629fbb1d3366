"""avr's frames against FFmpeg's own: as many, the same pixels in RGB and in grey, the same way up.

    python benchmarks/frames.py                          # a matrix of about 950 files, encoded by benchmarks/videos.py
    python benchmarks/frames.py --only mkv-h264          # those files of it alone
    python benchmarks/frames.py --data ../shared/data    # every clip of the real data sets there, and the field inputs
    python benchmarks/frames.py --files FILE DIR …       # any files and folders
    python benchmarks/frames.py --ffmpeg PATH …          # FFmpeg programs other than the one that is installed

The reference is `ffmpeg -i FILE -fps_mode passthrough -pix_fmt rgb24` (and `gray`), with one thread so that damage
gives the same frames each time; without an ffmpeg program, PyAV used directly. A file is right where the counts are
equal and no frame's mean absolute difference is above 1 grey level (5 of a file with more than 8 bits a value), and
where avr refuses a file that has no moving picture: none for FFmpeg either, or a cover beside sound.

FFmpeg's versions disagree on a few files (damage, edit lists), and so may one version with itself, where a damaged
picture is left half unwritten. Where avr differs from the first program but gives what another one does, or what its
own FFmpeg gives through PyAV used directly, or where these two differ from each other, the file is counted apart and
named, with what avr agrees with. Grey is luma, whatever the colour matrix: from FFmpeg 8 on, the program's `gray` of a
file in BT.709 is another mixture (18 levels).
"""

import argparse
import json
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path

import av
import numpy as np
from av.filter import Graph

from avr.video import VideoError, VideoFile

Pair = tuple[np.ndarray, np.ndarray]  # one frame: (H, W, 3) RGB and (H, W) grey
Reader = Callable[[Path], Iterator[Pair]]
REAL = {"clips": "clips", "weizmann": "weizmann", "jhmdb": "jhmdb", "ut-interaction": "ut-interaction-set1"}
SUFFIXES = {
    f".{suffix}"
    for suffix in (
        *("3gp", "asf", "avi", "flv", "gif", "h264", "hevc", "ivf", "m2ts", "m2v", "m4a", "m4v", "mjpeg", "mkv", "mov"),
        *("mp4", "mpeg", "mpg", "mts", "nut", "ogv", "ts", "vob", "webm", "wmv", "y4m"),
    )
}


@dataclass
class Row:
    """One file, compared.

    Attributes:
        group: of the table.
        verdict: right, refused (rightly), versions (FFmpeg's disagree), wrong.
        frames: of avr, and of the reference.
        rgb, grey: mean absolute difference over all frames, and of the worst frame, grey levels.
        said: why avr refused it, or which other FFmpeg agrees with it.
    """

    file: str
    group: str
    verdict: str
    frames: tuple[int, int]
    rgb: tuple[float, float] = (0.0, 0.0)
    grey: tuple[float, float] = (0.0, 0.0)
    said: str = ""


def avr_frames(path: Path) -> Iterator[Pair]:
    """By avr's public face.

    Raises:
        VideoError: avr refuses the file.
    """
    with VideoFile(path) as file:
        for frame in file:
            yield frame.rgb(), frame.grey()


def program_frames(path: Path, *, program: str) -> Iterator[Pair]:
    """By an ffmpeg program, through images that each say their size."""
    keep = ["-fps_mode", "passthrough"] if "-fps_mode" in told(program, "-h", "long") else ["-vsync", "passthrough"]
    with tempfile.TemporaryDirectory() as folder:
        outputs = []
        for codec, pixels in (("ppm", "rgb24"), ("pgm", "gray")):
            outputs += ["-an", "-sn", *keep, "-pix_fmt", pixels, "-c:v", codec, "-f", "image2pipe", f"{folder}/{codec}"]
        command = [program, "-v", "quiet", "-nostdin", "-threads", "1", "-i", str(path), *outputs]
        subprocess.run(command, check=False, timeout=600)
        colour, grey = Path(folder) / "ppm", Path(folder) / "pgm"
        if colour.exists() and grey.exists():
            yield from zip(images(colour), images(grey), strict=True)


def images(path: Path) -> Iterator[np.ndarray]:
    """The images of a file of concatenated PPM or PGM."""
    with open(path, "rb") as file:
        while kind := file.readline():
            width, height = map(int, file.readline().split())
            file.readline()
            shape = (height, width, 3) if kind.strip() == b"P6" else (height, width)
            yield np.frombuffer(file.read(int(np.prod(shape))), np.uint8).reshape(shape)


@cache
def told(program: str, *arguments: str) -> str:
    """What a program prints."""
    return subprocess.run([program, "-hide_banner", *arguments], capture_output=True, text=True, check=False).stdout


def library_frames(path: Path) -> Iterator[Pair]:
    """By PyAV's packets and FFmpeg's own filter graph, which inserts the conversion that the ffmpeg program inserts."""
    graphs: dict[tuple[object, ...], tuple[Graph, Graph]] = {}
    size = None
    for frame in library_pictures(path):
        size = size or (frame.width, frame.height)
        key = (frame.width, frame.height, frame.format.name, frame.colorspace, frame.color_range)
        if key not in graphs:
            graphs[key] = tuple(converter(frame, size, pixels) for pixels in ("rgb24", "gray"))
        turned = []
        for graph in graphs[key]:
            graph.vpush(frame)
            turned.append(upright(graph.vpull().to_ndarray(), frame))
        yield turned[0], turned[1]


def library_pictures(path: Path) -> Iterator[av.VideoFrame]:
    """The frames of the stream that the ffmpeg program picks; packets that do not decode are passed over."""
    with suppress(av.FFmpegError), av.open(str(path), metadata_errors="replace") as file:
        stream = max(file.streams.video, key=score, default=None)
        if stream is None:
            return
        stream.codec_context.thread_count = 1
        for packet in file.demux(stream):
            with suppress(av.FFmpegError):
                yield from packet.decode()


def score(stream: av.video.stream.VideoStream) -> int:
    """How ffmpeg ranks a stream: by pixels, a default one before all, a cover last."""
    if stream.disposition & av.stream.Disposition.attached_pic:
        return 1
    default = bool(stream.disposition & av.stream.Disposition.default)
    return stream.codec_context.width * stream.codec_context.height + 5_000_000 * default


def converter(frame: av.VideoFrame, size: tuple[int, int], pixels: str) -> Graph:
    """A graph that converts frames like this one; fields stay woven, and grey is luma whatever the colour matrix."""
    graph = Graph()
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base)
    grey = ":colorspace=unknown" if pixels == "gray" and frame.format.name.startswith("yuv") else ""
    names = [
        ("setparams", f"field_mode=prog{grey}"),
        ("scale", f"{size[0]}:{size[1]}:flags=bicubic"),
        ("format", f"pix_fmts={pixels}"),
    ]
    graph.link_nodes(source, *(graph.add(*name) for name in names), graph.add("buffersink")).configure()
    return graph


def upright(image: np.ndarray, frame: av.VideoFrame) -> np.ndarray:
    """Turned and mirrored as the display matrix says: where it sends the axes is where the image's axes go."""
    matrix = frame.side_data.get(av.sidedata.sidedata.Type.DISPLAYMATRIX)
    if matrix is not None:
        a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5]
        if abs(b) > abs(a):  # columns become rows
            image, a, d = image.swapaxes(0, 1), c, b
        image = image[:, ::-1] if a < 0 else image
        image = image[::-1] if d < 0 else image
    return image


def compare(path: Path, group: str, readers: dict[str, Reader]) -> Row:
    """avr's frames of a file against those of the first reader, and where they differ of the others."""
    first, *others = readers.items()
    row = against(path, group, avr_frames, first[1])
    if row.verdict == "wrong" and others:
        agreeing = (name for name, reader in others if against(path, group, avr_frames, reader).verdict != "wrong")
        name = next(agreeing, None)
        if name is None and against(path, group, others[-1][1], first[1]).verdict == "wrong":
            name = "none: they differ among themselves"
        if name is not None:
            row.verdict, row.said = "versions", f"{row.said}; as {name}".strip("; ")
    return row


def against(path: Path, group: str, reader: Reader, reference: Reader) -> Row:
    """One reader's frames of a file against those of another."""
    ours, theirs, said = 0, 0, ""
    kept: tuple[list[float], list[float]] = ([], [])
    sizes: dict[str, None] = {}
    found, wanted = reader(path), reference(path)
    while True:
        other = next(wanted, None)
        try:
            one = None if said else next(found, None)
        except VideoError as error:
            one, said = None, error.reason
        if one is None and other is None:
            break
        ours, theirs = ours + (one is not None), theirs + (other is not None)
        if one is None or other is None:
            continue
        for mine, wished, differences in zip(one, other, kept, strict=True):
            if mine.shape == wished.shape:
                differences.append(float(np.abs(mine.astype(np.int16) - wished).mean()))
            else:
                sizes[f"{mine.shape[1]}x{mine.shape[0]}, not {wished.shape[1]}x{wished.shape[0]}"] = None
    rgb, grey = ((float(np.mean(of or 0)), max(of, default=0.0)) for of in kept)
    same = ours == theirs and not sizes and not said and max(rgb[1], grey[1]) <= (5 if deep(path) else 1)
    verdict = "right" if same else "wrong"
    if ours == 0 and (theirs == 0 or (said and cover_only(path))):
        verdict = "refused"
    return Row(str(path), group, verdict, (ours, theirs), rgb, grey, "; ".join(part for part in (said, *sizes) if part))


def deep(path: Path) -> bool:
    """Whether a value has more than 8 bits."""
    try:
        with av.open(str(path), metadata_errors="replace") as file:
            return any(s.format and s.format.components[0].bits > 8 for s in file.streams.video)
    except (av.FFmpegError, ValueError):
        return False


def cover_only(path: Path) -> bool:
    """Whether its only picture is a cover."""
    with av.open(str(path), metadata_errors="replace") as file:
        return all(s.disposition & av.stream.Disposition.attached_pic for s in file.streams.video)


def files_of(options: argparse.Namespace, folder: Path) -> Iterator[tuple[Path, str]]:
    """Every file asked for, with its group: the kind, of a file of the matrix."""
    for place in options.files:
        if place.is_dir():
            yield from ((path, place.name) for path in videos_in(place))
        else:
            yield place, "files"
    if options.data:
        for group, name in REAL.items():
            yield from ((path, group) for path in videos_in(options.data / name))
        yield from ((path, "field") for path in sorted((options.data / "field").glob("*")) if path.suffix in SUFFIXES)
    if not options.files and not options.data:
        script = Path(__file__).with_name("videos.py")
        subprocess.run([sys.executable, str(script), str(folder), "--only", options.only], check=True)
        yield from ((path, path.stem.split("-", 2)[2]) for path in videos_in(folder))


def videos_in(folder: Path) -> list[Path]:
    """Videos at any depth, by suffix."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())


def table(rows: Iterable[Row]) -> None:
    """Print Markdown, a line a group, then every file that is not right."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.group, []).append(row)
    groups["**all**"] = [row for group in groups.values() for row in group]
    head = ["files of", "files", "counts equal", "refused rightly", "0 apart", "RGB: mean, worst frame"]
    head += ["grey: mean, worst frame", "versions disagree", "wrong"]
    print("| " + " | ".join(head) + " |\n|---|" + "---:|" * (len(head) - 1))
    for group, of in groups.items():
        read = [row for row in of if row.verdict in ("right", "wrong") and row.frames[0] == row.frames[1]]
        figures = [
            f"{np.mean([getattr(row, name)[0] for row in read] or [0]):.3f}, "
            f"{max([getattr(row, name)[1] for row in read], default=0):.2f}"
            for name in ("rgb", "grey")
        ]
        counts = [sum(row.verdict == verdict for row in of) for verdict in ("refused", "versions", "wrong")]
        zero = sum(row.rgb[1] == row.grey[1] == 0 and row.verdict == "right" for row in of)
        line = [group, len(of), len(read), counts[0], zero, *figures, *counts[1:]]
        print("| " + " | ".join(map(str, line)) + " |")
    titles = {"versions": "FFmpeg's versions disagree", "wrong": "Wrong", "refused": "Refused rightly"}
    for verdict, title in titles.items():
        named = [row for row in groups["**all**"] if row.verdict == verdict]
        print(f"\n{title}: {len(named)}")
        for row in named:
            figures = "RGB {:.2f}, {:.2f}; grey {:.2f}, {:.2f}".format(*row.rgb, *row.grey)
            print(
                f"  {Path(row.file).name}: {row.frames[0]} frames of {row.frames[1]}; {figures}; {row.said}".rstrip(
                    "; "
                )
            )


def main() -> None:
    """Parse, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=Path, nargs="+", default=[], metavar="PATH", help="files or folders")
    parser.add_argument("--data", type=Path, help="a folder with clips, weizmann, jhmdb, ut-interaction-set1 and field")
    parser.add_argument("--only", default="", help="of the matrix, containers and codecs that hold this, as mkv-h264")
    parser.add_argument("--ffmpeg", nargs="+", default=["ffmpeg"], metavar="PROGRAM", help="the first is the reference")
    parser.add_argument("--json", type=Path, metavar="FILE", help="every file's figures")
    options = parser.parse_args()
    av.logging.set_level(av.logging.PANIC)
    programs = [program for program in options.ffmpeg if shutil.which(program)]
    readers: dict[str, Reader] = {}
    for program in programs:
        readers[f"ffmpeg {told(program, '-version').split()[2]}"] = partial(program_frames, program=program)
    own = f"PyAV {av.__version__} (FFmpeg {av.ffmpeg_version_info})"
    readers[f"{own}, used directly"] = library_frames
    print(f"{platform.machine()}; avr decodes by {own}; compared with {next(iter(readers))}", end="")
    print(f", else with {', '.join(list(readers)[1:])}\n" if len(readers) > 1 else "\n")
    with tempfile.TemporaryDirectory() as folder:
        rows = [compare(path, group, readers) for path, group in files_of(options, Path(folder))]
    table(rows)
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1))
    raise SystemExit(any(row.verdict == "wrong" for row in rows))


if __name__ == "__main__":
    main()
