"""Synthetic rows: reproducible by index, varied, and made of sound glyphs."""

import cv2
import numpy as np
import pytest

from numerals.article.data import load_mnist
from numerals.handwriting.glyphs import Glyphs, prepare_glyphs, sample_writer, skeletonise
from numerals.handwriting.rows import synthesise_non_digit_row, synthesise_row
from numerals.handwriting.stroke_templates import TEMPLATES, sample_strokes
from numerals.handwriting.writing import RowCanvas
from numerals.read.recognise import Recogniser, RowRecogniser
from numerals.read.strip_reader import StripReader, StripReaderSettings
from numerals.read.strips import STRIP_HEIGHT


@pytest.fixture(scope="module")
def reader() -> StripReader:
    rows = RowRecogniser(threads=1)
    return StripReader(rows, Recogniser(), StripReaderSettings.from_card(rows.model.card))


@pytest.fixture(scope="module")
def glyphs() -> Glyphs:
    (images, labels), _ = load_mnist()
    return prepare_glyphs(images[:300], labels[:300])


def test_a_row_depends_only_on_seed_and_index(glyphs: Glyphs) -> None:
    (strip, digits), (same_strip, same_digits) = synthesise_row(glyphs, 3, 41), synthesise_row(glyphs, 3, 41)
    assert np.array_equal(strip, same_strip)
    assert digits == same_digits
    assert not np.array_equal(strip[:, :8], synthesise_row(glyphs, 3, 42)[0][:, :8])


def test_rows_are_varied_strips(glyphs: Glyphs) -> None:
    rows = [synthesise_row(glyphs, 5, index) for index in range(150)]
    assert all(strip.shape[0] == STRIP_HEIGHT and strip.dtype == np.uint8 and strip.shape[1] >= 8 for strip, _ in rows)
    assert {digit for _, digits in rows for digit in digits} == set(range(10))
    assert any(not digits for _, digits in rows)


def test_skeletons_are_one_pixel_wide_and_connected(glyphs: Glyphs) -> None:
    bar = np.zeros((1, 40, 40), bool)
    bar[0, 10:17, 5:35] = True
    skeleton = skeletonise(bar)[0] > 0
    assert skeleton.sum(axis=0).max() <= 2
    assert skeleton.any(axis=0).sum() > 20
    components = [cv2.connectedComponents(picture)[0] for picture in glyphs.skeletons]
    assert float(np.mean([count == 2 for count in components])) > 0.9  # the background is one of the two


@pytest.mark.parametrize("digit", range(10))
def test_digits_from_templates_are_about_one_high(digit: int) -> None:
    rng = np.random.default_rng(digit)
    for _ in range(3 * len(TEMPLATES[digit])):
        points = np.concatenate(sample_strokes(digit, rng))
        assert 0.8 < np.ptp(points[:, 1]) < 1.3
        assert np.ptp(points[:, 0]) < 1.2


def test_most_rows_of_non_digits_are_rejected(reader: StripReader) -> None:
    assert np.array_equal(synthesise_non_digit_row(4, 2), synthesise_non_digit_row(4, 2))
    evidence = np.array([reader(synthesise_non_digit_row(4, index)).evidence for index in range(40)])
    assert (evidence < reader.settings.threshold).mean() > 0.5


def test_a_patch_taller_than_the_canvas_loses_only_its_margins() -> None:
    canvas = RowCanvas(sample_writer(np.random.default_rng(0)), 1)
    patch = np.zeros((len(canvas.ink) + 7, 9), np.float32)
    patch[20:-20, 4] = 1
    canvas.paste(patch, 0.0, -5.0)
    assert canvas.ink.sum() == patch.sum()
