"""Synthetic rows of handwriting that the row network is trained on.

A row is written in one writer's style, laid on a background, photographed and cropped; then `read.strips` makes its
strip, as in reading. A row depends on (seed, index) only.
"""

import cv2
import numpy as np
import numpy.typing as npt

from numerals.handwriting.backgrounds import print_lines, render_background
from numerals.handwriting.drawing import compress_jpeg, crop_to_ink
from numerals.handwriting.glyphs import Glyphs, Writer, sample_number, sample_writer
from numerals.handwriting.non_digits import letter, scribble, shapes
from numerals.handwriting.writing import RowCanvas, write_row
from numerals.read.digit_ink import Ink
from numerals.read.pixels import GreyPixels
from numerals.read.strips import strip_from_picture
from numerals.seeds import NON_DIGIT_ROWS, SYNTHETIC_ROWS, generator

NON_DIGIT_MAKERS = (letter, scribble, shapes)  # of rows of non-digits
MIN_SIDE = 12  # pixels of a photograph's sides


def synthesise_row(glyphs: Glyphs, seed: int, index: int) -> tuple[GreyPixels, list[int]]:
    """Synthesise row number `index`.

    Returns:
        Its strip, uint8 (40, w) with bright ink on black, and its digits, possibly none.
    """
    rng = generator(seed, SYNTHETIC_ROWS, index)
    writer, digits = sample_writer(rng), sample_number(rng)
    picture = photograph(write_row(digits, glyphs, writer, rng).ink, writer, rng)
    return strip_from_picture(picture, float(np.exp(rng.normal(0, 0.1))))[0], digits


def synthesise_non_digit_row(seed: int, index: int) -> GreyPixels:
    """Synthesise row number `index` of letters, scribbles or shapes: uint8 (40, w), bright ink on black."""
    rng = generator(seed, NON_DIGIT_ROWS, index)
    writer, maker = sample_writer(rng), NON_DIGIT_MAKERS[int(rng.choice(len(NON_DIGIT_MAKERS), p=(0.7, 0.15, 0.15)))]
    count = int(rng.integers(1, 9))
    canvas = RowCanvas(writer, count)
    for _ in range(count):
        ink = crop_to_ink(maker(_no_digit, rng))
        scale = writer.height * rng.uniform(0.8, 1.1) / max(ink.shape)
        patch = np.asarray(cv2.resize(ink, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.float32)
        canvas.paste(patch, writer.height * abs(rng.normal(0.1, 0.15)), canvas.top + writer.height - len(patch))
    return strip_from_picture(photograph(canvas.cropped(), writer, rng))[0]


def _no_digit(rng: np.random.Generator) -> Ink:
    raise AssertionError("a maker in NON_DIGIT_MAKERS must not write digits")


def photograph(ink: Ink, writer: Writer, rng: np.random.Generator) -> GreyPixels:
    """Photograph or scan a row on a random background, cropped more or less tightly.

    Args:
        ink: float32 (h, w) in [0, 1], as `write_row` draws it.
        writer: who wrote it.
        rng: decides about background, contrast, crop and camera.

    Returns:
        uint8 (h, w), dark ink on light paper.
    """
    columns, rows = np.flatnonzero(ink.max(axis=0) > 0.4), np.flatnonzero(ink.max(axis=1) > 0.4)
    if not len(columns):
        columns, rows = np.array([0, ink.shape[1]]), np.array([writer.height, 2 * writer.height]).astype(int)
    background = render_background((ink.shape[0], ink.shape[1]), rng)
    print_lines(background, float(rows[0]), float(rows[-1]), rng)
    texture = float(np.std(background - cv2.blur(background, (9, 9))))
    contrast = max(rng.uniform(30, 70) if rng.random() < 0.25 else rng.uniform(60, 190), 5 * texture)
    pressure = cv2.resize(rng.uniform(0.65, 1, (3, 12)).astype(np.float32), ink.shape[::-1])
    picture = np.maximum(background - ink * pressure * contrast, rng.uniform(0, 30))
    margins = writer.height * np.array(
        [rng.uniform(-0.04, 0.35), rng.uniform(-0.04, 0.35), rng.uniform(-0.02, 0.6), rng.uniform(-0.02, 0.6)]
    )
    top, bottom = _crop_range(rows[0] - margins[0], rows[-1] + 1 + margins[1], ink.shape[0])
    left, right = _crop_range(columns[0] - margins[2], columns[-1] + 1 + margins[3], ink.shape[1])
    return _camera(picture[top:bottom, left:right], rng)


def _crop_range(start: float, end: float, length: int) -> tuple[int, int]:
    """Round a range of pixels, within 0 and `length` and at least MIN_SIDE long."""
    first = min(max(round(start), 0), length - MIN_SIDE)
    return first, min(max(round(end), first + MIN_SIDE), length)


def _camera(picture: npt.NDArray[np.float32], rng: np.random.Generator) -> GreyPixels:
    """Sometimes blur the picture, add noise, and compress it."""
    if rng.random() < 0.6:
        picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.3, 1.3)), np.float32)
    if rng.random() < 0.5:
        picture = picture + rng.normal(0, rng.uniform(1, 7), picture.shape).astype(np.float32)
    pixels = np.clip(picture, 0, 255).astype(np.uint8)
    if rng.random() < 0.5:
        pixels = compress_jpeg(pixels, int(rng.integers(25, 95)))
    return pixels
