"""Samples that the digit network is trained on: MNIST's digits as others would write and picture them, and non-digits.

A sample depends on (seed, index) only.
"""

import cv2
import numpy as np
import numpy.typing as npt

from numerals import seeds
from numerals.article.data import LabelledImages
from numerals.handwriting.degradations import degrade
from numerals.handwriting.drawing import CANVAS, crop_to_ink, distort, rotation
from numerals.handwriting.glyphs import draw_glyph
from numerals.handwriting.non_digits import draw_non_digit
from numerals.handwriting.variants import add_variant
from numerals.read.digit_ink import Background, Ink
from numerals.read.normalise import centre_by_mass, normalise_one
from numerals.read.pixels import DigitImage
from numerals.spec import INK_SIDE, SIDE, WHITE

NON_DIGIT = -1  # label of non-digits
NON_DIGIT_SHARE = 0.28  # of the samples
PLAIN_SHARE, DEGRADED_SHARE = 0.26, 0.27  # of the digits; the others are scans
TEMPLATE_SHARE = 0.2  # of the written digits, drawn from stroke templates instead of MNIST
MAX_STRETCH = 2.4  # of one side of a scanned digit
MIN_DEGRADED_SIDE = 14  # pixels of a scanned digit's longer side; smaller ones are hard enough without degradations
WRITING_SCALE = 2.3  # size of a written digit relative to MNIST's


