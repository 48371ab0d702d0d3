"""Pictures of single digits, brought into MNIST's form."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from numerals.read.digit_ink import extract_ink
from numerals.read.normalise import has_mnist_form, normalise, normalise_one
from numerals.read.pixels import Pixels
from numerals.spec import INK_SIDE, SIDE
from tests.helpers.pictures import on_paper, some_digits


def likeness(a: Pixels, b: Pixels) -> float:
    """The correlation of two 28x28 images."""
    return float(np.corrcoef(a.ravel().astype(np.float64), b.ravel().astype(np.float64))[0, 1])


def test_mnist_digits_come_back_unchanged() -> None:
    images, _ = some_digits(2000)
    digits = normalise(images)
    assert (digits == images).all(axis=(1, 2)).mean() > 0.99


def test_a_list_and_an_array_give_the_same_result() -> None:
    images, _ = some_digits(50)
    assert np.array_equal(normalise(images), normalise(list(images)))


@pytest.mark.parametrize("side", [16, 28, 60, 300, 1000, 3000])
def test_pictures_of_any_size(side: int) -> None:
    images, _ = some_digits(8)
    for image in images:
        assert likeness(normalise_one(on_paper(image, side)), image) > (0.75 if side < 28 else 0.85)


@pytest.mark.parametrize(
    ("paper", "pen"),
    [
        ((255,), (0,)),
        ((0,), (255,)),
        ((140,), (90,)),
        ((60,), (90,)),
        ((250, 248, 240), (200, 30, 40)),  # red
        ((255, 255, 255), (120, 170, 255)),  # faint blue
        ((255, 250, 160), (60, 60, 70)),  # yellow paper
        ((20, 70, 50), (240, 240, 240)),  # chalk on a board
    ],
)
def test_ink_and_paper_of_any_colour(paper: tuple[int, ...], pen: tuple[int, ...]) -> None:
    images, _ = some_digits(8)
    for image in images:
        assert likeness(normalise_one(on_paper(image, 84, paper, pen)), image) > 0.85


def test_both_polarities_give_the_same_result() -> None:
    images, _ = some_digits(30)
    for image in images:
        picture = on_paper(image, 56)
        assert likeness(normalise_one(picture), normalise_one(255 - picture)) > 0.97


def test_a_shadow_is_removed() -> None:
    images, _ = some_digits(8)
    shadow = np.where(np.arange(200) < 120, 0.45, 1.0)[None] * np.linspace(0.8, 1, 200)[:, None]
    for image in images:
        picture = (on_paper(image, 200) * cv2.GaussianBlur(shadow, (0, 0), 6)).astype(np.uint8)
        assert likeness(normalise_one(picture), image) > 0.8


def test_specks_and_the_edge_of_the_paper_are_removed() -> None:
    image = some_digits(1)[0][0]
    page = np.full((400, 300), 240, np.uint8)
    page[60:172, 150:262] = on_paper(image, 112, (240,), (20,))
    page[350:353, 40:43] = 30
    page[:, :4] = 10
    assert likeness(normalise_one(page), image) > 0.85


def test_a_printed_box_is_removed() -> None:
    image = some_digits(1)[0][0]
    page = np.pad(on_paper(image, 160, (250,), (20,)), 20, constant_values=250)
    cv2.rectangle(page, (4, 4), (195, 195), 60, 2)
    assert likeness(normalise_one(page), image) > 0.85


@pytest.mark.parametrize("width", [1, 2, 4, 40])
def test_pens_of_any_width(width: int) -> None:
    page = np.full((300, 300), 255, np.uint8)
    cv2.ellipse(page, (150, 150), (70, 110), 0, 0, 360, 0, width, cv2.LINE_AA)
    digit = normalise_one(page)
    strokes = digit[SIDE // 2] > 100
    assert 2 <= strokes.sum() <= 12
    assert digit[SIDE // 2, SIDE // 2] < 60  # open in the middle


@settings(max_examples=60, deadline=None)
@given(arrays.arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40))))
def test_every_picture_gives_a_valid_image(picture: Pixels) -> None:
    digit = normalise([picture])[0]
    assert digit.shape == (SIDE, SIDE)
    assert digit.dtype == np.uint8
    ink = extract_ink(picture)
    assert ink.shape == picture.shape
    assert ink.min() >= 0 and ink.max() <= 1


def test_empty_paper_has_no_ink() -> None:
    for picture in (
        np.full((50, 50), 200, np.uint8),
        np.zeros((28, 28), np.uint8),
        np.full((9, 300, 3), 255, np.uint8),
    ):
        assert not normalise_one(picture).any()


def test_the_ink_fits_in_twenty_pixels() -> None:
    images, _ = some_digits(30)
    digits = np.stack([normalise_one(on_paper(image, 90)) for image in images])
    assert has_mnist_form(digits).all()
    rows, columns = (digits > 64).any(axis=2).sum(axis=1), (digits > 64).any(axis=1).sum(axis=1)
    assert np.maximum(rows, columns).max() <= INK_SIDE
