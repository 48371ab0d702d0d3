"""`numerals serve`: a socket, one or several processes that answer at it, and their end.

Told to end (SIGTERM, SIGINT), a process is not ready at once, answers what it has accepted, and stops.
"""

import asyncio
import multiprocessing
import os
import signal
import socket
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import connection, process
from types import FrameType

import uvicorn

from numerals.errors import FailureError, InputError
from numerals.server.app import application
from numerals.server.http_protocol import TimedProtocol
from numerals.server.metrics import SHARED
from numerals.server.settings import ANSWER, GRACE, SEND, ServerSettings

BACKLOG = 2048  # connections that the system holds until one is free
IDLE = 20  # seconds that a connection may say nothing between requests
LAST = int(SEND + ANSWER)  # seconds from the closed door to the end of what was accepted
SOON = 3.0  # seconds after which a process that ended by itself is no bad start
SIGNALS = (signal.SIGTERM, signal.SIGINT)


def serve(settings: ServerSettings, say: Callable[[str], None]) -> None:
    """Answer until told to end.

    Raises:
        InputError: an address that cannot be bound, or that strangers could use; a model that is none.
        FailureError: a process that cannot start.
    """
    settings.check()
    listening = _bound(settings)
    host, port = listening.getsockname()[:2]
    place = f"http://{f'[{host}]' if ':' in host else host}:{port}"

    def ready() -> None:
        say(f"reading digits at {place}, its interface at {place}/docs; Ctrl-C ends it")

    if settings.workers == 1:
        answer(settings, listening, ready)
    else:
        ready()
        _supervise(settings, listening)


def _bound(settings: ServerSettings) -> socket.socket:
    try:
        family, *_, address = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(BACKLOG)
    except (OSError, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{settings.host} port {settings.port}: cannot be served ({why}); choose another") from error
    return listening


class Server(uvicorn.Server):
    """uvicorn's, that first says it is not ready, and accepts for a moment more; its end by a signal is exit code 0."""

    def __init__(self, settings: ServerSettings, ready: Callable[[], None] | None) -> None:
        self._gate, self._ready, self._told = application(settings), ready, 0.0
        config = uvicorn.Config(
            self._gate,
            http=TimedProtocol,
            ws="none",
            lifespan="on",
            log_config=None,
            log_level="error",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            backlog=BACKLOG,
            timeout_keep_alive=IDLE,
            timeout_graceful_shutdown=LAST,
        )
        super().__init__(config)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._ready:
            self._ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._told:  # twice is in earnest
            self.should_exit = self.force_exit = True
        self._gate.closing, self._told = True, self._told or time.monotonic()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's; who is connected already, and waits to be accepted, is not turned away."""
        loop = asyncio.get_running_loop()
        for each in sockets or []:
            with suppress(OSError):  # nobody waits any more
                for _ in range(BACKLOG):
                    connected, _ = each.accept()
                    connected.setblocking(False)
                    await loop.connect_accepted_socket(self._protocol, connected)
        await super().shutdown(sockets)

    def _protocol(self) -> TimedProtocol:
        return TimedProtocol(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)

    async def on_tick(self, counter: int) -> bool:
        return await super().on_tick(counter) or bool(self._told and time.monotonic() - self._told > GRACE)


def answer(settings: ServerSettings, listening: socket.socket, ready: Callable[[], None] | None = None) -> None:
    """What one process does."""
    Server(settings, ready).run(sockets=[listening])


def _supervise(settings: ServerSettings, listening: socket.socket) -> None:
    """So many processes that answer; one that dies is replaced, and all end with this one."""
    spawn = multiprocessing.get_context("spawn")
    told: list[int] = []
    with tempfile.TemporaryDirectory(prefix="numerals-") as counters:
        os.environ[SHARED] = counters  # before any of them imports prometheus_client

        def started() -> process.BaseProcess:
            worker = spawn.Process(target=answer, args=(settings, listening))
            worker.start()
            return worker

        before = {each: signal.signal(each, lambda number, _: told.append(number)) for each in SIGNALS}
        since = time.monotonic()
        workers = [started() for _ in range(settings.workers)]
        try:
            while not told:
                connection.wait([worker.sentinel for worker in workers], 0.2)
                for place, worker in enumerate(workers):
                    if not told and worker.exitcode is not None:
                        if time.monotonic() - since < SOON:
                            raise FailureError("a process ended as soon as it was started; the lines above say why")
                        workers[place], since = started(), time.monotonic()
        finally:
            listening.close()  # ours too: connections would wait at it that nobody takes
            _end(workers)
            for each, handler in before.items():
                signal.signal(each, handler)


def _end(workers: list[process.BaseProcess]) -> None:
    for worker in workers:
        with suppress(ProcessLookupError):
            os.kill(worker.pid or 0, signal.SIGTERM) if worker.exitcode is None else None
    until = time.monotonic() + GRACE + LAST + 5
    for worker in workers:
        worker.join(max(until - time.monotonic(), 0))
        worker.kill()
