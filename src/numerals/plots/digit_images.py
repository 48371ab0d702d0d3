"""Digits and maps as small PNGs inside a page (data URIs). Knows nothing about what they show."""

import base64
import io
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from numerals.spec import WHITE

FOR, AGAINST = (38, 132, 255), (255, 122, 26)  # blue and orange, as on the web page; the colour-blind tell them too


def data_uri(pixels: npt.NDArray[np.uint8]) -> str:
    """A grey (h, w) or RGBA (h, w, 4) picture as the address of an <img>."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def mosaic(pictures: npt.NDArray[np.uint8], columns: int, gap: int = 2) -> npt.NDArray[np.uint8]:
    """Pictures (n, h, w) in rows of so many, with black between them."""
    count, height, width = pictures.shape
    rows = -(-count // columns)
    cells = np.zeros((rows * columns, height + gap, width + gap), np.uint8)
    cells[:count, :height, :width] = pictures
    whole = cells.reshape(rows, columns, height + gap, width + gap).swapaxes(1, 2)
    return whole.reshape(rows * (height + gap), columns * (width + gap))[: -gap or None, : -gap or None]


def to_grey(values: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.uint8]:
    """Any values as grey, the least black, the most white."""
    low, high = float(values.min()), float(values.max())
    return np.asarray((values - low) / ((high - low) or 1) * WHITE).round().astype(np.uint8)


def heatmap(values: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.uint8]:
    """Values (h, w) as RGBA to lay over a digit: FOR above 0, AGAINST below, the more solid the farther from it."""
    most = float(np.abs(values).max()) or 1.0
    colours = np.where(values[..., None] > 0, np.array(FOR), np.array(AGAINST))
    solid = np.sqrt(np.abs(values) / most)[..., None] * WHITE
    return np.concatenate([colours, solid], axis=-1).round().astype(np.uint8)
