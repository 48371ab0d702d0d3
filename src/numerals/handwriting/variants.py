"""Forms of digits that are common elsewhere but rare in MNIST's American handwriting, drawn onto a digit of MNIST.

A flag and a foot on the 1, a bar through the 7, a stroke through the 0, a hook under the 9. Single digits
(`add_variant`) and glyphs of rows (`add_glyph_variant`) have distributions of their own.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from numerals.handwriting.drawing import Points, draw_path, rotation
from numerals.handwriting.glyphs import GLYPH_SIDE
from numerals.read.digit_ink import Ink
from numerals.read.normalise import ink_bounds, stroke_width

Bounds = tuple[int, int, int, int]  # top, bottom, left, right of the ink, in pixels
Variant = Callable[[Ink, Bounds, np.random.Generator], list[Points]]


def add_variant(ink: Ink, label: int, rng: np.random.Generator) -> Ink:
    """Add strokes of a variant to some of the digits, drawn about as wide as the digit's own pen.

    Args:
        ink: float32 (h, w) in [0, 1], 1 full ink.
        label: of the digit, or any other number, for which nothing is added.
        rng: decides whether and how.
    """
    variant, share = VARIANTS.get(label, (None, 0.0))
    bounds = ink_bounds(ink)
    if variant is None or bounds is None or rng.random() >= share:
        return ink
    pen_width = max(1.0, stroke_width(ink) * rng.uniform(0.7, 1.1))
    result = ink.copy()
    for path in variant(ink, bounds, rng):
        draw_path(result, path, 1.0, max(1, round(pen_width)), fraction_bits=3)
    return result


def _flagged_one(ink: Ink, bounds: Bounds, rng: np.random.Generator) -> list[Points]:
    """A flag at the top of a 1, a fifth to three fifths as long as the stem; sometimes a foot."""
    top, bottom, _, _ = bounds
    head = np.array([_centre_column(ink, top, 4), top + 1.5])
    foot = np.array([_centre_column(ink, bottom - 4, 4), bottom - 1.5])
    stem = foot - head
    paths = []
    if rng.random() < 0.85:
        angle = np.radians(rng.uniform(25, 50))  # a wider angle would make it a 7
        tip = head + rotation(angle) @ stem * rng.uniform(0.2, 0.6)
        sag = (head + tip) / 2 + rng.normal(0, 0.03 * np.hypot(*stem), 2)
        paths.append(np.stack([head, sag, tip]))
    if rng.random() < 0.3:
        reach = np.array([rng.uniform(0.15, 0.4) * np.hypot(*stem), rng.normal(0, 1.5)])
        paths.append(np.stack([foot - reach, foot + reach]))
    return paths


def _crossed_seven(ink: Ink, bounds: Bounds, rng: np.random.Generator) -> list[Points]:
    """A bar through the stem of a 7."""
    top, bottom, left, right = bounds
    y = top + rng.uniform(0.4, 0.65) * (bottom - top)
    reach = np.array([rng.uniform(0.2, 0.4) * (right - left), -rng.uniform(-0.05, 0.15) * (right - left)])
    middle = np.array([_centre_column(ink, int(y), 2), y])
    return [np.stack([middle - reach, middle + reach])]


def _slashed_zero(ink: Ink, bounds: Bounds, rng: np.random.Generator) -> list[Points]:
    """A stroke through a 0, from the lower left to the upper right."""
    top, bottom, left, right = bounds
    inset = rng.uniform(-0.1, 0.25)
    dx, dy = (right - left) * inset, (bottom - top) * inset
    return [np.array([[left + dx, bottom - dy], [right - dx, top + dy]])]


def _hooked_nine(ink: Ink, bounds: Bounds, rng: np.random.Generator) -> list[Points]:
    """A hook back to the left at the foot of a 9."""
    top, bottom, left, right = bounds
    end = np.array([_centre_column(ink, bottom - 3, 3), bottom - 1.5])
    length, rise = rng.uniform(0.3, 0.8) * (right - left), rng.uniform(0, 0.2) * (bottom - top)
    return [end + np.array([[0, 0], [-0.4, 0.25], [-0.8, -0.1], [-1, -1]]) * (length, rise)]


def _centre_column(ink: Ink, first_row: int, rows: int) -> float:
    """The mean column of the ink in a few rows."""
    weight = ink[max(0, first_row) : first_row + rows].sum(axis=0)
    return float(weight @ np.arange(len(weight)) / max(float(weight.sum()), 1e-6))


VARIANTS: dict[int, tuple[Variant, float]] = {  # of a class: its variant, and the share of digits that get it
    0: (_slashed_zero, 0.03),
    1: (_flagged_one, 0.3),
    7: (_crossed_seven, 0.25),
    9: (_hooked_nine, 0.2),
}


def add_glyph_variant(
    glyph: npt.NDArray[np.uint8], digit: int, pen_width: int, rng: np.random.Generator
) -> npt.NDArray[np.uint8]:
    """Add a bar to the glyph of a 7, or an upstroke to that of a 1.

    Args:
        glyph: uint8 (56, 56), white ink on black.
        digit: 1 or 7.
        pen_width: in pixels.
        rng: decides the stroke's position and length.
    """
    rows = np.flatnonzero(glyph.max(axis=1) > 100)
    if not len(rows):
        return glyph
    top, height = int(rows[0]), int(rows[-1] - rows[0])
    if digit == 7:
        y = top + rng.uniform(0.4, 0.62) * height
        x = _row_centre(glyph[min(int(y), GLYPH_SIDE - 1)])
        half, rise = rng.uniform(0.18, 0.34) * height, rng.uniform(-0.06, 0.12) * height
        ends = np.array([[x - half, y + rise], [x + half, y - rise]])
    else:
        x = _row_centre(glyph[top + 1])
        reach = rng.uniform(0.15, 0.9) * height
        ends = np.array([[x, top + 1], [x - reach * rng.uniform(0.3, 0.7), top + reach]])
    result = glyph.copy()
    draw_path(result, ends, 255, pen_width)
    return result


def _row_centre(row: npt.NDArray[np.uint8]) -> float:
    """The middle column of the ink in one row of a glyph; the glyph's middle if the row has none."""
    dark = np.flatnonzero(row > 60)
    return float(dark.mean()) if len(dark) else GLYPH_SIDE / 2
