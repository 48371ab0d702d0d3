"""What a row is written with: MNIST's digits at twice the size, their middle lines, and a writer's habits.

Knows nothing about papers, pictures or networks.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from numerals.article.data import Images, Labels
from numerals.handwriting.stroke_templates import draw

GLYPH = 56  # side of a digit's source picture; the digit is at most TALL high in it
TALL = 40


@dataclass(frozen=True)
class Glyphs:
    """Digits to write with: `soft` as MNIST has them, twice as large, `thin` their middle lines; uint8 (n, 56, 56)."""

    soft: Images
    thin: Images
    labels: Labels
    by_class: tuple[npt.NDArray[np.int64], ...]

    @classmethod
    def of(cls, soft: Images, thin: Images, labels: Labels) -> "Glyphs":
        """These pictures, and which of them are of each class."""
        return cls(soft, thin, labels, tuple(np.flatnonzero(labels == digit) for digit in range(10)))


def prepare_glyphs(images: Images, labels: Labels) -> Glyphs:
    """MNIST's digits, uint8 (n, 28, 28), made ready to write with."""
    soft = np.stack([cv2.resize(image, (GLYPH, GLYPH), interpolation=cv2.INTER_CUBIC) for image in images])
    thin = thinned(soft > 110)
    return Glyphs.of(soft, thin, labels)


def draw_glyph(digit: int, pen: int, chance: np.random.Generator) -> npt.NDArray[np.uint8]:
    """A digit drawn with a pen `pen` pixels wide, in one of the shapes of `strokes`: uint8 (56, 56), 40 high."""
    picture = np.zeros((GLYPH, GLYPH), np.uint8)
    corner = ((GLYPH - 0.5 * TALL) / 2, (GLYPH - TALL) / 2)
    for line in draw(digit, chance):
        points = np.round((line * TALL + corner) * 16).astype(np.int32)
        cv2.polylines(picture, [points], False, 255, pen, cv2.LINE_AA, 4)
    return picture


def thinned(ink: npt.NDArray[np.bool_]) -> Images:
    """The middle lines of the strokes (Zhang and Suen 1984), many pictures at once: uint8 (n, h, w), 0 or 255."""
    tables = [_deletable(step) for step in (0, 1)]
    pictures = np.pad(ink, ((0, 0), (1, 1), (1, 1))).astype(np.uint8)
    for start in range(0, len(pictures), 1000):  # in pieces that fit into the cache
        part = pictures[start : start + 1000]
        changed = True
        while changed:
            changed = False
            for table in tables:
                delete = table[_neighbours(part)] & part[:, 1:-1, 1:-1]
                part[:, 1:-1, 1:-1] -= delete
                changed = changed or bool(delete.any())
    return np.asarray(pictures[:, 1:-1, 1:-1] * np.uint8(255), np.uint8)


def _neighbours(part: Images) -> Images:
    """The eight neighbours of each inner pixel as the bits of a number, clockwise from above."""
    height, width = part.shape[1:]
    code = np.zeros((len(part), height - 2, width - 2), np.uint8)
    for bit, (down, right) in enumerate(((0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0), (0, 0))):
        code |= part[:, down : down + height - 2, right : right + width - 2] << np.uint8(bit)
    return code


def _deletable(step: int) -> npt.NDArray[np.uint8]:
    """For each of the 256 neighbourhoods, whether that half-step of Zhang and Suen deletes the middle."""
    bits = (np.arange(256)[:, None] >> np.arange(8)) & 1
    crossings = ((bits == 0) & (np.roll(bits, -1, 1) == 1)).sum(1)
    above, right, below, left = bits[:, 0], bits[:, 2], bits[:, 4], bits[:, 6]
    if step == 0:
        edge = (above * right * below == 0) & (right * below * left == 0)
    else:
        edge = (above * right * left == 0) & (above * below * left == 0)
    return np.asarray((crossings == 1) & (bits.sum(1) >= 2) & (bits.sum(1) <= 6) & edge, np.uint8)


@dataclass(frozen=True)
class Writer:
    """How one row is written; lengths in units of the digits' height, which is `height` pixels."""

    height: float
    slant: float
    aspect: float
    pen: float  # width of a stroke
    thin: bool  # middle lines drawn with that pen, else MNIST's own strokes
    drawn: float  # share of digits drawn from `strokes`
    gap: float  # from one digit's ink to the next
    gap_spread: float
    kern: float  # 1: the gap is the least distance of the two inks; 0: of their boxes
    size_spread: float
    turn_spread: float
    lift_spread: float
    climb: float
    zeros: float  # how large zeros are beside the other digits
    wide_zeros: float  # how wide zeros are beside the other digits
    tails: float  # how far below the line 4, 7 and 9 reach
    joins: float  # share of neighbours joined by a stroke
    european: bool  # MNIST's sevens get a bar, its ones an upstroke


def sample_writer(chance: np.random.Generator) -> Writer:
    """A writer by chance."""
    height = chance.uniform(20, 52)
    gap = chance.choice(
        [chance.uniform(-0.1, 0.02), chance.uniform(0, 0.15), chance.uniform(0.1, 0.4), chance.uniform(0.3, 1.1)],
        p=[0.18, 0.34, 0.34, 0.14],
    )
    return Writer(
        height=height,
        slant=float(np.clip(chance.normal(0.18, 0.28), -0.45, 0.9)),
        aspect=float(np.clip(np.exp(chance.normal(0, 0.22)), 0.6, 1.7)),
        pen=max(chance.uniform(0.035, 0.17), 1.2 / height),
        thin=chance.random() < 0.6,
        drawn=chance.choice([0.0, 0.15, 0.5, 1.0], p=[0.16, 0.22, 0.38, 0.24]),
        gap=float(gap),
        gap_spread=chance.uniform(0.0, 0.12) + 0.2 * max(float(gap), 0),
        kern=chance.uniform(0.3, 1),
        size_spread=chance.uniform(0.02, 0.18),
        turn_spread=chance.uniform(0, 0.12),
        lift_spread=chance.uniform(0, 0.08),
        climb=chance.normal(0, 0.04),
        zeros=chance.uniform(0.55, 1.0) if chance.random() < 0.4 else 1.0,
        wide_zeros=chance.uniform(1.0, 1.7) if chance.random() < 0.3 else 1.0,
        tails=chance.uniform(0, 0.3) if chance.random() < 0.3 else 0.0,
        joins=chance.uniform(0.1, 0.7) if chance.random() < 0.2 else 0.0,
        european=chance.random() < 0.5,
    )


def sample_number(chance: np.random.Generator) -> list[int]:
    """The digits of a row: any, often with zeros at the end or one digit again and again; sometimes none."""
    count = int(chance.choice(11, p=[0.04, 0.04, 0.08, 0.14, 0.18, 0.23, 0.14, 0.06, 0.05, 0.02, 0.02]))
    digits = [int(digit) for digit in chance.integers(0, 10, count)]
    kind = chance.random()
    if kind < 0.25 and count > 2:
        zeros = int(chance.integers(1, count))
        digits[-zeros:] = [0] * zeros
    elif kind < 0.35 and count > 1:
        start = int(chance.integers(0, count - 1))
        digits[start : start + int(chance.integers(2, 5))] = [digits[start]] * len(digits[start : start + 4])
        digits = digits[:count]
    return digits
