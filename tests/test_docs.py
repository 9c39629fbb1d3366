"""The documentation is true: every block of commands or Python is run here, or says what runs it or what it needs.

A block's mark stands on the line before it: `<!-- run -->`, `<!-- tested: tests/… -->`, `<!-- needs: … -->`, or
`<!-- usage -->` of a form. What is not run is at least read: commands by the commands' own parsers, Python by Python's,
its imports of avr resolved.
"""

import ast
import importlib
import re
import runpy
import shlex
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
import pytest

from avr.cli import main
from avr.core import AvrError
from avr.heads import head_class
from avr.store import FeatureStore

sys.path.insert(0, str(Path(__file__).parent / "heads"))
from conftest import write_store

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"(?:^<!-- (?P<mark>.*?) -->\n)?^```(?P<kind>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
MARK = re.compile(r"run|usage|tested: (?P<test>\S+)|needs: \S.*")


def blocks() -> list[tuple[str, str, str, str]]:
    """Page, mark, kind and text of every block that commands or Python stand in."""
    found = []
    for page in PAGES:
        for match in BLOCK.finditer(page.read_text()):
            kind, text = match["kind"], match["text"]
            if kind == "python" or commands_of(text):
                found.append((page.relative_to(ROOT).as_posix(), match["mark"] or "", kind, text))
    return found


def commands_of(text: str) -> list[list[str]]:
    """The words of every line that calls avr, without a prompt and remarks."""
    lines = [line.removeprefix("$ ") for line in text.replace("\\\n", " ").splitlines()]
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("avr ")]


BLOCKS = blocks()


def test_every_block_is_run_or_says_why_not():
    for page, mark, kind, text in BLOCKS:
        found = MARK.fullmatch(mark)
        assert found, f"{page}: a block without a mark:\n{text}"
        if found["test"]:
            assert (ROOT / found["test"]).exists(), f"{page}: {mark}"
        if kind != "python":
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("avr.") and not node.level:
                module = importlib.import_module(str(node.module))
                assert all(hasattr(module, alias.name) for alias in node.names), f"{page}: {ast.unparse(node)}"


def test_every_command_has_the_options_it_is_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for page, mark, _, text in BLOCKS:
        for words in commands_of(text):
            if mark != "usage" and "…" not in words:
                try:
                    parse(main, words)
                except (click.ClickException, AvrError) as error:
                    pytest.fail(f"{page}: avr {' '.join(words)}: {error}")


def parse(command: click.Command, words: list[str], parent: click.Context | None = None) -> None:
    """Read words as a command does, down to its last subcommand, and run nothing; files need not be there."""
    try:
        context = command.make_context(command.name, list(words), parent=parent)
    except click.exceptions.Exit:  # --help
        return
    except click.BadParameter as error:
        if "does not exist" in error.message:
            return
        raise
    if isinstance(command, click.Group) and context._protected_args:
        rest = [*context._protected_args, *context.args]
        name, inner, rest = command.resolve_command(context, rest)
        assert name is not None
        assert inner is not None
        parse(inner, rest, context)


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A store `features/clips`, and scores that other tools wrote: what the pages that are run begin with.

    Where a page leaves a training to linear's own settings, it is an epoch long.
    """
    monkeypatch.chdir(tmp_path)
    linear = head_class("linear")
    monkeypatch.setattr(linear, "defaults", replace(linear.defaults, epochs=1, min_steps=0))
    write_store(tmp_path / "features/clips", name="clips")
    random = np.random.default_rng(0)
    with FeatureStore("features/clips") as store:
        ids, labels, names = store.ids.tolist(), store.labels, store.class_names
    Path("labels.csv").write_text("id,label\n" + "".join(f"{i},{names[k]}\n" for i, k in zip(ids, labels, strict=True)))
    for folder in (Path(), Path("new")):
        folder.mkdir(exist_ok=True)
        for stream in ("rgb", "flow"):
            scores = np.eye(len(names))[labels] * 1.5 + random.normal(size=(len(ids), len(names)))
            rows = [f"{i}," + ",".join(f"{x:.4f}" for x in row) for i, row in zip(ids, scores, strict=True)]
            (folder / f"{stream}.csv").write_text("\n".join([",".join(["video", *names]), *rows]) + "\n")
    return tmp_path


@pytest.mark.parametrize("page", sorted({page for page, mark, *_ in BLOCKS if mark == "run"}))
def test_what_a_page_runs_works(page, workplace, runner):
    for _, mark, kind, text in (block for block in BLOCKS if block[0] == page):
        if mark != "run":
            continue
        if kind == "python":
            exec(compile(text, page, "exec"), {"__name__": "page"})
        for words in commands_of(text):
            done = runner.invoke(main, words)
            assert done.exit_code == 0, f"{page}: avr {' '.join(words)}\n{done.output}"


@pytest.mark.parametrize(
    ("example", "leaves"), [("notebook", "confidence.png"), ("plain_torch", "runs/mine/scores.h5")]
)
def test_an_example_runs(example, leaves, workplace, monkeypatch, capsys):
    """`notebook`: import, read a store, train, fuse in a GridSearchCV, plot."""
    pytest.importorskip("matplotlib").use("Agg")
    monkeypatch.setattr(sys, "argv", [example, "features/clips"])
    runpy.run_path(str(ROOT / "examples" / f"{example}.py"))
    assert re.search(r"\d % (of the test videos|right)", capsys.readouterr().out)
    assert Path(leaves).stat().st_size > 5000


def test_the_picture_is_what_its_script_draws():
    drawn = runpy.run_path(str(ROOT / "docs/pictures/pipeline.py"))["draw"]()
    assert (ROOT / "docs/pictures/pipeline.svg").read_text() == drawn
    assert len(drawn) < 200_000


def test_every_page_is_in_the_sites_contents():
    listed = re.findall(r"^ +- (?:\w+: )?(\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    there = [path.relative_to(ROOT / "docs").as_posix() for path in PAGES[1:]]
    assert sorted(listed) == sorted(there)


def test_the_version_to_cite_is_the_packages():
    import avr

    assert re.search(r"^version: (\S+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)[1] == avr.__version__
    assert "docs" in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
