"""Non-digits to reject: letters, scribbles, pieces of digits, several digits, blots, noise, garments, shapes.

Each maker draws ink float32 (h, w) in [0, 1] on a canvas of about 72 pixels a side, as `digits.write_digit` does.
To add one, write the function and give it a weight in MAKERS.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from numerals.handwriting.degradations import clouds
from numerals.handwriting.drawing import CANVAS, distort, draw_path, rotation, smooth_curve
from numerals.read.digit_ink import Ink

DigitWriter = Callable[[np.random.Generator], Ink]  # writes a random digit: ink (72, 72)
Maker = Callable[[DigitWriter, np.random.Generator], Ink]

FONTS = ("DejaVuSans", "DejaVuSerif", "DejaVuSansMono", "DejaVuSans-Oblique")
CODE_POINTS = (  # ranges of letters and signs, each without its end
    (0x41, 0x5B), (0x61, 0x7B), (0xC0, 0x180), (0x391, 0x3CA), (0x410, 0x450), (0x531, 0x557), (0x561, 0x587),
    (0x5D0, 0x5EB), (0x10D0, 0x10F1), (0x621, 0x64B), (0x2200, 0x2270), (0x25A0, 0x25FF), (0x2600, 0x2670),
    (0x2D30, 0x2D66), (0x1401, 0x1440), (0x2190, 0x21C0), (0x23, 0x2C), (0x3A, 0x41),
)  # fmt: skip
# Signs that may pass for a digit, in all scripts above.
LOOKALIKES = set(
    r""" !%&'(),-./7:;?@BDGILOQSTYZ`bgiloqsyz{|}·ÌÍÎÏÐÒÓÔÕÖØÙÞßìíîïðòóôõöøþĎďĐ"""
    r"""đĜĝĞğĠġĢģħĨĩĪīĬĭĮįİıŁłŌōŎŏŐőŚśŜŝŞşŠšŹźŻżŽžƀƁ˙ΙΟδιορσϱЅІЈВЗОЧЩЬЭабвзочь"""
    r"""эѕіԳԵՁՅՏՑՕգեզէծճյջցօדוןסآأإا٠١٣٦၀Ⴗევზკნჳᐟᐠᐤᐧ‖⁄∂∅−∕∖∣∤∥∫▬▭▮▯◊○◌◎●◦◯☉⚬ⴰⵀ"""
    r"""ⵁⵉⵊⵏⵑⵔⵙﺍ"""
    "\\"
)
OUTLINES = (  # x from the middle, y down, within -1..1; right halves, or whole outlines if the first x is negative
    [(0.15, -0.9), (0.45, -0.8), (0.95, -0.3), (0.7, -0.05), (0.45, -0.3), (0.45, 0.9)],  # shirt
    [(0.15, -0.95), (0.4, -0.85), (0.75, 0.2), (0.85, 0.9), (0.6, 0.9), (0.45, -0.1), (0.45, 0.9)],  # long sleeves
    [(0.35, -0.95), (0.45, 0.9), (0.12, 0.9), (0.02, -0.3)],  # trousers
    [(0.28, -0.95), (0.32, 0.95), (0.1, 0.95), (0.03, -0.1)],
    [(0.3, -0.95), (0.38, -0.3), (0.3, 0.95), (0.06, 0.95), (0.03, -0.5)],
    [(0.32, -0.95), (0.4, 0.95), (0.05, 0.95), (0.03, 0.1)],
    [(0.12, -0.95), (0.3, -0.95), (0.25, -0.3), (0.6, 0.95)],  # dress
    [(0.2, -0.95), (0.3, -0.5), (0.22, -0.1), (0.3, 0.95)],  # narrow dress
    [(0.3, -0.5), (0.3, -0.9), (0.42, -0.9), (0.42, -0.5), (0.9, -0.4), (0.95, 0.8)],  # bag
    [(0.95, -0.5), (0.95, 0.6)],  # box
    [(-0.95, 0.1), (-0.3, -0.1), (0.3, -0.5), (0.9, -0.4), (0.95, 0.4), (-0.9, 0.45)],  # shoe
    [(-0.95, 0.5), (-0.2, 0.1), (0.1, -0.9), (0.7, -0.9), (0.75, 0.2), (0.9, 0.6)],  # boot
    [(-0.95, 0.3), (-0.2, 0.2), (0.6, -0.3), (0.9, -0.5), (0.85, 0.5), (0.75, 0.5), (0.6, 0.0), (0.0, 0.45)],  # heel
)


