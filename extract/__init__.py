"""Videos to arrays: streams and their networks, the run whose workers write a store, and the way back from it.

Names are loaded when they are first used: settings and help texts do without torch.
"""

from typing import TYPE_CHECKING

from avr.core import lazy

from .running import Engine, Running
from .settings import STREAMS, Settings, read_streams

if TYPE_CHECKING:
    from .backbones import LayerReader, open_backbone
    from .cache import CACHE_FOLDER, ClipCache, leave_out
    from .extractor import Extractor
    from .networks import Networks, build_backbone, load_networks
    from .preprocess import channels_last, crop_images, lay_out
    from .restore import Origin, refuse_unused, restore_video, weights_files
    from .run import Summary, extract
    from .streams import open_streams
    from .weights import find_state, fit_state, load_weights, trained_on
else:
    __getattr__, __dir__ = lazy(__name__)

__all__ = [
    "CACHE_FOLDER",
    "STREAMS",
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
    "channels_last",
    "crop_images",
    "extract",
    "find_state",
    "fit_state",
    "lay_out",
    "leave_out",
    "load_networks",
    "load_weights",
    "open_backbone",
    "open_streams",
    "read_streams",
    "refuse_unused",
    "restore_video",
    "trained_on",
    "weights_files",
]
