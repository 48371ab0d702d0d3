"""Picture -> rows of digits with boxes and confidences: found, read strip by strip, the right way up."""

from dataclasses import dataclass

import numpy as np

from numerals.read.detect_rows import FoundRow, find_rows, whole_row
from numerals.read.page_ink import Sheet, polarities, reduced, sheet_of
from numerals.read.pixels import GreyPixels, Pixels
from numerals.read.strip_reader import LOOKS, Frame, StripReader

UNSURE = 0.9  # a page read with less mean evidence is tried lying on its sides and upside down
MORE = 1.5  # how many times more must speak for several rows than for one, where a picture looks like one row
BETTER = 1.2  # how many times more must speak for another way up
LONGEST = 3  # rows looked at to tell which way up a page is: the widest


@dataclass(frozen=True)
class ReadDigit:
    """One digit, its box and the network's confidence in it."""

    digit: int
    confidence: float
    box: Frame
    seen: GreyPixels  # uint8 (28, 28): what the digit model saw


@dataclass(frozen=True)
class ReadRow:
    """One row of digits, left to right, and the confidence that all of it is so."""

    digits: tuple[ReadDigit, ...]
    confidence: float
    evidence: float  # in [0, 1]: how much it looks like digits at all
    strip: GreyPixels

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
    def sureness(self) -> float:
        """The mean evidence of all digits; 0 where there are none."""
        digits = sum(len(row.digits) for row in self.rows)
        return sum(len(row.digits) * row.evidence for row in self.rows) / digits if digits else 0.0

    @property
    def evidence(self) -> float:
        """How much speaks for this way up: many digits, and sure of them."""
        return sum(len(row.digits) * max(2 * row.evidence - 1, 0) for row in self.rows)


def read_page(picture: Pixels, read_strip: StripReader) -> ReadPage:
    """The digits in a picture, whichever way up it lies.

    Args:
        picture: uint8 (h, w) or RGB (h, w, 3).
        read_strip: the models.
    """
    small, scale = reduced(picture)
    whole = whole_row(small)
    if whole is not None:
        return _as_row_or_page(whole, small, scale, read_strip)
    page, sheet = _upright(small, scale, read_strip)
    may_lie = page.sureness < UNSURE and not read_strip.drawn
    quarters = way_up(sheet, page, read_strip) if may_lie else 0
    return read_sheet(sheet, read_strip, quarters, scale) if quarters else page


def _as_row_or_page(whole: FoundRow, small: Pixels, scale: float, read_strip: StripReader) -> ReadPage:
    """The picture as the one row that it looks like; but a shadow across a page may look like one tall row."""
    row = ReadPage(_certain([read_row(whole, read_strip, scale)], read_strip))
    if row.sureness >= UNSURE:
        return row
    page, _ = _upright(small, scale, read_strip)
    several = len(page.rows) > 1 and page.sureness >= UNSURE
    return page if several and page.evidence > MORE * row.evidence else row


def _upright(small: Pixels, scale: float, read_strip: StripReader) -> tuple[ReadPage, Sheet]:
    """The picture read row by row as it lies, and its sheet, of whichever polarity reads better."""
    tried = []
    for light in polarities(small):
        sheet = sheet_of(small, light, ruled=not read_strip.drawn)
        tried.append((read_sheet(sheet, read_strip, 0, scale), sheet))
        if tried[-1][0].sureness >= UNSURE:
            return tried[-1]
    return max(tried, key=lambda each: each[0].evidence)


def way_up(sheet: Sheet, page: ReadPage, read_strip: StripReader) -> int:
    """How many quarter turns against the clock make the sheet upright; `page` is what was read of it as it lies.

    The longest rows count, those of the other ways up after one look.
    """
    evidence = [_longest(list(page.rows)).evidence]
    for quarters in (1, 2, 3):
        found = sorted(find_rows(sheet.turned(quarters)), key=lambda each: -each.strip.shape[1])[:LONGEST]
        evidence.append(_longest([read_row(each, read_strip, 1.0, 1) for each in found]).evidence)
    best = int(np.argmax(evidence))
    return best if evidence[best] > BETTER * evidence[0] else 0


def _longest(rows: list[ReadRow]) -> ReadPage:
    return ReadPage(tuple(sorted(rows, key=lambda row: -row.strip.shape[1])[:LONGEST]))


def read_sheet(sheet: Sheet, read_strip: StripReader, quarters: int, scale: float) -> ReadPage:
    """The rows of digits on a sheet after so many quarter turns; `scale` of its pixels are one of the picture's."""
    turned = sheet.turned(quarters) if quarters else sheet
    return ReadPage(_certain([read_row(found, read_strip, scale) for found in find_rows(turned)], read_strip), quarters)


def _certain(rows: list[ReadRow], read_strip: StripReader) -> tuple[ReadRow, ...]:
    """The rows that have digits, and look like rows of digits."""
    return tuple(row for row in rows if row.digits and row.evidence >= read_strip.settings.threshold)


def read_row(found: FoundRow, read_strip: StripReader, scale: float, looks: int = len(LOOKS)) -> ReadRow:
    """One found row read; `scale` of its place's pixels are one of the picture's."""
    reading = read_strip(found.strip, looks)
    frames = [_scaled(found.to_picture(*frame), 1 / scale) for frame in reading.frames]
    digits = map(ReadDigit, reading.digits, reading.confidences, frames, reading.seen)
    return ReadRow(tuple(digits), reading.confidence, reading.evidence, found.strip)


def _scaled(frame: Frame, factor: float) -> Frame:
    left, top, right, bottom = frame
    return left * factor, top * factor, right * factor, bottom * factor
