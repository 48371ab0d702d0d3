"""What one client may hold: connections, memory for requests and answers, places in the queue; all on a real server."""

import asyncio
import socket
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numerals.errors import InputError
from numerals.server.clients import FairShare, WrongTokens, client_of, delay_after
from numerals.server.corrections import CorrectionStore
from numerals.server.settings import ServerSettings
from tests.helpers.pictures import encoded
from tests.helpers.serving import RunningServer, drawing_png, other_client, post_picture, running_server
from tests.helpers.waiting import wait_until


@pytest.mark.parametrize(
    ("host", "client"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("testclient", "unknown"),
        ("a" * 60_000, "unknown"),
    ],
)
def test_who_a_client_is(host: str, client: str) -> None:
    assert client_of(host) == client


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(1, 30)), max_size=60), st.integers(1, 200))
def test_something_is_always_free_for_the_next_client(requests: list[tuple[str, int]], limit: int) -> None:
    share, held = FairShare(limit), list[tuple[str, int]]()
    for client, amount in requests:
        free = limit - share.taken
        if share.take(client, amount):
            held.append((client, amount))
            of_client = sum(taken for name, taken in held if name == client)
            assert amount <= free and of_client <= 3 * (free - amount + 1)
    assert share.taken == sum(amount for _, amount in held) <= limit
    for client, amount in held:
        share.give_back(client, amount)
    assert share.taken == 0 and share.take("a", (3 * limit) // 4 or 1)


def test_one_client_alone_gets_three_quarters() -> None:
    share = FairShare(256)
    assert sum(share.take("a") for _ in range(256)) == 192
    assert share.take("b")


# Connections


@contextmanager
def connections(server: RunningServer, count: int) -> Iterator[list[socket.socket]]:
    """Connections from 127.0.0.1 to a server."""
    with ExitStack() as stack:
        clients = [stack.enter_context(socket.create_connection(("127.0.0.1", server.port))) for _ in range(count)]
        for client in clients:
            client.settimeout(120)
        yield clients


def test_one_client_does_not_get_every_connection(tmp_path: Path) -> None:
    with running_server(tmp_path, "--connections", 8) as server:
        with connections(server, 60) as clients:
            for client in clients[6:]:
                assert client.recv(100).startswith(b"HTTP/1.1 503")
            with other_client(server) as other:
                assert other.get("/healthz").status_code == 200
            for client in clients[:6]:
                client.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert client.recv(100).startswith(b"HTTP/1.1 200")
        wait_until(lambda: reaches(server), "the places of closed connections are free again")
        assert server.stop() == 0


def reaches(server: RunningServer) -> bool:
    try:
        return httpx.get(f"{server.url}/healthz", timeout=60).status_code == 200
    except httpx.TransportError:
        return False


# Tokens


@pytest.fixture(scope="module")
def token_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server(tmp_path_factory.mktemp("token"), NUMERALS_TOKEN="a-secret") as server:
        yield server
        assert server.stop() == 0


@pytest.mark.parametrize(
    ("request_line", "status"), [("GET /", 200), ("GET /healthz", 200), ("GET /v1/model", 401), ("POST /v1/read", 401)]
)
def test_a_connection_without_a_token_ends_with_its_answer(
    token_server: RunningServer, request_line: str, status: int
) -> None:
    """The answer arrives although the body is large."""
    body = bytes(3_000_000) if request_line.startswith("POST") else b""
    head = f"{request_line} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
    with connections(token_server, 1) as [client]:
        client.sendall(head.encode() + b"\r\n" + body)
        received = b""
        while part := client.recv(10_000):  # ends when the server closes the connection
            received += part
    assert received.startswith(b"HTTP/1.1 %d" % status) and b"connection: close" in received


def test_a_connection_with_the_token_serves_several_requests(token_server: RunningServer) -> None:
    with connections(token_server, 1) as [known]:
        for _ in range(2):
            known.sendall(b"GET /v1/model HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer a-secret\r\n\r\n")
            received = b""
            while not received.endswith(b"}}"):
                received += known.recv(10_000)
            assert received.startswith(b"HTTP/1.1 200") and b"connection: close" not in received


def test_wrong_tokens_are_delayed_and_nobody_else_is(token_server: RunningServer) -> None:
    """Of sixty guesses at once most are not looked at. A client with another address can send tokens."""

    def status_of(token: str) -> int:
        headers = {"Authorization": f"Bearer {token}"}
        return httpx.get(f"{token_server.url}/v1/model", headers=headers, timeout=120).status_code

    with ThreadPoolExecutor(60) as pool:
        guesses = [pool.submit(status_of, f"guess {number}") for number in range(60)]
        with other_client(token_server) as other:
            for token, status in (("a-secret", 200), ("wrong", 401), ("a-secret", 200)):
                assert other.get("/v1/model", headers={"Authorization": f"Bearer {token}"}).status_code == status
        statuses = Counter(guess.result() for guess in guesses)
    assert set(statuses) == {401, 429} and statuses[429] > 20
    wait_until(lambda: status_of("a-secret") == 200, "tokens of the first client are looked at again")


def test_the_delay_grows_and_is_bounded() -> None:
    delays = [delay_after(count) for count in range(1, 10_000)]
    assert delays == sorted(delays) and delays[0] < 0.2 and 4 < delays[9] == delays[-1] < 10


def test_few_clients_are_remembered() -> None:
    wrong_tokens = WrongTokens()

    async def send_from_many() -> None:
        await asyncio.gather(*(wrong_tokens.add(f"client {number}") for number in range(11_000)))

    asyncio.run(send_from_many())
    assert (wrong_tokens.count("client 0"), wrong_tokens.count("client 10999")) == (0, 1)


# Memory


def test_slow_bodies_leave_room_for_others(tmp_path: Path) -> None:
    """Seven bodies fill the memory but for a few bytes, and never end."""
    length, picture = 9_142_800, drawing_png("571")
    head = f"POST /v1/read HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length + 1}\r\n\r\n".encode()
    with running_server(tmp_path) as server, connections(server, 7) as slow_clients:
        for client in slow_clients:
            client.sendall(head + bytes(length))
        with other_client(server) as other:
            assert [other.post("/v1/read", content=picture).status_code for _ in range(20)] == [200] * 20
        assert server.stop() == 0


@pytest.fixture
def large_corrections(tmp_path: Path) -> Path:
    """A file of corrections whose list has 10 MB."""
    rng, path = np.random.default_rng(0), tmp_path / "corrections.sqlite"
    picture = encoded(rng.integers(0, 255, (400, 400, 3), np.uint8))
    for _ in range(24):
        CorrectionStore(path).add(1, None, picture, None)
    return tmp_path


def test_slow_readers_do_not_fill_the_memory(large_corrections: Path) -> None:
    """Twenty clients ask for 10 MB each and take nothing; a client with another address gets them."""
    request = b"GET /v1/corrections?limit=24 HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with running_server(large_corrections) as server:
        post_picture(server, drawing_png("571"))
        before = server.memory_mebibytes()
        with connections(server, 20) as slow_clients:
            statuses = []
            for client in slow_clients:
                client.sendall(request)
                statuses.append(client.recv(12))
            assert statuses == [b"HTTP/1.1 200"] * 4 + [b"HTTP/1.1 503"] * 16
            with other_client(server) as other:
                assert len(other.get("/v1/corrections?limit=24").content) > 10_000_000
            assert server.memory_mebibytes() - before < 250
        assert server.stop() == 0


@pytest.mark.skipif(sys.platform != "linux", reason="measures in /proc")
def test_answers_in_preparation_do_not_fill_the_memory(large_corrections: Path) -> None:
    """Twenty clients ask at the same time, from as many addresses."""
    with running_server(large_corrections) as server:
        post_picture(server, drawing_png("571"))
        before = server.memory_mebibytes()
        with ExitStack() as stack, server.watched_memory() as peak:
            clients = [
                stack.enter_context(socket.create_connection(("127.0.0.1", server.port), 120, (f"127.0.0.{number}", 0)))
                for number in range(1, 21)
            ]
            for client in clients:
                client.sendall(b"GET /v1/corrections?limit=24 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert {client.recv(12) for client in clients} == {b"HTTP/1.1 200", b"HTTP/1.1 503"}
        assert peak[0] - before < 150, (before, peak)
        assert server.stop() == 0


@pytest.mark.slow
def test_slow_readers_are_cut_off(large_corrections: Path) -> None:
    with running_server(large_corrections) as server:
        post_picture(server, drawing_png("571"))
        files = server.open_files()
        with connections(server, 5) as slow_clients:
            for client in slow_clients:
                client.sendall(b"GET /v1/corrections?limit=24 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            wait_until(lambda: server.open_files() > files, "the connections are open")
            wait_until(lambda: server.open_files() <= files, "the connections are closed")
        assert server.stop() == 0


# Proxies


@pytest.mark.parametrize("proxy", ["*", "proxy.example", "10.0.0.1/8", ""])
def test_a_proxy_has_an_address(proxy: str) -> None:
    """Not `*`, which would let every client choose who it is."""
    ServerSettings(proxies=("127.0.0.1", "::1", "10.0.0.0/8")).check()
    with pytest.raises(InputError, match="--proxy"):
        ServerSettings(proxies=(proxy,)).check()
