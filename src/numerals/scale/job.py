"""The folder of a job of `read-many`: what it is to read, in parts, and which are read. Knows nothing about Ray.

    DIR/
      part-0000000.parquet ...     a record a picture; each is there whole or not at all
      _job/job.json                what was asked for: another job does not go on here
      _job/parts-0000.jsonl ...    PARTS parts a file, as the archive was when it was listed
      _job/listed.json             how many there are; without it, the archive is listed again

pyarrow, pandas and Spark read DIR as one table, since they leave out what begins with _ or a dot.
"""

import hashlib
import io
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from numerals.errors import InputError
from numerals.files import storage_error, write_atomically
from numerals.scale.archive import Archive, Part

PARTS = 256  # a file of the list
_BOX = pa.struct([(name, pa.int32()) for name in ("left", "top", "width", "height")])
_DIGIT = pa.struct([("digit", pa.int8()), ("confidence", pa.float32()), ("box", _BOX)])
_ROW = pa.struct(
    [
        ("page", pa.int32()),  # of the file, from 1
        ("text", pa.string()),
        ("confidence", pa.float32()),
        ("box", _BOX),
        ("digits", pa.list_(_DIGIT)),
    ]
)
SCHEMA = pa.schema(
    [
        ("picture", pa.string()),
        ("text", pa.string()),  # the rows, a line each
        ("confidence", pa.float32()),  # that all of it is so; null where there is no row
        ("rows", pa.list_(_ROW)),
        ("error", pa.string()),  # null where there is none
    ]
)


@dataclass(frozen=True)
class Listed:
    """How large an archive is."""

    parts: int
    pictures: int
    skipped: int  # files that are no pictures by their suffix


class Job:
    """A job's folder, made or found again.

    Args:
        asked: what the job is; another one may not use the folder.

    Raises:
        InputError: the folder belongs to another job, or to nobody of ours.
        StorageError: it cannot be written.
    """

    def __init__(self, folder: Path, asked: dict[str, Any]) -> None:
        self._folder, self._own = folder, folder / "_job"
        asked = asked | {"hash": hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()}
        try:
            self._own.mkdir(parents=True, exist_ok=True)
            found = json.loads((self._own / "job.json").read_text()) if (self._own / "job.json").is_file() else None
            others = [path for path in folder.iterdir() if path != self._own]
        except ValueError as error:
            raise InputError(f"{self._own / 'job.json'}: damaged ({error}); choose another --out") from error
        except OSError as error:
            raise storage_error(error, folder) from error
        if found is None and others:
            raise InputError(f"{folder}: there are files in it, and no job of read-many; choose another --out")
        if found is not None and found.get("hash") != asked["hash"]:
            differs = ", ".join(name for name in asked if name != "hash" and asked[name] != found.get(name))
            raise InputError(f"{folder}: belongs to another job ({differs} differs); choose another --out")
        if found is None:
            write_atomically(self._own / "job.json", json.dumps(asked, indent=2).encode())

    def listed(self, archive: Archive, most: int) -> Listed:
        """The archive listed into the folder, or as it was listed before.

        Raises:
            InputError: as `Archive.parts`, or there is no picture.
        """
        path = self._own / "listed.json"
        if path.is_file():
            return Listed(**json.loads(path.read_text()))
        parts, pictures = archive.parts(most), 0
        count = 0
        while chunk := list(itertools.islice(parts, PARTS)):
            lines = "".join(json.dumps(part.to_dict()) + "\n" for part in chunk)
            write_atomically(self._list(count // PARTS), lines.encode())
            count += len(chunk)
            pictures += sum(part.pictures for part in chunk)
        if not count:
            raise InputError(f"no pictures there; {archive.skipped:,} files are none by their suffix")
        listed = Listed(count, pictures, archive.skipped)
        write_atomically(path, json.dumps(vars(listed)).encode())
        return listed

    def read_before(self, listed: Listed) -> int:
        """How many pictures need not be read any more."""
        return listed.pictures - sum(part.pictures for left in self.missing(listed) for _, part in left)

    def missing(self, listed: Listed, most: int = PARTS) -> Iterator[list[tuple[int, Part]]]:
        """The parts that are not read yet, with their numbers, `most` or fewer at a time."""
        ahead: list[tuple[int, Part]] = []
        for first in range(0, listed.parts, PARTS):
            lines = self._list(first // PARTS).read_text().splitlines()
            numbered = ((number, part_of(line)) for number, line in enumerate(lines, first))
            ahead += [(number, part) for number, part in numbered if not self.path(number).is_file()]
            while len(ahead) >= most:
                yield ahead[:most]
                ahead = ahead[most:]
        if ahead:
            yield ahead

    def path(self, number: int) -> Path:
        """Where a part's records are."""
        return self._folder / f"part-{number:07}.parquet"

    def _list(self, number: int) -> Path:
        return self._own / f"parts-{number:04}.jsonl"


def part_of(line: str) -> Part:
    """A part from its line of JSON."""
    found = json.loads(line)
    return Part(**found | {"names": tuple(found["names"])})


def as_parquet(records: list[dict[str, Any]]) -> bytes:
    """Records of SCHEMA as the bytes of a Parquet file."""
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(records, SCHEMA), buffer, compression="zstd")
    return buffer.getvalue()
