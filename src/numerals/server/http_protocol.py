"""HTTP/1.1 connections with a deadline: cuts off requests that arrive too slowly or have too large headers.

uvicorn's own protocol times out only connections that are idle. Here a timer runs from the first byte of a request (or
from the connection) to the last byte of its body, so that a client that sends a byte now and then cannot hold a
connection.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from numerals.server.settings import MAX_HEADER_BYTES, RECEIVE_TIMEOUT_SECONDS

SHUTDOWN_DELAY_SECONDS = 0.3
REQUEST_TIMEOUT = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
HEADERS_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class DeadlineProtocol(HttpToolsProtocol):
    """One connection, whose requests must arrive within RECEIVE_TIMEOUT_SECONDS."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._timer: asyncio.TimerHandle | None = None
        self._header_bytes = 0  # of the current request so far

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._start_timer()
        super().data_received(data)

    def on_message_begin(self) -> None:
        self._start_timer()
        self._header_bytes = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._count_header(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count_header(name + value)
        super().on_header(name, value)

    def on_message_complete(self) -> None:
        self._stop_timer()
        super().on_message_complete()

    def shutdown(self) -> None:
        """Close the connection because the server stops.

        Bytes that are in transit, or unread, get a moment to become a request, which is then answered.
        """
        if self._timer is None:
            super().shutdown()
        else:
            self.loop.call_later(SHUTDOWN_DELAY_SECONDS, super().shutdown)

    def _start_timer(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(RECEIVE_TIMEOUT_SECONDS, self._cut_off, REQUEST_TIMEOUT)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _count_header(self, part: bytes) -> None:
        self._header_bytes += len(part)
        if self._header_bytes > MAX_HEADER_BYTES:
            self._cut_off(HEADERS_TOO_LARGE)

    def _cut_off(self, response: bytes) -> None:
        if self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            self.transport.write(response)
        self.transport.close()
