"""Load one picture: a path, bytes or an array to upright pixels of bounded size. Everything else is refused.

Sizes are checked before anything is decoded, so that a file cannot fill the memory.
"""

import io
import os
import re
import stat
import struct
import threading
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from numerals.errors import PictureError
from numerals.files import url_message
from numerals.read.pixels import MAX_PIXELS, Pixels, has_16_bit_colours, pixels_from_array, pixels_from_image
from numerals.spec import WHITE

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
PDF = b"%PDF-"  # how a PDF begins
MAX_FILE_BYTES = 320_000_000  # 100 megapixels in colour, uncompressed
MAX_WEBP_PIXELS = 40_000_000  # WebP's decoder holds four copies of its picture
MAX_PAGES = 1000  # of a file
MAX_SCANS = 1000  # of a progressive JPEG: each passes over the whole picture, and encoders write about ten
MAX_SIDE = 2048  # pixels; larger pictures are downscaled: half of a 12-megapixel photograph, which is 4000 to 4096 wide
MIN_DRAFT_SIZE = 0.95  # of MAX_SIDE that must be left when a JPEG is decoded at a half, a fourth or an eighth

EXIF_ORIENTATION = 0x0112  # the EXIF tag
CLOCKWISE, HALF, COUNTERCLOCKWISE = cv2.ROTATE_90_CLOCKWISE, cv2.ROTATE_180, cv2.ROTATE_90_COUNTERCLOCKWISE
TURNS = {  # EXIF orientation: the turn that undoes it, and whether the picture is mirrored afterwards
    2: (None, True), 3: (HALF, False), 4: (HALF, True), 5: (CLOCKWISE, True), 6: (CLOCKWISE, False),
    7: (COUNTERCLOCKWISE, True), 8: (COUNTERCLOCKWISE, False),
}  # fmt: skip
SIDEWAYS = (5, 6, 7, 8)  # EXIF orientations that swap width and height

TIFF_LAYOUTS = {  # first four bytes: byte order, struct codes of offsets and counts, and bytes of a directory's entry
    b"II*\0": ("<", "I", "H", 12), b"MM\0*": (">", "I", "H", 12),
    b"II+\0": ("<", "Q", "Q", 20), b"MM\0+": (">", "Q", "Q", 20),
}  # fmt: skip

NETPBM = re.compile(rb"P[0-6fFy]")  # how a PPM and its relatives begin
NETPBM_COMMENT = re.compile(rb"#[^\r\n]*[\r\n]")
MAX_NETPBM_HEADER_BYTES = 65536  # comments included: Pillow reads them byte by byte
JPEG, START_OF_SCAN, END_OF_IMAGE = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"
JPEG_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")  # those with a length; within a scan, \xff\x00 is data

_warnings_lock = threading.Lock()  # Python's warning filters are shared by all threads


@dataclass(frozen=True)
class Picture:
    """A loaded picture: its pixels, perhaps downscaled, and the size of the original."""

    pixels: Pixels  # upright, no side longer than MAX_SIDE
    width: int  # of the upright original, in pixels
    height: int


def load_pixels(source: Any) -> Pixels:
    """Load the upright pixels of a picture, uint8 grey (h, w) or RGB (h, w, 3) in [0, 255].

    Args:
        source: a path; the bytes of a picture file; an image of Pillow's; or an array (h, w), (h, w, 1), RGB (h, w, 3)
            or RGBA (h, w, 4) of integers of 8 to 16 bits, booleans, or floats in [0, 1] or [0, 255]. Of a file with
            several pages or an animation, the first picture.

    Raises:
        PictureError: not a picture, damaged, of a format or shape that is not supported, or over 100 megapixels.
    """
    if isinstance(source, np.ndarray) and source.dtype == np.uint8 and source.ndim == 2 and 1 < source.size < MAX_SIDE:
        return source if source.max() > 1 else source * np.uint8(WHITE)  # the shortest way for single digits
    return load_picture(source).pixels


def load_picture(source: Any, max_pixels: int = MAX_PIXELS) -> Picture:
    """Load a picture as `load_pixels` does, together with its original size.

    Args:
        source: as `load_pixels`; a loaded `Picture` is returned as it is.
        max_pixels: larger files are refused before they are decoded.

    Raises:
        PictureError: as `load_pixels`.
    """
    if isinstance(source, Picture):
        return source
    if isinstance(source, bytes | bytearray | memoryview | str | os.PathLike):
        with open_source(source) as (file, name):
            return load_file(file, name, max_pixels=max_pixels)
    if isinstance(source, Image.Image):
        return _decode(source, getattr(source, "filename", "") or "image", max_pixels)
    pixels = pixels_from_array(np.asarray(source))
    return Picture(pixels_from_image(Image.fromarray(pixels), MAX_SIDE), pixels.shape[1], pixels.shape[0])


