"""Whole pages with the models that come with numerals: rows in order, boxes in place, any way up, light or polarity."""

import cv2
import numpy as np
import pytest

from numerals.read.page_reader import read_page
from numerals.read.picture import Picture
from numerals.read.pixels import Pixels
from numerals.read.recognise import Recogniser, RowRecogniser
from numerals.read.strip_reader import StripReader, StripReaderSettings
from numerals.results import Page, Points
from tests.helpers import pages
from tests.helpers.pages import max_distance


@pytest.fixture(scope="module")
def strip_reader() -> StripReader:
    row_recogniser = RowRecogniser(threads=1)
    return StripReader(row_recogniser, Recogniser(), StripReaderSettings.from_card(row_recogniser.model.card))


def read(pixels: Pixels, strip_reader: StripReader) -> Page:
    return read_page(Picture(pixels, pixels.shape[1], pixels.shape[0]), strip_reader)


def four_rows(seed: int = 0) -> pages.SyntheticPage:
    page = pages.blank(700, 900, seed=seed)
    for number, digits in enumerate(("1234567", "890", "55502", "31415")):
        pages.write(page, digits, 90, 70 + 150 * number, 60, seed=seed + number)
    return page


def errors(truth: pages.SyntheticPage, page: Page) -> int:
    """The number of misread digits; all of them if the rows differ in number or length."""
    if [len(row) for row in page.text.split("\n")] != [len(row) for row in truth.rows]:
        return sum(map(len, truth.rows))
    return sum(a != b for a, b in zip(truth.text, page.text, strict=True))


def test_rows_are_read_in_reading_order(strip_reader: StripReader) -> None:
    truth = pages.specks(pages.shade(four_rows()), 30)
    assert errors(truth, read(truth.grey, strip_reader)) <= 1


def test_each_digit_has_its_box(strip_reader: StripReader) -> None:
    truth = four_rows()
    page = read(truth.grey, strip_reader)
    assert errors(truth, page) <= 1
    for row, boxes in zip(page.rows, truth.boxes, strict=True):
        for digit, expected in zip(row.digits, boxes, strict=True):
            assert max_distance(digit.box, expected) < 14
            assert 0 <= digit.confidence <= 1


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_boxes_are_in_the_original_pictures_pixels(strip_reader: StripReader, quarters: int) -> None:
    """A picture that was reduced to half its size and lies on its side, or upside down."""
    truth = four_rows()
    pixels = np.ascontiguousarray(np.rot90(truth.grey, quarters))
    height, width = pixels.shape

    def to_picture(points: Points) -> Points:
        (x, y), (upright_height, upright_width) = points.T, truth.grey.shape
        for _ in range(quarters):
            x, y, upright_width, upright_height = y, upright_width - x, upright_height, upright_width
        return 2 * np.column_stack([x, y])

    page = read_page(Picture(pixels, 2 * width, 2 * height), strip_reader)
    assert (page.width, page.height, page.turn) == (2 * width, 2 * height, (360 - 90 * quarters) % 360)
    assert errors(truth, page) <= 1
    for row, boxes in zip(page.rows, truth.boxes, strict=True):
        for digit, expected in zip(row.digits, boxes, strict=True):
            assert max_distance(digit.box, expected.transform(to_picture)) < 28


@pytest.mark.parametrize("edge", [1, 12])
def test_a_shadow_across_a_wide_page_is_not_a_row(strip_reader: StripReader, edge: int) -> None:
    wrong = 0
    for seed in range(4):
        truth = pages.blank(500, 1000, seed=seed)
        for number, digits in enumerate(("12045", "3670", "82931")):
            pages.write(truth, digits, 120, 60 + 140 * number, 70, seed=5 * seed + number)
        x = np.arange(1000) - 300 - 120 * seed
        truth.picture *= (1 - 0.3 / (1 + np.exp(-x / edge))).astype(np.float32)
        wrong += errors(truth, read(truth.grey, strip_reader))
    assert wrong <= 6


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_turned_page_is_read(strip_reader: StripReader, quarters: int) -> None:
    truth = four_rows()
    page = read(np.ascontiguousarray(np.rot90(truth.grey, quarters)), strip_reader)
    assert page.turn == 90 * (4 - quarters)
    assert errors(truth, page) <= 1


def test_a_climbing_row_on_ruled_paper_is_read(strip_reader: StripReader) -> None:
    truth = pages.rule(pages.blank(500, 900), 44, 30)
    pages.write(truth, "4081632", 80, 260, 56, climb=0.08, gap=0.3)
    assert errors(truth, read(truth.grey, strip_reader)) <= 1


@pytest.mark.parametrize("gap", [-0.04, 0.0, 0.1])
def test_touching_digits_are_separated(strip_reader: StripReader, gap: float) -> None:
    wrong = 0
    for seed in range(6):
        truth = pages.blank(90, 420, seed=seed)
        pages.write(truth, "5280369", 14, 16, 52, gap=gap, seed=seed)
        wrong += errors(truth, read(truth.grey, strip_reader))
    assert wrong <= 0.15 * 6 * 7


def test_dots_and_dashes_are_not_digits(strip_reader: StripReader) -> None:
    wrong = 0
    for seed, amount in enumerate(("3.840,-", "12.000.-", "7,950", "4.400-")):
        truth = pages.blank(80, 420, seed=seed)
        pages.write(truth, amount, 14, 12, 50, gap=0.15, seed=seed)
        wrong += errors(truth, read(truth.grey, strip_reader))
    assert wrong <= 1


def test_both_polarities_read_the_same(strip_reader: StripReader) -> None:
    page = four_rows()
    assert read(255 - page.grey, strip_reader).text == read(page.grey, strip_reader).text


@pytest.mark.parametrize("inverted", [False, True])
def test_large_digits_close_together_keep_their_polarity(strip_reader: StripReader, inverted: bool) -> None:
    right = 0
    for seed in range(8):
        truth = pages.write(pages.blank(300, 900, seed=seed), "38051642", 70, 100, 100, gap=0.0, seed=seed)
        right += errors(truth, read(255 - truth.grey if inverted else truth.grey, strip_reader)) <= 1
    assert right >= 7  # in the wrong polarity, none of the eight would be


@pytest.mark.parametrize("scale", [0.5, 2.5])
def test_the_size_of_the_picture_does_not_matter(strip_reader: StripReader, scale: float) -> None:
    truth = four_rows()
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    resized = cv2.resize(truth.grey, None, fx=scale, fy=scale, interpolation=interpolation)
    assert errors(truth, read(np.asarray(resized, np.uint8), strip_reader)) <= 1


@pytest.mark.parametrize("paper", [30.0, 220.0])
def test_an_empty_page_has_no_rows(strip_reader: StripReader, paper: float) -> None:
    page = read(pages.shade(pages.blank(paper=paper)).grey, strip_reader)
    assert (page.text, page.rows) == ("", ())
