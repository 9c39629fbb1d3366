"""A line for who waits while a large library is loaded."""

import importlib.util
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from threading import Timer
from types import ModuleType

from .progress import note


class _Watch:
    """A finder, asked before all others, that has the import of some packages timed; it finds nothing of its own."""

    def __init__(self, names: Sequence[str], seconds: float) -> None:
        self.names, self.seconds = set(names), seconds

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: object = None) -> ModuleSpec | None:
        if name not in self.names:
            return None
        self.names.discard(name)  # so that the other finders are asked below
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module

            def timed(module: ModuleType) -> None:
                timer = Timer(self.seconds, self._say, [name])
                timer.daemon = True
                timer.start()
                try:
                    load(module)
                finally:
                    timer.cancel()

            spec.loader.exec_module = timed  # type: ignore[method-assign]
        return spec

    def _say(self, name: str) -> None:
        self.names.clear()  # once is enough
        note(f"loading {name} …")


@contextmanager
def say_loading(*names: str, seconds: float = 1.0) -> Iterator[None]:
    """Inside the block, say (`note`) that one of the packages is being loaded where that takes longer than `seconds`.

    At most one line, of the first that is slow; nothing of those that are loaded already.
    """
    watch = _Watch([name for name in names if name not in sys.modules], seconds)
    sys.meta_path.insert(0, watch)
    try:
        yield
    finally:
        sys.meta_path.remove(watch)
