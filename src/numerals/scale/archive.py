"""Lists an archive of pictures in parts of bounded size, and opens the pictures of a part.

An archive is a folder with its subfolders, a glob, a Parquet table with a column of picture files, or one of these in a
bucket (s3://, gs://, ...), which pyarrow opens. An archive whose name ends in .parquet consists of tables. In memory
are only one part and, for a bucket, the listing of one folder.
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

MAX_PART_BYTES = 16 * 2**20  # of a part's files: a minute's work or less, for photographs as for single digits
TABLE_SUFFIX = ".parquet"
WILDCARD = re.compile(r"[*?\[]")
BATCH_ROWS = 64  # of a table, in memory at a time
MAX_ERROR_CHARACTERS = 200  # Amazon's errors are a paragraph each
File = tuple[str, int]  # path and size in bytes


@dataclass(frozen=True)
class Part:
    """Some pictures of an archive: either files, or rows of one row group of a table.

    `to_dict` is what a job's folder lists, so the names of the fields must stay.
    """

    names: tuple[str, ...] = ()  # paths of files
    table: str = ""  # path of the table
    group: int = 0  # number of the row group
    before: int = 0  # rows of the table before that group
    start: int = 0  # first row, within the group
    stop: int = 0  # one more than the last row

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def pictures(self) -> int:
        return len(self.names) or self.stop - self.start


class Archive:
    """An archive of pictures. `skipped` counts the files whose suffix is not that of a picture.

    Args:
        source: a folder, a file, a glob, or one of these in a bucket.
        column: of tables, the column with the content of the picture files.

    Raises:
        InputError: a bucket that pyarrow cannot open.
    """

    def __init__(self, source: str, column: str) -> None:
        self.skipped = 0
        self._column = column
        self._bucket = "://" in source
        self._scheme = source.partition("://")[0] + "://" if self._bucket else ""
        if not self._bucket:
            self._files, self._path = fs.LocalFileSystem(), os.path.abspath(source)
            return
        name, _, options = source.partition("?")  # such as ?endpoint_override=..., so ? is no wildcard in a bucket
        wildcard = WILDCARD.search(name)
        fixed, pattern = (name, "") if wildcard is None else (name[: wildcard.start()], name[wildcard.start() :])
        try:
            self._files, path = fs.FileSystem.from_uri(f"{fixed}?{options}" if options else fixed)
        except (OSError, ValueError) as error:
            raise InputError(f"{without_secrets(source)}: cannot be opened ({_short_message(error)})") from error
        slash = "/" if pattern and fixed.endswith("/") and not path.endswith("/") else ""
        self._path = path + slash + pattern

    def parts(self, max_pictures: int) -> Iterator[Part]:
        """List all pictures, in parts of at most `max_pictures`.

        Raises:
            InputError: no such file or folder, access denied, or a table without the column.
        """
        try:
            if self._path.endswith(TABLE_SUFFIX):
                yield from self._parts_of_tables(max_pictures)
            else:
                yield from _group(self._pictures(), max_pictures)
        except (OSError, pa.ArrowException) as error:
            raise InputError(f"{printable(self._path)}: cannot be read ({_short_message(error)})") from error

    def contents(self, part: Part) -> Iterator[tuple[str, str | bytes | PictureError]]:
        """The pictures of a part.

        Yields:
            The name of each picture, and its path, its content, or the error that says why it cannot be opened.

        Raises:
            FailureError: the bucket or the disk failed; trying again may help.
        """
        try:
            if part.table:
                yield from self._rows(part)
            else:
                yield from ((self._scheme + name, self._content(name)) for name in part.names)
        except (OSError, pa.ArrowException) as error:
            raise FailureError(f"{printable(part.table or part.names[0])}: {_short_message(error)}") from error

    def _pictures(self) -> Iterator[File]:
        for path, size in self._files_in_archive():
            if PurePosixPath(path).suffix.lower() in SUFFIXES:
                yield path, size
            else:
                self.skipped += 1

    def _files_in_archive(self) -> Iterator[File]:
        exists = os.path.exists(self._path) if not self._bucket else False
        wildcard = None if exists else WILDCARD.search(self._path)
        if wildcard is None:
            yield from self._file_or_folder(self._path)
            return
        base = self._path[: wildcard.start()].rpartition("/")[0] or "/"
        patterns = self._path[len(base) :].strip("/").split("/")
        depth = None if "**" in patterns else len(patterns)
        for path, size in self._walk(base, depth):
            if _matches(path[len(base) :].strip("/").split("/"), patterns):
                yield path, size

    def _file_or_folder(self, path: str) -> Iterator[File]:
        info = self._files.get_file_info(path)
        if info.type == fs.FileType.NotFound:
            raise InputError(f"{printable(path)}: no such file, folder or bucket")
        if info.type == fs.FileType.File:
            yield path, info.size or 0
        else:
            yield from self._walk(path, None)

    def _walk(self, folder: str, depth: int | None) -> Iterator[File]:
        """Every file in a folder and its subfolders, `depth` levels deep; does not follow links to folders."""
        subfolders = []
        for path, size, is_folder in self._entries(folder):
            if not is_folder:
                yield path, size
            elif depth is None or depth > 1:
                subfolders.append(path)
        for path in subfolders:
            yield from self._walk(path, None if depth is None else depth - 1)

    def _entries(self, folder: str) -> Iterator[tuple[str, int, bool]]:
        """Path, size in bytes and whether it is a folder, of each entry."""
        if self._bucket:
            for info in self._files.get_file_info(fs.FileSelector(folder)):
                yield info.path, info.size or 0, info.type == fs.FileType.Directory
            return
        with os.scandir(folder) as entries:  # lists one by one; pyarrow would list a million files at once
            for entry in entries:
                is_folder = entry.is_dir(follow_symlinks=False)
                yield entry.path, 0 if is_folder else _size(entry), is_folder

    def _parts_of_tables(self, max_pictures: int) -> Iterator[Part]:
        for path, _ in self._files_in_archive():
            if not path.endswith(TABLE_SUFFIX):
                self.skipped += 1
                continue
            with pq.ParquetFile(self._files.open_input_file(path)) as table:
                _check_column(table.schema_arrow, self._column, path)
                before = 0
                for group in range(table.num_row_groups):
                    rows = table.metadata.row_group(group)
                    step = min(max_pictures, max(1, MAX_PART_BYTES * rows.num_rows // max(rows.total_byte_size, 1)))
                    for start in range(0, rows.num_rows, step):
                        stop = min(start + step, rows.num_rows)
                        yield Part(table=path, group=group, before=before, start=start, stop=stop)
                    before += rows.num_rows

    def _rows(self, part: Part) -> Iterator[tuple[str, bytes | PictureError]]:
        with pq.ParquetFile(self._files.open_input_file(part.table)) as table:
            row = 0
            for batch in table.iter_batches(BATCH_ROWS, [part.group], [self._column]):
                if row + len(batch) > part.start:
                    for number, cell in enumerate(batch.column(0), row):
                        if part.start <= number < part.stop:
                            yield f"{self._scheme}{part.table}#{part.before + number}", _cell_bytes(cell.as_py())
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
                return PictureError(f"{name}: cannot be read ({_short_message(error)})")
            raise
        if len(content) > MAX_FILE_BYTES:
            return PictureError(f"{name}: more than {MAX_FILE_BYTES:,} bytes")
        return content


def without_secrets(source: str) -> str:
    """The name of a bucket without the keys that may stand before its @."""
    return re.sub(r"://[^/]*@", "://", source)


def _group(files: Iterable[File], max_pictures: int) -> Iterator[Part]:
    names: list[str] = []
    total = 0
    for name, size in files:
        if names and (len(names) == max_pictures or total + size > MAX_PART_BYTES):
            yield Part(tuple(names))
            names, total = [], 0
        names.append(name)
        total += size
    if names:
        yield Part(tuple(names))


def _matches(names: Sequence[str], patterns: Sequence[str]) -> bool:
    """Match a path folder by folder, as a shell does; ** stands for any number of folders."""
    if not patterns:
        return not names
    if patterns[0] == "**":
        return any(_matches(names[skip:], patterns[1:]) for skip in range(len(names) + 1))
    return bool(names) and fnmatchcase(names[0], patterns[0]) and _matches(names[1:], patterns[1:])


def _size(entry: "os.DirEntry[str]") -> int:
    try:
        return entry.stat().st_size
    except OSError:  # a broken link; reading it will report that
        return 0


def _check_column(schema: pa.Schema, column: str, path: str) -> None:
    """Check that the column has bytes, or structs with a field `bytes` as in Hugging Face's tables."""
    index = schema.get_field_index(column)
    if index < 0:
        raise InputError(
            f"{printable(path)}: no column {column}; columns: {', '.join(schema.names)}; choose one with --column"
        )
    kind = schema.field(index).type
    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        kind = kind.field("bytes").type
    if not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
        raise InputError(f"{printable(path)}: column {column} holds {kind}; it must hold the bytes of picture files")


def _cell_bytes(cell: Any) -> bytes | PictureError:
    content = cell.get("bytes") if isinstance(cell, dict) else cell
    return content if isinstance(content, bytes) else PictureError("the cell is empty")


def _short_message(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return printable(" ".join(text.split())[:MAX_ERROR_CHARACTERS])
