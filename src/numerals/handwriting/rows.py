"""Synthetic rows of handwriting from MNIST's digits and drawn ones: what the row network learns from.

A row is drawn as one writer would, onto a paper, photographed, and cut out; then `read.strips` makes its strip, as it
does in reading. The same (seed, index) is the same row. Knows nothing about networks.
"""

import cv2
import numpy as np
import numpy.typing as npt

from numerals.handwriting.backgrounds import print_lines, render_background
from numerals.handwriting.digits import tight
from numerals.handwriting.glyphs import Glyphs, Writer, sample_number, sample_writer
from numerals.handwriting.non_digits import letter, strokes, things
from numerals.handwriting.writing import Alpha, Sheet, write_row
from numerals.read.strips import strip_from_picture
from numerals.seeds import NON_DIGIT_ROWS, SYNTHETIC_ROWS, generator

Grey = npt.NDArray[np.uint8]  # (h, w), dark ink on light paper
STRANGE = (letter, strokes, things)  # what a strange row is made of
LEAST = 12  # pixels of a picture's sides


def synthesize_row(glyphs: Glyphs, seed: int, index: int) -> tuple[Grey, list[int]]:
    """Row number `index`: its strip, uint8 (40, width), and its digits."""
    chance = generator(seed, SYNTHETIC_ROWS, index)
    hand, digits = sample_writer(chance), sample_number(chance)
    picture = photograph(write_row(digits, glyphs, hand, chance), hand, chance)
    return strip_from_picture(picture, float(np.exp(chance.normal(0, 0.1))))[0], digits


def synthesize_non_digit_row(seed: int, index: int) -> Grey:
    """Row number `index` of letters, strokes or shapes, none of them a digit: its strip, uint8 (40, width)."""
    chance = generator(seed, NON_DIGIT_ROWS, index)
    hand, maker = sample_writer(chance), STRANGE[int(chance.choice(len(STRANGE), p=(0.7, 0.15, 0.15)))]
    count = int(chance.integers(1, 9))
    sheet = Sheet(hand, count)
    for _ in range(count):
        ink = tight(maker(_no_digit, chance))
        share = hand.height * chance.uniform(0.8, 1.1) / max(ink.shape)
        patch = np.asarray(cv2.resize(ink, None, fx=share, fy=share, interpolation=cv2.INTER_AREA), np.float32)
        sheet.put(patch, hand.height * abs(chance.normal(0.1, 0.15)), sheet.top + hand.height - len(patch))
    ink = sheet.ink[:, : min(round(sheet.left + 0.8 * hand.height), sheet.ink.shape[1])]
    return strip_from_picture(photograph(ink, hand, chance))[0]


def _no_digit(chance: np.random.Generator) -> Alpha:
    raise AssertionError("none of STRANGE asks for a digit")


def photograph(ink: Alpha, hand: Writer, chance: np.random.Generator) -> Grey:
    """The row on a paper, cut out more or less tightly, as a camera or scanner gives it: uint8 (h, w)."""
    columns, lines = np.flatnonzero(ink.max(axis=0) > 0.4), np.flatnonzero(ink.max(axis=1) > 0.4)
    if not len(columns):
        columns, lines = np.array([0, ink.shape[1]]), np.array([hand.height, 2 * hand.height]).astype(int)
    sheet = render_background((ink.shape[0], ink.shape[1]), chance)
    print_lines(sheet, float(lines[0]), float(lines[-1]), chance)
    texture = float(np.std(sheet - cv2.blur(sheet, (9, 9))))
    contrast = max(chance.uniform(30, 70) if chance.random() < 0.25 else chance.uniform(60, 190), 5 * texture)
    pressure = cv2.resize(chance.uniform(0.65, 1, (3, 12)).astype(np.float32), ink.shape[::-1])
    picture = np.maximum(sheet - ink * pressure * contrast, chance.uniform(0, 30))
    near = hand.height * np.array(
        [
            chance.uniform(-0.04, 0.35),
            chance.uniform(-0.04, 0.35),
            chance.uniform(-0.02, 0.6),
            chance.uniform(-0.02, 0.6),
        ]
    )
    top, bottom = cut(lines[0] - near[0], lines[-1] + 1 + near[1], ink.shape[0])
    left, right = cut(columns[0] - near[2], columns[-1] + 1 + near[3], ink.shape[1])
    return degraded(picture[top:bottom, left:right], chance)


def cut(start: float, end: float, length: int) -> tuple[int, int]:
    """From where to where to cut, within 0 and `length`, and LEAST pixels apart at least."""
    first = min(max(round(start), 0), length - LEAST)
    return first, min(max(round(end), first + LEAST), length)


def degraded(picture: npt.NDArray[np.float32], chance: np.random.Generator) -> Grey:
    """Out of focus, noisy, and compressed, each sometimes."""
    if chance.random() < 0.6:
        picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), chance.uniform(0.3, 1.3)), np.float32)
    if chance.random() < 0.5:
        picture = picture + chance.normal(0, chance.uniform(1, 7), picture.shape).astype(np.float32)
    grey = np.clip(picture, 0, 255).astype(np.uint8)
    if chance.random() < 0.5:
        _, code = cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, int(chance.integers(25, 95))])
        grey = np.asarray(cv2.imdecode(code, cv2.IMREAD_GRAYSCALE), np.uint8)
    return grey
