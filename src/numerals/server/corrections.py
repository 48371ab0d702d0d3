"""Corrections of misread digits, in one SQLite file: the picture, the digit that was read, the correct digit.

Several processes may use a file at the same time.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from numerals.errors import DataError, StorageError
from numerals.files import storage_error

APPLICATION_ID = 0x4E554D31  # SQLite's application_id, which marks the file as ours: "NUM1"
BUSY_TIMEOUT_SECONDS = 5.0  # how long a writer waits for another one
MAX_CORRECTIONS = 100_000  # in one file
MAX_ID = 2**63 - 1
CREATE_TABLE = """
CREATE TABLE IF NOT EXISTS corrections (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at TEXT NOT NULL,          -- time of the correction, ISO 8601, UTC
    digit INTEGER NOT NULL,    -- the correct digit
    read INTEGER,              -- the digit that was read; NULL where none was
    picture BLOB NOT NULL,     -- PNG of the handwritten digit
    seen BLOB                  -- the network's input, 28x28 bytes; NULL where it is not known
)
"""


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

    Every method raises DataError if the file is damaged or has other contents, and StorageError if it cannot be read
    or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, digit: int, read: int | None, picture: bytes, seen: bytes | None) -> int:
        """Save a correction and return its id. The arguments are the fields of `Correction`.

        Raises:
            DataError: the file exists and is not a file of corrections.
            StorageError: the disk is full or read-only, or the file has MAX_CORRECTIONS already.
        """
        at = datetime.now(UTC).isoformat(timespec="seconds")
        with self._open() as connection:
            if connection.execute("SELECT count(*) FROM corrections").fetchone()[0] >= MAX_CORRECTIONS:
                raise StorageError(f"{self.path}: already has {MAX_CORRECTIONS:,} corrections; delete some")
            cursor = connection.execute(
                "INSERT INTO corrections (at, digit, read, picture, seen) VALUES (?, ?, ?, ?, ?)",
                (at, digit, read, picture, seen),
            )
            return int(cursor.lastrowid or 0)

    def latest(self, limit: int, before: int | None = None) -> list[Correction]:
        """Return up to `limit` corrections, newest first; with `before`, only those with a smaller id."""
        if not self.path.exists():
            return []
        with self._open() as connection:
            rows = connection.execute(
                "SELECT id, at, digit, read, picture, seen FROM corrections WHERE id < ? ORDER BY id DESC LIMIT ?",
                (before if before is not None else MAX_ID, limit),
            )
            return [Correction(*row) for row in rows]

    def count(self) -> int:
        if not self.path.exists():
            return 0
        with self._open() as connection:
            return int(connection.execute("SELECT count(*) FROM corrections").fetchone()[0])

    def delete(self, correction_id: int) -> bool:
        """Delete a correction; return False if there is none with this id."""
        if not self.path.exists():
            return False
        with self._open() as connection:
            return connection.execute("DELETE FROM corrections WHERE id = ?", (correction_id,)).rowcount > 0

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self.path, timeout=BUSY_TIMEOUT_SECONDS)) as connection, connection:
                self._prepare(connection)
                yield connection
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):  # locked, full, read-only
                raise StorageError(
                    f"{self.path}: cannot read or write corrections ({error}); check the disk and permissions, "
                    "or choose another --corrections"
                ) from error
            raise DataError(
                f"{self.path}: damaged or not a file of corrections ({error}); choose another --corrections"
            ) from error
        except OSError as error:
            raise storage_error(error, self.path) from error

    def _prepare(self, connection: sqlite3.Connection) -> None:
        """Create the table in a new file; refuse a database that belongs to another program."""
        if _has_application_id(connection):
            return
        tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if tables and not _has_application_id(connection):  # another process may have created it just now
            raise DataError(f"{self.path}: an SQLite file without corrections; choose another --corrections")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("BEGIN IMMEDIATE")  # table and id in one transaction: another process may do the same
        connection.execute(CREATE_TABLE)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.commit()


def _has_application_id(connection: sqlite3.Connection) -> bool:
    return bool(connection.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID)
