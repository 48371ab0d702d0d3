"""Papers made by code: tints, light, printed textures, lines, boxes, remnants of print. Knows nothing about digits."""

import math

import cv2
import numpy as np
import numpy.typing as npt

Grey = npt.NDArray[np.float32]  # (h, w) in grey levels, 0 black to 255 white


def render_background(shape: tuple[int, int], chance: np.random.Generator) -> Grey:
    """A sheet without writing: float32 of that shape, (height, width), about 40 to 255."""
    height, width = shape
    sheet = np.full((height, width), chance.uniform(120, 250), np.float32)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    if chance.random() < 0.6:
        sheet += _gradient(x / width, y / height, chance)
    if chance.random() < 0.12:
        sheet = _two_tone(sheet, x, y, chance)
    if chance.random() < 0.65:
        for _ in range(chance.integers(1, 4)):
            sheet -= _texture(x, y, chance)
    if chance.random() < 0.5:
        sheet += _grain(height, width, chance)
    return sheet


def _gradient(x: Grey, y: Grey, chance: np.random.Generator) -> Grey:
    slope_x, slope_y, bend = chance.normal(0, 18, 3).tolist()
    light: Grey = slope_x * (x - 0.5) + slope_y * (y - 0.5) + bend * (x - chance.random()) ** 2
    return light


def _two_tone(sheet: Grey, x: Grey, y: Grey, chance: np.random.Generator) -> Grey:
    """Another tint beyond a straight edge."""
    angle = float(chance.choice([0, np.pi / 2])) + chance.normal(0, 0.05)
    along = math.cos(angle) * x + math.sin(angle) * y
    edge = chance.uniform(0.1, 0.9) * max(along.max(), 1)
    blend = np.clip((along - edge) / chance.uniform(0.5, 4), 0, 1)
    toned: Grey = sheet + blend * chance.uniform(-50, 50)
    return toned


def _texture(x: Grey, y: Grey, chance: np.random.Generator) -> Grey:
    """A print of fine lines: waves, guilloche, hatching, dots; how dark each pixel is, in grey levels."""
    strength = chance.uniform(4, 45) * chance.uniform(0.3, 1)
    period = chance.uniform(2.2, 12)
    angle = float(chance.choice([0, 0, np.pi / 2, chance.uniform(0, np.pi)])) + chance.normal(0, 0.1)
    along = math.cos(angle) * x + math.sin(angle) * y
    across = math.cos(angle) * y - math.sin(angle) * x
    kind = chance.integers(5)
    if kind == 0:  # straight
        phase = np.asarray(across)
    elif kind == 1:  # waves
        wave = np.sin(along * 2 * np.pi / chance.uniform(8, 60) + chance.uniform(0, 6))
        phase = across + chance.uniform(0.5, 6) * wave
    elif kind == 2:  # guilloche: waves upon waves, turning
        wave = np.sin(along / chance.uniform(5, 25)) * chance.uniform(2, 14)
        phase = across + wave + chance.uniform(2, 10) * np.sin((along + across) / chance.uniform(6, 30))
    elif kind == 3:  # rings
        middle_x, middle_y = chance.uniform(-100, 300), chance.uniform(-150, 200)
        away = np.hypot(x - middle_x, (y - middle_y) * chance.uniform(0.6, 1.6))
        phase = away + chance.uniform(0, 4) * np.sin(along / chance.uniform(4, 15))
    else:  # dots or a weave
        other = np.sin(along * 2 * np.pi / (period * chance.uniform(0.7, 1.5)))
        dots = np.sin(across * 2 * np.pi / period) * other + chance.uniform(-0.3, 0.3)
        return np.asarray(strength * np.clip(dots, 0, 1), np.float32)
    thin = chance.uniform(-0.3, 0.9)
    lines = np.clip((np.sin(phase * 2 * np.pi / period) - thin) / (1.0 - thin) * 1.5, 0, 1)
    return np.asarray(strength * lines, np.float32)


def _grain(height: int, width: int, chance: np.random.Generator) -> Grey:
    """Fibres and speckle: noise of one coarseness."""
    scale = chance.uniform(1, 3)
    small = chance.standard_normal((int(height / scale) + 2, int(width / scale) + 2)).astype(np.float32)
    grain: Grey = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC) * chance.uniform(1, 12)
    return grain


def print_lines(sheet: Grey, top: float, bottom: float, chance: np.random.Generator) -> None:
    """Rule lines, box borders and remnants of print onto the sheet, in place; `top` and `bottom` bound the writing."""
    height, width = sheet.shape
    tall = max(bottom - top, 8.0)
    if chance.random() < 0.45:
        for _ in range(chance.integers(1, 3)):
            near = bottom if chance.random() < 0.75 else top
            y = near + chance.normal(0, 0.12) * tall if chance.random() < 0.9 else chance.uniform(0, height)
            _line(sheet, (-5, y), (width + 5, y + chance.normal(0, 0.02) * tall), chance)
    if chance.random() < 0.015:
        x = chance.choice([0, width]) + chance.normal(0, 4)
        _line(sheet, (x, -5), (x + chance.normal(0, 2), height + 5), chance)
    if chance.random() < 0.015:
        pitch = chance.uniform(0.5, 1.5) * tall
        for x in np.arange(chance.uniform(0, pitch), width, pitch):
            _line(sheet, (x, top - 0.2 * tall), (x, bottom + 0.2 * tall), chance)
    if chance.random() < 0.12:
        _remnant(sheet, chance)


def _line(sheet: Grey, start: tuple[float, float], end: tuple[float, float], chance: np.random.Generator) -> None:
    shade = float(sheet.mean() - chance.uniform(15, 140))
    points = [[round(8 * value) for value in point] for point in (start, end)]
    cv2.line(sheet, points[0], points[1], max(shade, 0.0), int(chance.integers(1, 3)), cv2.LINE_AA, 3)


def _remnant(sheet: Grey, chance: np.random.Generator) -> None:
    """Print of which only the edge is in the picture."""
    height, width = sheet.shape
    size = chance.uniform(0.3, 0.9)
    text = "".join(chance.choice(list("abcdefghkmnprstuvxyzABDEFHKLMNPRSTU:."), int(chance.integers(2, 20))))
    y = chance.choice([chance.uniform(-2, 3), height + chance.uniform(4, 14) * size])
    ink = np.zeros(sheet.shape, np.uint8)
    cv2.putText(ink, text, (int(chance.integers(-10, width)), int(y)), int(chance.choice([0, 2, 3])), size, 255, 1)
    sheet -= ink * np.float32(chance.uniform(30, 150) / 255)
