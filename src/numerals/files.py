"""The one writer of files: a file is there whole or not at all. Knows nothing about what it writes."""

import contextlib
import errno
import hashlib
import json
import os
import re
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numerals.errors import StorageError


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` to a new file beside `path`, sync it, and rename it into place.

    Safe for several processes at once: each writes a file of its own, and the last rename wins whole.

    Raises:
        StorageError: the disk is full, or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise storage_error(error, path) from error
    finally:
        with contextlib.suppress(OSError):  # it is there only when something failed
            temporary.unlink()
    _sync(path.parent)


def write_folder(path: Path, files: Mapping[str, bytes]) -> None:
    """A new folder at `path`, there with all of its files or not at all; they may be in folders within.

    Raises:
        StorageError: the disk is full, or refuses.
        OSError: the folder cannot be made, as where there is one that is not empty.
    """
    temporary = path.with_name(f".{uuid.uuid4().hex}")
    temporary.mkdir(parents=True)
    try:
        for name, content in files.items():
            (temporary / name).parent.mkdir(parents=True, exist_ok=True)
            write_atomically(temporary / name, content)
        temporary.rename(path)
    except StorageError as error:
        raise storage_error(error.__cause__, path) if isinstance(error.__cause__, OSError) else error from error
    finally:
        if temporary.exists():
            remove(temporary)
    _sync(path.parent)


def remove(path: Path) -> None:
    """Remove a file, or a folder and all in it; where there is none, nothing.

    Raises:
        StorageError: the disk refuses.
    """
    try:
        if path.is_dir() and not path.is_symlink():
            for each in path.iterdir():
                remove(each)
            path.rmdir()
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise storage_error(error, path) from error


def remove_temporary_files(folder: Path) -> None:
    """Remove what writers left half written in the folder when they were killed."""
    for each in folder.iterdir():
        if re.fullmatch(r"\..*\.[0-9a-f]{32}", each.name):
            remove(each)


def truncate(path: Path, size: int) -> None:
    """Make a file shorter; whatever else holds is kept.

    Raises:
        StorageError: the disk refuses.
    """
    try:
        os.truncate(path, size)
        _sync(path)
    except OSError as error:
        raise storage_error(error, path) from error


def sync(path: Path) -> None:
    """Make sure that what was written to a file, and that it is in its folder, outlives a loss of power."""
    _sync(path)
    _sync(path.parent)


def sha256(path: Path, size: int = -1) -> str | None:
    """The SHA-256 of a file, or of its first bytes; None where it cannot be read."""
    with contextlib.suppress(OSError), open(path, "rb") as file:
        return hashlib.sha256(file.read(size)).hexdigest()
    return None


def readable_json(content: Any) -> str:
    """JSON for people too: a line for each key, a list of plain values on one line."""
    spread = json.dumps(content, indent=2)
    return re.sub(r"\[\n *([^][{}]*?)\n *\]", lambda found: "[" + re.sub(r"\n *", " ", found[1]) + "]", spread) + "\n"


def storage_error(error: OSError, path: Path) -> StorageError:
    """What an operating system's error means for the file at `path`, in one line."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageError(f"{path}: the disk is full; free some space and start again")
    return StorageError(f"{path}: cannot be written ({error.strerror or error}); choose another folder")


def _sync(path: Path) -> None:
    """Make a file's content, or the names in a folder, durable where the system can (not folders on Windows)."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
