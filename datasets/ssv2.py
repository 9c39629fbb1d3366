"""Something-Something V2 (Goyal et al. 2017; 174 classes, 220 847 clips), whose classes are motions, not things.

Layout: `<id>.webm` (or re-encoded) in any folders under the root; the lists in its folder `labels`, in the root or in
`--splits`, by the names of either release: `labels.json`, `train.json`, `validation.json`, and perhaps `test.json` with
`test-answers.csv`, or `something-something-v2-labels.json` and so on.

Split "1" trains on the training list and tests on the validation list, as papers do; where the answers of the test
list and its clips are there, split "test" tests on those. Class numbers are those of the labels' list. Which clips one
person filmed was not published: each clip is its own group.
"""

from pathlib import Path

from avr.core import UsageError

from ._files import listed_clips
from ._lists import Told, find_lists, lines_of, official_by_name, read_document, read_objects
from ._splits import Drawing
from ._types import Dataset

DESCRIPTION = "174 motions with things, 220847 clips, by the official JSON lists; train, validation"
LAYOUT = "clips <id>.webm under <root>; labels.json, train.json, validation.json there, in labels/ or in --splits"
DRAWING = Drawing()
SOURCE = "https://www.qualcomm.com/developer/software/something-something-v-2-dataset"


def index(root: Path, *, splits: Path | None = None, lists_suffice: bool = False) -> Dataset:
    """Index Something-Something V2, of the clips that are there; see `index_dataset`."""
    paths = listed_clips(root, layout=LAYOUT, lists_suffice=lists_suffice)
    folder = find_lists(root, splits, folder="labels", pattern="*labels.json")
    class_names = _classes(folder)
    told, part_of, class_of = Told(), dict[str, str](), dict[str, str]()
    for part, where, clip, template in _listed(folder):
        name = template.replace("[", "").replace("]", "")
        if name not in class_names:
            raise UsageError(f"{where}: {name!r} is no class of the labels' list")
        told.tell(clip, "label", name, where)
        told.tell(clip, "part", part, where)
        part_of[clip], class_of[clip] = part, name
    order = sorted(class_of, key=lambda clip: (len(clip), clip))
    return official_by_name(
        *("ssv2", root, class_names, {clip: class_of[clip] for clip in order}, part_of, {clip: clip for clip in order}),
        paths=paths,
        lists_suffice=lists_suffice,
    )


def _classes(folder: Path) -> tuple[str, ...]:
    """Class names in the order of their numbers, which the labels' list gives as texts."""
    (path, *_) = sorted(folder.glob("*labels.json"))
    numbers = read_document(path)
    try:
        by_number = {int(number): str(name) for name, number in numbers.items()}
        return tuple(by_number[number] for number in range(len(numbers)))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{path}: expected an object of classes and their numbers, 0 … K-1") from error


def _listed(folder: Path) -> list[tuple[str, str, str, str]]:
    """Part, place, clip and class of all clips of the lists; those of the test list have one in the answers alone."""
    found = []
    for part, word in (("train", "train"), ("val", "validation")):
        for path in sorted(folder.glob(f"*{word}.json")):
            found += [(part, where, clip, name) for where, (clip, name) in read_objects(path, "id", "template")]
    for path in sorted(folder.glob("*test-answers.csv")):
        for line, text in lines_of(path):
            clip, _, name = text.partition(";")
            found.append(("test", f"{path}:{line}", clip, name))
    return found
