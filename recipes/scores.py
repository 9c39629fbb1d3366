"""Outside scores, which rows average in: which file is of which split."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from avr.core import UsageError, check_known, sha256_of
from avr.store import read_scores, score_paths

from .reading import Recipe


@dataclass(frozen=True)
class ScoreFiles:
    """Outside score files.

    Attributes:
        files: name and split -> file; split "" is of scores that say nothing of one, and serves every split.
    """

    files: Mapping[tuple[str, str], Path]

    @classmethod
    def of(cls, recipe: Recipe, given: Mapping[str, Path]) -> "ScoreFiles":
        """Sort what was given, by "name" or "name@split": files, or folders of runs.

        Raises:
            UsageError: scores that no row asks for, no such file, one of another split than was said, two of one split.
            WorkError: a damaged file.
        """
        asked = sorted({name for row in recipe.rows for name in row.scores})
        files: dict[tuple[str, str], Path] = {}
        for place, path in given.items():
            name, _, said = place.partition("@")
            check_known(f"outside scores of {recipe.name}", name, asked)
            found = score_paths(path) if path.is_dir() else [path]
            if not path.exists() or not found:
                raise UsageError(f"--scores {place}={path}: no such file" + " of scores" * path.exists())
            for file in found:
                own = read_scores(file).split
                if said and own not in ("", said) and not path.is_dir():
                    raise UsageError(f"--scores {place}={file}: these are of split {own}")
                if said and own != said and path.is_dir():
                    continue
                key = name, said or own
                if key in files:
                    raise UsageError(f"two files of scores {name} for split {key[1]}: {files[key]} and {file}")
                files[key] = file
        return cls(files)

    def knows(self, name: str) -> bool:
        """Whether there are scores of a name, of whichever split."""
        return any(own == name for own, _ in self.files)

    def file(self, name: str, split: str) -> Path | None:
        """The file that serves a split; None without one."""
        return self.files.get((name, split), self.files.get((name, "")))

    @cached_property
    def digests(self) -> dict[Path, str]:
        """SHA-256 of each file."""
        return {path: sha256_of(path) for path in self.files.values()}
