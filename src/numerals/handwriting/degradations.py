"""What happens to ink on its way into a picture: noise, blur, fog, lines, spatter. Knows nothing about classes.

Every function takes ink float32 (h, w) in [0, 1], 1 where the pen went, and a generator, and gives the same shape; what
it gives may leave [0, 1] a little. They are written from what writing and cameras do, at any size of picture.
"""

from collections.abc import Callable

import cv2
import numpy as np

from numerals.read.digit_ink import Ink

Chance = np.random.Generator
Spoil = Callable[[Ink, Chance], Ink]


def spoil(ink: Ink, chance: Chance, count: int) -> Ink:
    """Some of the mishaps below, one after the other."""
    for i in chance.choice(len(MISHAPS), size=count, p=WEIGHTS):
        ink = np.clip(MISHAPS[i](ink, chance), 0, 1).astype(np.float32)
    return ink


def grain(ink: Ink, chance: Chance) -> Ink:
    noise = chance.standard_normal(ink.shape, np.float32)
    if chance.random() < 0.4:
        noise = cv2.GaussianBlur(noise, (0, 0), 0.8) * 2  # type: ignore[assignment]
    return ink + np.float32(chance.uniform(0.03, 0.3)) * noise


def shot(ink: Ink, chance: Chance) -> Ink:
    light = chance.uniform(3, 30)
    return (chance.poisson(ink * light) / light).astype(np.float32)


def salt(ink: Ink, chance: Chance) -> Ink:
    drawn = chance.random(ink.shape)
    share = chance.uniform(0.01, 0.25)
    salted = np.where(drawn < share / 2, np.float32(1), ink)
    return np.where(drawn > 1 - share / 2, np.float32(0), salted)


def blur(ink: Ink, chance: Chance) -> Ink:
    return cv2.GaussianBlur(ink, (0, 0), chance.uniform(0.4, 1.6) * max(ink.shape) / 28)  # type: ignore[return-value]


