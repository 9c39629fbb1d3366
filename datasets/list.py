"""Annotation files of TSN and mmaction2: one line a video, videos or folders of raw frames.

A line is, with paths relative to the root,
    `some/video.avi 3`                    a video and its label,
    `some/folder 120 3`                   a folder of raw frames, their number, the label,
    `some/folder 30 120 3`                the same from frame 30 on (mmaction2's `with_offset`).
A raw-frame folder holds `img_00001.jpg` and, for precomputed flow, `flow_x_00001.jpg` and `flow_y_00001.jpg`: grey
images of flow clipped to ±20 pixels. The templates are options; whether the first number is 0 or 1 is looked up.

Layout: the files under the root, its `annotations` folder or `--splits`; each file's name must say train, val or test,
and may say which split, as in `ucf101_train_split_2_rawframes.txt`, `hmdb51_rgb_val_split_1.txt`, `trainlist01.txt`.
Where a split has both val and test lists, val is left out. Class names come from `--classes`, or `classInd.txt` or
`label_map*.txt` beside the lists, or the class folders where each label has its own, or else are the numbers.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from avr.core import UsageError

from ._files import is_video, named_lists, read_list, say_missing
from ._groups import groups_by_pattern
from ._types import Dataset, RawFrames, Split, Video

DESCRIPTION = "annotation files of TSN and mmaction2, videos or raw-frame folders"
LAYOUT = "<name>_train_split_<k>*.txt and <name>_val_split_<k>*.txt there or in --splits"
KIND = "annotation files (*train*.txt, *val*.txt, *test*.txt)"


def index(
    root: Path,
    *,
    splits: Path | None = None,
    files: str = "*.txt",
    classes: Path | None = None,
    group_pattern: str | None = None,
    first_label: int = 0,
    image: str = RawFrames.image,
    flow: str = "flow_{axis}_{:05d}.jpg",
) -> Dataset:
    """Index the videos of annotation files.

    Args:
        root: folder that the lines' paths start from.
        splits: folder of the annotation files; default the root or its `annotations`.
        files: pattern of the annotation files' names; `*rawframes.txt` where the folder holds lists of both kinds.
        classes: file of class names, one a line in label order (a number before each is dropped).
        group_pattern: as for `folder`; `(.*)_c\\d+$` gives UCF101's groups.
        first_label: label of the first class, 0 or 1.
        image: name of an RGB frame, as a format of its number.
        flow: name of a flow image, with `{axis}` where x or y stands.

    Raises:
        UsageError: no annotation files, a line that does not parse (file:line), a video with two labels, labels beyond
            the class names, or none of the listed videos there.
    """
    _check_templates(image=image, flow=flow)
    frames = RawFrames(0, image=image, flow_x=flow.replace("{axis}", "x"), flow_y=flow.replace("{axis}", "y"))
    found = named_lists(root, splits, files, _split_and_part, kind=KIND)
    listed: dict[str, tuple[Video, str]] = {}
    parts: dict[tuple[str, str], list[str]] = {}
    for file, split_and_part in found.items():
        members = parts.setdefault(split_and_part, [])
        for video, where in _read_videos(file, root, first_label, frames):
            known, known_where = listed.setdefault(video.id, (video, where))
            if not known.path.exists() and video.path.exists():
                listed[video.id] = video, where  # listed as frames and as a video, of which one is there
            if known.label != video.label:
                raise UsageError(f"{where}: {video.id} has label {video.label} here and {known.label} at {known_where}")
            members.append(video.id)
    there = {name: video for name, (video, _) in listed.items() if video.path.exists()}
    say_missing("list", root, list(listed), there)
    beside = next(iter(found)).parent
    class_names = _class_names(classes, beside, [video for video, _ in listed.values()], first_label)
    groups = groups_by_pattern(list(there), group_pattern)
    videos = tuple(
        replace(video, group=group, frames=video.frames and _counted(video.path, video.frames))
        for video, group in zip(there.values(), groups, strict=True)
    )
    made = {}
    for name in sorted({name for name, _ in parts}):
        test = parts.get((name, "test")) or parts.get((name, "val")) or []
        train = parts.get((name, "train")) or []
        made[name] = Split(name, *(tuple(dict.fromkeys(v for v in ids if v in there)) for ids in (train, test)))
    return Dataset("list", root, class_names, videos, made)


def _check_templates(**templates: str) -> None:
    for option, template in templates.items():
        try:
            told = template.replace("{axis}", "x").format(1) != template.replace("{axis}", "x").format(2)
        except (ValueError, LookupError):
            told = False
        if not told:
            raise UsageError(
                f"option {option}: {template!r} is no format of a frame number, such as 'img_{{:05d}}.jpg'"
            )


def _split_and_part(file: Path) -> tuple[str, str] | None:
    """The split and the part (train, val, test) that an annotation file's name says; None without a part."""
    stem = file.stem.lower()
    part = re.search(r"(?<![a-z])(?:train|val|test)", stem) or re.search(r"train|val|test", stem)
    if part is None:
        return None
    number = re.search(r"split_?0*(\d+)|(?:list|_)0*(\d+)(?!\d)", file.stem[part.end() :])
    return ((number[1] or number[2]) if number else "1", part[0])