def draw_non_digit(write_digit: DigitWriter, rng: np.random.Generator) -> Ink:
    """Draw a random non-digit.

    Args:
        write_digit: writes the digits that some of them are composed of.
        rng: chooses the maker by its weight in MAKERS.

    Returns:
        float32 (h, w) in [0, 1], 1 full ink.
    """
    makers, weights = list(MAKERS), np.array(list(MAKERS.values()))
    return makers[int(rng.choice(len(makers), p=weights / weights.sum()))](write_digit, rng)


def letter(write_digit: DigitWriter, rng: np.random.Generator) -> Ink:
    """A letter or a sign that does not look like a digit, distorted."""
    bank = letters()
    source = bank[int(rng.integers(len(bank)))].astype(np.float32) / np.float32(255)
    angle, shear = np.radians(rng.normal(0, 8)), rng.uniform(-0.3, 0.3)
    matrix = (rotation(angle) + np.array([[0, shear], [0, 0]])) * rng.uniform(0.8, 1.1, 2)
    middle = np.array([CANVAS / 2, CANVAS / 2])
    transform = np.hstack([matrix, (middle - matrix @ middle)[:, None]])
    ink = np.asarray(cv2.warpAffine(source, transform, (CANVAS, CANVAS), flags=cv2.INTER_LINEAR), np.float32)
    return distort(ink, rng, rng.uniform(0, 3.5))


def scribble(write_digit: DigitWriter, rng: np.random.Generator) -> Ink:
    """One to five strokes of a pen, straight, bent or looped."""
    ink = np.zeros((CANVAS, CANVAS), np.float32)
    pen_width = int(rng.integers(2, 9))
    count = int(rng.choice([1, 2, 3, 4, 5], p=[0.1, 0.25, 0.3, 0.2, 0.15]))
    for _ in range(count):
        points = rng.uniform(8, CANVAS - 8, (int(rng.integers(2 if count > 1 else 4, 7)), 2))
        path = smooth_curve(points.astype(np.float32), 8) if rng.random() < 0.7 else points
        draw_path(ink, path, 1.0, pen_width, fraction_bits=2)
    return ink


def collage(write_digit: DigitWriter, rng: np.random.Generator) -> Ink:
    """Pieces of two digits put together wrongly."""
    first, second = write_digit(rng), write_digit(rng)
    half = CANVAS // 2
    kind = rng.integers(3)
    if kind == 0:
        return np.vstack([second[half:], first[:half]])  # the lower half above the upper one
    if kind == 1:
        return np.hstack([first[:, half:], second[:, :half]])
    quarters = [ink[y : y + half, x : x + half] for ink in (first, second) for y in (0, half) for x in (0, half)]
    order = rng.permutation(8)
    return np.vstack(
        [np.hstack([quarters[order[0]], quarters[order[1]]]), np.hstack([quarters[order[2]], quarters[order[3]]])]
    )


def overlay(write_digit: DigitWriter, rng: np.random.Generator) -> Ink:
    """Two digits written over one another, one of them on its side."""
    return np.maximum(write_digit(rng), np.rot90(write_digit(rng), 1 + 2 * int(rng.integers(2))))


def several_digits(write_digit: DigitWriter, rng: np.random.Generator) -> Ink:
    """Two to four digits in one picture."""
    count = int(rng.choice([2, 3, 4], p=[0.7, 0.2, 0.1]))
    parts = []
    for _ in range(count):
        ink = write_digit(rng)
        columns = np.flatnonzero(ink.max(axis=0) > 0.3)
        parts.append(ink[:, columns[0] : columns[-1] + 1] if len(columns) else ink)
        parts.append(np.zeros((CANVAS, int(rng.integers(0, 10))), np.float32))
    return np.hstack(parts[:-1])


def blots(write_digit: DigitWriter, rng: np.random.Generator) -> Ink:
    """Blots and textures."""
    cloud = clouds((CANVAS, CANVAS), rng)
    if rng.random() < 0.3:
        cloud = cv2.GaussianBlur(rng.standard_normal((CANVAS, CANVAS), np.float32), (0, 0), rng.uniform(1, 5))  # type: ignore[assignment]
        cloud = (cloud - cloud.min()) / max(float(np.ptp(cloud)), 1e-6)
    level = rng.uniform(0.35, 0.75)
    return np.clip((cloud - np.float32(level)) * np.float32(rng.uniform(1, 12)), 0, 1).astype(np.float32)  # type: ignore[no-any-return]


