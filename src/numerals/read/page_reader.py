"""Read a picture: find its rows, read them strip by strip, and choose the polarity and the way up that read best."""

import numpy as np

from numerals.read.detect_rows import FoundRow, find_rows, single_row
from numerals.read.page_ink import Sheet, extract_sheet, polarities, reduced
from numerals.read.picture import Picture
from numerals.read.strip_reader import StripReader
from numerals.results import Page, PointMap, Points, Row

CLEAR_EVIDENCE = 0.9  # a page with less mean evidence is also tried in the other polarity, on its sides and upside down
MIN_PAGE_GAIN = 1.5  # where a picture looks like one row, several rows must have this many times its evidence
MIN_TURN_GAIN = 1.2  # another way up must have this many times the evidence
MAX_ROWS_FOR_TURN = 3  # the widest rows tell which way up a page is


def read_page(picture: Picture, strip_reader: StripReader) -> Page:
    """Read the digits in a picture, whichever way up it is.

    Raises:
        PictureError: the strip reader's deadline has passed.
    """
    return _PageReader(picture, strip_reader).read()


class _PageReader:
    """One picture, reduced to the size at which rows are detected, and the strip reader."""

    def __init__(self, picture: Picture, strip_reader: StripReader) -> None:
        self.picture, self.strip_reader = picture, strip_reader
        self.pixels, self.scale = reduced(picture.pixels)

    def read(self) -> Page:
        quarters = 0
        only_row = single_row(self.pixels)
        if only_row is not None:
            rows = self._read_row_or_page(only_row)
        else:
            rows, sheet = self._read_upright()
            if mean_evidence(rows) < CLEAR_EVIDENCE and not self.strip_reader.drawn:
                quarters = self._quarter_turns(sheet, rows)
            if quarters:
                rows = self._read_sheet(sheet.turned(quarters), quarters)
        return Page(tuple(rows), self.picture.width, self.picture.height, 90 * quarters)

    def _read_row_or_page(self, only_row: FoundRow) -> list[Row]:
        """Read a picture that looks like one row; but a shadow across a page may look like one tall row as well."""
        rows = self._accepted([self._read_row(only_row)])
        if mean_evidence(rows) >= CLEAR_EVIDENCE:
            return rows
        page_rows, _ = self._read_upright()
        is_page = len(page_rows) > 1 and mean_evidence(page_rows) >= CLEAR_EVIDENCE
        return page_rows if is_page and total_evidence(page_rows) > MIN_PAGE_GAIN * total_evidence(rows) else rows

    def _read_upright(self) -> tuple[list[Row], Sheet]:
        """Read the rows of the picture as it is, in the polarity that reads better."""
        attempts = []
        for light_ink in polarities(self.pixels):
            sheet = extract_sheet(self.pixels, light_ink, ruled=not self.strip_reader.drawn)
            rows = self._read_sheet(sheet)
            if mean_evidence(rows) >= CLEAR_EVIDENCE:
                return rows, sheet
            attempts.append((rows, sheet))
        return max(attempts, key=lambda attempt: total_evidence(attempt[0]))

    def _quarter_turns(self, sheet: Sheet, upright_rows: list[Row]) -> int:
        """Return how many counterclockwise quarter turns make the sheet upright.

        Compares the evidence of the widest rows; turned sheets are read in one view.
        """
        evidence = [total_evidence(sorted(upright_rows, key=lambda row: -row.strip.shape[1])[:MAX_ROWS_FOR_TURN])]
        for quarters in (1, 2, 3):
            widest = sorted(find_rows(sheet.turned(quarters)), key=lambda row: -row.strip.shape[1])[:MAX_ROWS_FOR_TURN]
            evidence.append(total_evidence([self.strip_reader(row.strip, views=1) for row in widest]))
        best = int(np.argmax(evidence))
        return best if evidence[best] > MIN_TURN_GAIN * evidence[0] else 0

    def _read_sheet(self, sheet: Sheet, quarters: int = 0) -> list[Row]:
        """Read the rows of a sheet that was turned by `quarters` counterclockwise quarter turns."""
        return self._accepted([self._read_row(found, quarters) for found in find_rows(sheet)])

    def _read_row(self, found: FoundRow, quarters: int = 0) -> Row:
        """Read a row, its boxes in the original picture's pixels."""
        to_original = original_pixels(self.picture, self.scale, quarters)
        return self.strip_reader(found.strip).transform(lambda points: to_original(found.to_sheet(points)))

    def _accepted(self, rows: list[Row]) -> list[Row]:
        """Drop rows without digits and rows that do not look like digits."""
        return [row for row in rows if row.digits and row.evidence >= self.strip_reader.settings.threshold]


def mean_evidence(rows: list[Row]) -> float:
    """Return the mean evidence over all digits, in [0, 1]; 0 if there are none."""
    digits = sum(len(row.digits) for row in rows)
    return sum(len(row.digits) * row.evidence for row in rows) / digits if digits else 0.0


def total_evidence(rows: list[Row]) -> float:
    """Return how much speaks for a reading of a page: the number of digits, weighted by evidence above one half."""
    return sum(len(row.digits) * max(2 * row.evidence - 1, 0) for row in rows)


def original_pixels(picture: Picture, scale: float, quarters: int) -> PointMap:
    """Map points of a turned, reduced copy of a picture to the pixels of the original, no farther than its edges.

    Args:
        picture: the loaded picture.
        scale: size of the copy relative to `picture.pixels`, at most 1.
        quarters: counterclockwise quarter turns from `picture.pixels` to the copy.
    """
    height, width = picture.pixels.shape[:2]
    size = np.array([picture.width, picture.height])

    def to_original(points: Points) -> Points:
        x, y = (points * (1 / scale)).T
        x, y = ((x, y), (width - y, x), (width - x, height - y), (y, height - x))[quarters]
        original = np.column_stack([x * (picture.width / width), y * (picture.height / height)])
        return np.asarray(np.clip(original, 0, size), np.float64)

    return to_original
