"""Videos to frames, without torch: opened in one way, counted, sampled, decoded for what is needed, checked.

Names that need a decoder are loaded when they are first used: settings and help texts do without.
"""

from typing import TYPE_CHECKING

from avr.core import lazy

from .sampling import Sampling

if TYPE_CHECKING:
    from .check import CheckResult, Finding, bytes_missing, check_dataset
    from .child import Decoder
    from .decoding import Answer, Decoded, Need, Pairs, Steps, answer, decode
    from .frames import HeldFrames, open_frames, read_frames, same_size
    from .opening import Frame, VideoError, VideoFile
else:
    __getattr__, __dir__ = lazy(__name__)

__all__ = [
    "Answer",
    "CheckResult",
    "Decoded",
    "Decoder",
    "Finding",
    "Frame",
    "HeldFrames",
    "Need",
    "Pairs",
    "Sampling",
    "Steps",
    "VideoError",
    "VideoFile",
    "answer",
    "bytes_missing",
    "check_dataset",
    "decode",
    "open_frames",
    "read_frames",
    "same_size",
]
