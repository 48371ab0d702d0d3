"""Corrections of misread digits, in one SQLite file: the picture, the digit that was read, the correct digit.

Several processes may use a file at the same time. It may be damaged, or come from a stranger: whatever it contains, an
operation returns valid corrections or raises an error of numerals, and takes bounded time and memory.
"""

import os
import re
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from numerals.errors import DataError, NumeralsError, StorageError, printable
from numerals.files import storage_error
from numerals.spec import PIXELS

APPLICATION_ID = 0x4E554D31  # SQLite's application_id, which marks the file as ours: "NUM1"
BUSY_TIMEOUT_SECONDS = 1.0  # how long to wait for another process
MAX_CORRECTIONS = 100_000  # in one file
DEFAULT_MEGABYTES = 1000
MAX_ROW_BYTES = 2_000_000  # a picture of the server's is smaller
MAX_ID = 2**63 - 1
# SQLite's instructions per operation, of which 100,000 corrections need a million: pages of a hostile file may refer to
# each other so that there is no end.
STEPS_PER_TICK, MAX_TICKS = 100_000, 200
MAX_REASON_CHARACTERS = 200
JOURNAL_END = bytes.fromhex("d9d505f920a163d7")  # of a rollback journal that names a second one
CREATE_TABLE = """
CREATE TABLE corrections (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at TEXT NOT NULL,          -- time of the correction, ISO 8601, UTC
    digit INTEGER NOT NULL,    -- the correct digit
    read INTEGER,              -- the digit that was read; NULL where none was
    picture BLOB NOT NULL,     -- PNG of the handwritten digit
    seen BLOB                  -- the network's input, 28x28 bytes; NULL where it is not known
)
"""
UNAVAILABLE = {  # what is wrong with the disk or its permissions, not with the file
    *(sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN),
    *(sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH),
}


class DamagedError(DataError):
    """The file is damaged, or not a file of corrections."""


class FullError(StorageError):
    """The file has as many corrections, or bytes, as it may have."""


@dataclass(frozen=True)
class Correction:
    """One row of the table; the fields are its columns.

    Args:
        id: never used again after the correction is deleted.
        at: time of the correction, ISO 8601, UTC.
        digit: the correct digit, 0 to 9.
        read: the digit that was read; None where none was.
        picture: PNG of the handwritten digit.
        seen: the network's input, 28x28 bytes, white ink on black; None where it is not known.
    """

    id: int
    at: str
    digit: int
    read: int | None
    picture: bytes
    seen: bytes | None


