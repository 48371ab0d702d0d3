"""The output folder of a Ray command: the same command continues in it, any other is refused.

A JSON file in the folder records the request that it belongs to, with the SHA-256 of that request.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numerals.errors import InputError
from numerals.files import storage_error, write_atomically


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
            recorded = json.loads(record.read_text()) if record.is_file() else None
            if recorded is None:
                self._check_empty(record)
                return False
            same = recorded.get(self.hash_key) == self._sha256()
        except (ValueError, AttributeError) as error:
            raise InputError(f"{record}: damaged ({error}); choose another --out") from error
        except OSError as error:
            raise storage_error(error, self.path) from error
        if not same:
            request = json.loads(json.dumps(self.request))
            names = [name for name in {**request, **recorded} if request.get(name) != recorded.get(name)]
            differing = ", ".join(name for name in names if name != self.hash_key)
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
