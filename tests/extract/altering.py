"""Streams of an extraction with other settings."""


def altered(streams, *, only=(), **values):
    """Streams with other settings, or some of them."""
    return {name: own.change(**values) for name, own in streams.items() if not only or name in only}
