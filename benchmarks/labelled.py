"""A folder of pictures with a labels.tsv that says what is written in them. Knows nothing about engines.

labels.tsv is UTF-8: a line a picture, tabs between its columns. The first is the file, relative to the folder. With a
header, a first line that begins with `file`, the column `digits` says what is written there, and `kind`, if there is
one, is what pictures can be chosen by; without, the second column is the digits. Other columns are ignored. A slash
stands between two rows of digits.

    file        kind    digits      note
    meter.jpg   line    0571        blue ink
    form.jpg    grid    0571/3390   two rows
"""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from numerals.errors import DataError

LABELS = "labels.tsv"
HEADER = ("file", "kind", "digits")
WITHOUT_HEADER = {"file": 0, "digits": 1}
DIGITS = re.compile(r"[0-9]+(/[0-9]+)*")


@dataclass(frozen=True)
class Labelled:
    """A picture's file, and the rows of digits that are written in it."""

    path: Path
    rows: tuple[str, ...]
    kind: str = ""

    @property
    def digits(self) -> str:
        return "".join(self.rows)


def read_labels(folder: Path, kinds: Collection[str] = ()) -> list[Labelled]:
    """The folder's pictures, only those of these kinds where some are named.

    Raises:
        DataError: no labels.tsv, a line of it that is none, or a picture that is not there.
    """
    path = folder / LABELS
    lines = _lines(path)
    header = lines[0][1] if lines and lines[0][1][0] == HEADER[0] else None
    columns = WITHOUT_HEADER if header is None else {name: place for place, name in enumerate(header)}
    if "digits" not in columns:
        raise DataError(f"{path}: its header has no column `digits`; name the columns {', '.join(HEADER)}")
    found = [_labelled(folder, number, cells, columns) for number, cells in lines[header is not None :]]
    chosen = [each for each in found if not kinds or each.kind in kinds]
    if not chosen:
        of = f" of kind {' or '.join(sorted(kinds))}" if kinds else ""
        raise DataError(f"{path}: no picture{of}; write a line for each, the file and its digits with a tab between")
    return chosen


def _lines(path: Path) -> list[tuple[int, list[str]]]:
    """The lines that are not empty, with their numbers, each as its cells."""
    try:
        content = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        why = error.strerror or error
        raise DataError(f"{path}: cannot be read ({why}); it says what is written in the folder's pictures") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 (byte {error.start}); save it as UTF-8") from error
    lines = [[cell.strip() for cell in line.split("\t")] for line in content.splitlines()]
    return [(number, cells) for number, cells in enumerate(lines, 1) if any(cells)]


def _labelled(folder: Path, number: int, cells: list[str], columns: dict[str, int]) -> Labelled:
    """One line's picture."""
    where = f"{folder / LABELS}, line {number}"
    if len(cells) <= max(columns["file"], columns["digits"]):
        raise DataError(f"{where}: too few columns; the file and its digits stand there with a tab between")
    file, digits = cells[columns["file"]], cells[columns["digits"]]
    if not DIGITS.fullmatch(digits):
        raise DataError(f"{where}: {digits!r} are no digits; write them as 0571, several rows as 0571/3390")
    if not file or not (folder / file).is_file():
        raise DataError(f"{where}: no picture {file!r} in that folder; correct the name, or take the line out")
    place = columns.get("kind", len(cells))
    return Labelled(folder / file, tuple(digits.split("/")), cells[place] if place < len(cells) else "")


def write_labels(folder: Path, pictures: Iterable[Labelled]) -> None:
    """A labels.tsv for pictures in that folder, as `read_labels` reads it."""
    rows = [(each.path.name, each.kind, "/".join(each.rows)) for each in pictures]
    (folder / LABELS).write_text("".join("\t".join(row) + "\n" for row in [HEADER, *rows]), encoding="utf-8")