def motion(ink: Ink, chance: Chance) -> Ink:
    length = max(3, round(chance.uniform(0.08, 0.3) * max(ink.shape)) | 1)
    kernel = np.zeros((length, length), np.float32)
    angle = chance.uniform(0, np.pi)
    reach = np.array([np.cos(angle), np.sin(angle)]) * (length // 2)
    middle = np.array([length // 2, length // 2])
    cv2.line(kernel, _point(middle - reach), _point(middle + reach), 1.0)
    return cv2.filter2D(ink, -1, kernel / kernel.sum())  # type: ignore[return-value]


def frosted(ink: Ink, chance: Chance) -> Ink:
    """Pixels taken from somewhere near, as through frosted glass."""
    height, width = ink.shape
    reach = chance.uniform(0.5, 1.6) * max(ink.shape) / 28
    y, x = np.mgrid[:height, :width].astype(np.float32)
    x += chance.uniform(-reach, reach, ink.shape).astype(np.float32)
    y += chance.uniform(-reach, reach, ink.shape).astype(np.float32)
    moved = cv2.remap(ink, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return cv2.GaussianBlur(moved, (0, 0), chance.uniform(0.3, 0.8))  # type: ignore[return-value]


def clouds(shape: tuple[int, ...], chance: Chance) -> Ink:
    """Smooth patches in [0, 1], coarse ones stronger than fine ones."""
    height, width = shape
    cloud = np.zeros((height, width), np.float32)
    for cells in (2, 4, 8):
        coarse = chance.random((cells, cells), np.float32)
        cloud += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC) / cells
    low, high = float(cloud.min()), float(cloud.max())
    return (cloud - low) / max(high - low, 1e-6)


def fog(ink: Ink, chance: Chance) -> Ink:
    thick = chance.uniform(0.2, 1.2)
    veil = ink + thick * clouds(ink.shape, chance)
    return veil * np.float32(1 / max(1.0, float(veil.max()))) if chance.random() < 0.7 else veil


def light(ink: Ink, chance: Chance) -> Ink:
    """A ramp of light across."""
    height, width = ink.shape
    slope = chance.uniform(-0.5, 0.5, 2)
    ramp = np.linspace(0, slope[0], height)[:, None] + np.linspace(0, slope[1], width)[None]
    return ink * np.float32(chance.uniform(0.4, 0.9)) + (ramp - ramp.min()).astype(np.float32)  # type: ignore[no-any-return]


def pale(ink: Ink, chance: Chance) -> Ink:
    """Less contrast, on paper that is darker or brighter than it should be."""
    contrast = chance.uniform(0.15, 0.8)
    return ink * np.float32(contrast) + np.float32(chance.uniform(0, 1 - contrast))


def glare(ink: Ink, chance: Chance) -> Ink:
    return ink + np.float32(chance.uniform(0.2, 0.7))


def bands(ink: Ink, chance: Chance) -> Ink:
    """Parts of the picture, cut straight, turned to their negative or tinted."""
    side = max(ink.shape)
    across = chance.random() < 0.5
    turned = ink.T if across else ink
    result = turned.copy()
    edges = np.sort(chance.integers(0, side, chance.integers(1, 5)))
    tint = None if chance.random() < 0.5 else np.float32(chance.uniform(0.2, 0.6))
    on = chance.random() < 0.5
    for start, end in zip([0, *edges], [*edges, side], strict=True):
        if on:
            part = result[:, start:end]
            result[:, start:end] = 1 - part if tint is None else np.maximum(part, tint)
        on = not on
    return np.ascontiguousarray(result.T) if across else result


def margins(ink: Ink, chance: Chance) -> Ink:
    """Both sides of the picture lie in the negative, as where a mask was laid over it."""
    result = ink.copy()
    if chance.random() < 0.5:
        left, right = (round(float(v) * ink.shape[1]) for v in chance.uniform(0.05, 0.3, 2))
        result[:, :left] = 1 - result[:, :left]
        result[:, ink.shape[1] - right :] = 1 - result[:, ink.shape[1] - right :]
    else:
        top, bottom = (round(float(v) * ink.shape[0]) for v in chance.uniform(0.05, 0.3, 2))
        result[:top] = 1 - result[:top]
        result[ink.shape[0] - bottom :] = 1 - result[ink.shape[0] - bottom :]
    return result


def ruled(ink: Ink, chance: Chance) -> Ink:
    """Ruled or squared paper."""
    result = ink.copy()
    pitch = max(3, round(chance.uniform(0.2, 0.6) * max(ink.shape)))
    strength = np.float32(chance.uniform(0.15, 0.7))
    start = int(chance.integers(0, pitch))
    result[start::pitch] = np.maximum(result[start::pitch], strength)
    if chance.random() < 0.5:
        result[:, start::pitch] = np.maximum(result[:, start::pitch], strength)
    return result


def crossed(ink: Ink, chance: Chance) -> Ink:
    """A line of the pen through it: straight, dotted or zigzag, in ink or rubbed out."""
    height, width = ink.shape
    a, b = chance.uniform(-0.1, 1.1, (2, 2)) * (width, height)
    if chance.random() < 0.5:  # from side to side
        a[0], b[0] = 0, width - 1
    corners = 2 if chance.random() < 0.6 else int(chance.integers(3, 9))
    path = np.linspace(a, b, corners)
    if corners > 2:
        path += chance.uniform(0.03, 0.15) * max(ink.shape) * np.where(np.arange(corners) % 2, 1, -1)[:, None]
    drawn = np.zeros(ink.shape, np.float32)
    thickness = max(1, round(chance.uniform(0.5, 2) * max(ink.shape) / 28))
    if chance.random() < 0.4:
        steps = np.linspace(0, 1, int(chance.integers(6, 20)))
        for step in steps:
            at = path[0] + (path[-1] - path[0]) * step
            cv2.circle(drawn, _point(at), thickness // 2, 1.0, -1)
    else:
        cv2.polylines(drawn, [np.round(path * 4).astype(np.int32)], False, 1.0, thickness, cv2.LINE_AA, 2)
    drawn *= np.float32(chance.uniform(0.5, 1))
    return np.maximum(ink, drawn) if chance.random() < 0.8 else ink * (1 - drawn)


def spatter(ink: Ink, chance: Chance) -> Ink:
    """Drops, of ink or of water."""
    field = cv2.GaussianBlur(
        chance.standard_normal(ink.shape, np.float32), (0, 0), chance.uniform(0.6, 2.0) * max(ink.shape) / 28
    )
    field /= max(float(field.std()), 1e-6)  # type: ignore[misc]
    drops = np.clip((field - np.float32(chance.uniform(1.2, 2.4))) * 3, 0, 1) * np.float32(chance.uniform(0.4, 1))
    return np.maximum(ink, drops) if chance.random() < 0.7 else ink * (1 - drops)  # type: ignore[no-any-return]


def hidden(ink: Ink, chance: Chance) -> Ink:
    """Something small lies on it."""
    height, width = ink.shape
    top, left = int(chance.integers(0, height)), int(chance.integers(0, width))
    high, wide = (max(1, round(float(v) * max(ink.shape))) for v in chance.uniform(0.05, 0.25, 2))
    result = ink.copy()
    result[top : top + high, left : left + wide] = np.float32(chance.choice([0.0, 0.0, 0.5, 1.0]))
    return result


def outline(ink: Ink, chance: Chance) -> Ink:
    """The edges of the strokes instead of the strokes."""
    side = 2 if chance.random() < 0.5 else 3
    edges = cv2.morphologyEx(ink, cv2.MORPH_GRADIENT, np.ones((side, side), np.uint8))
    return (edges > 0.5).astype(np.float32) if chance.random() < 0.6 else edges  # type: ignore[return-value]


def binary(ink: Ink, chance: Chance) -> Ink:
    return (ink > chance.uniform(0.25, 0.65)).astype(np.float32)


def blocks(ink: Ink, chance: Chance) -> Ink:
    """JPEG at a low quality."""
    levels = np.clip(ink * 255, 0, 255).astype(np.uint8)
    _, code = cv2.imencode(".jpg", levels, [cv2.IMWRITE_JPEG_QUALITY, int(chance.integers(5, 40))])
    return cv2.imdecode(code, cv2.IMREAD_GRAYSCALE).astype(np.float32) / np.float32(255)  # type: ignore[union-attr]


def _point(at: "np.typing.NDArray[np.float64]") -> tuple[int, int]:
    return round(float(at[0])), round(float(at[1]))


MISHAPS: tuple[Spoil, ...] = (
    grain, shot, salt, blur, motion, frosted, fog, light, pale, glare,
    bands, margins, ruled, crossed, spatter, hidden, outline, binary, blocks,
)  # fmt: skip
_SHARES = np.array([2, 1.5, 2.5, 1.5, 2, 1.5, 2.5, 1, 1, 1.5, 1, 1.5, 1, 3, 3, 0.7, 1.2, 1, 0.5])
WEIGHTS = _SHARES / _SHARES.sum()
