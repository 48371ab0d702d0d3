"""The ink of one digit's picture, at full contrast: uneven light, either polarity, colour. Knows nothing about digits.

Unlike a page (`ink`), the picture is about as large as its one piece of ink: the paper is told by edge and corners, on
a copy so small that a stroke may take a third of it, and there are no blocks of mere paper to tell the noise by. Three
kinds of paper are told apart, so that a doubtful digit may be looked at in other ways.

A picture is uint8 (h, w) or (h, w, 3). Ink is float32 (h, w) in [0, 1], 1 where the pen went. In between, everything is
uint8 with bright paper, since OpenCV is fastest on bytes: twelve megapixels of them fit in a page's time.
"""

from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

from numerals.read.background import taken, without_ink
from numerals.read.pixels import Pixels, shrink
from numerals.spec import WHITE

Ink = npt.NDArray[np.float32]  # (h, w) in [0, 1]
Background = Literal["even", "uneven", "striped"]

SMALL = 64  # the light is judged on a copy of at most this many pixels a side
LIGHT_SHARE = 0.3  # of that side: wider than a stroke, narrower than a shadow
DARKEST = 25  # paper is taken to be at least this bright: in a deeper shadow there is nothing to see
LEAST_CONTRAST = 5  # levels: under it, there is nothing on the paper
GRAINY = 40  # pixels a side up to which a picture is taken as a whole: too few to tell light or dirt from ink
UNDECIDED = 0.2  # how far from a half the share of light in the whole picture does not say what is ink
NEARLY_HALF = 0.03  # and the share of light near the ink
RING = 0.06  # share of the side that counts as its edge


def ink(picture: Pixels, paper: Background = "uneven", bright_paper: bool | None = None) -> Ink:
    """The ink of a picture, with full contrast; all zeros where there is none.

    Args:
        paper: "even" has one colour throughout, "uneven" may have light and shadow, on "striped" paper
            the ink is whatever differs from its surroundings, darker or brighter.
        bright_paper: None to find out.
    """
    picture = _without_needless_colour(picture)
    small = shrink(picture, SMALL)
    if bright_paper is None:
        bright_paper = not paper_is_dark(small)
    if not bright_paper:
        picture, small = WHITE - picture, WHITE - small
    light = np.maximum(_light(small, paper), DARKEST)
    if light.shape[:2] != picture.shape[:2]:
        light = cv2.resize(light, picture.shape[1::-1], interpolation=cv2.INTER_LINEAR).astype(np.uint8)
    if paper == "striped":
        picture = WHITE - cv2.absdiff(picture, light).astype(np.uint8)
        light = np.full_like(light, WHITE)
    levels = taken(picture, light)
    if levels.ndim == 3:
        strongest = cv2.max(cv2.max(levels[..., 0], levels[..., 1]), levels[..., 2])  # coloured ink takes most from one
        levels = np.asarray(strongest, np.uint8)
    return stretch(levels)


