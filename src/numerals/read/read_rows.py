"""Picture -> rows of digits with boxes and confidences: finding, the row network, decoding. Never imports torch."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
import numpy.typing as npt

from numerals.read.decode import Decoded, Probabilities, decode
from numerals.read.find import FoundRow, find_rows, whole_row
from numerals.read.ink import Picture, Sheet, reduced, sheet_of
from numerals.read.strips import INK, Grey

STRIDE = 2  # columns of a strip for one step of the network's answer
LOOKS = ((1.0, 1.0), (0.9, 1.0), (1.1, 1.0), (1.0, 1.2), (1.0, 0.85))  # sizes and widths at which a strip is looked at
THIN = 0.5  # share of the ink that is two pixels wide; where it is less, strokes are thickened by one
UNSURE = 0.93  # a page read with less mean confidence is tried lying on its sides and upside down
BETTER = 1.2  # how many times more must speak for another way up
LONGEST = 12  # rows looked at to tell which way up a page is
LEAST_DIGIT = 0.5  # a row whose digits are less sure than this on average is no row of digits
FAINT = 0.35  # of a row's ink: what belongs to a digit's box is darker

Answer = Callable[[Grey], Probabilities]  # uint8 (n, 1, 40, w) -> float32 (n, steps, 11)
Frame = tuple[float, float, float, float]  # left, top, right, bottom, in the picture's pixels


@dataclass(frozen=True)
class ReadDigit:
    """One digit, its box and the network's confidence in it."""

    digit: int
    confidence: float
    box: Frame


@dataclass(frozen=True)
class ReadRow:
    """One row of digits, left to right, and the confidence that all of it is so."""

    digits: tuple[ReadDigit, ...]
    confidence: float
    strip: Grey

    @property
    def text(self) -> str:
        return "".join(str(digit.digit) for digit in self.digits)


@dataclass(frozen=True)
class ReadPage:
    """The rows from top to bottom, as read after `quarters` quarter turns of the picture against the clock.

    The boxes are in the turned picture's pixels.
    """

    rows: tuple[ReadRow, ...]
    quarters: int = 0

    @property
    def text(self) -> str:
        """The rows' digits, a line a row."""
        return "\n".join(row.text for row in self.rows)

    @property
    def confidence(self) -> float:
        """The mean confidence of all digits; 0 where there are none."""
        sure = [digit.confidence for row in self.rows for digit in row.digits]
        return float(np.mean(sure)) if sure else 0.0

    @property
    def evidence(self) -> float:
        """How much speaks for this way up: many digits, and sure of them."""
        return sum(max(2 * digit.confidence - 1, 0) for row in self.rows for digit in row.digits)


def read_page(picture: Picture, answer: Answer) -> ReadPage:
    """The digits in a picture, whichever way up it lies.

    Args:
        picture: uint8 (h, w) or RGB (h, w, 3).
        answer: the row network.
    """
    small, scale = reduced(picture)
    whole = whole_row(small)
    if whole is not None:
        return ReadPage(_certain([read_row(whole, answer, scale)]))
    sheet = sheet_of(small)
    best = read_sheet(sheet, answer, 0, scale)
    if best.confidence >= UNSURE or not best.rows:
        return best
    quarters = way_up(sheet, answer)
    return read_sheet(sheet, answer, quarters, scale) if quarters else best


def way_up(sheet: Sheet, answer: Answer) -> int:
    """How many quarter turns against the clock make the sheet upright, after one look at each row each way up."""
    evidence = [_evidence(sheet.turned(quarters), answer) for quarters in range(4)]
    best = int(np.argmax(evidence))
    return best if evidence[best] > BETTER * evidence[0] else 0


def _evidence(sheet: Sheet, answer: Answer) -> float:
    """How much speaks for this way up, from the longest rows."""
    longest = sorted(find_rows(sheet), key=lambda found: -found.strip.shape[1])[:LONGEST]
    return ReadPage(tuple(read_row(found, answer, 1.0, 1) for found in longest)).evidence


