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
    from .streams import Stream, open_streams
    from .weights import find_state, fit_state, load_weights, trained_on
else:
    __getattr__, __dir__ = lazy(__name__)

# Public, a page each in docs/api; the other names here are for avr's own rooms.
__all__ = [
    "Engine",
    "Running",
    "Settings",
    "Summary",
    "extract",
]
