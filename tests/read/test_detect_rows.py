"""Row detection: rows in reading order and in place, on any paper and in any light, and none on an empty page."""

import cv2
import numpy as np
import pytest

from numerals.read.detect_rows import FoundRow, find_rows, single_row
from numerals.read.page_ink import extract_sheet, polarities
from numerals.read.pixels import Pixels
from numerals.read.strips import DIGIT_HEIGHT, INK_LEVEL, STRIP_HEIGHT, strip_from_picture
from numerals.results import Box
from tests.helpers import pages
from tests.helpers.pages import max_distance


def three_rows() -> pages.SyntheticPage:
    page = pages.blank()
    for number, digits in enumerate(("1203", "98765", "440")):
        pages.write(page, digits, 80, 80 + 150 * number, 60, seed=number)
    return page


def detect(pixels: Pixels) -> list[FoundRow]:
    return find_rows(extract_sheet(pixels))


def assert_in_place(rows: list[FoundRow], page: pages.SyntheticPage, tolerance: float = 12) -> None:
    """Assert that the ink of each strip, mapped back to the picture, covers the row's digits and not much more."""
    assert len(rows) == len(page.boxes)
    for row, boxes in zip(rows, page.boxes, strict=True):
        written = np.flatnonzero((row.strip > 0.5 * INK_LEVEL).any(axis=0))
        lines = np.flatnonzero((row.strip > 0.5 * INK_LEVEL).any(axis=1))
        ink = Box.from_sides(int(written[0]), int(lines[0]), int(written[-1]) + 1, int(lines[-1]) + 1)
        box = ink.transform(row.to_sheet)
        assert max_distance(box, Box.union(boxes)) < tolerance


def right_end(row: FoundRow) -> int:
    """The column of the picture where a row's strip ends."""
    return Box(0, 0, row.strip.shape[1], STRIP_HEIGHT).transform(row.to_sheet).right


def test_rows_are_found_in_reading_order() -> None:
    page = three_rows()
    assert_in_place(detect(page.grey), page)


def test_uneven_light_does_not_matter() -> None:
    page = three_rows()
    assert_in_place(detect(pages.shade(page).grey), page)


def test_specks_are_not_rows() -> None:
    page = pages.specks(three_rows(), 40)
    assert len(detect(page.grey)) == 3


@pytest.mark.parametrize("strength", [15, 40, 90])
@pytest.mark.parametrize("pitch", [37, 75])
def test_ruled_lines_are_not_rows(strength: int, pitch: int) -> None:
    page = pages.rule(three_rows(), pitch, strength)
    rows = detect(page.grey)
    assert_in_place(rows, page)


def test_printed_boxes_are_not_rows() -> None:
    page = three_rows()
    for x in range(60, 460, 80):
        cv2.rectangle(page.picture, (x, 70), (x + 76, 150), 90.0, 2)
    assert len(detect(page.grey)) == 3


@pytest.mark.parametrize("climb", [-0.15, 0.15])
def test_a_climbing_row_is_turned_level(climb: float) -> None:
    page = pages.blank()
    pages.write(page, "31415926", 60, 300, 50, climb=climb)
    (row,) = detect(page.grey)
    heights = np.flatnonzero((row.strip > 0.5 * INK_LEVEL).any(axis=1))
    assert heights[-1] - heights[0] < 1.35 * DIGIT_HEIGHT


def test_climbing_rows_stay_separate() -> None:
    page = pages.blank()
    for number in range(3):
        pages.write(page, "7654321", 60, 200 + 110 * number, 50, climb=0.12, seed=number)
    assert len(detect(page.grey)) == 3


def test_a_long_smear_above_does_not_hide_the_taller_digits() -> None:
    page = pages.blank(700, 1100)
    cv2.rectangle(page.picture, (100, 60), (680, 108), 150.0, -1)
    pages.write(page, "2357", 60, 360, 130)
    pages.write(page, "8", 560, 340, 155)
    ends = [right_end(row) for row in detect(page.grey)]
    assert any(abs(end - page.boxes[1][0].right) < 99 for end in ends)


def test_rows_close_together_stay_separate() -> None:
    page = pages.blank()
    pages.write(page, "111111", 60, 100, 60)
    pages.write(page, "000000", 60, 168, 60)
    assert len(detect(page.grey)) == 2


