"""The work of `numerals read`: reads pictures one after the other and formats the result as text, JSON or CSV.

A picture that cannot be read is reported, and the others are read.
"""

import contextlib
import csv
import hashlib
import io
import json
import os
import re
import sys
import textwrap
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console
from rich.progress import Progress

from numerals.errors import InputError, NumeralsError, PictureError, StorageError, printable
from numerals.files import make_folder, write_atomically
from numerals.read.annotate import annotate
from numerals.read.pages import SUFFIXES
from numerals.read.picture import MAX_FILE_BYTES, Picture
from numerals.read.reader import Reader
from numerals.read.sandbox import Sandbox
from numerals.results import Page, Row

Chunks = Generator[str, None, None]  # text to print, piece by piece
STDIN = "-"
MAX_STEM_BYTES = 150  # of an annotated picture's name, which becomes up to 50 longer; file systems allow 255
FORMULA = "=+-@\t\r＝＋－＠"  # a spreadsheet takes a cell that begins with one of these for a formula (OWASP)
COLUMNS = ("picture", "page", "row", "text", "confidence", "review", "left", "top", "width", "height", "error")
# the fields of a page that was not read
WITHOUT_PAGE: dict[str, Any] = {**dict.fromkeys(Page((), 0, 0).to_dict()), "rows": []}


@dataclass(frozen=True)
class Reading:
    """One page of one picture, or the reason why it could not be read."""

    picture: str
    number: int  # of the page, counted from 1
    page: Page | None
    error: str | None = None
    min_confidence: float = 0  # of a row that needs no review

    @property
    def rows(self) -> Sequence[tuple[Row, bool]]:
        """The rows of the page, each with whether somebody should check it."""
        return [(row, row.confidence < self.min_confidence) for row in self.page.rows] if self.page else []

    def to_dict(self) -> dict[str, Any]:
        fields = self.page.to_dict() if self.page else WITHOUT_PAGE
        rows = [{**row.to_dict(), "review": review} for row, review in self.rows]
        return {"picture": self.picture, "page": self.number, **fields, "rows": rows, "error": self.error}


@dataclass
class Problems:
    """What `report_problems` has seen so far."""

    errors: list[str] = field(default_factory=list)  # the message of each
    rows: int = 0
    rows_to_review: int = 0


def list_sources(arguments: Sequence[str]) -> list[str]:
    """The arguments of the command, with each folder replaced by the pictures in it, sorted.

    Raises:
        InputError: a folder without pictures.
    """
    sources = []
    for name in arguments:
        if name != STDIN and os.path.isdir(name):
            sources += _pictures_in(name)
        else:
            sources.append(name)
    return sources


def _pictures_in(folder: str) -> list[str]:
    try:
        pictures = sorted(str(path) for path in Path(folder).iterdir() if path.suffix.lower() in SUFFIXES)
    except OSError as error:
        raise InputError(f"{printable(folder)}: cannot be read ({error.strerror})") from error
    if not pictures:
        suffixes = ", ".join(sorted(SUFFIXES))
        raise InputError(f"{printable(folder)}: no pictures in this folder; pictures end in {suffixes}")
    return pictures


def with_progress(names: Sequence[str]) -> Generator[str, None, None]:
    """The names, with a progress bar on stderr if that is a terminal.

    There is no bar for a single name, nor if stdout is a terminal too: the results show the progress there, and the bar
    would overwrite them.
    """
    console = Console(stderr=True, soft_wrap=True)
    hidden = len(names) < 2 or not console.is_terminal or sys.stdout is None or sys.stdout.isatty()
    with Progress(console=console, transient=True, disable=hidden, redirect_stdout=False) as bar:
        yield from bar.track(names, description="reading")


def read_all(
    reader: Reader,
    sandbox: Sandbox,
    names: Iterable[str],
    annotated: Path | None,
    min_confidence: float = 0,
) -> Iterator[Reading]:
    """Read each page of each picture, in order.

    Args:
        reader: reads the pages.
        sandbox: decodes them.
        names: paths, or "-" for standard input.
        annotated: a folder for annotated pictures; None saves none.
        min_confidence: of a row that needs no review.

    Raises:
        StorageError: an annotated picture cannot be written.
    """
    stems: dict[str, int] = {}
    for name in names:
        number, stem = 0, _stem(name, stems)
        try:
            with contextlib.closing(load_pages(sandbox, name)) as pages:
                for number, loaded in enumerate(pages, 1):
                    page = reader.read(loaded)
                    if annotated:
                        _write(annotate(loaded.pixels, page), annotated / f"{stem}-{number}.png")
                    yield Reading(name, number, page, min_confidence=min_confidence)
        except StorageError:
            raise
        except NumeralsError as error:
            yield Reading(name, number + 1, None, str(error))


