"""SIGTERM under load, with one process and with several."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from numerals.server.settings import SHUTDOWN_GRACE_SECONDS
from tests.helpers.serving import drawing_png, post_picture, running_server


def test_sigterm_under_load_loses_no_accepted_request(tmp_path: Path) -> None:
    """Every accepted request is answered, /readyz gives 503 at once, and the exit code is 0.

    A request that comes long after the first 503 may be refused, or cut off between the last accept and the closing.
    """
    picture, statuses, not_ready, cut_off = drawing_png("571"), list[int](), list[float](), list[float]()
    with running_server(tmp_path) as server:
        stop = threading.Event()

        def send_requests() -> None:
            while not stop.is_set():
                began = time.monotonic()
                try:
                    statuses.append(post_picture(server, picture).status_code)
                except httpx.ConnectError:
                    return
                except (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError):
                    cut_off.append(began)
                    return

        def watch_readiness() -> None:
            while not stop.is_set():
                try:
                    if httpx.get(f"{server.url}/readyz").status_code == 503:
                        not_ready.append(time.monotonic())
                except httpx.TransportError:
                    return
                time.sleep(0.01)

        threads = [threading.Thread(target=send_requests) for _ in range(8)]
        threads.append(threading.Thread(target=watch_readiness))
        for thread in threads:
            thread.start()
        time.sleep(1.5)
        signalled = time.monotonic()
        assert server.stop() == 0
        stop.set()
        for thread in threads:
            thread.join()
    assert time.monotonic() - signalled < 30
    assert not_ready and not_ready[0] - signalled < 0.5
    earliest = signalled + 0.8 * SHUTDOWN_GRACE_SECONDS
    assert all(began > earliest for began in cut_off) and len(cut_off) <= 2, cut_off
    assert len(statuses) > 8 and set(statuses) == {200}


@pytest.mark.slow
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
    deadline = time.monotonic() + 5
    while [pid for pid in pids if Path(f"/proc/{pid}").exists()]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
