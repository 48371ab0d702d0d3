"""Write files and folders atomically and durably: after a crash or on a full disk, a file is complete or absent.

Read only plain files, up to a size: a pipe or a device may make a reader wait for ever, or fill its memory.
"""

import contextlib
import errno
import hashlib
import json
import os
import re
import stat
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from numerals.errors import StorageError

MAX_HASHED_BYTES = 2**32  # of a file that `sha256` reads; takes seconds


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


def make_folder(path: Path) -> None:
    """Create a folder and its parents, unless it exists.

    Raises:
        StorageError: the disk is full or not writable, or a file is in the way.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(error, path) from error


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
    """The SHA-256 of a file, or of its first `size` bytes; None if it is missing or `open_plain` refuses it."""
    with contextlib.suppress(OSError), open_plain(path, MAX_HASHED_BYTES) as file:
        digest, left = hashlib.sha256(), size if size >= 0 else MAX_HASHED_BYTES
        while chunk := file.read(min(left, 2**20)):
            digest.update(chunk)
            left -= len(chunk)
        return digest.hexdigest()
    return None


def open_plain(path: Path, limit: int) -> BinaryIO:
    """Open a plain file, or a link to one, for reading bytes.

    Raises:
        OSError: it is a pipe, a device or a folder, is larger than `limit` bytes, or cannot be opened.
    """
    _check_plain(os.stat(path), limit, path)  # before opening, which has effects on some devices
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        _check_plain(os.fstat(descriptor), limit, path)  # it may have been replaced
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_plain(path: Path, limit: int) -> bytes:
    """The content of a plain file; raises OSError as `open_plain` does."""
    with open_plain(path, limit) as file:
        return file.read(os.fstat(file.fileno()).st_size)


def url_message(path: str | Path) -> str | None:
    """What to say of a missing file whose name is a URL; None for other names. Path has merged the slashes of a URL."""
    url = re.match(r"([a-z][a-z\d+.-]+):/+(.+)", str(path), re.IGNORECASE)
    return f"{url[1]}://{url[2]}: URLs are not fetched; download it first" if url else None


def readable_size(size: int) -> str:
    """Format a number of bytes, such as 1.5 GiB."""
    for unit, name in ((2**30, "GiB"), (2**20, "MiB")):
        if size >= unit:
            return f"{size / unit:.3g} {name}"
    return f"{size / 2**10:.3g} KiB"


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


def _check_plain(status: os.stat_result, limit: int, path: Path) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "not a plain file", str(path))
    if status.st_size > limit:
        raise OSError(errno.EFBIG, f"larger than {readable_size(limit)}", str(path))


def _sync(path: Path) -> None:
    """Flush a file's content, or a folder's list of names, where the system can (Windows cannot flush folders)."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
