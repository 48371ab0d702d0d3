"""Synthetic photographs of notes, tables and forms, in which the place of every digit is known.

The detector is trained on them. A page is laid out in units of its digits' height, written and printed in reflectance
(1 white paper, 0 black), seen in perspective, lit and photographed. A page depends on (seed, index) only.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from numerals.handwriting.backgrounds import render_background
from numerals.handwriting.drawing import Points, compress_jpeg, crop_to_ink, draw_path, smooth_curve
from numerals.handwriting.glyphs import Glyphs, Writer, sample_writer, skeletonise
from numerals.handwriting.non_digits import letters, scribble
from numerals.handwriting.stroke_templates import Stroke
from numerals.handwriting.writing import PUNCTUATION, render_digit, write_row
from numerals.read.digit_ink import Ink
from numerals.read.pixels import GreyPixels
from numerals.seeds import SYNTHETIC_PAGES, generator

SIDE = 256  # pixels along each side of a page's picture
MARGIN = 40  # pixels of the sheet beyond each side, so that perspective has something to show
MIN_HEIGHT, MAX_HEIGHT = 11.0, 105.0  # of digits, in pixels
MIN_VISIBLE = 0.6  # share of a digit's box that is in the picture; digits of which less is seen are not to be found
SHEET = SIDE + 2 * MARGIN

# Signs that people write among digits, in units of the digits' height, y downwards from their top.
SIGNS: dict[str, list[Stroke]] = {
    **{sign: strokes for sign, strokes in PUNCTUATION.items() if sign},
    "x": [[(0, 0.2), (0.6, 0.9)], [(0.6, 0.2), (0, 0.9)]],
    "X": [[(0, 0), (0.7, 1)], [(0.7, 0), (0, 1)]],
    "+": [[(0, 0.55), (0.6, 0.53)], [(0.3, 0.25), (0.3, 0.85)]],
    "*": [[(0, 0.4), (0.4, 0.7)], [(0.4, 0.4), (0, 0.7)], [(0.2, 0.33), (0.2, 0.77)]],
    "(": [[(0.3, -0.15), (0.05, 0.15), (0, 0.5), (0.05, 0.85), (0.3, 1.15)]],
    ")": [[(0, -0.15), (0.25, 0.15), (0.3, 0.5), (0.25, 0.85), (0, 1.15)]],
    "/": [[(0.55, -0.15), (0, 1.15)]],
    "%": [[(0.7, 0), (0.05, 1)], [(0.15, 0), (0, 0.15), (0.15, 0.3), (0.3, 0.15), (0.15, 0)],
          [(0.6, 0.7), (0.45, 0.85), (0.6, 1), (0.75, 0.85), (0.6, 0.7)]],
    "tick": [[(0, 0.6), (0.2, 0.95), (0.2, 0.95), (0.8, 0.0)]],
    "arrow": [[(0, 0.5), (1.0, 0.5)], [(0.75, 0.3), (1.0, 0.5), (1.0, 0.5), (0.75, 0.7)]],
    "<": [[(0.5, 0.2), (0, 0.55), (0, 0.55), (0.5, 0.9)]],
    "euro": [[(0.6, 0.1), (0.3, 0), (0.1, 0.5), (0.3, 1), (0.6, 0.9)], [(-0.05, 0.4), (0.4, 0.4)],
             [(-0.05, 0.6), (0.4, 0.6)]],
}  # fmt: skip
PRINT_FONTS = (
    "DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSansMono",
    "STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic", "cmr10", "cmss10", "cmtt10",
)  # fmt: skip
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True)
class PlacedDigit:
    """A written digit in a picture: the upright box around its ink, in pixels; fractions are exact."""

    digit: int  # 0 to 9
    left: float
    top: float
    right: float
    bottom: float
    visible: bool = True  # whether enough of it is in the picture to be found


@dataclass(frozen=True)
class SyntheticPage:
    """A picture of a page, uint8 (h, w) with dark ink on light paper, and the digits written on it."""

    picture: GreyPixels
    digits: tuple[PlacedDigit, ...]


@dataclass
class _Sheet:
    """A sheet of paper while it is printed and written on."""

    glyphs: Glyphs
    rng: np.random.Generator
    height: float  # of a digit, in pixels
    writer: Writer
    strength: float  # share of the light that the pen takes
    reflectance: npt.NDArray[np.float32]  # (SHEET, SHEET) in [0, 1]
    digits: list[PlacedDigit] = field(default_factory=list)

    def apply(self, ink: Ink, left: float, top: float, strength: float) -> None:
        """Lay ink, float32 (h, w) in [0, 1], on the sheet; what lies beyond its edges is cut off."""
        x, y = round(left), round(top)
        x0, y0, x1, y1 = max(x, 0), max(y, 0), min(x + ink.shape[1], SHEET), min(y + ink.shape[0], SHEET)
        if x0 < x1 and y0 < y1:
            self.reflectance[y0:y1, x0:x1] *= 1 - strength * ink[y0 - y : y1 - y, x0 - x : x1 - x]

    def write(self, numbers: list[int], left: float, top: float) -> float:
        """Write a number with its upper left corner there, and return where its ink ends."""
        row = write_row(numbers, self.glyphs, self.writer, self.rng)
        x, y = left - 0.8 * self.height, top - self.height
        pressure = cv2.resize(self.rng.uniform(0.7, 1, (2, 8)).astype(np.float32), row.ink.shape[::-1])
        self.apply(row.ink * pressure, x, y, self.strength)
        x, y = round(x), round(y)
        for digit, box in row.digits:
            self.digits.append(PlacedDigit(digit, x + box.left, y + box.top, x + box.right, y + box.bottom))
        return max([float(x + box.right) for _, box in row.digits], default=left)

    def write_digit(self, digit: int, middle_x: float, middle_y: float, size: float = 1.0) -> None:
        """Write one digit around a point."""
        patch = render_digit(digit, self.glyphs, self.writer, size, self.rng, self.rng)
        dark = patch > 0.4
        if not dark.any():
            return
        rows, columns = np.flatnonzero(dark.any(axis=1)), np.flatnonzero(dark.any(axis=0))
        x = round(middle_x - (columns[0] + columns[-1] + 1) / 2)
        y = round(middle_y - (rows[0] + rows[-1] + 1) / 2)
        self.apply(patch, x, y, self.strength)
        self.digits.append(PlacedDigit(digit, x + columns[0], y + rows[0], x + columns[-1] + 1, y + rows[-1] + 1))

    def draw(self, strokes: list[Points], pen_width: int, strength: float) -> None:
        """Draw lines, in pixels of the sheet."""
        mask = np.zeros((SHEET, SHEET), np.uint8)
        for stroke in strokes:
            draw_path(mask, stroke, 255, max(pen_width, 1))
        self.reflectance *= 1 - mask * np.float32(strength / 255)

    @property
    def pen_pixels(self) -> int:
        return max(round(self.writer.pen_width * self.height), 1)


def synthesise_page(glyphs: Glyphs, seed: int, index: int) -> SyntheticPage:
    """Synthesise page number `index`: SIDE pixels square, its digits 11 to 105 pixels high.

    Args:
        glyphs: to write with.
        seed, index: decide everything.
    """
    rng = generator(seed, SYNTHETIC_PAGES, index)
    layout = LAYOUTS[int(rng.choice(len(LAYOUTS), p=_LAYOUT_WEIGHTS))]
    sheet = _blank_sheet(glyphs, rng)
    layout(sheet)
    if rng.random() < 0.3:
        _clutter(sheet)
    return _photograph(sheet)


def _blank_sheet(glyphs: Glyphs, rng: np.random.Generator) -> _Sheet:
    """Paper, a writer and a pen."""
    height = float(np.exp(rng.uniform(np.log(MIN_HEIGHT), np.log(MAX_HEIGHT))))
    if height > 50 and rng.random() < 0.5:
        height /= 2.2  # large digits are few on a picture, so most pictures should have smaller ones
    pen_width = max(rng.uniform(0.03, 0.17), 1.1 / height)
    writer = replace(sample_writer(rng), height=height, pen_width=pen_width)
    if rng.random() < 0.1:  # drawn on a screen
        paper = np.full((SHEET, SHEET), 1.0, np.float32)
        return _Sheet(glyphs, rng, height, writer, 1.0, paper)
    paper = render_background((SHEET, SHEET), rng) if rng.random() < 0.3 else _plain_paper(rng)
    reflectance = np.clip(paper / 255, 0.05, 1).astype(np.float32)
    texture = float(np.std(reflectance - cv2.blur(reflectance, (9, 9)))) / float(reflectance.mean())
    strength = rng.uniform(0.18, 0.45) if rng.random() < 0.3 else rng.uniform(0.4, 0.95)
    return _Sheet(glyphs, rng, height, writer, min(max(strength, 5 * texture), 0.97), reflectance)


def _plain_paper(rng: np.random.Generator) -> npt.NDArray[np.float32]:
    paper = np.full((SHEET, SHEET), rng.uniform(150, 255), np.float32)
    if rng.random() < 0.5:
        grain = rng.normal(0, rng.uniform(0.5, 4), (SHEET // 2, SHEET // 2)).astype(np.float32)
        paper += cv2.resize(grain, (SHEET, SHEET), interpolation=cv2.INTER_LINEAR)
    if rng.random() < 0.2:  # writing on the other side shows through
        ghost = cv2.GaussianBlur(rng.normal(0, 1, (SHEET, SHEET)).astype(np.float32), (0, 0), rng.uniform(2, 8))
        paper -= np.clip(ghost / max(float(ghost.std()), 1e-6) - 1, 0, 1) * rng.uniform(2, 15)
    return paper


# Layouts


def _notes(sheet: _Sheet) -> None:
    """Rows of numbers on plain, ruled or squared paper."""
    rng, height = sheet.rng, sheet.height
    kind = rng.random()
    pitch = height * rng.uniform(1.3, 2.6)
    first = rng.uniform(-0.5, 1.0) * pitch
    column = 0.0  # width of a square that holds one digit
    if kind < 0.35:
        rules = pitch if rng.random() < 0.5 else height * rng.uniform(0.9, 3.5)
        start = rng.uniform(0, rules)
        _rule(sheet, np.arange(start, SHEET, rules), [])
        if rules == pitch:
            first = start - pitch - height * rng.uniform(0.9, 1.3)  # writing stands on the rules
    elif kind < 0.6:
        side = height * rng.uniform(0.45, 1.7)
        _rule(sheet, np.arange(rng.uniform(0, side), SHEET, side), np.arange(rng.uniform(0, side), SHEET, side))
        if side > height and rng.random() < 0.6:
            column = side
            pitch = side * float(rng.integers(1, 3))
    left = rng.uniform(-1, 5) * height
    y = first
    while y < SHEET:
        if rng.random() < 0.9:
            _write_line(sheet, left + rng.normal(0, 0.5) * height, y + rng.normal(0, 0.08) * height, column)
        y += pitch * float(rng.choice([1, 1, 1, 2, 3], p=[0.3, 0.3, 0.2, 0.15, 0.05]))


def _write_line(sheet: _Sheet, left: float, top: float, column: float) -> None:
    """Numbers and other writing from left to right."""
    rng, height = sheet.rng, sheet.height
    x = left
    spaced = rng.random() < 0.15  # digits far apart
    for _ in range(int(rng.choice([1, 2, 3, 6], p=[0.55, 0.2, 0.15, 0.1]))):
        if x > SHEET:
            break
        kind = rng.random()
        room = int((SHEET - x) / (0.7 * height)) + 1
        count = int(min(rng.choice([1, 2, 3, 4, 5, 6, 8, 10]), room))
        numbers = [int(digit) for digit in rng.integers(0, 10, count)]
        if rng.random() < 0.12:
            numbers = [numbers[0]] * count
        if kind < 0.14:
            x = _write_word(sheet, x, top)
        elif kind < 0.2:
            x = _write_sign(sheet, str(rng.choice(list(SIGNS))), x, top)
        elif column or spaced:
            step = column or height * rng.uniform(1.2, 2.6)
            for number in numbers:
                sheet.write_digit(number, x + step / 2, top + height / 2 + rng.normal(0, 0.06) * height)
                x += step
        else:
            x = sheet.write(numbers, x, top + sheet.writer.slope * (x - left))
        x += height * rng.choice([rng.uniform(0.5, 1.2), rng.uniform(1, 6)])


def _form(sheet: _Sheet) -> None:
    """Printed boxes for one digit each, with labels; some are empty, crossed or struck out."""
    rng, height = sheet.rng, sheet.height
    width, tall = height * rng.uniform(1.0, 2.2), height * rng.uniform(1.1, 2.2)
    gap = 0.0 if rng.random() < 0.6 else width * rng.uniform(0.1, 1.2)
    pen, strength = int(rng.integers(1, max(2, round(0.1 * height)) + 1)), rng.uniform(0.25, 0.95)
    spacing = tall * rng.choice([1.0, rng.uniform(1.2, 3.0)])
    left, y = rng.uniform(-1, 4) * width, rng.uniform(-0.5, 1.5) * tall
    spread = rng.uniform(0.02, 0.16)
    filled, crossed = rng.uniform(0.45, 0.9), rng.choice([0.02, rng.uniform(0.05, 0.4)])
    label_size = height * rng.uniform(0.3, 0.8)
    while y < SHEET:
        count = int(rng.integers(1, 13))
        for number in range(count):
            x = left + number * (width + gap)
            if x > SHEET:
                break
            corners = np.array([(x, y), (x + width, y), (x + width, y + tall), (x, y + tall), (x, y)])
            kind = rng.random()
            middle = np.array([x + width / 2, y + tall / 2]) + rng.normal(0, spread, 2) * height
            if number == 0 and rng.random() < 0.1:
                sheet.apply(np.ones((max(round(tall), 1), max(round(width), 1)), np.float32), x, y, strength)
                continue
            if rng.random() < 0.95:
                sheet.draw([corners], pen, strength)
            if kind < filled:
                sheet.write_digit(
                    int(rng.integers(10)), float(middle[0]), float(middle[1]), float(rng.uniform(0.8, 1.2))
                )
            elif kind < filled + crossed:
                sign = str(rng.choice(["x", "X", "X", "-", "-", "/", "tick", "=", ".", "~"]))
                _write_sign(sheet, sign, middle[0] - 0.3 * height, middle[1] - 0.5 * height)
        if rng.random() < 0.35:
            where = y - 1.3 * label_size if rng.random() < 0.6 else y + tall + 0.2 * label_size
            _print_text(sheet, left + rng.uniform(0, 3) * width, where, label_size)
        if rng.random() < 0.25:
            _print_text(sheet, left - rng.uniform(2, 6) * label_size, y + 0.3 * tall, label_size)
        y += spacing


def _table(sheet: _Sheet) -> None:
    """A printed table whose cells hold short numbers, print, or nothing."""
    rng, height = sheet.rng, sheet.height
    width, tall = height * rng.uniform(1.3, 4.5), height * rng.uniform(1.05, 2.2)
    left, top = rng.uniform(-2, 1) * width, rng.uniform(-1, 1.5) * tall
    rows, columns = int(rng.integers(1, 12)), int(rng.integers(2, 12))
    xs, ys = left + width * np.arange(columns + 1), top + tall * np.arange(rows + 1)
    pen, strength = int(rng.integers(1, max(2, round(0.08 * height)) + 1)), rng.uniform(0.2, 0.95)
    lines = [np.array([(xs[0], y), (xs[-1], y)]) for y in ys]
    if rng.random() < 0.85:
        lines += [np.array([(x, ys[0]), (x, ys[-1])]) for x in xs]
    sheet.draw(lines, pen, strength)
    printed_rows = 1 if rng.random() < 0.4 else 0
    printed_columns = 1 if rng.random() < 0.4 else 0
    empty, longest = rng.uniform(0, 0.4), max(int(width / (0.85 * height)), 1)
    size = height * rng.uniform(0.35, 0.85)
    for row in range(rows):
        for column in range(columns):
            x, y = float(xs[column]), float(ys[row])
            if x > SHEET or y > SHEET or x < -width or y < -tall:
                continue
            if row < printed_rows or column < printed_columns:
                _print_text(sheet, x + 0.15 * width, y + (tall - size) / 2, size, width / size)
            elif rng.random() > empty:
                numbers = [int(digit) for digit in rng.integers(0, 10, int(rng.integers(1, min(longest, 3) + 1)))]
                inside = rng.uniform(0.1, 0.5) * max(width - len(numbers) * 0.8 * height, 0)
                above = (tall - height) * rng.uniform(0.2, 0.8)
                if len(numbers) == 1:
                    sheet.write_digit(numbers[0], x + inside + 0.4 * height, y + above + height / 2)
                else:
                    sheet.write(numbers, x + inside, y + above)
            elif rng.random() < 0.15:
                _write_sign(sheet, str(rng.choice(["x", "-", "/", "tick"])), x + 0.3 * width, y + (tall - height) / 2)


def _single(sheet: _Sheet) -> None:
    """One digit or one number that fills the picture, or a small one on an empty sheet."""
    rng = sheet.rng
    if rng.random() < 0.5:
        middle = SHEET / 2 + rng.normal(0, 0.1 * SIDE, 2)
        sheet.write_digit(int(rng.integers(10)), float(middle[0]), float(middle[1]), float(rng.uniform(0.8, 1.5)))
        return
    numbers = [int(digit) for digit in rng.integers(0, 10, int(rng.integers(1, 7)))]
    sheet.write(numbers, rng.uniform(0, SHEET / 2), rng.uniform(0, SHEET - sheet.height))


def _without_digits(sheet: _Sheet) -> None:
    """Print, words, rules and scribbles, but no digit."""
    rng = sheet.rng
    if rng.random() < 0.5:
        side = sheet.height * rng.uniform(0.5, 2)
        _rule(sheet, np.arange(0, SHEET, side), np.arange(0, SHEET, side) if rng.random() < 0.5 else [])
    for _ in range(int(rng.integers(0, 6))):
        x, y = rng.uniform(0, SHEET, 2)
        if rng.random() < 0.5:
            _print_text(sheet, x, y, sheet.height * rng.uniform(0.4, 1.5))
        else:
            _write_word(sheet, x, y)
    if rng.random() < 0.5:
        _clutter(sheet)


LAYOUTS: tuple[Callable[[_Sheet], None], ...] = (_notes, _form, _table, _single, _without_digits)
_LAYOUT_WEIGHTS = (0.45, 0.18, 0.18, 0.11, 0.08)


# What is on a page besides digits


def _rule(sheet: _Sheet, rows: npt.ArrayLike, columns: npt.ArrayLike) -> None:
    """Print horizontal and vertical lines across the sheet; sometimes dotted, sometimes with a margin line."""
    rng = sheet.rng
    strength, pen = rng.uniform(0.08, 0.8), int(rng.choice([1, 1, 1, 2, 2, 3]))
    pen = min(pen, max(1, round(0.12 * sheet.height)))
    horizontal = [np.array([(0, y), (SHEET, y)]) for y in np.asarray(rows)]
    vertical = [np.array([(x, 0), (x, SHEET)]) for x in np.asarray(columns)]
    sheet.draw(horizontal + vertical, pen, strength)
    if rng.random() < 0.1:
        x = rng.uniform(0, SHEET)
        sheet.draw([np.array([(x, 0), (x, SHEET)])], pen, rng.uniform(0.2, 0.8))


def _print_text(sheet: _Sheet, left: float, top: float, size: float, room: float = 40.0) -> None:
    """Print words or numbers, at most `room` letters; print is not to be read."""
    rng = sheet.rng
    words = []
    for _ in range(int(rng.integers(1, 5))):
        length = int(rng.integers(1, 9))
        alphabet = "0123456789" if rng.random() < 0.3 else LETTERS
        words.append("".join(rng.choice(list(alphabet), length)))
    text = " ".join(words)[: max(int(room), 1)]
    font = _font(str(rng.choice(PRINT_FONTS)), max(round(size * 1.35), 7))
    box = font.getbbox(text)
    image = Image.new("L", (round(box[2]) + 2, round(box[3]) + 2))
    ImageDraw.Draw(image).text((0, 0), text, fill=255, font=font)
    right, bottom = left + image.width, top + image.height
    overlaps = any(d.left < right and d.right > left and d.top < bottom and d.bottom > top for d in sheet.digits)
    if not overlaps or rng.random() < 0.05:
        sheet.apply(np.asarray(image, np.float32) / np.float32(255), left, top, rng.uniform(0.3, 0.97))


def _write_word(sheet: _Sheet, left: float, top: float) -> float:
    """Write letters or a scrawl with the same pen as the digits, and return where the ink ends."""
    rng, height = sheet.rng, sheet.height
    if rng.random() < 0.35:
        return _scrawl(sheet, left, top)
    bank = _pen_letters()
    x = left
    for _ in range(int(rng.integers(1, 8))):
        ink = bank[int(rng.integers(len(bank)))]
        brush = max(round(sheet.pen_pixels * 52 / height), 1)
        ink = crop_to_ink(np.asarray(cv2.dilate(ink, np.ones((brush, brush), np.uint8)), np.float32) / np.float32(255))
        scale = height * rng.uniform(0.7, 1.15) / max(*ink.shape, 30)
        ink = np.asarray(cv2.resize(ink, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.float32)
        sheet.apply(np.clip(ink * np.float32(1.3), 0, 1), x, top + height - len(ink), sheet.strength)
        x += ink.shape[1] + height * rng.uniform(0.05, 0.3)
        if x > SHEET:
            break
    return x


def _scrawl(sheet: _Sheet, left: float, top: float) -> float:
    """Write a joined word that is no word: loops and arches of a pen."""
    rng, height = sheet.rng, sheet.height
    count = int(rng.integers(5, 22))
    steps = height * rng.uniform(0.1, 0.3, count)
    x = left + np.cumsum(steps)
    low, high = rng.uniform(0.9, 1.0, count), rng.uniform(0.4, 0.6, count) - 0.5 * (rng.random(count) < 0.2)
    y = top + height * np.where(np.arange(count) % 2, low, high)
    x = x + 0.25 * height * np.where(np.arange(count) % 2, 0, rng.uniform(-0.2, 1))
    sheet.draw([smooth_curve(np.column_stack([x, y]).astype(np.float32))], sheet.pen_pixels, sheet.strength)
    return float(x.max())


def _write_sign(sheet: _Sheet, sign: str, left: float, top: float) -> float:
    """Write one of SIGNS, and return where its ink ends."""
    rng, height = sheet.rng, sheet.height
    size = height * rng.uniform(0.7, 1.15)
    strokes = []
    for stroke in SIGNS[sign]:
        points = np.array(stroke, np.float32) + rng.normal(0, 0.03, (len(stroke), 2)).astype(np.float32)
        curve = smooth_curve(points) if len(points) > 2 else points
        strokes.append(curve * size + np.array([left, top + height - size], np.float32))
    sheet.draw(strokes, sheet.pen_pixels, sheet.strength)
    return float(max(stroke[:, 0].max() for stroke in strokes))


def _clutter(sheet: _Sheet) -> None:
    """Add what gets onto pages: scribbles, circles, underlines, stamps, blots, a word of print."""
    rng, height = sheet.rng, sheet.height
    for _ in range(int(rng.integers(1, 4))):
        kind, (x, y) = int(rng.integers(6)), rng.uniform(0, SHEET, 2)
        if kind == 0:
            ink = scribble(_no_digit, rng)
            scale = height * rng.uniform(0.8, 3) / len(ink)
            sheet.apply(np.asarray(cv2.resize(ink, None, fx=scale, fy=scale), np.float32), x, y, sheet.strength)
        elif kind == 1:
            turn = np.linspace(0, 2 * np.pi, 40)
            radii = height * rng.uniform(0.9, 3, 2)
            ring = np.column_stack([x + radii[0] * np.cos(turn), y + radii[1] * np.sin(turn)])
            sheet.draw([ring], sheet.pen_pixels, sheet.strength)
        elif kind == 2:
            end = x + height * rng.uniform(1, 8)
            line = np.array([(x, y), (end, y + rng.normal(0, 0.1) * height)])
            sheet.draw([line], sheet.pen_pixels, sheet.strength)
        elif kind == 3:
            radius = height * rng.uniform(0.05, 0.8)
            mask = np.zeros((SHEET, SHEET), np.uint8)
            cv2.circle(mask, (round(x), round(y)), max(round(radius), 1), 255, -1, cv2.LINE_AA)
            sheet.reflectance *= 1 - mask * np.float32(rng.uniform(0.05, 0.9) / 255)
        else:
            _print_text(sheet, x, y, height * rng.uniform(0.3, 1.3))


def _no_digit(rng: np.random.Generator) -> Ink:
    raise AssertionError("scribbles contain no digits")


@cache
def _font(name: str, size: int) -> ImageFont.FreeTypeFont:
    import matplotlib

    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{name}.ttf"), size)


@cache
def _pen_letters() -> npt.NDArray[np.uint8]:
    """The centre lines of letters that do not look like digits: uint8 (n, 72, 72), white on black."""
    return skeletonise(letters() > 127)


# The photograph


def _photograph(sheet: _Sheet) -> SyntheticPage:
    """Photograph the middle of a sheet in perspective, with its edges, light and camera."""
    rng = sheet.rng
    matrix = _perspective(rng)
    view = np.asarray(
        cv2.warpPerspective(sheet.reflectance, matrix, (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE), np.float32
    )
    digits = [_seen_digit(digit, matrix) for digit in sheet.digits]
    if rng.random() < 0.12:
        view, beyond = _with_table(view, rng)
        digits = [digit for digit in digits if not _covered(digit, beyond)]
    picture = _camera(255 * view * _light(rng), sheet.height, rng)
    return SyntheticPage(picture, tuple(digit for digit in digits if _is_near(digit)))


def _perspective(rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """A homography from the sheet to the picture, slightly turned and tilted."""
    angle = np.radians(rng.normal(0, 2.5) if rng.random() < 0.85 else rng.uniform(-14, 14))
    corners = np.array([(0, 0), (SIDE, 0), (SIDE, SIDE), (0, SIDE)], np.float32)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    tilt = rng.normal(0, 0.012 if rng.random() < 0.7 else 0.04, (4, 2)) * SIDE
    source = (corners - SIDE / 2) @ turn.T + SIDE / 2 + MARGIN + tilt
    return np.asarray(cv2.getPerspectiveTransform(source.astype(np.float32), corners), np.float64)


def _seen_digit(digit: PlacedDigit, matrix: npt.NDArray[np.float64]) -> PlacedDigit:
    corners = np.array([[[x, y] for x in (digit.left, digit.right) for y in (digit.top, digit.bottom)]], np.float64)
    seen = cv2.perspectiveTransform(corners, matrix)[0]
    (left, top), (right, bottom) = seen.min(axis=0).tolist(), seen.max(axis=0).tolist()
    inside = max(min(right, SIDE) - max(left, 0), 0) * max(min(bottom, SIDE) - max(top, 0), 0)
    return PlacedDigit(digit.digit, left, top, right, bottom, inside >= MIN_VISIBLE * (right - left) * (bottom - top))


def _is_near(digit: PlacedDigit) -> bool:
    return digit.right > 0 and digit.bottom > 0 and digit.left < SIDE and digit.top < SIDE


def _covered(digit: PlacedDigit, beyond: npt.NDArray[np.bool_]) -> bool:
    x = int(np.clip((digit.left + digit.right) / 2, 0, SIDE - 1))
    y = int(np.clip((digit.top + digit.bottom) / 2, 0, SIDE - 1))
    return bool(beyond[y, x])


def _half_plane(rng: np.random.Generator, low: float, high: float) -> npt.NDArray[np.float32]:
    """Signed distance in pixels from a straight edge that crosses the picture, at most `high` of it beyond."""
    angle = rng.integers(4) * np.pi / 2 + rng.normal(0, 0.15)
    y, x = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32)
    along = (x - SIDE / 2) * np.float32(np.cos(angle)) + (y - SIDE / 2) * np.float32(np.sin(angle))
    return np.asarray(along - np.float32(SIDE * (0.5 - rng.uniform(low, high))), np.float32)


def _with_table(
    view: npt.NDArray[np.float32], rng: np.random.Generator
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Let the paper end within the picture; what is beyond lies on a table of another tone."""
    distance = _half_plane(rng, 0.02, 0.4)
    tone = rng.uniform(0.02, 0.9)
    grain = cv2.GaussianBlur(rng.normal(0, 1, (SIDE, SIDE)).astype(np.float32), (0, 0), rng.uniform(0.5, 6))
    table = np.clip(tone * (1 + 0.6 * rng.random() * grain), 0, 1).astype(np.float32)
    blend = np.clip(distance, 0, 1)
    shade = 1 - np.float32(rng.uniform(0, 0.4)) * np.exp(-np.abs(distance) / np.float32(rng.uniform(1, 8)))
    return np.asarray((view * (1 - blend) + table * blend) * shade, np.float32), distance > 0


