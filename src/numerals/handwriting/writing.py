"""Handwriting of one row: digits, punctuation and flourishes as ink without a background."""

from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from numerals.handwriting.drawing import displace, draw_path, rotation, smooth_curve
from numerals.handwriting.glyphs import GLYPH_HEIGHT, GLYPH_SIDE, Glyphs, Writer, draw_glyph
from numerals.handwriting.stroke_templates import Stroke
from numerals.handwriting.variants import add_glyph_variant
from numerals.read.digit_ink import Ink
from numerals.results import Box

# Strokes in units of the digits' height, y downwards from their top. No slash: it may be a 1.
PUNCTUATION: dict[str, list[Stroke]] = {
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
ENDINGS = (".-", "-", "=", ".=", ",-", ".", ",", "--", ".~", "_", ":")  # punctuation after the last digit
NOWHERE = -1e6  # column of the rightmost ink where a pixel row has none


class WrittenRow(NamedTuple):
    """A row of handwriting, and where its digits are."""

    ink: Ink  # float32 (h, w) in [0, 1], 1 full ink
    digits: tuple[tuple[int, Box], ...]  # from left to right: 0 to 9, and the box of its ink in pixels


class RowCanvas:
    """A canvas that fills with ink from left to right.

    Attributes:
        ink: float32 (h, w) in [0, 1], 1 full ink; three digit heights high.
        top: upper edge of an ordinary digit, in pixels.
        right: column of the rightmost ink, or where writing starts.
    """

    def __init__(self, writer: Writer, count: int) -> None:
        """Create a canvas with room for `count` digits in this writer's style."""
        self.writer = writer
        width = count * (1.1 + 1.1 * writer.aspect * writer.zero_width) + 6  # in digit heights
        self.ink: Ink = np.zeros((round(3 * writer.height), round(writer.height * width)), np.float32)
        self.top = writer.height
        self.right = 0.8 * writer.height
        self._edge = np.full(len(self.ink), NOWHERE)  # column of the rightmost ink in each pixel row
        self._last_point: tuple[int, int] | None = None  # x and y of the rightmost ink of the last patch

    def paste(self, patch: Ink, gap: float, top: float, join: bool = False) -> Box | None:
        """Add ink to the right of what is there.

        Args:
            patch: float32 (h, w) in [0, 1].
            gap: pixels between the ink before and the patch's, measured as the writer's kerning says.
            top: row of the patch's upper edge.
            join: whether a stroke connects it to the patch before.

        Returns:
            The box of the patch's ink on the canvas; None if the patch has no ink.
        """
        excess = max(len(patch) - len(self.ink), 0)  # a large, strongly rotated digit has tall margins
        patch = patch[excess // 2 : len(patch) - (excess + 1) // 2]
        dark = patch > 0.4
        if not dark.any():
            return None
        row = int(np.clip(round(top), 0, len(self.ink) - len(patch)))
        x = self._column_for(dark, gap, row)
        ends = np.where(dark.any(axis=1), patch.shape[1] - 1 - dark[:, ::-1].argmax(axis=1), NOWHERE)
        area = self.ink[row : row + len(patch), x : x + patch.shape[1]]
        np.maximum(area, patch, out=area)
        edge = self._edge[row : row + len(patch)]
        np.maximum(edge, ends + x, out=edge)
        columns = np.flatnonzero(dark.any(axis=0))
        if join and self._last_point is not None:
            self._join(self._last_point, (x + int(columns[0]), row + int(dark[:, columns[0]].argmax())))
        self.right = float(max(self.right, x + columns[-1]))
        self._last_point = x + int(columns[-1]), row + int(dark[:, columns[-1]].argmax())
        lines = np.flatnonzero(dark.any(axis=1))
        return Box.from_sides(
            x + int(columns[0]), row + int(lines[0]), x + int(columns[-1]) + 1, row + int(lines[-1]) + 1
        )

    def cropped(self) -> Ink:
        """The canvas up to 0.8 digit heights to the right of the ink."""
        return self.ink[:, : min(round(self.right + 0.8 * self.writer.height), self.ink.shape[1])]

    def _column_for(self, dark: npt.NDArray[np.bool_], gap: float, row: int) -> int:
        """The column at which to paste a patch so that its ink is `gap` pixels from the ink before it."""
        columns = np.flatnonzero(dark.any(axis=0))
        starts = np.where(dark.any(axis=1), dark.argmax(axis=1), -NOWHERE)
        reach = int(0.12 * self.writer.height)
        before = cv2.dilate(self._edge[:, None], np.ones((2 * reach + 1, 1), np.uint8))[row : row + len(dark), 0]
        kerned = gap - np.min(starts - before)
        boxed = self.right + gap - columns[0]
        x = boxed if kerned < NOWHERE / 10 else self.writer.kerning * kerned + (1 - self.writer.kerning) * boxed
        leftmost = self.right - 0.9 * (columns[-1] - columns[0]) - columns[0]
        return int(np.clip(round(max(x, leftmost)), 0, self.ink.shape[1] - dark.shape[1]))

    def _join(self, start: tuple[int, int], end: tuple[int, int]) -> None:
        """Draw a slightly sagging stroke from one point to another."""
        middle = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2 + 0.12 * self.writer.height)
        pen_width = max(round(0.8 * self.writer.pen_width * self.writer.height), 1)
        curve = smooth_curve(np.array([start, middle, end], np.float32))
        draw_path(self.ink, curve, 1.0, pen_width, antialias=False)


def write_row(digits: list[int], glyphs: Glyphs, writer: Writer, rng: np.random.Generator) -> WrittenRow:
    """Write a row of digits.

    Args:
        digits: 0 to 9 each; may be empty.
        glyphs: to write with.
        writer: the style.
        rng: decides everything else.

    Returns:
        The row, with margins of about 0.7 digit heights around the ink.
    """
    canvas, boxes = RowCanvas(writer, len(digits)), []
    punctuation = _sample_punctuation(len(digits), rng)
    small_from = int(rng.integers(1, len(digits))) if len(digits) > 1 and rng.random() < 0.15 else len(digits)
    form_seed = int(rng.integers(1 << 30)) if rng.random() < 0.2 else None  # equal digits get equal forms
    for position, digit in enumerate(digits):
        _draw_punctuation(canvas, punctuation[position], rng)
        form_rng = np.random.default_rng([form_seed, digit]) if form_seed is not None else rng
        size = np.exp(rng.normal(0, writer.size_spread))
        size *= rng.uniform(1.1, 1.9) if position == 0 and rng.random() < 0.12 else 1
        size *= 0.62 if position >= small_from else 1
        size *= writer.zero_size if digit == 0 else 1
        patch = render_digit(digit, glyphs, writer, float(np.clip(size, 0.45, 1.9)), form_rng, rng)
        shift = writer.height * (rng.normal(0, writer.baseline_spread) + (0.19 if position >= small_from else 0))
        descent = writer.descent * (digit in (4, 7, 9)) + 0.5 * (1 - writer.zero_size) * (digit == 0)
        shift += writer.slope * canvas.right + writer.height * descent
        middle = canvas.top + 0.5 * writer.height + shift
        gap = writer.height * rng.normal(writer.gap, writer.gap_spread)
        box = canvas.paste(patch, gap, middle - len(patch) / 2, rng.random() < writer.joined_share)
        if box is not None:
            boxes.append((digit, box))
    if not digits and rng.random() < 0.7:
        _scribble(canvas, rng)
    for mark in punctuation[len(digits) :]:
        _draw_punctuation(canvas, mark, rng)
    return WrittenRow(_distort_row(canvas.cropped(), writer, rng), tuple(boxes))


def render_digit(
    digit: int,
    glyphs: Glyphs,
    writer: Writer,
    size: float,
    form_rng: np.random.Generator,
    rng: np.random.Generator,
) -> Ink:
    """Render one digit as ink, `size` times as high as the writer's digits.

    Args:
        digit: 0 to 9.
        glyphs: to write with.
        writer: the style.
        size: factor of `writer.height`.
        form_rng: chooses the form.
        rng: decides how the form varies this time.

    Returns:
        float32 (h, w) in [0, 1], 1 full ink, with margins around the ink.
    """
    if form_rng.random() < writer.template_share:
        glyph, thin = draw_glyph(digit, 1, form_rng), True
    else:
        candidates = glyphs.by_class[digit]
        index = candidates[form_rng.integers(len(candidates))]
        thin = writer.thin
        glyph = (glyphs.skeletons if thin else glyphs.images)[index]
        if writer.european and digit in (1, 7):
            glyph = add_glyph_variant(glyph, digit, 1 if thin else 4, form_rng)
    scale = size * writer.height / GLYPH_HEIGHT
    width = writer.zero_width if digit == 0 else 1.0
    glyph = _set_stroke_width(glyph, thin, writer.pen_width * writer.height / scale)
    return _transform_glyph(glyph, writer, scale, width, rng)


def _set_stroke_width(glyph: npt.NDArray[np.uint8], thin: bool, width: float) -> npt.NDArray[np.uint8]:
    """Dilate or erode strokes, one pixel wide if `thin` and else about 4.5, to about `width` pixels."""
    grow = round(width if thin else np.clip(width - 4.5, -2, 3))
    if grow > 1 or (not thin and grow > 0):
        brush = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (grow + (not thin),) * 2)
        return np.asarray(cv2.dilate(glyph, brush), np.uint8)
    if grow < 0:
        brush = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (1 - grow,) * 2)
        return np.asarray(cv2.erode(glyph, brush), np.uint8)
    return glyph


