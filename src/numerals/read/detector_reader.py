"""Read a page with a detector: find its digits, group them into rows, decide which they are and which way is up.

Three networks look at a digit independently: the detector on the page, the digit model at its cut-out, and, where
digits touch, the row model at the row. The reading on which they agree best is chosen, and how well they agree is the
confidence.
"""

import math
import time
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from numerals.errors import ModelError, PictureError
from numerals.read.cutouts import cut_out
from numerals.read.detect import Detections, DetectorFunction, detect, resized
from numerals.read.normalise import normalise_one
from numerals.read.page_ink import polarities
from numerals.read.page_reader import original_pixels
from numerals.read.picture import Picture
from numerals.read.pixels import DigitImages, Pixels
from numerals.read.strip_reader import Candidate, DigitPredictor, StripReader, calibrated, calibrations_from_card
from numerals.read.strips import Strip, strip_from_picture
from numerals.read.text_rows import group_rows, usual_sizes
from numerals.results import Box, Digit, Page, Row

FloatArray = npt.NDArray[np.float32]

MIN_SCORE = 0.35  # of a detection that is read
CLEAR_SCORE = 0.65  # a page whose detections have a lower mean score is also tried in the other polarity and turned
MIN_TURN_GAIN = 1.5  # another way up must have this many times the evidence
DETECTOR_FLOOR, DIGIT_FLOOR = 1e-3, 1e-2  # added to probabilities, so that one look alone cannot veto a reading
TOUCHING_GAP, TOUCHING_SHARE = 0.08, 0.3  # of the height; of the gaps in a row that the row model is asked about
INSERTION = 0.03  # probability of a digit that the detector missed
ROW_EXPONENT = 0.8  # weight of the row model's log probability of a reading
WEAK_REACH = 1.5  # heights of a digit from a row within which a weak detection may be a digit that it misses
MIN_PROBABILITY = 1e-30
UNPROPOSED = 0.002  # probability of a reading that the row model does not propose, relative to its best
STRIP_MARGIN = 0.35  # heights of a digit around a row
STRIP_DIGIT_HEIGHT = 40  # pixels of a digit in the level picture of a row
MIN_FILLED_SHARE = 0.35  # of a picture's height that the digits of a row fill if the picture is a cut-out row
ROW_PICTURE_HEIGHT = 64  # pixels to which such a picture is reduced
LARGE_SHARE = 0.4  # of the picture's shorter side: one digit this large is the picture's subject


@dataclass(frozen=True)
class DetectorReaderSettings:
    """How to combine and calibrate what the networks say, from the detector's card; the defaults calibrate nothing.

    Calibration is Platt's (1999): slope and shift of a confidence's logit.
    """

    digit_exponent: float = 1.0  # weight of the digit model's log probabilities relative to the detector's
    digit_calibration: tuple[float, float] = (1.0, 0.0)
    row_calibration: tuple[float, float] = (1.0, 0.0)
    threshold: float = 0.4  # rows whose digits have a lower mean confidence are not rows of digits

    @classmethod
    def from_card(cls, card: dict[str, Any]) -> "DetectorReaderSettings":
        """Read the settings from the detector's card.

        Raises:
            ModelError: the card lacks them, or they are impossible.
        """
        digit, row = calibrations_from_card(card, "the detector's card")
        try:
            settings = cls(float(card["digit_exponent"]), digit, row, float(card["threshold"]))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ModelError(f"the detector's card: digit_exponent or threshold is wrong ({error})") from error
        if not math.isfinite(settings.digit_exponent):
            raise ModelError("the detector's card: digit_exponent: give a finite number")
        return settings


