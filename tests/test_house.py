"""The house's own lines: what a room may import, what is packaged, what lies at the root, what `--help` may load."""

import ast
import subprocess
import sys
import tomllib
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
    "report": {"core", "store"},
    "finetune": {"core", "datasets", "extract", "heads", "store", "training", "video"},
    "predict": {"core", "datasets", "extract", "fusion", "heads", "store", "training", "video"},
    "recipes": {"core", "fusion", "heads", "report", "store", "training"},
    "commands": EVERY_ROOM,
}
# One file of these rooms needs more than its room may.
ALSO = {"report/attention.py": {"datasets", "extract", "heads", "video"}, "recipes/pace.py": {"extract"}}
SOURCES = sorted(path for room in MAY_IMPORT for path in (ROOT / room).rglob("*.py"))


def imported_rooms(path: Path) -> set[str]:
    """Names of avr's rooms that a file imports, at its head or inside functions."""
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text())):
        modules = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            modules = [f"avr.{alias.name}" for alias in node.names] if node.module == "avr" else [node.module]
        elif isinstance(node, ast.ImportFrom) and node.level > len(path.relative_to(ROOT).parts) - 1:
            pytest.fail(f"{path}: a relative import leaves its room")
        rooms |= {module.split(".")[1] for module in modules if module.startswith("avr.")}
    return rooms & (EVERY_ROOM | {"cli", "commands"})


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_room_imports_only_what_it_may(path):
    room = path.relative_to(ROOT).parts[0]
    assert imported_rooms(path) - {room} <= MAY_IMPORT[room] | ALSO.get(path.relative_to(ROOT).as_posix(), set())


def test_the_packages_listed_are_the_folders_there():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = {
        "avr" if path.parent == ROOT else "avr." + ".".join(path.parent.relative_to(ROOT).parts)
        for path in [ROOT / "__init__.py", *(p for p in SOURCES if p.name == "__init__.py")]
    }
    assert sorted(listed) == sorted(folders)


def test_the_package_and_the_command_line_alone_lie_at_the_root():
    assert sorted(path.name for path in ROOT.glob("*.py")) == ["__init__.py", "cli.py"]


def test_the_root_module_holds_a_docstring_and_the_version_alone():
    statements = ast.parse((ROOT / "__init__.py").read_text()).body
    assert len(statements) == 2
    assert isinstance(statements[1], ast.Assign)


@pytest.mark.parametrize("arguments", [["--help"], ["heads", "--help"], ["fuse", "--help"], ["extract", "--help"]])
def test_help_loads_no_heavy_library(arguments):
    code = (
        "import sys; from click.testing import CliRunner; from avr.cli import main;"
        f"result = CliRunner().invoke(main, {arguments!r}); assert result.exit_code == 0, result.output;"
        "print([name for name in ('torch', 'torchvision', 'h5py', 'cv2', 'sklearn', 'scipy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd="/", check=True)
    assert done.stdout.strip() == "[]"
