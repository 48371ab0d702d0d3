"""What `numerals serve` was told, and its bounds. Knows nothing about how they are kept."""

import ipaddress
import socket
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from numerals.errors import InputError

MOST_BODY = 10_000_000  # bytes of a request
MOST_HELD = 64_000_000  # bytes of all requests that are in memory at once
MOST_HEAD = 64_000  # bytes of a request's line and headers
MOST_PIXELS = 25_000_000  # of a picture
SEND = 10.0  # seconds to send a request
ANSWER = 10.0  # seconds to be answered
READERS = 2  # pictures read at the same time by a process
GRACE = 1.0  # seconds in which a server that was told to end still accepts, so that nobody runs into a closed door


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """How to serve; `check` says whether that is wise."""

    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    queue_size: int = 256  # requests of one process that wait or are being answered
    token: str | None = None
    insecure: bool = False
    host_names: tuple[str, ...] = ()  # further host names under which it is reached
    model: Path | None = None
    corrections: Path | None = None

    @property
    def corrections_file(self) -> Path:
        return self.corrections or Path(platformdirs.user_data_dir("numerals")) / "corrections.sqlite"

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it."""
        return self.host == "localhost" or (_is_address(self.host) and ipaddress.ip_address(self.host).is_loopback)

    def check(self) -> None:
        """Raises InputError where strangers could use it without a token, or the token is none."""
        if self.token is not None and not (self.token.isascii() and self.token.isprintable() and self.token.strip()):
            raise InputError("--token: must be of letters, digits and signs of ASCII, and not empty")
        if not self.is_local and self.token is None and not self.insecure:
            raise InputError(
                f"--host {self.host}: reachable from other machines, so it needs a --token; --insecure does without"
            )

    def answers_to(self, host: str) -> bool:
        """Whether a request's Host header is one of ours; another is a page that had its name point at us.

        No page can do that to an address, so beyond this machine every address is one of ours.
        """
        name = host.removeprefix("[").partition("]")[0] if host.startswith("[") else host.partition(":")[0]
        name = name.lower().removesuffix(".")
        if name == "localhost" or name in {each.lower() for each in (self.host, *self.host_names)}:
            return True
        if _is_address(name):
            return not self.is_local or ipaddress.ip_address(name).is_loopback
        return not self.is_local and name == socket.gethostname().lower()


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