def paper_is_dark(picture: Pixels) -> bool:
    """Whether the ink is what is brighter: by what the edge, the corners and most pixels are like."""
    small = shrink(picture, SMALL)
    grey = small if small.ndim == 2 else cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    low, high = int(grey.min()), int(grey.max())
    if high - low < LEAST_CONTRAST:
        return low + high < WHITE
    bright = grey > (low + high) // 2
    height, width = bright.shape
    edge = max(1, round(RING * min(height, width)))
    inner = bright[edge:-edge, edge:-edge]
    whole, within = np.count_nonzero(bright), np.count_nonzero(inner)
    ring = (whole - within) / (bright.size - inner.size)
    y, x = max(1, height // 8), max(1, width // 8)
    corners = sum(np.count_nonzero(c) for c in (bright[:y, :x], bright[:y, -x:], bright[-y:, :x], bright[-y:, -x:]))
    share = float(ring + corners / (4 * y * x) + whole / bright.size) / 3
    if abs(share - 0.5) < UNDECIDED and max(grey.shape) > GRAINY:  # light and shadow, it may be
        near = _bright_near_ink(grey)
        share = near if abs(near - 0.5) > NEARLY_HALF else share
    return share < 0.5


def _bright_near_ink(grey: npt.NDArray[Any]) -> float:
    """Where light and dark are close together, the share that is light: ink is less than the paper around it.

    Unlike what the whole picture's light and dark say, this changes little in a shadow.
    """
    kernel = np.ones((round(LIGHT_SHARE * max(grey.shape)) | 1,) * 2, np.uint8)
    low, high = cv2.erode(grey, kernel), cv2.dilate(grey, kernel)
    contrast = cv2.subtract(high, low)
    relative = cv2.divide(contrast, np.maximum(high, DARKEST), scale=WHITE)
    counts = relative > int(relative.max()) // 2
    return float(np.count_nonzero((grey > low + contrast // 2) & counts) / np.count_nonzero(counts))


def stretch(levels: Pixels) -> Ink:
    """Ink uint8 (h, w) with its contrast brought to [0, 1]: the paper's noise becomes 0, the ink's middle 1."""
    if int(levels.max()) < LEAST_CONTRAST:
        return np.zeros(levels.shape, np.float32)
    threshold, count = otsu(levels)
    low = quantile(count[:threshold], 0.5)
    low += 2 * (quantile(count[:threshold], 0.75) - low)  # three times the median deviation, were it symmetric
    low, high = min(low, threshold // 2), threshold + quantile(count[threshold:], 0.7)
    table = (np.arange(WHITE + 1, dtype=np.float32) - low) / max(high - low, 1)
    return cv2.LUT(levels, np.clip(table, 0, 1))  # type: ignore[return-value]


def otsu(levels: Pixels) -> tuple[int, npt.NDArray[np.int64]]:
    """The first level that is ink by Otsu's threshold (1979), and how many pixels have each of the 256 levels."""
    threshold, _ = cv2.threshold(levels, 0, 1, cv2.THRESH_OTSU)
    return int(threshold) + 1, np.bincount(levels.ravel(), minlength=WHITE + 1)


def quantile(count: npt.NDArray[np.int64], share: float) -> int:
    """The level under or at which so large a share of the counted pixels lies; 0 where there are none."""
    total = count.cumsum()
    return int(total.searchsorted(share * total[-1])) if len(total) and total[-1] else 0


def _without_needless_colour(picture: Pixels) -> Pixels:
    """(h, w) where the three colours are the same."""
    if picture.ndim == 2:
        return picture
    red, green, blue = picture[..., 0], picture[..., 1], picture[..., 2]
    same = np.array_equal(red, green) and np.array_equal(red, blue)
    return np.ascontiguousarray(red) if same else picture


def _light(small: Pixels, paper: Background) -> npt.NDArray[Any]:
    """What bright paper alone would look like, uint8 as the small copy."""
    side = max(3, round(LIGHT_SHARE * max(small.shape[:2])) | 1)
    if paper == "even":
        return np.full_like(small, _paper_colour(small))
    if paper == "striped":
        return cv2.medianBlur(small, side)
    calm = np.asarray(cv2.blur(small, (3, 3)), np.uint8) if min(small.shape[:2]) > 2 * side else small
    return cv2.blur(without_ink(calm, side), (3, 3))


def _paper_colour(small: Pixels) -> npt.NDArray[np.uint8]:
    """The median of what is brighter than Otsu's threshold: uint8 (1,) or (3,)."""
    grey = small if small.ndim == 2 else cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.uint8)
    threshold, count = otsu(grey)
    if small.ndim == 2:
        return np.array([threshold + quantile(count[threshold:], 0.5)]).astype(np.uint8)
    bright = small[grey >= threshold]
    return np.median(bright if len(bright) else small.reshape(-1, 3), axis=0).astype(np.uint8)  # type: ignore[no-any-return]
