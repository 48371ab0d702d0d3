"""One row of writing -> the strip that the row network reads. The only place that does it: reading and training alike.

A strip is uint8 (STRIP_HEIGHT, width): 0 is paper, about INK_LEVEL is the row's own ink, and the digits stand about
DIGIT_HEIGHT high in its middle.
Knows nothing about where rows are in a picture, nor about networks.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from numerals.read.background import without_ink
from numerals.read.pixels import GreyPixels, Mask

STRIP_HEIGHT = 40  # rows of a strip
DIGIT_HEIGHT = 24  # of them the digits' height, as far as it can be told
OVER = 1.2  # of the strip's height that what is taller than the digits may reach, beyond it too
STRIDE = 2  # columns of a strip for one step of the row model's answer
INK_LEVEL = 200  # what a row's mean ink becomes
WIDEST = 1600  # columns at most: about a hundred digits

Darkness = npt.NDArray[np.float32]  # (h, w), how much darker than the paper around it; 0 is paper


@dataclass(frozen=True)
class Band:
    """Where the digits of a level row lie, in its pixels: from `top` to `bottom`, most of them `height` high."""

    top: float
    bottom: float
    height: float


def darkness(grey: GreyPixels, reach: int) -> Darkness:
    """How much darker each pixel is than its paper, for dark ink on light paper: float32 (h, w), at least 0.

    Args:
        grey: uint8 (h, w).
        reach: pixels within which there is paper around any ink: more than the widest stroke.
    """
    paper = cv2.blur(without_ink(grey, reach | 1), (reach | 1, reach | 1))
    return cv2.subtract(paper, grey).astype(np.float32)


def ink_mask(ink: Darkness) -> tuple[Mask, float, float]:
    """What is writing (uint8, 0 or 1), the paper's own level and the writing's.

    Otsu's threshold on the softened row; once more without the straight lines, which may be darker than the pen.
    """
    levels = np.clip(cv2.GaussianBlur(ink, (0, 0), 0.8), 0, 255).astype(np.uint8)
    threshold, mask = cv2.threshold(levels, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    lines = line_mask(np.asarray(mask, np.uint8))
    if lines.any():
        kept = levels[lines == 0]
        threshold, _ = cv2.threshold(kept, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
        mask = ((levels > threshold) & (lines == 0)).astype(np.uint8)
    paper, dark = float(np.median(levels)), levels[mask > 0]
    return mask.astype(np.uint8), paper, max(float(dark.mean()) if dark.size else 0.0, paper + 4)


def line_mask(mask: Mask) -> Mask:
    """What runs straight on for longer than a digit is wide or high: rules and borders, uint8, not 0 where they are."""
    height, width = mask.shape
    lines = np.zeros_like(mask)
    for across, down in ((max(int(1.2 * height), width // 3), 1), (1, int(0.95 * height))):
        if across <= width and across + down > 2:
            kernel = cv2.getStructuringElement(cv2.MORPH_RECT, (across, down))
            lines |= np.asarray(cv2.morphologyEx(mask, cv2.MORPH_OPEN, kernel), np.uint8)
    return np.asarray(cv2.dilate(lines, np.ones((3, 3), np.uint8)), np.uint8)


def band_of(mask: Mask) -> Band:
    """Where the digits lie, from the tall pieces of ink in the mask of one row."""
    height = mask.shape[0]
    count, _, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    tall = stats[1:count, cv2.CC_STAT_HEIGHT]
    if not tall.size or tall.max() < 4:
        return Band(0, height, height)
    digits = stats[1:count][tall >= 0.5 * tall.max()]
    tops = digits[:, cv2.CC_STAT_TOP]
    bottoms = tops + digits[:, cv2.CC_STAT_HEIGHT]
    middle = float(np.average(digits[:, cv2.CC_STAT_HEIGHT], weights=digits[:, cv2.CC_STAT_WIDTH]))
    return Band(float(tops.min()), float(bottoms.max()), middle)


def strip_of(ink: Darkness, band: Band, paper: float, full: float, zoom: float = 1.0) -> tuple[GreyPixels, float]:
    """The strip and how many of its columns one column of the row became.

    Args:
        ink: float32 (h, w), of one level row.
        band: where its digits lie.
        paper, full: the levels of paper and of ink in it, as `ink_mask` tells.
        zoom: makes the digits that much larger than usual.
    """
    scale = min(
        zoom * DIGIT_HEIGHT / band.height, OVER * STRIP_HEIGHT / (band.bottom - band.top), WIDEST / ink.shape[1]
    )
    middle = (band.top + band.bottom) / 2
    width = max(round(ink.shape[1] * scale), 8)
    levels = np.clip((ink - paper) * (INK_LEVEL / (full - paper)), 0, 255).astype(np.uint8)
    half = STRIP_HEIGHT / 2 / scale
    top, bottom = round(middle - half), round(middle + half)
    padded = cv2.copyMakeBorder(levels, max(-top, 0), max(bottom - len(levels), 0), 0, 0, cv2.BORDER_CONSTANT)
    cut = padded[max(top, 0) : max(top, 0) + bottom - top]
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return cv2.resize(cut, (width, STRIP_HEIGHT), interpolation=how), width / ink.shape[1]


def strip_from_picture(grey: GreyPixels, zoom: float = 1.0) -> tuple[GreyPixels, float]:
    """A tight picture of one row, dark ink, as a strip, and its scale."""
    ink = darkness(grey, max(7, round(0.3 * grey.shape[0])))
    mask, paper, full = ink_mask(ink)
    return strip_of(ink, band_of(mask), paper, full, zoom)
