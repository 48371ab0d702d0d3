"""Rows from picture to digits with the network that ships, and how its training makes and learns from rows."""

import itertools

import cv2
import numpy as np
import pytest
import torch

from numerals.article.data import load_mnist
from numerals.handwriting.glyphs import Glyphs, prepare_glyphs, sample_writer, thinned
from numerals.handwriting.rows import synthesize_non_digit_row, synthesize_row
from numerals.handwriting.stroke_templates import FORMS, draw
from numerals.handwriting.writing import Sheet
from numerals.read import model_files
from numerals.read.page_reader import ReadPage, read_page
from numerals.read.pixels import Pixels
from numerals.read.recognise import Recogniser, RowRecogniser
from numerals.read.strip_reader import StripReader, StripReaderSettings
from numerals.read.strips import STRIP_HEIGHT
from numerals.readers.row_network import RowNetwork
from numerals.readers.train_rows import ctc_loss, greedy_decode, stack_strips
from tests.helpers import pages


@pytest.fixture(scope="module")
def network() -> StripReader:
    rows = RowRecogniser(threads=1)
    return StripReader(rows, Recogniser(), StripReaderSettings.from_card(rows.model.card))


@pytest.fixture(scope="module")
def glyphs() -> Glyphs:
    (images, labels), _ = load_mnist()
    return prepare_glyphs(images[:300], labels[:300])


def read(picture: Pixels, network: StripReader) -> ReadPage:
    return read_page(picture, network)


def several_rows(seed: int = 0) -> pages.Page:
    page = pages.blank(700, 900, seed=seed)
    for place, digits in enumerate(("1234567", "890", "55502", "31415")):
        pages.write(page, digits, 90, 70 + 150 * place, 60, seed=seed + place)
    return page


def misread(wanted: pages.Page, got: ReadPage) -> int:
    """How many digits of rows in the right place are wrong; all of them where the rows differ in number or length."""
    if [len(row) for row in got.text.split("\n")] != [len(row) for row in wanted.rows]:
        return sum(map(len, wanted.rows))
    return sum(a != b for a, b in zip(wanted.text, got.text, strict=True))


def test_rows_are_read_in_order_with_their_breaks(network: StripReader) -> None:
    page = pages.specks(pages.shade(several_rows()), 30)
    assert misread(page, read(page.grey, network)) <= 1


def test_each_digit_has_its_box(network: StripReader) -> None:
    page = several_rows()
    got = read(page.grey, network)
    assert misread(page, got) <= 1
    for line, boxes in zip(got.rows, page.boxes, strict=True):
        for digit, box in zip(line.digits, boxes, strict=True):
            assert np.abs(np.array(digit.box) - box).max() < 14
            assert 0 <= digit.confidence <= 1


@pytest.mark.parametrize("edge", [1, 12])
def test_a_shadow_across_a_wide_page_is_no_row(network: StripReader, edge: int) -> None:
    wrong = 0
    for seed in range(4):
        page = pages.blank(500, 1000, seed=seed)
        for place, digits in enumerate(("12045", "3670", "82931")):
            pages.write(page, digits, 120, 60 + 140 * place, 70, seed=5 * seed + place)
        x = np.arange(1000) - 300 - 120 * seed
        page.picture *= (1 - 0.3 / (1 + np.exp(-x / edge))).astype(np.float32)
        wrong += misread(page, read(page.grey, network))
    assert wrong <= 6


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_page_on_its_side_is_read(network: StripReader, quarters: int) -> None:
    page = several_rows()
    got = read(np.ascontiguousarray(np.rot90(page.grey, quarters)), network)
    assert got.quarters == (4 - quarters) % 4
    assert misread(page, got) <= 1


def test_ruled_paper_and_a_climbing_row(network: StripReader) -> None:
    page = pages.rule(pages.blank(500, 900), 44, 30)
    pages.write(page, "4081632", 80, 260, 56, climb=0.08, gap=0.3)
    assert misread(page, read(page.grey, network)) <= 1


@pytest.mark.parametrize("gap", [-0.04, 0.0, 0.1])
def test_touching_digits_are_told_apart(network: StripReader, gap: float) -> None:
    wrong = 0
    for seed in range(6):
        page = pages.blank(90, 420, seed=seed)
        pages.write(page, "5280369", 14, 16, 52, gap=gap, seed=seed)
        wrong += misread(page, read(page.grey, network))
    assert wrong <= 0.15 * 6 * 7


def test_dots_and_dashes_are_no_digits(network: StripReader) -> None:
    wrong = 0
    for seed, amount in enumerate(("3.840,-", "12.000.-", "7,950", "4.400-")):
        page = pages.blank(80, 420, seed=seed)
        pages.write(page, amount, 14, 12, 50, gap=0.15, seed=seed)
        wrong += misread(page, read(page.grey, network))
    assert wrong <= 1


