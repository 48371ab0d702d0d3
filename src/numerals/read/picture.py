"""A path, bytes or an array -> one upright picture of bounded size; refuses others. Knows nothing about ink."""

import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from numerals.errors import PictureError
from numerals.spec import WHITE

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
MOST_PIXELS = 100_000_000
LONGEST = 2048  # pixels a side that a picture is brought down to: half of a 12-megapixel photograph, 4000 to 4096 wide
NEARLY = 0.95  # of that is left, at least, where a JPEG is decoded at a half, a fourth or an eighth of its size
ORIENTATION = 0x0112  # EXIF's tag: how the camera was held
CLOCKWISE, HALF, BACK = cv2.ROTATE_90_CLOCKWISE, cv2.ROTATE_180, cv2.ROTATE_90_COUNTERCLOCKWISE
TURNS = {  # orientation -> the turn that undoes it, and whether it is then mirrored
    2: (None, True), 3: (HALF, False), 4: (HALF, True), 5: (CLOCKWISE, True), 6: (CLOCKWISE, False),
    7: (BACK, True), 8: (BACK, False),
}  # fmt: skip
SIDEWAYS = (5, 6, 7, 8)
DEEP = 65535  # white in 16 bits
MOSTLY = 0.5  # share of opaque pixels over which the opaque part is paper, and not ink

Pixels = npt.NDArray[np.uint8]  # (h, w) or (h, w, 3)


@dataclass(frozen=True)
class Loaded:
    """A picture as it is worked on, and how large it was."""

    pixels: Pixels
    width: int  # of the upright original
    height: int


def load(source: Any, longest: int = LONGEST) -> Pixels:
    """The upright picture, uint8 (h, w) or (h, w, 3) RGB in [0, 255], no side longer than `longest`.

    Args:
        source: a path, the bytes of a picture file, or an array: (h, w), (h, w, 1), RGB (h, w, 3) or RGBA (h, w, 4);
            whole numbers to 255 or 65535, truth values, or floats in [0, 1] or [0, 255].

    Raises:
        PictureError: no picture, damaged, of a format or a shape that is not read, or over 100 megapixels.
    """
    if isinstance(source, np.ndarray) and source.dtype == np.uint8 and source.ndim == 2 and 1 < source.size < longest:
        return source if source.max() > 1 else source * np.uint8(WHITE)
    return load_sized(source, longest).pixels


def load_sized(source: Any, longest: int = LONGEST, name: str | None = None, frame: int = 0) -> Loaded:
    """As `load`, with the size of the original; `name` is what a message calls bytes, `frame` which page of a TIFF."""
    if isinstance(source, bytes | bytearray | memoryview):
        return _decode(io.BytesIO(bytes(source)), name or f"{len(source)} bytes", longest, frame)
    if isinstance(source, str | os.PathLike):
        return _open(Path(source), longest)
    pixels = from_array(np.asarray(source))
    return Loaded(_bounded(Image.fromarray(pixels), longest), pixels.shape[1], pixels.shape[0])


def _open(path: Path, longest: int) -> Loaded:
    try:
        with open(path, "rb") as file:
            return _decode(file, str(path), longest)
    except OSError as error:
        raise PictureError(f"{path}: cannot be read ({error.strerror or error})") from error


def count_frames(content: bytes) -> int:
    """How many pictures a TIFF holds; 1 where that cannot be told."""
    try:
        with Image.open(io.BytesIO(content), formats=("TIFF",)) as image:
            return int(getattr(image, "n_frames", 1))
    except (OSError, ValueError, SyntaxError):  # damaged: decoding says how
        return 1


def _decode(file: Any, name: str, longest: int, frame: int = 0) -> Loaded:
    """Pillow's formats name their faults by errors of every kind, so all of them mean: damaged."""
    try:
        with Image.open(file, formats=FORMATS) as image:
            if frame:
                image.seek(frame)
            if image.width * image.height > MOST_PIXELS:
                raise PictureError(f"{name}: {image.width}x{image.height} pixels; at most {MOST_PIXELS:,} are read")
            upright, (width, height) = _orientation(image), image.size
            image.draft(None, _drafted(width, height, longest))
            pixels = _turned(_bounded(image, longest), upright)
            return Loaded(pixels, *((height, width) if upright in SIDEWAYS else (width, height)))
    except PictureError:
        raise
    except Image.DecompressionBombError as error:
        raise PictureError(f"{name}: at most {MOST_PIXELS:,} pixels are read, and it has more") from error
    except UnidentifiedImageError as error:
        raise PictureError(f"{name}: not a picture that is read; give {', '.join(FORMATS)}") from error
    except MemoryError as error:
        raise PictureError(f"{name}: too large for this machine's memory") from error
    except Exception as error:
        raise PictureError(f"{name}: damaged or cut off ({_line(error)})") from error


