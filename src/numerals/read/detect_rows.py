"""Detect the rows of writing on a page and cut each out as a strip, in reading order.

Pieces of ink of about one height that stand side by side are a row. A row may climb; it is turned level and brought to
the form that `strips` describes.
"""

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
import numpy.typing as npt

from numerals.read.page_ink import Sheet, has_light_ink
from numerals.read.pixels import Mask, Pixels, downscale
from numerals.read.strips import STRIP_HEIGHT, Darkness, Strip, darkness, digit_band, ink_mask, make_strip
from numerals.read.text_lines import Line, Pieces, find_lines, find_pieces
from numerals.results import Points

MIN_FILLED_SHARE = 0.38  # of a picture's height that the digits fill if the picture is itself a row
MAX_ROW_HEIGHT = 1.9  # heights of a digit that a single row takes
SINGLE_ROW_HEIGHT = 64  # pixels to which a picture is reduced to find out whether it is a row
LEVEL_HEIGHT = 40  # pixels of a digit's height in a row that was turned level
MARGIN = 0.5  # heights of a digit around a row
MIN_RELATIVE_INK = 0.25  # of the darkest row's ink; fainter "rows" are folds, shadows or writing on the back
MAX_GAP = 1.0  # heights of a digit; wider gaps are shortened to this

Transform = npt.NDArray[np.float64]  # (2, 3): takes (x, y, 1) to (x, y)


@dataclass(frozen=True)
class FoundRow:
    """A row as a strip, and where it is on the sheet.

    On the way, the row was turned level, its wide gaps were shortened, and it was scaled.
    """

    strip: Strip
    columns: npt.NDArray[np.float64]  # (w,): the column of the level row that each column of the strip shows
    scale: float  # of the strip, relative to the level row
    top: float  # line of the level row at which the strip begins
    level_to_sheet: Transform
    ink: float  # grey levels by which the writing is darker than the background

    def to_sheet(self, points: Points) -> Points:
        """Map points in the strip's pixels to the sheet's pixels."""
        x = np.interp(points[:, 0], np.arange(len(self.columns)), self.columns)
        y = points[:, 1] / self.scale + self.top
        return np.asarray(np.column_stack([x, y, np.ones(len(points))]) @ self.level_to_sheet.T)


def find_rows(sheet: Sheet) -> list[FoundRow]:
    """Find the rows of writing on an upright sheet, from top to bottom."""
    pieces = find_pieces(sheet.mask)
    rows = [_cut_row(sheet, pieces, line) for line in find_lines(pieces, sheet.mask.shape)]
    darkest = max((row.ink for row in rows), default=0.0)
    return [row for row in rows if row.ink > MIN_RELATIVE_INK * darkest]


def single_row(pixels: Pixels) -> FoundRow | None:
    """Return the picture as one row if its digits fill its height, as in a cut-out amount; otherwise None."""
    height, width = pixels.shape[:2]
    if height < 8 or width < 1.1 * height:
        return None
    scale = min(1.0, SINGLE_ROW_HEIGHT / height)
    if scale < 1:
        pixels = downscale(pixels, scale)
    grey = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8) if pixels.ndim == 3 else pixels
    if has_light_ink(grey):
        grey = np.asarray(cv2.bitwise_not(grey), np.uint8)
    ink = darkness(grey, max(7, round(0.3 * grey.shape[0])))
    mask, background_level, ink_level = ink_mask(ink)
    band = digit_band(mask)
    fills = band.height >= MIN_FILLED_SHARE * len(grey) and band.bottom - band.top <= MAX_ROW_HEIGHT * band.height
    if not fills or _is_framed(ink, (background_level + ink_level) / 2):
        return None
    strip, zoom = make_strip(ink, band, background_level, ink_level)
    top = (band.top + band.bottom) / 2 - STRIP_HEIGHT / 2 / zoom
    to_sheet = np.array([[1 / scale, 0, 0], [0, 1 / scale, 0]])
    return FoundRow(strip, np.arange(strip.shape[1]) / zoom, zoom, top, to_sheet, ink_level - background_level)


