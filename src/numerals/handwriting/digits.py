"""What the reader's model is trained on: MNIST's training digits as they would be written and pictured, and strangers.

Sample `index` of `seed` is always the same. Knows nothing about networks.
"""

from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from numerals import seeds
from numerals.article.data import LabelledImages
from numerals.handwriting.degradations import spoil
from numerals.handwriting.glyphs import draw_glyph
from numerals.handwriting.non_digits import CANVAS, bent, stranger
from numerals.handwriting.variants import add_variant
from numerals.read.digit_ink import Background, Ink
from numerals.read.normalise import centre_by_mass, normalise_one
from numerals.spec import INK_SIDE, SIDE, WHITE

Chance = np.random.Generator
Kind = Literal["plain", "raw", "scan"]

NON_DIGIT = -1  # the label of a stranger
STRANGERS = 0.28  # share of the samples
PLAIN, RAW = 0.26, 0.27  # shares of the digits: nearly as in MNIST, 28x28 with mishaps; the others are scans
STRETCH = 2.4  # by how much at most one side of a digit is stretched
DRAWN = 0.2  # share of the written digits that are drawn in a shape that MNIST has not, `strokes`
COARSE = 14  # pixels of a digit under which it is hard enough to read without mishaps
ENLARGED = 2.3  # how much larger than in MNIST a digit is written, before it is pictured


