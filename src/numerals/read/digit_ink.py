"""Extract the ink from a picture of one digit, at full contrast, in uneven light, either polarity and any colour.

Unlike a page (see `page_ink`), the picture is hardly larger than its ink. So the background is judged from its edge and
corners, on a copy so small that a stroke may fill a third of it, and there are no blocks of bare paper from which to
measure the noise. Three kinds of background are modelled, so that an uncertain digit can be viewed in other ways.

In between, everything is uint8 with bright paper, since OpenCV is fastest on bytes.
"""

from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

from numerals.read.background import absorbed_light, without_ink
from numerals.read.pixels import GreyPixels, Pixels, shrink
from numerals.spec import WHITE

Ink = npt.NDArray[np.float32]  # (h, w) in [0, 1]: 0 is background, 1 is full ink
Background = Literal["even", "uneven", "striped"]

SMALL_SIDE = 64  # pixels; the background is judged on a copy whose sides are at most this long
WINDOW_SHARE = 0.3  # of that side: wider than a stroke, narrower than a shadow
MIN_BRIGHTNESS = 25  # of 255: the background is taken to be at least this bright; nothing shows in a deeper shadow
MIN_CONTRAST = 5  # of 255: a picture with less contrast is empty
MAX_GRAINY_SIDE = 40  # pixels; in pictures this small, light and dirt cannot be told from ink
AMBIGUOUS_SHARE = 0.2  # distance from one half within which the share of bright pixels does not tell the polarity
AMBIGUOUS_LOCAL_SHARE = 0.03  # the same for the share of bright pixels near the ink
EDGE_SHARE = 0.06  # of the shorter side: the width of the edge


def extract_ink(pixels: Pixels, background: Background = "uneven", dark_ink: bool | None = None) -> Ink:
    """Return the ink of a picture at full contrast, all 0 if there is none.

    Args:
        pixels: grey or RGB.
        background: "even" has one colour throughout; "uneven" may have light and shadow; "striped" counts as ink
            whatever differs from its surroundings, darker or brighter.
        dark_ink: whether the ink is darker than the background; None to find out.
    """
    pixels = _grey_if_colourless(pixels)
    small = shrink(pixels, SMALL_SIDE)
    if dark_ink is None:
        dark_ink = has_dark_ink(small)
    if not dark_ink:
        pixels, small = WHITE - pixels, WHITE - small
    light = np.maximum(_background_light(small, background), MIN_BRIGHTNESS)
    if light.shape[:2] != pixels.shape[:2]:
        light = cv2.resize(light, pixels.shape[1::-1], interpolation=cv2.INTER_LINEAR).astype(np.uint8)
    if background == "striped":
        pixels = WHITE - cv2.absdiff(pixels, light).astype(np.uint8)
        light = np.full_like(light, WHITE)
    levels = absorbed_light(pixels, light)
    if levels.ndim == 3:  # coloured ink absorbs most in one of the colours
        levels = np.asarray(cv2.max(cv2.max(levels[..., 0], levels[..., 1]), levels[..., 2]), np.uint8)
    return stretch_contrast(levels)


