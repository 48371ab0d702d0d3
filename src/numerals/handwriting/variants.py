"""What other hands do that MNIST's American ones seldom did: a flag and a foot on the 1, a bar through the 7, a stroke
through the 0, a hook under the 9. Drawn onto a digit's ink with its own pen. Knows nothing about pictures.
"""

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

from numerals.read.digit_ink import Ink
from numerals.read.normalise import ink_bounds, stroke_width

Chance = np.random.Generator
Points = npt.NDArray[np.float64]  # (n, 2): x, y
FINE = 3  # bits of a pixel's fraction that OpenCV draws with


def add_variant(ink: Ink, label: int, chance: Chance) -> Ink:
    """The digit as it is, or with one of the habits that its class has."""
    habit, share = HABITS.get(label, (None, 0.0))
    box = ink_bounds(ink)
    if habit is None or box is None or chance.random() >= share:
        return ink
    width = max(1.0, stroke_width(ink) * chance.uniform(0.7, 1.1))
    result = ink.copy()
    for path in habit(ink, box, chance):
        at = np.round(path * 2**FINE).astype(np.int32)
        cv2.polylines(result, [at], False, 1.0, max(1, round(width)), cv2.LINE_AA, FINE)
    return result


def _one(ink: Ink, box: tuple[int, int, int, int], chance: Chance) -> list[Points]:
    """A flag at the top, from a third to over half as long as the stem; often a foot."""
    top, bottom, _, _ = box
    head, foot = np.array([_middle(ink, top, 4), top + 1.5]), np.array([_middle(ink, bottom - 4, 4), bottom - 1.5])
    stem = foot - head
    paths = []
    if chance.random() < 0.85:
        angle = np.radians(chance.uniform(25, 50))  # wider, it would be a 7's bar
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        tip = head + turn @ stem * chance.uniform(0.2, 0.6)
        sag = (head + tip) / 2 + chance.normal(0, 0.03 * np.hypot(*stem), 2)
        paths.append(np.stack([head, sag, tip]))
    if chance.random() < 0.3:
        reach = np.array([chance.uniform(0.15, 0.4) * np.hypot(*stem), chance.normal(0, 1.5)])
        paths.append(np.stack([foot - reach, foot + reach]))
    return paths


def _seven(ink: Ink, box: tuple[int, int, int, int], chance: Chance) -> list[Points]:
    """A bar through the stem."""
    top, bottom, left, right = box
    y = top + chance.uniform(0.4, 0.65) * (bottom - top)
    reach = np.array([chance.uniform(0.2, 0.4) * (right - left), -chance.uniform(-0.05, 0.15) * (right - left)])
    at = np.array([_middle(ink, int(y), 2), y])
    return [np.stack([at - reach, at + reach])]


def _zero(ink: Ink, box: tuple[int, int, int, int], chance: Chance) -> list[Points]:
    """A stroke through it, from below left to above right."""
    top, bottom, left, right = box
    inset = chance.uniform(-0.1, 0.25)
    wide, high = (right - left) * inset, (bottom - top) * inset
    return [np.array([[left + wide, bottom - high], [right - wide, top + high]])]


def _nine(ink: Ink, box: tuple[int, int, int, int], chance: Chance) -> list[Points]:
    """A hook that goes back to the left under it."""
    top, bottom, left, right = box
    end = np.array([_middle(ink, bottom - 3, 3), bottom - 1.5])
    length, rise = chance.uniform(0.3, 0.8) * (right - left), chance.uniform(0, 0.2) * (bottom - top)
    return [end + np.array([[0, 0], [-0.4, 0.25], [-0.8, -0.1], [-1, -1]]) * (length, rise)]


def _middle(ink: Ink, row: int, rows: int) -> float:
    """The middle column of the ink in some rows."""
    weight = ink[max(0, row) : row + rows].sum(axis=0)
    return float(weight @ np.arange(len(weight)) / max(float(weight.sum()), 1e-6))


HABITS: dict[int, tuple[Callable[[Ink, tuple[int, int, int, int], Chance], list[Points]], float]] = {
    0: (_zero, 0.03),
    1: (_one, 0.3),
    7: (_seven, 0.25),
    9: (_nine, 0.2),
}