def is_one_picture(source: Any) -> bool:
    """Return whether `source` is one picture, as `load_picture` takes it, and not several in a sequence or array.

    An array with three axes is one picture if its last axis can be one of colours: no picture is so narrow.
    """
    if isinstance(source, np.ndarray):
        return source.ndim < 3 or (source.ndim == 3 and source.shape[2] in (1, 3, 4))
    if isinstance(source, str | os.PathLike | bytes | bytearray | memoryview):
        return True
    return not isinstance(source, Iterable)  # Pillow's images, a Picture, and what is no picture at all


@contextmanager
def open_source(source: Any) -> Iterator[tuple[BinaryIO, str]]:
    """Open a path, or bytes as a file, and return it with the name that error messages use.

    Raises:
        PictureError: the file does not exist or is not a plain file; reading a pipe or a device might never end.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        yield io.BytesIO(source), f"{len(source)} bytes"
        return
    name = str(Path(source))
    try:
        mode = os.stat(name).st_mode
        if stat.S_ISDIR(mode):
            raise PictureError(f"{name}: a folder; give a picture")
        if not stat.S_ISREG(mode):
            raise PictureError(f"{name}: a pipe or a device, not a file; `numerals read -` reads standard input")
        file = open(name, "rb")  # noqa: SIM115 (errors of reading are not those of opening)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise PictureError(url_message(name) or f"{name}: cannot be read ({reason or error})") from error
    with file:
        yield file, name


def load_file(file: BinaryIO, name: str, page: int = 0, max_pixels: int = MAX_PIXELS) -> Picture:
    """Load the picture in an open file.

    Args:
        file: in binary mode.
        name: what error messages call it.
        page: of a TIFF with several, counted from 0.
        max_pixels: larger files are refused before they are decoded.

    Raises:
        PictureError: as `load_pixels`.
    """
    check_size(file, name)
    if count_pages(file) > MAX_PAGES:
        raise PictureError(f"{name}: over {MAX_PAGES} pages; at most {MAX_PAGES} are read")
    if not _has_short_netpbm_header(file):
        raise PictureError(f"{name}: damaged, or with over {MAX_NETPBM_HEADER_BYTES:,} bytes of comments")
    if (scans := _count_scans(file)) > MAX_SCANS:
        raise PictureError(f"{name}: a JPEG of {scans:,} scans; at most {MAX_SCANS:,} are read")
    file.seek(0)
    return _decode(file, name, max_pixels, page)


def check_size(file: BinaryIO, name: str) -> None:
    """Refuse an empty file, and one that is too large to hold in memory; rewind every other.

    Raises:
        PictureError: it has 0 or over MAX_FILE_BYTES bytes.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    if size == 0:
        raise PictureError(f"{name}: empty")
    if size > MAX_FILE_BYTES:
        raise PictureError(f"{name}: {size:,} bytes; at most {MAX_FILE_BYTES:,} are read")


def count_pages(file: BinaryIO) -> int:
    """Count the pages of a TIFF, damaged ones too, but not beyond MAX_PAGES + 1; 1 for every other format.

    Pillow follows a TIFF's chain of directories to the end before it gives the first page, and the chain may be as long
    as the file allows. So the chain is counted first, without reading what is in it.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    layout = TIFF_LAYOUTS.get(file.read(4))
    if layout is None:
        return 1
    order, offset_code, count_code, entry_bytes = layout
    file.seek(8 if offset_code == "Q" else 4)
    visited: set[int] = set()
    offset = _number(file, order + offset_code)
    while offset and offset not in visited and len(visited) <= MAX_PAGES:
        visited.add(offset)
        file.seek(min(offset, size))  # a BigTIFF may point far beyond the end, where nothing is read
        file.seek(min(entry_bytes * (_number(file, order + count_code) or 0), size), os.SEEK_CUR)
        offset = _number(file, order + offset_code)
    return max(len(visited), 1)


def _has_short_netpbm_header(file: BinaryIO) -> bool:
    """Return whether a PPM's header is complete within MAX_NETPBM_HEADER_BYTES; True for every other format."""
    file.seek(0)
    header = file.read(MAX_NETPBM_HEADER_BYTES)
    if not NETPBM.match(header):
        return True
    numbers = 2 if header[1:2] in b"14" else 3  # width, height and, unless there are only black and white, the maximum
    return re.match(rb"P\w+(?:\s+[-+.\d]+){%d}\s" % numbers, NETPBM_COMMENT.sub(b" ", header)) is not None


