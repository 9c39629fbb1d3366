"""avr: two-stream video action recognition, offline in two stages (extract once; heads and fusion on the store)."""

__version__ = "0.1.0"
