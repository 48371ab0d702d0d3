"""Write files and folders atomically and durably: after a crash or on a full disk, a file is complete or absent."""

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
    """Write `content` to a temporary file in the same folder, sync it, and rename it to `path`.

    Several processes may write the same path at once; the last rename wins.

    Raises:
        StorageError: the disk is full, or the folder is not writable.
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
        with contextlib.suppress(OSError):  # it still exists only after an error
            temporary.unlink()
    _sync(path.parent)


def write_folder(path: Path, files: Mapping[str, bytes]) -> None:
    """Create a folder with all of its files at once.

    Args:
        path: the new folder. It may exist if it is empty.
        files: content by name; a name may contain subfolders.

    Raises:
        StorageError: the disk is full or not writable.
        OSError: the folder cannot be created, for example because it exists and is not empty.
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
    """Remove a file, or a folder with its content. A missing path is no error.

    Raises:
        StorageError: the disk is not writable.
    """
    try:
        if path.is_dir() and not path.is_symlink():
            for child in path.iterdir():
                remove(child)
            path.rmdir()
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise storage_error(error, path) from error


def remove_temporary_files(folder: Path) -> None:
    """Remove the temporary files of writers that were killed."""
    for path in folder.iterdir():
        if re.fullmatch(r"\..*\.[0-9a-f]{32}", path.name):
            remove(path)


def truncate(path: Path, size: int) -> None:
    """Shorten a file to its first `size` bytes.

    Raises:
        StorageError: the disk is not writable.
    """
    try:
        os.truncate(path, size)
        _sync(path)
    except OSError as error:
        raise storage_error(error, path) from error


def sync(path: Path) -> None:
    """Flush a file and its folder to disk, so that both survive a power failure."""
    _sync(path)
    _sync(path.parent)


def sha256(path: Path, size: int = -1) -> str | None:
    """The SHA-256 of a file, or of its first `size` bytes; None if it cannot be read."""
    with contextlib.suppress(OSError), open(path, "rb") as file:
        return hashlib.sha256(file.read(size)).hexdigest()
    return None


def readable_json(content: Any) -> str:
    """Format JSON with a line for each key, and lists of plain values on one line."""
    indented = json.dumps(content, indent=2)
    lists = r"\[\n *([^][{}]*?)\n *\]"
    return re.sub(lists, lambda match: "[" + re.sub(r"\n *", " ", match[1]) + "]", indented) + "\n"


def storage_error(error: OSError, path: Path) -> StorageError:
    """Turn an operating system's error about the file at `path` into a message of one line."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageError(f"{path}: the disk is full; free some space and start again")
    return StorageError(f"{path}: cannot be written ({error.strerror or error}); choose another folder")


def _sync(path: Path) -> None:
    """Flush a file's content, or a folder's list of names, where the system can (Windows cannot flush folders)."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
