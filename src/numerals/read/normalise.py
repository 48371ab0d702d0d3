"""Bring pictures of single digits into MNIST's form: 28x28, the ink within 20x20, its centre of mass in the middle.

MNIST's own page describes that form: "size normalized to fit in a 20x20 pixel box while preserving their aspect ratio
... centered in a 28x28 image by computing the center of mass of the pixels". No other module does this.
"""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from numerals.read.digit_ink import MAX_GRAINY_SIDE, Background, Ink, extract_ink, has_dark_ink
from numerals.read.pixels import DigitImage, DigitImages, Pixels, shrink
from numerals.spec import INK_SIDE, SIDE, WHITE

MAX_SIDE = 400  # pixels; larger pictures of a single digit are downscaled
MIN_STROKE, MAX_STROKE = 1.5, 5.0  # pixels of stroke width in the 20x20 box; other strokes are made wider or narrower
MIN_PART_SHARE = 0.02  # of the main part's ink: parts with less are specks
MAX_PART_DISTANCE = 0.4  # of the main part's size: parts farther away do not belong to the digit
MIN_FRAME_SHARE = 0.6  # of the picture's sides that a printed box takes
SCALE_CHANGE = 0.08  # share by which a digit is shrunk and enlarged for other views
INK_THRESHOLD = 0.35  # of full ink: what is above it counts as ink


def normalise(pictures: Sequence[npt.NDArray[Any]] | npt.NDArray[Any]) -> DigitImages:
    """Bring pictures of one digit each into MNIST's form; those that have it already come back unchanged.

    Args:
        pictures: uint8 arrays, grey (h, w) or RGB (h, w, 3), of any size and either polarity; or one array of all.

    Returns:
        uint8 (n, 28, 28), white ink on black.
    """
    digits = np.zeros((len(pictures), SIDE, SIDE), np.uint8)
    right_size = [i for i, picture in enumerate(pictures) if picture.shape == (SIDE, SIDE)]
    remaining = list(range(len(pictures)))
    if right_size:
        batch: DigitImages = (
            pictures if isinstance(pictures, np.ndarray) else np.stack([pictures[i] for i in right_size])
        )
        ready = has_mnist_form(batch)
        unchanged = np.asarray(right_size)[ready]
        digits[unchanged] = batch[ready]
        remaining = sorted(set(remaining) - set(unchanged.tolist()))
    for i in remaining:
        digits[i] = normalise_one(pictures[i])
    return digits


def has_mnist_form(images: DigitImages) -> npt.NDArray[np.bool_]:
    """Return which of n 28x28 images have ink about 20 pixels high or wide, with its mass in the middle."""
    ink = images > 0.25 * WHITE
    size = np.maximum(_span(ink.any(axis=2)), _span(ink.any(axis=1)))  # type: ignore[arg-type]
    mass = images.sum(axis=(1, 2), dtype=np.float32)
    positions = np.arange(SIDE, dtype=np.float32)
    with np.errstate(divide="ignore", invalid="ignore"):
        x = images.sum(axis=1, dtype=np.float32) @ positions / mass
        y = images.sum(axis=2, dtype=np.float32) @ positions / mass
        centred = np.maximum(np.abs(x - SIDE / 2), np.abs(y - SIDE / 2)) < 1.6
    contrast = images.max(axis=(1, 2)) > 0.75 * WHITE
    return (size >= INK_SIDE - 3) & (size <= INK_SIDE + 1) & centred & contrast  # type: ignore[no-any-return]


def normalise_one(picture: Pixels, background: Background | None = None, dark_ink: bool | None = None) -> DigitImage:
    """Bring a picture of one digit into MNIST's form, uint8 (28, 28), white ink on black.

    Args:
        picture: grey or RGB, of any size.
        background: the kind of background, see `extract_ink`; None for "even" in small and "uneven" in other pictures.
        dark_ink: whether the ink is darker than the background; None to find out.
    """
    picture = shrink(picture, MAX_SIDE)
    if background is None:
        background = "even" if max(picture.shape[:2]) <= MAX_GRAINY_SIDE else "uneven"
    ink = extract_ink(picture, background, dark_ink)
    if max(ink.shape) > MAX_GRAINY_SIDE:
        ink = without_clutter(ink)
    return to_mnist_form(ink)


