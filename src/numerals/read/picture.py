"""A path, bytes or an array -> one upright picture of bounded size; refuses others. Knows nothing about ink."""

import io
import os
import stat
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from numerals.errors import PictureError
from numerals.read.pixels import MAX_PIXELS, Pixels, bounded, from_array, has_deep_colours
from numerals.read.tiff import MAX_PAGES, count_pages
from numerals.spec import WHITE

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
PDF = b"%PDF-"
MAX_FILE_BYTES = 320_000_000  # of a file: a hundred megapixels in colour, not compressed
LARGEST_WEBP = 40_000_000  # pixels: WebP's decoder holds four copies of its picture
MAX_SIDE = 2048  # pixels a side that a picture is brought down to: half of a 12-megapixel photograph, 4000 to 4096 wide
NEARLY = 0.95  # of that is left, at least, where a JPEG is decoded at a half, a fourth or an eighth of its size
ORIENTATION = 0x0112  # EXIF's tag: how the camera was held
CLOCKWISE, HALF, BACK = cv2.ROTATE_90_CLOCKWISE, cv2.ROTATE_180, cv2.ROTATE_90_COUNTERCLOCKWISE
TURNS = {  # orientation -> the turn that undoes it, and whether it is then mirrored
    2: (None, True), 3: (HALF, False), 4: (HALF, True), 5: (CLOCKWISE, True), 6: (CLOCKWISE, False),
    7: (BACK, True), 8: (BACK, False),
}  # fmt: skip
SIDEWAYS = (5, 6, 7, 8)

_quiet = threading.Lock()  # Python's filters of warnings are one for all threads


@dataclass(frozen=True)
class Picture:
    """A picture as it is worked on, and how large it was."""

    pixels: Pixels
    width: int  # of the upright original
    height: int


def load_pixels(source: Any, longest: int = MAX_SIDE) -> Pixels:
    """The upright picture, uint8 (h, w) or (h, w, 3) RGB in [0, 255], no side longer than `longest`.

    Args:
        source: a path, the bytes of a picture file, or an array: (h, w), (h, w, 1), RGB (h, w, 3) or RGBA (h, w, 4);
            whole numbers of 8 to 16 bits, truth values, or floats in [0, 1] or [0, 255].

    Raises:
        PictureError: no picture, damaged, of a format or a shape that is not read, or over 100 megapixels.
    """
    if isinstance(source, np.ndarray) and source.dtype == np.uint8 and source.ndim == 2 and 1 < source.size < longest:
        return source if source.max() > 1 else source * np.uint8(WHITE)
    return load_picture(source, longest).pixels


def load_picture(source: Any, longest: int = MAX_SIDE, max_pixels: int = MAX_PIXELS) -> Picture:
    """As `load_pixels`, with the size of the original. Of a file of several pages or an animation, the first."""
    if isinstance(source, Picture):
        return source
    if isinstance(source, bytes | bytearray | memoryview | str | os.PathLike):
        with opened(source) as (file, name):
            return load_file(file, name, longest, max_pixels=max_pixels)
    pixels = from_array(np.asarray(source))
    return Picture(bounded(Image.fromarray(pixels), longest), pixels.shape[1], pixels.shape[0])


@contextmanager
def opened(source: Any) -> Iterator[tuple[BinaryIO, str]]:
    """A path's file, or bytes as one, and what messages call it.

    Raises:
        PictureError: there is none, it is empty, or no plain file: reading a pipe or a device may never end.
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
        why = error.strerror if isinstance(error, OSError) else None
        raise PictureError(f"{name}: cannot be read ({why or error})") from error
    with file:
        yield file, name


def load_file(
    file: BinaryIO, name: str, longest: int = MAX_SIDE, frame: int = 0, max_pixels: int = MAX_PIXELS
) -> Picture:
    """The picture in an open file, of a TIFF its page `frame`, from 0; `name` is what messages call it.

    Raises:
        PictureError: as `load_pixels`.
    """
    size = file.seek(0, os.SEEK_END)
    if size == 0:
        raise PictureError(f"{name}: empty")
    if size > MAX_FILE_BYTES:
        raise PictureError(f"{name}: {size:,} bytes; at most {MAX_FILE_BYTES:,} are read")
    pages = count_pages(file)
    if pages > MAX_PAGES:
        raise PictureError(f"{name}: over {MAX_PAGES} pages; at most {MAX_PAGES} are read")
    file.seek(0)
    return _decode(file, name, longest, frame, max_pixels)


def _decode(file: BinaryIO, name: str, longest: int, frame: int, max_pixels: int) -> Picture:
    """Pillow's formats name their faults by errors of every kind, so all of them mean: damaged."""
    try:
        with _image(file) as image:
            if frame:
                image.seek(frame)
            most = min(max_pixels, LARGEST_WEBP) if image.format == "WEBP" else max_pixels
            if image.width * image.height > most:
                raise PictureError(f"{image.width}x{image.height} pixels; at most {most:,} are read")
            deep = has_deep_colours(image)
            upright, (width, height) = _orientation(image), image.size
            image.draft(None, _drafted(width, height, longest))
            pixels = _turned(bounded(image, longest, deep), upright)
            return Picture(pixels, *((height, width) if upright in SIDEWAYS else (width, height)))
    except PictureError as error:
        raise PictureError(f"{name}: {error}") from error
    except Image.DecompressionBombError as error:
        raise PictureError(f"{name}: at most {MAX_PIXELS:,} pixels are read, and it has more") from error
    except UnidentifiedImageError as error:
        raise PictureError(f"{name}: {_stranger(file)}") from error
    except MemoryError as error:
        raise PictureError(f"{name}: too large for this machine's memory") from error
    except Exception as error:
        raise PictureError(f"{name}: damaged or cut off ({_line(error)})") from error


def _stranger(file: BinaryIO) -> str:
    """What a file is that Pillow does not know."""
    file.seek(0)
    if file.read(1024).lstrip().startswith(PDF):
        return "a PDF; `numerals read` reads its pages, and numerals.read.pages yields them for Reader.read"
    return f"not a picture that is read; give {', '.join(FORMATS)} or PDF"


def _image(file: BinaryIO) -> Image.Image:
    """The file opened by Pillow, whose warnings of large and odd pictures nobody needs: what is bad is refused."""
    with _quiet, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Image.open(file, formats=FORMATS)


def _drafted(width: int, height: int, longest: int) -> tuple[int, int]:
    """The size to decode a JPEG at: divided as often as JPEG can, while nearly `longest` pixels are left."""
    part = next((part for part in (8, 4, 2) if max(width, height) >= part * NEARLY * longest), 1)
    return max(1, width // part), max(1, height // part)


def _orientation(image: Image.Image) -> int:
    """EXIF's orientation, 1 to 8; 1 is upright, and what is meant where EXIF cannot be read.

    A TIFF is turned by Pillow itself, and its size is the turned one.
    """
    try:
        with _quiet, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = 1 if image.format == "TIFF" else image.getexif().get(ORIENTATION, 1)
    except Exception:  # noqa: BLE001 (EXIF is a TIFF in the picture, with all that can be wrong with one)
        found = 1
    return found if found in TURNS else 1


def _turned(pixels: Pixels, orientation: int) -> Pixels:
    """The pixels turned upright."""
    turn, mirrored = TURNS.get(orientation, (None, False))
    turned = pixels if turn is None else cv2.rotate(pixels, turn)
    return np.asarray(cv2.flip(turned, 1) if mirrored else turned, np.uint8)


def _line(error: BaseException) -> str:
    """An error's message, cut to a line."""
    return (str(error).splitlines() or [type(error).__name__])[0][:100]