def test_light_ink_on_dark_paper_gives_the_same_rows() -> None:
    page = three_rows()
    dark, light = detect(page.grey), detect(255 - page.grey)
    assert len(dark) == len(light) == 3
    assert abs(dark[0].strip.shape[1] - light[0].strip.shape[1]) <= 4


@pytest.mark.parametrize("colour", [(0, 90, 90), (90, 90, 0), (40, 40, 0)])
def test_coloured_ink_is_found(colour: tuple[int, int, int]) -> None:
    ink = (pages.blank(noise=0).grey.astype(int) - three_rows().grey) / 150
    picture = np.clip(215 - ink[..., None] * np.array(colour), 0, 255).astype(np.uint8)
    assert len(detect(picture)) == 3


@pytest.mark.parametrize("paper", [20.0, 128.0, 250.0])
def test_a_blank_page_has_no_rows(paper: float) -> None:
    assert detect(pages.blank(paper=paper, noise=3).grey) == []
    assert detect(np.full((400, 300), round(paper), np.uint8)) == []


def test_a_shaded_blank_page_has_no_rows() -> None:
    assert detect(pages.shade(pages.blank(noise=3)).grey) == []


def test_a_wide_gap_does_not_end_a_row_and_is_shortened() -> None:
    page = pages.blank(300, 1200)
    pages.write(page, "12", 60, 100, 50)
    pages.write(page, "34", 420, 102, 50)
    (row,) = detect(page.grey)
    assert row.strip.shape[1] < 8 * DIGIT_HEIGHT
    assert right_end(row) > 470


def test_the_height_of_the_digits_sets_the_scale() -> None:
    page = pages.blank(120, 300)
    pages.write(page, "2075", 20, 30, 60)
    once, _ = strip_from_picture(page.grey)
    thrice, _ = strip_from_picture(
        np.asarray(cv2.resize(page.grey, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC), np.uint8)
    )
    assert once.shape[0] == STRIP_HEIGHT
    assert abs(once.shape[1] - thrice.shape[1]) <= 3
    lines = np.flatnonzero((once > 0.5 * INK_LEVEL).any(axis=1))
    assert abs(lines[-1] - lines[0] + 1 - DIGIT_HEIGHT) <= 4


def test_a_cut_out_amount_is_a_single_row() -> None:
    page = pages.blank(70, 260)
    pages.write(page, "4.500,-", 15, 12, 46, gap=0.1)
    assert single_row(page.grey) is not None
    assert single_row(three_rows().grey) is None


@pytest.mark.parametrize("shape", [(1, 1), (3, 400), (400, 3), (30, 30), (9, 12)])
def test_tiny_and_narrow_pictures_do_not_fail(shape: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    for picture in (noise, np.zeros(shape, np.uint8)):
        single_row(picture)
        detect(picture)


@pytest.mark.parametrize("sides", ["left", "left top", "left top right bottom"])
@pytest.mark.parametrize("inverted", [False, True])
def test_a_table_around_the_sheet_does_not_change_the_polarity(sides: str, inverted: bool) -> None:
    page = pages.blank(600, 900)
    for number, digits in enumerate(("12345", "6789")):
        pages.write(page, digits, 120, 120 + 150 * number, 56, seed=number)
    grey = page.grey.copy()
    for side in sides.split():
        edge = {"left": grey[:, :60], "top": grey[:60], "right": grey[:, -60:], "bottom": grey[-60:]}[side]
        edge[:] = 45
    assert polarities(255 - grey if inverted else grey)[0] == inverted
    assert len(find_rows(extract_sheet(255 - grey if inverted else grey))) == 2


@pytest.mark.parametrize("climb", [0.0, 0.03, 0.07])
def test_ruled_lines_through_the_writing_are_removed_even_if_askew(climb: float) -> None:
    page = pages.blank(600, 900)
    for number, digits in enumerate(("12345", "6789")):
        pages.write(page, digits, 120, 120 + 150 * number, 56, climb=climb, seed=number)
    before = len(find_rows(extract_sheet(page.grey)))
    for y in range(60, 600, 60):
        cv2.line(page.picture, (0, y + 20), (900, round(y + 20 + 900 * climb)), 120.0, 2)
    mask = extract_sheet(page.grey).mask
    assert before == len(find_rows(extract_sheet(page.grey))) == 2
    assert mask[:, 600:].mean() < 0.004
