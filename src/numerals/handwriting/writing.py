"""Handwriting of one row: digits, marks and flourishes as ink on nothing. Knows nothing about papers or networks."""

import cv2
import numpy as np
import numpy.typing as npt

from numerals.handwriting.glyphs import GLYPH, TALL, Glyphs, Writer, draw_glyph
from numerals.handwriting.stroke_templates import smooth

Alpha = npt.NDArray[np.float32]  # (h, w), how much ink, 0 to 1
Line = list[tuple[float, float]]

SEPARATORS: dict[str, list[Line]] = {  # in units of the digits' height, y down from their top; no /, it may be a 1
    ".": [[(0, 0.96), (0.03, 0.98)]],
    ",": [[(0.06, 0.92), (0.05, 1.05), (-0.04, 1.18)]],
    "'": [[(0.03, -0.02), (0, 0.14)]],
    "-": [[(0, 0.6), (0.35, 0.57)]],
    "~": [[(0, 0.6), (0.15, 0.52), (0.35, 0.6), (0.6, 0.5)]],
    "_": [[(0, 0.98), (0.6, 0.97)]],
    "=": [[(0, 0.4), (0.35, 0.37)], [(0, 0.62), (0.35, 0.59)]],
    ":": [[(0, 0.35), (0.02, 0.37)], [(0, 0.8), (0.02, 0.82)]],
    "#": [[(0.1, 0), (0, 1)], [(0.4, 0), (0.3, 1)], [(-0.1, 0.35), (0.5, 0.32)], [(-0.1, 0.68), (0.5, 0.65)]],
    "": [],
}
ENDINGS = (".-", "-", "=", ".=", ",-", ".", ",", "--", ".~", "_", ":")


class Sheet:
    """A strip of nothing that fills with ink from left to right."""

    def __init__(self, hand: Writer, length: int) -> None:
        self.hand = hand
        room = length * (1.1 + 1.1 * hand.aspect * hand.wide_zeros) + 6  # heights
        self.ink: Alpha = np.zeros((round(3 * hand.height), round(hand.height * room)), np.float32)
        self.edge = np.full(len(self.ink), -1e6)  # the rightmost ink in each line
        self.left = 0.8 * hand.height  # where the last box ended
        self.top = hand.height
        self.last: tuple[int, int] | None = None  # the rightmost point of what was put last

    def put(self, patch: Alpha, gap: float, down: float, join: bool = False) -> None:
        """Ink to the right of what is there; `gap` pixels on, its upper edge `down` pixels down, joined or not."""
        spare = max(len(patch) - len(self.ink), 0)  # a large digit turned far: its margins stick out
        patch = patch[spare // 2 : len(patch) - (spare + 1) // 2]
        dark = patch > 0.4
        if not dark.any():
            return
        row = int(np.clip(round(down), 0, len(self.ink) - len(patch)))
        x = self._place(dark, gap, row)
        ends = np.where(dark.any(axis=1), patch.shape[1] - 1 - dark[:, ::-1].argmax(axis=1), -1e6)
        area = self.ink[row : row + len(patch), x : x + patch.shape[1]]
        np.maximum(area, patch, out=area)
        edge = self.edge[row : row + len(patch)]
        np.maximum(edge, ends + x, out=edge)
        columns = np.flatnonzero(dark.any(axis=0))
        if join and self.last is not None:
            self._join(self.last, (x + int(columns[0]), row + int(dark[:, columns[0]].argmax())))
        self.left = float(max(self.left, x + columns[-1]))
        self.last = x + int(columns[-1]), row + int(dark[:, columns[-1]].argmax())

    def _place(self, dark: npt.NDArray[np.bool_], gap: float, row: int) -> int:
        """The column for a patch whose ink shall be `gap` away from the ink before it."""
        columns = np.flatnonzero(dark.any(axis=0))
        starts = np.where(dark.any(axis=1), dark.argmax(axis=1), 1e6)
        near = int(0.12 * self.hand.height)
        before = cv2.dilate(self.edge[:, None], np.ones((2 * near + 1, 1), np.uint8))[row : row + len(dark), 0]
        kerned = gap - np.min(starts - before)
        boxed = self.left + gap - columns[0]
        x = boxed if kerned < -1e5 else self.hand.kern * kerned + (1 - self.hand.kern) * boxed
        least = self.left - 0.9 * (columns[-1] - columns[0]) - columns[0]
        return int(np.clip(round(max(x, least)), 0, self.ink.shape[1] - dark.shape[1]))

    def _join(self, start: tuple[int, int], end: tuple[int, int]) -> None:
        """A stroke that sags a little from one point to the other."""
        middle = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2 + 0.12 * self.hand.height)
        points = smooth(np.array([start, middle, end], np.float32))
        pen = max(round(0.8 * self.hand.pen * self.hand.height), 1)
        cv2.polylines(self.ink, [np.round(points * 16).astype(np.int32)], False, 1.0, pen, cv2.LINE_8, 4)


