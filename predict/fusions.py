"""Which fusion is predicted with, and which run each of its sources is: told apart without guessing."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from avr.core import UsageError
from avr.store import is_run, run_of, split_folder, split_names

from .pipelines import Opened

FILE = "fusion.json"


def choose_fusion(fuse: Path, split: str) -> Path:
    """The folder of one fitted rule: `fuse` itself, or of a fusion of several splits the split's.

    Args:
        fuse: what `avr fuse` wrote: a folder with a fusion.json (or that file), or with one a split.
        split: which; "" is the first.

    Raises:
        UsageError: it holds no such split; those it holds are listed.
    """
    if fuse.name == FILE and fuse.is_file():
        return fuse.parent
    names = [] if (fuse / FILE).is_file() else split_names(fuse)
    if not names:
        return fuse
    if split and split not in names:
        raise UsageError(f"{fuse} has no split '{split}'; it holds {', '.join(names)}: name one with --split")
    return split_folder(fuse, split or names[0])


def check_split(fuse: Path, fitted: str, asked: str) -> str:
    """The split whose heads are opened: the one that the rule was fitted on.

    Raises:
        UsageError: another one is asked for: the rule has seen that one's test videos, or knows nothing of its heads.
    """
    if fitted and asked and asked != fitted:
        raise UsageError(
            f"{fuse} was fitted on split {fitted}, not {asked}: leave out --split, or fuse the scores of split {asked}"
        )
    return asked or fitted


def match_runs(fuse: Path, sources: Sequence[Mapping[str, str]], given: Sequence[Path]) -> tuple[list[Path], list[int]]:
    """The run of each of a fusion's sources: among those given, else beside the fusion.

    A fusion knows its runs by their folders' names. A given path is the run of a name when it ends in it, or when the
    folder that it links to does. The only run given is taken where a fusion has one run, whatever its name.

    Args:
        fuse: the folder of the fitted rule.
        sources: "file", the run's name, and "stream" of each.
        given: the user's runs.

    Returns:
        The runs, each once, and for each source the index of its run among them.

    Raises:
        UsageError: a run is not there, one that is given is no source's, or names do not tell which is which.
    """
    pairs = [(source["file"], source["stream"]) for source in sources]
    twice = next((pair for pair in pairs if pairs.count(pair) > 1), None)
    if twice:
        raise UsageError(
            f"{fuse} reads the stream {twice[1]} of several runs named {twice[0]}, which cannot be told apart: give "
            "their folders names of their own and fuse again"
        )
    names = list(dict.fromkeys(name for name, _ in pairs))
    beside = run_of(fuse).parent
    paths = {name: _run_named(name, names, given, beside / name, fuse) for name in names}
    places = [path.resolve() for path in paths.values()]
    shared = next((path for path in paths.values() if places.count(path.resolve()) > 1), None)
    if shared is not None:
        raise UsageError(f"{shared} would be several of the runs that {fuse} reads ({', '.join(names)}): name each one")
    unread = next((path for path in given if path.resolve() not in places), None)
    if unread is not None:
        raise UsageError(f"{unread} is none of the runs that {fuse} reads ({', '.join(names)}): leave it out")
    return list(paths.values()), [names.index(name) for name, _ in pairs]


def _run_named(name: str, names: Sequence[str], given: Sequence[Path], beside: Path, fuse: Path) -> Path:
    matching = {path.resolve(): path for path in given if name in (path.name, path.resolve().name)}
    if len(matching) > 1:
        raise UsageError(
            f"{fuse} reads scores of {name}, which {' and '.join(map(str, matching.values()))} could both be: name one"
        )
    found = next(iter(matching.values()), None)
    if found is None and len(given) == 1 and len(names) == 1:
        found = given[0]
    found = found or beside
    if not is_run(found):
        raise UsageError(f"{fuse} reads scores of {name}, and there is no such run at {found}: name it with --run")
    return found


def check_heads(sources: Sequence[Mapping[str, str]], opened: Sequence[Opened]) -> None:
    """Refuse runs of other heads than those that were fused.

    Raises:
        UsageError: naming the run and both heads.
    """
    for source, run in zip(sources, opened, strict=True):
        head, found = source.get("head", ""), str(run.trained.metadata["head"])
        if head and head != found:
            raise UsageError(
                f"the fusion reads {source['file']}, a run of the head {head}, and {run.trained.folder.parent} is one "
                f"of {found}: name the run that was fused with --run"
            )
