"""Degradations of ink on its way into a picture: noise, blur, fog, lines, spatter.

Each function takes ink and a generator and returns ink of the same shape, whose values may leave [0, 1] a little. To
add one, write the function and give it a weight in DEGRADATIONS. They follow what writing and cameras do, and work at
any size of picture.
"""

from collections.abc import Callable

import cv2
import numpy as np

from numerals.handwriting.drawing import compress_jpeg, displace, draw_path
from numerals.read.digit_ink import Ink
from numerals.spec import SIDE, WHITE

Degradation = Callable[[Ink, np.random.Generator], Ink]


def degrade(ink: Ink, rng: np.random.Generator, count: int) -> Ink:
    """Apply `count` random degradations, one after the other.

    Args:
        ink: float32 (h, w) in [0, 1], 1 full ink.
        rng: chooses them by their weights in DEGRADATIONS.
        count: how many; one may come twice.

    Returns:
        float32 (h, w) in [0, 1].
    """
    functions, weights = list(DEGRADATIONS), np.array(list(DEGRADATIONS.values()))
    for index in rng.choice(len(functions), size=count, p=weights / weights.sum()):
        ink = np.clip(functions[index](ink, rng), 0, 1).astype(np.float32)
    return ink


def gaussian_noise(ink: Ink, rng: np.random.Generator) -> Ink:
    noise = rng.standard_normal(ink.shape, np.float32)
    if rng.random() < 0.4:
        noise = cv2.GaussianBlur(noise, (0, 0), 0.8) * 2  # type: ignore[assignment]
    return ink + np.float32(rng.uniform(0.03, 0.3)) * noise


def shot_noise(ink: Ink, rng: np.random.Generator) -> Ink:
    photons = rng.uniform(3, 30)
    return (rng.poisson(ink * photons) / photons).astype(np.float32)


def salt_and_pepper(ink: Ink, rng: np.random.Generator) -> Ink:
    values = rng.random(ink.shape)
    share = rng.uniform(0.01, 0.25)
    salted = np.where(values < share / 2, np.float32(1), ink)
    return np.where(values > 1 - share / 2, np.float32(0), salted)


def gaussian_blur(ink: Ink, rng: np.random.Generator) -> Ink:
    return cv2.GaussianBlur(ink, (0, 0), _scaled(rng.uniform(0.4, 1.6), ink))  # type: ignore[return-value]


