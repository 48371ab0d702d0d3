"""How many pages a TIFF has, by its own chain of directories. Knows nothing of what is in them.

Pillow follows that chain to its end before it gives the first page, and a chain may be as long as the file allows.
"""

import os
import struct
from typing import BinaryIO

MAX_PAGES = 1000
KINDS = {  # first four bytes -> byte order, and how offsets, counts and the length of an entry are written
    b"II*\0": ("<", "I", "H", 12), b"MM\0*": (">", "I", "H", 12),
    b"II+\0": ("<", "Q", "Q", 20), b"MM\0+": (">", "Q", "Q", 20),
}  # fmt: skip


def count_pages(file: BinaryIO) -> int:
    """How many pages; more than MAX_PAGES are MAX_PAGES + 1. 1 for what is no TIFF; a damaged page counts as well."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    kind = KINDS.get(file.read(4))
    if kind is None:
        return 1
    order, offset, count, length = kind
    file.seek(8 if offset == "Q" else 4)
    seen: set[int] = set()
    at = _number(file, order + offset)
    while at and at not in seen and len(seen) <= MAX_PAGES:
        seen.add(at)
        file.seek(min(at, size))  # beyond the end nothing is read; a BigTIFF may say more than a file can have
        file.seek(min(length * (_number(file, order + count) or 0), size), os.SEEK_CUR)
        at = _number(file, order + offset)
    return max(len(seen), 1)


def _number(file: BinaryIO, form: str) -> int | None:
    """The next number in the file, None at its end."""
    content = file.read(struct.calcsize(form))
    return int(struct.unpack(form, content)[0]) if len(content) == struct.calcsize(form) else None
