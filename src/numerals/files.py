"""The one writer of files: a file is there whole or not at all. Knows nothing about what it writes."""

import contextlib
import errno
import json
import os
import re
import uuid
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
    _sync_folder(path.parent)


def readable_json(content: Any) -> str:
    """JSON for people too: a line for each key, a list of plain values on one line."""
    spread = json.dumps(content, indent=2)
    return re.sub(r"\[\n *([^][{}]*?)\n *\]", lambda found: "[" + re.sub(r"\n *", " ", found[1]) + "]", spread) + "\n"


def storage_error(error: OSError, path: Path) -> StorageError:
    """What an operating system's error means for the file at `path`, in one line."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageError(f"{path}: the disk is full; free some space and start again")
    return StorageError(f"{path}: cannot be written ({error.strerror or error}); choose another folder")


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable, where the system can (not on Windows)."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
