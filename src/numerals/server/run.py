"""The sockets and processes of `numerals serve`: listening, starting workers, stopping on SIGTERM or Ctrl-C.

On SIGTERM a process first answers 503 on /readyz, but accepts connections for SHUTDOWN_GRACE_SECONDS more, so that load
balancers notice; then it answers every request that it has accepted, and exits with code 0. A second signal ends it at
once.
"""

import asyncio
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from multiprocessing import connection, process
from types import FrameType

import uvicorn

from numerals.errors import FailureError, InputError
from numerals.server.app import create_app
from numerals.server.clients import FairShare
from numerals.server.http_protocol import DeadlineProtocol
from numerals.server.metrics import MULTIPROCESS_VARIABLE
from numerals.server.settings import (
    RECEIVE_TIMEOUT_SECONDS,
    RESPONSE_TIMEOUT_SECONDS,
    SHUTDOWN_GRACE_SECONDS,
    ServerSettings,
)

SOCKET_BACKLOG = 2048  # connections that the system holds until a process accepts them
KEEP_ALIVE_SECONDS = 20  # idle time allowed between two requests of a connection
DRAIN_TIMEOUT_SECONDS = int(RECEIVE_TIMEOUT_SECONDS + RESPONSE_TIMEOUT_SECONDS)  # to answer what was accepted
STARTUP_FAILURE_SECONDS = 3.0  # a worker that ends sooner than this failed to start, and is not replaced
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def serve(settings: ServerSettings, log: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        settings: where and how to serve.
        log: gets one line with the address.

    Raises:
        InputError: the settings are unsafe, the address is not available, or the model cannot be used.
        FailureError: a worker process failed to start.
    """
    settings.check()
    listener = _listen(settings)
    host, port = listener.getsockname()[:2]
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"

    def announce() -> None:
        log(f"serving at {url}, API documentation at {url}/docs; press Ctrl-C to stop")

    if settings.workers == 1:
        run_worker(settings, listener, announce)
    else:
        announce()
        _supervise_workers(settings, listener)


def _listen(settings: ServerSettings) -> socket.socket:
    try:
        family, *_, address = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(SOCKET_BACKLOG)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(
            f"--host {settings.host} --port {settings.port}: cannot listen ({reason}); choose another host or port"
        ) from error
    return listener


class GracefulServer(uvicorn.Server):
    """uvicorn's server, which on a signal reports not ready and keeps accepting for SHUTDOWN_GRACE_SECONDS.

    Args:
        settings: where and how to serve.
        on_ready: called when the server accepts requests.
    """

    def __init__(self, settings: ServerSettings, on_ready: Callable[[], None] | None) -> None:
        self._app, self._on_ready = create_app(settings), on_ready
        self._signalled_at: float | None = None  # time.monotonic() of the first signal
        config = uvicorn.Config(
            self._app,
            http=partial(DeadlineProtocol, connections=FairShare(_max_connections(settings))),  # type: ignore[arg-type]
            ws="none",
            lifespan="on",
            log_config=None,
            log_level="error",
            access_log=False,
            server_header=False,
            proxy_headers=bool(settings.proxies),
            forwarded_allow_ips=list(settings.proxies),
            backlog=SOCKET_BACKLOG,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=DRAIN_TIMEOUT_SECONDS,
        )
        super().__init__(config)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._on_ready:
            self._on_ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._signalled_at is None:
            self._signalled_at = time.monotonic()
        else:
            self.should_exit = self.force_exit = True
        self._app.shutting_down = True

    async def on_tick(self, counter: int) -> bool:
        grace_is_over = (
            self._signalled_at is not None and time.monotonic() - self._signalled_at > SHUTDOWN_GRACE_SECONDS
        )
        return await super().on_tick(counter) or grace_is_over

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept the connections that wait in the system's backlog, so that none is dropped, then shut down."""
        loop = asyncio.get_running_loop()
        for listener in sockets or []:
            with suppress(OSError):  # the backlog is empty
                for _ in range(SOCKET_BACKLOG):
                    client, _ = listener.accept()
                    client.setblocking(False)
                    await loop.connect_accepted_socket(self._create_protocol, client)
        await super().shutdown(sockets)

    def _create_protocol(self) -> asyncio.Protocol:
        return self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )


def _max_connections(settings: ServerSettings) -> int:
    """Return how many connections a process may keep open, of the files that the system lets it open."""
    if sys.platform == "win32":
        return settings.max_connections
    import resource

    max_files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(settings.max_connections, max_files * 3 // 4) if max_files > 0 else settings.max_connections


def run_worker(settings: ServerSettings, listener: socket.socket, on_ready: Callable[[], None] | None = None) -> None:
    """Serve in this process until a signal."""
    GracefulServer(settings, on_ready).run(sockets=[listener])


def _supervise_workers(settings: ServerSettings, listener: socket.socket) -> None:
    """Run `settings.workers` processes that share a listening socket; replace those that die; stop all on a signal."""
    spawn = multiprocessing.get_context("spawn")
    signals: list[int] = []
    with tempfile.TemporaryDirectory(prefix="numerals-") as metrics_folder:
        os.environ[MULTIPROCESS_VARIABLE] = metrics_folder  # prometheus_client reads it when a worker imports it

        def start_worker() -> process.BaseProcess:
            worker = spawn.Process(target=run_worker, args=(settings, listener))
            worker.start()
            return worker

        previous_handlers = {
            stop_signal: signal.signal(stop_signal, lambda number, _: signals.append(number))
            for stop_signal in STOP_SIGNALS
        }
        last_start = time.monotonic()
        workers = [start_worker() for _ in range(settings.workers)]
        try:
            while not signals:
                connection.wait([worker.sentinel for worker in workers], 0.2)
                for index, worker in enumerate(workers):
                    if not signals and worker.exitcode is not None:
                        if time.monotonic() - last_start < STARTUP_FAILURE_SECONDS:
                            raise FailureError("a worker process failed to start; see its error above")
                        workers[index], last_start = start_worker(), time.monotonic()
        finally:
            listener.close()  # else its backlog would take connections that no process accepts
            _stop_workers(workers)
            for stop_signal, handler in previous_handlers.items():
                signal.signal(stop_signal, handler)


def _stop_workers(workers: list[process.BaseProcess]) -> None:
    for worker in workers:
        with suppress(ProcessLookupError):
            os.kill(worker.pid or 0, signal.SIGTERM) if worker.exitcode is None else None
    deadline = time.monotonic() + SHUTDOWN_GRACE_SECONDS + DRAIN_TIMEOUT_SECONDS + 5
    for worker in workers:
        worker.join(max(deadline - time.monotonic(), 0))
        worker.kill()
