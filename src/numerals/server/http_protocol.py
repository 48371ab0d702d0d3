"""HTTP of which a request must arrive in time: uvicorn's own protocol times only connections that say nothing at all.

A clock runs from the first byte of a request, or from the connection, to the last byte of its body. When it has run
down the connection is cut, whatever was sent of the request. Knows nothing about what is asked.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from numerals.server.settings import MOST_HEAD, SEND

MOMENT = 0.3  # seconds
TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
TOO_LONG = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class TimedProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._clock: asyncio.TimerHandle | None = None
        self._head = 0  # bytes of the line and headers so far

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._start()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._start()
        super().data_received(data)

    def on_message_begin(self) -> None:
        self._start()
        self._head = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._count(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(name + value)
        super().on_header(name, value)

    def on_message_complete(self) -> None:
        self._stop()
        super().on_message_complete()

    def shutdown(self) -> None:
        """The server ends. What is on its way, or lies unread, has a moment to become a request, which is answered."""
        if self._clock is None:
            super().shutdown()
        else:
            self.loop.call_later(MOMENT, super().shutdown)

    def _start(self) -> None:
        if self._clock is None:
            self._clock = self.loop.call_later(SEND, self._cut, TOO_SLOW)

    def _stop(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None

    def _count(self, part: bytes) -> None:
        self._head += len(part)
        if self._head > MOST_HEAD:
            self._cut(TOO_LONG)

    def _cut(self, why: bytes) -> None:
        if self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            self.transport.write(why)
        self.transport.close()
