"""One strip: the row model proposes readings, the digit model scores them, and confidences are calibrated."""

import time
from typing import Any

import numpy as np
import pytest

from numerals.errors import ModelError, PictureError
from numerals.export.row_model import EXPONENTS, fit_exponents
from numerals.read.pixels import DigitImages
from numerals.read.strip_reader import StripReader, StripReaderSettings, calibrated, crop_digit, digit_boxes
from numerals.read.strips import INK_LEVEL, STRIP_HEIGHT, Strip
from numerals.results import Box

STEPS = 20
CARD: dict[str, Any] = {
    "opinion": {"named": 0.2, "being": 0.1},
    "calibration": {"digit": [1, 0], "row": [0.5, -1]},
    "threshold": 0.3,
}


def two_strokes() -> Strip:
    """A strip with two upright strokes, at columns 10 and 28."""
    strip = np.zeros((STRIP_HEIGHT, 2 * STEPS), np.uint8)
    strip[8:32, 9:12] = strip[8:32, 27:30] = INK_LEVEL
    return strip


def row_model(strips: Strip) -> np.ndarray:
    """Predicts 1 and then 7 (0.55) or 1 (0.45) for every strip."""
    probabilities = np.full((1, STEPS, 11), 1e-6, np.float32)
    probabilities[:, :, 0] = 1
    probabilities[:, 5, [0, 2]] = 0.001, 0.999
    probabilities[:, 14, [0, 8, 2]] = 0.001, 0.549, 0.45
    return probabilities


def blank_row_model(strips: Strip) -> np.ndarray:
    probabilities = np.zeros((1, STEPS, 11), np.float32)
    probabilities[:, :, 0] = 1
    return probabilities


def digit_model(images: DigitImages) -> tuple[np.ndarray, np.ndarray]:
    """Predicts 1 for every image."""
    probabilities = np.full((len(images), 10), 0.01, np.float32)
    probabilities[:, 1] = 0.91
    return probabilities, np.full(len(images), 0.8, np.float32)


def test_the_digit_model_counts_as_much_as_its_exponent_says() -> None:
    assert StripReader(row_model, digit_model, StripReaderSettings())(two_strokes()).text == "17"
    row = StripReader(row_model, digit_model, StripReaderSettings(digit_exponent=0.2))(two_strokes())
    assert row.text == "11"
    assert 0.45 < row.confidence < 1
    assert row.evidence == pytest.approx(0.8 * np.mean([digit.confidence for digit in row.digits]))


def test_the_digit_model_alone_may_name_the_digits() -> None:
    row = StripReader(row_model, digit_model, StripReaderSettings(), labels_from_digit_model=True)(two_strokes())
    assert row.text == "11"
    assert [digit.confidence for digit in row.digits] == pytest.approx([0.91, 0.91])
    assert row.confidence == pytest.approx(0.91**2)


def test_boxes_and_images_are_those_of_the_strip() -> None:
    row = StripReader(row_model, digit_model, StripReaderSettings())(two_strokes())
    assert [digit.box for digit in row.digits] == [Box(9, 8, 3, 24), Box(27, 8, 3, 24)]
    assert row.box == Box(9, 8, 21, 24)
    assert [digit.seen.shape for digit in row.digits] == [(28, 28), (28, 28)]
    assert np.array_equal(row.strip, two_strokes())


def test_without_digits_the_row_is_empty() -> None:
    settings = StripReaderSettings(digit_exponent=0.2, is_digit_exponent=0.2)
    row = StripReader(blank_row_model, digit_model, settings)(two_strokes())
    assert (row.digits, row.box, row.evidence) == ((), Box(0, 0, 2 * STEPS, STRIP_HEIGHT), 0.0)


def test_after_the_deadline_no_strip_is_read() -> None:
    reader = StripReader(row_model, digit_model, StripReaderSettings(), deadline=time.monotonic() - 1)
    with pytest.raises(PictureError, match="takes too long to read"):
        reader(two_strokes())


def test_boxes_are_tight_around_the_ink() -> None:
    assert digit_boxes(two_strokes(), (5, 14)) == [Box(9, 8, 3, 24), Box(27, 8, 3, 24)]
    assert crop_digit(two_strokes(), Box(9, 8, 3, 24)).shape == (28, 28)


def test_settings_come_from_the_card() -> None:
    assert StripReaderSettings.from_card(CARD) == StripReaderSettings(0.2, 0.1, (1.0, 0.0), (0.5, -1.0), 0.3)
    for missing in CARD:
        with pytest.raises(ModelError, match="row model's card"):
            StripReaderSettings.from_card({key: value for key, value in CARD.items() if key != missing})
    for broken in ({"digit": [float("nan"), 0], "row": [1, 0]}, {"digit": [1], "row": [1, 0]}, "calibrated"):
        with pytest.raises(ModelError, match="row model's card"):
            StripReaderSettings.from_card({**CARD, "calibration": broken})


def test_calibration_is_linear_in_the_logit() -> None:
    assert calibrated(0.7, (1.0, 0.0)) == pytest.approx(0.7)
    assert calibrated(0.5, (3.0, 1.0)) == pytest.approx(1 / (1 + np.exp(-1)))
    assert 0 <= calibrated(0.0, (2.0, 0.0)) < calibrated(1.0, (2.0, 0.0)) <= 1


def test_fitted_exponents_make_the_right_readings_most_likely() -> None:
    reader = StripReader(row_model, digit_model, StripReaderSettings())
    candidates = [reader.propose(two_strokes())] * 3
    digit_exponent, _ = fit_exponents(candidates, [[1, 1]] * 3)
    assert digit_exponent == max(EXPONENTS)  # the digit model predicts 1 for all images
    for truths in ([[1, 7]] * 3, [[1, 7], [5, 5], []]):  # rows whose right reading was not proposed are ignored
        digit_exponent, _ = fit_exponents(candidates, truths)
        assert digit_exponent == 0
