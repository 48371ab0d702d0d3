"""Pictures without digits: an empty page, or as little read out of them as can be."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

import numerals
from numerals.handwriting import non_digits
from tests.conftest import NUMERALS, run_quietly

Picture = npt.NDArray[np.uint8]
Kind = Callable[[int], Picture]
HEIGHT, WIDTH = 480, 640


@pytest.fixture(scope="module")
def reader() -> numerals.Reader:
    return numerals.Reader()


def gradient(seed: int) -> Picture:
    """Light that falls off in some direction, in some colour."""
    chance = np.random.default_rng(seed)
    y, x = np.mgrid[0 : 1 : HEIGHT * 1j, 0 : 1 : WIDTH * 1j]
    way = chance.normal(size=2)
    level = way[0] * x + way[1] * y
    level = (level - level.min()) / np.ptp(level)
    return np.asarray(40 + level[..., None] * chance.integers(80, 215, 3), np.uint8)


def noise(seed: int) -> Picture:
    """Grain, from fine to coarse."""
    chance = np.random.default_rng(seed)
    grain = cv2.GaussianBlur(chance.normal(size=(HEIGHT, WIDTH)), (0, 0), 0.3 + 6 * chance.random())
    grain = (grain - grain.min()) / np.ptp(grain)
    return np.asarray(grain * 255, np.uint8)


def cat(seed: int) -> Picture:
    """A cat before a wall: round shapes, fur of short strokes, eyes, whiskers, stripes, a shadow."""
    chance = np.random.default_rng(seed)
    picture = gradient(seed).copy()
    fur = chance.integers(60, 200, 3)
    x, y = int(chance.integers(240, 400)), int(chance.integers(180, 260))
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
        at = (chance.normal(size=2) * (70, 90) + (x, y + 80)).astype(int)
        to = at + (chance.normal(size=2) * 8).astype(int)
        cv2.line(picture, at.tolist(), to.tolist(), (fur * chance.uniform(0.6, 1.3)).clip(0, 255).tolist(), 1)
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), 1.0), np.uint8)


def clutter(seed: int) -> Picture:
    """Clothes, strokes and marks that are no digits, of all sizes, one over the other."""
    chance = np.random.default_rng(seed)
    picture = gradient(seed).astype(np.float32)
    for maker in (non_digits.garment, non_digits.shapes, non_digits.blots):
        for _ in range(15):
            thing, side = maker(lambda _: np.zeros((72, 72), np.float32), chance), int(chance.integers(30, 200))
            ink = cv2.resize(thing, (side, side), interpolation=cv2.INTER_CUBIC)[..., None].clip(0, 1)
            top, left = int(chance.integers(0, HEIGHT - side)), int(chance.integers(0, WIDTH - side))
            area = picture[top : top + side, left : left + side]
            area += (chance.integers(0, 255, 3) - area) * ink
    return picture.clip(0, 255).astype(np.uint8)


def leaves(seed: int) -> Picture:
    """Foliage: many pointed shapes of many greens."""
    chance = np.random.default_rng(seed)
    picture = np.full((HEIGHT, WIDTH, 3), (30, 60, 25), np.uint8)
    for _ in range(700):
        centre = chance.integers(0, WIDTH, 2).tolist()
        axes = (int(chance.integers(8, 40)), int(chance.integers(3, 12)))
        green = (chance.uniform(0.4, 1.2) * np.array([90, 170, 60])).clip(0, 255).tolist()
        cv2.ellipse(picture, centre, axes, float(chance.uniform(0, 360)), 0, 360, green, -1, cv2.LINE_AA)
    return picture


def digits_in(reader: numerals.Reader, kind: Kind, count: int) -> list[int]:
    """How many digits are read in each of so many pictures of a kind."""
    return [sum(len(row.digits) for row in reader.read(kind(seed)).rows) for seed in range(count)]


@pytest.mark.parametrize(("kind", "most"), [(gradient, 1), (noise, 0), (cat, 68), (clutter, 23), (leaves, 57)])
def test_little_is_read_where_nothing_is_written(reader: numerals.Reader, kind: Kind, most: int) -> None:
    """In twenty pictures; `most` is what was measured when the test was written, and may only fall."""
    assert sum(digits_in(reader, kind, 20)) <= most * 1.2 + 2


def test_the_command_says_so_and_exits_with_0(tmp_path: Path) -> None:
    for name, picture in (
        ("light.png", gradient(0)),
        ("cat.png", cat(0)),
        ("blank.jpg", np.full((90, 70), 250, np.uint8)),
    ):
        Image.fromarray(picture).save(tmp_path / name)
    done = run_quietly((*NUMERALS, "read", "light.png", "cat.png", "blank.jpg"), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.splitlines() == [
        f"numerals: {name}: no digits found" for name in ("light.png", "cat.png", "blank.jpg")
    ]
    done = run_quietly((*NUMERALS, "read", "blank.jpg"), cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "numerals: blank.jpg: no digits found\n")
