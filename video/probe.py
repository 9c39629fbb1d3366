"""What a container claims of its file's length: never trusted, but what is missing is worth a word."""

from pathlib import Path


def bytes_missing(path: Path) -> int | None:
    """Bytes that the container says the file should still have: 0 when whole, None where the format is not known.

    AVI files say their size in each RIFF header; MP4 and MOV files are a row of boxes that each say theirs.
    """
    size = path.stat().st_size
    with open(path, "rb") as file:
        head = file.read(12)
        riff, boxes = head[:4] == b"RIFF", head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
        if not riff and not boxes:
            return None
        position = 0
        while position + 8 <= size:
            file.seek(position)
            head = file.read(16)
            if riff:
                length = 8 + int.from_bytes(head[4:8], "little")
                if head[:4] != b"RIFF":
                    return 0  # what follows the last RIFF list belongs to nobody
                length += length % 2
            else:
                length = int.from_bytes(head[:4], "big")
                if length == 1:
                    length = int.from_bytes(head[8:16], "big")
                elif length == 0:
                    return 0  # "to the end of the file"
                if length < 8:
                    return None
            position += length
        # A missing pad byte at the end harms nobody.
        return max(position - size, 0) if position - size > 1 else 0
