"""Find the digits on a page with the detector: where each one is, how large, and which it is likely to be.

The detector knows digits from about 11 to 105 pixels high. So it looks at a reduced copy of the page and at a smaller
one, and once more at the size that suits the digits it found.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from numerals.read.page_contrast import PAPER_LEVEL, contrast_planes
from numerals.read.pixels import Pixels, downscale

STRIDE = 4  # pixels of the page per cell of the network's output, in both directions
SIZE_UNIT = 16.0  # pixels: the network gives the sizes of boxes as logarithms in this unit
MAX_SIDE = 1024  # pixels of the first look at a page
MAX_PIXELS = 3_000_000  # of any look: it takes about 200 bytes for each
MIN_SIDE = 40  # pixels of a look that is worth its while
SMALLER = 1 / 3  # size of the second look relative to the first
SMALLEST_HEIGHT, LARGEST_HEIGHT = 10, 110  # pixels; digits beyond are not trusted
LOW_HEIGHT, GOOD_HEIGHT, HIGH_HEIGHT = 18, 30, 60  # a page whose digits are not between is looked at again, at the good
PADDING, MULTIPLE = 16, 32  # pixels of paper around a page; its sides are multiples of the network's coarsest stride
MIN_SCORE = 0.1  # weaker peaks are not returned
CLEAR_SCORE = 0.4  # detections that count when looks are compared
MAX_OVERLAP = 0.4  # of the smaller box: of two digits that overlap more, one is wrong

FloatArray = npt.NDArray[np.float32]
DetectorFunction = Callable[[npt.NDArray[np.uint8]], FloatArray]  # uint8 (2, h, w) -> float32 (15, h / 4, w / 4)


@dataclass(frozen=True)
class Detections:
    """What may be digits, in the pixels of some picture."""

    x: FloatArray  # (n,), of the centre
    y: FloatArray
    width: FloatArray  # (n,)
    height: FloatArray
    score: FloatArray  # (n,) in [0, 1]: that there is a digit at all
    probabilities: FloatArray  # (n, 10), each row sums to 1: which digit, if there is one

    def __len__(self) -> int:
        return len(self.x)

    def take(self, chosen: npt.NDArray[Any]) -> "Detections":
        """Return some of them, by index or by a mask."""
        return Detections(
            self.x[chosen],
            self.y[chosen],
            self.width[chosen],
            self.height[chosen],
            self.score[chosen],
            self.probabilities[chosen],
        )

    def scaled(self, factor: float) -> "Detections":
        """Return them in the pixels of a picture that is `factor` times as large."""
        factor = np.float32(factor)  # type: ignore[assignment]
        return Detections(
            self.x * factor,
            self.y * factor,
            self.width * factor,
            self.height * factor,
            self.score,
            self.probabilities,
        )


def detect(pixels: Pixels, detector: DetectorFunction) -> Detections:
    """Find the digits in a picture with dark ink on light paper, each once.

    Args:
        pixels: uint8, grey (h, w) or colour (h, w, 3).
        detector: the network.

    Returns:
        Detections of MIN_SCORE and more, in the picture's pixels, in no particular order.
    """
    side = max(pixels.shape[:2])
    first = min(1.0, MAX_SIDE / side)
    looks = [_look(pixels, first, detector)]
    if side * first * SMALLER > MIN_SIDE:
        looks.append(_look(pixels, first * SMALLER, detector))
    best = max(looks, key=lambda look: look.evidence)
    scale = _better_scale(best, pixels)
    if scale is not None:
        best = max(best, _look(pixels, scale, detector), key=lambda look: look.evidence)
    return without_overlaps(best.detections)


@dataclass(frozen=True)
class _Look:
    """The detections in a copy of the picture that is `scale` times as large; in the picture's own pixels."""

    detections: Detections
    scale: float

    @property
    def clear_heights(self) -> FloatArray:
        """The heights, in the copy's pixels, of the clear detections whose size the detector knows."""
        height = self.detections.height * np.float32(self.scale)
        known = (height > SMALLEST_HEIGHT) & (height < LARGEST_HEIGHT)
        return height[known & (self.detections.score > CLEAR_SCORE)]

    @property
    def evidence(self) -> float:
        """How much it sees: clear detections count more if they are large, since small ones may be noise."""
        return float(np.sqrt(np.minimum(self.clear_heights / LOW_HEIGHT, 1)).sum())


def resized(pixels: Pixels, scale: float) -> Pixels:
    """Return the picture `scale` times as large."""
    if scale < 1:
        return downscale(pixels, scale)
    if scale == 1:
        return pixels
    return np.asarray(cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC), np.uint8)


def _look(pixels: Pixels, scale: float, detector: DetectorFunction) -> _Look:
    planes = contrast_planes(resized(pixels, scale))
    height, width = planes.shape[1:]
    size = [math.ceil((side + 2 * PADDING) / MULTIPLE) * MULTIPLE for side in (height, width)]
    padded = np.full((2, *size), PAPER_LEVEL, np.uint8)
    padded[:, PADDING : PADDING + height, PADDING : PADDING + width] = planes
    return _Look(decode(detector(padded), PADDING).scaled(1 / scale), scale)


def _better_scale(look: _Look, pixels: Pixels) -> float | None:
    """The scale at which the digits that a look found have a good height; None if they have."""
    heights = look.clear_heights
    if not len(heights):
        return None
    height = float(np.median(heights))
    if LOW_HEIGHT <= height <= HIGH_HEIGHT:
        return None
    largest = math.sqrt(MAX_PIXELS / (pixels.shape[0] * pixels.shape[1]))
    return min(look.scale * GOOD_HEIGHT / height, largest, max(2.0, look.scale))


def decode(output: FloatArray, padding: int = 0) -> Detections:
    """Read the detector's output: the peaks of its heat map.

    Args:
        output: float32 (15, h, w): see `readers.detector_network`.
        padding: pixels around the picture.
    """
    score = 1 / (1 + np.exp(-output[0]))
    is_peak = (cv2.dilate(score, np.ones((3, 3), np.uint8)) == score) & (score >= MIN_SCORE)
    rows, columns = np.nonzero(is_peak)
    cells = output[:, rows, columns]
    logits = cells[1:11] - cells[1:11].max(axis=0)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=0)
    sizes = SIZE_UNIT * np.exp(np.clip(cells[11:13], -3, 4))
    return Detections(
        (columns + cells[13]) * np.float32(STRIDE) - np.float32(padding),
        (rows + cells[14]) * np.float32(STRIDE) - np.float32(padding),
        sizes[0],
        sizes[1],
        score[rows, columns],
        probabilities.T,
    )


def without_overlaps(detections: Detections) -> Detections:
    """Drop every detection that overlaps a better one too much."""
    left, right = detections.x - detections.width / 2, detections.x + detections.width / 2
    top, bottom = detections.y - detections.height / 2, detections.y + detections.height / 2
    area = detections.width * detections.height
    kept: list[int] = []
    for index in np.argsort(-detections.score, kind="stable"):
        across = np.minimum(right[index], right[kept]) - np.maximum(left[index], left[kept])
        down = np.minimum(bottom[index], bottom[kept]) - np.maximum(top[index], top[kept])
        shared = np.maximum(across, 0) * np.maximum(down, 0)
        if not np.any(shared > MAX_OVERLAP * np.minimum(area[index], area[kept])):
            kept.append(int(index))
    return detections.take(np.array(kept, np.int64))
