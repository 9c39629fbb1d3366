"""avr: two-stream video action recognition, offline in two stages (extract once; heads and fusion on the store).

    import avr
    store = avr.store.FeatureStore("features/clips")
    result = avr.heads.train_run("features/clips", "linear")

What Python users need stands in six packages, which are imported when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import datasets, extract, fusion, heads, predict, store

__version__ = "0.1.0"
__all__ = ["datasets", "extract", "fusion", "heads", "predict", "store"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(f".{name}", __name__)


def __dir__() -> list[str]:
    return ["__version__", *__all__]
