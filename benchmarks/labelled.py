"""Labelled pictures: a folder with a labels.tsv that says which digits are written in each picture.

labels.tsv is UTF-8 with tabs between columns and one line per picture. A first line that begins with `file` is a
header: column `file` is the path relative to the folder, `digits` what is written there, and the optional `kind` a
group to select pictures by. Without a header, the first column is the file and the second the digits. Other columns are
ignored. A slash separates rows of digits.

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
WITHOUT_HEADER = {"file": 0, "digits": 1}  # column numbers
DIGITS = re.compile(r"[0-9]+(/[0-9]+)*")


@dataclass(frozen=True)
class LabelledPicture:
    """A picture's file, and the rows of digits written in it."""

    path: Path
    rows: tuple[str, ...]
    kind: str = ""

    @property
    def digits(self) -> str:
        return "".join(self.rows)


def read_labels(folder: Path, kinds: Collection[str] = ()) -> list[LabelledPicture]:
    """Read a folder's labels.tsv.

    Args:
        folder: contains labels.tsv and the pictures.
        kinds: keep only pictures of these kinds; empty keeps all.

    Raises:
        DataError: labels.tsv is missing or has an invalid line, a picture is missing, or no picture is left.
    """
    path = folder / LABELS
    lines = _lines(path)
    header = lines[0][1] if lines and lines[0][1][0] == HEADER[0] else None
    columns = WITHOUT_HEADER if header is None else {name: number for number, name in enumerate(header)}
    if "digits" not in columns:
        raise DataError(f"{path}: its header has no column `digits`; name the columns {', '.join(HEADER)}")
    labelled = [_parse(folder, number, cells, columns) for number, cells in lines[header is not None :]]
    selected = [picture for picture in labelled if not kinds or picture.kind in kinds]
    if not selected:
        of_kind = f" of kind {' or '.join(sorted(kinds))}" if kinds else ""
        raise DataError(f"{path}: no picture{of_kind}; add a line per picture: its file, a tab, its digits")
    return selected


def _lines(path: Path) -> list[tuple[int, list[str]]]:
    """Line number and cells of each line that is not empty."""
    try:
        content = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        why = error.strerror or error
        raise DataError(f"{path}: cannot be read ({why}); a folder needs it to label its pictures") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 (byte {error.start}); save it as UTF-8") from error
    lines = [[cell.strip() for cell in line.split("\t")] for line in content.splitlines()]
    return [(number, cells) for number, cells in enumerate(lines, 1) if any(cells)]


def _parse(folder: Path, number: int, cells: list[str], columns: dict[str, int]) -> LabelledPicture:
    line = f"{folder / LABELS}, line {number}"
    if len(cells) <= max(columns["file"], columns["digits"]):
        raise DataError(f"{line}: too few columns; write the file, a tab and its digits")
    file, digits = cells[columns["file"]], cells[columns["digits"]]
    if not DIGITS.fullmatch(digits):
        raise DataError(f"{line}: {digits!r} is not a row of digits; write 0571, or 0571/3390 for several rows")
    if not file or not (folder / file).is_file():
        raise DataError(f"{line}: no picture {file!r} in that folder; correct the name or remove the line")
    kind = columns.get("kind", len(cells))
    return LabelledPicture(folder / file, tuple(digits.split("/")), cells[kind] if kind < len(cells) else "")


def write_labels(folder: Path, pictures: Iterable[LabelledPicture]) -> None:
    """Write a labels.tsv, in the form that `read_labels` reads, for pictures in that folder."""
    rows = [(picture.path.name, picture.kind, "/".join(picture.rows)) for picture in pictures]
    (folder / LABELS).write_text("".join("\t".join(row) + "\n" for row in [HEADER, *rows]), encoding="utf-8")