def report_problems(
    readings: Iterable[Reading], sources: int, problems: Problems, report: Callable[[str], None]
) -> Iterator[Reading]:
    """The same readings; calls `report` for each that has an error or no digits.

    Args:
        readings: pages as they are read.
        sources: the number of pictures to read.
        problems: counts what is reported, and the rows.
        report: prints one line.

    Raises:
        InputError: after the last reading, if there is only one picture and it cannot be read.
    """
    for reading in readings:
        alone = sources == 1 and reading.number == 1
        if reading.error:
            problems.errors.append(reading.error)
        problems.rows += len(reading.rows)
        problems.rows_to_review += sum(review for _, review in reading.rows)
        if reading.error and not alone:
            report(reading.error)
        elif reading.page and not reading.page.rows:
            report(f"{printable(reading.picture)}: no digits found")
        yield reading
    if problems.errors and alone:
        raise InputError(problems.errors[0])


def load_pages(sandbox: Sandbox, name: str) -> Generator[Picture, None, None]:
    """The pages of a picture that an argument of the command names; close the generator at the end.

    Raises:
        NumeralsError: the picture cannot be read; see `Sandbox.pages`.
    """
    return sandbox.pages(_standard_input() if name == STDIN else name)


def _standard_input() -> bytes:
    if sys.stdin is None:
        raise PictureError("standard input is closed; give a file")
    content = sys.stdin.buffer.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise PictureError(f"standard input: more than {MAX_FILE_BYTES:,} bytes, the maximum")
    return content


class Record(Protocol):
    """What a command prints as an object of a JSON list."""

    def to_dict(self) -> dict[str, Any]: ...


def as_json(readings: Iterable[Record], named: bool = True) -> Chunks:
    """A list with one object per reading. The list is closed even if an error or Ctrl-C ends it early."""
    yield "["
    separator = "\n"
    try:
        for reading in readings:
            yield separator + textwrap.indent(json.dumps(reading.to_dict(), indent=2), "  ")
            separator = ",\n"
    except (KeyboardInterrupt, Exception):
        yield "\n]\n"
        raise
    yield "\n]\n"


def as_csv(readings: Iterable[Reading], named: bool) -> Chunks:
    """One line per row of digits; one line also for a page without rows and for a picture that cannot be read.

    Names are as `_cell` makes them, so that neither a terminal nor a spreadsheet takes them for a command.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for reading in readings:
        error = reading.error and _cell(reading.error)
        fields = {"picture": _cell(reading.picture), "page": reading.number, "error": error}
        for number, (row, review) in enumerate(reading.rows, 1):
            read = {"row": number, "text": row.text, "confidence": f"{row.confidence:.4f}"}
            writer.writerow(fields | read | {"review": str(review).lower()} | row.box.to_dict())
        if not reading.rows:
            writer.writerow(fields)
        yield text.getvalue()
        text.seek(0)
        text.truncate()


def _cell(text: str) -> str:
    """The text in one line of printable characters, after an apostrophe if it would else be a formula."""
    text = printable(text)
    return f"'{text}" if text.startswith(tuple(FORMULA)) else text


def as_text(readings: Iterable[Reading], named: bool) -> Chunks:
    """One line per row of digits, after the name of the picture if `named`, and before a "?" if it needs a review."""
    for reading in readings:
        for row, review in reading.rows:
            line = f"{row.text} ?\n" if review else f"{row.text}\n"
            yield f"{printable(reading.picture)}: {line}" if named else line


def print_all(chunks: Chunks, interrupted: str) -> None:
    """Print each chunk as it comes. On Ctrl-C, print what closes an open list.

    Args:
        chunks: text, as one of the formats makes it.
        interrupted: says what was printed.

    Raises:
        KeyboardInterrupt: with the message `interrupted`.
    """
    try:
        for chunk in chunks:
            print(chunk, end="", flush=True)
    except KeyboardInterrupt as error:
        with contextlib.suppress(KeyboardInterrupt, StopIteration):
            print(chunks.throw(error), end="", flush=True)
        raise KeyboardInterrupt(interrupted) from error


FORMATS: dict[str, Callable[[Iterable[Reading], bool], Chunks]] = {
    "text": as_text,
    "json": as_json,
    "csv": as_csv,
}


def _stem(name: str, stems: dict[str, int]) -> str:
    """The name of a picture's annotated pages. `stems` counts equal names, which different folders may have.

    A long name is cut, and ends in its hash.
    """
    stem = "stdin" if name == STDIN else re.sub(r"[^\w -]", "-", Path(name).name)
    if len(encoded := stem.encode()) > MAX_STEM_BYTES:
        whole = hashlib.sha256(os.fsencode(Path(name).name)).hexdigest()[:16]
        stem = f"{encoded[: MAX_STEM_BYTES - 17].decode(errors='ignore')}-{whole}"
    stems[stem] = stems.get(stem, 0) + 1
    return stem if stems[stem] == 1 else f"{stem}({stems[stem]})"


def _write(picture: Any, path: Path) -> None:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    make_folder(path.parent)
    write_atomically(path, buffer.getvalue())
