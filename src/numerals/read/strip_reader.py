"""One strip -> its digits, their places and confidences: the row model looks several times, the digit model judges.

The row model reads touching digits, but looks at each in passing; the digit model sees one digit at a time, and was
taught what is none. So of the readings that the looks propose, both together choose. Knows nothing about pages.
"""

import copy
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
from numerals.read.ctc import Candidate, StepProbabilities, candidates
from numerals.read.normalise import normalise_one
from numerals.read.pixels import GreyPixels
from numerals.read.strips import DIGIT_HEIGHT, INK_LEVEL, STRIDE

LOOKS = ((1.0, 1.0), (0.9, 1.0), (1.1, 1.0), (1.0, 1.2), (1.0, 0.85))  # sizes and widths at which a strip is looked at
THIN = 0.5  # share of the ink that is two pixels wide; where it is less, strokes are thickened by one
FAINT = 0.35  # of a row's ink: what belongs to a digit's box is darker
AROUND = 4  # pixels of paper around a digit that is cut out
LOGIT_EPSILON = 1e-6  # confidences are kept this far from 0 and 1 before the logit
TALL, NARROW = 0.6, 0.35  # of a digit's height a straight stroke is high, and of its own height it is wide at most
SLANT = 0.25  # columns a line that a hand leans its digits to the right
FLOOR = 0.01  # of a probability of the digit model: one doubtful cut shall not outvote all else

RowAnswer = Callable[[GreyPixels], StepProbabilities]  # uint8 (n, 1, 40, w) -> float32 (n, steps, 11)
DigitAnswer = Callable[[GreyPixels], tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]]  # as `Recogniser`
Opinion = npt.NDArray[np.float32]  # (digits, 11): the digit model's ten probabilities and is_digit of each
Frame = tuple[float, float, float, float]  # left, top, right, bottom


