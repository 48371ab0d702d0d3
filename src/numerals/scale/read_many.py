"""Archives of pictures read on Ray: an actor a core, a Reader each. Knows nothing about where pictures lie.

Ray Data hands out parts of the archive to the actors, gives those of a lost one to another, and takes no more results
than are fetched. Only this process writes: a part that was read twice is written once.
"""

import json
import logging
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import ray

from numerals.errors import FailureError, InputError, NumeralsError, PictureError, printable
from numerals.files import write_atomically
from numerals.read import model_files
from numerals.read.model_files import ModelFile
from numerals.read.pages import SUFFIXES, pages
from numerals.read.reader import Reader
from numerals.scale.archive import Archive, without_secrets
from numerals.scale.job import PARTS, Job, Listed, as_parquet, part_of

AHEAD = 8  # parts a worker, or more, are handed out together; the next when they are done


@dataclass(frozen=True)
class Request:
    """What is to be read, and how."""

    source: str
    column: str
    part: int  # at most so many pictures to a file
    model: ModelFile | None

    def asked(self) -> dict[str, Any]:
        """What makes it this job and no other; nothing secret in it."""
        source = without_secrets(self.source)
        return {
            "source": source if "://" in source else os.path.abspath(source),
            "column": self.column,
            "part": self.part,
            "model": self.model.card["sha256"]
            if self.model
            else [
                model_files.load(name=name).card["sha256"] for name in (model_files.ROW_MODEL, model_files.DIGIT_MODEL)
            ],
        }


@dataclass(frozen=True)
class Done:
    """A part that has been read."""

    pictures: int
    unreadable: int


def prepare(request: Request, out: Path) -> tuple[Job, Listed]:
    """The job's folder, with the archive listed.

    Raises:
        InputError, StorageError: as `Job` and `Archive` do.
    """
    archive = Archive(request.source, request.column)
    if not out.exists() and next(archive.parts(1), None) is None:  # nothing is made for a mistake in the call
        raise InputError(f"{printable(request.source)}: no pictures; they end in {', '.join(sorted(SUFFIXES))}")
    job = Job(out, request.asked())
    return job, job.listed(Archive(request.source, request.column), request.part)


def read_parts(job: Job, listed: Listed, request: Request, workers: int) -> Iterator[Done]:
    """Reads what is missing, on so many actors; each part is on disk when it comes.

    Raises:
        FailureError: the bucket or the disk that holds the pictures failed.
        StorageError: the records cannot be written.
    """
    _silence()
    for left in job.missing(listed, max(PARTS, workers * AHEAD)):
        items = [{"number": number, "part": json.dumps(part.to_dict())} for number, part in left]
        data = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
            ReadParts,
            batch_size=1,
            fn_constructor_args=(request,),
            compute=ray.data.ActorPoolStrategy(size=min(workers, len(items))),
            num_cpus=1,
        )
        try:
            for row in data.iter_rows():
                write_atomically(job.path(int(row["number"])), row["records"])
                yield Done(int(row["pictures"]), int(row["unreadable"]))
        except ray.exceptions.RayError as error:
            raise _cause(error) from error


class ReadParts:
    """What an actor does; a batch is a part."""

    def __init__(self, request: Request) -> None:
        cv2.setNumThreads(1)
        self._archive = Archive(request.source, request.column)
        self._read = recorder(Reader(request.model, threads=1))

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        records = [self._read(*each) for each in self._archive.contents(part_of(batch["part"][0]))]
        unreadable = sum(record["error"] is not None for record in records)
        content = np.empty(1, object)
        content[0] = as_parquet(records)
        return {
            "number": batch["number"],
            "records": content,
            "pictures": np.array([len(records)]),
            "unreadable": np.array([unreadable]),
        }


def recorder(reader: Reader) -> Callable[[str, str | bytes | PictureError], dict[str, Any]]:
    """A picture's name and content -> its record, whatever the picture is."""

    def record(name: str, content: str | bytes | PictureError) -> dict[str, Any]:
        rows: list[dict[str, Any]] = []
        error = None
        try:
            if isinstance(content, PictureError):
                raise content
            for number, loaded in enumerate(pages(content), 1):
                rows += [{"page": number, **row.to_dict()} for row in reader.read(loaded).rows]
        except NumeralsError as reason:
            error = str(reason)
        except Exception as reason:  # noqa: BLE001  a bug of ours or of a decoder's must not end a job of millions
            error = f"a bug: {type(reason).__name__}: {reason}"
        return {
            "picture": printable(name),
            "text": "\n".join(row["text"] for row in rows),
            "confidence": math.prod(row["confidence"] for row in rows) if rows else None,
            "rows": rows,
            "error": error and printable(error),
        }

    return record


def _cause(error: BaseException) -> NumeralsError:
    """What an actor raised, out of Ray's own errors around it."""
    inner: BaseException | None = error
    while inner is not None:
        inner = getattr(inner, "cause", None) or inner.__cause__
        if isinstance(inner, NumeralsError):
            return type(inner)(str(inner))
    last = str(error).strip().splitlines()[-1]
    return FailureError(f"Ray: {last[:200]}; what was read is kept, and the same command goes on")


def _silence() -> None:
    """Progress is ours to show."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    for name in ("ray.data", "ray.data.dataset"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
