"""Videos to arrays: streams and their networks, the run whose workers write a store, and the way back from it.

Names are loaded when they are first used: settings and help texts do without torch.
"""

from typing import TYPE_CHECKING

from avr.core import lazy

from .settings import Engine, Running, Settings

if TYPE_CHECKING:
    from .cache import CACHE_FOLDER, ClipCache, leave_out
    from .extractor import Extractor
    from .networks import LayerReader, Networks, build_backbone, load_networks
    from .preprocess import crop_images
    from .restore import Origin, refuse_unused, restore_video
    from .run import Summary, extract
    from .streams import open_streams, stack_images
    from .weights import fit_state, load_weights
else:
    __getattr__, __dir__ = lazy(__name__)

__all__ = [
    "CACHE_FOLDER",
    "ClipCache",
    "Engine",
    "Extractor",
    "LayerReader",
    "Networks",
    "Origin",
    "Running",
    "Settings",
    "Summary",
    "build_backbone",
    "crop_images",
    "extract",
    "fit_state",
    "leave_out",
    "load_networks",
    "load_weights",
    "open_streams",
    "refuse_unused",
    "restore_video",
    "stack_images",
]
