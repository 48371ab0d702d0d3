"""ASGI middleware: Host, Origin and token checks, body size limits, security headers, metrics; and the request queue.

Every request passes `RequestChecks` before it reaches a route in `app`. Routes that need a model take a slot in
`RequestQueue`. Of slots and memory no client gets more than its `FairShare`. Slow clients and large headers never get
here: `http_protocol` cuts them off.
"""

import asyncio
import hmac
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from numerals.server.access_log import CUT_OFF_STATUS, AccessLog
from numerals.server.clients import FairShare, WrongTokens, client_of, host_of
from numerals.server.metrics import ServerMetrics
from numerals.server.settings import (
    MAX_BODY_BYTES,
    MAX_BUFFERED_BYTES,
    RESPONSE_TIMEOUT_SECONDS,
    ServerSettings,
)

SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}  # these change nothing, so any Origin may send them
TOKEN_PATHS = ("/v1/", "/metrics")  # these need the token; the page does not, since it asks for the token
CLIENT_DISCONNECTED = 499  # nginx's status for a client that left before its response
RETRY_AFTER = {"Retry-After": "1"}  # seconds
SMALL_RESPONSE_BYTES = 64_000  # up to this, an answer takes no share of the memory, so that errors are always sent
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
SECURITY_HEADERS = [
    (b"content-security-policy", CONTENT_SECURITY_POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
]


class Exchange:
    """One request and its response, whose bytes in memory are bounded.

    Args:
        scope: the request's.
        receive: receives the request's body.
        send: sends the response.
        buffers: bytes that all clients hold in memory.
        keeps_connection: whether the client may send another request on its connection, asked with the response.

    Attributes:
        status: of the response.
    """

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, buffers: FairShare, keeps_connection: Callable[[], bool]
    ) -> None:
        self.status = CLIENT_DISCONNECTED
        self._receive, self._send, self._buffers, self._keeps_connection = receive, send, buffers, keeps_connection
        self._client, self._expects_continue = client_of(host_of(scope)), "expect" in Headers(scope=scope)
        self._body_bytes = self._buffered_bytes = 0
        self._body_is_complete = self._response_is_large = self._client_is_gone = False
        self._started, self._answered = time.perf_counter(), 0.0

    @property
    def seconds(self) -> float:
        """Seconds until the response began, or until now."""
        return (self._answered or time.perf_counter()) - self._started

    async def receive(self) -> Message:
        message = await self._receive_any()
        if self._body_bytes > MAX_BODY_BYTES:
            raise _body_too_large()
        if not self._take_buffer(len(message.get("body", b""))):
            raise HTTPException(503, "too many large requests at once; try again in a second", RETRY_AFTER)
        return message

    async def send(self, message: Message) -> None:
        if self._client_is_gone:
            return
        if message["type"] == "http.response.start":
            headers = Headers(raw=message.get("headers", []))
            size = int(headers.get("content-length", "0"))
            self._response_is_large = size > SMALL_RESPONSE_BYTES
            if self._response_is_large and not self._take_buffer(size):
                raise TooManyLargeResponsesError
            close = [] if self._keeps_connection() else [(b"connection", b"close")]
            if close:
                await self._drop_body()
            self.status, self._answered = message["status"], time.perf_counter()
            message["headers"] = [*headers.raw, *SECURITY_HEADERS, *close]
        elif self._response_is_large and not message.get("more_body", False):
            # The second message waits until the client has taken the first one, which is in memory until then.
            await self._send({**message, "more_body": True})
            message = {"type": "http.response.body", "body": b""}
        await self._send(message)

    def close(self) -> None:
        """Return what the exchange held."""
        self._buffers.give_back(self._client, self._buffered_bytes)
        self._buffered_bytes = 0

    async def _receive_any(self) -> Message:
        message = await self._receive()
        self._body_bytes += len(message.get("body", b""))
        self._body_is_complete = not message.get("more_body", False)
        self._client_is_gone = message["type"] == "http.disconnect"
        return message

    async def _drop_body(self) -> None:
        """Drop the rest of the body: when a connection is closed before it has arrived, the response may get lost."""
        while not (self._body_is_complete or self._expects_continue) and self._body_bytes <= MAX_BODY_BYTES:
            await self._receive_any()

    def _take_buffer(self, size: int) -> bool:
        has_taken = self._buffers.take(self._client, size)
        self._buffered_bytes += size if has_taken else 0
        return has_taken


class TooManyLargeResponsesError(Exception):
    """The client's share of the memory is too small for its response."""


