"""Values of every kind -> uint8 pixels, grey or RGB: depth, palette, transparency, colour space. Knows no files."""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from numerals.errors import PictureError
from numerals.spec import WHITE

MAX_PIXELS = 100_000_000
DEPTHS = (8, 10, 12, 14, 16)  # bits that whole numbers may have: the fewest that hold a picture's brightest pixel
UNUSED = 15  # of 255: colours of 16 bits that get no brighter have nothing in the byte that is kept
MOSTLY = 0.5  # share of opaque pixels over which the opaque part is paper, and not ink
GAP = 1.5  # times too large that a picture may be before it is brought down in bands
BAND = 4_000_000  # pixels of a band: a large picture is never twice in memory

Pixels = npt.NDArray[np.uint8]  # grey (h, w) or RGB (h, w, 3), in [0, 255]
GreyPixels = npt.NDArray[np.uint8]  # (h, w), in [0, 255]
Mask = npt.NDArray[np.uint8]  # (h, w), 1 where something is, 0 elsewhere


def has_deep_colours(image: Image.Image) -> bool:
    """Whether a picture that is not loaded yet has colours of 16 bits; Pillow keeps the upper byte of each."""
    return not image.mode.startswith("I") and any(";16" in str(tile) for tile in getattr(image, "tile", ()))


def bounded(image: Image.Image, longest: int, deep: bool = False) -> Pixels:
    """Any picture of Pillow's as uint8 (h, w) or RGB (h, w, 3), no side longer than `longest`.

    Args:
        deep: its colours had 16 bits.

    Raises:
        PictureError: values that are no pixels.
    """
    image.load()
    part = max(1, int(max(image.size) / (GAP * longest)))
    image = _reduced(image, part)
    if deep and np.asarray(image).max() <= UNUSED:
        raise PictureError("colours of 16 bits of which the upper ones are empty; save it with 8 bits")
    share = longest / max(image.size)
    if share < 1:
        image = image.resize([max(1, round(side * share)) for side in image.size], Image.Resampling.BOX)
    return on_paper(np.asarray(image)) if image.mode == "RGBA" else np.asarray(image)


def _reduced(image: Image.Image, part: int) -> Image.Image:
    """As mode L, RGB or RGBA, a whole number of times smaller; in bands, since it may have a hundred megapixels."""
    if part == 1:
        return _eight_bits(image, _whitest([image]))
    rows = part * max(1, BAND // (image.width * part))
    boxes = [(0, top, image.width, min(top + rows, image.height)) for top in range(0, image.height, rows)]
    white = _whitest(image.crop(box) for box in boxes)
    bands = [np.asarray(_eight_bits(image.crop(box), white).reduce(part)) for box in boxes]
    return Image.fromarray(np.concatenate(bands))


def _whitest(bands: Any) -> int:
    """Which value is white in a picture of more than 8 bits; WHITE in others."""
    found = [white_of(np.asarray(band)) for band in bands if band.mode.startswith(("I", "F"))]
    return max(found, default=WHITE)


def _eight_bits(image: Image.Image, white: int) -> Image.Image:
    """As mode L, RGB or RGBA. Of LAB the lightness, which Pillow has in [0, 255]."""
    if image.mode.startswith(("I", "F")):
        return Image.fromarray(_scaled(np.asarray(image), white))
    if image.mode == "LAB":
        return image.getchannel("L")
    if image.mode in ("LA", "La", "PA", "RGBa") or ("transparency" in image.info and image.mode != "RGBA"):
        return image.convert("RGBA")
    if image.mode in ("L", "RGB", "RGBA"):
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def on_paper(pixels: Pixels) -> Pixels:
    """RGBA uint8 (h, w, 4) laid on white; on black where what is opaque is little and bright, as white ink is."""
    alpha = pixels[..., 3:].astype(np.float32) / np.float32(WHITE)
    share = float(alpha.mean())
    bright = float((pixels[..., :3] * alpha).mean()) > 0.5 * WHITE * share
    paper = 0 if bright and 0 < share < MOSTLY else WHITE
    return (pixels[..., :3] * alpha + paper * (1 - alpha)).round().astype(np.uint8)  # type: ignore[no-any-return]


def from_array(array: npt.NDArray[Any]) -> Pixels:
    """An array as `picture.load_pixels` takes it -> uint8 (h, w) or (h, w, 3).

    Raises:
        PictureError: another shape or type, empty, or values that are no pixels.
    """
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        raise PictureError(f"an array of shape {array.shape} is no picture; give (h, w), (h, w, 3) or (h, w, 4)")
    if array.size == 0:
        raise PictureError(f"an array of shape {array.shape} has no pixels")
    if array.shape[0] * array.shape[1] > MAX_PIXELS:
        raise PictureError(f"an array of {array.shape[1]}x{array.shape[0]} pixels; at most {MAX_PIXELS:,} are read")
    if array.dtype.kind not in "buif":
        raise PictureError(f"an array of type {array.dtype} is no picture; give whole numbers, floats or truth values")
    levels = _scaled(array, white_of(array))
    return on_paper(levels) if levels.ndim == 3 and levels.shape[2] == 4 else levels


def white_of(array: npt.NDArray[Any]) -> int:
    """Which value is white, told by the largest: 1, or the most that 8, 10, 12, 14 or 16 bits hold.

    Raises:
        PictureError: values below 0, above 65535, or none.
    """
    low, high = float(array.min()), float(array.max())
    most = 2 ** DEPTHS[-1] - 1
    if not 0 <= low <= high <= most:  # NaN fails too
        raise PictureError(f"pixels from {low:g} to {high:g}; give 0 to 1, 0 to {WHITE} or 0 to {most}")
    return 1 if high <= 1 else next(2**depth - 1 for depth in DEPTHS if high < 2**depth)


def _scaled(array: npt.NDArray[Any], white: int) -> npt.NDArray[np.uint8]:
    """Values in [0, white] as uint8 in [0, 255]."""
    if white == WHITE and array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    return np.round(array.astype(np.float32) * np.float32(WHITE / white)).astype(np.uint8)


def downscale(pixels: Pixels, scale: float) -> Pixels:
    """Resize to `scale` (at most 1) times the size, each side at least one pixel, averaging areas."""
    size = [max(1, round(side * scale)) for side in pixels.shape[1::-1]]
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)


def shrink(pixels: Pixels, max_side: int) -> Pixels:
    """Downscale so that no side is longer than `max_side` pixels; smaller pictures are returned unchanged."""
    share = max_side / max(pixels.shape[:2])
    return pixels if share >= 1 else downscale(pixels, share)
