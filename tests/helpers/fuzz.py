"""Feed thousands of damaged picture files to the decoders; each must be read or refused in one line.

Usage: `python -m tests.helpers.fuzz COUNT [SEED [picture|pdf]]`. Valid files of every format, or with `pdf` PDFs alone,
are cut, spliced and changed, mostly in the size fields that a decoder trusts. Each input is written to `last-input`
before it is read, so a crash leaves the file that caused it.
"""

import io
import re
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
from numerals.read.picture import MAX_SIDE, PDF, Picture, load_picture
from tests.helpers import kinds

MAX_PIXELS = 2_000_000  # so that a file may lie about its size, and thousands of them are still read in minutes
SECONDS = 5.0  # of the processor's time that a file may take at most
LAST = Path("last-input")  # in the folder where it is started
NUMBERS = [b"\0", b"\xff", b"\x7f", b"\x80", b"\0\0", b"\xff\xff", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff"]
NUMBERS += [b"\xff\xff\xff\x7f", b"\0\0\0\x80", b"\x80\0\0\0", b"\0\0\0\0", b"\0\0\x10\0", b"\x01\0\0\0"]
WRITTEN = [b"0", b"1", b"2", b"5", b"-1", b"255", b"65536", b"2147483647", b"4294967296", b"1e38", b"0.0001"]


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


def small_pdfs() -> list[bytes]:
    """Pages of lines, pictures, patterns, text and forms within forms, and what else there is to a PDF."""
    scanned = io.BytesIO()
    sheets = [Image.new(mode, (13, 9), 1) for mode in ("L", "RGB", "CMYK", "1", "P")]
    sheets[0].save(scanned, "PDF", save_all=True, append_images=sheets[1:])
    resources = (
        b"/Font << /F << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> /XObject << /X 5 0 R >> "
        b"/Shading << /S << /ShadingType 2 /ColorSpace /DeviceRGB /Coords [0 0 400 200] /Function << "
        b"/FunctionType 2 /Domain [0 1] /C0 [1 0 0] /C1 [0 0 1] /N 1 >> >> >> "
        b"/ExtGState << /G << /ca .5 /BM /Multiply >> >>"
    )
    contents = b"q /G gs 3 w 10 10 m 200 90 l 300 20 90 120 40 40 c S BT /F 40 Tf 30 60 Td (0571) Tj ET /X Do Q /S sh"
    form = (
        b"<< /Type /XObject /Subtype /Form /BBox [0 0 90 90] /Matrix [2 0 0 2 0 0] "
        b"/Resources << /XObject << /X 5 0 R >> >> /Length 33 >>\nstream\n5 5 40 40 re f q 9 0 0 9 0 0 cm Q\nendstream"
    )
    drawn = kinds.pdf([*kinds.pdf_page(resources=resources, contents=contents), form])
    odd = [kinds.pdf_bomb(30, 20), kinds.locked_pdf(b""), kinds.locked_pdf(b"secret"), kinds.empty_pdf()]
    return [scanned.getvalue(), drawn, *odd]


def whole_files() -> list[bytes]:
    larger = {**kinds.readable(), **kinds.refused()}
    return [*small_files(), *(each for each in larger.values() if len(each) < 60_000 and not each.startswith(PDF))]


WHOLE, PDFS = whole_files(), small_pdfs()
place = st.one_of(st.integers(0, 64), st.integers(0, 400), st.integers(0, 60_000))
edit = st.tuples(
    st.sampled_from(["over", "over", "over", "insert", "remove", "repeat", "cut"]),
    place,
    st.one_of(st.sampled_from(NUMBERS), st.binary(min_size=1, max_size=8)),
)


@st.composite
def damaged_files(draw: st.DrawFn, whole: list[bytes]) -> bytes:
    content = bytearray(draw(st.sampled_from(whole)))
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
    if content.startswith(PDF) and (numbers := [found.span() for found in re.finditer(rb"\d+", content)]):
        start, end = draw(st.sampled_from(numbers))
        content[start:end] = draw(st.sampled_from(WRITTEN))
    if draw(st.integers(0, 20)) == 0:
        content += draw(st.sampled_from(whole))  # two in one
    return bytes(content)


def draw_pages(content: bytes) -> None:
    """The first pages of a file of several."""
    for loaded in islice(pages(content), 3):
        sound(loaded)


def sound(loaded: Picture) -> None:
    assert loaded.pixels.dtype == np.uint8 and loaded.pixels.ndim in (2, 3) and loaded.pixels.size > 0
    assert max(loaded.pixels.shape[:2]) <= MAX_SIDE and loaded.pixels.shape[2:] in ((), (3,))


def check(content: bytes) -> None:
    """Raises AssertionError, or whatever a decoder should not have raised."""
    LAST.write_bytes(content)
    started = time.process_time()
    try:
        if content.startswith(PDF):
            draw_pages(content)
        else:
            loaded = load_picture(content, max_pixels=MAX_PIXELS)
            sound(loaded)
            assert 0 < loaded.width * loaded.height <= MAX_PIXELS
        if content[:2] in (b"II", b"MM"):
            draw_pages(content)
    except PictureError as error:
        assert "\n" not in str(error) and 5 < len(str(error)) < 300, str(error)
    assert time.process_time() - started < SECONDS


def main(count: int, start: int, whole: list[bytes]) -> None:
    warnings.simplefilter("ignore")

    @seed(start)
    @settings(max_examples=count, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(damaged_files(whole))
    def fuzz(content: bytes) -> None:
        seen.append(1)
        check(content)

    seen: list[int] = []
    fuzz()
    sys.stdout.write(f"{len(seen)} inputs\n")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0, PDFS if "pdf" in sys.argv[3:] else WHOLE)
