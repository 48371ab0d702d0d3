"""Which parts of the ink spoke for a digit: some are covered with paper, and the recogniser is asked again.

Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks" (2014), section 4.2. Knows nothing about
pictures or the network inside: 28x28 in, a map of as many numbers out.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from numerals.read.strip_reader import logit
from numerals.spec import SIDE

PATCH = 6  # pixels a side that are covered: about two strokes
STEP = 2  # pixels from one place to the next

Digit = npt.NDArray[np.uint8]  # (28, 28), white ink on black
Heat = npt.NDArray[np.float32]  # (28, 28)
Recognise = Callable[[npt.NDArray[np.uint8]], tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]]  # as Recogniser


@dataclass(frozen=True)
class Explanation:
    """What the digit model says of one digit, and why."""

    probabilities: npt.NDArray[np.float32]  # (10,), its sum 1
    is_digit: float  # in [0, 1]
    heat: Heat  # over 0 where the ink spoke for the digit, below where against it; 0 where there is none


def explain(recognise: Recognise, digit: Digit, named: int) -> Explanation:
    """The ten probabilities, and what spoke for the digit `named`, 0 to 9, in uint8 (28, 28)."""
    covered, places = _covered(digit)
    probabilities, is_digit = recognise(np.concatenate([digit[None], covered]))
    sure = logit(probabilities[:, named])
    return Explanation(probabilities[0], float(is_digit[0]), _mean(sure[0] - sure[1:], places))


def _covered(digit: Digit) -> tuple[Digit, list[tuple[slice, slice]]]:
    """The digit with one patch without ink each, (n, 28, 28), and where; only patches that have ink."""
    starts = range(STEP - PATCH, SIDE, STEP)
    places = [(slice(max(y, 0), y + PATCH), slice(max(x, 0), x + PATCH)) for y in starts for x in starts]
    places = [place for place in places if digit[place].any()]
    covered = np.repeat(digit[None], len(places), axis=0)
    for picture, place in zip(covered, places, strict=True):
        picture[place] = 0
    return covered, places


def _mean(lost: npt.NDArray[np.float64], places: list[tuple[slice, slice]]) -> Heat:
    """For each pixel, what was lost on average where it was covered: of the class's logit."""
    total, count = np.zeros((SIDE, SIDE)), np.zeros((SIDE, SIDE))
    for share, place in zip(lost, places, strict=True):
        total[place] += share
        count[place] += 1
    return (total / np.maximum(count, 1)).astype(np.float32)
