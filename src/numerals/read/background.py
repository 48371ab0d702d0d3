"""What a picture would look like without its ink, and how much of the background's light the ink takes.

Digits, pages and strips all use it, on bright paper with dark ink. Each has its own window, since what is wide compared
with a stroke differs, and its own way to tell ink from background, since what surrounds the ink differs.
"""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from numerals.read.pixels import Pixels
from numerals.spec import WHITE


def without_ink(pixels: Pixels, window: int, shape: int = cv2.MORPH_RECT) -> Pixels:
    """Fill dark ink that is narrower than `window` pixels from its surroundings: a morphological closing.

    Args:
        pixels: dark ink on bright paper.
        window: side of the structuring element in pixels.
        shape: of the structuring element, OpenCV's constant.
    """
    kernel = cv2.getStructuringElement(shape, (window, window))
    return np.asarray(cv2.morphologyEx(pixels, cv2.MORPH_CLOSE, kernel), np.uint8)


def absorbed_light(pixels: Pixels, background: npt.NDArray[Any]) -> Pixels:
    """Return the share of the background's light that the ink absorbs, times 255.

    A shadow darkens ink and background alike, so it does not count.

    Args:
        pixels: dark ink on bright paper.
        background: the same picture without its ink.
    """
    return np.asarray(cv2.bitwise_not(cv2.divide(pixels, background, scale=WHITE)), np.uint8)
