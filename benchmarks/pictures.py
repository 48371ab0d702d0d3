"""Synthetic pictures for the reading benchmark: rows and pages written with MNIST's test digits.

The code that draws them also drew the row model's training samples (from other digits), so they favour numerals. The
same seed makes the same pictures.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from benchmarks.labelled import LabelledPicture, write_labels
from numerals.article.data import load_mnist
from numerals.handwriting.backgrounds import render_background
from numerals.handwriting.glyphs import Glyphs, prepare_glyphs, sample_number, sample_writer
from numerals.handwriting.rows import photograph
from numerals.handwriting.writing import write_row
from numerals.read.pixels import Pixels
from numerals.seeds import generator

InkMap = npt.NDArray[np.float32]  # (h, w), 0 no ink to 1 full ink
Maker = Callable[[Glyphs, int, int], tuple[Pixels, tuple[str, ...]]]

ROWS, PAGES = "rows", "pages"  # names of the sets and their folders
STREAM = {ROWS: 100, PAGES: 101}  # seeds of random draws; no training uses these
EVERY = 5  # write with every 5th test digit: 2,000 of them, from both halves
PAGE = 1600, 1200  # height, width in pixels
PHOTOGRAPH = 4032, 3024  # height, width in pixels: a phone's 12 megapixels
GRAIN = 3.0  # standard deviation of the photograph's noise, in grey levels
PEN = np.array([0.95, 0.85, 0.55], np.float32)  # darkness of the ink in red, green and blue: dark blue
TINT = np.array([1.0, 0.985, 0.95], np.float32)  # colour of the paper in red, green and blue


def glyphs_of_test_digits() -> Glyphs:
    """Every fifth of MNIST's test digits as glyphs: no training has seen them."""
    _, (images, labels) = load_mnist()
    return prepare_glyphs(images[::EVERY], labels[::EVERY])


def write_pictures(folder: Path, maker: Maker, glyphs: Glyphs, count: int, suffix: str, seed: int = 0) -> Path:
    """Write `count` pictures by a maker, and their labels.tsv, into a new folder; return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    labelled = []
    for index in range(count):
        pixels, rows = maker(glyphs, seed, index)
        path = folder / f"{index:04d}{suffix}"
        Image.fromarray(pixels).save(path, quality=92)
        labelled.append(LabelledPicture(path, rows, folder.name))
    write_labels(folder, labelled)
    return folder


def draw_row(glyphs: Glyphs, seed: int, index: int) -> tuple[Pixels, tuple[str, ...]]:
    """One row on paper, cropped: uint8 (h, w), and its digits."""
    rng = generator(seed, STREAM[ROWS], index)
    style = replace(sample_writer(rng), template_share=0.0)  # only MNIST's digits, no drawn ones
    digits = _digits(rng)
    return photograph(write_row(digits, glyphs, style, rng).ink, style, rng), (_text(digits),)


def draw_page(glyphs: Glyphs, seed: int, index: int) -> tuple[Pixels, tuple[str, ...]]:
    """Three to six rows by one writer on plain or ruled paper, photographed on a table: RGB uint8, and its rows."""
    rng = generator(seed, STREAM[PAGES], index)
    height = rng.uniform(45, 80)
    style = replace(sample_writer(rng), template_share=0.0, height=height, slope=float(rng.normal(0, 0.015)))
    numbers = [_digits(rng) for _ in range(int(rng.integers(3, 7)))]
    ink = np.zeros(PAGE, np.float32)
    sheet = render_background(PAGE, rng)
    top = rng.uniform(0, 2) * height
    pitch = min(height * rng.uniform(2.2, 3.4), (PAGE[0] - top - 3 * height) / len(numbers))
    left = int(rng.uniform(0.5, 2) * height)
    if rng.random() < 0.5:
        _rule(sheet, top + 2.05 * height, pitch, rng)
    for row, digits in enumerate(numbers):
        _put(ink, write_row(digits, glyphs, style, rng).ink, round(top + row * pitch), left)
    return _photographed(sheet, ink, rng), tuple(map(_text, numbers))


def draw_photograph(glyphs: Glyphs, seed: int, index: int) -> tuple[Pixels, tuple[str, ...]]:
    """A page at the size of a phone's 12 megapixels: RGB uint8 (4032, 3024, 3)."""
    page, rows = draw_page(glyphs, seed, index)
    large = cv2.resize(page, PHOTOGRAPH[::-1], interpolation=cv2.INTER_CUBIC)
    grain = generator(seed, STREAM[PAGES], index, 1).standard_normal(large.shape, np.float32) * np.float32(GRAIN)
    return np.asarray(np.clip(large + grain, 0, 255), np.uint8), rows


def _digits(rng: np.random.Generator) -> list[int]:
    """A number with at least one digit."""
    digits: list[int] = []
    while not digits:
        digits = sample_number(rng)
    return digits


def _text(digits: list[int]) -> str:
    return "".join(map(str, digits))


def _put(ink: InkMap, row: InkMap, top: int, left: int) -> None:
    """Add a row to the page's ink, in place; shrink a row that is too long for the page."""
    room = ink.shape[1] - left
    if row.shape[1] > room:
        share = room / row.shape[1]
        row = np.asarray(cv2.resize(row, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)[:, :room], np.float32)
    area = ink[top : top + row.shape[0], left : left + row.shape[1]]
    np.maximum(area, row[: area.shape[0]], out=area)


def _rule(sheet: InkMap, first: float, pitch: float, rng: np.random.Generator) -> None:
    """Print a line across the page under each row, in place."""
    shade = rng.uniform(15, 60)
    for y in np.arange(first % pitch, sheet.shape[0], pitch):
        sheet[int(y) : int(y) + 2] -= shade


def _photographed(sheet: InkMap, ink: InkMap, rng: np.random.Generator) -> Pixels:
    """Photograph the sheet at an angle, in uneven light, slightly out of focus and noisy: RGB uint8."""
    texture = float(np.std(sheet - cv2.blur(sheet, (9, 9))))
    contrast = max(rng.uniform(60, 160), 5 * texture)
    colours = sheet[..., None] * TINT - ink[..., None] * contrast * PEN
    height, width = sheet.shape
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    target = corners + rng.uniform(-0.04, 0.04, (4, 2)).astype(np.float32) * (width, height)
    table = rng.uniform(30, 90)
    perspective = cv2.getPerspectiveTransform(corners, target.astype(np.float32))
    colours = cv2.warpPerspective(colours, perspective, (width, height), borderValue=(table, table, table))
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j].astype(np.float32)
    direction = rng.uniform(-1, 1, 2)
    light = 1 - rng.uniform(0, 0.4) * np.clip(direction[0] * (x - 0.5) + direction[1] * (y - 0.5) + 0.5, 0, 1)
    colours = cv2.GaussianBlur(colours * light[..., None], (0, 0), rng.uniform(0.5, 1.3))
    noise = rng.normal(0, rng.uniform(1, 5), colours.shape)
    return np.asarray(np.clip(colours + noise, 0, 255), np.uint8)