@dataclass(frozen=True)
class DetectorReader:
    """Reads pages.

    Args:
        detector: finds digits.
        digit_model: recognises them one by one.
        strip_reader: reads rows in which digits touch.
        settings: how to combine and calibrate what they say.
        drawn: the picture was drawn on an empty pad, the right way up.
        deadline: on `time.monotonic`'s clock; nothing is begun after it.
    """

    detector: DetectorFunction
    digit_model: DigitPredictor
    strip_reader: StripReader
    settings: DetectorReaderSettings = DetectorReaderSettings()
    drawn: bool = False
    deadline: float = math.inf

    def __call__(self, picture: Picture) -> Page:
        """Read the digits in a picture, whichever way up it is.

        Raises:
            PictureError: the deadline has passed.
        """
        best: _View | None = None
        for light_ink in polarities(picture.pixels):
            view = self._look(picture, light_ink, 0)
            if best is None or view.evidence > best.evidence:
                best = view
            if best.mean_score >= CLEAR_SCORE:
                break
        assert best is not None
        if best.mean_score < CLEAR_SCORE and not self.drawn:
            for quarters in (1, 2, 3):
                view = self._look(picture, best.light_ink, quarters)
                if view.evidence > MIN_TURN_GAIN * best.evidence and view.mean_score > best.mean_score:
                    best = view
        rows = self._rows(best)
        to_original = original_pixels(picture, 1.0, best.quarters)
        return Page(
            tuple(row.transform(to_original) for row in rows), picture.width, picture.height, 90 * best.quarters
        )

    def _look(self, picture: Picture, light_ink: bool, quarters: int) -> "_View":
        if time.monotonic() > self.deadline:
            raise PictureError("takes too long to read; give a part of the picture")
        pixels = np.ascontiguousarray(np.rot90(picture.pixels, quarters))
        if light_ink:
            pixels = np.asarray(cv2.bitwise_not(pixels), np.uint8)
        return _View(pixels, light_ink, quarters, detect(pixels, self.detector))

    def _rows(self, view: "_View") -> list[Row]:
        strong = view.detections.score >= MIN_SCORE
        found, weak = usual_sizes(view.detections.take(strong)), view.detections.take(~strong)
        if not len(found):
            return []
        subject = is_subject(found, view.pixels)
        images = normalise_one(view.pixels, None, True)[None] if subject else cut_out(view.pixels, found)
        by_digit_model = self.digit_model(images)[0]
        joint = by_digit_model
        if not subject:
            joint = combine(found.probabilities, by_digit_model, self.settings.digit_exponent)
        groups = group_rows(found)
        is_only_row = not subject and len(groups) == 1 and fills(found, view.pixels)
        rows = [self._row(view, found.take(row), joint[row], images[row], weak, is_only_row) for row in groups]
        return [row for row in rows if row.evidence >= self.settings.threshold]

    def _row(
        self,
        view: "_View",
        found: Detections,
        joint: FloatArray,
        images: DigitImages,
        weak: Detections,
        is_only_row: bool,
    ) -> Row:
        strip, to_page = whole_strip(view.pixels) if is_only_row else level_strip(view.pixels, found)
        confidences = [
            calibrated(each, self.settings.digit_calibration) for each in (joint.max(axis=1) * found.score).tolist()
        ]
        missed = _near(weak, found)
        misses = [
            calibrated(each, self.settings.digit_calibration)
            for each in (missed.score * missed.probabilities.max(axis=1)).tolist()
        ]
        digits = tuple(map(Digit, joint.argmax(axis=1).tolist(), confidences, _boxes(found), images))
        box = Box.union([digit.box for digit in digits])
        confidence = float(np.prod(confidences) * np.prod(1 - np.array(misses)))
        row = Row(digits, confidence, box, strip, float(np.mean(confidences)))
        if is_only_row or touching(found):
            if time.monotonic() > self.deadline:
                raise PictureError("takes too long to read; give a part of the picture")
            row = self._with_row_model(row, found, joint, to_page)
        return replace(row, confidence=calibrated(row.confidence, self.settings.row_calibration))

    def _with_row_model(self, row: Row, found: Detections, joint: FloatArray, to_page: "LevelMap") -> Row:
        """Let the row model propose other readings, and return the best of all."""
        settings = self.strip_reader.settings
        proposals: list[tuple[tuple[int, ...], float, Candidate | None]] = [
            (candidate.hypothesis.digits, candidate.score(settings), candidate)
            for candidate in self.strip_reader.propose(row.strip)
        ]
        own = tuple(digit.digit for digit in row.digits)
        if own not in [digits for digits, _, _ in proposals]:
            proposals.append((own, UNPROPOSED * max(score for _, score, _ in proposals), None))
        scores = np.array(
            [
                sequence_probability(digits, found.score, joint) * (score + MIN_PROBABILITY) ** ROW_EXPONENT
                for digits, score, _ in proposals
            ]
        )
        best = int(scores.argmax())
        share = float(scores[best] / max(scores.sum(), MIN_PROBABILITY))
        digits, _, candidate = proposals[best]
        if digits == own or candidate is None:
            return Row(row.digits, share * max(row.confidence, 0.5), row.box, row.strip, row.evidence)
        boxes = [digit.box for digit in row.digits]
        if len(digits) != len(boxes):
            boxes = [to_page.box(each, found) for each in candidate.boxes]
        read = tuple(
            Digit(digit, confidence, box, image)
            for digit, confidence, box, image in zip(
                digits, candidate.hypothesis.confidences, boxes, candidate.images, strict=True
            )
        )
        box = Box.union(boxes) if boxes else row.box
        return Row(read, share * float(np.prod(candidate.hypothesis.confidences)), box, row.strip, row.evidence)


