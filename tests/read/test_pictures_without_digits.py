"""Pictures without digits: the reader reads nothing, or as little as possible."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

import numerals
from numerals.handwriting import non_digits
from numerals.read.pixels import Pixels
from tests.conftest import NUMERALS, run_quietly

Maker = Callable[[int], Pixels]  # draws the picture of a seed
HEIGHT, WIDTH = 480, 640


@pytest.fixture(scope="module")
def reader() -> numerals.Reader:
    return numerals.Reader()


def gradient(seed: int) -> Pixels:
    """A linear gradient of light, in a random direction and colour."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0 : 1 : HEIGHT * 1j, 0 : 1 : WIDTH * 1j]
    direction = rng.normal(size=2)
    level = direction[0] * x + direction[1] * y
    level = (level - level.min()) / np.ptp(level)
    return np.asarray(40 + level[..., None] * rng.integers(80, 215, 3), np.uint8)


def noise(seed: int) -> Pixels:
    """Noise, from fine to coarse."""
    rng = np.random.default_rng(seed)
    grain = cv2.GaussianBlur(rng.normal(size=(HEIGHT, WIDTH)), (0, 0), 0.3 + 6 * rng.random())
    grain = (grain - grain.min()) / np.ptp(grain)
    return np.asarray(grain * 255, np.uint8)


def cat(seed: int) -> Pixels:
    """A cat in front of a wall: round shapes, fur of short strokes, eyes, whiskers."""
    rng = np.random.default_rng(seed)
    picture = gradient(seed).copy()
    fur = rng.integers(60, 200, 3)
    x, y = int(rng.integers(240, 400)), int(rng.integers(180, 260))
    for centre, axes in (((x, y + 150), (130, 150)), ((x, y), (90, 80))):
        cv2.ellipse(picture, centre, axes, 0, 0, 360, fur.tolist(), -1)
    for side in (-1, 1):
        ear = np.array([[x + side * 30, y - 60], [x + side * 85, y - 40], [x + side * 75, y - 120]])
        cv2.fillPoly(picture, [ear], (fur * 0.8).tolist())
        cv2.ellipse(picture, (x + side * 35, y - 10), (14, 18), 0, 0, 360, (90, 190, 110), -1)
        cv2.ellipse(picture, (x + side * 35, y - 10), (4, 16), 0, 0, 360, (10, 10, 10), -1)
        for whisker in (-10, 0, 10):
            cv2.line(picture, (x + side * 15, y + 30), (x + side * 120, y + 30 + whisker * 2), (240, 240, 240), 1)
    for _ in range(2500):
        start = (rng.normal(size=2) * (70, 90) + (x, y + 80)).astype(int)
        end = start + (rng.normal(size=2) * 8).astype(int)
        cv2.line(picture, start.tolist(), end.tolist(), (fur * rng.uniform(0.6, 1.3)).clip(0, 255).tolist(), 1)
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), 1.0), np.uint8)


def clutter(seed: int) -> Pixels:
    """Garments, shapes and blots of all sizes over one another."""
    rng = np.random.default_rng(seed)
    picture = gradient(seed).astype(np.float32)
    for maker in (non_digits.garment, non_digits.shapes, non_digits.blots):
        for _ in range(15):
            non_digit, side = maker(lambda _: np.zeros((72, 72), np.float32), rng), int(rng.integers(30, 200))
            ink = cv2.resize(non_digit, (side, side), interpolation=cv2.INTER_CUBIC)[..., None].clip(0, 1)
            top, left = int(rng.integers(0, HEIGHT - side)), int(rng.integers(0, WIDTH - side))
            area = picture[top : top + side, left : left + side]
            area += (rng.integers(0, 255, 3) - area) * ink
    return picture.clip(0, 255).astype(np.uint8)


def leaves(seed: int) -> Pixels:
    """Foliage: many pointed shapes of many greens."""
    rng = np.random.default_rng(seed)
    picture = np.full((HEIGHT, WIDTH, 3), (30, 60, 25), np.uint8)
    for _ in range(700):
        centre = rng.integers(0, WIDTH, 2).tolist()
        axes = (int(rng.integers(8, 40)), int(rng.integers(3, 12)))
        green = (rng.uniform(0.4, 1.2) * np.array([90, 170, 60])).clip(0, 255).tolist()
        cv2.ellipse(picture, centre, axes, float(rng.uniform(0, 360)), 0, 360, green, -1, cv2.LINE_AA)
    return picture


@pytest.mark.parametrize(("maker", "measured"), [(gradient, 1), (noise, 0), (cat, 68), (clutter, 23), (leaves, 57)])
def test_few_digits_are_read_where_there_are_none(reader: numerals.Reader, maker: Maker, measured: int) -> None:
    """In twenty pictures; `measured` is the number of digits when the test was written, and may only fall."""
    digits = [sum(len(row.digits) for row in reader.read(maker(seed)).rows) for seed in range(20)]
    assert sum(digits) <= measured * 1.2 + 2


def test_the_command_says_so_and_exits_with_0(tmp_path: Path) -> None:
    for name, picture in (
        ("light.png", gradient(0)),
        ("cat.png", cat(0)),
        ("blank.jpg", np.full((90, 70), 250, np.uint8)),
    ):
        Image.fromarray(picture).save(tmp_path / name)
    process = run_quietly((*NUMERALS, "read", "light.png", "cat.png", "blank.jpg"), cwd=tmp_path)
    assert (process.returncode, process.stdout) == (0, "")
    assert process.stderr.splitlines() == [
        f"numerals: {name}: no digits found" for name in ("light.png", "cat.png", "blank.jpg")
    ]
    process = run_quietly((*NUMERALS, "read", "blank.jpg"), cwd=tmp_path)
    assert (process.returncode, process.stdout, process.stderr) == (0, "", "numerals: blank.jpg: no digits found\n")
