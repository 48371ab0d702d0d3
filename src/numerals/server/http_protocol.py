"""HTTP/1.1 connections with deadlines: cuts off clients that send or take too slowly, or send too large headers.

uvicorn's own protocol times out only connections that are idle. Here a timer runs from the first byte of a request (or
from the connection) to the last byte of its body, and another while part of a response waits for the client, so that a
client that sends or takes a byte now and then cannot hold a connection. Of the connections no client gets more than its
`FairShare`.

The parser joins the parts of a header line or trailer before it passes them on, and never passes on the extensions of
chunks. So bytes are counted as they arrive, and the parser gets a few at a time.
"""

import asyncio
import json
from http import HTTPStatus
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from numerals.server.access_log import CUT_OFF_STATUS, AccessLog
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


class DeadlineProtocol(HttpToolsProtocol):
    """One connection, whose requests must arrive within RECEIVE_TIMEOUT_SECONDS.

    Args:
        connections: the share of each client.
        access_log: gets what is cut off before it is a request.
        options: uvicorn's.
    """

    def __init__(self, *, connections: FairShare, access_log: AccessLog, **options: Any) -> None:
        super().__init__(**options)
        self._connections, self._access_log = connections, access_log
        self._host, self._client = "unknown", ""  # the client, if it has a share
        self._timer: asyncio.TimerHandle | None = None
        self._send_timer: asyncio.TimerHandle | None = None
        self._header_bytes = 0  # received since the request began, less two for each byte of its body
        self._part = ""  # of the request that arrives: headers, or body with trailers
        self._began_at = self.loop.time()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=0)  # pause_writing is called whenever anything waits
        self._host = self.client[0] if self.client else self._host
        client = client_of(self._host)
        if self._connections.take(client):
            self._client = client
            self._start_timer()
        else:
            self._cut_off(HTTPStatus.SERVICE_UNAVAILABLE, "too many connections; close some, or try again in a second")

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
                self._cut_off(
                    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
                    f"headers: over {MAX_HEADER_BYTES:,} bytes or {MAX_HEADER_LINES} lines; send fewer",
                )
            if self.transport.is_closing():
                return

    def on_message_begin(self) -> None:
        self._start_timer()
        self._header_bytes = 0
        self._part = "headers"
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._part == "headers":  # trailers must not look like headers, which proxies have checked
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self.parser.get_method() == b"CONNECT":
            raise ValueError("CONNECT is for proxies")  # becomes status 400
        if not self.parser.should_upgrade():  # else `_parse` sends the request through another parser
            super().on_headers_complete()
            self._part = "body"

    def on_body(self, body: bytes) -> None:
        # Twice, so that the frames of small chunks are paid for by the chunks, unless those are of a few bytes only.
        self._header_bytes = max(self._header_bytes - 2 * len(body), 0)
        super().on_body(body)

    def on_message_complete(self) -> None:
        if not self.parser.should_upgrade():
            self._stop_timer()
            self._part = ""
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
                self._cut_off(HTTPStatus.BAD_REQUEST, "not a valid HTTP/1.1 request")
                return

    def _start_timer(self) -> None:
        if self._timer is None:
            detail = f"the request did not arrive within {RECEIVE_TIMEOUT_SECONDS:g} s; send it faster"
            self._began_at = self.loop.time()
            self._timer = self.loop.call_later(
                RECEIVE_TIMEOUT_SECONDS, self._cut_off, HTTPStatus.REQUEST_TIMEOUT, detail
            )

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _has_too_many_parts(self) -> bool:
        """Whether the headers or the requests that wait are so many that they take far more memory than their bytes."""
        return len(self.headers or ()) > MAX_HEADER_LINES or len(self.pipeline) > MAX_PIPELINED

    def _cut_off(self, status: HTTPStatus, detail: str) -> None:
        """Close the connection, with an answer if the request has none. Its exchange logs it, if there is one."""
        if self.transport.is_closing():
            return
        is_open = self.cycle is not None and not self.cycle.response_complete
        is_answered = self.cycle.response_started if is_open else self._part == "body"
        if is_open:
            self.cycle.scope["state"][CUT_OFF_STATUS] = status.value
        elif not is_answered and (self._part or self._header_bytes or not self._client):  # it was not only idle
            self._access_log.write(self._host, "-", "-", status, self.loop.time() - self._began_at)
        if not is_answered and not self.pipeline:
            body = json.dumps({"detail": detail})
            lines = (
                f"HTTP/1.1 {status.value} {status.phrase}",
                "connection: close",
                "content-type: application/json",
                f"content-length: {len(body)}",
            )
            self.transport.write("\r\n".join((*lines, "", body)).encode())
        self.transport.close()
