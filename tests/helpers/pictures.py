"""Pictures that tests make: MNIST's test digits with paper around, as files and arrays. Nothing of them is random."""

import io
from functools import cache
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from numerals.article.data import load_mnist

Pixels = npt.NDArray[np.uint8]


@cache
def some_digits(count: int = 200) -> tuple[Pixels, Pixels]:
    """The first test digits of MNIST and their labels."""
    (_, _), (images, labels) = load_mnist()
    return images[:count], labels[:count]


def on_paper(digit: Pixels, side: int, paper: tuple[int, ...] = (235,), pen: tuple[int, ...] = (30,)) -> Pixels:
    """A digit written with a pen on paper of `side` pixels: uint8 (side, side), or RGB for colours of three."""
    ink = cv2.resize(digit, (side, side), interpolation=cv2.INTER_CUBIC if side > 28 else cv2.INTER_AREA)
    share = ink.astype(np.float32)[..., None] / 255
    picture = (np.array(paper) * (1 - share) + np.array(pen) * share).round().astype(np.uint8)
    return picture if len(paper) == 3 else picture[..., 0]


def encoded(pixels: npt.NDArray[Any], form: str = "PNG", **options: Any) -> bytes:
    """The bytes of a picture file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form, **options)
    return file.getvalue()
