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
from collections.abc import Sequence
from pathlib import Path

from avr.core import UsageError

from ._annotations import Line, parse_lines, read_class_names
from ._files import say_missing
from ._groups import groups_by_pattern
from ._lists import named_lists
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
    templates = (image, flow.replace("{axis}", "x"), flow.replace("{axis}", "y"))
    found = named_lists(root, splits, files, _split_and_part, kind=KIND)
    lines: dict[str, Line] = {}
    parts: dict[tuple[str, str], list[str]] = {}
    for file, split_and_part in found.items():
        members = parts.setdefault(split_and_part, [])
        for line in parse_lines(file, root, first_label=first_label):
            known = lines.setdefault(line.id, line)
            if not known.path.exists() and line.path.exists():
                lines[line.id] = line  # listed as frames and as a video, of which one is there
            if known.label != line.label:
                raise UsageError(
                    f"{line.where}: {line.id} has label {line.label} here and {known.label} at {known.where}"
                )
            members.append(line.id)
    there = {video_id: line for video_id, line in lines.items() if line.path.exists()}
    say_missing("list", root, list(lines), there)
    class_names = read_class_names(classes, next(iter(found)).parent, list(lines.values()), first_label=first_label)
    groups = groups_by_pattern(list(there), group_pattern)
    videos = tuple(_video(line, group, templates) for line, group in zip(there.values(), groups, strict=True))
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


def _video(line: Line, group: str, templates: Sequence[str]) -> Video:
    if line.count is None:
        return Video(line.id, line.path, line.label, group)
    image, flow_x, flow_y = templates
    # Whichever stream is there tells where the count starts.
    zero = any((line.path / template.format(0)).exists() for template in templates)
    start = line.start or None
    frames = RawFrames(
        count=line.count + (line.start or 0), first=0 if zero else 1, image=image, flow_x=flow_x, flow_y=flow_y
    )
    end = None if start is None else start + line.count
    return Video(line.id, line.path, line.label, group, start=start, end=end, frames=frames)
