"""Videos to arrays: optical flow, networks, and the run whose workers write a store.

Names are loaded when they are first used: settings and help texts do without torch.
"""

from typing import TYPE_CHECKING

from avr.core import lazy

from .settings import Settings

if TYPE_CHECKING:
    from .engines import Engine
    from .extractor import Extractor, Running
    from .run import Summary, extract
else:
    __getattr__, __dir__ = lazy(__name__)

__all__ = ["Engine", "Extractor", "Running", "Settings", "Summary", "extract"]
