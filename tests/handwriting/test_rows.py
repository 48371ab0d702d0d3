"""Synthetic rows, and how the row network is trained on them."""

import itertools

import cv2
import numpy as np
import pytest
import torch

from numerals.article.data import load_mnist
from numerals.handwriting.glyphs import Glyphs, prepare_glyphs, sample_writer, skeletonise
from numerals.handwriting.rows import synthesize_non_digit_row, synthesize_row
from numerals.handwriting.stroke_templates import TEMPLATES, sample_strokes
from numerals.handwriting.writing import RowCanvas
from numerals.read import model_files
from numerals.read.recognise import Recogniser, RowRecogniser
from numerals.read.strip_reader import StripReader, StripReaderSettings
from numerals.read.strips import STRIP_HEIGHT
from numerals.readers.row_network import RowNetwork
from numerals.readers.train_rows import ctc_loss, greedy_decode, stack_strips


@pytest.fixture(scope="module")
def network() -> StripReader:
    rows = RowRecogniser(threads=1)
    return StripReader(rows, Recogniser(), StripReaderSettings.from_card(rows.model.card))


@pytest.fixture(scope="module")
def glyphs() -> Glyphs:
    (images, labels), _ = load_mnist()
    return prepare_glyphs(images[:300], labels[:300])


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
    thin = skeletonise(bar)[0] > 0
    assert thin.sum(axis=0).max() <= 2
    assert thin.any(axis=0).sum() > 20
    pieces = [cv2.connectedComponents(plane)[0] for plane in glyphs.skeletons]
    assert float(np.mean([count == 2 for count in pieces])) > 0.9


@pytest.mark.parametrize("digit", range(10))
def test_drawn_digits_are_about_one_high(digit: int) -> None:
    chance = np.random.default_rng(digit)
    for _ in range(3 * len(TEMPLATES[digit])):
        points = np.concatenate(sample_strokes(digit, chance))
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
    sheet = RowCanvas(sample_writer(np.random.default_rng(0)), 1)
    patch = np.zeros((len(sheet.ink) + 7, 9), np.float32)
    patch[20:-20, 4] = 1
    sheet.paste(patch, 0.0, -5.0)
    assert sheet.ink.sum() == patch.sum()