def other_views(picture: Pixels) -> DigitImages:
    """Return other normalised views of a picture, for when the first one was recognised with doubt.

    Args:
        picture: grey or RGB, of any size.

    Returns:
        uint8 (n, 28, 28): the other kinds of background, the other polarity, and a picture of 28x28 as it is.
    """
    picture = shrink(picture, MAX_SIDE)
    small = max(picture.shape[:2]) <= MAX_GRAINY_SIDE
    views = [
        normalise_one(picture, "uneven" if small else "even"),
        normalise_one(picture, "striped"),
        normalise_one(picture, dark_ink=not has_dark_ink(picture)),
    ]
    if picture.shape == (SIDE, SIDE):
        views += [picture, WHITE - picture]
    return np.stack(views)


def nudged(digit: DigitImage) -> DigitImages:
    """Return a digit moved by one pixel in each direction, and a little smaller and larger: uint8 (6, 28, 28)."""
    changes = [(1.0, 0, 1), (1.0, 0, -1), (1.0, 1, 0), (1.0, -1, 0), (1 - SCALE_CHANGE, 0, 0), (1 + SCALE_CHANGE, 0, 0)]
    middle = (SIDE - 1) / 2
    matrices = [np.array([[z, 0, middle * (1 - z) + x], [0, z, middle * (1 - z) + y]]) for z, x, y in changes]
    return np.stack([cv2.warpAffine(digit, matrix, (SIDE, SIDE)) for matrix in matrices]).astype(np.uint8)


