"""The sockets and processes of `numerals serve`: listening, starting workers, stopping on SIGTERM, Ctrl-C or SIGHUP.

On a signal a process first answers 503 on /readyz, but accepts connections for SHUTDOWN_GRACE_SECONDS more, so that
load balancers notice; then it answers every request that it has accepted, and exits with code 0. A second SIGTERM or
Ctrl-C ends it at once. A closed terminal sends SIGHUP, often twice; a server started by `nohup`, which ignores it, runs
on.

With several workers, this process supervises them: it starts another for each that ends, later and later if they end
as soon as they start. If the supervisor itself is killed, its workers stop as on a signal.
"""

import asyncio
import logging
import multiprocessing
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from multiprocessing import connection
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from types import FrameType

import uvicorn
from prometheus_client.multiprocess import mark_process_dead

from numerals.errors import FailureError, InputError, NumeralsError
from numerals.processes import blocked_signals, exit_with_parent, scratch_folder
from numerals.server.access_log import AccessLog
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
ABORT_SECONDS = 1  # for the requests whose connections are cut off then
STOP_TIMEOUT_SECONDS = SHUTDOWN_GRACE_SECONDS + DRAIN_TIMEOUT_SECONDS + ABORT_SECONDS + 4  # then a worker is killed
STABLE_SECONDS = 10.0  # a worker that serves for so long has not ended because of how it starts
TICK_SECONDS = 0.2  # between two looks at signals and workers
RESTART_DELAYS = (0, 1, 2, 4, 8, 15, 30)  # seconds, after 0, 1, 2... ends in a row of workers that were not stable
TERMINAL_SIGNALS = {signal.SIGINT, getattr(signal, "SIGHUP", signal.SIGINT)}  # a terminal sends them to all processes
STOP_SIGNALS = {signal.SIGTERM, *TERMINAL_SIGNALS}
FORCING_SIGNALS = {signal.SIGTERM, signal.SIGINT}  # the second signal, if one of these, ends the server at once


