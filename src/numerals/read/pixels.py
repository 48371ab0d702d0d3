"""Convert values of any kind to uint8 pixels, grey or RGB: bit depth, palette, transparency, colour space, size."""

from collections.abc import Iterable
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from numerals.errors import PictureError
from numerals.spec import WHITE

MAX_PIXELS = 100_000_000
BIT_DEPTHS = (8, 10, 12, 14, 16)  # of whole numbers; a picture has the smallest that holds its brightest pixel
MIN_BRIGHTEST = 16  # of 255: in darker pictures of 16-bit colours, the byte that Pillow keeps holds next to nothing
MAX_INK_SHARE = 0.5  # bright opaque pixels that cover less than this share are white ink, not paper
MIN_REDUCTION = 1.5  # pictures this many times larger than needed are first reduced in bands
BAND_PIXELS = 4_000_000  # in each band, so that a large picture is never in memory twice

Pixels = npt.NDArray[np.uint8]  # grey (h, w) or RGB (h, w, 3), in [0, 255]
GreyPixels = npt.NDArray[np.uint8]  # (h, w), in [0, 255]
Mask = npt.NDArray[np.uint8]  # (h, w), 1 inside and 0 outside
DigitImage = npt.NDArray[np.uint8]  # (28, 28), white ink on black, in MNIST's form: see `normalise`
DigitImages = npt.NDArray[np.uint8]  # (n, 28, 28)


def has_16_bit_colours(image: Image.Image) -> bool:
    """Return whether a picture that is not loaded yet has 16-bit colours, of which Pillow keeps the upper byte."""
    return not image.mode.startswith("I") and any(";16" in str(tile) for tile in getattr(image, "tile", ()))


def pixels_from_image(image: Image.Image, max_side: int, deep_colours: bool = False) -> Pixels:
    """Convert any Pillow picture to pixels.

    Args:
        image: a picture of any mode.
        max_side: larger pictures are downscaled, so that no side has more pixels.
        deep_colours: the file has 16-bit colours, see `has_16_bit_colours`.

    Raises:
        PictureError: the values are not pixels.
    """
    image.load()
    factor = max(1, int(max(image.size) / (MIN_REDUCTION * max_side)))
    image = _reduced(image, factor)
    if deep_colours and np.asarray(image).max() < MIN_BRIGHTEST:
        raise PictureError("colours of 16 bits, but the upper 8 bits are empty; save it with 8 bits")
    scale = max_side / max(image.size)
    if scale < 1:
        image = image.resize([max(1, round(side * scale)) for side in image.size], Image.Resampling.BOX)
    return without_transparency(np.asarray(image)) if image.mode == "RGBA" else np.asarray(image)


def _reduced(image: Image.Image, factor: int) -> Image.Image:
    """Convert to mode L, RGB or RGBA and reduce by a whole factor, in bands, since it may have 100 megapixels."""
    if factor == 1:
        return _eight_bits(image, _white_of_bands([image]))
    band_height = factor * max(1, BAND_PIXELS // (image.width * factor))
    tops = range(0, image.height, band_height)
    boxes = [(0, top, image.width, min(top + band_height, image.height)) for top in tops]
    white = _white_of_bands(image.crop(box) for box in boxes)
    bands = [np.asarray(_eight_bits(image.crop(box), white).reduce(factor)) for box in boxes]
    return Image.fromarray(np.concatenate(bands))


def _white_of_bands(bands: Iterable[Image.Image]) -> int:
    """Return which value is white in a picture of more than 8 bits; WHITE for others."""
    found = [white_of(np.asarray(band)) for band in bands if band.mode.startswith(("I", "F"))]
    return max(found, default=WHITE)


def _eight_bits(image: Image.Image, white: int) -> Image.Image:
    """Convert to mode L, RGB or RGBA; of LAB only the lightness, which Pillow has in [0, 255]."""
    if image.mode.startswith(("I", "F")):
        return Image.fromarray(_to_uint8(np.asarray(image), white))
    if image.mode == "LAB":
        return image.getchannel("L")
    if image.mode in ("LA", "La", "PA", "RGBa") or ("transparency" in image.info and image.mode != "RGBA"):
        return image.convert("RGBA")
    if image.mode in ("L", "RGB", "RGBA"):
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def without_transparency(pixels: npt.NDArray[np.uint8]) -> Pixels:
    """Lay RGBA pixels, uint8 (h, w, 4), on a white background, or on black if they are white ink.

    They are taken for white ink if the opaque pixels are bright and few.
    """
    alpha = pixels[..., 3:].astype(np.float32) / np.float32(WHITE)
    opaque_share = float(alpha.mean())
    bright = float((pixels[..., :3] * alpha).mean()) > 0.5 * WHITE * opaque_share
    background = 0 if bright and 0 < opaque_share < MAX_INK_SHARE else WHITE
    return (pixels[..., :3] * alpha + background * (1 - alpha)).round().astype(np.uint8)  # type: ignore[no-any-return]


def pixels_from_array(array: npt.NDArray[Any]) -> Pixels:
    """Convert an array, as `picture.load_pixels` takes it, to pixels.

    Raises:
        PictureError: the shape or type is not that of a picture, or the values are not pixels.
    """
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        raise PictureError(f"an array of shape {array.shape} is not a picture; give (h, w), (h, w, 3) or (h, w, 4)")
    if array.size == 0:
        raise PictureError(f"an array of shape {array.shape} has no pixels")
    if array.shape[0] * array.shape[1] > MAX_PIXELS:
        raise PictureError(f"an array of {array.shape[1]}x{array.shape[0]} pixels; at most {MAX_PIXELS:,} are read")
    if array.dtype.kind not in "buif":
        raise PictureError(f"an array of type {array.dtype} is not a picture; give integers, floats or booleans")
    levels = _to_uint8(array, white_of(array))
    return without_transparency(levels) if levels.ndim == 3 and levels.shape[2] == 4 else levels


def white_of(array: npt.NDArray[Any]) -> int:
    """Return which value is white, judged by the largest: 1, or the maximum of 8, 10, 12, 14 or 16 bits.

    Raises:
        PictureError: some values are below 0, above 65535 or not numbers.
    """
    low, high = float(array.min()), float(array.max())
    maximum = 2 ** BIT_DEPTHS[-1] - 1
    if not 0 <= low <= high <= maximum:  # `not`, so that NaN fails too
        raise PictureError(f"pixels from {low:g} to {high:g}; give 0 to 1, 0 to {WHITE} or 0 to {maximum}")
    return 1 if high <= 1 else next(2**depth - 1 for depth in BIT_DEPTHS if high < 2**depth)


def _to_uint8(array: npt.NDArray[Any], white: int) -> npt.NDArray[np.uint8]:
    """Scale values from [0, white] to uint8 in [0, 255]."""
    if white == WHITE and array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    return np.round(array.astype(np.float32) * np.float32(WHITE / white)).astype(np.uint8)


def downscale(pixels: Pixels, scale: float) -> Pixels:
    """Resize to `scale` times the size, at most 1, by averaging areas; each side keeps at least one pixel."""
    size = [max(1, round(side * scale)) for side in pixels.shape[1::-1]]
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)


def shrink(pixels: Pixels, max_side: int) -> Pixels:
    """Downscale so that no side has more than `max_side` pixels; return smaller pictures as they are."""
    scale = max_side / max(pixels.shape[:2])
    return pixels if scale >= 1 else downscale(pixels, scale)