def test_either_polarity_reads_the_same(network: StripReader) -> None:
    page = several_rows()
    assert read(255 - page.grey, network).text == read(page.grey, network).text


@pytest.mark.parametrize("inverted", [False, True])
def test_large_digits_close_together_keep_their_polarity(network: StripReader, inverted: bool) -> None:
    right = 0
    for seed in range(8):
        page = pages.write(pages.blank(300, 900, seed=seed), "38051642", 70, 100, 100, gap=0.0, seed=seed)
        right += misread(page, read(255 - page.grey if inverted else page.grey, network)) <= 1
    assert right >= 7  # of the other polarity none would be


@pytest.mark.parametrize("scale", [0.5, 2.5])
def test_the_pictures_size_does_not_matter(network: StripReader, scale: float) -> None:
    page = several_rows()
    resized = cv2.resize(
        page.grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    )
    assert misread(page, read(np.asarray(resized, np.uint8), network)) <= 1


@pytest.mark.parametrize("paper", [30.0, 220.0])
def test_an_empty_page_reads_as_nothing(network: StripReader, paper: float) -> None:
    got = read(pages.shade(pages.blank(paper=paper)).grey, network)
    assert (got.text, got.sureness) == ("", 0.0)


def test_the_same_seed_and_index_are_the_same_row(glyphs: Glyphs) -> None:
    (strip, digits), (again, same) = synthesize_row(glyphs, 3, 41), synthesize_row(glyphs, 3, 41)
    assert np.array_equal(strip, again)
    assert digits == same
    assert not np.array_equal(strip[:, :8], synthesize_row(glyphs, 3, 42)[0][:, :8])


def test_rows_of_many_kinds_are_strips(glyphs: Glyphs) -> None:
    rows = [synthesize_row(glyphs, 5, index) for index in range(150)]
    assert all(strip.shape[0] == STRIP_HEIGHT and strip.dtype == np.uint8 and strip.shape[1] >= 8 for strip, _ in rows)
    assert {digit for _, digits in rows for digit in digits} == set(range(10))
    assert any(not digits for _, digits in rows)


def test_thinned_strokes_are_one_pixel_wide_and_whole(glyphs: Glyphs) -> None:
    bar = np.zeros((1, 40, 40), bool)
    bar[0, 10:17, 5:35] = True
    thin = thinned(bar)[0] > 0
    assert thin.sum(axis=0).max() <= 2
    assert thin.any(axis=0).sum() > 20
    pieces = [cv2.connectedComponents(plane)[0] for plane in glyphs.thin]
    assert float(np.mean([count == 2 for count in pieces])) > 0.9


@pytest.mark.parametrize("digit", range(10))
def test_drawn_digits_are_about_one_high(digit: int) -> None:
    chance = np.random.default_rng(digit)
    for _ in range(3 * len(FORMS[digit])):
        points = np.concatenate(draw(digit, chance))
        assert 0.8 < np.ptp(points[:, 1]) < 1.3
        assert np.ptp(points[:, 0]) < 1.2


def test_ctc_learns_a_strip_by_heart(glyphs: Glyphs) -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    rows = (synthesize_row(glyphs, 2, index) for index in itertools.count())
    strip, digits = next((strip, digits) for strip, digits in rows if len(digits) == 3)
    net = RowNetwork((8, 8, 16, 16, 32), 0.0)
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(60):
        loss = ctc_loss(net(stack_strips([strip, strip])), [digits, digits])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert greedy_decode(net(stack_strips([strip, strip])))[0] == digits


def test_strange_rows_are_mostly_no_rows_of_digits(network: StripReader) -> None:
    assert np.array_equal(synthesize_non_digit_row(4, 2), synthesize_non_digit_row(4, 2))
    evidence = np.array([network(synthesize_non_digit_row(4, index)).evidence for index in range(40)])
    assert (evidence < network.settings.threshold).mean() > 0.5


def test_the_model_that_ships_is_small() -> None:
    assert model_files.shipped_path(model_files.ROW_MODEL).stat().st_size < 1_500_000


def test_ink_taller_than_the_sheet_loses_its_margins_and_no_more() -> None:
    sheet = Sheet(sample_writer(np.random.default_rng(0)), 1)
    patch = np.zeros((len(sheet.ink) + 7, 9), np.float32)
    patch[20:-20, 4] = 1
    sheet.put(patch, 0.0, -5.0)
    assert sheet.ink.sum() == patch.sum()
