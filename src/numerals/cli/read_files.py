"""What `numerals read` does with many sources: one after the other, a bad one reported and the others read.

Knows nothing about how a picture is read, nor about printing.
"""

import csv
import io
import json
import os
import re
import sys
import textwrap
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numerals.errors import InputError, NumeralsError, PictureError, StorageError, printable
from numerals.files import storage_error, write_atomically
from numerals.read.annotate import annotate
from numerals.read.pages import SUFFIXES, pages
from numerals.read.picture import MAX_FILE_BYTES
from numerals.read.reader import Reader
from numerals.results import Page

Parts = Generator[str, None, None]  # what is printed, bit by bit
STDIN = "-"
COLUMNS = ("picture", "page", "row", "text", "confidence", "left", "top", "width", "height", "error")


@dataclass(frozen=True)
class Reading:
    """One page of one source, or why it could not be read."""

    picture: str
    number: int  # of the page, from 1
    page: Page | None
    error: str | None = None

    def to_dict(self) -> dict[str, Any]:
        read = self.page.to_dict() if self.page else {}
        return {"picture": self.picture, "page": self.number, **read, "error": self.error}


def sources(given: Sequence[str]) -> list[str]:
    """What was named, with folders as the pictures in them, sorted.

    Raises:
        InputError: a folder without pictures.
    """
    found = []
    for name in given:
        if name != STDIN and os.path.isdir(name):
            found += _inside(name)
        else:
            found.append(name)
    return found


def _inside(folder: str) -> list[str]:
    try:
        inside = sorted(str(path) for path in Path(folder).iterdir() if path.suffix.lower() in SUFFIXES)
    except OSError as error:
        raise InputError(f"{printable(folder)}: cannot be read ({error.strerror})") from error
    if not inside:
        suffixes = ", ".join(sorted(SUFFIXES))
        raise InputError(f"{printable(folder)}: no pictures in this folder; pictures end in {suffixes}")
    return inside


def read_all(reader: Reader, names: Iterable[str], annotated: Path | None) -> Iterator[Reading]:
    """Each page of each source, in order.

    Raises:
        StorageError: an annotated picture cannot be written.
    """
    taken: dict[str, int] = {}
    for name in names:
        number, stem = 0, _stem(name, taken)
        try:
            for number, loaded in enumerate(pages(_standard_input() if name == STDIN else name), 1):
                page = reader.read(loaded)
                if annotated:
                    _write(annotate(loaded.pixels, page), annotated / f"{stem}-{number}.png")
                yield Reading(name, number, page)
        except StorageError:
            raise
        except NumeralsError as error:
            yield Reading(name, number + 1, None, str(error))


def reported(
    readings: Iterable[Reading], names: int, failed: list[str], say: Callable[[str], None]
) -> Iterator[Reading]:
    """The same readings; of each that has an error or no digits it is said when it comes. `failed` gets the errors.

    Raises:
        InputError: after the last, where there is only one and it cannot be read.
    """
    for reading in readings:
        alone = names == 1 and reading.number == 1
        if reading.error:
            failed.append(reading.error)
        if reading.error and not alone:
            say(reading.error)
        elif reading.page and not reading.page.rows:
            say(f"{printable(reading.picture)}: no digits found")
        yield reading
    if failed and alone:
        raise InputError(failed[0])


def _standard_input() -> bytes:
    if sys.stdin is None:
        raise PictureError("standard input is closed; give a file")
    content = sys.stdin.buffer.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise PictureError(f"standard input: more than {MAX_FILE_BYTES:,} bytes; at most so many are read")
    return content


def as_json(readings: Iterable[Reading], named: bool) -> Parts:
    """A list with an object a page; whole even when it ends with an error, in the readings or thrown in."""
    yield "["
    before = "\n"
    try:
        for reading in readings:
            yield before + textwrap.indent(json.dumps(reading.to_dict(), indent=2), "  ")
            before = ",\n"
    except (KeyboardInterrupt, Exception):
        yield "\n]\n"
        raise
    yield "\n]\n"


def as_csv(readings: Iterable[Reading], named: bool) -> Parts:
    """A line a row of digits; a picture without rows, or one that could not be read, has one line too."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for reading in readings:
        line = {"picture": reading.picture, "page": reading.number, "error": reading.error}
        rows = reading.page.rows if reading.page else ()
        for number, row in enumerate(rows, 1):
            place = {"row": number, "text": row.text, "confidence": f"{row.confidence:.4f}", **row.box.to_dict()}
            writer.writerow(line | place)
        if not rows:
            writer.writerow(line)
        yield text.getvalue()
        text.seek(0)
        text.truncate()


def as_text(readings: Iterable[Reading], named: bool) -> Parts:
    """The rows, a line each; with the picture's name before each if `named`."""
    for reading in readings:
        for row in reading.page.rows if reading.page else ():
            yield f"{printable(reading.picture)}: {row.text}\n" if named else f"{row.text}\n"


FORMS: dict[str, Callable[[Iterable[Reading], bool], Parts]] = {
    "text": as_text,
    "json": as_json,
    "csv": as_csv,
}


def _stem(name: str, taken: dict[str, int]) -> str:
    """What a source's annotated pictures are called; `taken` counts, as several folders may have the same names."""
    stem = "stdin" if name == STDIN else re.sub(r"[^\w -]", "-", Path(name).name)
    taken[stem] = taken.get(stem, 0) + 1
    return stem if taken[stem] == 1 else f"{stem}({taken[stem]})"


def _write(picture: Any, path: Path) -> None:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(error, path.parent) from error
    write_atomically(path, buffer.getvalue())
