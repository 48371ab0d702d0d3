"""Picture -> rows of writing, in reading order, each as a strip with its place. Knows nothing about networks or files.

Paper is what is brighter (or darker) than the ink around it; ink is what stands out from it. Pieces of ink of about one
height that stand side by side are a row, which may climb; it is turned level and brought to `strips`' form.
"""

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
import numpy.typing as npt

from numerals.read.lines import Line, Pieces, lines_of, pieces_of
from numerals.read.page_ink import Sheet, is_light
from numerals.read.pixels import GreyPixels, Mask, Pixels, downscale
from numerals.read.strips import STRIP_HEIGHT, Darkness, band_of, darkness, ink_mask, strip_of
from numerals.results import Points

TIGHT = 0.38  # share of a picture's height from which on the digits fill it: the picture is itself a row
ONE_ROW = 1.9  # heights of a digit that a single row takes at most
TIGHT_HEIGHT = 64  # rows of pixels at which a whole picture is looked at as one row
LEVEL = 40  # pixels of a digit's height in a row that was turned level
MARGIN = 0.5  # heights of a digit left around a row
GHOST = 0.25  # of the darkest row's ink: a fainter "row" is a fold, a shadow's edge or the other page's writing
WIDE_GAP = 1.0  # heights of a digit: a wider gap is shortened to this

Places = npt.NDArray[np.float64]


@dataclass(frozen=True)
class FoundRow:
    """A strip, uint8 (40, w), and where it was.

    Column c of the strip shows column `columns[c]` of the level row (gaps were shortened); `scale` of its pixels are
    one of the level row's, whose line `top` is the strip's first; `place`, float64 (2, 3), takes the level row's
    (x, y, 1) to the picture's pixels. `ink` is how much darker than the paper its writing is.
    """

    strip: GreyPixels
    columns: Places
    scale: float
    top: float
    place: Places
    ink: float

    def to_sheet(self, points: Points) -> Points:
        """Map points in the strip's pixels, float64 (n, 2), to the sheet's pixels."""
        x = np.interp(points[:, 0], np.arange(len(self.columns)), self.columns)
        y = points[:, 1] / self.scale + self.top
        return np.asarray(np.column_stack([x, y, np.ones(len(points))]) @ self.place.T)


def find_rows(sheet: Sheet) -> list[FoundRow]:
    """The rows of writing on an upright sheet, from top to bottom; none where there is none."""
    pieces = pieces_of(sheet.mask)
    rows = [row_of(sheet, pieces, line) for line in lines_of(pieces, sheet.mask.shape)]
    darkest = max((row.ink for row in rows), default=0.0)
    return [row for row in rows if row.ink > GHOST * darkest]


def whole_row(picture: Pixels) -> FoundRow | None:
    """The picture as one row where its digits fill its height, as in a cut-out amount; else None."""
    height, width = picture.shape[:2]
    if height < 8 or width < 1.1 * height:
        return None
    scale = min(1.0, TIGHT_HEIGHT / height)
    if scale < 1:
        picture = downscale(picture, scale)
    grey = np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), np.uint8) if picture.ndim == 3 else picture
    if is_light(grey):
        grey = np.asarray(cv2.bitwise_not(grey), np.uint8)
    ink = darkness(grey, max(7, round(0.3 * grey.shape[0])))
    mask, paper, full = ink_mask(ink)
    band = band_of(mask)
    one_row = band.height >= TIGHT * len(grey) and band.bottom - band.top <= ONE_ROW * band.height
    if not one_row or is_framed(ink, (paper + full) / 2):
        return None
    strip, zoom = strip_of(ink, band, paper, full)
    top = (band.top + band.bottom) / 2 - STRIP_HEIGHT / 2 / zoom
    place = np.array([[1 / scale, 0, 0], [0, 1 / scale, 0]])
    return FoundRow(strip, np.arange(strip.shape[1]) / zoom, zoom, top, place, full - paper)


