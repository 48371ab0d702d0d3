"""The output folder of a Ray command: the same command continues in it, any other is refused.

A JSON file in the folder records the request that it belongs to, with the SHA-256 of that request.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numerals.errors import InputError
from numerals.files import read_plain, storage_error, write_atomically

MAX_JSON_BYTES = 2**26


def read_json(path: Path, repair: str) -> dict[str, Any]:
    """Read a JSON file that holds an object.

    Args:
        path: the file.
        repair: what the user can do if it is damaged.

    Raises:
        InputError: it is missing, is no plain file, or is damaged.
    """
    try:
        content = json.loads(read_plain(path, MAX_JSON_BYTES))
        if not isinstance(content, dict):
            raise ValueError("not a JSON object")
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{path}: damaged ({reason}); {repair}") from error
    return content


@dataclass(frozen=True)
class RequestFolder:
    """An output folder and the request that wants to use it.

    Args:
        path: the folder.
        record: the JSON file that records the request, relative to `path`.
        hash_key: the key in that file for the SHA-256 of the request.
        kind: what a request is called in errors: "job", "sweep".
        request: everything that must be equal for a command to continue in the folder; plain JSON values.
    """

    path: Path
    record: str
    hash_key: str
    kind: str
    request: Mapping[str, Any]

    def check(self) -> bool:
        """Whether the folder already belongs to this request; false if it is new or empty.

        Raises:
            InputError: it belongs to another request, or has files that no such command wrote.
            StorageError: it cannot be read.
        """
        record = self.path / self.record
        try:
            if not os.path.lexists(record):
                self._check_empty(record)
                return False
        except OSError as error:
            raise storage_error(error, self.path) from error
        recorded = read_json(record, "choose another --out")
        if recorded.get(self.hash_key) != self._sha256():
            request = json.loads(json.dumps(self.request))
            names = [name for name in {**request, **recorded} if request.get(name) != recorded.get(name)]
            differing = ", ".join(name for name in names if name != self.hash_key)
            if not differing:
                raise InputError(f"{record}: damaged (its SHA-256 is wrong); choose another --out")
            raise InputError(f"{self.path}: belongs to another {self.kind} ({differing} differs); choose another --out")
        return True

    def claim(self) -> bool:
        """As `check`; if the folder is new, also make it and record the request.

        Raises:
            InputError: as `check`.
            StorageError: it cannot be written.
        """
        if self.check():
            return True
        record = self.path / self.record
        try:
            record.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise storage_error(error, self.path) from error
        content = {self.hash_key: self._sha256(), **self.request}
        write_atomically(record, json.dumps(content, indent=2).encode())
        return False

    def _check_empty(self, record: Path) -> None:
        if not self.path.is_dir():
            if self.path.exists():
                raise InputError(f"{self.path}: is not a folder; choose another --out")
            return
        if any(path != record.parent for path in self.path.iterdir()):
            raise InputError(f"{self.path}: has files that do not belong to a {self.kind}; choose another --out")

    def _sha256(self) -> str:
        return hashlib.sha256(json.dumps(self.request, sort_keys=True).encode()).hexdigest()
