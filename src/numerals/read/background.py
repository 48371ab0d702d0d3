"""What bright paper looks like without its ink, and how much of its light the ink takes. Knows only grey levels.

One idea, used three ways: `paper` sees one digit, `ink` a page, `strips` a level row. Each has a window of its own,
since what is large against a stroke differs, and its own way to tell which side is ink, since what lies around it does.
"""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from numerals.read.pixels import Pixels
from numerals.spec import WHITE


def without_ink(bright: Pixels, reach: int, window: int = cv2.MORPH_RECT) -> Pixels:
    """Bright paper with what is darker and narrower than `reach` pixels filled from around it: a closing."""
    return np.asarray(
        cv2.morphologyEx(bright, cv2.MORPH_CLOSE, cv2.getStructuringElement(window, (reach, reach))), np.uint8
    )


def taken(bright: Pixels, light: npt.NDArray[Any]) -> Pixels:
    """The share of the paper's light that does not come back, times 255; a shadow takes from both, so it is none."""
    return np.asarray(cv2.bitwise_not(cv2.divide(bright, light, scale=WHITE)), np.uint8)
