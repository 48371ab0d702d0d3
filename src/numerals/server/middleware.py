"""ASGI middleware: Host, Origin and token checks, body size limits, security headers, metrics; and the request queue.

Every request passes `RequestChecks` before it reaches a route in `app`. Routes that need a model take a slot in
`RequestQueue`. Slow clients and large headers never get here: `http_protocol` cuts them off.
"""

import asyncio
import hmac
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

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


class RequestChecks:
    """Middleware that rejects requests that may not pass, limits bodies in memory, and counts responses.

    Attributes:
        shutting_down: set it when the server stops; each response then closes its connection.
    """

    def __init__(self, app: ASGIApp, settings: ServerSettings, metrics: ServerMetrics) -> None:
        self._app, self._settings, self._metrics = app, settings, metrics
        self.shutting_down = False
        self._buffered_bytes = 0  # of the bodies of all requests in progress

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status, body_bytes = time.perf_counter(), CLIENT_DISCONNECTED, 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                close = [(b"connection", b"close")] if self.shutting_down else []
                message["headers"] = [*message.get("headers", []), *SECURITY_HEADERS, *close]
            await send(message)

        async def receive_limited() -> Message:
            nonlocal body_bytes
            message = await receive()
            body_bytes += len(message.get("body", b""))
            self._buffered_bytes += len(message.get("body", b""))
            if body_bytes > MAX_BODY_BYTES:
                raise _body_too_large()
            if self._buffered_bytes > MAX_BUFFERED_BYTES:
                raise HTTPException(503, "too many large requests at once; try again in a second", RETRY_AFTER)
            return message

        try:
            self._check_headers(scope)
            await self._app(scope, receive_limited, send_with_headers)
        except HTTPException as rejection:
            response = JSONResponse({"detail": rejection.detail}, rejection.status_code, rejection.headers)
            await response(scope, receive, send_with_headers)
        except ClientDisconnect:
            pass
        finally:
            self._buffered_bytes -= body_bytes
            route = getattr(scope.get("route"), "path", "other")
            self._metrics.count_response(scope["method"], route, status, time.perf_counter() - started)
            if status >= 400:
                self._metrics.count_rejection(HTTPStatus(status).phrase if status != CLIENT_DISCONNECTED else "Gone")

    def _check_headers(self, scope: Scope) -> None:
        """Raises HTTPException for a foreign Host or Origin, a missing token, or a body that is announced too large."""
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
        token = self._settings.token
        if token is not None and scope["path"].startswith(TOKEN_PATHS) and not _has_token(headers, token):
            raise HTTPException(
                401,
                "Authorization header: missing or wrong token; send Authorization: Bearer TOKEN",
                {"WWW-Authenticate": "Bearer"},
            )
        length = headers.get("content-length", "0")
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


def _has_token(headers: Headers, token: str) -> bool:
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(credentials.strip().encode(), token.encode())


class RequestQueue:
    """Limits how many requests of one process wait or are in progress; rejects further ones at once.

    Args:
        size: number of slots.
        metrics: gets the number of taken slots.
    """

    def __init__(self, size: int, metrics: ServerMetrics) -> None:
        self._size, self._metrics, self._taken = size, metrics, 0

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Hold a slot while the block runs, for at most RESPONSE_TIMEOUT_SECONDS.

        Raises:
            HTTPException: status 503; all slots are taken, or the block took too long.
        """
        if self._taken >= self._size:
            raise HTTPException(503, "too many requests at once; try again in a second", RETRY_AFTER)
        self._taken += 1
        self._metrics.set_queue_length(self._taken)
        try:
            async with asyncio.timeout(RESPONSE_TIMEOUT_SECONDS):
                yield
        except TimeoutError as error:
            detail = f"no answer within {RESPONSE_TIMEOUT_SECONDS:g} s; try again, or send a simpler picture"
            raise HTTPException(503, detail, RETRY_AFTER) from error
        finally:
            self._taken -= 1
            self._metrics.set_queue_length(self._taken)
