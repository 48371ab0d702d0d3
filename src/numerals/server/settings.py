"""Settings of `numerals serve`, and every limit on a request: bytes, pixels, seconds, queue length.

`middleware` and `http_protocol` enforce the limits on requests, `engine` those on pictures.
"""

import ipaddress
import socket
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from numerals.errors import InputError
from numerals.server.access_log import LOG_FORMATS
from numerals.server.corrections import DEFAULT_MEGABYTES

MAX_HEADER_BYTES = 64_000  # request line and headers together; trailers; the frames of small chunks
MAX_HEADER_LINES = 128
MAX_BODY_BYTES = 10_000_000  # of one request
MAX_BUFFERED_BYTES = 64_000_000  # bodies of all requests, and large answers, that one process holds in memory
MAX_PICTURE_PIXELS = 25_000_000
MAX_DIGITS_PER_REQUEST = 1000  # to /v1/recognise: about two seconds where the model is unsure of all of them

RECEIVE_TIMEOUT_SECONDS = 10.0  # from the first byte of a request to its last
RESPONSE_TIMEOUT_SECONDS = 10.0  # from the last byte of a request to its response
SEND_TIMEOUT_SECONDS = 10.0  # for the client to take the response; more for a large one, at MIN_SEND_RATE
MIN_SEND_RATE = 250_000  # bytes per second
DECODE_SECONDS = 1.5  # of processor time, to decode a picture; six times as much by the clock
READ_TIMEOUT_SECONDS = 8.0  # to read a decoded picture, if the response's time is not over before
SHUTDOWN_GRACE_SECONDS = 1.0  # during which a stopping server still accepts connections: load balancers need to notice

MAX_DECODER_MEBIBYTES = 192  # memory for decoding a picture
MAX_WAITING_CORRECTIONS = 8  # requests of one process for the corrections; each may wait a second for another process
MAX_LISTED_BYTES = 8_000_000  # pictures of corrections in one answer
READER_THREADS = 2  # pictures that one process reads at the same time


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """Settings of a server, as the options of `numerals serve` give them.

    Args:
        host: address to listen on.
        port: TCP port to listen on; 0 takes a free one.
        workers: number of processes, each with its own models and queue.
        queue_size: requests of one process that may wait or be in progress; further ones get 503.
        max_connections: connections that one process keeps open; further ones get 503.
        proxies: addresses and networks of proxies, whose X-Forwarded-For names the client.
        token: bearer token that API requests must carry; None lets every request in.
        insecure: allow other machines without a token.
        host_names: further names under which clients reach the server, as behind a proxy.
        access_log: a line on stderr for each request: text, json or off.
        model: an exported ONNX model to use instead of the built-in one.
        corrections: SQLite file of corrections; None means the default file in the user's data folder.
        corrections_megabytes: maximum size of that file.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    queue_size: int = 256
    max_connections: int = 1000
    proxies: tuple[str, ...] = ()
    access_log: str = "text"
    token: str | None = None
    insecure: bool = False
    host_names: tuple[str, ...] = ()
    model: Path | None = None
    corrections: Path | None = None
    corrections_megabytes: int = DEFAULT_MEGABYTES

    @property
    def corrections_file(self) -> Path:
        return self.corrections or Path(platformdirs.user_data_dir("numerals")) / "corrections.sqlite"

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach the server."""
        return self.host == "localhost" or (_is_address(self.host) and ipaddress.ip_address(self.host).is_loopback)

    def check(self) -> None:
        """Check the settings before anything listens.

        Raises:
            InputError: the token cannot be sent in a header, there is no such log, a proxy is no address, or other
                machines could use the server without a token.
        """
        if self.token is not None and not (self.token.isascii() and self.token.isprintable() and self.token.strip()):
            raise InputError("--token: must be printable ASCII characters and not blank; choose another token")
        if self.access_log not in LOG_FORMATS:
            raise InputError(f"--access-log {self.access_log}: must be one of {', '.join(LOG_FORMATS)}")
        for proxy in self.proxies:
            try:
                ipaddress.ip_network(proxy)
            except ValueError as error:
                raise InputError(f"--proxy {proxy}: {error}; give an IP address or a network") from error
        if not self.is_local and self.token is None and not self.insecure:
            raise InputError(
                f"--host {self.host}: other machines can reach this address; add --token TOKEN, or --insecure to "
                "serve without one"
            )

    def accepts_host(self, host: str) -> bool:
        """Check a request's Host header, to stop DNS rebinding: a web page whose name resolves to this server.

        An attacker cannot rebind a bare IP address, so a server that other machines can reach accepts all of them.

        Args:
            host: value of the header, with or without a port.
        """
        name = host.removeprefix("[").partition("]")[0] if host.startswith("[") else host.partition(":")[0]
        name = name.lower().removesuffix(".")
        if name == "localhost" or name in {known.lower() for known in (self.host, *self.host_names)}:
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
