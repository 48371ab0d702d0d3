"""Turn one level row of writing into a strip, the row model's input. Reading and training share this module.

A strip is uint8 (STRIP_HEIGHT, width), bright ink on black: 0 is background, and the row's own ink is about INK_LEVEL.
The digits are about DIGIT_HEIGHT high and stand in the middle.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from numerals.read.background import without_ink
from numerals.read.pixels import GreyPixels, Mask

STRIP_HEIGHT = 40  # pixels
DIGIT_HEIGHT = 24  # pixels, as far as the height of the digits can be measured
MAX_INK_HEIGHT = 1.2  # of the strip's height that ink taller than the digits may reach
MAX_WIDTH = 1600  # pixels, enough for about a hundred digits
STRIDE = 2  # columns of a strip per step of the row model's output
INK_LEVEL = 200  # level of a row's mean ink

Strip = npt.NDArray[np.uint8]  # (STRIP_HEIGHT, w), bright ink on black
Darkness = npt.NDArray[np.float32]  # (h, w), at least 0: grey levels by which pixels are darker than their background


@dataclass(frozen=True)
class Band:
    """Where the digits of a level row are, in its pixels."""

    top: float
    bottom: float
    height: float  # of most digits


def darkness(grey: GreyPixels, window: int) -> Darkness:
    """Return how much darker each pixel is than the background around it.

    Args:
        grey: dark ink on light paper.
        window: pixels, wider than any stroke, within which there is background around all ink.
    """
    background = cv2.blur(without_ink(grey, window | 1), (window | 1, window | 1))
    return cv2.subtract(background, grey).astype(np.float32)


def ink_mask(ink: Darkness) -> tuple[Mask, float, float]:
    """Separate the writing of a row from its background by Otsu's threshold, after smoothing.

    Straight lines may be darker than the pen, so they are removed and the threshold is computed a second time.

    Returns:
        The mask of the writing, the level of the background, and the level of the ink.
    """
    levels = np.clip(cv2.GaussianBlur(ink, (0, 0), 0.8), 0, 255).astype(np.uint8)
    threshold, mask = cv2.threshold(levels, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    lines = line_mask(np.asarray(mask, np.uint8))
    if lines.any():
        rest = levels[lines == 0]
        threshold, _ = cv2.threshold(rest, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
        mask = ((levels > threshold) & (lines == 0)).astype(np.uint8)
    background_level, ink_levels = float(np.median(levels)), levels[mask > 0]
    ink_level = max(float(ink_levels.mean()) if ink_levels.size else 0.0, background_level + 4)
    return mask.astype(np.uint8), background_level, ink_level


def line_mask(mask: Mask) -> Mask:
    """Return the ruled lines and borders in a mask: what is straight for longer than a digit is wide or high."""
    height, width = mask.shape
    lines = np.zeros_like(mask)
    for kernel_width, kernel_height in ((max(int(1.2 * height), width // 3), 1), (1, int(0.95 * height))):
        if kernel_width <= width and kernel_width + kernel_height > 2:
            kernel = cv2.getStructuringElement(cv2.MORPH_RECT, (kernel_width, kernel_height))
            lines |= np.asarray(cv2.morphologyEx(mask, cv2.MORPH_OPEN, kernel), np.uint8)
    return np.asarray(cv2.dilate(lines, np.ones((3, 3), np.uint8)), np.uint8)


def digit_band(mask: Mask) -> Band:
    """Measure where the digits of a row are, from the tall pieces of ink; the whole height if there are none."""
    height = mask.shape[0]
    count, _, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    heights = stats[1:count, cv2.CC_STAT_HEIGHT]
    if not heights.size or heights.max() < 4:
        return Band(0, height, height)
    digits = stats[1:count][heights >= 0.5 * heights.max()]
    tops = digits[:, cv2.CC_STAT_TOP]
    bottoms = tops + digits[:, cv2.CC_STAT_HEIGHT]
    mean_height = float(np.average(digits[:, cv2.CC_STAT_HEIGHT], weights=digits[:, cv2.CC_STAT_WIDTH]))
    return Band(float(tops.min()), float(bottoms.max()), mean_height)


def make_strip(
    ink: Darkness, band: Band, background_level: float, ink_level: float, zoom: float = 1.0
) -> tuple[Strip, float]:
    """Scale a level row to the strip's height and its ink to the strip's levels.

    Args:
        ink: of the row.
        band: where its digits are.
        background_level: as `ink_mask` returns it.
        ink_level: as `ink_mask` returns it.
        zoom: makes the digits this many times larger than usual.

    Returns:
        The strip, and its width divided by the row's width.
    """
    scale = zoom * DIGIT_HEIGHT / band.height
    scale = min(scale, MAX_INK_HEIGHT * STRIP_HEIGHT / (band.bottom - band.top), MAX_WIDTH / ink.shape[1])
    middle = (band.top + band.bottom) / 2
    width = max(round(ink.shape[1] * scale), 8)
    levels = np.clip((ink - background_level) * (INK_LEVEL / (ink_level - background_level)), 0, 255).astype(np.uint8)
    half = STRIP_HEIGHT / 2 / scale
    top, bottom = round(middle - half), round(middle + half)
    padded = cv2.copyMakeBorder(levels, max(-top, 0), max(bottom - len(levels), 0), 0, 0, cv2.BORDER_CONSTANT)
    cut = padded[max(top, 0) : max(top, 0) + bottom - top]
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return cv2.resize(cut, (width, STRIP_HEIGHT), interpolation=interpolation), width / ink.shape[1]


def strip_from_picture(grey: GreyPixels, zoom: float = 1.0) -> tuple[Strip, float]:
    """Turn a tight picture of one row, dark ink on light paper, into a strip; see `make_strip`."""
    ink = darkness(grey, max(7, round(0.3 * grey.shape[0])))
    mask, background_level, ink_level = ink_mask(ink)
    return make_strip(ink, digit_band(mask), background_level, ink_level, zoom)
