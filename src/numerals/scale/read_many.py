"""Reads an archive of pictures on Ray: one actor per core, each with its own Reader.

Ray Data hands parts of the archive to the actors, gives the part of a lost actor to another, and keeps no more results
than this process fetches. Only this process writes, so a part that was read twice is written once. Each actor decodes
in a sandbox; a picture that ends actors all the same gets a record with an error, see `attempts`.
"""

import contextlib
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
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from numerals.errors import FailureError, InputError, MissingError, PictureError, printable
from numerals.files import write_atomically
from numerals.read import model_files
from numerals.read.model_files import ModelFile
from numerals.read.pages import SUFFIXES
from numerals.read.reader import Reader
from numerals.read.sandbox import Sandbox
from numerals.scale.archive import Archive, without_secrets
from numerals.scale.attempts import MAX_DEATHS, Attempts
from numerals.scale.cluster import cause_of
from numerals.scale.job import PARTS_PER_FILE, Job, Listing, as_parquet, part_of

PARTS_PER_WORKER = 8  # handed out together, at least; the next ones follow when these are done


@dataclass(frozen=True)
class ReadRequest:
    """What to read, and how."""

    source: str
    column: str
    max_pictures: int  # in a part, which becomes one Parquet file
    model: ModelFile | None  # None for the shipped models

    def to_dict(self) -> dict[str, Any]:
        """The request as it is recorded in the folder, without the keys of a bucket."""
        source = without_secrets(self.source)
        return {
            "source": source if "://" in source else os.path.abspath(source),
            "column": self.column,
            "part": self.max_pictures,
            "model": self._model_sha256(),
        }

    def _model_sha256(self) -> str | list[str]:
        if self.model:
            return str(self.model.card["sha256"])
        shipped = (model_files.ROW_MODEL, model_files.DIGIT_MODEL)
        return [model_files.load(name=name).card["sha256"] for name in shipped]


@dataclass(frozen=True)
class PartDone:
    """A part that was read: its number of pictures, and how many of them could not be read."""

    pictures: int
    unreadable: int


def prepare(request: ReadRequest, out: Path) -> tuple[Job, Listing]:
    """Make the job's folder, or continue in it, and list the archive.

    Raises:
        InputError, StorageError: as `Job` and `Archive`.
    """
    archive = Archive(request.source, request.column)
    if not out.exists() and next(archive.parts(1), None) is None:  # make nothing if the call has a mistake
        raise InputError(f"{printable(request.source)}: no pictures; they end in {', '.join(sorted(SUFFIXES))}")
    job = Job(out, request.to_dict())
    return job, job.list_archive(Archive(request.source, request.column), request.max_pictures)


def read_parts(job: Job, listing: Listing, request: ReadRequest, workers: int) -> Iterator[PartDone]:
    """Read the missing parts on `workers` actors; each part is on disk when it is yielded.

    Raises:
        FailureError: the bucket or the disk with the pictures failed, or a machine cannot decode.
        StorageError: the records cannot be written.
    """
    _silence_ray_data()
    attempts = _start_attempts()
    for batch in job.missing(listing, max(PARTS_PER_FILE, workers * PARTS_PER_WORKER)):
        items = [{"number": number, "part": json.dumps(part.to_dict())} for number, part in batch]
        data = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
            PartReader,
            batch_size=1,
            fn_constructor_args=(request, attempts),
            compute=ray.data.ActorPoolStrategy(size=min(workers, len(items))),
            num_cpus=1,
        )
        try:
            for row in data.iter_rows():
                write_atomically(job.path(int(row["number"])), row["records"])
                yield PartDone(int(row["pictures"]), int(row["unreadable"]))
        except ray.exceptions.RayError as error:
            raise cause_of(error, "Ray failed") from error


class PartReader:
    """An actor of Ray Data; each of its batches is one part."""

    def __init__(self, request: ReadRequest, attempts: Any) -> None:
        cv2.setNumThreads(1)
        self._archive = Archive(request.source, request.column)
        self._record = recorder(Reader(request.model, threads=1), Sandbox())
        self._attempts = attempts  # the actor

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        part, number = part_of(batch["part"][0]), int(batch["number"][0])
        left_out = ray.get(self._attempts.begin.remote(number))
        records = []
        for index, (name, content) in enumerate(self._archive.contents(part)):
            if left_out is None:
                records.append(self._record(name, content))
            elif index in left_out:
                records.append(self._record(name, PictureError(f"{name}: it ended {MAX_DEATHS} readers; left out")))
            else:
                ray.get(self._attempts.reading.remote(number, index))
                records.append(self._record(name, content))
        ray.get(self._attempts.end.remote(number))
        unreadable = sum(record["error"] is not None for record in records)
        parquet = np.empty(1, object)
        parquet[0] = as_parquet(records)
        return {
            "number": batch["number"],
            "records": parquet,
            "pictures": np.array([len(records)]),
            "unreadable": np.array([unreadable]),
        }


def _start_attempts() -> Any:
    """Start the actor of Attempts, on this process's node: it ends with the job, and needs no core."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    counting: Any = ray.remote(Attempts)
    return counting.options(num_cpus=0, max_restarts=-1, max_task_retries=-1, scheduling_strategy=here).remote()


def recorder(reader: Reader, sandbox: Sandbox) -> Callable[[str, str | bytes | PictureError], dict[str, Any]]:
    """A function from a picture's name and content to its record, whatever the picture is.

    It raises FailureError if the machine fails, such as when no process that decodes can be started: an error in the
    records of all pictures that follow would stay there.
    """

    def record(name: str, content: str | bytes | PictureError) -> dict[str, Any]:
        rows: list[dict[str, Any]] = []
        message = None
        try:
            if isinstance(content, PictureError):
                raise content
            with contextlib.closing(sandbox.pages(content)) as pages:
                for number, page in enumerate(pages, 1):
                    rows += [{"page": number, **row.to_dict()} for row in reader.read(page).rows]
        except (InputError, MissingError) as error:
            message = str(error)
        except FailureError:
            raise
        except Exception as error:  # noqa: BLE001  one bug, ours or a decoder's, must not end a job of millions
            message = f"bug: {type(error).__name__}: {error}"
        return {
            "picture": printable(name),
            "text": "\n".join(row["text"] for row in rows),
            "confidence": math.prod(row["confidence"] for row in rows) if rows else None,
            "rows": rows,
            "error": message and printable(message),
        }

    return record


def _silence_ray_data() -> None:
    """Turn off Ray Data's progress bars and logs; the command has its own."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    for name in ("ray.data", "ray.data.dataset"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
