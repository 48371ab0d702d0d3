"""What is no digit: letters, strokes, pieces of digits, several digits, blobs, clothes. Knows nothing about networks.

Every maker gives ink float32 (h, w) in [0, 1], about 72 pixels a side, as `synthesis.written` does for a digit.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from numerals.handwriting.degradations import clouds
from numerals.handwriting.stroke_templates import smooth
from numerals.read.digit_ink import Ink

Chance = np.random.Generator
Draw = Callable[[Chance], Ink]  # another digit's ink, (72, 72)
Maker = Callable[[Draw, Chance], Ink]

CANVAS = 72
ROW, COLUMN = np.mgrid[:CANVAS, :CANVAS].astype(np.float32)
FACES = ("DejaVuSans", "DejaVuSerif", "DejaVuSansMono", "DejaVuSans-Oblique")
SCRIPTS = ((0x41, 0x5B), (0x61, 0x7B), (0xC0, 0x180), (0x391, 0x3CA), (0x410, 0x450), (0x531, 0x557), (0x561, 0x587),
           (0x5D0, 0x5EB), (0x10D0, 0x10F1), (0x621, 0x64B), (0x2200, 0x2270), (0x25A0, 0x25FF), (0x2600, 0x2670),
           (0x2D30, 0x2D66), (0x1401, 0x1440), (0x2190, 0x21C0), (0x23, 0x2C), (0x3A, 0x41))  # fmt: skip
# Letters that may pass for a digit, and their kin with accents and in other scripts.
ALIKE = set(
    r""" !%&'(),-./7:;?@BDGILOQSTYZ`bgiloqsyz{|}·ÌÍÎÏÐÒÓÔÕÖØÙÞßìíîïðòóôõöøþĎďĐ"""
    r"""đĜĝĞğĠġĢģħĨĩĪīĬĭĮįİıŁłŌōŎŏŐőŚśŜŝŞşŠšŹźŻżŽžƀƁ˙ΙΟδιορσϱЅІЈВЗОЧЩЬЭабвзочь"""
    r"""эѕіԳԵՁՅՏՑՕգեզէծճյջցօדוןסآأإا٠١٣٦၀Ⴗევზკნჳᐟᐠᐤᐧ‖⁄∂∅−∕∖∣∤∥∫▬▭▮▯◊○◌◎●◦◯☉⚬ⴰⵀ"""
    r"""ⵁⵉⵊⵏⵑⵔⵙﺍ"""
    "\\"
)


def stranger(draw: Draw, chance: Chance) -> Ink:
    """Something that is no digit."""
    return MAKERS[int(chance.choice(len(MAKERS), p=WEIGHTS))](draw, chance)


def letter(draw: Draw, chance: Chance) -> Ink:
    """A letter or a sign, as if written with a pen of any width."""
    bank = glyphs()
    source = bank[int(chance.integers(len(bank)))].astype(np.float32) / np.float32(255)
    turn, shear = np.radians(chance.normal(0, 8)), chance.uniform(-0.3, 0.3)
    scale = chance.uniform(0.8, 1.1, 2)
    matrix = np.array([[np.cos(turn), -np.sin(turn) + shear], [np.sin(turn), np.cos(turn)]]) * scale
    return bent(_about_middle(source, matrix), chance, chance.uniform(0, 3.5))


def bent(ink: Ink, chance: Chance, strength: float) -> Ink:
    """Strokes moved smoothly, as by an unsteady hand, by `strength` pixels (standard deviation)."""
    x, y = chance.normal(0, strength, (2, 4, 4)).astype(np.float32)
    x, y = (cv2.resize(shift, (CANVAS, CANVAS), interpolation=cv2.INTER_LINEAR) for shift in (x, y))
    return cv2.remap(ink, COLUMN + x, ROW + y, cv2.INTER_LINEAR)  # type: ignore[return-value]