@dataclass(frozen=True)
class _View:
    """A picture in one polarity and one way up, and what the detector finds there."""

    pixels: Pixels  # dark ink on light paper
    light_ink: bool  # of the picture itself
    quarters: int  # counterclockwise quarter turns from the picture to the pixels
    detections: Detections

    @property
    def evidence(self) -> float:
        """How much speaks for this view: how sure the detector is of each digit, and of which it is."""
        found = self.detections.take(self.detections.score >= MIN_SCORE)
        return float((found.score * (2 * found.probabilities.max(axis=1) - 1)).sum())

    @property
    def mean_score(self) -> float:
        score = self.detections.score[self.detections.score >= MIN_SCORE]
        return float(score.mean()) if len(score) else 0.0


def combine(by_detector: FloatArray, by_digit_model: FloatArray, digit_exponent: float) -> FloatArray:
    """Combine the class probabilities of the detector and the digit model.

    Args:
        by_detector, by_digit_model: (n, 10), each row sums to 1.
        digit_exponent: weight of the digit model's log probabilities relative to the detector's.

    Returns:
        float32 (n, 10), each row sums to 1.
    """
    weighed = (by_detector + DETECTOR_FLOOR) * (by_digit_model + DIGIT_FLOOR) ** digit_exponent
    return np.asarray(weighed / weighed.sum(axis=1, keepdims=True), np.float32)


def is_subject(found: Detections, pixels: Pixels) -> bool:
    """Return whether the only digit found fills the picture."""
    size = np.maximum(found.height, found.width)
    return len(found) == 1 and bool(size[0] > LARGE_SHARE * min(pixels.shape[:2]))


def _near(weak: Detections, row: Detections) -> Detections:
    """Those of the weak detections that may be digits which a row misses."""
    height = float(np.median(row.height))
    level = np.interp(weak.x, row.x, row.y)
    is_near = (np.abs(weak.y - level) < height / 2) & (weak.height > height / 2) & (weak.height < 2 * height)
    is_near &= (weak.x > row.x.min() - WEAK_REACH * height) & (weak.x < row.x.max() + WEAK_REACH * height)
    return weak.take(is_near)


def _boxes(found: Detections) -> list[Box]:
    return [
        Box.from_sides(
            round(x - w / 2), round(y - h / 2), max(round(x + w / 2), round(x - w / 2) + 1), round(y + h / 2)
        )
        for x, y, w, h in zip(*(each.tolist() for each in (found.x, found.y, found.width, found.height)), strict=True)
    ]


def touching(row: Detections) -> bool:
    """Return whether many digits of a row, from left to right, touch or nearly touch their neighbours."""
    if len(row) < 2:
        return False
    right, left = row.x + row.width / 2, row.x - row.width / 2
    gaps = (left[1:] - right[:-1]) / np.minimum(row.height[1:], row.height[:-1])
    return float(np.mean(gaps < TOUCHING_GAP)) >= TOUCHING_SHARE