def serve(settings: ServerSettings, log: Callable[[str], None]) -> None:
    """Serve until SIGTERM, SIGINT or SIGHUP.

    Args:
        settings: where and how to serve.
        log: gets a line with the address, and one for each worker that ends.

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
        server = GracefulServer(settings, announce)
        for number in TERMINAL_SIGNALS - {signal.SIGINT}:
            _handle(number, server.handle_exit)
        server.run(sockets=[listener])
    else:
        _supervise_workers(settings, listener, announce, log)


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
        supervised: on a second signal the supervisor ends this process, which itself ignores it: SIGTERM may come from
            the supervisor and also from a service manager that stops all processes of a service.

    Raises:
        NumeralsError: as `create_app`.
    """

    def __init__(self, settings: ServerSettings, on_ready: Callable[[], None], supervised: bool = False) -> None:
        access_log = AccessLog(settings.access_log, settings.token)
        self._app, self._on_ready, self._supervised = create_app(settings, access_log), on_ready, supervised
        connections = FairShare(_max_connections(settings))
        self._signalled_at: float | None = None  # time.monotonic() of the first signal
        config = uvicorn.Config(
            self._app,
            http=partial(DeadlineProtocol, connections=connections, access_log=access_log),  # type: ignore[arg-type]
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
            timeout_graceful_shutdown=DRAIN_TIMEOUT_SECONDS + ABORT_SECONDS,
        )
        super().__init__(config)
        # It would write a line for each damaged form between those of the access log; the answer has the reason.
        logging.getLogger("python_multipart").setLevel(logging.CRITICAL)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._signalled_at is None:
            self._signalled_at = time.monotonic()
        elif sig in FORCING_SIGNALS and not self._supervised:
            self.should_exit = self.force_exit = True
        self._app.shutting_down = True

    async def on_tick(self, counter: int) -> bool:
        grace_is_over = (
            self._signalled_at is not None and time.monotonic() - self._signalled_at > SHUTDOWN_GRACE_SECONDS
        )
        return await super().on_tick(counter) or grace_is_over

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept the connections that wait in the system's backlog, so that none is dropped, then shut down.

        Connections are cut off that are still open after DRAIN_TIMEOUT_SECONDS, or after a second signal.
        """
        loop = asyncio.get_running_loop()
        loop.call_later(DRAIN_TIMEOUT_SECONDS, self._abort_connections)
        for listener in sockets or []:
            with suppress(OSError):  # the backlog is empty
                for _ in range(SOCKET_BACKLOG):
                    client, _ = listener.accept()
                    client.setblocking(False)
                    await loop.connect_accepted_socket(self._create_protocol, client)
        await super().shutdown(sockets)
        self._abort_connections()
        if self.force_exit:  # uvicorn would leave it to a cancelled task, which prints a traceback
            await self.lifespan.shutdown()

    def _abort_connections(self) -> None:
        """Cut off all connections, so that their requests end without an error."""
        for open_connection in list(self.server_state.connections):
            open_connection.transport.abort()

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


def _handle(number: int, handler: Callable[[int, FrameType | None], None]) -> None:
    """Handle a signal, unless this process was started with the signal ignored."""
    if signal.getsignal(number) is not signal.SIG_IGN:
        signal.signal(number, handler)


def run_worker(settings: ServerSettings, listener: socket.socket, report: Connection) -> None:
    """Serve in a child process until SIGTERM, or until the parent process ends.

    Args:
        settings: where and how to serve.
        listener: the socket that all workers share.
        report: gets None when the server accepts requests, or the exception if it cannot start.
    """
    exit_with_parent(_stop_this_process)

    def report_ready() -> None:
        with suppress(OSError):  # the parent has ended, and so will this process
            report.send(None)

    try:
        server = GracefulServer(settings, report_ready, supervised=True)
    except NumeralsError as error:
        report.send(error)
    else:
        server.run(sockets=[listener])


def _stop_this_process() -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(STOP_TIMEOUT_SECONDS)


class _Worker:
    """The place of a worker process: one runs there, or the next one is due.

    Attributes:
        is_ready: whether the process accepts requests.
        delay: seconds from the end of the last process to the start of the next.
    """

    def __init__(self, settings: ServerSettings, listener: socket.socket) -> None:
        self._settings, self._listener = settings, listener
        self.process: SpawnProcess | None = None
        self.is_ready, self.delay = False, 0
        self._changed_at = 0.0  # time.monotonic() when it became ready, or ended
        self._error: NumeralsError | None = None  # that the process has reported
        self._quick_ends = 0  # in a row

    def check(self) -> NumeralsError | None:
        """Notice that the process has become ready, or has ended; start the next one when it is due.

        Returns:
            Why the process has ended, once for each.
        """
        if self.process is None:
            return self._start() if time.monotonic() >= self._changed_at + self.delay else None
        code = self.process.exitcode
        if not self.is_ready and self._report.poll():
            with suppress(EOFError):  # it has ended
                self._error = self._report.recv()
                self.is_ready = self._error is None
                self._changed_at = time.monotonic()
        if code is None:
            return None
        mark_process_dead(self.process.pid)  # type: ignore[no-untyped-call]
        self._report.close()
        how = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
        return self._note_end(self._error or FailureError(f"worker process {self.process.pid} ended ({how})"))

    def _start(self) -> NumeralsError | None:
        spawn = multiprocessing.get_context("spawn")
        try:
            self._report, report = spawn.Pipe(duplex=False)
            process = spawn.Process(target=run_worker, args=(self._settings, self._listener, report))
            with report, blocked_signals(*TERMINAL_SIGNALS):
                process.start()
        except OSError as error:
            return self._note_end(FailureError(f"no worker process can be started ({error.strerror or error})"))
        self.process, self._error = process, None
        return None

    def _note_end(self, error: NumeralsError) -> NumeralsError:
        was_stable = self.is_ready and time.monotonic() - self._changed_at >= STABLE_SECONDS
        self._quick_ends = 0 if was_stable else self._quick_ends + 1
        self.delay = RESTART_DELAYS[min(self._quick_ends, len(RESTART_DELAYS) - 1)]
        self.process, self.is_ready, self._changed_at = None, False, time.monotonic()
        return error


def _supervise_workers(
    settings: ServerSettings, listener: socket.socket, announce: Callable[[], None], log: Callable[[str], None]
) -> None:
    """Run `settings.workers` processes that share a listening socket; replace those that end; stop all on a signal."""
    signals: list[int] = []
    workers = [_Worker(settings, listener) for _ in range(settings.workers)]
    with scratch_folder("numerals-serve-") as metrics_folder:
        os.environ[MULTIPROCESS_VARIABLE] = str(metrics_folder)  # prometheus_client reads it when a worker imports it
        previous_handlers = {number: signal.getsignal(number) for number in STOP_SIGNALS}
        for number in STOP_SIGNALS:
            _handle(number, lambda number, _: signals.append(number))
        announced = False
        try:
            while not signals:
                for worker in workers:
                    error = worker.check()
                    if error and not announced:
                        raise error
                    if error:
                        log(f"{error}; the next worker starts {f'in {worker.delay} s' if worker.delay else 'now'}")
                if not announced and all(worker.is_ready for worker in workers):
                    announce()
                    announced = True
                connection.wait([worker.process.sentinel for worker in workers if worker.process], TICK_SECONDS)
        finally:
            listener.close()  # else its backlog would take connections that no process accepts
            _stop_workers([worker.process for worker in workers if worker.process], signals)
            for number, handler in previous_handlers.items():
                signal.signal(number, handler)


def _stop_workers(processes: list[SpawnProcess], signals: list[int]) -> None:
    """Stop the processes; kill those that take too long, or all if a further signal forces it."""
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + STOP_TIMEOUT_SECONDS
    while (running := [process for process in processes if process.exitcode is None]) and time.monotonic() < deadline:
        if FORCING_SIGNALS.intersection(signals[1:]):
            break
        connection.wait([process.sentinel for process in running], TICK_SECONDS)
    for process in processes:
        process.kill()
        process.join()
