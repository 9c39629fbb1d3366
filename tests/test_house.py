"""The house's own lines: what a room may import, what is packaged, what lies at the root, what `--help` may load."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EVERY_ROOM = {
    "core",
    "datasets",
    "extract",
    "finetune",
    "fusion",
    "heads",
    "predict",
    "recipes",
    "report",
    "store",
    "training",
    "video",
}
MAY_IMPORT = {
    "core": set(),
    "datasets": {"core"},
    "training": {"core"},
    "video": {"core", "datasets"},
    "store": {"core"},
    "extract": {"core", "datasets", "store", "training", "video"},
    "heads": {"core", "store", "training"},
    "fusion": {"core", "store"},
    "report": {"core", "fusion", "store"},
    "finetune": {"core", "datasets", "extract", "heads", "store", "training", "video"},
    "predict": {"core", "datasets", "extract", "fusion", "heads", "store", "training", "video"},
    "recipes": {"core", "datasets", "extract", "finetune", "fusion", "heads", "report", "store", "training"},
    "commands": EVERY_ROOM,
}
# One file of these rooms needs more than its room may.
ALSO = {
    "report/attention.py": {"datasets", "extract", "heads", "video"},
    "report/pictures.py": {"extract", "heads", "video"},
}
# What another room takes from below a face: flow methods, which extract's face does not list.
BELOW_THE_FACE = {"recipes/pace.py": {"extract.flow"}}
# Folders of items, where `_` marks machinery.
ITEMS = {"commands", "datasets", "extract/backbones", "extract/flow", "extract/streams", "fusion", "heads"}
SOURCES = sorted(path for room in MAY_IMPORT for path in (ROOT / room).rglob("*.py"))
PATHS = [path.relative_to(ROOT) for path in SOURCES]
MODULES = {
    ".".join(path.parent.parts if path.name == "__init__.py" else path.with_suffix("").parts): path for path in PATHS
}
# A thing that one file alone knows, and who else does still.
ALONE = {
    "av.open(": {"video/opening.py", "video/writing.py"},
    '"run.json"': {"store/runs.py"},
    '"plan.h5"': {"store/features/plan.py"},
    "os.replace": {"core/files.py", "store/runs.py"},  # the second renames a folder
}
MOST_LINES, MOST_LINES_OF_A_FUNCTION = 300, 60


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse((ROOT / path).read_text())


@cache
def names_of(face: Path) -> frozenset[str]:
    """What a face imports, at once or at its first use."""
    nodes = [node for node in ast.walk(parsed(face)) if isinstance(node, ast.ImportFrom)]
    return frozenset(alias.name for node in nodes for alias in node.names)


def imports(path: Path) -> set[str]:
    """Modules of avr that a file imports, at once or when a function is called, without "avr."."""
    found: set[str] = set()
    package = path.parent.parts

    def look(nodes: Iterable[ast.AST]) -> None:
        for node in nodes:
            if isinstance(node, ast.Import):
                found.update(alias.name.removeprefix("avr.") for alias in node.names if alias.name.startswith("avr."))
            elif isinstance(node, ast.ImportFrom):
                assert node.level <= len(package), f"{path}: a relative import leaves its room"
                if node.level:
                    start = package[: len(package) - node.level + 1]
                elif (node.module or "").partition(".")[0] == "avr":
                    start = ()
                else:
                    continue
                named = (node.module or "").split(".")[0 if node.level else 1 :] if node.module else []
                module = ".".join([*start, *named])
                # `from .folder import file` imports the file, `from .file import name` does not; nor does a face's name
                # that is a file's too, such as `ahead`.
                face = names_of(MODULES[module]) if module in MODULES and not node.level else frozenset()
                for name in (alias.name for alias in node.names):
                    inner = f"{module}.{name}" if module else name
                    found.add(inner if inner in MODULES and name not in face else module)
            else:
                look(ast.iter_child_nodes(node))

    look(parsed(path).body)
    return found


def test_a_room_imports_only_what_it_may():
    wrong = {}
    for path in PATHS:
        rooms = {module.partition(".")[0] for module in imports(path)} - {path.parts[0], ""}
        wrong[path.as_posix()] = rooms - MAY_IMPORT[path.parts[0]] - ALSO.get(path.as_posix(), set())
    assert not {path: rooms for path, rooms in wrong.items() if rooms}


def test_a_room_is_reached_by_its_face():
    wrong = {}
    for path in PATHS:
        below = {module for module in imports(path) if "." in module and module.partition(".")[0] != path.parts[0]}
        wrong[path.as_posix()] = below - BELOW_THE_FACE.get(path.as_posix(), set())
    assert not {path: modules for path, modules in wrong.items() if modules}


def test_no_file_imports_itself_in_a_circle():
    """Neither among rooms nor inside one, what functions import and types included."""
    graph = {name: sorted((imports(path) & MODULES.keys()) - {name}) for name, path in MODULES.items()}
    tuple(TopologicalSorter(graph).static_order())  # CycleError names the circle


def test_features_and_scores_do_not_know_each_other():
    for one, other in (("features", "scores"), ("scores", "features")):
        for path in PATHS:
            if path.is_relative_to(f"store/{one}"):
                assert not any(module.startswith(f"store.{other}") for module in imports(path)), path


def test_machinery_is_marked_in_folders_of_items_alone():
    marked = {path.parent.as_posix() for path in PATHS if path.name.startswith("_") and path.name != "__init__.py"}
    assert marked <= ITEMS


@pytest.mark.parametrize("text", ALONE)
def test_one_file_alone_knows(text):
    assert {path.as_posix() for path in PATHS if text in (ROOT / path).read_text()} <= ALONE[text]


def test_files_and_functions_are_short():
    functions: dict[str, set[str]] = {}
    for path in PATHS:
        tree = parsed(path)
        found = [n for n in ast.walk(tree) if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))]
        long = {n.name for n in found if n.end_lineno - n.lineno + 1 > MOST_LINES_OF_A_FUNCTION}
        functions[path.as_posix()] = long
    assert not {path: names for path, names in functions.items() if names}
    lines = {path.as_posix(): len((ROOT / path).read_text().splitlines()) for path in PATHS}
    assert not {path: count for path, count in lines.items() if count > MOST_LINES}


def test_the_packages_listed_are_the_folders_there():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = {
        "avr" if path.parent == ROOT else "avr." + ".".join(path.parent.relative_to(ROOT).parts)
        for path in [ROOT / "__init__.py", *(p for p in SOURCES if p.name == "__init__.py")]
    }
    assert sorted(listed) == sorted(folders)


def test_the_package_and_the_command_line_alone_lie_at_the_root():
    assert sorted(path.name for path in ROOT.glob("*.py")) == ["__init__.py", "__main__.py", "cli.py"]


def test_the_distribution_is_called_by_its_name():
    """`avr` is the import and the command; PyPI's `avr` is another project's."""
    texts = [*SOURCES, *ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "pyproject.toml"]
    assert not [path for path in texts if re.search(r"(?<![\w.-])avr\[\w", path.read_text())]


@pytest.mark.parametrize("arguments", [["--help"], ["heads", "--help"], ["fuse", "--help"], ["extract", "--help"]])
def test_help_loads_no_heavy_library(arguments):
    code = (
        "import sys; from click.testing import CliRunner; from avr.cli import main;"
        f"result = CliRunner().invoke(main, {arguments!r}); assert result.exit_code == 0, result.output;"
        "print([name for name in ('torch', 'torchvision', 'h5py', 'cv2', 'sklearn', 'scipy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd="/", check=True)
    assert done.stdout.strip() == "[]"
