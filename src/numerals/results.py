"""What reading returns: a Page with rows of digits, or a Recognition of pictures that show one digit each.

Coordinates are pixels of the original picture, turned upright as its EXIF data say: x to the right and y down from the
upper left corner.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

Points = npt.NDArray[np.float64]  # (n, 2): x, y
PointMap = Callable[[Points], Points]  # a change of coordinates


@dataclass(frozen=True)
class Box:
    """An upright bounding box in whole pixels: columns `left` to `right` - 1, lines `top` to `bottom` - 1."""

    left: int
    top: int
    width: int
    height: int

    @classmethod
    def from_sides(cls, left: int, top: int, right: int, bottom: int) -> "Box":
        return cls(left, top, right - left, bottom - top)

    @classmethod
    def union(cls, boxes: Sequence["Box"]) -> "Box":
        """Return the smallest box that contains all of `boxes` (at least one)."""
        return cls.from_sides(
            min(box.left for box in boxes),
            min(box.top for box in boxes),
            max(box.right for box in boxes),
            max(box.bottom for box in boxes),
        )

    @property
    def right(self) -> int:
        return self.left + self.width

    @property
    def bottom(self) -> int:
        return self.top + self.height

    def transform(self, to_target: PointMap) -> "Box":
        """Return the upright box around this box in other coordinates, rounded to whole pixels.

        Args:
            to_target: maps points, float64 (4, 2), from this box's coordinates to the others: any scale, offset, turn
                or perspective.
        """
        corners = np.array([[x, y] for x in (self.left, self.right) for y in (self.top, self.bottom)], np.float64)
        moved = to_target(corners)
        (left, top), (right, bottom) = moved.min(axis=0).tolist(), moved.max(axis=0).tolist()
        return Box.from_sides(round(left), round(top), round(right), round(bottom))

    def to_dict(self) -> dict[str, int]:
        return asdict(self)


@dataclass(frozen=True)
class Digit:
    """One digit of a row."""

    digit: int  # 0 to 9
    confidence: float  # in [0, 1]
    box: Box
    seen: npt.NDArray[np.uint8] = field(repr=False, compare=False)  # (28, 28), white ink on black: the model's input

    def to_dict(self) -> dict[str, Any]:
        return {"digit": self.digit, "confidence": self.confidence, "box": self.box.to_dict()}


@dataclass(frozen=True)
class Row:
    """A row of digits, from left to right."""

    digits: tuple[Digit, ...]
    confidence: float  # in [0, 1]: the probability that all digits are right
    box: Box
    strip: npt.NDArray[np.uint8] = field(repr=False, compare=False)  # (40, w), bright ink on black: the model's input
    evidence: float = field(default=1.0, repr=False, compare=False)  # in [0, 1]: how much it looks like digits at all

    @property
    def text(self) -> str:
        return "".join(str(digit.digit) for digit in self.digits)

    def transform(self, to_target: PointMap) -> "Row":
        """Return the row with its boxes in other coordinates; see `Box.transform`."""
        digits = tuple(replace(digit, box=digit.box.transform(to_target)) for digit in self.digits)
        box = Box.union([digit.box for digit in digits]) if digits else self.box.transform(to_target)
        return replace(self, digits=digits, box=box)

    def to_dict(self) -> dict[str, Any]:
        return {
            "text": self.text,
            "confidence": self.confidence,
            "box": self.box.to_dict(),
            "digits": [digit.to_dict() for digit in self.digits],
        }


@dataclass(frozen=True)
class Page:
    """The digits in one picture: its rows from top to bottom, none if no digits were found."""

    rows: tuple[Row, ...]
    width: int  # of the original picture, in pixels, turned upright as its EXIF data say
    height: int
    turn: int = 0  # degrees counterclockwise by which the picture was turned to read it: 0, 90, 180 or 270

    @property
    def text(self) -> str:
        """The digits, one line per row."""
        return "\n".join(row.text for row in self.rows)

    def to_dict(self) -> dict[str, Any]:
        return {
            "text": self.text,
            "width": self.width,
            "height": self.height,
            "turn": self.turn,
            "rows": [row.to_dict() for row in self.rows],
        }


@dataclass(frozen=True)
class Recognition:
    """Predictions for n pictures of one digit each."""

    digits: npt.NDArray[np.int64]  # (n,), 0 to 9: the most probable class, also of rejected pictures
    confidence: npt.NDArray[np.float64]  # (n,) in [0, 1]: the probability of that class
    rejected: npt.NDArray[np.bool_]  # (n,): True if the picture does not look like a digit
    probabilities: npt.NDArray[np.float32]  # (n, 10), each row sums to 1
    is_digit: npt.NDArray[np.float32]  # (n,) in [0, 1]: how much the picture looks like a digit at all

    def __len__(self) -> int:
        return len(self.digits)

    def to_dict(self) -> dict[str, list[Any]]:
        return {
            "digits": self.digits.tolist(),
            "confidence": self.confidence.tolist(),
            "rejected": self.rejected.tolist(),
            "probabilities": self.probabilities.tolist(),
            "is_digit": self.is_digit.tolist(),
        }
