"""The pictures that the reading benchmark makes: rows and pages written with MNIST's test digits, no training ones.

They are drawn by the code that also drew what the row model learnt from, so they favour ours; only the digits are
others. The same seed makes the same pictures. Knows nothing about engines.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from benchmarks.labelled import Labelled, write_labels
from numerals.article.data import load_mnist
from numerals.handwriting.backgrounds import paper
from numerals.handwriting.glyphs import Glyphs, glyphs_of, number, writer
from numerals.handwriting.rows import photographed
from numerals.handwriting.writing import write
from numerals.seeds import generator

Picture = npt.NDArray[np.uint8]  # (h, w) or RGB (h, w, 3)
Alpha = npt.NDArray[np.float32]  # (h, w), how much ink, 0 to 1
Maker = Callable[[Glyphs, int, int], tuple[Picture, tuple[str, ...]]]

ROWS, PAGES = "rows", "pages"  # the folders that are made
STREAM = {ROWS: 100, PAGES: 101}  # of chance, apart from every one that a training uses
EVERY = 5  # which of the test digits are written with: 2,000, over both halves of them
PAGE = 1600, 1200  # height and width in pixels
PHOTOGRAPH = 4032, 3024  # height and width of a telephone's 12 megapixels
GRAIN = 3.0  # grey levels of noise in it
PEN = np.array([0.95, 0.85, 0.55], np.float32)  # how dark its ink is in red, green and blue: dark blue
TINT = np.array([1.0, 0.985, 0.95], np.float32)  # of its paper


def unseen_glyphs() -> Glyphs:
    """Every fifth of MNIST's test digits, ready to write with."""
    _, (images, labels) = load_mnist()
    return glyphs_of(images[::EVERY], labels[::EVERY])


def make(folder: Path, maker: Maker, glyphs: Glyphs, count: int, suffix: str, seed: int = 0) -> Path:
    """So many pictures by that maker, and their labels.tsv, in a folder that is made for them; the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    labelled = []
    for index in range(count):
        pixels, rows = maker(glyphs, seed, index)
        path = folder / f"{index:04d}{suffix}"
        Image.fromarray(pixels).save(path, quality=92)
        labelled.append(Labelled(path, rows, folder.name))
    write_labels(folder, labelled)
    return folder


def made_row(glyphs: Glyphs, seed: int, index: int) -> tuple[Picture, tuple[str, ...]]:
    """One row on some paper, cut out: uint8 (h, w), and its digits."""
    chance = generator(seed, STREAM[ROWS], index)
    hand = replace(writer(chance), drawn=0.0)  # with MNIST's digits alone
    digits = _digits(chance)
    return photographed(write(digits, glyphs, hand, chance), hand, chance), (_text(digits),)


def made_page(glyphs: Glyphs, seed: int, index: int) -> tuple[Picture, tuple[str, ...]]:
    """Three to six rows of one hand on a sheet, lined or not, photographed on a table: RGB uint8, and the rows."""
    chance = generator(seed, STREAM[PAGES], index)
    height = chance.uniform(45, 80)
    hand = replace(writer(chance), drawn=0.0, height=height, climb=float(chance.normal(0, 0.015)))
    numbers = [_digits(chance) for _ in range(int(chance.integers(3, 7)))]
    ink = np.zeros(PAGE, np.float32)
    sheet = paper(PAGE, chance)
    top = chance.uniform(0, 2) * height
    pitch = min(height * chance.uniform(2.2, 3.4), (PAGE[0] - top - 3 * height) / len(numbers))
    left = int(chance.uniform(0.5, 2) * height)
    if chance.random() < 0.5:
        _rule(sheet, top + 2.05 * height, pitch, chance)
    for place, digits in enumerate(numbers):
        _put(ink, write(digits, glyphs, hand, chance), round(top + place * pitch), left)
    return _photographed(sheet, ink, chance), tuple(map(_text, numbers))


def made_photograph(glyphs: Glyphs, seed: int, index: int) -> tuple[Picture, tuple[str, ...]]:
    """A page as a telephone's 12 megapixels: RGB uint8 (4032, 3024, 3)."""
    page, rows = made_page(glyphs, seed, index)
    large = cv2.resize(page, PHOTOGRAPH[::-1], interpolation=cv2.INTER_CUBIC)
    grain = generator(seed, STREAM[PAGES], index, 1).standard_normal(large.shape, np.float32) * np.float32(GRAIN)
    return np.asarray(np.clip(large + grain, 0, 255), np.uint8), rows


def _digits(chance: np.random.Generator) -> list[int]:
    """A number that has digits."""
    digits: list[int] = []
    while not digits:
        digits = number(chance)
    return digits


def _text(digits: list[int]) -> str:
    return "".join(map(str, digits))


def _put(ink: Alpha, row: Alpha, top: int, left: int) -> None:
    """A row's ink onto the page's, in place; a row that is too long for the page is made smaller."""
    room = ink.shape[1] - left
    if row.shape[1] > room:
        share = room / row.shape[1]
        row = np.asarray(cv2.resize(row, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)[:, :room], np.float32)
    area = ink[top : top + row.shape[0], left : left + row.shape[1]]
    np.maximum(area, row[: area.shape[0]], out=area)


def _rule(sheet: Alpha, first: float, pitch: float, chance: np.random.Generator) -> None:
    """Printed lines over the whole width, one under each row, in place."""
    shade = chance.uniform(15, 60)
    for y in np.arange(first % pitch, sheet.shape[0], pitch):
        sheet[int(y) : int(y) + 2] -= shade


def _photographed(sheet: Alpha, ink: Alpha, chance: np.random.Generator) -> Picture:
    """The written sheet a little from the side, in uneven light, a little out of focus and noisy: RGB uint8."""
    texture = float(np.std(sheet - cv2.blur(sheet, (9, 9))))
    contrast = max(chance.uniform(60, 160), 5 * texture)
    colours = sheet[..., None] * TINT - ink[..., None] * contrast * PEN
    height, width = sheet.shape
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    seen = corners + chance.uniform(-0.04, 0.04, (4, 2)).astype(np.float32) * (width, height)
    table = chance.uniform(30, 90)
    turn = cv2.getPerspectiveTransform(corners, seen.astype(np.float32))
    colours = cv2.warpPerspective(colours, turn, (width, height), borderValue=(table, table, table))
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j].astype(np.float32)
    toward = chance.uniform(-1, 1, 2)
    light = 1 - chance.uniform(0, 0.4) * np.clip(toward[0] * (x - 0.5) + toward[1] * (y - 0.5) + 0.5, 0, 1)
    colours = cv2.GaussianBlur(colours * light[..., None], (0, 0), chance.uniform(0.5, 1.3))
    noise = chance.normal(0, chance.uniform(1, 5), colours.shape)
    return np.asarray(np.clip(colours + noise, 0, 255), np.uint8)
