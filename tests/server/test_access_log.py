"""The access log of a real server: a line for each request, without secrets and control characters."""

import json
import re
import socket
from pathlib import Path

import httpx
import pytest

from tests.conftest import NUMERALS, run_quietly
from tests.helpers.serving import RunningServer, drawing_png, other_client, post_picture, running_server
from tests.helpers.waiting import wait_until


def lines_of(server: RunningServer, count: int) -> list[str]:
    """The lines of the log, when there are so many."""
    wait_until(lambda: len(server.stderr_lines) >= count, f"the log has {count} lines")
    return [line.rstrip("\n") for line in server.stderr_lines]


def send(server: RunningServer, content: bytes) -> None:
    """Send bytes, and wait until the server has closed the connection."""
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.settimeout(120)
        client.sendall(content)
        while client.recv(1000):
            pass


def test_each_request_is_a_line(tmp_path: Path) -> None:
    requests = [
        ("GET", "/healthz", 200),
        ("GET", "/v1/model", 401),
        ("GET", "/nowhere/%1B[31m%0A%E2%80%A8", 404),
        ("GET", "/nowhere/[token]/" + "a" * 483, 404),
        ("POST", "/v1/read", 200),
        ("-", "-", 400),
        ("-", "-", 431),
    ]
    with running_server(tmp_path, NUMERALS_TOKEN="a-secret") as server:
        httpx.get(f"{server.url}/healthz?token=a-secret")
        httpx.get(f"{server.url}/v1/model", headers={"Authorization": "Bearer guess"})
        httpx.get(f"{server.url}/nowhere/%1b[31m%0a\u2028")
        httpx.get(f"{server.url}/nowhere/a%2Dsecret/{'a' * 5000}")
        post_picture(server, drawing_png("2"), headers={"Authorization": "Bearer a-secret"})
        send(server, b"\x1b[31m\r\n\r\n")
        send(server, b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 200)
        lines = lines_of(server, len(requests))
        assert server.stop() == 0
    line = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00 127\.0\.0\.1 (\S+) (\S+) (\d+) \d+\.\d+")
    matches = [line.fullmatch(text) for text in lines]
    assert [match and (match[1], match[2], int(match[3])) for match in matches] == requests
    assert "a-secret" not in "".join(lines) and "guess" not in "".join(lines)


def test_a_body_that_is_cut_off_is_a_line_too(tmp_path: Path) -> None:
    """One whose client leaves."""
    with running_server(tmp_path) as server:
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.sendall(b"POST /v1/read HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n")
        [line] = lines_of(server, 1)
        assert "POST /v1/read 499" in line
        assert server.stop() == 0


def test_a_damaged_form_is_one_line(tmp_path: Path) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=B"}
    with running_server(tmp_path, "--access-log", "json") as server:
        for _ in range(2):
            assert httpx.post(f"{server.url}/v1/read", content=b"--C", headers=headers).status_code == 400
        assert [json.loads(line)["status"] for line in lines_of(server, 2)] == [400, 400]
        assert server.stop() == 0


def test_json_names_the_client_of_a_trusted_proxy_alone(tmp_path: Path) -> None:
    """The second address of X-Forwarded-For is the proxy's, the first one the client's own claim."""
    with (
        running_server(tmp_path, "--access-log", "json", "--proxy", "127.0.0.2") as server,
        other_client(server) as proxy,
    ):
        headers = {"X-Forwarded-For": "192.0.2.1, 198.51.100.7"}
        proxy.get("/healthz", headers=headers)
        httpx.get(f"{server.url}/healthz", headers=headers)
        entries = [json.loads(line) for line in lines_of(server, 2)]
        assert server.stop() == 0
    assert [entry["client"] for entry in entries] == ["198.51.100.7", "127.0.0.1"]
    assert set(entries[0]) == {"time", "client", "method", "path", "status", "seconds"}
    assert (entries[0]["method"], entries[0]["path"], entries[0]["status"]) == ("GET", "/healthz", 200)


def test_the_log_can_be_off(tmp_path: Path) -> None:
    with running_server(tmp_path, "--access-log", "off") as server:
        httpx.get(f"{server.url}/healthz")
        assert server.stop() == 0
    assert server.stderr_lines == []


@pytest.mark.parametrize("log", ["", "JSON", "yes"])
def test_there_are_three_kinds_of_log(log: str) -> None:
    done = run_quietly((*NUMERALS, "serve", "--access-log", log))
    assert done.returncode == 2 and "text, json, off" in done.stderr
