"""What a synthetic row is written with: glyphs of digits, a writer's style, and the number to write."""

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
import numpy.typing as npt

from numerals.article.data import Images, Labels
from numerals.handwriting.drawing import draw_path
from numerals.handwriting.stroke_templates import sample_strokes

GLYPH_SIDE = 56  # pixels along each side of a glyph
GLYPH_HEIGHT = 40  # maximum height of the digit in it, in pixels

GlyphImages = npt.NDArray[np.uint8]  # (n, 56, 56) in 0..255, white ink on black


@dataclass(frozen=True)
class Glyphs:
    """Digits to write rows with.

    Attributes:
        images: MNIST's digits at twice their size.
        skeletons: the centre lines of their strokes, one pixel wide.
        labels: uint8 (n,), 0 to 9.
    """

    images: GlyphImages
    skeletons: GlyphImages
    labels: Labels

    @cached_property
    def by_class(self) -> tuple[npt.NDArray[np.int64], ...]:
        """Indices of the glyphs of each class."""
        return tuple(np.flatnonzero(self.labels == digit) for digit in range(10))


def prepare_glyphs(images: Images, labels: Labels) -> Glyphs:
    """Make glyphs from MNIST's digits, uint8 (n, 28, 28), white ink on black."""
    enlarged = np.stack(
        [cv2.resize(image, (GLYPH_SIDE, GLYPH_SIDE), interpolation=cv2.INTER_CUBIC) for image in images]
    )
    return Glyphs(enlarged, skeletonise(enlarged > 110), labels)


