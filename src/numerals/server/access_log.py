"""The access log: a line on stderr for each request, as text or as JSON."""

import json
import sys
from contextlib import suppress
from datetime import UTC, datetime
from urllib.parse import quote

from numerals.errors import printable

LOG_FORMATS = ("text", "json", "off")
CUT_OFF_STATUS = "numerals.cut_off"  # in the state of a request: the status with which its connection was cut off
MAX_LOGGED_CHARACTERS = 500  # of a path or a client's name


class AccessLog:
    """Writes a line for each request that was answered or cut off. The query and the headers are never logged.

    Args:
        log_format: one of LOG_FORMATS.
        token: is not written, even if a client sends it in the path.
    """

    def __init__(self, log_format: str, token: str | None) -> None:
        self._format, self._token = log_format, token

    def write(self, host: str, method: str, path: str, status: int, seconds: float) -> None:
        """Write a line.

        Args:
            host: address of the client.
            method: of the request, or "-" if the client was cut off before its headers were complete.
            path: without percent-encoding, or "-".
            status: of the response; 499 if the client left before it.
            seconds: from request to response.
        """
        if self._format == "off" or sys.stderr is None:
            return
        path = quote(path.replace(self._token, "[token]") if self._token else path, safe="/[]")
        entry = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "client": printable(host)[:MAX_LOGGED_CHARACTERS],
            "method": method,
            "path": path[:MAX_LOGGED_CHARACTERS],
            "status": status,
            "seconds": round(seconds, 4),
        }
        line = json.dumps(entry) if self._format == "json" else " ".join(map(str, entry.values()))
        with suppress(OSError, ValueError):  # nobody reads it, or the disk is full: requests are answered all the same
            sys.stderr.write(line + "\n")
