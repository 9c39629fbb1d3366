"""Trees of files with given names."""

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest


@pytest.fixture
def tree(tmp_path: Path) -> Callable[..., Path]:
    """Make a folder of empty files with the given relative names: indexing reads names, never contents."""

    def make(names: Iterable[str], folder: str = "videos") -> Path:
        root = tmp_path / folder
        made: set[Path] = set()
        for name in names:
            path = root / name
            if path.parent not in made:
                path.parent.mkdir(parents=True, exist_ok=True)
                made.add(path.parent)
            path.touch()
        return root

    return make
