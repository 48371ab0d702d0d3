"""The output folder of `numerals read-many`: the parts of the archive, and the records of those that are read.

    DIR/
      part-0000000.parquet ...     one record per picture; a part's file is complete or missing
      _job/job.json                the request; another one cannot use the folder
      _job/parts-0000.jsonl ...    the parts of the archive when it was listed, PARTS_PER_FILE per file
      _job/listed.json             their number; as long as it is missing, the archive is listed again

pyarrow, pandas and Spark read DIR as one table, because they skip names that begin with an underscore or a dot.
"""

import io
import itertools
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from numerals.errors import InputError
from numerals.files import read_plain, write_atomically
from numerals.scale.archive import Archive, Part
from numerals.scale.folder import RequestFolder, read_json

PARTS_PER_FILE = 256
MAX_PART_LIST_BYTES = 2**30  # of PARTS_PER_FILE parts
REPAIR = "choose another --out"  # a new list may number the parts differently, and the records would not fit it
_BOX = pa.struct([(name, pa.int32()) for name in ("left", "top", "width", "height")])
_DIGIT = pa.struct([("digit", pa.int8()), ("confidence", pa.float32()), ("box", _BOX)])
_ROW = pa.struct(
    [
        ("page", pa.int32()),  # of the file, counted from 1
        ("text", pa.string()),
        ("confidence", pa.float32()),
        ("box", _BOX),
        ("digits", pa.list_(_DIGIT)),
    ]
)
SCHEMA = pa.schema(
    [
        ("picture", pa.string()),
        ("text", pa.string()),  # one line per row
        ("confidence", pa.float32()),  # that all rows are right; null if there are none
        ("rows", pa.list_(_ROW)),
        ("error", pa.string()),  # null if the picture was read
    ]
)
ROW_NUMBERS = ("group", "before", "start", "stop")  # the fields of a part that are numbers
NumberedPart = tuple[int, Part]


@dataclass(frozen=True)
class Listing:
    """The size of an archive."""

    parts: int
    pictures: int
    skipped: int  # files whose suffix is not that of a picture


class Job:
    """A job's folder, new or continued.

    Args:
        folder: the output folder.
        request: what the job reads and how, as plain JSON values; a job with another request cannot use the folder.

    Raises:
        InputError: the folder belongs to another job, or has other files.
        StorageError: it cannot be written.
    """

    def __init__(self, folder: Path, request: dict[str, Any]) -> None:
        self._folder = folder
        RequestFolder(folder, "_job/job.json", "hash", "job", request).claim()

    def list_archive(self, archive: Archive, max_pictures: int) -> Listing:
        """List the archive into the folder, in parts of at most `max_pictures`, unless that was done before.

        Raises:
            InputError: as `Archive.parts`; or there is no picture; or the list in the folder is damaged.
        """
        path = self._folder / "_job" / "listed.json"
        if os.path.lexists(path):
            return _listing(path)
        parts, count, pictures = archive.parts(max_pictures), 0, 0
        while chunk := list(itertools.islice(parts, PARTS_PER_FILE)):
            lines = "".join(json.dumps(part.to_dict()) + "\n" for part in chunk)
            write_atomically(self._part_list(count), lines.encode())
            count += len(chunk)
            pictures += sum(part.pictures for part in chunk)
        if not count:
            raise InputError(f"no pictures found; {archive.skipped:,} files do not end like pictures")
        listing = Listing(count, pictures, archive.skipped)
        write_atomically(path, json.dumps(vars(listing)).encode())
        return listing

    def count_done(self, listing: Listing) -> int:
        """The number of pictures that are read already."""
        return listing.pictures - sum(part.pictures for batch in self.missing(listing) for _, part in batch)

    def missing(self, listing: Listing, max_parts: int = PARTS_PER_FILE) -> Iterator[list[NumberedPart]]:
        """The parts that are still to be read, with their numbers, in batches of at most `max_parts`.

        Raises:
            InputError: the list in the folder is damaged.
        """
        batch: list[NumberedPart] = []
        for first in range(0, listing.parts, PARTS_PER_FILE):
            parts = _listed_parts(self._part_list(first), min(PARTS_PER_FILE, listing.parts - first))
            batch += [(number, part) for number, part in enumerate(parts, first) if not self.path(number).is_file()]
            while len(batch) >= max_parts:
                yield batch[:max_parts]
                batch = batch[max_parts:]
        if batch:
            yield batch

    def path(self, number: int) -> Path:
        """The file for the records of a part."""
        return self._folder / f"part-{number:07}.parquet"

    def _part_list(self, number: int) -> Path:
        """The file that lists the part with this number."""
        return self._folder / "_job" / f"parts-{number // PARTS_PER_FILE:04}.jsonl"


def _listing(path: Path) -> Listing:
    content = read_json(path, REPAIR)
    names = {field.name for field in fields(Listing)}
    if content.keys() != names or not all(type(value) is int and 0 <= value < 2**53 for value in content.values()):
        raise InputError(f"{path}: damaged (not the size of an archive); {REPAIR}")
    return Listing(**content)


def _listed_parts(path: Path, count: int) -> list[Part]:
    """The parts in a list of `count` of them."""
    try:
        parts = [part_of(line) for line in read_plain(path, MAX_PART_LIST_BYTES).decode().splitlines()]
        if len(parts) != count:
            raise ValueError(f"{len(parts)} parts instead of {count}")
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{path}: damaged ({reason}); {REPAIR}") from error
    return parts


def part_of(line: str) -> Part:
    """The part that a line of JSON describes.

    Raises:
        ValueError: it describes none.
    """
    content = json.loads(line)
    if not isinstance(content, dict) or content.keys() != {field.name for field in fields(Part)}:
        raise ValueError("a line is not a part of an archive")
    names, table, numbers = content["names"], content["table"], [content[name] for name in ROW_NUMBERS]
    if not (
        isinstance(names, list)
        and all(isinstance(name, str) for name in names)
        and isinstance(table, str)
        and all(type(number) is int and 0 <= number < 2**53 for number in numbers)
    ):
        raise ValueError("a line is not a part of an archive")
    return Part(**content | {"names": tuple(names)})


def as_parquet(records: list[dict[str, Any]]) -> bytes:
    """Records of SCHEMA as the content of a Parquet file."""
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(records, SCHEMA), buffer, compression="zstd")
    return buffer.getvalue()