def noise(write_digit: DigitWriter, rng: np.random.Generator) -> Ink:
    """Noise alone, like that of an empty page at full contrast."""
    ink = rng.standard_normal((CANVAS, CANVAS), np.float32)
    ink = cv2.GaussianBlur(ink, (0, 0), rng.uniform(0.3, 3))  # type: ignore[assignment]
    return np.clip(ink / max(float(ink.std()), 1e-6) * 0.5, 0, 1).astype(np.float32)  # type: ignore[no-any-return]


def garment(write_digit: DigitWriter, rng: np.random.Generator) -> Ink:
    """A filled outline like a garment, a shoe or a bag, with a pattern and patches of other tones."""
    points = np.array(OUTLINES[int(rng.integers(len(OUTLINES)))], np.float64)
    if points[0, 0] >= 0:  # a right half; the left is its mirror image
        points = np.vstack([points, points[::-1] * (-1, 1)])
    points = points * rng.uniform(0.6, 1.15, 2) + rng.normal(0, 0.05, points.shape)
    ink = _polygon(points) * _pattern(rng)
    inside = ink > 0
    for _ in range(int(rng.choice(4, p=[0.4, 0.3, 0.2, 0.1]))):
        patch = _polygon(rng.uniform(-1, 1, (int(rng.integers(3, 6)), 2))) > 0.5
        ink = np.where(patch & inside, ink * np.float32(rng.uniform(0, 1)), ink)
    return ink


def shapes(write_digit: DigitWriter, rng: np.random.Generator) -> Ink:
    """A few filled polygons and ellipses of several tones over one another."""
    ink = np.zeros((CANVAS, CANVAS), np.float32)
    for _ in range(int(rng.integers(1, 6))):
        if rng.random() < 0.5:
            shape = _polygon(rng.uniform(-1, 1, (int(rng.integers(3, 8)), 2)))
        else:
            shape = np.zeros_like(ink)
            middle, axes = rng.integers(10, CANVAS - 10, 2), rng.integers(5, CANVAS // 2, 2)
            cv2.ellipse(shape, middle.tolist(), axes.tolist(), float(rng.uniform(0, 180)), 0, 360, 1.0, -1, cv2.LINE_AA)
        ink = ink * (1 - shape) + shape * _pattern(rng)
    return ink


def _polygon(points: npt.NDArray[np.float64]) -> Ink:
    """A filled polygon of points within -1..1: float32 (72, 72)."""
    ink = np.zeros((CANVAS, CANVAS), np.float32)
    cv2.fillPoly(ink, [np.round((points * 0.46 + 0.5) * CANVAS * 4).astype(np.int32)], 1.0, cv2.LINE_AA, 2)
    return ink


def _pattern(rng: np.random.Generator) -> Ink:
    """The pattern of a cloth, plain, mottled or striped: float32 (72, 72) in [0.2, 1]."""
    kind = rng.integers(3)
    if kind == 0:
        return np.full((CANVAS, CANVAS), rng.uniform(0.3, 1), np.float32)
    if kind == 1:
        return 1 - np.float32(rng.uniform(0.2, 0.8)) * clouds((CANVAS, CANVAS), rng)
    positions = np.arange(CANVAS, dtype=np.float32)
    wave = 0.6 + 0.4 * np.sin(positions * rng.uniform(0.2, 1.2) + rng.uniform(0, 6))
    stripes = np.broadcast_to(wave, (CANVAS, CANVAS)).astype(np.float32)
    return stripes.T if rng.random() < 0.5 else stripes


@cache
def letters() -> npt.NDArray[np.uint8]:
    """Letters and signs of matplotlib's fonts that do not look like digits: uint8 (n, 72, 72), white on black."""
    import matplotlib

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    pictures = []
    for name in FONTS:
        font = ImageFont.truetype(str(folder / f"{name}.ttf"), 52)
        missing = _draw_text("\uffff", font)
        for start, end in CODE_POINTS:
            for code in range(start, end):
                picture = _draw_text(chr(code), font)
                if chr(code) not in LOOKALIKES and picture.max() > 0 and not np.array_equal(picture, missing):
                    pictures.append(picture)
    return np.stack(pictures)


def _draw_text(text: str, font: ImageFont.FreeTypeFont) -> npt.NDArray[np.uint8]:
    image = Image.new("L", (CANVAS, CANVAS))
    ImageDraw.Draw(image).text((CANVAS // 2, CANVAS // 2), text, fill=255, font=font, anchor="mm")
    return np.asarray(image)


MAKERS: dict[Maker, float] = {  # and how often each is chosen, relative to the others
    letter: 7,
    scribble: 4,
    collage: 2.5,
    overlay: 1,
    several_digits: 2.5,
    blots: 1,
    noise: 1,
    garment: 6.5,
    shapes: 2,
}
