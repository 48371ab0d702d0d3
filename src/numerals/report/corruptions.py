"""Corrupt digits to test a model: ten corruptions at five severities, after MNIST-C (Mu and Gilmer 2019).

No training may use them, directly or through another module; a test follows the imports. A model is only tested on
corruptions that it was not trained on.

Each function takes and returns digits uint8 (n, 28, 28) in [0, 255], white ink on black.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from numerals import seeds
from numerals.spec import INK_SIDE, SIDE, WHITE

Images = npt.NDArray[np.uint8]
CENTRE = (SIDE - 1) / 2


@dataclass(frozen=True)
class Corruption:
    """One kind of corruption and its amounts at severity 1, 2, ..., mildest first."""

    name: str
    description: str
    amount_format: str  # how an amount is written, such as "{:g} px"
    amounts: tuple[float, ...]
    function: Callable[[Images, float, np.random.Generator], Images]
    similar_augmentation: tuple[str, ...] = ()  # keys of a recipe's [augment] that change digits in a similar way

    @property
    def severities(self) -> range:
        return range(1, len(self.amounts) + 1)

    def apply(self, images: Images, severity: int) -> Images:
        """Corrupt digits at a severity from 1 to 5. The same digits are always corrupted in the same way."""
        rng = seeds.generator(0, seeds.CORRUPTIONS, list(CORRUPTIONS).index(self.name), severity)
        return self.function(images, self.amounts[severity - 1], rng)


def noise(images: Images, amount: float, rng: np.random.Generator) -> Images:
    """Make a share of the pixels black or white (impulse noise)."""
    drawn = rng.random(images.shape)
    salt, pepper = drawn < amount / 2, drawn > 1 - amount / 2
    return np.where(salt, WHITE, np.where(pepper, 0, images)).astype(np.uint8)


def blur(images: Images, amount: float, rng: np.random.Generator) -> Images:
    """Blur with a Gaussian whose standard deviation is `amount` pixels."""
    return np.stack([cv2.GaussianBlur(image, (0, 0), amount) for image in images])


def rotate(images: Images, amount: float, rng: np.random.Generator) -> Images:
    """Rotate by `amount` degrees about the centre, left or right."""
    angles = np.radians(_random_sign(amount, len(images), rng))
    cos, sin = np.cos(angles), np.sin(angles)
    return _warp(images, np.stack([cos, -sin, sin, cos], axis=1))


def shear(images: Images, amount: float, rng: np.random.Generator) -> Images:
    """Slant by `amount` pixels across for each pixel down, left or right."""
    slant, one = _random_sign(amount, len(images), rng), np.ones(len(images))
    return _warp(images, np.stack([one, slant, 0 * one, one], axis=1))


def scale(images: Images, amount: float, rng: np.random.Generator) -> Images:
    """Scale down about the centre to `amount` times the size."""
    return _warp(images, np.tile([1 / amount, 0, 0, 1 / amount], (len(images), 1)))


def shift(images: Images, amount: float, rng: np.random.Generator) -> Images:
    """Move by `amount` pixels left or right, and by as many up or down."""
    offsets = np.stack([_random_sign(amount, len(images), rng) for _ in "xy"], axis=1)
    return _warp(images, np.tile([1.0, 0, 0, 1], (len(images), 1)), offsets)


def brighten(images: Images, amount: float, rng: np.random.Generator) -> Images:
    """Add a share of white to every pixel: the background turns grey, and the ink stays white."""
    return np.asarray(np.minimum(images + amount * WHITE, WHITE).round(), np.uint8)


def reduce_contrast(images: Images, amount: float, rng: np.random.Generator) -> Images:
    """Move every pixel towards the mean of its image; `amount` of the distance remains."""
    mean = images.mean(axis=(1, 2), keepdims=True)
    return np.asarray((mean + amount * (images - mean)).round(), np.uint8)


def draw_lines(images: Images, amount: float, rng: np.random.Generator) -> Images:
    """Draw `amount` white lines across the image, one pixel wide, from edge to edge."""
    crossed = images.copy()
    for image in crossed:
        for _ in range(round(amount)):
            start, end = (int(position) for position in rng.integers(0, SIDE, 2))
            ends = ((0, start), (SIDE - 1, end)) if rng.random() < 0.5 else ((start, 0), (end, SIDE - 1))
            cv2.line(image, *ends, WHITE, 1, cv2.LINE_AA)
    return crossed


def occlude(images: Images, amount: float, rng: np.random.Generator) -> Images:
    """Cover a square of `amount` pixels with black, somewhere in the 20 × 20 box that digits fill."""
    side, edge = round(amount), (SIDE - INK_SIDE) // 2
    corners = edge + rng.integers(0, INK_SIDE - side + 1, (len(images), 2))
    covered = images.copy()
    for image, (top, left) in zip(covered, corners, strict=True):
        image[top : top + side, left : left + side] = 0
    return covered


def _random_sign(amount: float, count: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    return amount * rng.choice([-1.0, 1.0], count)


def _warp(images: Images, matrices: npt.NDArray[np.float64], offsets: npt.NDArray[np.float64] | None = None) -> Images:
    """Transform each image about its centre, bilinear, black outside.

    Args:
        matrices: (n, 4), 2 × 2 each, from output to input coordinates.
        offsets: (n, 2), by how many pixels across and down each image moves.
    """
    linear = matrices.reshape(-1, 2, 2)
    translation = CENTRE - linear.sum(axis=2) * CENTRE - (offsets if offsets is not None else 0)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    affine = np.concatenate([linear, translation[:, :, None]], axis=2)
    return np.stack(
        [cv2.warpAffine(image, matrix, (SIDE, SIDE), flags=flags) for image, matrix in zip(images, affine, strict=True)]
    )


CORRUPTIONS = {  # append only: the random numbers of each depend on its place
    corruption.name: corruption
    for corruption in (
        Corruption("noise", "random pixels set to black or white", "{:.0%}", (0.05, 0.1, 0.15, 0.2, 0.3), noise),
        Corruption("blur", "out of focus", "{:g} px", (0.6, 1.0, 1.4, 1.8, 2.2), blur),
        Corruption("rotation", "rotated left or right", "{:g}°", (10, 20, 30, 40, 50), rotate, ("rotation",)),
        Corruption("shear", "slanted left or right", "{:.0%}", (0.2, 0.4, 0.6, 0.8, 1.0), shear),
        Corruption("scale", "scaled down to this size", "{:.0%}", (0.9, 0.8, 0.7, 0.6, 0.5), scale, ("zoom",)),
        Corruption(
            "shift", "moved across and down", "{:g} px", (2, 3, 4, 5, 6), shift, ("width_shift", "height_shift")
        ),
        Corruption("brightness", "background turned grey", "{:.0%}", (0.1, 0.2, 0.3, 0.4, 0.5), brighten),
        Corruption("contrast", "contrast reduced to this share", "{:.0%}", (0.6, 0.45, 0.3, 0.2, 0.1), reduce_contrast),
        Corruption("lines", "lines drawn across the digit", "{:g}", (1, 2, 3, 4, 5), draw_lines),
        Corruption("occlusion", "a blank square covers part of it", "{:g} px", (4, 6, 8, 10, 12), occlude),
    )
}
