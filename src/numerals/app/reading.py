"""What `numerals read` does with many sources: one after the other, a bad one reported and the others read.

Knows nothing about how a picture is read, nor about printing.
"""

import csv
import io
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numerals.errors import InputError, NumeralsError, PictureError, StorageError
from numerals.files import storage_error, write_atomically
from numerals.read.annotate import annotate
from numerals.read.pages import pages
from numerals.read.reader import Reader
from numerals.results import Page

STDIN = "-"
SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm", ".pdf"}
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
        if name != STDIN and Path(name).is_dir():
            inside = sorted(str(path) for path in Path(name).iterdir() if path.suffix.lower() in SUFFIXES)
            if not inside:
                raise InputError(f"{name}: no pictures in this folder; pictures end in {', '.join(sorted(SUFFIXES))}")
            found += inside
        else:
            found.append(name)
    return found


def read_all(reader: Reader, names: Sequence[str], annotated: Path | None) -> Iterator[Reading]:
    """Each page of each source, in order.

    Raises:
        StorageError: an annotated picture cannot be written.
    """
    for name in names:
        number = 0
        try:
            for number, loaded in enumerate(pages(sys.stdin.buffer.read() if name == STDIN else name), 1):
                page = reader.read_loaded(loaded)
                if annotated:
                    _write(annotate(loaded.pixels, page), annotated / f"{_stem(name)}-{number}.png")
                yield Reading(name, number, page)
            if number == 0:
                raise PictureError(f"{name}: no pages in it")
        except StorageError:
            raise
        except NumeralsError as error:
            yield Reading(name, number + 1, None, str(error))


def as_json(readings: Sequence[Reading]) -> str:
    return json.dumps([reading.to_dict() for reading in readings], indent=2)


def as_csv(readings: Sequence[Reading]) -> str:
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
    return text.getvalue().rstrip("\n")


def as_text(readings: Sequence[Reading]) -> str:
    """The rows, a line each; with the picture's name before each where there are several pictures."""
    lines, named = [], len(readings) > 1
    for reading in readings:
        for row in reading.page.rows if reading.page else ():
            lines.append(f"{reading.picture}: {row.text}" if named else row.text)
    return "\n".join(lines)


FORMS: dict[str, Callable[[Sequence[Reading]], str]] = {"text": as_text, "json": as_json, "csv": as_csv}


def _stem(name: str) -> str:
    return "stdin" if name == STDIN else Path(name).name.replace(".", "-")


def _write(picture: Any, path: Path) -> None:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(error, path.parent) from error
    write_atomically(path, buffer.getvalue())
