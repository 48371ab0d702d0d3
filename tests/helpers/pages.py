"""Pictures of pages with rows of MNIST test digits, made by the tests: paper, light, lines, specks; and the truth."""

from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt

from numerals.article.data import load_mnist

Grey = npt.NDArray[np.uint8]
Box = tuple[float, float, float, float]


@dataclass
class Page:
    """A page under construction: float32 (h, w) in 0..255, dark ink on light paper, and what was written where."""

    picture: npt.NDArray[np.float32]
    rows: list[str] = field(default_factory=list)
    boxes: list[list[Box]] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "\n".join(self.rows)

    @property
    def grey(self) -> Grey:
        return np.clip(self.picture, 0, 255).astype(np.uint8)


def blank(height: int = 600, width: int = 800, paper: float = 215.0, noise: float = 2.0, seed: int = 0) -> Page:
    """Paper with a little grain."""
    grain = np.random.default_rng(seed).normal(0, noise, (height, width))
    return Page((paper + grain).astype(np.float32))


def shade(page: Page, depth: float = 0.55) -> Page:
    """Light that falls off from one corner to the other, and a soft shadow's edge across the middle."""
    height, width = page.picture.shape
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    shadow = 1 - 0.25 / (1 + np.exp(-(x + y - 1) * 18))
    page.picture *= ((1 - depth * (x * 0.6 + y * 0.4)) * shadow).astype(np.float32)
    return page


def rule(page: Page, pitch: int, strength: float = 45.0) -> Page:
    """Printed lines over the whole width."""
    page.picture[pitch::pitch] -= strength
    return page


def specks(page: Page, count: int, seed: int = 1) -> Page:
    """Dirt of one to three pixels."""
    chance = np.random.default_rng(seed)
    for x, y in zip(
        chance.integers(0, page.picture.shape[1], count), chance.integers(0, page.picture.shape[0], count), strict=True
    ):
        cv2.circle(page.picture, (int(x), int(y)), int(chance.integers(0, 2)), 60.0, -1)
    return page


def write(
    page: Page,
    digits: str,
    x: float,
    y: float,
    height: int,
    gap: float = 0.25,
    climb: float = 0.0,
    ink: float = 150.0,
    seed: int = 0,
) -> Page:
    """Digits of MNIST's test part from (x, y), their upper left corner; `gap` from ink to ink and `climb` in heights.

    A `.`, `,` or `-` is drawn as such and is no digit.
    """
    (_, _), (images, labels) = load_mnist()
    chance = np.random.default_rng(seed)
    written, boxes = "", []
    for sign in digits:
        if sign in ".,-":
            x = mark(page, sign, x, y, height, ink) + gap * height
            continue
        image = images[chance.choice(np.flatnonzero(labels == int(sign)))]
        lines, columns = np.flatnonzero(image.max(axis=1) > 90), np.flatnonzero(image.max(axis=0) > 90)
        tight = image[lines[0] : lines[-1] + 1, columns[0] : columns[-1] + 1]
        scale = height / tight.shape[0]
        size = max(round(tight.shape[1] * scale), 2), height
        drawn = cv2.resize(tight, size, interpolation=cv2.INTER_CUBIC).astype(np.float32) / 255
        left, top = round(x), round(y)
        area = page.picture[top : top + height, left : left + size[0]]
        area -= ink * np.clip(drawn, 0, 1) * (area / 215)
        boxes.append((float(left), float(top), float(left + size[0]), float(top + height)))
        written += sign
        x += size[0] + gap * height
        y -= climb * (size[0] + gap * height)
    page.rows.append(written)
    page.boxes.append(boxes)
    return page


def mark(page: Page, sign: str, x: float, y: float, height: int, ink: float) -> float:
    """A dot, a comma or a dash; where it ends."""
    pen = max(height // 10, 2)
    base = y + height
    ends = {
        ".": [(x, base - pen), (x + 1, base - pen)],
        ",": [(x + pen, base - pen), (x, base + height / 6)],
        "-": [(x, y + 0.55 * height), (x + 0.35 * height, y + 0.55 * height)],
    }[sign]
    shade_of_mark = float(page.picture[round(y), round(x)] - ink)
    (x0, y0), (x1, y1) = ends
    cv2.line(page.picture, (round(x0), round(y0)), (round(x1), round(y1)), shade_of_mark, pen)
    return max(ends[0][0], ends[1][0]) + pen
