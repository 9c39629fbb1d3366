"""Videos to arrays: optical flow, networks, and the run whose workers write a store.

Names are loaded when they are first used: settings and help texts do without torch.
"""

from typing import TYPE_CHECKING, Any

from .settings import Settings

if TYPE_CHECKING:
    from .engines import Engine
    from .extractor import Extractor, Running
    from .run import Summary, extract

__all__ = ["Engine", "Extractor", "Running", "Settings", "Summary", "extract"]
_PLACES = {"extract": "run", "Summary": "run", "Extractor": "extractor", "Running": "extractor", "Engine": "engines"}


def __getattr__(name: str) -> Any:
    import importlib

    if name in _PLACES:
        return getattr(importlib.import_module(f".{_PLACES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
