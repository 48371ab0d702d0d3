"""What people corrected: one SQLite file with the digit's picture, what was read and what is right.

Knows nothing about HTTP, nor about training. Several processes may use a file at the same time.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from numerals.errors import DataError, StorageError
from numerals.files import storage_error

OURS = 0x4E554D31  # SQLite's application_id: "NUM1"
PATIENCE = 5.0  # seconds that a writer waits for another
MAX_CORRECTIONS = 100_000  # corrections in a file
TABLE = """
CREATE TABLE IF NOT EXISTS corrections (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at TEXT NOT NULL,          -- when, UTC
    digit INTEGER NOT NULL,    -- the right one
    read INTEGER,              -- what was read; nothing where it was no digit
    picture BLOB NOT NULL,     -- PNG, the digit as it was written
    seen BLOB                  -- 28x28 bytes, as the network saw it, where that is known
)
"""


@dataclass(frozen=True)
class Correction:
    """One digit that was corrected."""

    id: int
    at: str
    digit: int
    read: int | None
    picture: bytes
    seen: bytes | None


class CorrectionStore:
    """A file of corrections; made, with its folder, when the first is kept."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, digit: int, read: int | None, picture: bytes, seen: bytes | None) -> int:
        """Keep a correction; its id.

        Raises:
            DataError: the file is none of ours.
            StorageError: the disk is full or refuses, or the file has MAX_CORRECTIONS of them.
        """
        at = datetime.now(UTC).isoformat(timespec="seconds")
        with self._open() as file:
            if file.execute("SELECT count(*) FROM corrections").fetchone()[0] >= MAX_CORRECTIONS:
                raise StorageError(f"{self.path}: has {MAX_CORRECTIONS:,} corrections already; delete some")
            added = file.execute(
                "INSERT INTO corrections (at, digit, read, picture, seen) VALUES (?, ?, ?, ?, ?)",
                (at, digit, read, picture, seen),
            )
            return int(added.lastrowid or 0)

    def latest(self, limit: int, before: int | None = None) -> list[Correction]:
        """So many, the newest first; of those kept before the one with the id `before`."""
        if not self.path.exists():
            return []
        with self._open() as file:
            found = file.execute(
                "SELECT id, at, digit, read, picture, seen FROM corrections WHERE id < ? ORDER BY id DESC LIMIT ?",
                (before if before is not None else 2**63 - 1, limit),
            )
            return [Correction(*row) for row in found]

    def count(self) -> int:
        if not self.path.exists():
            return 0
        with self._open() as file:
            return int(file.execute("SELECT count(*) FROM corrections").fetchone()[0])

    def delete(self, number: int) -> bool:
        """Whether there was one of that id."""
        if not self.path.exists():
            return False
        with self._open() as file:
            return file.execute("DELETE FROM corrections WHERE id = ?", (number,)).rowcount > 0

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self.path, timeout=PATIENCE)) as file, file:
                self._prepare(file)
                yield file
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):  # locked, full, forbidden
                raise StorageError(f"{self.path}: corrections cannot be kept or read ({error})") from error
            raise DataError(f"{self.path}: damaged, or no file of corrections ({error})") from error
        except OSError as error:
            raise storage_error(error, self.path) from error

    def _prepare(self, file: sqlite3.Connection) -> None:
        """A new file becomes one of ours; another's is refused."""
        if _is_ours(file):
            return
        if file.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] and not _is_ours(file):
            raise DataError(f"{self.path}: an SQLite file, but not of corrections; choose another")
        file.execute("PRAGMA journal_mode = WAL")
        file.execute("BEGIN IMMEDIATE")  # the table and the mark at once: another process may be here too
        file.execute(TABLE)
        file.execute(f"PRAGMA application_id = {OURS}")
        file.commit()


def _is_ours(file: sqlite3.Connection) -> bool:
    return bool(file.execute("PRAGMA application_id").fetchone()[0] == OURS)
