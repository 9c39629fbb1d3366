"""CRC-32, the checksum of rows and tables: zlib's, by the processor's own instructions where `isal` is installed."""

try:
    from isal.isal_zlib import crc32 as crc32_of
except ImportError:
    from zlib import crc32 as crc32_of

__all__ = ["crc32_of"]
