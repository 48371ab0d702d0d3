"""Pictures of MNIST's test digits on paper, as arrays and files. Nothing here is random."""

import io
from functools import cache
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from numerals.article.data import load_mnist
from numerals.read.pixels import DigitImages, Pixels


@cache
def some_digits(count: int = 200) -> tuple[DigitImages, npt.NDArray[np.uint8]]:
    """The first test digits of MNIST, uint8 (n, 28, 28), and their labels."""
    _, (images, labels) = load_mnist()
    return images[:count], labels[:count]


def on_paper(digit: Pixels, side: int, paper: tuple[int, ...] = (235,), pen: tuple[int, ...] = (30,)) -> Pixels:
    """A digit in the colour `pen` on paper of that colour: uint8 (side, side), or (side, side, 3) for RGB colours."""
    resized = cv2.resize(digit, (side, side), interpolation=cv2.INTER_CUBIC if side > 28 else cv2.INTER_AREA)
    ink = resized.astype(np.float32)[..., None] / 255
    picture = (np.array(paper) * (1 - ink) + np.array(pen) * ink).round().astype(np.uint8)
    return picture if len(paper) == 3 else picture[..., 0]


def encoded(picture: npt.NDArray[Any] | Image.Image, form: str = "PNG", **options: Any) -> bytes:
    """The bytes of a picture file."""
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()
