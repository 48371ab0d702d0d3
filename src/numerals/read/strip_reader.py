"""Read one strip: the row model proposes readings, the digit model scores them, and confidences are calibrated.

The row model separates touching digits, but sees each of them only as part of the row. The digit model sees one digit
at a time and was trained to reject non-digits. So several views of the strip propose readings, and both models together
choose one of them.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from numerals.errors import ModelError, PictureError
from numerals.read.ctc import Hypothesis, StepProbabilities, decode
from numerals.read.normalise import normalise_one
from numerals.read.pixels import DigitImage, DigitImages
from numerals.read.recognise import DigitPredictions
from numerals.read.strips import DIGIT_HEIGHT, INK_LEVEL, STRIDE, STRIP_HEIGHT, Strip
from numerals.results import Box, Digit, Row

VIEWS = ((1.0, 1.0), (0.9, 1.0), (1.1, 1.0), (1.0, 1.2), (1.0, 0.85))  # zoom and stretch of each view of a strip
MIN_THICK_SHARE = 0.5  # of the ink is at least two pixels wide; otherwise strokes are thickened by one pixel
INK_THRESHOLD = 0.35 * INK_LEVEL  # levels above this count as ink
CROP_MARGIN = 4  # pixels of background around a digit that is cut out
LOGIT_EPSILON = 1e-6  # confidences stay this far from 0 and 1 when their logit is taken
MIN_STROKE_HEIGHT = 0.6  # of the digits' height: lower strokes are not counted as upright
MAX_STROKE_WIDTH = 0.35  # of its own height: wider pieces of ink are not straight strokes
SLANT = 0.25  # columns per line by which handwriting leans to the right
PROBABILITY_FLOOR = 0.01  # added to the digit model's probabilities, so that one bad crop cannot veto a reading

Calibration = tuple[float, float]  # slope and shift of the logit of a confidence (Platt 1999)
RowPredictor = Callable[[Strip], StepProbabilities]  # uint8 (n, 1, 40, w) -> float32 (n, steps, 11), as RowRecogniser
DigitPredictor = Callable[[DigitImages], tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]]  # as Recogniser


@dataclass(frozen=True)
class StripReaderSettings:
    """How to combine and calibrate the models' outputs, from the row model's card; the defaults change nothing.

    Calibration is Platt's (1999): slope and shift of a confidence's logit.
    """

    digit_exponent: float = 0.0  # of the digit model's probability of each digit, next to the row model's probability
    is_digit_exponent: float = 0.0  # of the digit model's is_digit of each digit
    digit_calibration: tuple[float, float] = (1.0, 0.0)  # slope and shift of the logit of a digit's confidence
    row_calibration: tuple[float, float] = (1.0, 0.0)  # slope and shift of the logit of a row's confidence
    threshold: float = 0.5  # rows with less evidence are not rows of digits

    @classmethod
    def from_card(cls, card: dict[str, Any]) -> "StripReaderSettings":
        """Read the settings from the row model's card.

        Raises:
            ModelError: the card lacks them, or they are impossible.
        """
        digit, row = calibrations_from_card(card, "the row model's card")
        try:
            digit_exponent, is_digit_exponent = (float(card["opinion"][name]) for name in ("named", "being"))
            threshold = float(card["threshold"])
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ModelError(f"the row model's card: opinion or threshold is wrong ({error})") from error
        if not np.isfinite([digit_exponent, is_digit_exponent]).all():
            raise ModelError(f"the row model's card: opinion {card['opinion']}: give finite numbers")
        return cls(digit_exponent, is_digit_exponent, digit, row, threshold)


@dataclass(frozen=True)
class Candidate:
    """A reading that the row model proposes, and what the digit model says about each of its digits."""

    strip: Strip  # uint8 (40, w), bright ink on black: the strip that was read
    hypothesis: Hypothesis
    boxes: tuple[Box, ...]  # of the digits, in the strip's pixels
    images: tuple[DigitImage, ...]  # uint8 (28, 28) each: the digits cut out
    predictions: DigitPredictions  # of the digit model for these images

    def score(self, settings: StripReaderSettings) -> float:
        """Return the row model's probability of the reading, times how much the digit model agrees."""
        probabilities, is_digit = self.predictions
        agreed = probabilities[np.arange(len(probabilities)), np.array(self.hypothesis.digits, np.int64)]
        log_agreement = settings.digit_exponent * np.log(agreed + PROBABILITY_FLOOR)
        log_agreement = log_agreement + settings.is_digit_exponent * np.log(is_digit + PROBABILITY_FLOOR)
        return self.hypothesis.probability * float(np.exp(log_agreement.sum()))


