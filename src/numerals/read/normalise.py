"""Ink brought into MNIST's form: 28x28, the ink within 20x20, its centre of mass in the middle. The only place.

Knows nothing about classes. What MNIST's own page says of its digits: "size normalized to fit in a 20x20 pixel box
while preserving their aspect ratio ... centered in a 28x28 image by computing the center of mass of the pixels".
"""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from numerals.read.digit_ink import GRAINY, Background, Ink, ink, paper_is_dark
from numerals.read.pixels import Pixels, shrink
from numerals.spec import INK_SIDE, SIDE, WHITE

DigitImages = npt.NDArray[np.uint8]  # (n, 28, 28), white ink on black

MAX_SIDE = 400  # pixels a side at which a single digit's picture is worked on
THIN, THICK = 1.5, 5.0  # pixels of stroke in the 20x20 box beyond which the pen is brought back
SPECK = 0.02  # share of the largest part's ink under which a part is a speck
REACH = 0.4  # share of the main part's size within which another part still belongs to it
BOX_SHARE = 0.6  # of the picture's sides that a printed box takes, at least
NUDGE = 0.08  # share by which a digit is shrunk and enlarged for another view
INK = 0.35  # of full ink: what counts when parts are told apart


def normalise(pictures: Sequence[npt.NDArray[Any]] | npt.NDArray[Any]) -> DigitImages:
    """One digit each, any size, grey or colour, either polarity, to uint8 (n, 28, 28), white ink on black.

    Pictures that are in form already come back as they are.
    """
    digits = np.zeros((len(pictures), SIDE, SIDE), np.uint8)
    whole = [i for i, p in enumerate(pictures) if p.shape == (SIDE, SIDE)]
    if whole:
        batch: DigitImages = pictures if isinstance(pictures, np.ndarray) else np.stack([pictures[i] for i in whole])
        formed = in_form(batch)
        chosen = np.asarray(whole)[formed]
        digits[chosen] = batch[formed]
        left = sorted(set(range(len(pictures))) - set(chosen.tolist()))
    else:
        left = list(range(len(pictures)))
    for i in left:
        digits[i] = normalise_one(pictures[i])
    return digits


def in_form(digits: DigitImages) -> npt.NDArray[np.bool_]:
    """Which of (n, 28, 28) are in MNIST's form: ink about 20 pixels high or wide, its mass in the middle."""
    strong = digits > 0.25 * WHITE
    rows, columns = strong.any(axis=2), strong.any(axis=1)
    size = np.maximum(_extent(rows), _extent(columns))  # type: ignore[arg-type]
    mass = digits.sum(axis=(1, 2), dtype=np.float32)
    at = np.arange(SIDE, dtype=np.float32)
    with np.errstate(divide="ignore", invalid="ignore"):
        x = digits.sum(axis=1, dtype=np.float32) @ at / mass
        y = digits.sum(axis=2, dtype=np.float32) @ at / mass
        middle = np.maximum(np.abs(x - SIDE / 2), np.abs(y - SIDE / 2)) < 1.6
    contrast = digits.max(axis=(1, 2)) > 0.75 * WHITE
    return (size >= INK_SIDE - 3) & (size <= INK_SIDE + 1) & middle & contrast  # type: ignore[no-any-return]


def normalise_one(picture: Pixels, paper: Background | None = None, bright_paper: bool | None = None) -> DigitImages:
    """One picture to uint8 (28, 28). `paper` and `bright_paper` as `paper.ink` takes them; found out when None."""
    picture = shrink(picture, MAX_SIDE)
    if paper is None:
        paper = "even" if max(picture.shape[:2]) <= GRAINY else "uneven"
    found = ink(picture, paper, bright_paper)
    if max(found.shape) > GRAINY:
        found = clean(found)
    return form(found)


def other_views(picture: Pixels) -> DigitImages:
    """What else the picture may show, for when the first view was doubtful: uint8 (n, 28, 28).

    Light judged in the other ways, the other polarity, and a picture of 28x28 as it is.
    """
    picture = shrink(picture, MAX_SIDE)
    small = max(picture.shape[:2]) <= GRAINY
    views = [
        normalise_one(picture, "uneven" if small else "even"),
        normalise_one(picture, "striped"),
        normalise_one(picture, bright_paper=paper_is_dark(picture)),
    ]
    if picture.shape == (SIDE, SIDE):
        views += [picture, WHITE - picture]
    return np.stack(views)


def nudged(digit: Pixels) -> DigitImages:
    """A digit in form moved by a pixel each way, and a little smaller and larger: uint8 (6, 28, 28)."""
    moves = [(1.0, 0, 1), (1.0, 0, -1), (1.0, 1, 0), (1.0, -1, 0), (1 - NUDGE, 0, 0), (1 + NUDGE, 0, 0)]
    middle = (SIDE - 1) / 2
    matrices = [np.array([[z, 0, middle * (1 - z) + x], [0, z, middle * (1 - z) + y]]) for z, x, y in moves]
    return np.stack([cv2.warpAffine(digit, matrix, (SIDE, SIDE)) for matrix in matrices]).astype(np.uint8)


def form(found: Ink) -> npt.NDArray[np.uint8]:
    """Ink float32 (h, w) in [0, 1] to uint8 (28, 28): cropped, 20x20, pen of a usual width, centre of mass."""
    box = ink_bounds(found)
    if box is None:
        return np.zeros((SIDE, SIDE), np.uint8)
    top, bottom, left, right = box
    crop = usual_pen(found[top:bottom, left:right])
    height, width = crop.shape
    share = INK_SIDE / max(height, width)
    size = max(1, round(width * share)), max(1, round(height * share))
    small = cv2.resize(crop, size, interpolation=cv2.INTER_AREA if share < 1 else cv2.INTER_CUBIC)
    small = np.clip(small / max(float(small.max()), 1e-6), 0, 1)
    return (centre_by_mass(small) * WHITE).round().astype(np.uint8)  # type: ignore[arg-type]


