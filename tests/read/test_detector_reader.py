"""From detections to rows: reading order, cut-outs, doubt, and readings that the models agree on.

The detections are those of a perfect detector, so that only what comes after it is tested; the digit and the row model
are those that come with numerals.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pytest

from numerals.errors import ModelError, PictureError
from numerals.read import detector_reader
from numerals.read.cutouts import cut_out
from numerals.read.detect import Detections
from numerals.read.detector_reader import (
    INSERTION,
    DetectorReader,
    DetectorReaderSettings,
    sequence_probability,
    touching,
)
from numerals.read.picture import Picture
from numerals.read.pixels import Pixels
from numerals.read.recognise import Recogniser, RowRecogniser
from numerals.read.strip_reader import StripReader, StripReaderSettings
from numerals.read.text_rows import group_rows, page_slope, usual_sizes
from numerals.results import Page
from tests.helpers import pages

CARD = {"digit_exponent": 0.3, "calibration": {"digit": [2.0, 1.0], "row": [0.8, -1.0]}, "threshold": 0.4}


def detections(
    places: Sequence[tuple[float, float, float, float]], digits: list[int], scores: list[float]
) -> Detections:
    """Detections at (left, top, right, bottom)."""
    left, top, right, bottom = np.array(places, np.float32).reshape(-1, 4).T
    probabilities = np.full((len(digits), 10), 0.002, np.float32)
    probabilities[np.arange(len(digits)), digits] = 0.982
    middles = np.array([(left + right) / 2, (top + bottom) / 2], np.float32)
    x, y, width, height = *middles, right - left, bottom - top
    return Detections(x, y, width, height, np.array(scores, np.float32), probabilities)


def perfect(page: pages.SyntheticPage, score: float = 0.9) -> Detections:
    """What a perfect detector finds on a page."""
    boxes = [box for row in page.boxes for box in row]
    digits = [int(digit) for row in page.rows for digit in row]
    places = [(box.left, box.top, box.right, box.bottom) for box in boxes]
    return detections(places, digits, [score] * len(digits))


def none_found() -> Detections:
    return detections([], [], [])


@pytest.fixture(scope="module")
def reader() -> DetectorReader:
    rows, digits = RowRecogniser(threads=1), Recogniser(threads=1)
    strip_reader = StripReader(rows, digits, StripReaderSettings.from_card(rows.model.card))

    def unused(planes: Any) -> Any:
        raise AssertionError("detect is replaced")

    return DetectorReader(unused, digits, strip_reader, DetectorReaderSettings.from_card(CARD))


def read(reader: DetectorReader, pixels: Pixels, found: Detections, monkeypatch: pytest.MonkeyPatch) -> Page:
    """Read a picture in which a detector finds this, if it is upright and its ink is dark."""

    def detect(seen: Pixels, detector: Any) -> Detections:
        dark = float(np.mean(seen)) > 128
        return found if dark and seen.shape == pixels.shape else none_found()

    monkeypatch.setattr(detector_reader, "detect", detect)
    return reader(Picture(pixels, pixels.shape[1], pixels.shape[0]))


def three_rows(gap: float = 0.3) -> pages.SyntheticPage:
    page = pages.blank(420, 700, seed=1)
    for number, digits in enumerate(("20571", "3390", "864")):
        pages.write(page, digits, 60 + 30 * number, 40 + 120 * number, 56, gap=gap, seed=number)
    return page


@pytest.mark.parametrize("light_ink", [False, True])
def test_rows_are_read_in_order_with_their_boxes(
    reader: DetectorReader, monkeypatch: pytest.MonkeyPatch, light_ink: bool
) -> None:
    truth = three_rows()
    page = read(reader, 255 - truth.grey if light_ink else truth.grey, perfect(truth), monkeypatch)
    assert page.text.split("\n") == list(truth.rows)
    for row, boxes in zip(page.rows, truth.boxes, strict=True):
        for digit, box in zip(row.digits, boxes, strict=True):
            assert pages.max_distance(digit.box, box) <= 2
            assert digit.seen.shape == (28, 28)


def test_the_digit_model_corrects_an_unsure_detector(reader: DetectorReader, monkeypatch: pytest.MonkeyPatch) -> None:
    truth = three_rows()
    unsure = perfect(truth)
    unsure.probabilities[:] = 0.1
    weighty = replace(reader, settings=DetectorReaderSettings(1.0))
    assert read(weighty, truth.grey, unsure, monkeypatch).text.split("\n") == list(truth.rows)


def test_touching_digits_are_read_with_the_row_model(reader: DetectorReader, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = 0
    for seed in range(5):
        truth = pages.write(pages.blank(100, 420, seed=seed), "5280369", 14, 20, 52, gap=0.0, seed=seed)
        found = perfect(truth)
        assert touching(found)
        missed = found.take(np.arange(len(found)) != 3)
        text = read(reader, truth.grey, missed, monkeypatch).text
        wrong += text != "5280369"
    assert wrong <= 2  # without the row model all five lack the digit that the detector missed


def test_a_weak_detection_is_not_read_but_makes_its_row_doubtful(
    reader: DetectorReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth = three_rows()
    found = perfect(truth)
    found.score[2] = 0.25
    page = read(reader, truth.grey, found, monkeypatch)
    assert page.rows[0].text == "2071"
    whole = read(reader, truth.grey, perfect(truth), monkeypatch)
    assert page.rows[0].confidence < whole.rows[0].confidence
    alone = detections([(300, 300, 330, 350)], [7], [0.25])
    assert read(reader, truth.grey, alone, monkeypatch).rows == ()


def test_a_page_on_its_side_is_turned(reader: DetectorReader, monkeypatch: pytest.MonkeyPatch) -> None:
    truth = three_rows()
    found = perfect(truth)

    def detect(seen: Pixels, detector: Any) -> Detections:
        upright = seen.shape == truth.grey.shape and np.array_equal(seen, truth.grey)
        return found if upright else found.take(np.arange(2))  # a few, wherever it looks

    monkeypatch.setattr(detector_reader, "detect", detect)
    found.score[:2] = 0.5
    turned = np.ascontiguousarray(np.rot90(truth.grey, 3))
    page = reader(Picture(turned, turned.shape[1], turned.shape[0]))
    assert page.turn == 90
    assert page.text.split("\n") == list(truth.rows)
    height = turned.shape[0]
    for digit, box in zip(page.rows[1].digits, truth.boxes[1], strict=True):
        assert abs(digit.box.left - (truth.grey.shape[0] - box.bottom)) <= 2
        assert abs(digit.box.top - box.left) <= 2 and digit.box.bottom <= height


def test_nothing_is_begun_after_the_deadline(reader: DetectorReader, monkeypatch: pytest.MonkeyPatch) -> None:
    truth = three_rows()
    late = replace(reader, deadline=time.monotonic() - 1)
    with pytest.raises(PictureError, match="too long"):
        read(late, truth.grey, perfect(truth), monkeypatch)


def test_a_cut_out_digit_has_nothing_of_its_neighbours_and_rules() -> None:
    page = pages.rule(pages.blank(200, 400, seed=0), 44, 30)
    pages.write(page, "808", 60, 60, 56, gap=0.02, seed=0)
    digits = Recogniser(threads=1)(cut_out(page.grey, perfect(page))).probabilities.argmax(axis=1)
    assert digits.tolist() == [8, 0, 8]


def test_columns_of_a_table_are_one_row_and_tilted_rows_are_parted() -> None:
    places, digits = [], []
    for row in range(4):
        for column in range(6):
            x, y = 100 * column, 60 * row + 0.1 * 100 * column
            places.append((float(x), float(y), float(x + 25), float(y + 40)))
            digits.append((row + column) % 10)
    order = np.random.default_rng(0).permutation(len(places))
    found = detections([places[i] for i in order], [digits[i] for i in order], [0.9] * len(places))
    assert page_slope(found) == pytest.approx(0.1, abs=0.01)
    rows = [found.probabilities[row].argmax(axis=1).tolist() for row in group_rows(found)]
    assert rows == [[(row + column) % 10 for column in range(6)] for row in range(4)]


def test_specks_and_frames_are_no_digits_of_the_page() -> None:
    found = detections([(0, 0, 20, 40), (30, 0, 50, 40), (60, 10, 64, 16), (0, 50, 200, 350)], [1, 2, 3, 4], [0.9] * 4)
    assert len(usual_sizes(detections([(0, 0, 20, 40)] * 5 + [(60, 10, 64, 16)], [1] * 6, [0.9] * 6))) == 5
    assert usual_sizes(found).probabilities.argmax(axis=1).tolist() == [1, 2]


def test_the_probability_of_a_sequence_is_that_of_its_best_alignment() -> None:
    rng = np.random.default_rng(0)
    for _ in range(60):
        count, length = rng.integers(0, 5, 2)
        scores = rng.uniform(0.1, 0.95, count).astype(np.float32)
        joint = rng.dirichlet(np.ones(10), count).astype(np.float32).reshape(count, 10)
        digits = tuple(int(each) for each in rng.integers(0, 10, length))
        best = 0.0
        for size in range(min(count, length) + 1):
            for used in combinations(range(count), size):
                for named in combinations(range(length), size):
                    skipped = np.prod([1 - scores[i] for i in range(count) if i not in used])
                    matched = np.prod([scores[i] * joint[i, digits[j]] for i, j in zip(used, named, strict=True)])
                    best = max(best, float(skipped * matched * INSERTION ** (length - size)))
        assert sequence_probability(digits, scores, joint) == pytest.approx(best, rel=1e-5)


@pytest.mark.parametrize(
    "change",
    [
        {"digit_exponent": "much"},
        {"digit_exponent": None},
        {"calibration": {"digit": [1.0, 0.0]}},
        {"calibration": {"digit": [0.0, 0.0], "row": [1.0, 0.0]}},
        {"calibration": {"digit": [float("nan"), 0.0], "row": [1.0, 0.0]}},
        {"calibration": 3},
        {"threshold": [1]},
    ],
)
def test_a_card_that_makes_no_sense_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ModelError):
        DetectorReaderSettings.from_card(CARD | change)