@dataclass(frozen=True)
class StripReader:
    """Reads strips with a row model and a digit model.

    Args:
        row_model: proposes readings.
        digit_model: scores the digits of each proposal.
        settings: how to combine and calibrate the models' outputs.
        labels_from_digit_model: the row model only locates digits, and the digit model alone decides which they are.
        drawn: the picture was drawn on an empty pad, the right way up, so no straight stroke is a printed line.
        deadline: on `time.monotonic`'s clock; no strip is begun after it.
    """

    row_model: RowPredictor
    digit_model: DigitPredictor
    settings: StripReaderSettings
    labels_from_digit_model: bool = False
    drawn: bool = False
    deadline: float = math.inf

    def __call__(self, strip: Strip, views: int = len(VIEWS)) -> Row:
        """Read a strip.

        Args:
            strip: uint8 (40, w), bright ink on black.
            views: how many of VIEWS to read, at least one.

        Returns:
            The digits with their boxes in the strip's pixels, and the row's evidence in [0, 1].

        Raises:
            PictureError: the deadline has passed.
        """
        if time.monotonic() > self.deadline:
            raise PictureError("takes too long to read; give a part of the picture")
        row = self.choose(self.propose(strip, views))
        digits = [digit.digit for digit in row.digits]
        if self.drawn and count_upright_strokes(strip) > digits.count(1):
            other = self.choose(self.propose(strip, views, SLANT))
            return other if adds_only_ones([digit.digit for digit in other.digits], digits) else row
        return row

    def propose(self, strip: Strip, views: int = len(VIEWS), slant: float = 0.0) -> list[Candidate]:
        """Return the readings that the row model proposes, its best first.

        Args:
            strip: uint8 (40, w), bright ink on black.
            views: how many of VIEWS to read, at least one.
            slant: columns per line by which the row model sees the strip leaning to the right.
        """
        prepared = slanted(thicken_hairlines(strip), slant)
        hypotheses = decode([self.row_model(rescaled(prepared, *view)[None, None])[0] for view in VIEWS[:views]])
        boxes = [digit_boxes(strip, hypothesis.steps) for hypothesis in hypotheses]
        distinct = sorted({box for row in boxes for box in row}, key=_sides)
        images = [crop_digit(strip, box) for box in distinct]
        probabilities, is_digit = np.zeros((0, 10), np.float32), np.zeros(0, np.float32)
        if images:
            probabilities, is_digit = self.digit_model(np.stack(images))
        index = {box: number for number, box in enumerate(distinct)}
        candidates = []
        for hypothesis, row in zip(hypotheses, boxes, strict=True):
            chosen = np.array([index[box] for box in row], np.int64)
            predictions = DigitPredictions(probabilities[chosen], is_digit[chosen])
            candidates.append(Candidate(strip, hypothesis, tuple(row), tuple(images[i] for i in chosen), predictions))
        return candidates

    def choose(self, candidates: list[Candidate]) -> Row:
        """Return the candidate that both models together score best, as a row in the strip's pixels."""
        scores = [candidate.score(self.settings) for candidate in candidates]
        best = candidates[int(np.argmax(scores))]
        total = min(sum(candidate.hypothesis.probability for candidate in candidates), 1.0)
        share = max(scores) / max(sum(scores), 1e-12) * total
        digits = best.hypothesis.digits
        confidences = [calibrated(each, self.settings.digit_calibration) for each in best.hypothesis.confidences]
        confidence = calibrated(share, self.settings.row_calibration)
        probabilities, is_digit = best.predictions
        if self.labels_from_digit_model and digits:
            digits = tuple(probabilities.argmax(axis=1).tolist())
            confidences = probabilities.max(axis=1).tolist()
            confidence = float(np.prod(confidences))
        evidence = float(np.mean(np.array(confidences) * is_digit)) if digits else 0.0
        box = Box.union(best.boxes) if digits else Box(0, 0, best.strip.shape[1], STRIP_HEIGHT)
        row_digits = tuple(map(Digit, digits, confidences, best.boxes, best.images))
        return Row(row_digits, confidence, box, best.strip, evidence)