def strokes(draw: Draw, chance: Chance) -> Ink:
    """One to five strokes of a pen, straight, bent or looped."""
    ink = np.zeros((CANVAS, CANVAS), np.float32)
    thickness = int(chance.integers(2, 9))
    count = int(chance.choice([1, 2, 3, 4, 5], p=[0.1, 0.25, 0.3, 0.2, 0.15]))
    for _ in range(count):
        knots = chance.uniform(8, CANVAS - 8, (int(chance.integers(2 if count > 1 else 4, 7)), 2))
        path = smooth(knots.astype(np.float32), 8) if chance.random() < 0.7 else knots
        cv2.polylines(ink, [np.round(path * 4).astype(np.int32)], False, 1.0, thickness, cv2.LINE_AA, 2)
    return ink


def collage(draw: Draw, chance: Chance) -> Ink:
    """Pieces of several digits put together wrongly."""
    first, second = draw(chance), draw(chance)
    half = CANVAS // 2
    kind = chance.integers(3)
    if kind == 0:
        return np.vstack([second[half:], first[:half]])  # the lower half above the upper one
    if kind == 1:
        return np.hstack([first[:, half:], second[:, :half]])
    quarters = [p[y : y + half, x : x + half] for p in (first, second) for y in (0, half) for x in (0, half)]
    order = chance.permutation(8)
    return np.vstack(
        [np.hstack([quarters[order[0]], quarters[order[1]]]), np.hstack([quarters[order[2]], quarters[order[3]]])]
    )


def overlaid(draw: Draw, chance: Chance) -> Ink:
    """Digits written over one another, one of them on its side."""
    return np.maximum(draw(chance), np.rot90(draw(chance), 1 + 2 * int(chance.integers(2))))


def several(draw: Draw, chance: Chance) -> Ink:
    """Two to four digits in one picture."""
    count = int(chance.choice([2, 3, 4], p=[0.7, 0.2, 0.1]))
    parts = []
    for _ in range(count):
        ink = draw(chance)
        columns = np.flatnonzero(ink.max(axis=0) > 0.3)
        parts.append(ink[:, columns[0] : columns[-1] + 1] if len(columns) else ink)
        parts.append(np.zeros((CANVAS, int(chance.integers(0, 10))), np.float32))
    return np.hstack(parts[:-1])


def patches(draw: Draw, chance: Chance) -> Ink:
    """Blots and textures."""
    cloud = clouds((CANVAS, CANVAS), chance)
    if chance.random() < 0.3:
        cloud = cv2.GaussianBlur(chance.standard_normal((CANVAS, CANVAS), np.float32), (0, 0), chance.uniform(1, 5))  # type: ignore[assignment]
        cloud = (cloud - cloud.min()) / max(float(np.ptp(cloud)), 1e-6)
    level = chance.uniform(0.35, 0.75)
    return np.clip((cloud - np.float32(level)) * np.float32(chance.uniform(1, 12)), 0, 1).astype(np.float32)  # type: ignore[no-any-return]


def noise(draw: Draw, chance: Chance) -> Ink:
    """Nothing but grain: what an empty paper's noise looks like with its contrast turned up."""
    ink = chance.standard_normal((CANVAS, CANVAS), np.float32)
    ink = cv2.GaussianBlur(ink, (0, 0), chance.uniform(0.3, 3))  # type: ignore[assignment]
    return np.clip(ink / max(float(ink.std()), 1e-6) * 0.5, 0, 1).astype(np.float32)  # type: ignore[no-any-return]


def clothes(draw: Draw, chance: Chance) -> Ink:
    """A filled outline like a garment, a shoe or a bag, with a pattern on it, and patches of other tones."""
    half = GARMENTS[int(chance.integers(len(GARMENTS)))]
    points = np.array(half, np.float64)
    if points[0, 0] >= 0:  # given as the right half; the left is its mirror
        points = np.vstack([points, points[::-1] * (-1, 1)])
    points = points * chance.uniform(0.6, 1.15, 2) + chance.normal(0, 0.05, points.shape)
    ink = filled(points) * pattern(chance)
    inside = ink > 0
    for _ in range(int(chance.choice(4, p=[0.4, 0.3, 0.2, 0.1]))):
        patch = filled(chance.uniform(-1, 1, (int(chance.integers(3, 6)), 2))) > 0.5
        ink = np.where(patch & inside, ink * np.float32(chance.uniform(0, 1)), ink)
    return ink