class RequestChecks:
    """Middleware that rejects requests that may not pass, limits bodies in memory, counts and logs responses.

    Attributes:
        shutting_down: set it when the server stops; each response then closes its connection.
    """

    def __init__(self, app: ASGIApp, settings: ServerSettings, metrics: ServerMetrics, access_log: AccessLog) -> None:
        self._app, self._settings, self._metrics, self._access_log = app, settings, metrics, access_log
        self.shutting_down = False
        self._buffers, self._wrong_tokens = FairShare(MAX_BUFFERED_BYTES), WrongTokens()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        has_token = self._settings.token is None

        def keeps_connection() -> bool:
            return has_token and not self.shutting_down

        exchange = Exchange(scope, receive, send, self._buffers, keeps_connection)
        try:
            self._check_sender(scope)
            has_token = has_token or await self._check_token(scope)
            self._check_length(scope)
            await self._app(scope, exchange.receive, exchange.send)
        except HTTPException as rejection:
            response = JSONResponse({"detail": rejection.detail}, rejection.status_code, rejection.headers)
            await response(scope, receive, exchange.send)
        except TooManyLargeResponsesError:
            detail = "too many large answers at once; take them faster, or try again in a second"
            await JSONResponse({"detail": detail}, 503, RETRY_AFTER)(scope, receive, exchange.send)
        except ClientDisconnect:
            pass
        except asyncio.CancelledError:  # after the time to stop, or a second signal; the connection has been cut off
            if not self.shutting_down:
                raise
        finally:
            exchange.close()
            status = scope.get("state", {}).get(CUT_OFF_STATUS, exchange.status)
            route = getattr(scope.get("route"), "path", "other")
            self._metrics.count_response(scope["method"], route, status, exchange.seconds)
            if status >= 400:
                self._metrics.count_rejection(HTTPStatus(status).phrase if status != CLIENT_DISCONNECTED else "Gone")
            self._access_log.write(host_of(scope), scope["method"], scope["path"], status, exchange.seconds)

    def _check_sender(self, scope: Scope) -> None:
        """Raises HTTPException for a foreign Host or Origin."""
        headers = Headers(scope=scope)
        hosts, origins = headers.getlist("host"), headers.getlist("origin")
        if len(hosts) != 1 or not self._settings.accepts_host(hosts[0]):
            raise HTTPException(
                403, "Host header: not a name of this server; start it with numerals serve --name HOST to add one"
            )
        if scope["method"] not in SAFE_METHODS and any(_host_of(origin) != hosts[0].lower() for origin in origins):
            raise HTTPException(
                403, "Origin header: another site's page may not send this request; send it from this server's page"
            )

    async def _check_token(self, scope: Scope) -> bool:
        """Return whether the request needs the token and has it.

        Raises:
            HTTPException: it needs the token, but has none or, after a delay, a wrong one; or it was not looked at.
        """
        if not scope["path"].startswith(TOKEN_PATHS):
            return False
        client, authorization = client_of(host_of(scope)), Headers(scope=scope).get("authorization")
        if authorization is not None:
            if not self._wrong_tokens.may_try(client):
                raise HTTPException(
                    429, "Authorization header: too many wrong tokens; try again in a few seconds", {"Retry-After": "5"}
                )
            if _has_token(authorization, self._settings.token or ""):
                return True
            await self._wrong_tokens.add(client)
        raise HTTPException(
            401,
            "Authorization header: missing or wrong token; send Authorization: Bearer TOKEN",
            {"WWW-Authenticate": "Bearer"},
        )

    def _check_length(self, scope: Scope) -> None:
        """Raises HTTPException for a body that is announced too large."""
        length = Headers(scope=scope).get("content-length", "0")
        if length.isdigit() and int(length) > MAX_BODY_BYTES:
            raise _body_too_large()


def _body_too_large() -> HTTPException:
    return HTTPException(413, f"request body: over {MAX_BODY_BYTES:,} bytes; send a smaller picture")


def _host_of(origin: str) -> str | None:
    """Return host and port of an Origin header; None for "null", which sandboxed frames and local files send."""
    try:
        return urlsplit(origin).netloc.lower() or None
    except ValueError:
        return None


def _has_token(authorization: str, token: str) -> bool:
    scheme, _, credentials = authorization.partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(credentials.strip().encode(), token.encode())


class RequestQueue:
    """Limits how many requests of one process wait or are in progress; rejects further ones at once.

    Args:
        size: number of slots.
        metrics: gets the number of taken slots.
    """

    def __init__(self, size: int, metrics: ServerMetrics) -> None:
        self._slots, self._metrics = FairShare(size), metrics

    @asynccontextmanager
    async def slot(self, scope: Scope) -> AsyncIterator[None]:
        """Hold a slot while the block runs, for at most RESPONSE_TIMEOUT_SECONDS.

        Args:
            scope: the request's.

        Raises:
            HTTPException: status 503; all slots that the client may have are taken, or the block took too long.
        """
        client = client_of(host_of(scope))
        if not self._slots.take(client):
            raise HTTPException(503, "too many requests at once; try again in a second", RETRY_AFTER)
        self._metrics.set_queue_length(self._slots.taken)
        try:
            async with asyncio.timeout(RESPONSE_TIMEOUT_SECONDS):
                yield
        except TimeoutError as error:
            detail = f"no answer within {RESPONSE_TIMEOUT_SECONDS:g} s; try again, or send a simpler picture"
            raise HTTPException(503, detail, RETRY_AFTER) from error
        finally:
            self._slots.give_back(client)
            self._metrics.set_queue_length(self._slots.taken)
