"""What an archive of pictures holds, in parts of bounded size. Knows nothing about reading digits, nor about Ray.

An archive is a folder with all below it, a glob, a Parquet table with a column of picture files, or any of them in a
bucket (s3://, gs://, ...), through pyarrow's file systems. Tables are read where its name ends in .parquet. Nothing is
held in memory but one part and, of a bucket, the listing of one folder.
"""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from numerals.errors import FailureError, InputError, PictureError, printable
from numerals.read.pages import SUFFIXES
from numerals.read.picture import MAX_FILE_BYTES

PART_BYTES = 16 * 2**20  # of a part's files: a minute's work or less, whether they are photographs or single digits
TABLE = ".parquet"
WILD = re.compile(r"[*?\[]")
Entry = tuple[str, int]  # a file's path and its bytes


@dataclass(frozen=True)
class Part:
    """Some pictures of an archive: files by name, or rows of one row group of a table."""

    names: tuple[str, ...] = ()
    table: str = ""
    group: int = 0
    before: int = 0  # rows of the table before the group
    start: int = 0  # rows of the group, the last not among them
    stop: int = 0

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def pictures(self) -> int:
        return len(self.names) or self.stop - self.start


class Archive:
    """An archive by its name; `skipped` counts the files that are no pictures by their suffix.

    Raises:
        InputError: a bucket's name that pyarrow does not know.
    """

    def __init__(self, source: str, column: str) -> None:
        self.skipped = 0
        self._column = column
        self._bucket = "://" in source
        self._scheme = source.partition("://")[0] + "://" if self._bucket else ""
        if not self._bucket:
            self._files, self._path = fs.LocalFileSystem(), os.path.abspath(source)
            return
        name, _, options = source.partition("?")  # of a file system: ?endpoint_override=..., so ? is no wildcard here
        wild = WILD.search(name)
        fixed, pattern = (name, "") if wild is None else (name[: wild.start()], name[wild.start() :])
        try:
            self._files, path = fs.FileSystem.from_uri(f"{fixed}?{options}" if options else fixed)
        except (OSError, ValueError) as error:
            raise InputError(f"{without_secrets(source)}: cannot be opened ({_short(error)})") from error
        slash = "/" if pattern and fixed.endswith("/") and not path.endswith("/") else ""
        self._path = path + slash + pattern

    def parts(self, most: int) -> Iterator[Part]:
        """All pictures, `most` of them or fewer to a part.

        Raises:
            InputError: nothing of that name, access denied, or a table without the column.
        """
        try:
            if self._path.endswith(TABLE):
                yield from self._tables(most)
            else:
                yield from _parted(self._pictures(), most)
        except (OSError, pa.ArrowException) as error:
            raise InputError(f"{printable(self._path)}: cannot be read ({_short(error)})") from error

    def contents(self, part: Part) -> Iterator[tuple[str, str | bytes | PictureError]]:
        """Each picture's name, and its path, its bytes, or why it cannot be had.

        Raises:
            FailureError: the bucket or the disk failed; another time may do.
        """
        try:
            if part.table:
                yield from self._rows(part)
            else:
                yield from ((self._scheme + name, self._content(name)) for name in part.names)
        except (OSError, pa.ArrowException) as error:
            raise FailureError(f"{printable(part.table or part.names[0])}: {_short(error)}") from error

    def _pictures(self) -> Iterator[Entry]:
        for path, size in self._named():
            if PurePosixPath(path).suffix.lower() in SUFFIXES:
                yield path, size
            else:
                self.skipped += 1

    def _named(self) -> Iterator[Entry]:
        """Every file that the archive's name names."""
        exists = os.path.exists(self._path) if not self._bucket else False
        wild = None if exists else WILD.search(self._path)
        if wild is None:
            yield from self._whole(self._path)
            return
        base = self._path[: wild.start()].rpartition("/")[0] or "/"
        patterns = self._path[len(base) :].strip("/").split("/")
        deepest = None if "**" in patterns else len(patterns)
        for path, size in self._below(base, deepest):
            if _matches(path[len(base) :].strip("/").split("/"), patterns):
                yield path, size

    def _whole(self, path: str) -> Iterator[Entry]:
        """A file, or all in a folder."""
        info = self._files.get_file_info(path)
        if info.type == fs.FileType.NotFound:
            raise InputError(f"{printable(path)}: there is no such file, folder or bucket")
        if info.type == fs.FileType.File:
            yield path, info.size or 0
        else:
            yield from self._below(path, None)

    def _below(self, folder: str, deepest: int | None) -> Iterator[Entry]:
        """Every file in a folder and those within, `deepest` of them down; links to folders are not followed."""
        within = []
        for path, size, is_folder in self._listed(folder):
            if not is_folder:
                yield path, size
            elif deepest is None or deepest > 1:
                within.append(path)
        for path in within:
            yield from self._below(path, None if deepest is None else deepest - 1)

    def _listed(self, folder: str) -> Iterator[tuple[str, int, bool]]:
        if self._bucket:
            for info in self._files.get_file_info(fs.FileSelector(folder)):
                yield info.path, info.size or 0, info.type == fs.FileType.Directory
            return
        with os.scandir(folder) as entries:  # one after the other, where pyarrow would list a million at once
            for entry in entries:
                is_folder = entry.is_dir(follow_symlinks=False)
                yield entry.path, 0 if is_folder else _size(entry), is_folder

    def _tables(self, most: int) -> Iterator[Part]:
        for path, _ in self._named():
            if not path.endswith(TABLE):
                self.skipped += 1
                continue
            with pq.ParquetFile(self._files.open_input_file(path)) as table:
                _check_column(table.schema_arrow, self._column, path)
                before = 0
                for group in range(table.num_row_groups):
                    rows = table.metadata.row_group(group)
                    step = min(most, max(1, PART_BYTES * rows.num_rows // max(rows.total_byte_size, 1)))
                    for start in range(0, rows.num_rows, step):
                        stop = min(start + step, rows.num_rows)
                        yield Part(table=path, group=group, before=before, start=start, stop=stop)
                    before += rows.num_rows

    def _rows(self, part: Part) -> Iterator[tuple[str, bytes | PictureError]]:
        with pq.ParquetFile(self._files.open_input_file(part.table)) as table:
            row = 0
            for batch in table.iter_batches(64, [part.group], [self._column]):
                if row + len(batch) > part.start:
                    for number, cell in enumerate(batch.column(0), row):
                        if part.start <= number < part.stop:
                            yield f"{self._scheme}{part.table}#{part.before + number}", _bytes(cell.as_py())
                row += len(batch)
                if row >= part.stop:
                    return

    def _content(self, name: str) -> str | bytes | PictureError:
        if not self._bucket:
            return name
        try:
            with self._files.open_input_stream(name) as file:
                content = bytes(file.read(MAX_FILE_BYTES + 1))
        except OSError as error:
            if isinstance(error, FileNotFoundError | PermissionError) or "ACCESS_DENIED" in str(error):
                return PictureError(f"{name}: cannot be read ({_short(error)})")
            raise
        return (
            content if len(content) <= MAX_FILE_BYTES else PictureError(f"{name}: more than {MAX_FILE_BYTES:,} bytes")
        )


def without_secrets(source: str) -> str:
    """A bucket's name without the keys that it may have before its @."""
    return re.sub(r"://[^/]*@", "://", source)


def _parted(entries: Iterable[Entry], most: int) -> Iterator[Part]:
    names: list[str] = []
    total = 0
    for name, size in entries:
        if names and (len(names) == most or total + size > PART_BYTES):
            yield Part(tuple(names))
            names, total = [], 0
        names.append(name)
        total += size
    if names:
        yield Part(tuple(names))


def _matches(names: Sequence[str], patterns: Sequence[str]) -> bool:
    """Folder by folder, as a shell does; ** stands for any number of folders."""
    if not patterns:
        return not names
    if patterns[0] == "**":
        return any(_matches(names[skip:], patterns[1:]) for skip in range(len(names) + 1))
    return bool(names) and fnmatchcase(names[0], patterns[0]) and _matches(names[1:], patterns[1:])


def _size(entry: "os.DirEntry[str]") -> int:
    try:
        return entry.stat().st_size
    except OSError:  # a link to nothing: reading it says so
        return 0


def _check_column(schema: pa.Schema, column: str, path: str) -> None:
    """It must hold files as bytes, or structs with `bytes`, as Hugging Face's tables have them."""
    index = schema.get_field_index(column)
    if index < 0:
        raise InputError(
            f"{printable(path)}: no column {column}; it has {', '.join(schema.names)}; name one with --column"
        )
    kind = schema.field(index).type
    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        kind = kind.field("bytes").type
    if not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
        raise InputError(f"{printable(path)}: column {column} holds {kind}; it must hold the bytes of picture files")


def _bytes(cell: Any) -> bytes | PictureError:
    content = cell.get("bytes") if isinstance(cell, dict) else cell
    return content if isinstance(content, bytes) else PictureError("the cell is empty")


def _short(error: Exception) -> str:
    """Amazon's errors are a paragraph each."""
    text = getattr(error, "strerror", None) or str(error)
    return printable(" ".join(text.split())[:200])
