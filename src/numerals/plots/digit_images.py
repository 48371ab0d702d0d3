"""Turn digits, feature maps and attributions into pixels: mosaics, grey images, heatmaps, data URIs for a page."""

import base64
import io
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from numerals.spec import WHITE

# Blue and orange, as on the web page; they also differ to colour-blind readers.
POSITIVE_RGB, NEGATIVE_RGB = (38, 132, 255), (255, 122, 26)


def data_uri(pixels: npt.NDArray[np.uint8]) -> str:
    """Encode a grey (height, width) or RGBA (height, width, 4) image as a PNG in a data URI, for an <img>."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def mosaic(images: npt.NDArray[np.uint8], columns: int, gap: int = 2) -> npt.NDArray[np.uint8]:
    """Arrange images (n, height, width) in rows of `columns`, with black gaps of `gap` pixels."""
    count, height, width = images.shape
    rows = -(-count // columns)
    cells = np.zeros((rows * columns, height + gap, width + gap), np.uint8)
    cells[:count, :height, :width] = images
    grid = cells.reshape(rows, columns, height + gap, width + gap).swapaxes(1, 2)
    return grid.reshape(rows * (height + gap), columns * (width + gap))[: -gap or None, : -gap or None]


def to_grey(values: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.uint8]:
    """Scale values of any range to grey: the lowest is black, the highest white."""
    low, high = float(values.min()), float(values.max())
    return np.asarray((values - low) / ((high - low) or 1) * WHITE).round().astype(np.uint8)


def heatmap(values: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.uint8]:
    """Colour values (height, width) as an RGBA overlay: blue above 0, orange below, transparent at 0."""
    largest = float(np.abs(values).max()) or 1.0
    colours = np.where(values[..., None] > 0, np.array(POSITIVE_RGB), np.array(NEGATIVE_RGB))
    alpha = np.sqrt(np.abs(values) / largest)[..., None] * WHITE
    return np.concatenate([colours, alpha], axis=-1).round().astype(np.uint8)
