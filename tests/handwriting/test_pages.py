"""Synthetic pages: reproducible, varied, and every digit is where its box is."""

import numpy as np
import pytest

from numerals.handwriting.glyphs import Glyphs, prepare_glyphs
from numerals.handwriting.pages import MAX_HEIGHT, SIDE, SyntheticPage, synthesise_page
from numerals.read.page_contrast import PAPER_LEVEL, contrast_planes
from tests.helpers.pictures import some_digits

PAGES = 60


@pytest.fixture(scope="module")
def glyphs() -> Glyphs:
    return prepare_glyphs(*some_digits(300))


@pytest.fixture(scope="module")
def pages(glyphs: Glyphs) -> list[SyntheticPage]:
    return [synthesise_page(glyphs, 0, number) for number in range(PAGES)]


def test_a_page_depends_on_seed_and_number_only(glyphs: Glyphs, pages: list[SyntheticPage]) -> None:
    for number in (3, 20):
        again = synthesise_page(glyphs, 0, number)
        assert np.array_equal(again.picture, pages[number].picture) and again.digits == pages[number].digits
    assert not np.array_equal(synthesise_page(glyphs, 1, 3).picture, pages[3].picture)


def test_pages_have_all_digits_many_sizes_and_some_have_none(pages: list[SyntheticPage]) -> None:
    visible = [digit for page in pages for digit in page.digits if digit.visible]
    assert {digit.digit for digit in visible} == set(range(10))
    heights = [digit.bottom - digit.top for digit in visible]
    assert min(heights) < 14 and max(heights) > 60
    assert max(heights) < 2.5 * MAX_HEIGHT
    assert any(not page.digits for page in pages) and any(len(page.digits) > 30 for page in pages)
    assert all(page.picture.shape == (SIDE, SIDE) and page.picture.dtype == np.uint8 for page in pages)


def test_there_is_ink_in_the_box_of_each_visible_digit(pages: list[SyntheticPage]) -> None:
    """In nearly all: over print, blots and shadows the ink cannot be told from what is around it."""
    inked = []
    for page in pages:
        contrast = contrast_planes(page.picture)[1].astype(int)
        for digit in page.digits:
            if digit.visible:
                rows = slice(max(int(digit.top), 0), int(digit.bottom) + 1)
                inside = contrast[rows, max(int(digit.left), 0) : int(digit.right) + 1]
                inked.append(np.percentile(inside, 90) > PAPER_LEVEL + 20)
    assert len(inked) > 300 and np.mean(inked) > 0.95


def test_a_digit_that_is_mostly_outside_is_not_visible(pages: list[SyntheticPage]) -> None:
    cut = [digit for page in pages for digit in page.digits if not digit.visible]
    assert cut
    for digit in cut:
        assert digit.left < 0 or digit.top < 0 or digit.right > SIDE or digit.bottom > SIDE