def motion_blur(ink: Ink, rng: np.random.Generator) -> Ink:
    length = max(3, round(rng.uniform(0.08, 0.3) * max(ink.shape)) | 1)
    kernel = np.zeros((length, length), np.float32)
    angle = rng.uniform(0, np.pi)
    reach = np.array([np.cos(angle), np.sin(angle)]) * (length // 2)
    middle = np.array([length // 2, length // 2])
    cv2.line(kernel, _pixel(middle - reach), _pixel(middle + reach), 1.0)
    return cv2.filter2D(ink, -1, kernel / kernel.sum())  # type: ignore[return-value]


def glass_blur(ink: Ink, rng: np.random.Generator) -> Ink:
    """Take each pixel from somewhere near, as through frosted glass."""
    reach = _scaled(rng.uniform(0.5, 1.6), ink)
    dx = rng.uniform(-reach, reach, ink.shape).astype(np.float32)
    dy = rng.uniform(-reach, reach, ink.shape).astype(np.float32)
    moved = displace(ink, dx, dy, cv2.BORDER_REPLICATE)
    return cv2.GaussianBlur(moved, (0, 0), rng.uniform(0.3, 0.8))  # type: ignore[return-value]


def clouds(shape: tuple[int, ...], rng: np.random.Generator) -> Ink:
    """Random smooth patches in [0, 1], coarse ones stronger than fine ones: float32 of the shape (height, width)."""
    height, width = shape
    cloud = np.zeros((height, width), np.float32)
    for cells in (2, 4, 8):
        coarse = rng.random((cells, cells), np.float32)
        cloud += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC) / cells
    low, high = float(cloud.min()), float(cloud.max())
    return (cloud - low) / max(high - low, 1e-6)


def fog(ink: Ink, rng: np.random.Generator) -> Ink:
    density = rng.uniform(0.2, 1.2)
    foggy = ink + density * clouds(ink.shape, rng)
    return foggy * np.float32(1 / max(1.0, float(foggy.max()))) if rng.random() < 0.7 else foggy


def uneven_light(ink: Ink, rng: np.random.Generator) -> Ink:
    """Add a linear gradient of light."""
    height, width = ink.shape
    slope = rng.uniform(-0.5, 0.5, 2)
    ramp = np.linspace(0, slope[0], height)[:, None] + np.linspace(0, slope[1], width)[None]
    return ink * np.float32(rng.uniform(0.4, 0.9)) + (ramp - ramp.min()).astype(np.float32)  # type: ignore[no-any-return]


def low_contrast(ink: Ink, rng: np.random.Generator) -> Ink:
    """Reduce the contrast, with a background brighter than 0 or ink less bright than 1."""
    contrast = rng.uniform(0.15, 0.8)
    return ink * np.float32(contrast) + np.float32(rng.uniform(0, 1 - contrast))


def brightness(ink: Ink, rng: np.random.Generator) -> Ink:
    return ink + np.float32(rng.uniform(0.2, 0.7))


def inverted_bands(ink: Ink, rng: np.random.Generator) -> Ink:
    """Invert or tint straight bands across the picture."""
    side = max(ink.shape)
    across = rng.random() < 0.5
    turned = ink.T if across else ink
    result = turned.copy()
    edges = np.sort(rng.integers(0, side, rng.integers(1, 5)))
    tint = None if rng.random() < 0.5 else np.float32(rng.uniform(0.2, 0.6))
    changed = rng.random() < 0.5
    for start, end in zip([0, *edges], [*edges, side], strict=True):
        if changed:
            band = result[:, start:end]
            result[:, start:end] = 1 - band if tint is None else np.maximum(band, tint)
        changed = not changed
    return np.ascontiguousarray(result.T) if across else result


def inverted_margins(ink: Ink, rng: np.random.Generator) -> Ink:
    """Invert two opposite margins of the picture."""
    across = rng.random() < 0.5
    result = ink.T.copy() if across else ink.copy()
    first, last = (round(float(share) * len(result)) for share in rng.uniform(0.05, 0.3, 2))
    result[:first] = 1 - result[:first]
    result[len(result) - last :] = 1 - result[len(result) - last :]
    return np.ascontiguousarray(result.T) if across else result


def ruled_paper(ink: Ink, rng: np.random.Generator) -> Ink:
    """Add the lines of ruled or squared paper."""
    result = ink.copy()
    pitch = max(3, round(rng.uniform(0.2, 0.6) * max(ink.shape)))
    strength = np.float32(rng.uniform(0.15, 0.7))
    start = int(rng.integers(0, pitch))
    result[start::pitch] = np.maximum(result[start::pitch], strength)
    if rng.random() < 0.5:
        result[:, start::pitch] = np.maximum(result[:, start::pitch], strength)
    return result


def crossed_out(ink: Ink, rng: np.random.Generator) -> Ink:
    """Draw a straight, dotted or zigzag line across, in ink or erasing it."""
    height, width = ink.shape
    start, end = rng.uniform(-0.1, 1.1, (2, 2)) * (width, height)
    if rng.random() < 0.5:  # from side to side
        start[0], end[0] = 0, width - 1
    corners = 2 if rng.random() < 0.6 else int(rng.integers(3, 9))
    path = np.linspace(start, end, corners)
    if corners > 2:
        path += rng.uniform(0.03, 0.15) * max(ink.shape) * np.where(np.arange(corners) % 2, 1, -1)[:, None]
    line = np.zeros(ink.shape, np.float32)
    pen_width = max(1, round(_scaled(rng.uniform(0.5, 2), ink)))
    if rng.random() < 0.4:
        for step in np.linspace(0, 1, int(rng.integers(6, 20))):
            cv2.circle(line, _pixel(path[0] + (path[-1] - path[0]) * step), pen_width // 2, 1.0, -1)
    else:
        draw_path(line, path, 1.0, pen_width, fraction_bits=2)
    line *= np.float32(rng.uniform(0.5, 1))
    return np.maximum(ink, line) if rng.random() < 0.8 else ink * (1 - line)


def spatter(ink: Ink, rng: np.random.Generator) -> Ink:
    """Add drops of ink, or of water, which erases."""
    field = cv2.GaussianBlur(rng.standard_normal(ink.shape, np.float32), (0, 0), _scaled(rng.uniform(0.6, 2.0), ink))
    field /= max(float(field.std()), 1e-6)  # type: ignore[misc]
    drops = np.clip((field - np.float32(rng.uniform(1.2, 2.4))) * 3, 0, 1) * np.float32(rng.uniform(0.4, 1))
    return np.maximum(ink, drops) if rng.random() < 0.7 else ink * (1 - drops)  # type: ignore[no-any-return]


def occlusion(ink: Ink, rng: np.random.Generator) -> Ink:
    """Cover a small rectangle."""
    height, width = ink.shape
    top, left = int(rng.integers(0, height)), int(rng.integers(0, width))
    rows, columns = (max(1, round(float(share) * max(ink.shape))) for share in rng.uniform(0.05, 0.25, 2))
    result = ink.copy()
    result[top : top + rows, left : left + columns] = np.float32(rng.choice([0.0, 0.0, 0.5, 1.0]))
    return result


def edges_only(ink: Ink, rng: np.random.Generator) -> Ink:
    """Keep only the edges of the strokes."""
    side = 2 if rng.random() < 0.5 else 3
    edges = cv2.morphologyEx(ink, cv2.MORPH_GRADIENT, np.ones((side, side), np.uint8))
    return (edges > 0.5).astype(np.float32) if rng.random() < 0.6 else edges  # type: ignore[return-value]


def binarisation(ink: Ink, rng: np.random.Generator) -> Ink:
    return (ink > rng.uniform(0.25, 0.65)).astype(np.float32)


def jpeg_artefacts(ink: Ink, rng: np.random.Generator) -> Ink:
    pixels = np.clip(ink * 255, 0, 255).astype(np.uint8)
    return compress_jpeg(pixels, int(rng.integers(5, 40))).astype(np.float32) / np.float32(WHITE)


def _scaled(length: float, ink: Ink) -> float:
    """Convert pixels of MNIST's 28x28 pictures to pixels of this picture."""
    side: int = max(ink.shape)
    return length * side / SIDE


def _pixel(point: "np.typing.NDArray[np.float64]") -> tuple[int, int]:
    return round(float(point[0])), round(float(point[1]))


DEGRADATIONS: dict[Degradation, float] = {  # and how often each is chosen, relative to the others
    gaussian_noise: 2,
    shot_noise: 1.5,
    salt_and_pepper: 2.5,
    gaussian_blur: 1.5,
    motion_blur: 2,
    glass_blur: 1.5,
    fog: 2.5,
    uneven_light: 1,
    low_contrast: 1,
    brightness: 1.5,
    inverted_bands: 1,
    inverted_margins: 1.5,
    ruled_paper: 1,
    crossed_out: 3,
    spatter: 3,
    occlusion: 0.7,
    edges_only: 1.2,
    binarisation: 1,
    jpeg_artefacts: 0.5,
}
