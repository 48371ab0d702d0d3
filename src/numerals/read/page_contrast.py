"""The contrast of a page, as the detector sees it: independent of light, tint of the paper and strength of the pen."""

import cv2
import numpy as np
import numpy.typing as npt

from numerals.read.pixels import Pixels

BACKGROUND_STEP = 8  # the background is estimated on a copy of the page reduced this many times
BACKGROUND_WINDOW = 15  # pixels of that copy: ink narrower than about half of it leaves the background
DARKEST_BACKGROUND = 16.0  # of 255; darker paper counts as this dark
PEAK_STEP, PEAK_WINDOW = 4, 15  # where the strongest ink nearby is searched, likewise
MIN_PEAK = 0.06  # of the paper's light: what is weaker is never stretched to full contrast
MIN_SIGNAL_TO_NOISE = 6.0  # ink is this many times as strong as the noise
LEVELS_PER_UNIT = 85.0  # contrast from -1 to 2 becomes levels from 0 to 255
PAPER_LEVEL = 85  # of contrast 0

Planes = npt.NDArray[np.uint8]  # (2, h, w)


def contrast_planes(pixels: Pixels) -> Planes:
    """Return what the detector sees of a page with dark ink on light paper.

    Args:
        pixels: uint8, grey (h, w) or colour (h, w, 3).

    Returns:
        uint8 (2, h, w): 85 is the paper, more is darker than the paper and less is brighter. The first plane is in
        proportion to the share of the paper's light that the ink absorbs (255 at all of it), so it shows how bold the
        ink is. The second is in proportion to the strongest ink nearby (170 there), so it shows faint writing as well
        as bold.
    """
    planes = cv2.split(pixels) if pixels.ndim == 3 else [pixels]
    absorbed = _absorbed(np.asarray(planes[0]))
    for plane in planes[1:]:
        absorbed = np.maximum(absorbed, _absorbed(np.asarray(plane)))
    return np.stack([_levels(2 * absorbed), _levels(absorbed / _peak(absorbed))])


def _absorbed(plane: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """The share of the paper's light that is missing at each pixel, at most 1; negative where it is brighter."""
    height, width = plane.shape
    size = max(width // BACKGROUND_STEP, 1), max(height // BACKGROUND_STEP, 1)
    small = cv2.resize(plane, size, interpolation=cv2.INTER_AREA)
    background = cv2.resize(cv2.medianBlur(small, BACKGROUND_WINDOW), (width, height), interpolation=cv2.INTER_LINEAR)
    light = np.maximum(background.astype(np.float32), np.float32(DARKEST_BACKGROUND))
    return np.asarray(1 - plane / light, np.float32)


def _peak(absorbed: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The strongest ink near each pixel, at least what noise and stains reach."""
    height, width = absorbed.shape
    size = max(width // PEAK_STEP, 1), max(height // PEAK_STEP, 1)
    small = cv2.resize(absorbed, size, interpolation=cv2.INTER_AREA)
    window = (PEAK_WINDOW, PEAK_WINDOW)
    peak = cv2.blur(cv2.dilate(small, np.ones(window, np.uint8)), window)
    steps = np.abs(absorbed[1::2, 1::2] - absorbed[: height - 1 : 2, : width - 1 : 2])
    noise = float(np.median(steps)) if steps.size else 0.0  # of a difference of two pixels: about one deviation
    floor = max(MIN_SIGNAL_TO_NOISE * noise, MIN_PEAK)
    return np.maximum(cv2.resize(peak, (width, height), interpolation=cv2.INTER_LINEAR), np.float32(floor))


def _levels(contrast: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    return np.asarray(np.clip((contrast + 1) * np.float32(LEVELS_PER_UNIT) + 0.5, 0, 255), np.uint8)