def ink_bounds(found: Ink) -> tuple[int, int, int, int] | None:
    """top, bottom, left, right of the ink, or None where there is none; a row counts by its strongest pixel."""
    rows = np.flatnonzero(found.max(axis=1) > INK)
    columns = np.flatnonzero(found.max(axis=0) > INK)
    if len(rows) == 0:
        return None
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def centre_by_mass(small: Ink) -> Ink:
    """float32 (h, w), at most 20x20, into (28, 28) with its centre of mass in the middle, as far as it fits."""
    height, width = small.shape
    mass = max(float(small.sum()), 1e-6)
    y = float(small.sum(axis=1) @ np.arange(height)) / mass
    x = float(small.sum(axis=0) @ np.arange(width)) / mass
    top = min(max(round(SIDE / 2 - y), 0), SIDE - height)
    left = min(max(round(SIDE / 2 - x), 0), SIDE - width)
    digit = np.zeros((SIDE, SIDE), np.float32)
    digit[top : top + height, left : left + width] = small
    return digit


def stroke_width(found: Ink) -> float:
    """The usual width of the strokes in pixels: ink over half the length of its outline."""
    strong = (found > 0.5).astype(np.uint8)
    area = float(strong.sum())
    if area == 0:
        return 0.0
    inner = cv2.erode(strong, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0)
    outline = area - float(inner.sum())
    return 2 * area / max(outline, 1.0)


def usual_pen(crop: Ink) -> Ink:
    """The crop with strokes that will be neither hair-thin nor blots in the 20x20 box."""
    share = INK_SIDE / max(crop.shape)
    if share > 0.5:
        return crop
    width = stroke_width(crop) * share
    if THIN <= width <= THICK or width == 0:
        return crop
    aim = THIN if width < THIN else THICK
    side = max(1, round(abs(aim - width) / share))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side + 1, side + 1))
    if width < THIN:
        padded = cv2.copyMakeBorder(crop, side, side, side, side, cv2.BORDER_CONSTANT, value=0)
        return cv2.dilate(padded, kernel).astype(np.float32)
    return cv2.erode(crop, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0).astype(np.float32)


def clean(found: Ink) -> Ink:
    """The digit alone: without specks, far parts, the picture's edges and a printed box around it."""
    side = max(found.shape)
    reach = max(3, side // 60 | 1)
    near = cv2.dilate((found > INK).astype(np.uint8), np.ones((reach, reach), np.uint8))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(near, connectivity=8)
    if count <= 2:
        return found
    mass = np.bincount(labels.ravel(), weights=found.ravel(), minlength=count)
    mass[0] = 0
    height, width = found.shape
    for i in range(1, count):
        if _is_edge(stats[i], mass[i], height, width) or _is_box(labels == i, stats[i]):
            mass[i] = 0
    if mass.max() == 0:
        return found
    kept = _belonging(stats, mass)  # type: ignore[arg-type]
    return np.where(kept[labels], found, 0).astype(np.float32)


def _is_edge(stat: npt.NDArray[np.int32], mass: float, height: int, width: int) -> bool:
    """Whether a part is an edge of the picture, long along a side of it, or a bit in its corner."""
    left, top, wide, high = (int(v) for v in stat[:4])
    at_side = left <= 1 or left + wide >= width - 1
    at_end = top <= 1 or top + high >= height - 1
    upright = at_side and high > 0.5 * height and wide < 0.15 * width
    lying = at_end and wide > 0.5 * width and high < 0.15 * height
    corner = at_side and at_end and mass < 0.01 * width * height
    return upright or lying or corner


def _is_box(part: npt.NDArray[np.bool_], stat: npt.NDArray[np.int32]) -> bool:
    """Whether a part is a printed box: large, and straight along three of its sides at least."""
    left, top, wide, high = (int(v) for v in stat[:4])
    if min(wide / part.shape[1], high / part.shape[0]) < BOX_SHARE:
        return False
    inside = part[top : top + high, left : left + wide]
    depth = max(2, round(0.06 * max(wide, high)))
    sides = (
        inside[:depth].any(axis=0),
        inside[-depth:].any(axis=0),
        inside[:, :depth].any(axis=1),
        inside[:, -depth:].any(axis=1),
    )
    return sum(float(side.mean()) > 0.9 for side in sides) >= 3


def _belonging(stats: npt.NDArray[np.int32], mass: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Which parts are the digit: the one with most ink, and what is near it and no speck."""
    main = int(mass.argmax())
    left, top, wide, high = (int(v) for v in stats[main, :4])
    reach = REACH * max(wide, high)
    across = np.maximum(left - (stats[:, 0] + stats[:, 2]), stats[:, 0] - (left + wide))
    down = np.maximum(top - (stats[:, 1] + stats[:, 3]), stats[:, 1] - (top + high))
    kept = (mass > SPECK * mass[main]) & (np.maximum(across, down) < reach)
    kept[main] = True
    kept[0] = True  # the paper between, which has next to no ink
    return kept  # type: ignore[no-any-return]


def _extent(present: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """(n, side) whether there is ink -> (n,) from the first to the last, in pixels."""
    side = present.shape[1]
    first, last = present.argmax(axis=1), side - present[:, ::-1].argmax(axis=1)
    return np.where(present.any(axis=1), last - first, 0)
