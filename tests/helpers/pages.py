"""Synthetic pages with rows of MNIST's test digits, of which the digits and boxes are known."""

from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt

from numerals.article.data import load_mnist
from numerals.read.pixels import GreyPixels
from numerals.results import Box


@dataclass
class SyntheticPage:
    """A page under construction, and what is written on it."""

    picture: npt.NDArray[np.float32]  # (h, w) in [0, 255], dark ink on light paper
    rows: list[str] = field(default_factory=list)
    boxes: list[list[Box]] = field(default_factory=list)  # of each digit of each row

    @property
    def text(self) -> str:
        return "\n".join(self.rows)

    @property
    def grey(self) -> GreyPixels:
        return np.clip(self.picture, 0, 255).astype(np.uint8)


def blank(
    height: int = 600, width: int = 800, paper: float = 215.0, noise: float = 2.0, seed: int = 0
) -> SyntheticPage:
    """Paper with a little grain."""
    grain = np.random.default_rng(seed).normal(0, noise, (height, width))
    return SyntheticPage((paper + grain).astype(np.float32))


def shade(page: SyntheticPage, depth: float = 0.55) -> SyntheticPage:
    """Let the light fall off from one corner to the other, with the soft edge of a shadow across the middle."""
    height, width = page.picture.shape
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    shadow = 1 - 0.25 / (1 + np.exp(-(x + y - 1) * 18))
    page.picture *= ((1 - depth * (x * 0.6 + y * 0.4)) * shadow).astype(np.float32)
    return page


def rule(page: SyntheticPage, pitch: int, strength: float = 45.0) -> SyntheticPage:
    """Print lines over the whole width, `pitch` pixels apart and `strength` grey levels darker than the paper."""
    page.picture[pitch::pitch] -= strength
    return page


def specks(page: SyntheticPage, count: int, seed: int = 1) -> SyntheticPage:
    """Add dirt of one to three pixels."""
    rng = np.random.default_rng(seed)
    height, width = page.picture.shape
    for x, y in zip(rng.integers(0, width, count), rng.integers(0, height, count), strict=True):
        cv2.circle(page.picture, (int(x), int(y)), int(rng.integers(0, 2)), 60.0, -1)
    return page


def write(
    page: SyntheticPage,
    digits: str,
    x: float,
    y: float,
    height: int,
    gap: float = 0.25,
    climb: float = 0.0,
    ink: float = 150.0,
    seed: int = 0,
) -> SyntheticPage:
    """Write a row with MNIST's test digits.

    Args:
        page: the page.
        digits: to write; `.`, `,` and `-` are drawn between them and are not digits.
        x: of the upper left corner, in pixels.
        y: of the upper left corner, in pixels.
        height: of the digits, in pixels.
        gap: from ink to ink, in heights.
        climb: of the row, per length.
        ink: grey levels by which the ink is darker than the paper.
        seed: chooses among the digits of a class.
    """
    _, (images, labels) = load_mnist()
    rng = np.random.default_rng(seed)
    written, boxes = "", []
    for character in digits:
        if character in ".,-":
            x = _draw_mark(page, character, x, y, height, ink) + gap * height
            continue
        image = images[rng.choice(np.flatnonzero(labels == int(character)))]
        lines, columns = np.flatnonzero(image.max(axis=1) > 90), np.flatnonzero(image.max(axis=0) > 90)
        tight = image[lines[0] : lines[-1] + 1, columns[0] : columns[-1] + 1]
        scale = height / tight.shape[0]
        width = max(round(tight.shape[1] * scale), 2)
        alpha = cv2.resize(tight, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.float32) / 255
        box = Box(round(x), round(y), width, height)
        area = page.picture[box.top : box.bottom, box.left : box.right]
        area -= ink * np.clip(alpha, 0, 1) * (area / 215)
        boxes.append(box)
        written += character
        x += width + gap * height
        y -= climb * (width + gap * height)
    page.rows.append(written)
    page.boxes.append(boxes)
    return page


def _draw_mark(page: SyntheticPage, mark: str, x: float, y: float, height: int, ink: float) -> float:
    """Draw a dot, a comma or a dash, and return where it ends."""
    pen = max(height // 10, 2)
    base = y + height
    ends = {
        ".": [(x, base - pen), (x + 1, base - pen)],
        ",": [(x + pen, base - pen), (x, base + height / 6)],
        "-": [(x, y + 0.55 * height), (x + 0.35 * height, y + 0.55 * height)],
    }[mark]
    level = float(page.picture[round(y), round(x)] - ink)
    (x0, y0), (x1, y1) = ends
    cv2.line(page.picture, (round(x0), round(y0)), (round(x1), round(y1)), level, pen)
    return max(ends[0][0], ends[1][0]) + pen


def max_distance(box: Box, other: Box) -> int:
    """The largest distance in pixels between a side of one box and the same side of the other."""
    horizontal = max(abs(box.left - other.left), abs(box.right - other.right))
    return max(horizontal, abs(box.top - other.top), abs(box.bottom - other.bottom))
