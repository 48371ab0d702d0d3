"""From the contrast of a page to detections."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numerals.handwriting.pages import SIDE, PlacedDigit, SyntheticPage
from numerals.read.detect import (
    MIN_SCORE,
    Detections,
    DetectorFunction,
    FloatArray,
    decode,
    detect,
    without_overlaps,
)
from numerals.read.page_contrast import PAPER_LEVEL, contrast_planes
from numerals.readers.train_detector import CELLS, make_targets

EMPTY = np.full((SIDE, SIDE), 200, np.uint8)


def perfect_output(page: SyntheticPage) -> FloatArray:
    """What a network that knows the page would answer."""
    targets = make_targets([page])
    output = np.zeros((15, CELLS, CELLS), np.float32)
    heat = np.clip(targets.heat[0], 1e-4, 1 - 1e-4)
    output[0] = np.log(heat / (1 - heat))
    for digit in range(10):
        output[1 + digit] = 8 * (targets.classes[0] == digit)
    output[11:] = targets.boxes[0]
    return output


def test_decoding_the_targets_gives_the_digits_of_the_page() -> None:
    digits = tuple(
        PlacedDigit(number, 20.5 * number + 5, 31.25 + number, 20.5 * number + 19, 60.0 + 2 * number)
        for number in range(10)
    )
    found = decode(perfect_output(SyntheticPage(EMPTY, digits)))
    found = found.take(np.argsort(found.x))
    assert len(found) == 10
    assert found.probabilities.argmax(axis=1).tolist() == list(range(10))
    for index, digit in enumerate(digits):
        assert found.x[index] == pytest.approx((digit.left + digit.right) / 2, abs=0.01)
        assert found.y[index] == pytest.approx((digit.top + digit.bottom) / 2, abs=0.01)
        assert found.width[index] == pytest.approx(digit.right - digit.left, rel=1e-4)
        assert found.height[index] == pytest.approx(digit.bottom - digit.top, rel=1e-4)


def test_a_digit_cut_off_by_the_edge_is_neither_right_nor_wrong() -> None:
    cut = PlacedDigit(4, -20, 100, 10, 140, visible=False)
    targets = make_targets([SyntheticPage(EMPTY, (cut,))])
    assert 0.9 < targets.heat[0, 30, 1] < 1
    assert (targets.classes == -1).all()


@given(st.integers(0, 2**32 - 1))
def test_of_overlapping_detections_the_best_remains(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 30))
    x, y, width, height = rng.uniform(5, 60, (4, count)).astype(np.float32)
    scores = rng.uniform(MIN_SCORE, 1, count).astype(np.float32)
    every = Detections(x, y, width, height, scores, np.full((count, 10), 0.1, np.float32))
    kept = without_overlaps(every)
    assert kept.score[0] == scores.max()
    assert len(without_overlaps(kept)) == len(kept) <= count


def test_contrast_is_independent_of_light() -> None:
    rng = np.random.default_rng(0)
    page = np.full((240, 320), 220.0)
    page[100:104, 60:200] = 60
    page += rng.normal(0, 1, page.shape)
    bright, dim = (contrast_planes((page * light).astype(np.uint8)) for light in (1.0, 0.45))
    assert abs(int(np.median(bright[1])) - PAPER_LEVEL) <= 2
    assert np.abs(bright[0][102, 70:190].astype(int) - dim[0][102, 70:190]).mean() < 5
    assert bright[1][102, 70:190].mean() > 150


def test_faint_ink_has_full_contrast_in_the_second_plane() -> None:
    page = np.full((240, 320), 220, np.uint8)
    page[100:104, 60:200] = 190
    proportional, stretched = contrast_planes(page)
    assert proportional[102, 100] < 120
    assert stretched[102, 100] > 150


def test_contrast_sees_ink_of_any_colour() -> None:
    page = np.full((120, 160, 3), 230, np.uint8)
    page[50:54, 40:120] = (230, 80, 90)  # red ink is bright in the red channel
    assert contrast_planes(page)[1][52, 60:100].mean() > 150


@pytest.mark.parametrize("shape", [(1, 1), (5, 400), (28, 28), (700, 30)])
def test_pictures_of_any_shape_can_be_looked_at(shape: tuple[int, int]) -> None:
    shapes = []

    def detector(planes: np.ndarray) -> FloatArray:
        assert planes.dtype == np.uint8
        assert all(side % 32 == 0 for side in planes.shape[1:])
        shapes.append(planes.shape)
        return np.full((15, planes.shape[1] // 4, planes.shape[2] // 4), -9, np.float32)

    checked: DetectorFunction = detector
    assert len(detect(np.full(shape, 255, np.uint8), checked)) == 0
    assert shapes


def test_digits_of_a_bad_size_are_looked_at_again_at_a_good_one() -> None:
    """The first look finds a digit 12 pixels high; the last one sees it 30 pixels high."""
    widths = []

    def detector(planes: np.ndarray) -> FloatArray:
        widths.append(planes.shape[2])
        output = np.full((15, planes.shape[1] // 4, planes.shape[2] // 4), -9, np.float32)
        output[11:] = 0
        output[0, 10, 10] = 5
        output[12] = np.log(12 / 16)
        return output

    detect(np.full((400, 400), 255, np.uint8), detector)
    assert widths[-1] > 2.0 * 400
