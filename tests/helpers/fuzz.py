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
from contextlib import suppress
from functools import cache
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
from tests.helpers import picture_files
from tests.helpers.pictures import encoded

MAX_PIXELS = 2_000_000  # so that thousands of files that lie about their size are still read in minutes
MAX_SECONDS = 5.0  # of processor time per file
LAST_INPUT = Path("last-input")  # in the working directory
BINARY_NUMBERS = [b"\0", b"\xff", b"\x7f", b"\x80", b"\0\0", b"\xff\xff", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff"]
BINARY_NUMBERS += [b"\xff\xff\xff\x7f", b"\0\0\0\x80", b"\x80\0\0\0", b"\0\0\0\0", b"\0\0\x10\0", b"\x01\0\0\0"]
DECIMAL_NUMBERS = [b"0", b"1", b"2", b"5", b"-1", b"255", b"65536", b"2147483647", b"4294967296", b"1e38", b"0.0001"]


def small_files() -> Iterator[bytes]:
    """Yield pictures of 13 x 9 pixels in every format and mode; most of such a small file is its headers."""
    rng = np.random.default_rng(0)
    for mode, shape, dtype in (
        ("L", (9, 13), np.uint8),
        ("RGB", (9, 13, 3), np.uint8),
        ("RGBA", (9, 13, 4), np.uint8),
        ("I;16", (9, 13), np.uint16),
        ("CMYK", (9, 13, 4), np.uint8),
        ("1", (9, 13), np.uint8),
        ("P", (9, 13), np.uint8),
    ):
        pixels = rng.integers(0, 255, shape).astype(dtype)
        raw = "L" if mode in ("1", "P") else mode
        picture = Image.frombytes(raw, (13, 9), pixels.tobytes()).convert(mode)
        formats: list[tuple[str, dict[str, Any]]] = [
            ("PNG", {}), ("PNG", {"interlace": 1}), ("JPEG", {}), ("JPEG", {"progressive": True}), ("BMP", {}),
            ("GIF", {}), ("WEBP", {}), ("WEBP", {"lossless": True}), ("PPM", {}), ("TIFF", {}),
            *(("TIFF", {"compression": name}) for name in ("tiff_lzw", "tiff_deflate", "packbits", "jpeg", "group4")),
        ]  # fmt: skip
        for form, options in formats:
            with suppress(OSError, ValueError, KeyError, SystemError):  # the format does not have this mode
                yield encoded(picture, form, **options)


@cache
def small_pdfs() -> list[bytes]:
    """Return PDFs with lines, pictures, patterns, text, forms within forms, passwords and no pages."""
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
    drawn = picture_files.pdf([*picture_files.pdf_page(resources=resources, contents=contents), form])
    odd = [
        picture_files.pdf_bomb(30, 20),
        picture_files.locked_pdf(b""),
        picture_files.locked_pdf(b"secret"),
        picture_files.empty_pdf(),
    ]
    return [scanned.getvalue(), drawn, *odd]


@cache
def undamaged_files() -> list[bytes]:
    """Return files of every format but PDF."""
    larger = [*picture_files.readable().values(), *picture_files.refused().values()]
    return [*small_files(), *(file for file in larger if len(file) < 60_000 and not file.startswith(PDF))]


position = st.one_of(st.integers(0, 64), st.integers(0, 400), st.integers(0, 60_000))
edit = st.tuples(
    st.sampled_from(["over", "over", "over", "insert", "remove", "repeat", "cut"]),
    position,
    st.one_of(st.sampled_from(BINARY_NUMBERS), st.binary(min_size=1, max_size=8)),
)


@st.composite
def damaged_files(draw: st.DrawFn, files: list[bytes]) -> bytes:
    """Draw one of the files with up to six edits."""
    content = bytearray(draw(st.sampled_from(files)))
    for operation, at, value in draw(st.lists(edit, min_size=1, max_size=6)):
        at %= max(1, len(content))
        match operation:
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
    if content.startswith(PDF) and (numbers := [match.span() for match in re.finditer(rb"\d+", content)]):
        start, end = draw(st.sampled_from(numbers))
        content[start:end] = draw(st.sampled_from(DECIMAL_NUMBERS))
    if draw(st.integers(0, 20)) == 0:
        content += draw(st.sampled_from(files))  # a second file after the first
    return bytes(content)


def check_pages(content: bytes) -> None:
    """Load the first pages of a file, and check them."""
    for picture in islice(pages(content), 3):
        check_picture(picture)


def check_picture(picture: Picture) -> None:
    assert picture.pixels.dtype == np.uint8 and picture.pixels.ndim in (2, 3) and picture.pixels.size > 0
    assert max(picture.pixels.shape[:2]) <= MAX_SIDE and picture.pixels.shape[2:] in ((), (3,))


def check(content: bytes) -> None:
    """Check that a file is read, or refused in one line, in little time.

    Raises:
        AssertionError: the result is wrong. Errors other than PictureError that a decoder raises pass through.
    """
    LAST_INPUT.write_bytes(content)
    started = time.process_time()
    try:
        if content.startswith(PDF):
            check_pages(content)
        else:
            picture = load_picture(content, max_pixels=MAX_PIXELS)
            check_picture(picture)
            assert 0 < picture.width * picture.height <= MAX_PIXELS
        if content[:2] in (b"II", b"MM"):
            check_pages(content)
    except PictureError as error:
        assert "\n" not in str(error) and 5 < len(str(error)) < 300, str(error)
    assert time.process_time() - started < MAX_SECONDS


def main(count: int, first_seed: int, files: list[bytes]) -> None:
    warnings.simplefilter("ignore")
    checked = 0

    @seed(first_seed)
    @settings(max_examples=count, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(damaged_files(files))
    def fuzz(content: bytes) -> None:
        nonlocal checked
        checked += 1
        check(content)

    fuzz()
    sys.stdout.write(f"{checked} inputs\n")


if __name__ == "__main__":
    main(
        int(sys.argv[1]),
        int(sys.argv[2]) if len(sys.argv) > 2 else 0,
        small_pdfs() if "pdf" in sys.argv[3:] else undamaged_files(),
    )