def to_mnist_form(ink: Ink) -> DigitImage:
    """Crop ink to its bounds, fit it into 20x20 with strokes of a usual width, and centre it by mass."""
    bounds = ink_bounds(ink)
    if bounds is None:
        return np.zeros((SIDE, SIDE), np.uint8)
    top, bottom, left, right = bounds
    crop = with_usual_strokes(ink[top:bottom, left:right])
    height, width = crop.shape
    scale = INK_SIDE / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(crop, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    small = np.clip(small / max(float(small.max()), 1e-6), 0, 1)
    return (centre_by_mass(small) * WHITE).round().astype(np.uint8)  # type: ignore[arg-type]


def ink_bounds(ink: Ink) -> tuple[int, int, int, int] | None:
    """Return the top, bottom, left and right of the ink; None if there is none.

    A line or column belongs to it if its strongest pixel is above INK_THRESHOLD.
    """
    lines = np.flatnonzero(ink.max(axis=1) > INK_THRESHOLD)
    columns = np.flatnonzero(ink.max(axis=0) > INK_THRESHOLD)
    if len(lines) == 0:
        return None
    return int(lines[0]), int(lines[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def centre_by_mass(small: Ink) -> Ink:
    """Place ink of at most 20x20 pixels in 28x28, its centre of mass in the middle, or as near as it fits."""
    height, width = small.shape
    mass = max(float(small.sum()), 1e-6)
    y = float(small.sum(axis=1) @ np.arange(height)) / mass
    x = float(small.sum(axis=0) @ np.arange(width)) / mass
    top = min(max(round(SIDE / 2 - y), 0), SIDE - height)
    left = min(max(round(SIDE / 2 - x), 0), SIDE - width)
    digit = np.zeros((SIDE, SIDE), np.float32)
    digit[top : top + height, left : left + width] = small
    return digit


def stroke_width(ink: Ink) -> float:
    """Return the usual stroke width in pixels: the area of the ink divided by half the length of its outline."""
    strong = (ink > 0.5).astype(np.uint8)
    area = float(strong.sum())
    if area == 0:
        return 0.0
    inner = cv2.erode(strong, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0)
    outline = area - float(inner.sum())
    return 2 * area / max(outline, 1.0)


def with_usual_strokes(crop: Ink) -> Ink:
    """Widen or narrow the strokes that would be hair-thin or blots in the 20x20 box."""
    scale = INK_SIDE / max(crop.shape)
    if scale > 0.5:
        return crop
    width = stroke_width(crop) * scale
    if MIN_STROKE <= width <= MAX_STROKE or width == 0:
        return crop
    target = MIN_STROKE if width < MIN_STROKE else MAX_STROKE
    change = max(1, round(abs(target - width) / scale))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (change + 1, change + 1))
    if width < MIN_STROKE:
        padded = cv2.copyMakeBorder(crop, change, change, change, change, cv2.BORDER_CONSTANT, value=0)
        return cv2.dilate(padded, kernel).astype(np.float32)
    return cv2.erode(crop, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0).astype(np.float32)


def without_clutter(ink: Ink) -> Ink:
    """Keep the digit alone: remove specks, distant parts, the picture's edges and a printed box around the digit."""
    longest = max(ink.shape)
    reach = max(3, longest // 60 | 1)
    connected = cv2.dilate((ink > INK_THRESHOLD).astype(np.uint8), np.ones((reach, reach), np.uint8))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(connected, connectivity=8)
    if count <= 2:
        return ink
    mass = np.bincount(labels.ravel(), weights=ink.ravel(), minlength=count)
    mass[0] = 0
    height, width = ink.shape
    for part in range(1, count):
        if _is_picture_edge(stats[part], mass[part], height, width) or _is_printed_box(labels == part, stats[part]):
            mass[part] = 0
    if mass.max() == 0:
        return ink
    keep = _parts_of_digit(stats, mass)  # type: ignore[arg-type]
    return np.where(keep[labels], ink, 0).astype(np.float32)


def _is_picture_edge(stat: npt.NDArray[np.int32], mass: float, height: int, width: int) -> bool:
    """Return whether a part is long along a side of the picture, or a bit in its corner."""
    left, top, part_width, part_height = (int(v) for v in stat[:4])
    at_side = left <= 1 or left + part_width >= width - 1
    at_end = top <= 1 or top + part_height >= height - 1
    upright = at_side and part_height > 0.5 * height and part_width < 0.15 * width
    level = at_end and part_width > 0.5 * width and part_height < 0.15 * height
    corner = at_side and at_end and mass < 0.01 * width * height
    return upright or level or corner


def _is_printed_box(part: npt.NDArray[np.bool_], stat: npt.NDArray[np.int32]) -> bool:
    """Return whether a part is large and straight along at least three of its sides."""
    left, top, width, height = (int(v) for v in stat[:4])
    if min(width / part.shape[1], height / part.shape[0]) < MIN_FRAME_SHARE:
        return False
    inside = part[top : top + height, left : left + width]
    depth = max(2, round(0.06 * max(width, height)))
    sides = (
        inside[:depth].any(axis=0),
        inside[-depth:].any(axis=0),
        inside[:, :depth].any(axis=1),
        inside[:, -depth:].any(axis=1),
    )
    return sum(float(side.mean()) > 0.9 for side in sides) >= 3


def _parts_of_digit(stats: npt.NDArray[np.int32], mass: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Return which parts are the digit: the one with most ink, and those near it that are not specks."""
    main = int(mass.argmax())
    left, top, width, height = (int(v) for v in stats[main, :4])
    reach = MAX_PART_DISTANCE * max(width, height)
    across = np.maximum(left - (stats[:, 0] + stats[:, 2]), stats[:, 0] - (left + width))
    down = np.maximum(top - (stats[:, 1] + stats[:, 3]), stats[:, 1] - (top + height))
    keep = (mass > MIN_PART_SHARE * mass[main]) & (np.maximum(across, down) < reach)
    keep[main] = True
    keep[0] = True  # the background in between, which has next to no ink
    return keep  # type: ignore[no-any-return]


def _span(present: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Return, from bool (n, side), the number of pixels from the first to the last True, int64 (n,)."""
    side = present.shape[1]
    first, last = present.argmax(axis=1), side - present[:, ::-1].argmax(axis=1)
    return np.where(present.any(axis=1), last - first, 0)