def write_row(digits: list[int], glyphs: Glyphs, hand: Writer, chance: np.random.Generator) -> Alpha:
    """The row in that hand, cut to its ink with a margin of about 0.7 heights: float32 (h, w)."""
    sheet = Sheet(hand, len(digits))
    marks = separators(len(digits), chance)
    small_from = int(chance.integers(1, len(digits))) if len(digits) > 1 and chance.random() < 0.15 else len(digits)
    same = int(chance.integers(1 << 30)) if chance.random() < 0.2 else None  # one way to write each digit
    for place, digit in enumerate(digits):
        _separator(sheet, marks[place], chance)
        own = np.random.default_rng([same, digit]) if same is not None else chance
        size = np.exp(chance.normal(0, hand.size_spread))
        size *= chance.uniform(1.1, 1.9) if place == 0 and chance.random() < 0.12 else 1
        size *= 0.62 if place >= small_from else 1
        size *= hand.zeros if digit == 0 else 1
        patch = glyph(digit, glyphs, hand, float(np.clip(size, 0.45, 1.9)), own, chance)
        lift = hand.height * (chance.normal(0, hand.lift_spread) + (0.19 if place >= small_from else 0))
        lower = hand.tails * (digit in (4, 7, 9)) + 0.5 * (1 - hand.zeros) * (digit == 0)
        lift += hand.climb * sheet.left + hand.height * lower
        middle = sheet.top + 0.5 * hand.height + lift
        gap = hand.height * chance.normal(hand.gap, hand.gap_spread)
        sheet.put(patch, gap, middle - len(patch) / 2, chance.random() < hand.joins)
    if not digits and chance.random() < 0.7:
        scratch(sheet, chance)
    for mark in marks[len(digits) :]:
        _separator(sheet, mark, chance)
    width = min(round(sheet.left + 0.8 * hand.height), sheet.ink.shape[1])
    return bend(sheet.ink[:, :width], hand, chance)


def glyph(
    digit: int, glyphs: Glyphs, hand: Writer, size: float, form: np.random.Generator, chance: np.random.Generator
) -> Alpha:
    """One digit as ink: `form` draws its shape, `chance` how it came out this time."""
    if form.random() < hand.drawn:
        source, thin = draw_glyph(digit, 1, form), True
    else:
        own = glyphs.by_class[digit]
        which = own[form.integers(len(own))]
        thin = hand.thin
        source = (glyphs.thin if thin else glyphs.soft)[which]
        if hand.european and digit in (1, 7):
            source = with_stroke(source, digit, 1 if thin else 4, form)
    scale = size * hand.height / TALL
    wide = hand.wide_zeros if digit == 0 else 1.0
    return turned(inked(source, thin, hand.pen * hand.height / scale), hand, scale, wide, chance)


def with_stroke(
    source: npt.NDArray[np.uint8], digit: int, pen: int, chance: np.random.Generator
) -> npt.NDArray[np.uint8]:
    """A seven with a bar through it, or a one with an upstroke before it."""
    lines = np.flatnonzero(source.max(axis=1) > 100)
    if not len(lines):
        return source
    top, tall = int(lines[0]), int(lines[-1] - lines[0])
    if digit == 7:
        y = top + chance.uniform(0.4, 0.62) * tall
        x = _middle(source[min(int(y), GLYPH - 1)])
        half, rise = chance.uniform(0.18, 0.34) * tall, chance.uniform(-0.06, 0.12) * tall
        ends = np.array([[x - half, y + rise], [x + half, y - rise]])
    else:
        x = _middle(source[top + 1])
        reach = chance.uniform(0.15, 0.9) * tall
        ends = np.array([[x, top + 1], [x - reach * chance.uniform(0.3, 0.7), top + reach]])
    drawn = source.copy()
    cv2.polylines(drawn, [np.round(ends * 16).astype(np.int32)], False, 255, pen, cv2.LINE_AA, 4)
    return drawn


def _middle(line: npt.NDArray[np.uint8]) -> float:
    """The middle of the ink in one line of a glyph, or the glyph's own."""
    dark = np.flatnonzero(line > 60)
    return float(dark.mean()) if len(dark) else GLYPH / 2


def inked(source: npt.NDArray[np.uint8], thin: bool, width: float) -> npt.NDArray[np.uint8]:
    """The source's lines with strokes about `width` pixels wide."""
    grow = round(width if thin else np.clip(width - 4.5, -2, 3))
    if grow > 1 or (not thin and grow > 0):
        brush = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (grow + (not thin),) * 2)
        return np.asarray(cv2.dilate(source, brush), np.uint8)
    if grow < 0:
        brush = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (1 - grow,) * 2)
        return np.asarray(cv2.erode(source, brush), np.uint8)
    return source