def read_sheet(sheet: Sheet, answer: Answer, quarters: int, scale: float) -> ReadPage:
    """The rows of digits on a sheet after so many quarter turns; `scale` of its pixels are one of the picture's."""
    turned = sheet.turned(quarters) if quarters else sheet
    return ReadPage(_certain([read_row(found, answer, scale) for found in find_rows(turned)]), quarters)


def _certain(rows: list[ReadRow]) -> tuple[ReadRow, ...]:
    """The rows that have digits, of which the network is not too unsure."""
    return tuple(row for row in rows if row.digits and np.mean([d.confidence for d in row.digits]) >= LEAST_DIGIT)


def read_row(found: FoundRow, answer: Answer, scale: float, looks: int = len(LOOKS)) -> ReadRow:
    """One found row read; `scale` of its place's pixels are one of the picture's."""
    strip = thickened(found.strip)
    decoded = decode([answer(zoomed(strip, *look)[None, None])[0] for look in LOOKS[:looks]])
    frames = [_scaled(found.to_picture(*frame), 1 / scale) for frame in digit_frames(found.strip, decoded)]
    digits = map(ReadDigit, decoded.digits, decoded.confidences, frames)
    return ReadRow(tuple(digits), decoded.confidence, found.strip)


def _scaled(frame: Frame, factor: float) -> Frame:
    left, top, right, bottom = frame
    return left * factor, top * factor, right * factor, bottom * factor


def thickened(strip: Grey) -> Grey:
    """The strip, its strokes a pixel wider where they are hairlines."""
    dark = np.asarray(strip > FAINT * INK, np.uint8)
    square = np.ones((2, 2), np.uint8)
    wide = np.asarray(cv2.morphologyEx(dark, cv2.MORPH_OPEN, square), np.uint8)
    return strip if wide.sum() >= THIN * dark.sum() else np.asarray(cv2.dilate(strip, square), np.uint8)


def zoomed(strip: Grey, zoom: float, stretch: float) -> Grey:
    """The strip with its writing larger or smaller about its middle line, and wider or narrower; its height stays."""
    if zoom == stretch == 1:
        return strip
    height, width = strip.shape
    wide = max(round(width * zoom * stretch), 8)
    matrix = np.array([[wide / width, 0, 0], [0, zoom, (1 - zoom) * (height - 1) / 2]])
    return np.asarray(cv2.warpAffine(strip, matrix, (wide, height), flags=cv2.INTER_LINEAR), np.uint8)


def digit_frames(strip: Grey, decoded: Decoded) -> list[Frame]:
    """Each digit's box in the strip: between the columns with least ink, drawn in to the ink there."""
    if not decoded.digits:
        return []
    at = [STRIDE * step + STRIDE / 2 for step in decoded.steps]
    columns = strip.sum(axis=0, dtype=np.float64)
    ends = [0.0, *(_parting(columns, *pair) for pair in pairwise(at)), float(strip.shape[1])]
    dark: npt.NDArray[np.bool_] = strip > FAINT * INK
    return [_drawn_in(dark, left, right, peak) for left, right, peak in zip(ends, ends[1:], at, strict=False)]


def _parting(columns: npt.NDArray[np.float64], left: float, right: float) -> float:
    """The column with least ink between two peaks, and of several the one nearest to their middle."""
    between = np.arange(int(left), max(int(np.ceil(right)), int(left) + 1))
    away = np.abs(between + 0.5 - (left + right) / 2)
    return float(between[np.argmin(columns[between] + 0.5 * INK * away / max(right - left, 1))]) + 0.5


def _drawn_in(dark: npt.NDArray[np.bool_], left: float, right: float, peak: float) -> Frame:
    """The box around the dark pixels between two columns that are not farther off than a digit is wide."""
    height = dark.shape[0]
    start, end = int(max(left, peak - 0.6 * height)), int(np.ceil(min(right, peak + 0.6 * height)))
    part = dark[:, start:end]
    columns, lines = np.flatnonzero(part.any(axis=0)), np.flatnonzero(part.any(axis=1))
    if not len(columns):
        return float(start), 0.0, float(end), float(height)
    return float(start + columns[0]), float(lines[0]), float(start + columns[-1] + 1), float(lines[-1] + 1)
