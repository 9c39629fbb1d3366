"""What the networks look at: one file a stream, found by its name (`flow.py` = `--stream flow`)."""

from ._base import Stream, open_streams, stack_images, stream_class

__all__ = ["Stream", "open_streams", "stack_images", "stream_class"]