def sequence_probability(digits: tuple[int, ...], scores: FloatArray, joint: FloatArray) -> float:
    """Return how probable a reading is by the detections: each is one of its digits or none, and it may miss some.

    Args:
        digits: the reading.
        scores: (n,) of the detections from left to right: the probability that each is a digit.
        joint: (n, 10) the probability of each class, if it is.
    """
    row = np.zeros(len(digits) + 1)
    row[0] = 1.0
    for position in range(len(digits)):
        row[position + 1] = row[position] * INSERTION
    for score, probabilities in zip(scores.tolist(), joint, strict=True):
        skipped = row * (1 - min(score, 0.999))
        following = np.empty_like(row)
        following[0] = skipped[0]
        for position, digit in enumerate(digits):
            used = row[position] * score * float(probabilities[digit])
            following[position + 1] = max(used, skipped[position + 1], following[position] * INSERTION)
        row = following
    return float(row[-1])


@dataclass(frozen=True)
class LevelMap:
    """From the pixels of a strip to those of the page that it was cut from."""

    to_page: npt.NDArray[np.float64]  # (2, 3): from the level picture of the row
    scale: float  # width of the strip relative to the level picture
    height: float  # of the level picture

    def box(self, box: Box, row: Detections) -> Box:
        """Map a box of a digit; how high it reaches is taken from the row's detections next to it."""
        x0, x1 = box.left / self.scale, max(box.right, box.left + 1) / self.scale
        sides = np.array([(x, self.height / 2, 1) for x in (x0, x1)]) @ self.to_page.T
        left, right = sorted(sides[:, 0].tolist())
        middle = (left + right) / 2
        y, height = np.interp(middle, row.x, row.y), np.interp(middle, row.x, row.height)
        return Box.from_sides(
            round(left), round(y - height / 2), max(round(right), round(left) + 1), round(y + height / 2)
        )


def fills(row: Detections, pixels: Pixels) -> bool:
    """Return whether the digits of a row fill the height of their picture, as in a cut-out amount."""
    height, width = pixels.shape[:2]
    return bool(width > 1.1 * height and np.median(row.height) > MIN_FILLED_SHARE * height)


def whole_strip(pixels: Pixels) -> tuple[Strip, LevelMap]:
    """Make a strip of a whole picture that is a row; what the detector missed at its ends is in it, too."""
    scale = min(1.0, ROW_PICTURE_HEIGHT / pixels.shape[0])
    reduced = resized(pixels, scale)
    grey = np.asarray(cv2.cvtColor(reduced, cv2.COLOR_RGB2GRAY), np.uint8) if reduced.ndim == 3 else reduced
    strip, zoom = strip_from_picture(grey)
    return strip, LevelMap(np.array([[1 / scale, 0, 0], [0, 1 / scale, 0]]), zoom, grey.shape[0])


def level_strip(pixels: Pixels, row: Detections) -> tuple[Strip, LevelMap]:
    """Cut a row out of its page, turned level, as a strip."""
    height = float(np.median(row.height))
    slope = 0.0
    if len(row) > 1 and float(np.ptp(row.x)) > height:
        slope = float(np.clip(np.polyfit(row.x, row.y, 1)[0], -1, 1))
    angle = math.atan(slope)
    along, across = np.array([math.cos(angle), math.sin(angle)]), np.array([-math.sin(angle), math.cos(angle)])
    x = np.concatenate([row.x - row.width / 2, row.x + row.width / 2] * 2)
    y = np.concatenate([row.y - row.height / 2] * 2 + [row.y + row.height / 2] * 2)
    places = np.column_stack([x, y]) @ np.column_stack([along, across])
    low = places.min(axis=0) - STRIP_MARGIN * height
    high = places.max(axis=0) + STRIP_MARGIN * height
    zoom = STRIP_DIGIT_HEIGHT / height
    to_page = np.column_stack([along / zoom, across / zoom, low[0] * along + low[1] * across])
    size = [max(round(float(side) * zoom), 8) for side in high - low]
    grey = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8) if pixels.ndim == 3 else pixels
    if zoom < 0.5:
        grey = np.asarray(cv2.GaussianBlur(grey, (0, 0), 0.4 / zoom), np.uint8)
    level = cv2.warpAffine(
        grey,
        to_page,
        (size[0], size[1]),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    strip, scale = strip_from_picture(np.asarray(level, np.uint8))
    return strip, LevelMap(to_page, scale, size[1])