def is_framed(ink: Darkness, threshold: float) -> bool:
    """Whether three of the sides are dark, as where corners lie in shadow or a table shows around the paper."""
    sides = (ink[:2], ink[-2:], ink[:, :2], ink[:, -2:])
    return sum(float(np.mean(side > threshold)) > 0.3 for side in sides) >= 3


def row_of(sheet: Sheet, pieces: Pieces, line: Line) -> FoundRow:
    """One line of the sheet, turned level and made a strip, without the ink of its neighbours."""
    ink, own, place = level(sheet, pieces, line)
    columns = shortened(own, LEVEL)
    ink, own = ink[:, columns], own[:, columns]
    levels = ink[own > 0]
    paper = float(np.median(ink))
    full = max(float(np.mean(levels[levels >= np.median(levels)])) if levels.size else 0.0, paper + 4)
    band = band_of(own)
    strip, zoom = strip_of(ink, band, paper, full)
    top = (band.top + band.bottom) / 2 - STRIP_HEIGHT / 2 / zoom
    across = np.interp((np.arange(strip.shape[1]) + 0.5) / zoom - 0.5, np.arange(len(columns)), columns)
    return FoundRow(strip, across, zoom, top, place, full - paper)


def level(sheet: Sheet, pieces: Pieces, line: Line) -> tuple[Darkness, Mask, Places]:
    """The line's ink and its own mask, both turned so that it runs level, digits LEVEL high; and the way back.

    Returns:
        float32 (h, w), uint8 (h, w), and float64 (2, 3) from (x, y, 1) there to the sheet's pixels.
    """
    boxes = pieces.boxes[line.pieces]
    turn = np.arctan(line.climb)
    along = np.array([np.cos(turn), np.sin(turn)])
    across = np.array([-along[1], along[0]])
    corners = np.concatenate([boxes[:, [0, 1]], boxes[:, [2, 1]], boxes[:, [0, 3]], boxes[:, [2, 3]]])
    low = np.array([(corners @ along).min(), (corners @ across).min()]) - MARGIN * line.height
    high = np.array([(corners @ along).max(), (corners @ across).max()]) + MARGIN * line.height
    zoom = LEVEL / line.height
    size = [max(round(float(side) * zoom), 8) for side in high - low]
    back = np.column_stack([along / zoom, across / zoom, low[0] * along + low[1] * across])
    owned = np.zeros(pieces.boxes.shape[0] + 1, np.uint8)
    owned[line.pieces + 1] = 1
    window = _window(corners, line.height, sheet.mask.shape)
    labels = pieces.labels[window]
    own = owned[labels]
    ink = np.where((labels > 0) & (own == 0), 0, sheet.ink[window]).astype(np.float32)
    shifted = back - np.array([[0, 0, window[1].start], [0, 0, window[0].start]])
    if zoom < 1:
        ink = np.asarray(cv2.GaussianBlur(ink, (0, 0), 0.4 / zoom), np.float32)
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    turned = [cv2.warpAffine(plane, shifted, (size[0], size[1]), flags=how) for plane in (ink, own * np.uint8(255))]
    return turned[0].astype(np.float32), (turned[1] > 127).astype(np.uint8), back


def _window(corners: Places, height: float, shape: tuple[int, ...]) -> tuple[slice, slice]:
    """The part of the sheet that a line and its surroundings take."""
    left, top = np.maximum(np.floor(corners.min(axis=0) - height), 0).astype(int).tolist()
    right, bottom = np.ceil(corners.max(axis=0) + height).astype(int).tolist()
    return slice(top, min(bottom, shape[0])), slice(left, min(right, shape[1]))


def shortened(own: Mask, height: int) -> npt.NDArray[np.int64]:
    """The columns to keep of a level row: all, but of a gap wider than WIDE_GAP heights only its two ends."""
    written = np.flatnonzero(own.any(axis=0))
    keep = np.ones(own.shape[1], bool)
    half = int(WIDE_GAP * height / 2)
    for before, after in pairwise(written.tolist()):
        if after - before > 2 * half + 1:
            keep[before + half : after - half] = False
    return np.flatnonzero(keep)