def things(draw: Draw, chance: Chance) -> Ink:
    """A few filled shapes of several tones over one another."""
    ink = np.zeros((CANVAS, CANVAS), np.float32)
    for _ in range(int(chance.integers(1, 6))):
        if chance.random() < 0.5:
            shape = filled(chance.uniform(-1, 1, (int(chance.integers(3, 8)), 2)))
        else:
            shape = np.zeros_like(ink)
            middle, axes = chance.integers(10, CANVAS - 10, 2), chance.integers(5, CANVAS // 2, 2)
            cv2.ellipse(
                shape, middle.tolist(), axes.tolist(), float(chance.uniform(0, 180)), 0, 360, 1.0, -1, cv2.LINE_AA
            )
        ink = ink * (1 - shape) + shape * pattern(chance)
    return ink


def filled(points: npt.NDArray[np.float64]) -> Ink:
    """A polygon of points within -1..1, filled: float32 (72, 72)."""
    ink = np.zeros((CANVAS, CANVAS), np.float32)
    cv2.fillPoly(ink, [np.round((points * 0.46 + 0.5) * CANVAS * 4).astype(np.int32)], 1.0, cv2.LINE_AA, 2)
    return ink


def pattern(chance: Chance) -> Ink:
    """Cloth: plain, mottled, striped, in [0.2, 1]."""
    kind = chance.integers(3)
    if kind == 0:
        return np.full((CANVAS, CANVAS), chance.uniform(0.3, 1), np.float32)
    if kind == 1:
        return 1 - np.float32(chance.uniform(0.2, 0.8)) * clouds((CANVAS, CANVAS), chance)
    at = np.arange(CANVAS, dtype=np.float32)
    wave = 0.6 + 0.4 * np.sin(at * chance.uniform(0.2, 1.2) + chance.uniform(0, 6))
    shape = np.broadcast_to(wave, (CANVAS, CANVAS)).astype(np.float32)
    return shape.T if chance.random() < 0.5 else shape


GARMENTS = (  # x from the middle, y down, within -1..1; right halves, or whole where the first x is negative
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


@cache
def glyphs() -> npt.NDArray[np.uint8]:
    """Letters and signs of the fonts that matplotlib ships, uint8 (n, 72, 72), white on black; none like a digit."""
    import matplotlib

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    drawn = []
    for face in FACES:
        font = ImageFont.truetype(str(folder / f"{face}.ttf"), 52)
        missing = _drawn("\uffff", font)
        for start, end in SCRIPTS:
            for code in range(start, end):
                picture = _drawn(chr(code), font)
                if chr(code) not in ALIKE and picture.max() > 0 and not np.array_equal(picture, missing):
                    drawn.append(picture)
    return np.stack(drawn)


def _drawn(sign: str, font: ImageFont.FreeTypeFont) -> npt.NDArray[np.uint8]:
    image = Image.new("L", (CANVAS, CANVAS))
    ImageDraw.Draw(image).text((CANVAS // 2, CANVAS // 2), sign, fill=255, font=font, anchor="mm")
    return np.asarray(image)


def _about_middle(ink: Ink, matrix: npt.NDArray[np.float64]) -> Ink:
    """The ink through a 2x2 matrix about the middle of the canvas."""
    middle = np.array([CANVAS / 2, CANVAS / 2])
    whole = np.hstack([matrix, (middle - matrix @ middle)[:, None]])
    return cv2.warpAffine(ink, whole, (CANVAS, CANVAS), flags=cv2.INTER_LINEAR)  # type: ignore[return-value]


MAKERS: tuple[Maker, ...] = (letter, strokes, collage, overlaid, several, patches, noise, clothes, things)
_SHARES = np.array([7, 4, 2.5, 1, 2.5, 1, 1, 6.5, 2])
WEIGHTS = _SHARES / _SHARES.sum()
