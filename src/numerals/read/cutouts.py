"""Cut detected digits out of their page for the digit model, without their neighbours, rules and boxes."""

import cv2
import numpy as np
import numpy.typing as npt

from numerals.read.detect import Detections, resized
from numerals.read.normalise import INK_THRESHOLD, to_mnist_form
from numerals.read.page_contrast import PAPER_LEVEL, contrast_planes
from numerals.read.pixels import DigitImages, Pixels
from numerals.spec import SIDE

DIGIT_HEIGHT = 40  # pixels of most digits in the copy of the page that they are cut from
MAX_ZOOM = 4.0
MAX_PIXELS = 4_000_000  # of that copy
MARGIN = 0.35  # of a digit's height around its box: enough to tell a stroke from a line that passes through
REACH = 1.3  # of its box: ink beyond is not the digit's
MOSTLY_INSIDE = 0.5  # of a piece of ink within INSIDE of the box: otherwise it is a line, or another digit
INSIDE = 1.15
NOISE, FULL_INK = 12.0, 72.0  # levels above the paper of no ink and of full ink
MIN_PIECE = 3  # pixels


def cut_out(pixels: Pixels, detections: Detections) -> DigitImages:
    """Cut out every detected digit.

    Args:
        pixels: the page, uint8, dark ink on light paper.
        detections: in its pixels.

    Returns:
        uint8 (n, 28, 28), white ink on black, in MNIST's form.
    """
    if not len(detections):
        return np.zeros((0, SIDE, SIDE), np.uint8)
    scale = min(DIGIT_HEIGHT / float(np.median(detections.height)), MAX_ZOOM)
    scale = min(scale, (MAX_PIXELS / (pixels.shape[0] * pixels.shape[1])) ** 0.5)
    plane = contrast_planes(resized(pixels, scale))[1]
    scaled = detections.scaled(scale)
    return np.stack([_cut_one(plane, scaled, index) for index in range(len(scaled))])


def _cut_one(plane: npt.NDArray[np.uint8], digits: Detections, index: int) -> npt.NDArray[np.uint8]:
    x, y, height = float(digits.x[index]), float(digits.y[index]), float(digits.height[index])
    half_width, half_height = float(digits.width[index]) / 2 + MARGIN * height, (0.5 + MARGIN) * height
    left, right = max(int(x - half_width), 0), min(int(x + half_width) + 1, plane.shape[1])
    top, bottom = max(int(y - half_height), 0), min(int(y + half_height) + 1, plane.shape[0])
    if right - left < MIN_PIECE or bottom - top < MIN_PIECE:
        return np.zeros((SIDE, SIDE), np.uint8)
    levels = plane[top:bottom, left:right].astype(np.float32)
    ink = np.clip((levels - PAPER_LEVEL - NOISE) / (FULL_INK - NOISE), 0, 1)
    down, across = np.mgrid[top:bottom, left:right].astype(np.float32)
    distance = _distance(across, down, digits, index)
    near = (np.abs(digits.x - x) < 2.5 * height) & (np.abs(digits.y - y) < 2.5 * height)
    near[index] = False
    for other in np.flatnonzero(near):
        ink[distance > _distance(across, down, digits, int(other))] = 0
    ink = ink * _digit_mask(ink, distance) * (distance < REACH)
    return to_mnist_form(np.asarray(ink, np.float32))


def _distance(
    across: npt.NDArray[np.float32], down: npt.NDArray[np.float32], digits: Detections, index: int
) -> npt.NDArray[np.float32]:
    """Distance of each pixel from a digit's centre: 1 on the edge of its box."""
    x = np.abs(across - digits.x[index]) * (2 / digits.width[index])
    return np.asarray(np.maximum(x, np.abs(down - digits.y[index]) * (2 / digits.height[index])), np.float32)


def _digit_mask(ink: npt.NDArray[np.float32], distance: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """1 on and next to the pieces of ink that are mostly in the digit's box."""
    count, labels = cv2.connectedComponents((ink > INK_THRESHOLD).astype(np.uint8), connectivity=8)
    areas = np.bincount(labels.ravel(), minlength=count)
    inside = np.bincount(labels[distance < INSIDE], minlength=count)
    keep = (inside > MOSTLY_INSIDE * areas) & (areas >= MIN_PIECE)
    keep[0] = False
    return np.asarray(cv2.dilate(keep[labels].astype(np.uint8), np.ones((3, 3), np.uint8)), np.uint8)