def calibrations_from_card(card: dict[str, Any], name: str) -> tuple[Calibration, Calibration]:
    """Read from a card how the confidences of digits and of rows are calibrated.

    Args:
        card: of a row model or a detector.
        name: what error messages call the card.

    Raises:
        ModelError: the card lacks them, or they are impossible.
    """
    try:
        (digit_slope, digit_shift), (row_slope, row_shift) = (
            map(float, card["calibration"][part]) for part in ("digit", "row")
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ModelError(f"{name}: calibration is wrong ({error})") from error
    if not np.isfinite([digit_slope, digit_shift, row_slope, row_shift]).all() or min(digit_slope, row_slope) <= 0:
        raise ModelError(f"{name}: calibration {card['calibration']}: give finite numbers, with slopes above 0")
    return (digit_slope, digit_shift), (row_slope, row_shift)


def calibrated(confidence: float, slope_and_shift: tuple[float, float]) -> float:
    """Return the confidence in [0, 1] after a linear change of its logit (Platt 1999)."""
    slope, shift = slope_and_shift
    return float(1 / (1 + np.exp(np.minimum(-(slope * logit(confidence) + shift), 700))))  # above, exp is infinite


def logit(probability: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return log(p / (1 - p)), finite for all p in [0, 1]."""
    inside = np.clip(np.asarray(probability, np.float64), LOGIT_EPSILON, 1 - LOGIT_EPSILON)
    return np.asarray(np.log(inside / (1 - inside)))


def thicken_hairlines(strip: Strip) -> Strip:
    """Return the strip with strokes one pixel wider if most of its ink is thinner than two pixels."""
    ink = np.asarray(strip > INK_THRESHOLD, np.uint8)
    square = np.ones((2, 2), np.uint8)
    thick = np.asarray(cv2.morphologyEx(ink, cv2.MORPH_OPEN, square), np.uint8)
    return strip if thick.sum() >= MIN_THICK_SHARE * ink.sum() else np.asarray(cv2.dilate(strip, square), np.uint8)


def count_upright_strokes(strip: Strip) -> int:
    """Count the pieces of ink that are narrow, upright and as high as a digit.

    The row model takes a perfectly straight one for a printed line, which it was trained to ignore.
    """
    _, _, stats, _ = cv2.connectedComponentsWithStats(np.asarray(strip > INK_THRESHOLD, np.uint8), connectivity=8)
    widths, heights = stats[1:, cv2.CC_STAT_WIDTH], stats[1:, cv2.CC_STAT_HEIGHT]
    return int(np.sum((heights >= MIN_STROKE_HEIGHT * DIGIT_HEIGHT) & (widths <= MAX_STROKE_WIDTH * heights)))


def adds_only_ones(digits: list[int], baseline: list[int]) -> bool:
    """Return whether `digits` has more digits than `baseline`, and all of the additional ones are 1."""
    rest, baseline_rest = ([digit for digit in each if digit != 1] for each in (digits, baseline))
    return len(digits) > len(baseline) and rest == baseline_rest


def slanted(strip: Strip, slant: float) -> Strip:
    """Return the strip leaning to the right about its middle line, by `slant` columns per line."""
    if slant == 0:
        return strip
    height, width = strip.shape
    matrix = np.array([[1, -slant, slant * (height - 1) / 2], [0, 1, 0]])
    return np.asarray(cv2.warpAffine(strip, matrix, (width, height), flags=cv2.INTER_LINEAR), np.uint8)


def rescaled(strip: Strip, zoom: float, stretch: float) -> Strip:
    """Return the strip with its writing scaled by `zoom` about the middle line, and its width by `stretch` as well.

    The strip's height stays the same.
    """
    if zoom == stretch == 1:
        return strip
    height, width = strip.shape
    new_width = max(round(width * zoom * stretch), 8)
    matrix = np.array([[new_width / width, 0, 0], [0, zoom, (1 - zoom) * (height - 1) / 2]])
    return np.asarray(cv2.warpAffine(strip, matrix, (new_width, height), flags=cv2.INTER_LINEAR), np.uint8)


def crop_digit(strip: Strip, box: Box) -> DigitImage:
    """Return one digit of the strip in MNIST's form, uint8 (28, 28), white ink on black."""
    part = strip[box.top : max(box.bottom, box.top + 1), box.left : max(box.right, box.left + 1)]
    return normalise_one(np.pad(part, CROP_MARGIN), None, False)


def digit_boxes(strip: Strip, steps: tuple[int, ...]) -> list[Box]:
    """Return each digit's box in the strip, given the row model's steps at which the digits peak.

    Neighbours are parted at the column with least ink between their peaks; each box is tight around the ink.
    """
    if not steps:
        return []
    peaks = [STRIDE * step + STRIDE / 2 for step in steps]
    ink_per_column = strip.sum(axis=0, dtype=np.float64)
    borders = [0.0, *(_emptiest_column(ink_per_column, *pair) for pair in pairwise(peaks)), float(strip.shape[1])]
    ink: npt.NDArray[np.bool_] = strip > INK_THRESHOLD
    return [_tight_box(ink, left, right, peak) for (left, right), peak in zip(pairwise(borders), peaks, strict=True)]


def _sides(box: Box) -> tuple[int, int, int, int]:
    return box.left, box.top, box.right, box.bottom


def _emptiest_column(ink_per_column: npt.NDArray[np.float64], left: float, right: float) -> float:
    """Return the column with least ink between two peaks; of several, the one nearest to the middle."""
    columns = np.arange(int(left), max(int(np.ceil(right)), int(left) + 1))
    distances = np.abs(columns + 0.5 - (left + right) / 2)
    costs = ink_per_column[columns] + 0.5 * INK_LEVEL * distances / max(right - left, 1)
    return float(columns[np.argmin(costs)]) + 0.5


def _tight_box(ink: npt.NDArray[np.bool_], left: float, right: float, peak: float) -> Box:
    """Return the box around the ink between two columns, at most a digit's width from the peak."""
    height = ink.shape[0]
    start, end = int(max(left, peak - 0.6 * height)), int(np.ceil(min(right, peak + 0.6 * height)))
    part = ink[:, start:end]
    columns, lines = np.flatnonzero(part.any(axis=0)), np.flatnonzero(part.any(axis=1))
    if not len(columns):
        return Box.from_sides(start, 0, end, height)
    return Box.from_sides(
        start + int(columns[0]), int(lines[0]), start + int(columns[-1]) + 1, int(lines[-1]) + 1
    )  # fmt: skip
