"""SIGTERM under load, with one process and with several."""

import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import numpy as np
import pytest

from numerals.server.corrections import CorrectionStore
from numerals.server.settings import SHUTDOWN_GRACE_SECONDS
from tests.helpers.pictures import encoded
from tests.helpers.serving import drawing_png, post_picture, running_server
from tests.helpers.waiting import PATIENCE, wait_until


def test_sigterm_under_load_loses_no_accepted_request(tmp_path: Path) -> None:
    """Every accepted request is answered, /readyz gives 503 first, and the exit code is 0.

    A request that comes long after the first 503 may be refused, or cut off between the last accept and the closing.
    One whose body is complete only after that was accepted long before, and is answered too.
    """
    picture, statuses, cut_off = drawing_png("571"), list[int](), list[float]()
    not_ready, refused, half_sent = threading.Event(), threading.Event(), threading.Event()
    with running_server(tmp_path) as server:
        stop = threading.Event()

        def send_requests() -> None:
            while not stop.is_set():
                try:
                    statuses.append(post_picture(server, picture).status_code)
                except httpx.ConnectError:
                    refused.set()
                    return
                except (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError):
                    cut_off.append(time.monotonic())
                    return

        def watch_readiness() -> None:
            with httpx.Client(base_url=server.url, timeout=PATIENCE) as client:
                wait_until(lambda: client.get("/readyz").status_code == 503, "the server is not ready")
            not_ready.set()

        def late_body() -> Iterator[bytes]:
            yield picture[:100]
            half_sent.set()
            refused.wait(PATIENCE)
            yield picture[100:]

        threads = [threading.Thread(target=send_requests) for _ in range(8)]
        threads.append(threading.Thread(target=watch_readiness))
        for thread in threads:
            thread.start()
        wait_until(lambda: len(statuses) > len(threads), "the server has work")
        with ThreadPoolExecutor(1) as pool:
            late = pool.submit(httpx.post, f"{server.url}/v1/read", content=late_body(), timeout=PATIENCE)
            assert half_sent.wait(PATIENCE)
            signalled = time.monotonic()
            assert server.stop() == 0
            assert late.result().status_code == 200
        stop.set()
        for thread in threads:
            thread.join()
    assert not_ready.is_set()
    # a clock that started before the server's: no connection was cut off in the period of grace
    assert all(moment > signalled + SHUTDOWN_GRACE_SECONDS for moment in cut_off) and len(cut_off) <= 2, cut_off
    assert len(statuses) > 8 and set(statuses) == {200}


@pytest.mark.slow
@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2])
def test_clients_that_do_not_take_their_answers_do_not_keep_it_running(count: int, tmp_path: Path) -> None:
    """Nor is there a traceback, whether it is stopped by one signal or, at once, by a second one."""
    picture = encoded(np.random.default_rng(0).integers(0, 255, (400, 400, 3), np.uint8))
    for _ in range(24):
        CorrectionStore(tmp_path / "corrections.sqlite").add(1, None, picture, None)
    with running_server(tmp_path) as server, ExitStack() as stack:
        for _ in range(2):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), PATIENCE))
            client.sendall(b"GET /v1/corrections?limit=24 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert client.recv(12) == b"HTTP/1.1 200"
        if count == 2:
            server.process.send_signal(signal.SIGTERM)
            wait_until(lambda: httpx.get(f"{server.url}/readyz").status_code == 503, "it has noticed the first signal")
        assert server.stop() == 0


def test_several_processes_share_the_load_and_stop_together(tmp_path: Path) -> None:
    with running_server(tmp_path, "--workers", 2) as server:
        picture = drawing_png("20")
        with ThreadPoolExecutor(8) as pool:
            texts = list(pool.map(lambda _: post_picture(server, picture).json()["text"], range(16)))
        assert texts == ["20"] * 16
        metrics = httpx.get(f"{server.url}/metrics").text
        assert 'numerals_requests_total{method="POST",path="/v1/read",status="200"} 16.0' in metrics
        pids = server.pids()
        assert server.stop() == 0
    wait_until(lambda: not [pid for pid in pids if Path(f"/proc/{pid}").exists()], "its processes end")
