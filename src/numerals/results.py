"""What reading gives back. Knows nothing about how it was found."""

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Box:
    """Where something is, in pixels of the picture (turned as its EXIF says)."""

    left: int
    top: int
    width: int
    height: int

    def to_dict(self) -> dict[str, int]:
        return asdict(self)


@dataclass(frozen=True)
class Digit:
    """One digit of a row."""

    digit: int  # 0 to 9
    confidence: float  # in [0, 1]
    box: Box
    seen: npt.NDArray[np.uint8] = field(repr=False, compare=False)  # (28, 28): as the digit model saw it

    def to_dict(self) -> dict[str, Any]:
        return {"digit": self.digit, "confidence": self.confidence, "box": self.box.to_dict()}


@dataclass(frozen=True)
class Row:
    """Digits in reading order."""

    digits: tuple[Digit, ...]
    confidence: float  # in [0, 1]: that all of it is so
    box: Box
    strip: npt.NDArray[np.uint8] = field(repr=False, compare=False)  # (40, w): what the network saw, ink bright

    @property
    def text(self) -> str:
        return "".join(str(digit.digit) for digit in self.digits)

    def to_dict(self) -> dict[str, Any]:
        return {
            "text": self.text,
            "confidence": self.confidence,
            "box": self.box.to_dict(),
            "digits": [digit.to_dict() for digit in self.digits],
        }


@dataclass(frozen=True)
class Page:
    """What is written in one picture: rows from top to bottom, none where nothing was found."""

    rows: tuple[Row, ...]
    width: int  # of the picture, in pixels, turned as its EXIF says
    height: int
    turn: int = 0  # degrees against the clock by which the picture was turned to be read: 0, 90, 180 or 270

    @property
    def text(self) -> str:
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
    """One answer for each picture of a single digit."""

    digits: npt.NDArray[np.int64]  # (n,), 0 to 9: the best class, also where rejected
    confidence: npt.NDArray[np.float64]  # (n,) in [0, 1]: the best class's probability
    rejected: npt.NDArray[np.bool_]  # (n,): it is no digit
    probabilities: npt.NDArray[np.float32]  # (n, 10), each row sums to 1
    is_digit: npt.NDArray[np.float32]  # (n,) in [0, 1]: how much it looks like a digit at all

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
