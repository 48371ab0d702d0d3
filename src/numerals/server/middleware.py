"""What every request passes before it is looked at: whose it is, how large it is; and how many may wait.

Knows nothing about what is asked. Slow senders are `protocol`'s.
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

from numerals.server.metrics import Metrics
from numerals.server.settings import ANSWER, MOST_BODY, MOST_HELD, ServerSettings

SAFE = {"GET", "HEAD", "OPTIONS"}  # methods that change nothing
OPEN = ("/v1/", "/metrics")  # what the token opens; the page that asks for it is for everybody
GONE = 499  # the client went before its answer: what nginx calls it
AGAIN = {"Retry-After": "1"}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = [
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
]


class Gate:
    """Around the application: refuses what may not pass, bounds what is held in memory, counts what was answered."""

    def __init__(self, app: ASGIApp, settings: ServerSettings, metrics: Metrics) -> None:
        self._app, self._settings, self._metrics = app, settings, metrics
        self.closing = False  # it was told to end: every answer says that the connection ends with it
        self._held = 0  # bytes of all bodies in memory

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status, size = time.perf_counter(), GONE, 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                close = [(b"connection", b"close")] if self.closing else []
                message["headers"] = [*message.get("headers", []), *HEADERS, *close]
            await send(message)

        async def body() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            self._held += len(message.get("body", b""))
            if size > MOST_BODY:
                raise _too_large()
            if self._held > MOST_HELD:
                raise HTTPException(503, "too many large pictures at once; try again", AGAIN)
            return message

        try:
            self._check(scope)
            await self._app(scope, body, answer)
        except HTTPException as refusal:
            content = JSONResponse({"detail": refusal.detail}, refusal.status_code, refusal.headers)
            await content(scope, receive, answer)
        except ClientDisconnect:
            pass
        finally:
            self._held -= size
            route = getattr(scope.get("route"), "path", "other")
            self._metrics.answered(scope["method"], route, status, time.perf_counter() - started)
            if status >= 400:
                self._metrics.rejected(HTTPStatus(status).phrase if status != GONE else "Gone")

    def _check(self, scope: Scope) -> None:
        """Raises HTTPException: a foreign name, a foreign page, no token, or too large."""
        headers = Headers(scope=scope)
        hosts, origins = headers.getlist("host"), headers.getlist("origin")
        if len(hosts) != 1 or not self._settings.answers_to(hosts[0]):
            raise HTTPException(403, "the Host header is not a name of this server (numerals serve --name adds one)")
        if scope["method"] not in SAFE and any(_place(origin) != hosts[0].lower() for origin in origins):
            raise HTTPException(403, "the Origin header is that of another page")
        token = self._settings.token
        if token is not None and scope["path"].startswith(OPEN) and not _has(headers, token):
            raise HTTPException(401, "this server wants its token", {"WWW-Authenticate": "Bearer"})
        length = headers.get("content-length", "0")
        if length.isdigit() and int(length) > MOST_BODY:
            raise _too_large()


def _too_large() -> HTTPException:
    return HTTPException(413, f"over {MOST_BODY:,} bytes; send a smaller picture")


def _place(origin: str) -> str | None:
    """The host and port of a page; None for `null`, as of a sandboxed frame or a file."""
    try:
        return urlsplit(origin).netloc.lower() or None
    except ValueError:
        return None


def _has(headers: Headers, token: str) -> bool:
    scheme, _, given = headers.get("authorization", "").partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), token.encode())


class Queue:
    """Places for so many requests that wait or are worked on; who comes when it is full is refused at once."""

    def __init__(self, places: int, metrics: Metrics) -> None:
        self._places, self._metrics, self._taken = places, metrics, 0

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Raises HTTPException, 503: it is full, or the answer took too long."""
        if self._taken >= self._places:
            raise HTTPException(503, "too many requests at once; try again", AGAIN)
        self._taken += 1
        self._metrics.queue(self._taken)
        try:
            async with asyncio.timeout(ANSWER):
                yield
        except TimeoutError as error:
            raise HTTPException(503, f"no answer within {ANSWER:g} s; try again", AGAIN) from error
        finally:
            self._taken -= 1
            self._metrics.queue(self._taken)