def draw_glyph(digit: int, pen_width: int, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Draw a digit from a random stroke template: uint8 (56, 56), white on black, the digit about 40 pixels high."""
    glyph = np.zeros((GLYPH_SIDE, GLYPH_SIDE), np.uint8)
    corner = ((GLYPH_SIDE - 0.5 * GLYPH_HEIGHT) / 2, (GLYPH_SIDE - GLYPH_HEIGHT) / 2)
    for line in sample_strokes(digit, rng):
        draw_path(glyph, line * GLYPH_HEIGHT + corner, 255, pen_width)
    return glyph


def skeletonise(ink: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """Thin the strokes of many pictures to their centre lines (Zhang and Suen 1984).

    Args:
        ink: bool (n, h, w).

    Returns:
        uint8 (n, h, w), 255 on the centre lines and 0 elsewhere.
    """
    tables = [_deletable(half_step) for half_step in (0, 1)]
    pictures = np.pad(ink, ((0, 0), (1, 1), (1, 1))).astype(np.uint8)
    for start in range(0, len(pictures), 1000):  # in chunks that fit into the processor's cache
        chunk = pictures[start : start + 1000]
        changed = True
        while changed:
            changed = False
            for table in tables:
                delete = table[_neighbour_codes(chunk)] & chunk[:, 1:-1, 1:-1]
                chunk[:, 1:-1, 1:-1] -= delete
                changed = changed or bool(delete.any())
    return np.asarray(pictures[:, 1:-1, 1:-1] * np.uint8(255), np.uint8)


def _neighbour_codes(pictures: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The eight neighbours of each inner pixel as the bits of a number, clockwise from above."""
    height, width = pictures.shape[1:]
    code = np.zeros((len(pictures), height - 2, width - 2), np.uint8)
    for bit, (down, right) in enumerate(((0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0), (0, 0))):
        code |= pictures[:, down : down + height - 2, right : right + width - 2] << np.uint8(bit)
    return code


def _deletable(half_step: int) -> npt.NDArray[np.uint8]:
    """For each of the 256 neighbour codes, 1 if this half-step of Zhang and Suen deletes the pixel."""
    bits = (np.arange(256)[:, None] >> np.arange(8)) & 1
    crossings = ((bits == 0) & (np.roll(bits, -1, 1) == 1)).sum(1)
    above, right, below, left = bits[:, 0], bits[:, 2], bits[:, 4], bits[:, 6]
    if half_step == 0:
        edge = (above * right * below == 0) & (right * below * left == 0)
    else:
        edge = (above * right * left == 0) & (above * below * left == 0)
    return np.asarray((crossings == 1) & (bits.sum(1) >= 2) & (bits.sum(1) <= 6) & edge, np.uint8)


@dataclass(frozen=True)
class Writer:
    """The style of one row. Lengths are in units of the digits' height, except `height` itself."""

    height: float  # of a digit, in pixels
    slant: float  # horizontal shift per height; positive leans to the right
    aspect: float  # factor of the width
    pen_width: float
    thin: bool  # write with skeletons and this pen; else with MNIST's own strokes
    template_share: float  # share of digits drawn from stroke templates instead of MNIST's glyphs
    gap: float  # mean distance from one digit's ink to the next
    gap_spread: float  # standard deviation, as are the other spreads
    kerning: float  # 1: gaps are measured between the inks; 0: between their bounding boxes
    size_spread: float
    rotation_spread: float  # radians
    baseline_spread: float
    slope: float  # of the baseline: pixels down per pixel to the right
    zero_size: float  # size of zeros relative to other digits
    zero_width: float  # width of zeros relative to other digits
    descent: float  # how far 4, 7 and 9 reach below the baseline
    joined_share: float  # share of neighbouring digits joined by a stroke
    european: bool  # MNIST's sevens get a bar, its ones an upstroke


def sample_writer(rng: np.random.Generator) -> Writer:
    """Draw a random style."""
    height = rng.uniform(20, 52)
    gap = rng.choice(
        [rng.uniform(-0.1, 0.02), rng.uniform(0, 0.15), rng.uniform(0.1, 0.4), rng.uniform(0.3, 1.1)],
        p=[0.18, 0.34, 0.34, 0.14],
    )
    return Writer(
        height=height,
        slant=float(np.clip(rng.normal(0.18, 0.28), -0.45, 0.9)),
        aspect=float(np.clip(np.exp(rng.normal(0, 0.22)), 0.6, 1.7)),
        pen_width=max(rng.uniform(0.035, 0.17), 1.2 / height),
        thin=rng.random() < 0.6,
        template_share=rng.choice([0.0, 0.15, 0.5, 1.0], p=[0.16, 0.22, 0.38, 0.24]),
        gap=float(gap),
        gap_spread=rng.uniform(0.0, 0.12) + 0.2 * max(float(gap), 0),
        kerning=rng.uniform(0.3, 1),
        size_spread=rng.uniform(0.02, 0.18),
        rotation_spread=rng.uniform(0, 0.12),
        baseline_spread=rng.uniform(0, 0.08),
        slope=rng.normal(0, 0.04),
        zero_size=rng.uniform(0.55, 1.0) if rng.random() < 0.4 else 1.0,
        zero_width=rng.uniform(1.0, 1.7) if rng.random() < 0.3 else 1.0,
        descent=rng.uniform(0, 0.3) if rng.random() < 0.3 else 0.0,
        joined_share=rng.uniform(0.1, 0.7) if rng.random() < 0.2 else 0.0,
        european=rng.random() < 0.5,
    )


def sample_number(rng: np.random.Generator) -> list[int]:
    """Draw the digits of a row, up to ten: often with trailing zeros or one digit repeated, sometimes none."""
    count = int(rng.choice(11, p=[0.04, 0.04, 0.08, 0.14, 0.18, 0.23, 0.14, 0.06, 0.05, 0.02, 0.02]))
    digits = [int(digit) for digit in rng.integers(0, 10, count)]
    kind = rng.random()
    if kind < 0.25 and count > 2:
        zeros = int(rng.integers(1, count))
        digits[-zeros:] = [0] * zeros
    elif kind < 0.35 and count > 1:
        start = int(rng.integers(0, count - 1))
        digits[start : start + int(rng.integers(2, 5))] = [digits[start]] * len(digits[start : start + 4])
        digits = digits[:count]
    return digits
