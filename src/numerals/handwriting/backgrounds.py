"""Synthetic backgrounds of rows: tints, uneven light, printed textures, rules, boxes, remnants of print."""

import math

import cv2
import numpy as np
import numpy.typing as npt

from numerals.handwriting.drawing import draw_path

GreyLevels = npt.NDArray[np.float32]  # (h, w), 0 black to 255 white


def render_background(shape: tuple[int, int], rng: np.random.Generator) -> GreyLevels:
    """Render a sheet of paper without writing: float32 of the shape (height, width), about 40 to 255."""
    height, width = shape
    sheet = np.full((height, width), rng.uniform(120, 250), np.float32)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    if rng.random() < 0.6:
        sheet += _uneven_light(x / width, y / height, rng)
    if rng.random() < 0.12:
        sheet = _two_tone(sheet, x, y, rng)
    if rng.random() < 0.65:
        for _ in range(rng.integers(1, 4)):
            sheet -= _texture(x, y, rng)
    if rng.random() < 0.5:
        sheet += _grain(height, width, rng)
    return sheet


def _uneven_light(x: GreyLevels, y: GreyLevels, rng: np.random.Generator) -> GreyLevels:
    """Linear in both directions and quadratic across; x and y in [0, 1]."""
    slope_x, slope_y, bend = rng.normal(0, 18, 3).tolist()
    light: GreyLevels = slope_x * (x - 0.5) + slope_y * (y - 0.5) + bend * (x - rng.random()) ** 2
    return light


def _two_tone(sheet: GreyLevels, x: GreyLevels, y: GreyLevels, rng: np.random.Generator) -> GreyLevels:
    """Give the sheet another tint beyond a straight edge."""
    angle = float(rng.choice([0, np.pi / 2])) + rng.normal(0, 0.05)
    along = math.cos(angle) * x + math.sin(angle) * y
    edge = rng.uniform(0.1, 0.9) * max(along.max(), 1)
    blend = np.clip((along - edge) / rng.uniform(0.5, 4), 0, 1)
    toned: GreyLevels = sheet + blend * rng.uniform(-50, 50)
    return toned


def _texture(x: GreyLevels, y: GreyLevels, rng: np.random.Generator) -> GreyLevels:
    """A printed texture of fine lines (straight, waves, guilloche, rings) or dots: how much darker each pixel gets."""
    strength = rng.uniform(4, 45) * rng.uniform(0.3, 1)
    period = rng.uniform(2.2, 12)
    angle = float(rng.choice([0, 0, np.pi / 2, rng.uniform(0, np.pi)])) + rng.normal(0, 0.1)
    along = math.cos(angle) * x + math.sin(angle) * y
    across = math.cos(angle) * y - math.sin(angle) * x
    kind = rng.integers(5)
    if kind == 0:  # straight
        phase = np.asarray(across)
    elif kind == 1:  # waves
        wave = np.sin(along * 2 * np.pi / rng.uniform(8, 60) + rng.uniform(0, 6))
        phase = across + rng.uniform(0.5, 6) * wave
    elif kind == 2:  # guilloche: two waves over one another, in different directions
        wave = np.sin(along / rng.uniform(5, 25)) * rng.uniform(2, 14)
        phase = across + wave + rng.uniform(2, 10) * np.sin((along + across) / rng.uniform(6, 30))
    elif kind == 3:  # rings
        middle_x, middle_y = rng.uniform(-100, 300), rng.uniform(-150, 200)
        radius = np.hypot(x - middle_x, (y - middle_y) * rng.uniform(0.6, 1.6))
        phase = radius + rng.uniform(0, 4) * np.sin(along / rng.uniform(4, 15))
    else:  # dots or a weave
        other = np.sin(along * 2 * np.pi / (period * rng.uniform(0.7, 1.5)))
        dots = np.sin(across * 2 * np.pi / period) * other + rng.uniform(-0.3, 0.3)
        return np.asarray(strength * np.clip(dots, 0, 1), np.float32)
    threshold = rng.uniform(-0.3, 0.9)  # of the sine: the higher, the thinner the lines
    lines = np.clip((np.sin(phase * 2 * np.pi / period) - threshold) / (1.0 - threshold) * 1.5, 0, 1)
    return np.asarray(strength * lines, np.float32)


def _grain(height: int, width: int, rng: np.random.Generator) -> GreyLevels:
    """Fibres and speckles: noise of one to three pixels' size."""
    scale = rng.uniform(1, 3)
    small = rng.standard_normal((int(height / scale) + 2, int(width / scale) + 2)).astype(np.float32)
    grain: GreyLevels = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC) * rng.uniform(1, 12)
    return grain


def print_lines(sheet: GreyLevels, top: float, bottom: float, rng: np.random.Generator) -> None:
    """Print rules, borders of boxes and remnants of other print onto the sheet, in place.

    Args:
        sheet: float32 (h, w), as `render_background` returns it.
        top, bottom: first and last pixel row of the writing; most rules are close to them.
        rng: decides which lines are printed and where.
    """
    height, width = sheet.shape
    row_height = max(bottom - top, 8.0)
    if rng.random() < 0.45:
        for _ in range(rng.integers(1, 3)):
            near = bottom if rng.random() < 0.75 else top
            y = near + rng.normal(0, 0.12) * row_height if rng.random() < 0.9 else rng.uniform(0, height)
            _draw_line(sheet, (-5, y), (width + 5, y + rng.normal(0, 0.02) * row_height), rng)
    if rng.random() < 0.015:
        x = rng.choice([0, width]) + rng.normal(0, 4)
        _draw_line(sheet, (x, -5), (x + rng.normal(0, 2), height + 5), rng)
    if rng.random() < 0.015:
        pitch = rng.uniform(0.5, 1.5) * row_height
        for x in np.arange(rng.uniform(0, pitch), width, pitch):
            _draw_line(sheet, (x, top - 0.2 * row_height), (x, bottom + 0.2 * row_height), rng)
    if rng.random() < 0.12:
        _print_remnant(sheet, rng)


def _draw_line(
    sheet: GreyLevels, start: tuple[float, float], end: tuple[float, float], rng: np.random.Generator
) -> None:
    level = max(float(sheet.mean() - rng.uniform(15, 140)), 0.0)
    draw_path(sheet, np.array([start, end]), level, int(rng.integers(1, 3)), fraction_bits=3)


def _print_remnant(sheet: GreyLevels, rng: np.random.Generator) -> None:
    """Print a text of which only the edge is in the picture."""
    height, width = sheet.shape
    size = rng.uniform(0.3, 0.9)
    text = "".join(rng.choice(list("abcdefghkmnprstuvxyzABDEFHKLMNPRSTU:."), int(rng.integers(2, 20))))
    y = rng.choice([rng.uniform(-2, 3), height + rng.uniform(4, 14) * size])
    ink = np.zeros(sheet.shape, np.uint8)
    cv2.putText(ink, text, (int(rng.integers(-10, width)), int(y)), int(rng.choice([0, 2, 3])), size, 255, 1)
    sheet -= ink * np.float32(rng.uniform(30, 150) / 255)
