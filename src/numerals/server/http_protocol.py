"""HTTP/1.1 connections with deadlines: cuts off clients that send or take too slowly, or send too large headers.

uvicorn's own protocol times out only connections that are idle. Here a timer runs from the first byte of a request (or
from the connection) to the last byte of its body, and another while part of a response waits for the client, so that a
client that sends or takes a byte now and then cannot hold a connection. Of the connections no client gets more than its
`FairShare`.

The parser joins the parts of a header line or trailer before it passes them on, and never passes on the extensions of
chunks. So bytes are counted as they arrive, and the parser gets a few at a time.
"""

import asyncio
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from numerals.server.clients import FairShare, client_of
from numerals.server.settings import (
    MAX_HEADER_BYTES,
    MAX_HEADER_LINES,
    MIN_SEND_RATE,
    RECEIVE_TIMEOUT_SECONDS,
    SEND_TIMEOUT_SECONDS,
)

SHUTDOWN_DELAY_SECONDS = 0.3
SLICE_BYTES = 8192  # that the parser gets at a time
MAX_PIPELINED = 8  # requests that wait behind another on their connection
REQUEST_TIMEOUT = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
TOO_MANY_CONNECTIONS = (
    b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n"
)
HEADERS_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class DeadlineProtocol(HttpToolsProtocol):
    """One connection, whose requests must arrive within RECEIVE_TIMEOUT_SECONDS.

    Args:
        connections: the share of each client.
        options: uvicorn's.
    """

    def __init__(self, *, connections: FairShare, **options: Any) -> None:
        super().__init__(**options)
        self._connections, self._client = connections, ""  # the client, if it has a share
        self._timer: asyncio.TimerHandle | None = None
        self._send_timer: asyncio.TimerHandle | None = None
        self._header_bytes = 0  # received since the request began, less two for each byte of its body
        self._in_headers = False  # not in the body, nor in trailers

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=0)  # pause_writing is called whenever anything waits
        client = client_of(self.client[0] if self.client else "unknown")
        if self._connections.take(client):
            self._client = client
            self._start_timer()
        else:
            self._cut_off(TOO_MANY_CONNECTIONS)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._client:
            self._connections.give_back(self._client)
        self._stop_timer()
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._start_timer()
        for start in range(0, len(data), SLICE_BYTES):
            part = data[start : start + SLICE_BYTES]
            self._header_bytes += len(part)
            self._parse(part)
            if self._header_bytes > MAX_HEADER_BYTES or self._has_too_many_parts():
                self._cut_off(HEADERS_TOO_LARGE)
            if self.transport.is_closing():
                return

    def on_message_begin(self) -> None:
        self._start_timer()
        self._header_bytes = 0
        self._in_headers = True
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_headers:  # trailers must not look like headers, which proxies have checked
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_headers = False
        if self.parser.get_method() == b"CONNECT":
            raise ValueError("CONNECT is for proxies")  # becomes status 400
        if not self.parser.should_upgrade():  # else `_parse` sends the request through another parser
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        # Twice, so that the frames of small chunks are paid for by the chunks, unless those are of a few bytes only.
        self._header_bytes = max(self._header_bytes - 2 * len(body), 0)
        super().on_body(body)

    def on_message_complete(self) -> None:
        if not self.parser.should_upgrade():
            self._stop_timer()
            super().on_message_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        seconds = SEND_TIMEOUT_SECONDS + self.transport.get_write_buffer_size() / MIN_SEND_RATE
        self._send_timer = self.loop.call_later(seconds, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._send_timer is not None:
            self._send_timer.cancel()
            self._send_timer = None

    def shutdown(self) -> None:
        """Close the connection because the server stops.

        Bytes that are in transit, or unread, get a moment to become a request, which is then answered.
        """
        if self._timer is None:
            super().shutdown()
        else:
            self.loop.call_later(SHUTDOWN_DELAY_SECONDS, super().shutdown)

    def _parse(self, data: bytes) -> None:
        """Do what uvicorn's data_received does, but ignore an upgrade to another protocol, which the client offers.

        The parser skips the body of such a request. So another parser gets the request without the header Upgrade.
        """
        self._unset_keepalive_if_required()
        while data:
            try:
                self.parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as upgrade:
                version = self.parser.get_http_version().encode()
                lines = [b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, version)]
                lines += [b"%s: %s" % header for header in self.headers if header[0] != b"upgrade"]
                data = b"\r\n".join([*lines, b"", b""]) + data[upgrade.args[0] :]
                self.parser = httptools.HttpRequestParser(self)
            except httptools.HttpParserError:
                self.send_400_response("Invalid HTTP request received.")
                return

    def _start_timer(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(RECEIVE_TIMEOUT_SECONDS, self._cut_off, REQUEST_TIMEOUT)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _has_too_many_parts(self) -> bool:
        """Whether the headers or the requests that wait are so many that they take far more memory than their bytes."""
        return len(self.headers or ()) > MAX_HEADER_LINES or len(self.pipeline) > MAX_PIPELINED

    def _cut_off(self, response: bytes) -> None:
        if self.transport.is_closing():
            return
        may_answer = self.cycle is None or self.cycle.response_complete or not self.cycle.response_started
        if may_answer and not self.pipeline:
            self.transport.write(response)
        self.transport.close()
