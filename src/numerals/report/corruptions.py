"""What may happen to a digit on its way: ten corruptions, five severities each.

Written after the descriptions in the MNIST-C paper (Mu and Gilmer 2019). Knows nothing about models. No training may
import it, nor what imports it (a test follows the imports): what a model is tried with, it must not have learnt from.

All take and give digits uint8 (n, 28, 28) in [0, 255], white ink on black, with an amount and a source of chance.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from numerals import seeds
from numerals.spec import INK_SIDE, SIDE, WHITE

Images = npt.NDArray[np.uint8]
Change = Callable[[Images, float, np.random.Generator], Images]
MIDDLE = (SIDE - 1) / 2


@dataclass(frozen=True)
class Corruption:
    """One of them, with its amounts from mild to severe."""

    name: str
    says: str  # what it does
    form: str  # how its amount is written
    amounts: tuple[float, ...]
    change: Change
    augments: tuple[str, ...] = ()  # the keys of a recipe's [augment] that do alike in training

    def apply(self, images: Images, severity: int) -> Images:
        """The digits at a severity, from 1; always the same ones for the same digits."""
        chance = seeds.generator(0, seeds.CORRUPTIONS, list(CORRUPTIONS).index(self.name), severity)
        return self.change(images, self.amounts[severity - 1], chance)


def noise(images: Images, amount: float, chance: np.random.Generator) -> Images:
    """That share of the pixels becomes black or white (impulse noise)."""
    drawn = chance.random(images.shape)
    salt, pepper = drawn < amount / 2, drawn > 1 - amount / 2
    return np.where(salt, WHITE, np.where(pepper, 0, images)).astype(np.uint8)


def blur(images: Images, amount: float, chance: np.random.Generator) -> Images:
    """A Gaussian of that standard deviation, in pixels."""
    return np.stack([cv2.GaussianBlur(image, (0, 0), amount) for image in images])


def rotate(images: Images, amount: float, chance: np.random.Generator) -> Images:
    """By that many degrees about the middle, to either side."""
    angles = np.radians(_either_way(amount, len(images), chance))
    cos, sin = np.cos(angles), np.sin(angles)
    return _warp(images, np.stack([cos, -sin, sin, cos], axis=1))


def shear(images: Images, amount: float, chance: np.random.Generator) -> Images:
    """Leaning: that many pixels across for each pixel down, to either side."""
    lean, one = _either_way(amount, len(images), chance), np.ones(len(images))
    return _warp(images, np.stack([one, lean, 0 * one, one], axis=1))


def scale(images: Images, amount: float, chance: np.random.Generator) -> Images:
    """Made smaller: the amount is its size, 1 as it was."""
    return _warp(images, np.tile([1 / amount, 0, 0, 1 / amount], (len(images), 1)))


def shift(images: Images, amount: float, chance: np.random.Generator) -> Images:
    """By that many pixels across and as many down, each to either side."""
    moves = np.stack([_either_way(amount, len(images), chance) for _ in "xy"], axis=1)
    return _warp(images, np.tile([1.0, 0, 0, 1], (len(images), 1)), moves)


def brighten(images: Images, amount: float, chance: np.random.Generator) -> Images:
    """That share of white is added to every pixel: the paper turns grey, and the ink cannot grow whiter."""
    return np.asarray(np.minimum(images + amount * WHITE, WHITE).round(), np.uint8)


def fade(images: Images, amount: float, chance: np.random.Generator) -> Images:
    """Contrast: every pixel comes nearer to its picture's mean; the amount is what is left of the distance."""
    mean = images.mean(axis=(1, 2), keepdims=True)
    return np.asarray((mean + amount * (images - mean)).round(), np.uint8)


def scribble(images: Images, amount: float, chance: np.random.Generator) -> Images:
    """That many white lines across the picture, a pixel wide, from edge to edge."""
    scribbled = images.copy()
    for image in scribbled:
        for _ in range(round(amount)):
            start, end = (int(at) for at in chance.integers(0, SIDE, 2))
            ends = ((0, start), (SIDE - 1, end)) if chance.random() < 0.5 else ((start, 0), (end, SIDE - 1))
            cv2.line(image, *ends, WHITE, 1, cv2.LINE_AA)
    return scribbled


def occlude(images: Images, amount: float, chance: np.random.Generator) -> Images:
    """A black square of that side, in pixels, somewhere within the box that digits fill."""
    side, edge = round(amount), (SIDE - INK_SIDE) // 2
    corners = edge + chance.integers(0, INK_SIDE - side + 1, (len(images), 2))
    covered = images.copy()
    for image, (top, left) in zip(covered, corners, strict=True):
        image[top : top + side, left : left + side] = 0
    return covered


def _either_way(amount: float, count: int, chance: np.random.Generator) -> npt.NDArray[np.float64]:
    return amount * chance.choice([-1.0, 1.0], count)


def _warp(images: Images, matrices: npt.NDArray[np.float64], moves: npt.NDArray[np.float64] | None = None) -> Images:
    """Each digit through its matrix (n, 4), which says where pixels come from; bilinear, black beyond."""
    turns = matrices.reshape(-1, 2, 2)
    places = MIDDLE - turns.sum(axis=2) * MIDDLE - (moves if moves is not None else 0)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    whole = np.concatenate([turns, places[:, :, None]], axis=2)
    return np.stack(
        [cv2.warpAffine(image, each, (SIDE, SIDE), flags=flags) for image, each in zip(images, whole, strict=True)]
    )


CORRUPTIONS = {
    each.name: each
    for each in (
        Corruption("noise", "pixels black or white", "{:.0%}", (0.05, 0.1, 0.15, 0.2, 0.3), noise),
        Corruption("blur", "out of focus", "{:g} px", (0.6, 1.0, 1.4, 1.8, 2.2), blur),
        Corruption("rotation", "turned to either side", "{:g}°", (10, 20, 30, 40, 50), rotate, ("rotation",)),
        Corruption("shear", "leaning to either side", "{:.0%}", (0.2, 0.4, 0.6, 0.8, 1.0), shear),
        Corruption("scale", "smaller than it was", "{:.0%}", (0.9, 0.8, 0.7, 0.6, 0.5), scale, ("zoom",)),
        Corruption(
            "shift", "moved across and down", "{:g} px", (2, 3, 4, 5, 6), shift, ("width_shift", "height_shift")
        ),
        Corruption("brightness", "white added to paper and ink", "{:.0%}", (0.1, 0.2, 0.3, 0.4, 0.5), brighten),
        Corruption("contrast", "what is left of the contrast", "{:.0%}", (0.6, 0.45, 0.3, 0.2, 0.1), fade),
        Corruption("lines", "white lines across it", "{:g}", (1, 2, 3, 4, 5), scribble),
        Corruption("occlusion", "a square of it is covered", "{:g} px", (4, 6, 8, 10, 12), occlude),
    )
}
