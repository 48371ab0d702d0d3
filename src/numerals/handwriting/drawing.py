"""Drawing and warping that all handwriting synthesis shares: smooth pen strokes, distortion, JPEG, cropping."""

import cv2
import numpy as np
import numpy.typing as npt

from numerals.read.digit_ink import Ink
from numerals.read.pixels import GreyPixels

CANVAS = 72  # pixels along each side of the picture that one digit or non-digit is drawn in
Points = npt.NDArray[np.floating]  # (n, 2): x, y with y downwards


def draw_path(
    canvas: npt.NDArray[np.uint8] | npt.NDArray[np.float32],
    points: Points,
    value: float,
    pen_width: int,
    *,
    antialias: bool = True,
    fraction_bits: int = 4,
) -> None:
    """Draw straight lines from point to point onto the canvas, in place.

    Args:
        canvas: (h, w), of any range of values.
        points: in pixels.
        value: of the line's pixels.
        pen_width: in pixels.
        antialias: whether edges are smooth.
        fraction_bits: the points are rounded to 1 / 2**fraction_bits of a pixel.
    """
    rounded = np.round(points * 2**fraction_bits).astype(np.int32)
    line_type = cv2.LINE_AA if antialias else cv2.LINE_8
    cv2.polylines(canvas, [rounded], False, value, pen_width, line_type, fraction_bits)


def smooth_curve(points: npt.NDArray[np.float32], steps: int = 6) -> npt.NDArray[np.float32]:
    """Interpolate points by a Catmull-Rom curve; a point given twice stays a corner.

    Args:
        points: float32 (n, 2).
        steps: points of the curve between two neighbouring points.

    Returns:
        float32 (steps * (n - 1) + 1, 2).
    """
    padded = np.concatenate([points[:1], points, points[-1:]])
    before, start, end, after = padded[:-3, None], padded[1:-2, None], padded[2:-1, None], padded[3:, None]
    t = np.linspace(0, 1, steps, endpoint=False, dtype=np.float32)[None, :, None]
    curve = start + 0.5 * t * (
        end - before + t * (2 * before - 5 * start + 4 * end - after + t * (3 * (start - end) + after - before))
    )
    return np.concatenate([curve.reshape(-1, 2), points[-1:]]).astype(np.float32)


def rotation(angle: float) -> npt.NDArray[np.float64]:
    """Matrix (2, 2) that rotates (x, y) by `angle` radians, clockwise as y points down."""
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def displace(
    ink: Ink, dx: npt.NDArray[np.float32], dy: npt.NDArray[np.float32], border: int = cv2.BORDER_CONSTANT
) -> Ink:
    """Take each pixel from (x + dx, y + dy), interpolated linearly; all arrays (h, w), `dx` and `dy` in pixels."""
    height, width = ink.shape
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return np.asarray(cv2.remap(ink, x + dx, y + dy, cv2.INTER_LINEAR, borderMode=border), np.float32)


def distort(ink: Ink, rng: np.random.Generator, strength: float) -> Ink:
    """Distort a digit smoothly, as by an unsteady hand, by `strength` pixels (standard deviation)."""
    dx, dy = rng.normal(0, strength, (2, 4, 4)).astype(np.float32)
    dx, dy = (cv2.resize(shift, ink.shape[::-1], interpolation=cv2.INTER_LINEAR) for shift in (dx, dy))
    return displace(ink, dx, dy)


def compress_jpeg(pixels: GreyPixels, quality: int) -> GreyPixels:
    """Compress to JPEG and decompress; `quality` from 0 to 100."""
    _, encoded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE), np.uint8)


def crop_to_ink(ink: Ink) -> Ink:
    """Crop to the bounding box of the ink; without ink, return the picture unchanged."""
    strong = ink > 0.3
    rows, columns = np.flatnonzero(strong.any(axis=1)), np.flatnonzero(strong.any(axis=0))
    if len(rows) == 0:
        return ink
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