def _drafted(width: int, height: int, longest: int) -> tuple[int, int]:
    """The size to decode a JPEG at: divided as often as JPEG can, while nearly `longest` pixels are left."""
    part = next((part for part in (8, 4, 2) if max(width, height) >= part * NEARLY * longest), 1)
    return max(1, width // part), max(1, height // part)


def _orientation(image: Image.Image) -> int:
    """EXIF's orientation, 1 to 8; 1 is upright. A TIFF is turned by Pillow itself, and its size is the turned one."""
    return 1 if image.format == "TIFF" else image.getexif().get(ORIENTATION, 1)


def _turned(pixels: Pixels, orientation: int) -> Pixels:
    """The pixels turned upright; an orientation that EXIF does not have means upright."""
    turn, mirrored = TURNS.get(orientation, (None, False))
    turned = pixels if turn is None else cv2.rotate(pixels, turn)
    return np.asarray(cv2.flip(turned, 1) if mirrored else turned, np.uint8)


def _bounded(image: Image.Image, longest: int) -> Pixels:
    """Any mode of Pillow's as uint8 (h, w) or (h, w, 3), shrunk to the bound."""
    image = _eight_bits(image)
    share = longest / max(image.size)
    if share < 1:
        image = image.resize([max(1, round(s * share)) for s in image.size], Image.Resampling.BOX, reducing_gap=2)
    return on_paper(np.asarray(image)) if image.mode == "RGBA" else np.asarray(image)


def _eight_bits(image: Image.Image) -> Image.Image:
    """As mode L, RGB or RGBA."""
    if image.mode in ("L", "RGB", "RGBA"):
        return image.convert("RGBA") if "transparency" in image.info and image.mode != "RGBA" else image
    if image.mode == "1":
        return image.convert("L")
    if image.mode.startswith(("I", "F")):
        return Image.fromarray(from_array(np.asarray(image)))
    if image.mode in ("LA", "La", "PA", "RGBa") or "transparency" in image.info:
        return image.convert("RGBA")
    return image.convert("RGB")


def on_paper(pixels: Pixels) -> Pixels:
    """RGBA uint8 (h, w, 4) laid on white; on black where what is opaque is little and bright, as white ink is."""
    alpha = pixels[..., 3:].astype(np.float32) / np.float32(WHITE)
    share = float(alpha.mean())
    bright = float((pixels[..., :3] * alpha).mean()) > 0.5 * WHITE * share
    paper = 0 if bright and 0 < share < MOSTLY else WHITE
    return (pixels[..., :3] * alpha + paper * (1 - alpha)).round().astype(np.uint8)  # type: ignore[no-any-return]


def from_array(array: npt.NDArray[Any]) -> Pixels:
    """An array as `load` takes it -> uint8 (h, w) or (h, w, 3).

    Raises:
        PictureError: another shape or type, empty, or values that are no pixels.
    """
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        raise PictureError(f"an array of shape {array.shape} is no picture; give (h, w), (h, w, 3) or (h, w, 4)")
    if array.size == 0:
        raise PictureError(f"an array of shape {array.shape} has no pixels")
    if array.shape[0] * array.shape[1] > MOST_PIXELS:
        raise PictureError(f"an array of {array.shape[1]}x{array.shape[0]} pixels; at most {MOST_PIXELS:,} are read")
    if array.dtype.kind not in "buif":
        raise PictureError(f"an array of type {array.dtype} is no picture; give whole numbers, floats or truth values")
    levels = _levels(array)
    return on_paper(levels) if levels.ndim == 3 and levels.shape[2] == 4 else levels


def _levels(array: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Values as uint8 in [0, 255]; their range tells which white they mean: 1, 255 or 65535."""
    low, high = float(array.min()), float(array.max())
    if not 0 <= low <= high <= DEEP:  # NaN fails too
        raise PictureError(f"pixels from {low:g} to {high:g}; give 0 to 1, 0 to {WHITE} or 0 to {DEEP}")
    if array.dtype == np.uint16 and high > WHITE:
        return (array // 257).astype(np.uint8)
    white = 1 if high <= 1 else WHITE if high <= WHITE else DEEP
    if white == WHITE and array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    return np.round(array.astype(np.float32) * np.float32(WHITE / white)).astype(np.uint8)


def _line(error: BaseException) -> str:
    """An error's message, cut to a line."""
    return (str(error).splitlines() or [type(error).__name__])[0][:100]