@dataclass(frozen=True)
class StripReaderSettings:
    """What the row model's card says about how to take its answers; the defaults take them as they are."""

    named: float = 0.0  # exponent of the digit model's probability of each digit, beside the row model's
    being: float = 0.0  # exponent of its is_digit
    digit: tuple[float, float] = (1.0, 0.0)  # slope and shift of the logit of a digit's confidence (calibration)
    row: tuple[float, float] = (1.0, 0.0)  # and of a row's
    threshold: float = 0.5  # evidence under which a row is no row of digits

    @classmethod
    def from_card(cls, card: dict[str, Any]) -> "StripReaderSettings":
        """Raises ModelError where the card has them not."""
        try:
            (digit, up), (row, high) = (map(float, card["calibration"][name]) for name in ("digit", "row"))
            named, being = (float(card["opinion"][name]) for name in ("named", "being"))
            found = cls(named, being, (digit, up), (row, high), float(card["threshold"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"the row model's card: opinion, calibration or threshold is wrong ({error})") from error
        if not np.isfinite([named, being, digit, up, row, high]).all() or min(digit, row) <= 0:
            raise ModelError(f"the row model's card: calibration {card['calibration']}: must be finite, slopes over 0")
        return found


@dataclass(frozen=True)
class StripReading:
    """The digits of a strip, left to right; `evidence` in [0, 1] is how much it looks like digits at all."""

    digits: tuple[int, ...]
    confidences: tuple[float, ...]
    frames: tuple[Frame, ...]  # in the strip's pixels
    seen: tuple[GreyPixels, ...]  # uint8 (28, 28) each: what the digit model saw
    confidence: float
    evidence: float


@dataclass(frozen=True)
class Proposal:
    """A reading that the looks propose, its boxes in the strip, and what the digit model says of each of them."""

    candidate: Candidate
    frames: tuple[Frame, ...]
    seen: tuple[GreyPixels, ...]  # uint8 (28, 28): each frame cut out, as the digit model saw it
    opinion: Opinion

    def weight(self, settings: StripReaderSettings) -> float:
        """Its share, times how much the digit model agrees."""
        named = self.opinion[np.arange(len(self.opinion)), np.array(self.candidate.digits, np.int64)]
        said = settings.named * np.log(named + FLOOR) + settings.being * np.log(self.opinion[:, 10] + FLOOR)
        return self.candidate.share * float(np.exp(said.sum()))


class StripReader:
    """Both models, and how to weigh them.

    Args:
        rows, digits: the two models.
        settings: how to take their answers.
        renames: the digits are named by the digit model alone, where the row model has found them.
        drawn: all is drawn by hand on an empty pad, the right way up: no straight stroke is a printed line.
    """

    def __init__(
        self,
        rows: RowAnswer,
        digits: DigitAnswer,
        settings: StripReaderSettings,
        renames: bool = False,
        drawn: bool = False,
    ) -> None:
        self.rows, self.digits, self.settings, self.renames, self.drawn = rows, digits, settings, renames, drawn
        self.until = math.inf  # on `time.monotonic`: when reading is given up

    def giving_up(self, seconds: float) -> "StripReader":
        """The same, that begins no strip so many seconds from now, but raises PictureError."""
        hurried = copy.copy(self)
        hurried.until = time.monotonic() + seconds
        return hurried

    def __call__(self, strip: GreyPixels, looks: int = len(LOOKS)) -> StripReading:
        """uint8 (40, w), 0 paper, read with so many looks."""
        if time.monotonic() > self.until:
            raise PictureError("takes too long to read: too much is written in it; give a part of it")
        reading = self.choose(self.propose(strip, looks))
        if self.drawn and upright_strokes(strip) > reading.digits.count(1):
            slanted = self.choose(self.propose(strip, looks, SLANT))
            return slanted if is_with_more_ones(slanted.digits, reading.digits) else reading
        return reading

    def propose(self, strip: GreyPixels, looks: int = len(LOOKS), slant: float = 0.0) -> list[Proposal]:
        """What may be written there, the row model's best first; it sees the strip leaning to the right by `slant`."""
        seen = leaning(thickened(strip), slant)
        found = candidates([self.rows(zoomed(seen, *look)[None, None])[0] for look in LOOKS[:looks]])
        frames = [tuple(digit_frames(strip, each.steps)) for each in found]
        return [Proposal(*each) for each in zip(found, frames, *self._opinions(strip, frames), strict=True)]

    def choose(self, proposals: list[Proposal]) -> StripReading:
        """The proposal that both models together think best."""
        weights = [each.weight(self.settings) for each in proposals]
        best = proposals[int(np.argmax(weights))]
        share = max(weights) / max(sum(weights), 1e-12) * min(sum(each.candidate.share for each in proposals), 1.0)
        digits = best.candidate.digits
        sure = [calibrated(confidence, self.settings.digit) for confidence in best.candidate.confidences]
        confidence = calibrated(share, self.settings.row)
        if self.renames and digits:
            digits = tuple(best.opinion[:, :10].argmax(axis=1).tolist())
            sure = best.opinion[:, :10].max(axis=1).tolist()
            confidence = float(np.prod(sure))
        evidence = float(np.mean(np.array(sure) * best.opinion[:, 10])) if digits else 0.0
        return StripReading(digits, tuple(sure), best.frames, best.seen, confidence, evidence)

    def _opinions(
        self, strip: GreyPixels, frames: list[tuple[Frame, ...]]
    ) -> tuple[list[tuple[GreyPixels, ...]], list[Opinion]]:
        """What the digit model sees in each frame of each list, and says of it."""
        different = sorted({frame for each in frames for frame in each})
        if not different:
            return [() for _ in frames], [np.zeros((0, 11), np.float32) for _ in frames]
        cuts = [cut_out(strip, frame) for frame in different]
        probabilities, is_digit = self.digits(np.stack(cuts))
        said = dict(zip(different, np.column_stack([probabilities, is_digit]), strict=True))
        seen = dict(zip(different, cuts, strict=True))
        return (
            [tuple(seen[frame] for frame in each) for each in frames],
            [np.array([said[frame] for frame in each], np.float32).reshape(-1, 11) for each in frames],
        )


def calibrated(confidence: float, line: tuple[float, float]) -> float:
    """The confidence with its logit on that line, slope and shift (Platt 1999)."""
    return float(1 / (1 + np.exp(-(line[0] * logit(confidence) + line[1]))))


def logit(share: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """log(p / (1 - p)), finite everywhere."""
    inside = np.clip(np.asarray(share, np.float64), LOGIT_EPSILON, 1 - LOGIT_EPSILON)
    return np.asarray(np.log(inside / (1 - inside)))


def thickened(strip: GreyPixels) -> GreyPixels:
    """The strip, its strokes a pixel wider where they are hairlines."""
    dark = np.asarray(strip > FAINT * INK_LEVEL, np.uint8)
    square = np.ones((2, 2), np.uint8)
    wide = np.asarray(cv2.morphologyEx(dark, cv2.MORPH_OPEN, square), np.uint8)
    return strip if wide.sum() >= THIN * dark.sum() else np.asarray(cv2.dilate(strip, square), np.uint8)


def upright_strokes(strip: GreyPixels) -> int:
    """How many pieces of ink are narrow, upright, and as high as a digit.

    The row model takes one that is straight for a printed line, which it must not read.
    """
    _, _, stats, _ = cv2.connectedComponentsWithStats(np.asarray(strip > FAINT * INK_LEVEL, np.uint8), connectivity=8)
    wide, high = stats[1:, cv2.CC_STAT_WIDTH], stats[1:, cv2.CC_STAT_HEIGHT]
    return int(np.sum((high >= TALL * DIGIT_HEIGHT) & (wide <= NARROW * high)))


def is_with_more_ones(digits: tuple[int, ...], others: tuple[int, ...]) -> bool:
    """Whether all that the digits have more than the others is ones."""
    rest, other_rest = ([digit for digit in each if digit != 1] for each in (digits, others))
    return len(digits) > len(others) and rest == other_rest


def leaning(strip: GreyPixels, slant: float) -> GreyPixels:
    """The strip leaning to the right about its middle line by so many columns a line."""
    if slant == 0:
        return strip
    height, width = strip.shape
    matrix = np.array([[1, -slant, slant * (height - 1) / 2], [0, 1, 0]])
    return np.asarray(cv2.warpAffine(strip, matrix, (width, height), flags=cv2.INTER_LINEAR), np.uint8)


def zoomed(strip: GreyPixels, zoom: float, stretch: float) -> GreyPixels:
    """The strip with its writing larger or smaller about its middle line, and wider or narrower; its height stays."""
    if zoom == stretch == 1:
        return strip
    height, width = strip.shape
    wide = max(round(width * zoom * stretch), 8)
    matrix = np.array([[wide / width, 0, 0], [0, zoom, (1 - zoom) * (height - 1) / 2]])
    return np.asarray(cv2.warpAffine(strip, matrix, (wide, height), flags=cv2.INTER_LINEAR), np.uint8)


def cut_out(strip: GreyPixels, frame: Frame) -> GreyPixels:
    """One digit of the strip in MNIST's form."""
    left, top, right, bottom = (round(side) for side in frame)
    part = strip[max(top, 0) : max(bottom, top + 1), max(left, 0) : max(right, left + 1)]
    return normalise_one(np.pad(part, AROUND), None, False)


def digit_frames(strip: GreyPixels, steps: tuple[int, ...]) -> list[Frame]:
    """Each digit's box in the strip: between the columns with least ink, drawn in to the ink there."""
    if not steps:
        return []
    at = [STRIDE * step + STRIDE / 2 for step in steps]
    columns = strip.sum(axis=0, dtype=np.float64)
    ends = [0.0, *(_parting(columns, *pair) for pair in pairwise(at)), float(strip.shape[1])]
    dark: npt.NDArray[np.bool_] = strip > FAINT * INK_LEVEL
    return [_drawn_in(dark, left, right, peak) for left, right, peak in zip(ends, ends[1:], at, strict=False)]


def _parting(columns: npt.NDArray[np.float64], left: float, right: float) -> float:
    """The column with least ink between two peaks, and of several the one nearest to their middle."""
    between = np.arange(int(left), max(int(np.ceil(right)), int(left) + 1))
    away = np.abs(between + 0.5 - (left + right) / 2)
    return float(between[np.argmin(columns[between] + 0.5 * INK_LEVEL * away / max(right - left, 1))]) + 0.5


def _drawn_in(dark: npt.NDArray[np.bool_], left: float, right: float, peak: float) -> Frame:
    """The box around the dark pixels between two columns that are not farther off than a digit is wide."""
    height = dark.shape[0]
    start, end = int(max(left, peak - 0.6 * height)), int(np.ceil(min(right, peak + 0.6 * height)))
    part = dark[:, start:end]
    columns, lines = np.flatnonzero(part.any(axis=0)), np.flatnonzero(part.any(axis=1))
    if not len(columns):
        return float(start), 0.0, float(end), float(height)
    return float(start + columns[0]), float(lines[0]), float(start + columns[-1] + 1), float(lines[-1] + 1)
