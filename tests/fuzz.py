"""Damaged picture files by the thousand: `python -m tests.fuzz COUNT [SEED]`. Each is read or refused in one line.

Whole files of every format are cut, spliced and changed, mostly where the numbers are that a decoder believes. What a
crash leaves behind is the file that was being read: it is written before.
"""

import io
import sys
import time
import warnings
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from PIL import Image

from numerals.errors import PictureError
from numerals.read.pages import pages
from numerals.read.picture import LONGEST, PDF, load_sized
from tests import kinds

MOST_PIXELS = 2_000_000  # so that a file may lie about its size, and thousands of them are still read in minutes
SECONDS = 5.0  # of the processor's time that a file may take at most
LAST = Path("last-input")  # in the folder where it is started
NUMBERS = [b"\0", b"\xff", b"\x7f", b"\x80", b"\0\0", b"\xff\xff", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff"]
NUMBERS += [b"\xff\xff\xff\x7f", b"\0\0\0\x80", b"\x80\0\0\0", b"\0\0\0\0", b"\0\0\x10\0", b"\x01\0\0\0"]


def small_files() -> Iterator[bytes]:
    """A few dozen pixels in every format and mode, which leaves more of a file to its headers."""
    chance = np.random.default_rng(0)
    for mode, shape, sort in (
        ("L", (9, 13), np.uint8),
        ("RGB", (9, 13, 3), np.uint8),
        ("RGBA", (9, 13, 4), np.uint8),
        ("I;16", (9, 13), np.uint16),
        ("CMYK", (9, 13, 4), np.uint8),
        ("1", (9, 13), np.uint8),
        ("P", (9, 13), np.uint8),
    ):
        pixels = chance.integers(0, 255, shape).astype(sort)
        raw = "L" if mode in ("1", "P") else mode
        picture = Image.frombytes(raw, (13, 9), pixels.tobytes()).convert(mode)
        kinds_of_file: list[tuple[str, dict[str, Any]]] = [
            ("PNG", {}), ("PNG", {"interlace": 1}), ("JPEG", {}), ("JPEG", {"progressive": True}), ("BMP", {}),
            ("GIF", {}), ("WEBP", {}), ("WEBP", {"lossless": True}), ("PPM", {}), ("TIFF", {}),
            *(("TIFF", {"compression": kind}) for kind in ("tiff_lzw", "tiff_deflate", "packbits", "jpeg", "group4")),
        ]  # fmt: skip
        for form, options in kinds_of_file:
            file = io.BytesIO()
            try:
                picture.save(file, form, **options)
            except (OSError, ValueError, KeyError, SystemError):
                continue  # not in this mode
            yield file.getvalue()


def whole_files() -> list[bytes]:
    larger = {**kinds.readable(), **kinds.refused()}
    return [*small_files(), *(each for each in larger.values() if len(each) < 60_000 and not each.startswith(PDF))]


WHOLE = whole_files()
place = st.one_of(st.integers(0, 64), st.integers(0, 400), st.integers(0, 60_000))
edit = st.tuples(
    st.sampled_from(["over", "over", "over", "insert", "remove", "repeat", "cut"]),
    place,
    st.one_of(st.sampled_from(NUMBERS), st.binary(min_size=1, max_size=8)),
)


@st.composite
def damaged_files(draw: st.DrawFn) -> bytes:
    content = bytearray(draw(st.sampled_from(WHOLE)))
    for what, at, value in draw(st.lists(edit, min_size=1, max_size=6)):
        at %= max(1, len(content))
        match what:
            case "over":
                content[at : at + len(value)] = value
            case "insert":
                content[at:at] = value
            case "remove":
                del content[at : at + len(value)]
            case "repeat":
                content[at:at] = content[at : at + 16 * len(value)]
            case "cut":
                del content[max(at, 8) :]
    if draw(st.integers(0, 20)) == 0:
        content += draw(st.sampled_from(WHOLE))  # two in one
    return bytes(content)


def check(content: bytes) -> None:
    """Raises AssertionError, or whatever a decoder should not have raised."""
    LAST.write_bytes(content)
    started = time.process_time()
    try:
        loaded = load_sized(content, most_pixels=MOST_PIXELS)
        assert loaded.pixels.dtype == np.uint8 and loaded.pixels.ndim in (2, 3) and loaded.pixels.size > 0
        assert max(loaded.pixels.shape[:2]) <= LONGEST and loaded.pixels.shape[2:] in ((), (3,))
        assert 0 < loaded.width * loaded.height <= MOST_PIXELS
        if content[:2] in (b"II", b"MM"):
            for _ in islice(pages(content), 3):
                pass
    except PictureError as error:
        assert "\n" not in str(error) and 5 < len(str(error)) < 300, str(error)
    assert time.process_time() - started < SECONDS


def main(count: int, start: int) -> None:
    warnings.simplefilter("ignore")

    @seed(start)
    @settings(max_examples=count, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(damaged_files())
    def fuzz(content: bytes) -> None:
        seen.append(1)
        check(content)

    seen: list[int] = []
    fuzz()
    sys.stdout.write(f"{len(seen)} inputs\n")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)