def _count_scans(file: BinaryIO) -> int:
    """Return the number of scans of a JPEG, or a little more if there are few; 0 for every other format."""
    file.seek(0)
    if file.read(2) != JPEG:
        return 0
    content = file.read()
    if (at_most := content.count(START_OF_SCAN)) <= MAX_SCANS:  # metadata, and what follows the picture, count too
        return at_most
    scans, marker = 0, JPEG_MARKER.search(content)
    while marker and marker[0] != END_OF_IMAGE:
        scans += marker[0] == START_OF_SCAN
        length = int.from_bytes(content[marker.end() : marker.end() + 2], "big")
        marker = JPEG_MARKER.search(content, marker.end() + length)
    return scans


def _number(file: BinaryIO, code: str) -> int | None:
    """Read the next number; None at the end of the file."""
    content = file.read(struct.calcsize(code))
    return int(struct.unpack(code, content)[0]) if len(content) == struct.calcsize(code) else None


def _decode(source: BinaryIO | Image.Image, name: str, max_pixels: int, page: int = 0) -> Picture:
    """Decode a picture; Pillow's formats raise errors of every kind, so all unknown ones mean that it is damaged.

    An image of Pillow's is the caller's: it stays open, and is decoded at its full size.
    """
    try:
        with nullcontext(source) if isinstance(source, Image.Image) else _open_image(source) as image:
            if page:
                image.seek(page)
            maximum = min(max_pixels, MAX_WEBP_PIXELS) if image.format == "WEBP" else max_pixels
            if image.width * image.height > maximum:
                raise PictureError(f"{image.width}x{image.height} pixels; at most {maximum:,} are read")
            deep_colours = has_16_bit_colours(image)
            orientation, (width, height) = _orientation(image), image.size
            if image is not source:
                image.draft(None, _draft_size(width, height))
            pixels = _upright(pixels_from_image(image, MAX_SIDE, deep_colours), orientation)
            return Picture(pixels, *((height, width) if orientation in SIDEWAYS else (width, height)))
    except PictureError as error:
        raise PictureError(f"{name}: {error}") from error
    except Image.DecompressionBombError as error:
        raise PictureError(f"{name}: over {MAX_PIXELS:,} pixels; at most {MAX_PIXELS:,} pixels are read") from error
    except MemoryError as error:
        raise PictureError(f"{name}: too large for this machine's memory") from error
    except Exception as error:
        raise PictureError(f"{name}: damaged or cut off ({_first_line(error)})") from error


def _unsupported(file: BinaryIO) -> str:
    """Describe a file that Pillow does not recognise."""
    file.seek(0)
    if file.read(1024).lstrip().startswith(PDF):
        return "a PDF; use `numerals read`, or numerals.read.pages, which yields its pages for Reader.read"
    return f"not a supported picture; give {', '.join(FORMATS)} or PDF"


def _open_image(file: BinaryIO) -> Image.Image:
    """Open a file with Pillow, without its warnings about large and odd pictures: what is bad is refused."""
    with _warnings_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return Image.open(file, formats=FORMATS)
        except UnidentifiedImageError as error:
            raise PictureError(_unsupported(file)) from error


def _draft_size(width: int, height: int) -> tuple[int, int]:
    """Return the size at which to decode a JPEG: divided by 8, 4 or 2 if nearly MAX_SIDE pixels are left."""
    divisor = next((n for n in (8, 4, 2) if max(width, height) >= n * MIN_DRAFT_SIZE * MAX_SIDE), 1)
    return max(1, width // divisor), max(1, height // divisor)


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8; 1, which is upright, if the EXIF data are missing or unreadable.

    Pillow itself turns a TIFF, and reports the size of the turned picture.
    """
    try:
        with _warnings_lock, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            orientation = 1 if image.format == "TIFF" else image.getexif().get(EXIF_ORIENTATION, 1)
    except Exception:  # noqa: BLE001 (EXIF is a TIFF inside the picture, with all that can be wrong with one)
        orientation = 1
    return orientation if orientation in TURNS else 1


def _upright(pixels: Pixels, orientation: int) -> Pixels:
    turn, mirrored = TURNS.get(orientation, (None, False))
    turned = pixels if turn is None else cv2.rotate(pixels, turn)
    return np.asarray(cv2.flip(turned, 1) if mirrored else turned, np.uint8)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:100]