def turned(
    source: npt.NDArray[np.uint8], hand: Writer, scale: float, wide: float, chance: np.random.Generator
) -> Alpha:
    """The source as the hand leans, stretches and turns it, `scale` times as large, `wide` times as wide: in 0..1."""
    turn, slant = chance.normal(0, hand.turn_spread), hand.slant + chance.normal(0, 0.05)
    wide *= scale * hand.aspect * np.exp(chance.normal(0, 0.08))
    cos, sin = np.cos(turn), np.sin(turn)
    matrix = np.array([[wide, -slant * scale], [0, scale]]) @ np.array([[cos, -sin], [sin, cos]])
    reach = np.abs(matrix) @ [24, 24]
    width, height = (2 * np.ceil(reach) + 1).astype(int)
    shift = np.array([(width - 1) / 2, (height - 1) / 2]) - matrix @ np.array([(GLYPH - 1) / 2] * 2)
    patch = cv2.warpAffine(source, np.column_stack([matrix, shift]), (int(width), int(height)))
    ink: Alpha = np.clip((patch.astype(np.float32) / 255 - 0.1) * 1.4, 0, 1)
    return ink


def separators(count: int, chance: np.random.Generator) -> list[str]:
    """The mark before each digit, and then those after the last: mostly as amounts have them."""
    marks = [""] * count
    kind = chance.random()
    if kind < 0.4:
        point = str(chance.choice([".", ".", ",", "'"]))
        for place in range(count - 3, 0, -3):
            marks[place] = point
    elif kind < 0.47:
        marks = [str(chance.choice(["", "", "", ".", ",", "-", "_", ":"])) for _ in range(count)]
    if count and chance.random() < 0.04:
        marks[0] = str(chance.choice(["#", "=", "-"]))
    return marks + (list(str(chance.choice(ENDINGS))) if chance.random() < 0.4 else [])


def _separator(sheet: Sheet, mark: str, chance: np.random.Generator) -> None:
    """Draw one mark with the row's pen."""
    hand = sheet.hand
    if not mark:
        return
    size = hand.height * chance.uniform(0.7, 1.2)
    patch = np.zeros((round(1.7 * size), round(1.3 * size)), np.uint8)
    turn = float(chance.normal(0, 0.25))
    for line in SEPARATORS[mark]:
        points = np.array(line) + chance.normal(0, 0.03, (len(line), 2))
        points[:, 1] -= turn * (points[:, 0] - points[0, 0])
        points[:, 0] -= hand.slant * (points[:, 1] - 0.5)
        pixels = np.round((points * size + (0.3 * size, 0.2 * size)) * 16).astype(np.int32)
        pen = max(round(hand.pen * hand.height * chance.uniform(0.8, 1.3)), 1)
        cv2.polylines(patch, [pixels], False, 255, pen, cv2.LINE_AA, 4)
    gap = hand.height * chance.choice([chance.uniform(0, 0.1), chance.uniform(0.05, 0.4)])
    down = sheet.top - 0.2 * size + hand.climb * sheet.left + (hand.height - size) + chance.normal(0, 0.04) * size
    sheet.put((patch / 255).astype(np.float32), gap, down, mark in "-~_" and chance.random() < 0.5 * hand.joins)


def scratch(sheet: Sheet, chance: np.random.Generator) -> None:
    """Long bows, a fold, a rule: lying, as a lone standing stroke would be a one."""
    height, width = sheet.ink.shape
    for _ in range(int(chance.integers(1, 4))):
        x = np.linspace(0, width, int(chance.integers(2, 5)))
        y = chance.uniform(0.3, 0.7) * height + chance.normal(0, 0.08 * height, len(x))
        pen = int(chance.choice([1, 1, 2, 3]))
        line = np.round(smooth(np.stack([x, y], 1).astype(np.float32)) * 16).astype(np.int32)
        cv2.polylines(sheet.ink, [line], False, float(chance.uniform(0.5, 1)), pen, cv2.LINE_8, 4)


def bend(ink: Alpha, hand: Writer, chance: np.random.Generator) -> Alpha:
    """The row distorted smoothly, a little, as a hand is never exact."""
    height, width = ink.shape
    cell = hand.height * chance.uniform(0.25, 0.7)
    strength = hand.height * chance.uniform(0, 0.1) * min(cell / hand.height + 0.4, 1)
    noise = chance.normal(0, strength, (int(height / cell) + 2, int(width / cell) + 2, 2)).astype(np.float32)
    field = cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    bent = cv2.remap(ink, x + field[..., 0], y + field[..., 1], cv2.INTER_LINEAR)
    return np.asarray(bent, np.float32)
