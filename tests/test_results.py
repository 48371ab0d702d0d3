"""The result types: boxes in other coordinates, and what to_dict returns."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from numerals.results import Box, Digit, Page, Points, Row

sides = st.integers(0, 2000)
boxes = st.builds(Box, sides, sides, sides, sides)


def row_of(*digit_boxes: Box) -> Row:
    digits = [Digit(number, 0.9, box, np.zeros((28, 28), np.uint8)) for number, box in enumerate(digit_boxes)]
    return Row(tuple(digits), 0.8, Box.union(digit_boxes), np.zeros((40, 90), np.uint8))


@given(boxes, st.integers(-500, 500), st.integers(1, 4))
def test_a_box_can_be_scaled_and_moved(box: Box, offset: int, scale: int) -> None:
    moved = box.transform(lambda points: scale * points + offset)
    assert moved == Box(scale * box.left + offset, scale * box.top + offset, scale * box.width, scale * box.height)
    assert moved.transform(lambda points: (points - offset) / scale) == box


@given(boxes)
def test_four_quarter_turns_give_the_same_box(box: Box) -> None:
    def quarter_turn(points: Points) -> Points:
        return np.column_stack([points[:, 1], 5000 - points[:, 0]])

    turned = box.transform(quarter_turn)
    assert (turned.width, turned.height) == (box.height, box.width)
    for _ in range(3):
        turned = turned.transform(quarter_turn)
    assert turned == box


def test_a_tilted_box_is_enclosed_by_an_upright_one() -> None:
    angle = np.pi / 4
    rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    assert Box(0, 0, 100, 100).transform(lambda points: points @ rotation) == Box(-71, 0, 142, 141)


@given(st.lists(boxes, min_size=1, max_size=5))
def test_a_row_is_transformed_with_its_digits(digit_boxes: list[Box]) -> None:
    row = row_of(*digit_boxes).transform(lambda points: 2 * points)
    assert [digit.box.left for digit in row.digits] == [2 * box.left for box in digit_boxes]
    assert row.box == Box.union([digit.box for digit in row.digits])
    assert (row.text, row.confidence) == ("01234"[: len(digit_boxes)], 0.8)


def test_the_dictionary_of_a_page_has_its_text_and_boxes() -> None:
    page = Page((row_of(Box(10, 20, 30, 40)),), 640, 480, 90)
    box = {"left": 10, "top": 20, "width": 30, "height": 40}
    digits = [{"digit": 0, "confidence": 0.9, "box": box}]
    rows = [{"text": "0", "confidence": 0.8, "box": box, "digits": digits}]
    assert page.to_dict() == {"text": "0", "width": 640, "height": 480, "turn": 90, "rows": rows}