def _is_framed(ink: Darkness, threshold: float) -> bool:
    """Return whether three of the sides are dark, as with shadows in the corners or a table around the paper."""
    sides = (ink[:2], ink[-2:], ink[:, :2], ink[:, -2:])
    return sum(float(np.mean(side > threshold)) > 0.3 for side in sides) >= 3


def _cut_row(sheet: Sheet, pieces: Pieces, line: Line) -> FoundRow:
    """Cut a line out of the sheet as a strip, turned level and without the ink of its neighbours."""
    ink, mask, level_to_sheet = _turn_level(sheet, pieces, line)
    columns = _without_wide_gaps(mask, LEVEL_HEIGHT)
    ink, mask = ink[:, columns], mask[:, columns]
    levels = ink[mask > 0]
    background_level = float(np.median(ink))
    strong = float(np.mean(levels[levels >= np.median(levels)])) if levels.size else 0.0
    ink_level = max(strong, background_level + 4)
    band = digit_band(mask)
    strip, zoom = make_strip(ink, band, background_level, ink_level)
    top = (band.top + band.bottom) / 2 - STRIP_HEIGHT / 2 / zoom
    strip_columns = np.interp((np.arange(strip.shape[1]) + 0.5) / zoom - 0.5, np.arange(len(columns)), columns)
    return FoundRow(strip, strip_columns, zoom, top, level_to_sheet, ink_level - background_level)


def _turn_level(sheet: Sheet, pieces: Pieces, line: Line) -> tuple[Darkness, Mask, Transform]:
    """Turn a line level and scale its digits to LEVEL_HEIGHT.

    Returns:
        The line's ink, float32 (h, w), and its mask, uint8 (h, w); and the transform from there to the sheet's pixels.
    """
    boxes = pieces.boxes[line.pieces]
    angle = np.arctan(line.climb)
    along = np.array([np.cos(angle), np.sin(angle)])
    across = np.array([-along[1], along[0]])
    corners = np.concatenate([boxes[:, [0, 1]], boxes[:, [2, 1]], boxes[:, [0, 3]], boxes[:, [2, 3]]])
    low = np.array([(corners @ along).min(), (corners @ across).min()]) - MARGIN * line.height
    high = np.array([(corners @ along).max(), (corners @ across).max()]) + MARGIN * line.height
    zoom = LEVEL_HEIGHT / line.height
    size = [max(round(float(side) * zoom), 8) for side in high - low]
    to_sheet = np.column_stack([along / zoom, across / zoom, low[0] * along + low[1] * across])
    in_line = np.zeros(pieces.boxes.shape[0] + 1, np.uint8)
    in_line[line.pieces + 1] = 1
    window = _surroundings(corners, line.height, sheet.mask.shape)
    labels = pieces.labels[window]
    mask = in_line[labels]
    ink = np.where((labels > 0) & (mask == 0), 0, sheet.ink[window]).astype(np.float32)
    to_window = to_sheet - np.array([[0, 0, window[1].start], [0, 0, window[0].start]])
    if zoom < 1:
        ink = np.asarray(cv2.GaussianBlur(ink, (0, 0), 0.4 / zoom), np.float32)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    turned = [
        cv2.warpAffine(plane, to_window, (size[0], size[1]), flags=flags) for plane in (ink, mask * np.uint8(255))
    ]
    return turned[0].astype(np.float32), (turned[1] > 127).astype(np.uint8), to_sheet


def _surroundings(corners: Points, height: float, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Return the part of the sheet that a line and its surroundings take."""
    left, top = np.maximum(np.floor(corners.min(axis=0) - height), 0).astype(int).tolist()
    right, bottom = np.ceil(corners.max(axis=0) + height).astype(int).tolist()
    return slice(top, min(bottom, shape[0])), slice(left, min(right, shape[1]))


def _without_wide_gaps(mask: Mask, height: int) -> npt.NDArray[np.int64]:
    """Return the columns of a level row to keep: all, but only the two ends of a gap wider than MAX_GAP heights."""
    written = np.flatnonzero(mask.any(axis=0))
    keep = np.ones(mask.shape[1], bool)
    half = int(MAX_GAP * height / 2)
    for before, after in pairwise(written.tolist()):
        if after - before > 2 * half + 1:
            keep[before + half : after - half] = False
    return np.flatnonzero(keep)
