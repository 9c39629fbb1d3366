"""Where networks come from: one file a library (`torchvision.py`)."""

from ._base import Preprocessing, Source, source_of

__all__ = ["Preprocessing", "Source", "source_of"]