def _transform_glyph(
    glyph: npt.NDArray[np.uint8], writer: Writer, scale: float, width: float, rng: np.random.Generator
) -> Ink:
    """Rotate, slant and stretch a glyph in the writer's style, `scale` times as large and `width` times as wide."""
    angle, slant = rng.normal(0, writer.rotation_spread), writer.slant + rng.normal(0, 0.05)
    width *= scale * writer.aspect * np.exp(rng.normal(0, 0.08))
    matrix = np.array([[width, -slant * scale], [0, scale]]) @ rotation(angle)
    reach = np.abs(matrix) @ [24, 24]
    size = (2 * np.ceil(reach) + 1).astype(int)
    shift = np.array([(size[0] - 1) / 2, (size[1] - 1) / 2]) - matrix @ np.array([(GLYPH_SIDE - 1) / 2] * 2)
    patch = cv2.warpAffine(glyph, np.column_stack([matrix, shift]), (int(size[0]), int(size[1])))
    ink: Ink = np.clip((patch.astype(np.float32) / 255 - 0.1) * 1.4, 0, 1)
    return ink


def _sample_punctuation(count: int, rng: np.random.Generator) -> list[str]:
    """Draw the punctuation before each of `count` digits, followed by that after the last; mostly as in amounts."""
    marks = [""] * count
    kind = rng.random()
    if kind < 0.4:
        separator = str(rng.choice([".", ".", ",", "'"]))
        for position in range(count - 3, 0, -3):
            marks[position] = separator
    elif kind < 0.47:
        marks = [str(rng.choice(["", "", "", ".", ",", "-", "_", ":"])) for _ in range(count)]
    if count and rng.random() < 0.04:
        marks[0] = str(rng.choice(["#", "=", "-"]))
    return marks + (list(str(rng.choice(ENDINGS))) if rng.random() < 0.4 else [])


