"""Drawings on an empty pad: a ruler-straight stroke is a 1, non-digits are not read, and nothing is turned."""

import cv2
import numpy as np
import numpy.typing as npt
import pytest

import numerals
from numerals.read.strip_reader import adds_only_ones, count_upright_strokes, slanted
from numerals.read.strips import INK_LEVEL, STRIP_HEIGHT

Strokes = list[list[tuple[float, float]]]
FINE = 16  # polylines takes sixteenths of a pixel
ZERO = [(0.5 - 0.45 * np.sin(turn), 0.5 - 0.5 * np.cos(turn)) for turn in np.linspace(0, 2 * np.pi, 40)]
TWO = [
    (0.1, 0.25),
    (0.16, 0.1),
    (0.3, 0.02),
    (0.5, 0),
    (0.7, 0.05),
    (0.82, 0.2),
    (0.75, 0.4),
    (0.5, 0.63),
    (0.1, 1),
    (1, 1),
]
SHAPES = {"0": ZERO, "1": [(0.0, 0.0), (0.0, 1.0)], "2": TWO}


@pytest.fixture(scope="module")
def reader() -> numerals.Reader:
    return numerals.Reader()


def pad(strokes: Strokes, pen: int) -> npt.NDArray[np.uint8]:
    """Return a drawing in black on white, as the web page sends it."""
    picture = np.full((273, 480), 255, np.uint8)
    for stroke in strokes:
        points = np.round(np.array(stroke) * FINE).astype(np.int32)
        cv2.polylines(picture, [points], False, 0, pen, cv2.LINE_AA, 4)
    return picture


def number(text: str, height: float, left: float = 40, top: float = 60) -> Strokes:
    strokes = []
    for digit in text:
        wide = (0.1 if digit == "1" else 0.55) * height
        strokes.append([(left + x * wide, top + y * height) for x, y in SHAPES[digit]])
        left += wide + 0.3 * height
    return strokes


@pytest.mark.parametrize("text", ["1", "11", "10", "01", "21", "12", "101", "2101"])
@pytest.mark.parametrize(("height", "pen"), [(60, 3), (90, 9), (130, 5)])
def test_ruler_straight_ones_are_read(reader: numerals.Reader, text: str, height: int, pen: int) -> None:
    page = reader.read(pad(number(text, height), pen), drawn=True)
    assert page.text == text
    assert page.turn == 0
    for digit, stroke in zip(page.rows[0].digits, number(text, height), strict=True):
        middle = (min(x for x, _ in stroke) + max(x for x, _ in stroke)) / 2
        assert digit.box.left <= middle <= digit.box.left + digit.box.width


def test_in_a_photograph_a_straight_stroke_may_be_a_printed_line_and_is_not_read(reader: numerals.Reader) -> None:
    assert reader.read(pad(number("1", 90), 5)).text == ""


@pytest.mark.parametrize(
    "strokes",
    [
        [],
        [[(200, 130), (200.1, 130)]],
        [[(60 + 70 * i, 130), (60.1 + 70 * i, 130)] for i in range(5)],
        [[(150, 130), (260, 130)], [(205, 75), (205, 185)]],
        [[(150, 110), (260, 110)], [(150, 150), (260, 150)]],
        [[(100, 60), (300, 60), (300, 200), (100, 200), (100, 60)]],
        [[(80 + 15 * i, 60 if i % 2 else 200) for i in range(20)]],
        [  # a horse
            [(120, 200), (120, 120), (250, 115), (290, 60), (310, 70), (330, 90), (300, 100), (280, 140), (285, 200)],
            *([(140, 200), (140, 125)], [(260, 200), (255, 125)], [(120, 120), (90, 140), (85, 170)]),
        ],
    ],
    ids=["empty", "dot", "dots", "plus", "equals", "box", "zigzag", "horse"],
)
@pytest.mark.parametrize("pen", [3, 9])
def test_drawn_non_digits_are_not_read(reader: numerals.Reader, strokes: Strokes, pen: int) -> None:
    assert reader.read(pad(strokes, pen), drawn=True).text == ""


def test_upright_strokes_are_counted_by_their_shape() -> None:
    strip = np.zeros((STRIP_HEIGHT, 80), np.uint8)
    strip[8:32, 10:13] = strip[8:32, 30:46] = strip[30:34, 60:63] = INK_LEVEL  # a stroke, a block, a dot
    assert count_upright_strokes(strip) == 1
    assert count_upright_strokes(slanted(strip, 1.0)) == 0


@pytest.mark.parametrize(
    ("digits", "baseline", "expected"),
    [([1], [], True), ([2, 1], [2], True), ([1, 2], [3], False), ([2], [2], False), ([7], [], False)],
)
def test_the_slanted_view_may_only_add_ones(digits: list[int], baseline: list[int], expected: bool) -> None:
    assert adds_only_ones(digits, baseline) == expected