def _read_videos(file: Path, root: Path, first_label: int, frames: RawFrames) -> Iterator[tuple[Video, str]]:
    """Each listed video, of no group yet, and where it is listed ("file:line")."""
    for number, (listed, numbers) in read_list(file, _parse_line):
        label = numbers[-1] - first_label
        if label < 0:
            raise UsageError(f"{file}:{number}: label {numbers[-1]} is below the first label, {first_label}")
        path = root / listed  # an absolute path stays itself
        inside = path.relative_to(root) if path.is_relative_to(root) else path.relative_to(path.anchor)
        video = Video(inside.with_suffix("").as_posix(), path, label, "")
        if len(numbers) > 1:
            start, count = numbers[0] if len(numbers) > 2 else 0, numbers[-2]
            video = replace(video, id=inside.as_posix(), frames=replace(frames, count=start + count))
            if len(numbers) > 2:  # several stretches of one folder are several videos
                video = replace(video, id=f"{video.id}@{start}")
            if start:
                video = replace(video, start=start, end=start + count)
        yield video, f"{file}:{number}"


def _counted(folder: Path, frames: RawFrames) -> RawFrames:
    """The frames with the number that their count starts from, which whichever stream is there tells."""
    zero = any((folder / template.format(0)).exists() for template in (frames.image, frames.flow_x, frames.flow_y))
    return replace(frames, first=0 if zero else 1)


def _parse_line(line: str) -> tuple[str, list[int]]:
    """The path, which may hold spaces, and the numbers behind it: 1 for a video, 2 or 3 for a raw-frame folder."""
    words = line.split()
    # The path of a video ends where its suffix does; a folder is followed by two numbers, or by three.
    for wanted in (1, 3, 2):
        path, numbers = " ".join(line.rsplit(maxsplit=wanted)[:1]), words[-wanted:]
        enough = len(words) > wanted and all(re.fullmatch(r"\d+", word) for word in numbers)
        if enough and (is_video(Path(path).name) if wanted == 1 else not is_video(Path(path).name)):
            return path, [int(word) for word in numbers]
    raise ValueError("expected '<video file> <label>' or '<folder> [<start>] <frames> <label>'")


def _class_names(given: Path | None, folder: Path, videos: Sequence[Video], first_label: int) -> tuple[str, ...]:
    """Class names in label order: from a file, from the class folders, or else the numbers."""
    most = max(video.label for video in videos)
    file = given
    if file is None:
        candidates = [folder / "classInd.txt", *sorted(folder.glob("label_map*.txt"))]
        file = next((path for path in candidates if path.is_file()), None)
    if file is not None:
        names = tuple(re.sub(r"^\d+\s+", "", name) for _, name in read_list(file, str))
        if most >= len(names):
            hint = "; --set first_label=1 may be meant" if most == len(names) and not first_label else ""
            raise UsageError(f"{file}: {len(names)} class names, but a label is {most + first_label}{hint}")
        return names
    folders: dict[int, set[str]] = {}
    for video in videos:
        folders.setdefault(video.label, set()).add(video.path.parent.name)
    names = tuple(min(folders.get(label, {""})) for label in range(most + 1))
    told = all(len(of_label) == 1 for of_label in folders.values()) and len(set(names)) == len(names) and all(names)
    return names if told else tuple(str(label + first_label) for label in range(most + 1))
