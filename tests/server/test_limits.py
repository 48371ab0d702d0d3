"""Limits of a real server: body and picture sizes, the queue, memory, slow clients, endless headers."""

import contextlib
import io
import select
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPResponse
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.helpers.pictures import encoded, some_digits
from tests.helpers.serving import RunningServer, drawing_png, other_client, post_picture, running_server
from tests.helpers.waiting import PATIENCE, wait_until


def test_large_bodies_and_pictures_are_rejected(server: RunningServer) -> None:
    assert post_picture(server, bytes(10_000_001)).status_code == 413
    assert httpx.post(f"{server.url}/v1/read", content=iter([bytes(6_000_000)] * 2)).status_code == 413  # chunked
    large = io.BytesIO()
    Image.new("1", (5001, 5000)).save(large, "PNG")
    response = post_picture(server, large.getvalue())
    assert response.status_code == 422 and "25,000,000" in response.json()["detail"]


def wait_for_queue(server: RunningServer, length: int) -> None:
    """Wait until this many requests have a slot in the queue."""
    line = f"numerals_queue {length}.0"
    wait_until(
        lambda: line in httpx.get(f"{server.url}/metrics", timeout=60).text, f"{length} requests are in the queue"
    )


@pytest.mark.slow
def test_a_full_queue_rejects_every_further_request(tmp_path: Path) -> None:
    """A client has its six of eight slots; ten more requests all get 503 at once, as in Triton's test.

    Another client gets one of the two others, and all seven are answered.
    """
    slow_picture = encoded(some_digits(25)[0].reshape(5, 5, 28, 28).swapaxes(1, 2).reshape(140, 140))
    with running_server(tmp_path, "--queue", 8) as server:

        def post(_: int) -> tuple[int, str]:
            response = post_picture(server, slow_picture)
            return response.status_code, response.headers.get("retry-after", "")

        with ThreadPoolExecutor(18) as pool:
            accepted = [pool.submit(post, index) for index in range(6)]
            wait_for_queue(server, 6)
            rejected = list(pool.map(post, range(10)))
            assert rejected == [(503, "1")] * 10
            with other_client(server) as other:
                assert other.post("/v1/read", content=slow_picture).status_code == 200
            assert [request.result()[0] for request in accepted] == [200] * 6
        assert httpx.get(f"{server.url}/readyz").status_code == 200
        assert server.stop() == 0


@pytest.mark.skipif(sys.platform != "linux", reason="measures in /proc")
@pytest.mark.parametrize("path", ["recognise", "explain", "corrections"])
def test_json_of_many_values_costs_little_memory(server: RunningServer, path: str) -> None:
    """Ten million bytes of lists take 300 MiB when they are parsed, and unknown fields a gigabyte."""
    fields = b"{" + b",".join(b'"%x":1' % number for number in range(900_000)) + b"}"
    with server.watched_memory() as peak:
        pass
    with server.watched_memory() as attacked:
        for body in (fields, b"[" + b",".join([b"[]"] * 3_300_000) + b"]"):
            headers = {"Content-Type": "application/json"}
            response = httpx.post(f"{server.url}/v1/{path}", content=body, headers=headers, timeout=PATIENCE)
            assert response.status_code == 422 and "over 100 values" in response.json()["detail"]
    assert attacked[0] - peak[0] < 100, (peak, attacked)


@pytest.mark.slow
def test_many_large_pictures_at_once_stay_within_memory(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    large = encoded(np.kron(rng.integers(200, 255, (250, 250, 3)), np.ones((19, 19, 1))).astype(np.uint8), "JPEG")
    with running_server(tmp_path) as server:
        post_picture(server, drawing_png("2"))
        before, peak, done = server.memory_mebibytes(), 0.0, threading.Event()

        def watch_memory() -> None:
            nonlocal peak
            while not done.wait(0.02):
                peak = max(peak, server.memory_mebibytes())

        watcher = threading.Thread(target=watch_memory)
        watcher.start()
        with ThreadPoolExecutor(40) as pool:
            statuses = set(pool.map(lambda _: post_picture(server, large).status_code, range(80)))
        done.set()
        watcher.join()
        assert statuses <= {200, 503} and 200 in statuses
        assert peak - before < 400, (before, peak)


@pytest.mark.slow
def test_slow_clients_delay_nobody_and_are_cut_off(server: RunningServer) -> None:
    """200 clients send a byte every five seconds, half of them in the headers, half in the body.

    Until the first of them is cut off, after RECEIVE_TIMEOUT_SECONDS, others get their answers.
    """
    beginnings = [
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX-A: ",
        b"POST /v1/read HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999999\r\n\r\n",
    ]
    slow_clients = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(200)]
    started, answers = time.monotonic(), 0
    for index, slow_client in enumerate(slow_clients):
        slow_client.sendall(beginnings[index % 2])
    with httpx.Client(base_url=server.url, timeout=60) as client:
        while time.monotonic() - started < 13:
            if round(time.monotonic() - started, 1) % 5 == 0:
                for slow_client in slow_clients:
                    with contextlib.suppress(OSError):
                        slow_client.send(b"a")
            assert client.get("/healthz").status_code == 200
            answers += not select.select(slow_clients, [], [], 0)[0]  # none has received anything yet
            time.sleep(0.02)
    assert answers > 10
    for slow_client in slow_clients:
        slow_client.settimeout(120)
        received = b""
        with contextlib.suppress(ConnectionResetError):  # it had just sent another byte
            while part := slow_client.recv(1000):  # the server has closed the connection, so this ends
                received += part
        assert b"408" in received.split(b"\r\n")[0]
        slow_client.close()
    for request in ("- - 408", "POST /v1/read 408"):
        wait_until(lambda request=request: count_logged(server, request) == 100, f"the log has 100 lines {request}")  # type: ignore[misc]


