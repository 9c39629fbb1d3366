"""Videos to frames, without torch: opened in one way, counted, sampled, decoded for what is needed, checked.

Names that need a decoder are loaded when they are first used: settings and help texts do without.
"""

from typing import TYPE_CHECKING

from avr.core import lazy

from .sampling import Sampling

if TYPE_CHECKING:
    from .check import CheckResult, Finding, bytes_missing, check_dataset
    from .child import Decoder
    from .decoding import Answer, Decoded, Need, Pairs, Steps, answer, decode, decode_held, refuse_damaged, sample_steps
    from .facts import Facts
    from .frames import Frames, HeldFrames, open_frames, read_frames
    from .opening import VideoFile, decoder_versions
    from .pictures import USUAL_RATE, ArrayFrame, Frame, VideoError
    from .writing import write_video
else:
    __getattr__, __dir__ = lazy(__name__)