class Synthesis:
    """Samples made from digits to write: `synthesis[seed, start:end]` in spirit; see `batch`."""

    def __init__(self, digits: LabelledImages) -> None:
        self.images, self.labels = digits

    def batch(self, seed: int, indices: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
        """uint8 (n, 28, 28) as the network will see them, and int64 (n,): 0..9, or -1 for what is no digit."""
        samples = [self.sample(seed, int(i)) for i in indices]
        return np.stack([s for s, _ in samples]), np.array([label for _, label in samples])

    def sample(self, seed: int, index: int) -> tuple[npt.NDArray[np.uint8], int]:
        """One of them. Index i writes MNIST's digit i modulo their number, or draws a stranger in its place."""
        chance = seeds.generator(seed, seeds.SYNTHETIC_DIGITS, index)
        if chance.random() < STRANGERS:
            return self.no_digit(chance), NON_DIGIT
        at = index % len(self.images)
        return self.digit(at, chance), int(self.labels[at])

    def digit(self, at: int, chance: Chance) -> npt.NDArray[np.uint8]:
        """One digit, 28x28 as in MNIST, written and pictured anew."""
        kind = chance.random()
        if kind < PLAIN:
            return plain(self.images[at], chance)
        ink = written(self.images[at], chance, int(self.labels[at]))
        if chance.random() < 0.05:
            ink = self.neighbours(ink, chance)
        return raw(ink, chance) if kind < PLAIN + RAW else scan(ink, chance)

    def no_digit(self, chance: Chance) -> npt.NDArray[np.uint8]:
        """One stranger, pictured in the same ways; or a digit with paper and ink exchanged."""
        if chance.random() < 0.04:
            return normalise_one(picture(self.another(chance), chance), bright_paper=True)
        ink = stranger(self.another, chance)
        if chance.random() < 0.3:
            ink = pen(ink, chance)
        return raw(ink, chance) if chance.random() < RAW else scan(ink, chance)

    def another(self, chance: Chance) -> Ink:
        """Any digit, written."""
        at = int(chance.integers(len(self.images)))
        return written(self.images[at], chance, int(self.labels[at]))

    def neighbours(self, ink: Ink, chance: Chance) -> Ink:
        """With a piece of another digit at its side."""
        other = self.another(chance)
        shift = int(chance.integers(CANVAS // 2, CANVAS * 2 // 3)) * (1 if chance.random() < 0.5 else -1)
        moved = np.roll(other, shift, axis=1)
        moved[:, : max(0, shift)] = 0
        moved[:, CANVAS + min(0, shift) :] = 0
        return np.maximum(ink, moved)


def plain(image: npt.NDArray[np.uint8], chance: Chance) -> npt.NDArray[np.uint8]:
    """MNIST's digit turned, slanted and moved a little, 28x28 to 28x28."""
    matrix = affine(chance, turn=7, shear=0.15, stretch=0.1) * chance.uniform(0.9, 1.08)
    middle = np.array([SIDE / 2 - 0.5] * 2)
    whole = np.hstack([matrix, (middle - matrix @ middle + chance.uniform(-1.5, 1.5, 2))[:, None]])
    return cv2.warpAffine(image, whole, (SIDE, SIDE), flags=cv2.INTER_LINEAR).astype(np.uint8)


def affine(chance: Chance, turn: float, shear: float, stretch: float) -> npt.NDArray[np.float64]:
    """2x2: a turn (degrees, standard deviation), a slant and another aspect (both uniform, either way)."""
    angle = np.radians(np.clip(chance.normal(0, turn), -2.5 * turn, 2.5 * turn))
    slant, aspect = chance.uniform(-shear, shear), np.exp(chance.uniform(-stretch, stretch))
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return rotation @ np.array([[aspect, slant], [0, 1 / aspect]])  # type: ignore[no-any-return]


def written(image: npt.NDArray[np.uint8], chance: Chance, label: int) -> Ink:
    """MNIST's digit, or now and then a drawn one, as another hand and pen would write it: float32 (72, 72) in [0, 1].

    It is about 46 pixels high.
    """
    drawn = chance.random() < DRAWN
    if drawn:
        doubled = draw_glyph(label, int(chance.integers(2, 8)), chance)
    else:  # doubled, then linear: a third of the time of a cubic warp
        doubled = np.asarray(cv2.resize(image, (2 * SIDE, 2 * SIDE), interpolation=cv2.INTER_CUBIC), np.uint8)
    matrix = affine(chance, turn=10, shear=0.35, stretch=0.3) * (ENLARGED / 2)
    whole = np.hstack([matrix, (CANVAS / 2 - matrix.sum(axis=1) * SIDE)[:, None]])
    warped = cv2.warpAffine(doubled, whole, (CANVAS, CANVAS), flags=cv2.INTER_LINEAR)
    ink = warped.astype(np.float32) / np.float32(WHITE)
    if not drawn:
        ink = add_variant(ink, label, chance)
    if chance.random() < 0.4:
        ink = bent(ink, chance, chance.uniform(0.8, 2.2))
    return ink if drawn else pen(ink, chance)


def pen(ink: Ink, chance: Chance) -> Ink:
    """The same strokes of another width: eroded or dilated as a whole, or drawn along their middle."""
    kind = chance.random()
    if kind < 0.3:
        return ink
    if kind < 0.7:  # another level of the smoothed strokes: up to about a pixel of 20 on either side
        smooth = cv2.GaussianBlur(ink, (0, 0), chance.uniform(0.7, 2.5))
        level = chance.uniform(0.12, 0.7) * float(smooth.max())
        return np.clip((smooth - np.float32(level)) * np.float32(chance.uniform(3, 10)) + 0.5, 0, 1).astype(np.float32)  # type: ignore[no-any-return]
    if kind < 0.8:
        side = int(chance.integers(2, 6))
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
        return cv2.dilate(ink, kernel) if chance.random() < 0.6 else cv2.erode(ink, kernel)  # type: ignore[return-value]
    return redrawn(ink, int(chance.integers(1, 8)))


def redrawn(ink: Ink, width: int) -> Ink:
    """The middle line of the strokes, drawn with a round pen of `width` pixels."""
    depth = cv2.distanceTransform((ink > 0.4).astype(np.uint8), cv2.DIST_L2, 5)
    middle = (cv2.Laplacian(cv2.GaussianBlur(depth, (0, 0), 0.7), cv2.CV_32F, ksize=3) < -0.7).astype(np.float32)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width + 1, width + 1))
    return cv2.GaussianBlur(cv2.dilate(middle, kernel), (0, 0), 0.7)  # type: ignore[return-value]


def raw(ink: Ink, chance: Chance) -> npt.NDArray[np.uint8]:
    """A 28x28 picture, bright ink on black, with mishaps; the network sees most as they are, some brought into form."""
    crop = tight(ink)
    share = (INK_SIDE if chance.random() < 0.6 else chance.uniform(9, 24)) / max(crop.shape)
    size = max(1, round(crop.shape[1] * share)), max(1, round(crop.shape[0] * share))
    small = centre_by_mass(cv2.resize(crop, size, interpolation=cv2.INTER_AREA))  # type: ignore[arg-type]
    if chance.random() < 0.5:
        small = np.roll(small, chance.integers(-3, 4, 2), (0, 1))
    levels = (spoil(small, chance, 1 if chance.random() < 0.65 else 2) * WHITE).round().astype(np.uint8)
    if chance.random() < 0.6:
        return levels
    return normalise_one(levels, _paper(chance), None if chance.random() < 0.5 else False)


def scan(ink: Ink, chance: Chance) -> npt.NDArray[np.uint8]:
    """A picture of any size, either polarity, brought into form."""
    levels = picture(ink, chance)
    bright = chance.random() < 0.5
    return normalise_one(WHITE - levels if bright else levels, _paper(chance), bright)


def _paper(chance: Chance) -> Background | None:
    """How the light is judged: mostly as the reader decides by itself."""
    return (None, "uneven", "striped", "even")[int(chance.choice(4, p=[0.72, 0.13, 0.05, 0.1]))]


def picture(ink: Ink, chance: Chance) -> npt.NDArray[np.uint8]:
    """Ink sampled at some size, cut close or with paper around, with or without a mishap: uint8 (h, w), bright ink."""
    crop = tight(ink)
    longest = int(
        chance.choice([8, 16, int(chance.integers(10, 24)), int(chance.integers(20, 64))], p=[0.08, 0.22, 0.3, 0.4])
    )
    share = longest / max(crop.shape)
    height, width = (max(2, round(s * share)) for s in crop.shape)
    if chance.random() < 0.3:  # stretched to a square, but a lone stroke does not become a block
        height, width = min(longest, round(STRETCH * height)), min(longest, round(STRETCH * width))
    small = cv2.resize(crop, (width, height), interpolation=cv2.INTER_AREA if share < 1 else cv2.INTER_LINEAR)
    if chance.random() < 0.25:  # black or white, with jagged edges
        small = (small > chance.uniform(0.3, 0.6)).astype(np.float32)
    if chance.random() < 0.6:
        around = chance.integers(0, max(2, longest // 3), (2, 2))
        small = np.pad(small, around)
    if longest >= COARSE and chance.random() < 0.3:
        small = spoil(small.astype(np.float32), chance, 1)
    return (np.clip(small, 0, 1) * WHITE).round().astype(np.uint8)


def tight(ink: Ink) -> Ink:
    """Cut to the ink; the whole where there is none."""
    strong = ink > 0.3
    rows, columns = np.flatnonzero(strong.any(axis=1)), np.flatnonzero(strong.any(axis=0))
    if len(rows) == 0:
        return ink
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