def count_logged(server: RunningServer, request: str) -> int:
    return sum(f" {request} " in line for line in list(server.stderr_lines))


HEAD = b"POST /v1/recognise HTTP/1.1\r\nHost: localhost\r\n"
CHUNKED_HEAD = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("beginning", "repeated"),
    [
        pytest.param(HEAD, b"X-A: " + b"a" * 10_000 + b"\r\n", id="header lines"),
        pytest.param(HEAD, b"a:\r\n" * 2_500, id="short header lines"),
        pytest.param(HEAD + b"X-A: ", b"a" * 10_000, id="the value of a header"),
        pytest.param(HEAD, b"a" * 10_000, id="the name of a header"),
        pytest.param(b"GET /", b"a" * 10_000, id="a path"),
        pytest.param(b"", b"\r\n" * 5_000, id="empty lines"),
        pytest.param(CHUNKED_HEAD + b"0\r\n", b"X-A: " + b"a" * 10_000 + b"\r\n", id="trailers"),
        pytest.param(CHUNKED_HEAD + b"0\r\nX-A: ", b"a" * 10_000, id="the value of a trailer"),
        pytest.param(CHUNKED_HEAD + b"2;a=", b"a" * 10_000, id="the extension of a chunk"),
        pytest.param(CHUNKED_HEAD, b"1\r\na\r\n" * 2_000, id="chunks of one byte"),
        pytest.param(b"", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" * 200, id="pipelined requests"),
    ],
)
def test_endless_headers_are_cut_off(server: RunningServer, beginning: bytes, repeated: bytes) -> None:
    """Whatever it is that never ends: the connection is closed after a tenth of what the client has to send."""
    before, sent = server.cpu_seconds(), 0
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.settimeout(120)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 10_000)
        with pytest.raises(ConnectionError):
            client.sendall(beginning)
            while sent < 8_000_000:
                sent += client.send(repeated)
    assert server.cpu_seconds() - before < 2
    assert httpx.get(f"{server.url}/healthz").status_code == 200


def test_a_thousand_header_lines_are_too_many(server: RunningServer) -> None:
    """They would be within the limit of bytes, but take fifty times as much memory as one long line."""
    assert httpx.get(f"{server.url}/healthz", headers=[("A", str(n)) for n in range(100)]).status_code == 200
    assert httpx.get(f"{server.url}/healthz", headers=[("A", str(n)) for n in range(1000)]).status_code == 431


def test_large_headers_and_small_chunks_are_accepted(server: RunningServer) -> None:
    body = b'{"digits": "' + b"A" * 1046 + b'==", "n": 1}'
    small_chunks = b"".join(b"8\r\n%s\r\n" % body[start : start + 8].ljust(8) for start in range(0, len(body), 8))
    request = b"%sCookie: %s\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n%s0\r\nX: a\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.settimeout(120)
        for _ in range(3):  # requests of one connection are counted one by one
            client.sendall(request % (HEAD, b"a" * 50_000, small_chunks))
            with HTTPResponse(client) as response:
                response.begin()
                assert response.status == 200 and response.read()


def test_trailers_are_no_headers(server: RunningServer) -> None:
    """A second Host header is refused; a proxy that checks headers need not check trailers."""
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.settimeout(120)
        client.sendall(CHUNKED_HEAD.replace(b"/v1/recognise", b"/healthz") + b"0\r\nHost: evil.example\r\n\r\n")
        assert client.recv(10_000).startswith(b"HTTP/1.1 405")
