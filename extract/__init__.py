"""Videos to arrays: optical flow, networks, and the run whose workers write a store.

Names are loaded when they are first used: settings and help texts do without torch.
"""

from typing import TYPE_CHECKING, Any

from .running import Engine, Running
from .settings import Settings

if TYPE_CHECKING:
    from .cache import DEFAULT_CACHE
    from .extractor import Extractor
    from .run import Summary, extract

__all__ = ["DEFAULT_CACHE", "Engine", "Extractor", "Running", "Settings", "Summary", "extract"]
_PLACES = {"DEFAULT_CACHE": "cache", "extract": "run", "Summary": "run", "Extractor": "extractor"}


def __getattr__(name: str) -> Any:
    import importlib

    if name in _PLACES:
        return getattr(importlib.import_module(f".{_PLACES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