def has_dark_ink(pixels: Pixels) -> bool:
    """Return whether the ink is darker than the background, judged from the edge, the corners and most pixels."""
    small = shrink(pixels, SMALL_SIDE)
    grey = small if small.ndim == 2 else cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    low, high = int(grey.min()), int(grey.max())
    if high - low < MIN_CONTRAST:
        return low + high >= WHITE
    bright = grey > (low + high) // 2
    height, width = bright.shape
    edge = max(1, round(EDGE_SHARE * min(height, width)))
    inner = bright[edge:-edge, edge:-edge]
    bright_count, inner_count = np.count_nonzero(bright), np.count_nonzero(inner)
    edge_share = (bright_count - inner_count) / (bright.size - inner.size)
    y, x = max(1, height // 8), max(1, width // 8)
    corners = sum(np.count_nonzero(c) for c in (bright[:y, :x], bright[:y, -x:], bright[-y:, :x], bright[-y:, -x:]))
    share = float(edge_share + corners / (4 * y * x) + bright_count / bright.size) / 3
    if abs(share - 0.5) < AMBIGUOUS_SHARE and max(grey.shape) > MAX_GRAINY_SIDE:  # it may be light and shadow
        local_share = _bright_share_near_ink(grey)
        share = local_share if abs(local_share - 0.5) > AMBIGUOUS_LOCAL_SHARE else share
    return share >= 0.5


def _bright_share_near_ink(grey: npt.NDArray[Any]) -> float:
    """Return the share of bright pixels where bright and dark are close together.

    Ink covers less than the background around it. A shadow changes this share little, but that of the whole picture.
    """
    kernel = np.ones((round(WINDOW_SHARE * max(grey.shape)) | 1,) * 2, np.uint8)
    low, high = cv2.erode(grey, kernel), cv2.dilate(grey, kernel)
    contrast = cv2.subtract(high, low)
    relative = cv2.divide(contrast, np.maximum(high, MIN_BRIGHTNESS), scale=WHITE)
    near_ink = relative > int(relative.max()) // 2
    return float(np.count_nonzero((grey > low + contrast // 2) & near_ink) / np.count_nonzero(near_ink))


def stretch_contrast(levels: GreyPixels) -> Ink:
    """Stretch ink levels to [0, 1], so that the noise of the background becomes 0 and the middle of the ink 1.

    Args:
        levels: uint8 (h, w), bright ink on black.
    """
    if int(levels.max()) < MIN_CONTRAST:
        return np.zeros(levels.shape, np.float32)
    threshold, histogram = otsu(levels)
    low = quantile(histogram[:threshold], 0.5)
    low += 2 * (quantile(histogram[:threshold], 0.75) - low)  # two median deviations, if the noise is symmetric
    low, high = min(low, threshold // 2), threshold + quantile(histogram[threshold:], 0.7)
    table = (np.arange(WHITE + 1, dtype=np.float32) - low) / max(high - low, 1)
    return cv2.LUT(levels, np.clip(table, 0, 1))  # type: ignore[return-value]


def otsu(levels: GreyPixels) -> tuple[int, npt.NDArray[np.int64]]:
    """Return the first level above Otsu's threshold (1979), and the histogram, int64 (256,)."""
    threshold, _ = cv2.threshold(levels, 0, 1, cv2.THRESH_OTSU)
    return int(threshold) + 1, np.bincount(levels.ravel(), minlength=WHITE + 1)


def quantile(histogram: npt.NDArray[np.int64], share: float) -> int:
    """Return the level at or below which a share of the pixels lies; 0 for an empty histogram."""
    cumulative = histogram.cumsum()
    return int(cumulative.searchsorted(share * cumulative[-1])) if len(cumulative) and cumulative[-1] else 0


def _grey_if_colourless(pixels: Pixels) -> Pixels:
    """Return (h, w) if the three colours are the same."""
    if pixels.ndim == 2:
        return pixels
    red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
    same = np.array_equal(red, green) and np.array_equal(red, blue)
    return np.ascontiguousarray(red) if same else pixels


def _background_light(small: Pixels, background: Background) -> npt.NDArray[Any]:
    """Return what the small copy would look like without its ink, which is dark."""
    window = max(3, round(WINDOW_SHARE * max(small.shape[:2])) | 1)
    if background == "even":
        return np.full_like(small, _paper_colour(small))
    if background == "striped":
        return cv2.medianBlur(small, window)
    smooth = np.asarray(cv2.blur(small, (3, 3)), np.uint8) if min(small.shape[:2]) > 2 * window else small
    return cv2.blur(without_ink(smooth, window), (3, 3))


def _paper_colour(small: Pixels) -> npt.NDArray[np.uint8]:
    """Return the median of what is brighter than Otsu's threshold, uint8 (1,) or (3,)."""
    grey = small if small.ndim == 2 else cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.uint8)
    threshold, histogram = otsu(grey)
    if small.ndim == 2:
        return np.array([threshold + quantile(histogram[threshold:], 0.5)]).astype(np.uint8)
    bright = small[grey >= threshold]
    return np.median(bright if len(bright) else small.reshape(-1, 3), axis=0).astype(np.uint8)  # type: ignore[no-any-return]
