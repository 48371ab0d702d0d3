"""Explain a prediction for one digit by occlusion: cover parts of the ink, and see how much the prediction changes.

The method is that of Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks" (2014), section 4.2.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from numerals.read.pixels import DigitImage, DigitImages
from numerals.read.recognise import DigitPredictions
from numerals.read.strip_reader import logit
from numerals.spec import SIDE

PATCH = 6  # pixels a side that are covered: about two strokes
STEP = 2  # pixels between neighbouring patches

Heatmap = npt.NDArray[np.float32]  # (28, 28), change of the logit


@dataclass(frozen=True)
class DigitExplanation:
    """What the digit model predicts for one digit, and why."""

    probabilities: npt.NDArray[np.float32]  # (10,), sums to 1
    is_digit: float  # in [0, 1]
    heat: Heatmap  # above 0 where the ink speaks for the class, below 0 where against it, 0 without ink


def explain(recognise: Callable[[DigitImages], DigitPredictions], digit: DigitImage, label: int) -> DigitExplanation:
    """Explain the prediction for one digit.

    Args:
        recognise: the digit model.
        digit: uint8 (28, 28), white ink on black.
        label: the class to explain, 0 to 9.
    """
    covered, patches = _cover(digit)
    probabilities, is_digit = recognise(np.concatenate([digit[None], covered]))
    logits = logit(probabilities[:, label])
    return DigitExplanation(probabilities[0], float(is_digit[0]), _mean_change(logits[0] - logits[1:], patches))


def _cover(digit: DigitImage) -> tuple[DigitImages, list[tuple[slice, slice]]]:
    """Return copies of the digit, each with one patch covered, and the patches; those without ink are left out."""
    starts = range(STEP - PATCH, SIDE, STEP)
    patches = [(slice(max(y, 0), y + PATCH), slice(max(x, 0), x + PATCH)) for y in starts for x in starts]
    patches = [patch for patch in patches if digit[patch].any()]
    covered = np.repeat(digit[None], len(patches), axis=0)
    for image, patch in zip(covered, patches, strict=True):
        image[patch] = 0
    return covered, patches


def _mean_change(changes: npt.NDArray[np.float64], patches: list[tuple[slice, slice]]) -> Heatmap:
    """Return, for each pixel, the mean over the patches that cover it of how much the logit fell."""
    total, count = np.zeros((SIDE, SIDE)), np.zeros((SIDE, SIDE))
    for change, patch in zip(changes, patches, strict=True):
        total[patch] += change
        count[patch] += 1
    return (total / np.maximum(count, 1)).astype(np.float32)