def _light(rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """How brightly each pixel is lit: gradients, a lamp, shadows with soft or hard edges."""
    light = np.full((SIDE, SIDE), rng.uniform(0.75, 1.0), np.float32)
    y, x = np.mgrid[-0.5 : 0.5 : SIDE * 1j, -0.5 : 0.5 : SIDE * 1j].astype(np.float32)
    if rng.random() < 0.6:
        light *= np.clip(1 + np.float32(rng.normal(0, 0.25)) * x + np.float32(rng.normal(0, 0.25)) * y, 0.15, 2)
    if rng.random() < 0.25:
        middle = rng.uniform(-0.8, 0.8, 2)
        light *= 1 - np.float32(rng.uniform(0.1, 0.7)) * np.clip(
            (x - np.float32(middle[0])) ** 2 + (y - np.float32(middle[1])) ** 2, 0, 1
        )
    for _ in range(int(rng.choice(3, p=[0.7, 0.2, 0.1]))):
        edge = 1 / (1 + np.exp(-np.clip(_half_plane(rng, 0.1, 0.9) / np.float32(rng.uniform(0.6, 20)), -30, 30)))
        light *= 1 - np.float32(rng.uniform(0.1, 0.6)) * edge
    return light


def _camera(picture: npt.NDArray[np.float32], height: float, rng: np.random.Generator) -> GreyPixels:
    """Blur, noise, little resolution, JPEG, or a scan in black and white."""
    if rng.random() < 0.65:
        blur = rng.uniform(0.3, np.clip(0.05 * height, 0.6, 3))
        picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), blur), np.float32)
    if rng.random() < 0.15 and height > 16:
        size = round(SIDE / rng.uniform(1.2, min(height / 10, 4)))
        picture = cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
        picture = cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)  # type: ignore[assignment]
    if rng.random() < 0.6:
        picture = picture + rng.normal(0, rng.uniform(0.5, 8), picture.shape).astype(np.float32)
    pixels = np.clip(picture, 0, 255).astype(np.uint8)
    if rng.random() < 0.06:
        window = 2 * int(max(height, 15)) + 1
        method = cv2.ADAPTIVE_THRESH_MEAN_C
        pixels = np.asarray(
            cv2.adaptiveThreshold(pixels, 255, method, cv2.THRESH_BINARY, window, rng.uniform(6, 25)), np.uint8
        )
    elif rng.random() < 0.5:
        pixels = compress_jpeg(pixels, int(rng.integers(30, 95)))
    return pixels