def _draw_punctuation(canvas: RowCanvas, mark: str, rng: np.random.Generator) -> None:
    """Draw one punctuation mark with the row's pen."""
    writer = canvas.writer
    if not mark:
        return
    size = writer.height * rng.uniform(0.7, 1.2)
    patch = np.zeros((round(1.7 * size), round(1.3 * size)), np.uint8)
    turn = float(rng.normal(0, 0.25))
    for stroke in PUNCTUATION[mark]:
        points = np.array(stroke) + rng.normal(0, 0.03, (len(stroke), 2))
        points[:, 1] -= turn * (points[:, 0] - points[0, 0])
        points[:, 0] -= writer.slant * (points[:, 1] - 0.5)
        pen_width = max(round(writer.pen_width * writer.height * rng.uniform(0.8, 1.3)), 1)
        draw_path(patch, points * size + (0.3 * size, 0.2 * size), 255, pen_width)
    gap = writer.height * rng.choice([rng.uniform(0, 0.1), rng.uniform(0.05, 0.4)])
    slope = writer.slope * canvas.right
    top = canvas.top - 0.2 * size + slope + (writer.height - size) + rng.normal(0, 0.04) * size
    join = mark in "-~_" and rng.random() < 0.5 * writer.joined_share
    canvas.paste((patch / 255).astype(np.float32), gap, top, join)


def _scribble(canvas: RowCanvas, rng: np.random.Generator) -> None:
    """Draw one to three long curves, all horizontal, because a single vertical stroke would be a 1."""
    height, width = canvas.ink.shape
    for _ in range(int(rng.integers(1, 4))):
        x = np.linspace(0, width, int(rng.integers(2, 5)))
        y = rng.uniform(0.3, 0.7) * height + rng.normal(0, 0.08 * height, len(x))
        pen_width = int(rng.choice([1, 1, 2, 3]))
        curve = smooth_curve(np.stack([x, y], 1).astype(np.float32))
        draw_path(canvas.ink, curve, float(rng.uniform(0.5, 1)), pen_width, antialias=False)


def _distort_row(ink: Ink, writer: Writer, rng: np.random.Generator) -> Ink:
    """Distort a row smoothly and slightly, since no hand is exact."""
    height, width = ink.shape
    cell = writer.height * rng.uniform(0.25, 0.7)
    strength = writer.height * rng.uniform(0, 0.1) * min(cell / writer.height + 0.4, 1)
    coarse = rng.normal(0, strength, (int(height / cell) + 2, int(width / cell) + 2, 2)).astype(np.float32)
    shifts = np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)
    return displace(ink, shifts[..., 0], shifts[..., 1])
