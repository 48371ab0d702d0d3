"""What bright paper looks like without its ink, and how much of its light the ink takes. Knows only grey levels.

One idea, used three ways: `paper` sees one digit, `ink` a page, `strips` a level row. Each has a window of its own,
since what is large against a stroke differs, and its own way to tell which side is ink, since what lies around it does.
"""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from numerals.spec import WHITE

Levels = npt.NDArray[np.uint8]  # (h, w) or (h, w, 3)


def without_ink(bright: Levels, reach: int, window: int = cv2.MORPH_RECT) -> Levels:
    """Bright paper with what is darker and narrower than `reach` pixels filled from around it: a closing."""
    return np.asarray(
        cv2.morphologyEx(bright, cv2.MORPH_CLOSE, cv2.getStructuringElement(window, (reach, reach))), np.uint8
    )


def taken(bright: Levels, light: npt.NDArray[Any]) -> Levels:
    """The share of the paper's light that does not come back, times 255; a shadow takes from both, so it is none."""
    return np.asarray(cv2.bitwise_not(cv2.divide(bright, light, scale=WHITE)), np.uint8)


def smaller(picture: Levels, scale: float) -> Levels:
    """The picture at so many times its size, at most 1, and a pixel at least."""
    size = [max(1, round(side * scale)) for side in picture.shape[1::-1]]
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def shrink(picture: Levels, side: int) -> Levels:
    """The picture with no edge longer than `side` pixels."""
    share = side / max(picture.shape[:2])
    return picture if share >= 1 else smaller(picture, share)