class Synthesis:
    """Synthesises digits and non-digits from labelled digits, uint8 (n, 28, 28) with white ink on black."""

    def __init__(self, digits: LabelledImages) -> None:
        self.images, self.labels = digits

    def batch(self, seed: int, indices: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
        """Synthesise the samples with these indices.

        Returns:
            Images uint8 (n, 28, 28), as the network gets them, and labels int64 (n,), 0 to 9 or NON_DIGIT.
        """
        samples = [self.sample(seed, int(index)) for index in indices]
        return np.stack([image for image, _ in samples]), np.array([label for _, label in samples])

    def sample(self, seed: int, index: int) -> tuple[DigitImage, int]:
        """Synthesise one sample: from digit `index` modulo their number, or a non-digit in its place."""
        rng = seeds.generator(seed, seeds.SYNTHETIC_DIGITS, index)
        if rng.random() < NON_DIGIT_SHARE:
            return self.non_digit_sample(rng), NON_DIGIT
        position = index % len(self.images)
        return self.digit_sample(position, rng), int(self.labels[position])

    def digit_sample(self, position: int, rng: np.random.Generator) -> DigitImage:
        """Write and picture the digit at this position, in one of three ways: plain, degraded or scanned."""
        kind = rng.random()
        if kind < PLAIN_SHARE:
            return plain(self.images[position], rng)
        ink = write_digit(self.images[position], rng, int(self.labels[position]))
        if rng.random() < 0.05:
            ink = self._with_neighbour(ink, rng)
        return degraded(ink, rng) if kind < PLAIN_SHARE + DEGRADED_SHARE else scanned(ink, rng)

    def non_digit_sample(self, rng: np.random.Generator) -> DigitImage:
        """Draw a non-digit and picture it as digits are; or take a digit with background and ink exchanged."""
        if rng.random() < 0.04:
            return normalise_one(rasterise(self.random_digit(rng), rng), dark_ink=True)
        ink = draw_non_digit(self.random_digit, rng)
        if rng.random() < 0.3:
            ink = change_pen(ink, rng)
        return degraded(ink, rng) if rng.random() < DEGRADED_SHARE else scanned(ink, rng)

    def random_digit(self, rng: np.random.Generator) -> Ink:
        """Write a random digit: float32 (72, 72) in [0, 1]."""
        position = int(rng.integers(len(self.images)))
        return write_digit(self.images[position], rng, int(self.labels[position]))

    def _with_neighbour(self, ink: Ink, rng: np.random.Generator) -> Ink:
        """Add a piece of another digit at one side."""
        other = self.random_digit(rng)
        shift = int(rng.integers(CANVAS // 2, CANVAS * 2 // 3)) * (1 if rng.random() < 0.5 else -1)
        moved = np.roll(other, shift, axis=1)
        moved[:, : max(0, shift)] = 0
        moved[:, CANVAS + min(0, shift) :] = 0
        return np.maximum(ink, moved)


def plain(image: DigitImage, rng: np.random.Generator) -> DigitImage:
    """Rotate, slant, stretch and shift MNIST's digit a little."""
    matrix = _random_affine(rng, rotation_spread=7, max_shear=0.15, max_stretch=0.1) * rng.uniform(0.9, 1.08)
    middle = np.array([SIDE / 2 - 0.5] * 2)
    transform = np.hstack([matrix, (middle - matrix @ middle + rng.uniform(-1.5, 1.5, 2))[:, None]])
    return cv2.warpAffine(image, transform, (SIDE, SIDE), flags=cv2.INTER_LINEAR).astype(np.uint8)


def degraded(ink: Ink, rng: np.random.Generator) -> DigitImage:
    """Picture ink directly at 28x28, with one or two degradations; part of the results are normalised afterwards."""
    crop = crop_to_ink(ink)
    scale = (INK_SIDE if rng.random() < 0.6 else rng.uniform(9, 24)) / max(crop.shape)
    size = max(1, round(crop.shape[1] * scale)), max(1, round(crop.shape[0] * scale))
    small = centre_by_mass(cv2.resize(crop, size, interpolation=cv2.INTER_AREA))  # type: ignore[arg-type]
    if rng.random() < 0.5:
        small = np.roll(small, rng.integers(-3, 4, 2), (0, 1))
    pixels = (degrade(small, rng, 1 if rng.random() < 0.65 else 2) * WHITE).round().astype(np.uint8)
    if rng.random() < 0.6:
        return pixels
    return normalise_one(pixels, _random_background(rng), None if rng.random() < 0.5 else False)


def scanned(ink: Ink, rng: np.random.Generator) -> DigitImage:
    """Picture ink at any size, in either polarity, and normalise the picture as reading does."""
    pixels = rasterise(ink, rng)
    dark_ink = rng.random() < 0.5
    return normalise_one(WHITE - pixels if dark_ink else pixels, _random_background(rng), dark_ink)


def rasterise(ink: Ink, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Sample ink at some resolution, cropped or with a margin, sometimes degraded: uint8 (h, w), bright ink."""
    crop = crop_to_ink(ink)
    longest = int(rng.choice([8, 16, int(rng.integers(10, 24)), int(rng.integers(20, 64))], p=[0.08, 0.22, 0.3, 0.4]))
    scale = longest / max(crop.shape)
    height, width = (max(2, round(side * scale)) for side in crop.shape)
    if rng.random() < 0.3:  # stretched to a square, but not so far that a single stroke becomes a block
        height, width = min(longest, round(MAX_STRETCH * height)), min(longest, round(MAX_STRETCH * width))
    small = cv2.resize(crop, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    if rng.random() < 0.25:  # black or white, with jagged edges
        small = (small > rng.uniform(0.3, 0.6)).astype(np.float32)
    if rng.random() < 0.6:
        margins = rng.integers(0, max(2, longest // 3), (2, 2))
        small = np.pad(small, margins)
    if longest >= MIN_DEGRADED_SIDE and rng.random() < 0.3:
        small = degrade(small.astype(np.float32), rng, 1)
    return (np.clip(small, 0, 1) * WHITE).round().astype(np.uint8)


def write_digit(image: DigitImage, rng: np.random.Generator, label: int) -> Ink:
    """Write MNIST's digit, or sometimes one from a stroke template, as another hand and pen would.

    Args:
        image: uint8 (28, 28), white ink on black.
        rng: decides how.
        label: of the image.

    Returns:
        float32 (72, 72) in [0, 1], 1 full ink; the digit is about 46 pixels high.
    """
    from_template = rng.random() < TEMPLATE_SHARE
    if from_template:
        doubled = draw_glyph(label, int(rng.integers(2, 8)), rng)
    else:  # enlarged, then warped linearly: takes a third of the time of a cubic warp
        doubled = np.asarray(cv2.resize(image, (2 * SIDE, 2 * SIDE), interpolation=cv2.INTER_CUBIC), np.uint8)
    matrix = _random_affine(rng, rotation_spread=10, max_shear=0.35, max_stretch=0.3) * (WRITING_SCALE / 2)
    transform = np.hstack([matrix, (CANVAS / 2 - matrix.sum(axis=1) * SIDE)[:, None]])
    warped = cv2.warpAffine(doubled, transform, (CANVAS, CANVAS), flags=cv2.INTER_LINEAR)
    ink = warped.astype(np.float32) / np.float32(WHITE)
    if not from_template:
        ink = add_variant(ink, label, rng)
    if rng.random() < 0.4:
        ink = distort(ink, rng, rng.uniform(0.8, 2.2))
    return ink if from_template else change_pen(ink, rng)


def change_pen(ink: Ink, rng: np.random.Generator) -> Ink:
    """Change the stroke width: not at all, by blurring and a threshold, by dilation or erosion, or by redrawing."""
    kind = rng.random()
    if kind < 0.3:
        return ink
    if kind < 0.7:  # changes strokes by up to about a twentieth of the digit's height on either side
        blurred = cv2.GaussianBlur(ink, (0, 0), rng.uniform(0.7, 2.5))
        level = rng.uniform(0.12, 0.7) * float(blurred.max())
        return np.clip((blurred - np.float32(level)) * np.float32(rng.uniform(3, 10)) + 0.5, 0, 1).astype(np.float32)  # type: ignore[no-any-return]
    if kind < 0.8:
        side = int(rng.integers(2, 6))
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
        return cv2.dilate(ink, kernel) if rng.random() < 0.6 else cv2.erode(ink, kernel)  # type: ignore[return-value]
    return _redraw(ink, int(rng.integers(1, 8)))


def _redraw(ink: Ink, pen_width: int) -> Ink:
    """Draw the centre lines of the strokes with a round pen of `pen_width` pixels."""
    depth = cv2.distanceTransform((ink > 0.4).astype(np.uint8), cv2.DIST_L2, 5)
    ridges = (cv2.Laplacian(cv2.GaussianBlur(depth, (0, 0), 0.7), cv2.CV_32F, ksize=3) < -0.7).astype(np.float32)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (pen_width + 1, pen_width + 1))
    return cv2.GaussianBlur(cv2.dilate(ridges, kernel), (0, 0), 0.7)  # type: ignore[return-value]


def _random_affine(
    rng: np.random.Generator, rotation_spread: float, max_shear: float, max_stretch: float
) -> npt.NDArray[np.float64]:
    """Random matrix (2, 2): rotation (degrees, standard deviation), shear and log aspect ratio (both uniform)."""
    angle = np.radians(np.clip(rng.normal(0, rotation_spread), -2.5 * rotation_spread, 2.5 * rotation_spread))
    shear, stretch = rng.uniform(-max_shear, max_shear), np.exp(rng.uniform(-max_stretch, max_stretch))
    return rotation(angle) @ np.array([[stretch, shear], [0, 1 / stretch]])  # type: ignore[no-any-return]


def _random_background(rng: np.random.Generator) -> Background | None:
    """The kind of background that normalisation assumes; mostly None, as in reading, which decides by itself."""
    return (None, "uneven", "striped", "even")[int(rng.choice(4, p=[0.72, 0.13, 0.05, 0.1]))]
