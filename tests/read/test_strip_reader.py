"""One strip read: the row model proposes, the digit model has a say, confidences are calibrated."""

import numpy as np
import pytest

from numerals.errors import ModelError
from numerals.export.row_model import EXPONENTS, fit_exponents
from numerals.read.pixels import GreyPixels
from numerals.read.strip_reader import StripReader, StripReaderSettings, calibrated, cut_out, digit_frames
from numerals.read.strips import INK_LEVEL, STRIP_HEIGHT

STEPS = 20
CARD = {
    "opinion": {"named": 0.2, "being": 0.1},
    "calibration": {"digit": [1, 0], "row": [0.5, -1]},
    "threshold": 0.3,
}


def strip() -> GreyPixels:
    """Two strokes, at columns 10 and 28."""
    picture = np.zeros((STRIP_HEIGHT, 2 * STEPS), np.uint8)
    picture[8:32, 9:12] = picture[8:32, 27:30] = INK_LEVEL
    return picture


def rows(strips: GreyPixels) -> np.ndarray:
    """Says 1 then 7 (0.55) or 1 then 1 (0.45), whatever the strip."""
    said = np.full((1, STEPS, 11), 1e-6, np.float32)
    said[:, :, 0] = 1
    said[:, 5, [0, 2]] = 0.001, 0.999
    said[:, 14, [0, 8, 2]] = 0.001, 0.549, 0.45
    return said


def digits(pictures: GreyPixels) -> tuple[np.ndarray, np.ndarray]:
    """Says 1 of everything."""
    probabilities = np.full((len(pictures), 10), 0.01, np.float32)
    probabilities[:, 1] = 0.91
    return probabilities, np.full(len(pictures), 0.8, np.float32)


def test_the_digit_model_has_as_much_of_a_say_as_the_settings_give_it() -> None:
    assert StripReader(rows, digits, StripReaderSettings())(strip()).digits == (1, 7)
    both = StripReader(rows, digits, StripReaderSettings(named=0.2))(strip())
    assert both.digits == (1, 1)
    assert 0.45 < both.confidence < 1
    assert both.evidence == pytest.approx(0.8 * np.mean(both.confidences))


def test_renamed_the_digits_are_the_digit_models() -> None:
    renamed = StripReader(rows, digits, StripReaderSettings(), renames=True)(strip())
    assert renamed.digits == (1, 1)
    assert renamed.confidences == pytest.approx((0.91, 0.91))
    assert renamed.confidence == pytest.approx(0.91**2)


def test_nothing_said_is_an_empty_reading() -> None:
    def silent(strips: GreyPixels) -> np.ndarray:
        said = np.zeros((1, STEPS, 11), np.float32)
        said[:, :, 0] = 1
        return said

    reading = StripReader(silent, digits, StripReaderSettings(named=0.2, being=0.2))(strip())
    assert (reading.digits, reading.frames, reading.evidence) == ((), (), 0.0)


def test_frames_are_drawn_in_to_the_ink() -> None:
    assert digit_frames(strip(), (5, 14)) == [(9.0, 8.0, 12.0, 32.0), (27.0, 8.0, 30.0, 32.0)]
    assert cut_out(strip(), (9.0, 8.0, 12.0, 32.0)).shape == (28, 28)


def test_settings_are_the_cards() -> None:
    assert StripReaderSettings.from_card(CARD) == StripReaderSettings(0.2, 0.1, (1.0, 0.0), (0.5, -1.0), 0.3)
    for missing in CARD:
        with pytest.raises(ModelError, match="row model's card"):
            StripReaderSettings.from_card({key: value for key, value in CARD.items() if key != missing})
    for broken in ({"digit": [float("nan"), 0], "row": [1, 0]}, {"digit": [1], "row": [1, 0]}, "calibrated"):
        with pytest.raises(ModelError, match="row model's card"):
            StripReaderSettings.from_card({**CARD, "calibration": broken})


def test_calibrated_follows_its_line() -> None:
    assert calibrated(0.7, (1.0, 0.0)) == pytest.approx(0.7)
    assert calibrated(0.5, (3.0, 1.0)) == pytest.approx(1 / (1 + np.exp(-1)))
    assert 0 <= calibrated(0.0, (2.0, 0.0)) < calibrated(1.0, (2.0, 0.0)) <= 1


def test_the_opinion_that_makes_the_right_readings_probable_is_chosen() -> None:
    read = StripReader(rows, digits, StripReaderSettings())
    proposals = [read.propose(strip())] * 3
    named, _ = fit_exponents(proposals, [[1, 1]] * 3)
    assert named == max(EXPONENTS)  # the digit model says 1 of everything
    for truths in ([[1, 7]] * 3, [[1, 7], [5, 5], []]):  # what was not proposed has no say
        named, _ = fit_exponents(proposals, truths)
        assert named == 0