class CorrectionStore:
    """A file of corrections. The first `add` creates it, with its folder.

    Every method raises DamagedError if the file is damaged or has other contents, and StorageError if it cannot be read
    or written, or if another process holds it for longer than `busy_seconds`.

    Args:
        path: the file.
        megabytes: its maximum size.
        busy_seconds: how long to wait for another process.
    """

    def __init__(
        self,
        path: Path,
        megabytes: int = DEFAULT_MEGABYTES,
        busy_seconds: float = BUSY_TIMEOUT_SECONDS,
    ) -> None:
        self.path = path
        self._megabytes, self._busy_seconds = megabytes, busy_seconds

    def add(self, digit: int, read: int | None, picture: bytes, seen: bytes | None) -> int:
        """Save a correction and return its id. The arguments are the fields of `Correction`.

        Raises:
            DamagedError: the file exists and is not a file of corrections.
            FullError: the file has MAX_CORRECTIONS, or its maximum size, already.
            StorageError: the disk is full or read-only.
        """
        at = datetime.now(UTC).isoformat(timespec="seconds")
        with self._open(may_create=True) as connection:
            connection.execute("BEGIN IMMEDIATE")  # so that no other process adds one after the size was checked
            self._check_size(connection, len(picture))
            cursor = connection.execute(
                "INSERT INTO corrections (at, digit, read, picture, seen) VALUES (?, ?, ?, ?, ?)",
                (at, digit, read, picture, seen),
            )
            return int(cursor.lastrowid or 0)

    def latest(self, limit: int, before: int | None = None, max_bytes: int | None = None) -> list[Correction]:
        """Return corrections, newest first.

        Args:
            limit: at most so many.
            before: only those with a smaller id.
            max_bytes: stop after this many bytes of pictures.
        """
        if not self.path.exists():
            return []
        with self._open() as connection:
            rows = connection.execute(
                "SELECT id, at, digit, read, picture, seen FROM corrections WHERE id < ? ORDER BY id DESC LIMIT ?",
                (before if before is not None else MAX_ID, limit),
            )
            corrections, size = [], 0
            for row in rows:
                corrections.append(self._checked(row))
                size += len(corrections[-1].picture)
                if max_bytes is not None and size >= max_bytes:
                    break
            return corrections

    def count(self) -> int:
        if not self.path.exists():
            return 0
        with self._open() as connection:
            return _count(connection)

    def delete(self, correction_id: int) -> bool:
        """Delete a correction; return False if there is none with this id."""
        if not self.path.exists():
            return False
        with self._open() as connection:
            return connection.execute("DELETE FROM corrections WHERE id = ?", (correction_id,)).rowcount > 0

    @contextmanager
    def _open(self, may_create: bool = False) -> Iterator[sqlite3.Connection]:
        try:
            if may_create:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            self._check_files()
            with closing(sqlite3.connect(self.path, timeout=self._busy_seconds)) as connection, connection:
                _restrict(connection)
                self._prepare(connection)
                yield connection
        except (sqlite3.Error, UnicodeDecodeError) as error:  # the second one: SQLite quotes the file
            raise self._explained(error) from error
        except OSError as error:
            raise storage_error(error, self.path) from error

    def _check_files(self) -> None:
        """Refuse files for which SQLite would wait, and a journal that makes it delete another file.

        A rollback journal can name a second one, of a transaction in several files, which SQLite deletes after reading
        both. Ours names none.
        """
        path = os.path.realpath(self.path)  # SQLite looks for its other files next to that
        for suffix in ("", "-journal", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                if not stat.S_ISREG(os.lstat(path + suffix).st_mode):
                    raise self._damaged(f"{printable(os.path.basename(path + suffix))} is not a plain file")
        with suppress(FileNotFoundError), open(f"{path}-journal", "rb") as journal:
            journal.seek(-min(journal.seek(0, os.SEEK_END), len(JOURNAL_END)), os.SEEK_END)
            if journal.read() == JOURNAL_END:
                raise self._damaged("its journal names another file; delete the journal")

    def _prepare(self, connection: sqlite3.Connection) -> None:
        """Create the table in a new file; refuse a database that has anything else, as of another program."""
        has_application_id = _has_application_id(connection)
        tables = connection.execute("SELECT type, name, sql FROM sqlite_master LIMIT 3").fetchall()
        if not tables and not has_application_id:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("BEGIN IMMEDIATE")  # table and id in one transaction: another process may do the same
            if not _has_application_id(connection):
                connection.execute(CREATE_TABLE)
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.commit()
        elif not _has_application_id(connection) or not _are_our_tables(tables):
            raise self._damaged("other tables")

    def _check_size(self, connection: sqlite3.Connection, more_bytes: int) -> None:
        """Raises FullError if the file may not have another correction of `more_bytes`."""
        if _count(connection) >= MAX_CORRECTIONS:
            raise FullError(f"{printable(str(self.path))}: already has {MAX_CORRECTIONS:,} corrections; delete some")
        pages, free_pages, page_size = (
            connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
        )
        if (pages - free_pages) * page_size + more_bytes > self._megabytes * 10**6:
            raise FullError(
                f"{printable(str(self.path))}: already has {self._megabytes:,} MB of corrections; delete some, or "
                "start numerals serve with a larger --corrections-size"
            )

    def _checked(self, row: tuple[Any, ...]) -> Correction:
        """Return a row as a correction: in SQLite, any column may hold a value of any type.

        Raises:
            DamagedError: it is not one that `add` may have saved.
        """
        correction = Correction(*row)
        is_valid = (
            type(correction.id) is int
            and _is_time(correction.at)
            and _is_digit(correction.digit)
            and (correction.read is None or _is_digit(correction.read))
            and isinstance(correction.picture, bytes)
            and (correction.seen is None or (isinstance(correction.seen, bytes) and len(correction.seen) == PIXELS))
        )
        if not is_valid:
            raise self._damaged(f"correction {correction.id} has impossible values; you can delete it")
        return correction

    def _explained(self, error: sqlite3.Error | UnicodeDecodeError) -> NumeralsError:
        """Return the error of numerals for one of SQLite's, whose message may quote the file."""
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF  # the rest details it
        reason, path = printable(str(error))[:MAX_REASON_CHARACTERS], printable(str(self.path))
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return StorageError(f"{path}: another process has locked the corrections ({reason}); try again")
        if code in UNAVAILABLE:
            return StorageError(
                f"{path}: cannot read or write corrections ({reason}); check the disk and permissions, or choose "
                "another --corrections"
            )
        return self._damaged(reason)

    def _damaged(self, reason: str) -> DamagedError:
        path = printable(str(self.path))
        return DamagedError(f"{path}: damaged or not a file of corrections ({reason}); choose another --corrections")


def _restrict(connection: sqlite3.Connection) -> None:
    """Let nothing that the file contains run code, or take memory or time without limit."""
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_ROW_BYTES)
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    ticks = iter(range(MAX_TICKS))
    connection.set_progress_handler(lambda: next(ticks, None) is None, STEPS_PER_TICK)
    connection.text_factory = lambda content: content.decode(errors="replace")


def _has_application_id(connection: sqlite3.Connection) -> bool:
    return bool(connection.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID)


def _are_our_tables(tables: list[tuple[Any, ...]]) -> bool:
    """Whether the file has the one table, declared as here except for comments; SQLite adds one that counts ids."""
    if not all(isinstance(value, str) for table in tables for value in table):
        return False
    return {(kind, name, _without_comments(sql)) for kind, name, sql in tables} == {
        ("table", "corrections", _without_comments(CREATE_TABLE)),
        ("table", "sqlite_sequence", "CREATE TABLE sqlite_sequence(name,seq)"),
    }


def _without_comments(sql: str) -> str:
    return " ".join(re.sub("--.*", "", sql).split())


def _count(connection: sqlite3.Connection) -> int:
    rows = connection.execute("SELECT count(*) FROM (SELECT 1 FROM corrections LIMIT ?)", (MAX_CORRECTIONS + 1,))
    return int(rows.fetchone()[0])


def _is_time(value: Any) -> bool:
    try:
        return isinstance(value, str) and bool(datetime.fromisoformat(value))
    except ValueError:
        return False


def _is_digit(value: Any) -> bool:
    return type(value) is int and 0 <= value <= 9
