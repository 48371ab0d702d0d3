"""The HTTP interface, from outside: a real server is asked, well and badly."""

import base64
import contextlib
import io
import json
import os
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from numerals.errors import InputError
from numerals.read.reader import Reader
from numerals.server.settings import SHUTDOWN_GRACE_SECONDS, ServerSettings
from tests.conftest import NUMERALS, run_quietly
from tests.helpers.pictures import encoded, some_digits
from tests.helpers.serving import Served, drawing, read, served


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("served")) as server:
        yield server
        assert server.end() == 0


def test_a_picture_is_read_as_a_body_and_as_a_form(server: Served) -> None:
    picture = drawing("2073")
    expected = Reader().read(picture).to_dict()
    assert expected["text"] == "2073"
    assert read(server, picture).json() == expected
    assert httpx.post(f"{server.url}/v1/read", files={"file": ("a.png", picture)}).json() == expected
    seen = read(server, picture, params={"seen": True}).json()["rows"][0]["digits"]
    assert [len(base64.b64decode(digit["seen"])) for digit in seen] == [784] * 4


def test_an_empty_drawing_reads_as_nothing(server: Served) -> None:
    found = read(server, encoded(np.full((200, 300), 255, np.uint8))).json()
    assert (found["text"], found["rows"]) == ("", [])


def test_single_digits_are_recognised_as_the_reader_does(server: Served) -> None:
    images, _ = some_digits(40)
    asked = {"digits": base64.b64encode(images.tobytes()).decode(), "n": 40}
    found = httpx.post(f"{server.url}/v1/recognise", json=asked).json()
    expected = Reader().recognise(images)
    assert found["digits"] == expected.digits.tolist() and found["rejected"] == expected.rejected.tolist()
    assert np.allclose(found["probabilities"], expected.probabilities, atol=1e-5)


def test_requests_that_arrive_together_get_their_own_answers(server: Served) -> None:
    images, _ = some_digits(60)
    expected = Reader().recognise(images).digits.tolist()

    def ask(place: int) -> int:
        asked = {"digits": base64.b64encode(images[place].tobytes()).decode(), "n": 1}
        [digit] = httpx.post(f"{server.url}/v1/recognise", json=asked).json()["digits"]
        return int(digit)

    with ThreadPoolExecutor(20) as pool:
        assert list(pool.map(ask, range(60))) == expected


def test_a_digit_is_explained(server: Served) -> None:
    images, labels = some_digits(1)
    asked = {"seen": base64.b64encode(images[0].tobytes()).decode(), "digit": int(labels[0])}
    found = httpx.post(f"{server.url}/v1/explain", json=asked).json()
    heat = np.array(found["heat"])
    assert heat.shape == (28, 28) and np.argmax(found["probabilities"]) == labels[0]
    assert heat[images[0] > 128].mean() > 3 * abs(heat[images[0] == 0]).mean()  # it is the ink that spoke


def test_what_is_asked_about_itself(server: Served) -> None:
    model = httpx.get(f"{server.url}/v1/model").json()
    assert (model["digits"]["reads"], model["rows"]["reads"]) == ("digits", "rows")
    assert httpx.get(f"{server.url}/healthz").status_code == httpx.get(f"{server.url}/readyz").status_code == 200
    read(server, b"no picture")
    counted = httpx.get(f"{server.url}/metrics").text
    assert 'numerals_requests_total{method="POST",path="/v1/read",status="422"}' in counted
    for name in ("numerals_seconds_bucket", "numerals_queue", "numerals_rejected_total"):
        assert name in counted


def test_the_pages_ask_nothing_of_others(server: Served) -> None:
    for path in ("/", "/docs", "/page/page.js", "/page/style.css", "/page/icon.svg"):
        answer = httpx.get(server.url + path)
        assert answer.status_code == 200
        assert "http:" not in answer.text.replace("http://www.w3.org/2000/svg", "") and "https:" not in answer.text
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "unsafe" not in answer.headers["content-security-policy"]
    assert "/v1/read" in httpx.get(f"{server.url}/docs").text


# Who may ask


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", "10.0.0.1"])
def test_a_forged_host_is_refused(server: Served, host: str) -> None:
    assert httpx.get(f"{server.url}/healthz", headers={"Host": host}).status_code == 403


@pytest.mark.parametrize("origin", ["null", "https://evil.example", "http://127.0.0.1:1", "http://[", ""])
def test_a_foreign_page_may_not_post(server: Served, origin: str) -> None:
    answer = read(server, drawing("1"), headers={"Origin": origin})
    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers
    assert read(server, drawing("2"), headers={"Origin": server.url}).status_code == 200


def test_a_token_opens_the_interface_and_nothing_else_does(tmp_path: Path) -> None:
    with served(tmp_path, NUMERALS_TOKEN="a-secret") as server:
        for given in ({}, {"Authorization": "Bearer another"}, {"Authorization": "a-secret"}):
            assert httpx.get(f"{server.url}/v1/model", headers=given).status_code == 401
        assert httpx.get(f"{server.url}/v1/model", headers={"Authorization": "Bearer a-secret"}).status_code == 200
        assert httpx.get(f"{server.url}/metrics").status_code == 401
        assert httpx.get(f"{server.url}/").status_code == httpx.get(f"{server.url}/healthz").status_code == 200
        assert server.end() == 0


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_other_machines_need_a_token(host: str) -> None:
    done = run_quietly((*NUMERALS, "serve", "--host", host))
    assert (done.returncode, done.stdout) == (2, "")
    assert "--token" in done.stderr and "--insecure" in done.stderr
    ServerSettings(host=host, token="secret").check()
    ServerSettings(host=host, insecure=True).check()
    with pytest.raises(InputError):
        ServerSettings(host=host, token=" ").check()


def test_which_hosts_are_ours() -> None:
    here, everywhere = ServerSettings(host_names=("numbers.example",)), ServerSettings(host="0.0.0.0")
    assert all(map(here.accepts_host, ("127.0.0.1:8000", "localhost", "LOCALHOST.:1", "[::1]:8000", "numbers.example")))
    assert not any(map(here.accepts_host, ("", "192.168.0.7", "other.example", "[fe80::1]")))
    assert everywhere.accepts_host("192.168.0.7:8000") and not everywhere.accepts_host("other.example")


def test_a_port_in_use_is_one_line(server: Served) -> None:
    done = run_quietly((*NUMERALS, "serve", "--port", server.port))
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and str(server.port) in done.stderr


# How much


def test_large_bodies_and_pictures_are_refused(server: Served) -> None:
    assert read(server, bytes(10_000_001)).status_code == 413
    assert httpx.post(f"{server.url}/v1/read", content=iter([bytes(6_000_000)] * 2)).status_code == 413  # chunked
    bomb = io.BytesIO()
    Image.new("1", (5001, 5000)).save(bomb, "PNG")
    answer = read(server, bomb.getvalue())
    assert answer.status_code == 422 and "25,000,000" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("recognise", {"digits": "AAAA", "n": 1}),
        ("recognise", {"digits": "not base64!", "n": 1}),
        ("recognise", {"digits": "", "n": 0}),
        ("recognise", {"digits": "", "n": 1, "more": 1}),
        ("explain", {"seen": base64.b64encode(bytes(784)).decode(), "digit": 10}),
        ("corrections", {"picture": base64.b64encode(b"<script>").decode(), "digit": 1}),
        ("corrections", {"picture": "AAAA", "digit": "1"}),
        ("recognise", ["digits"]),
    ],
)
def test_what_is_asked_wrongly_is_one_line(server: Served, path: str, body: object) -> None:
    answer = httpx.post(f"{server.url}/v1/{path}", json=body)
    assert answer.status_code == 422
    assert list(answer.json()) == ["detail"] and "\n" not in answer.json()["detail"]


@pytest.mark.parametrize("form", [{"data": {"file": "text"}}, {"files": {"other": b"x"}}])
def test_a_form_without_a_file_is_refused(server: Served, form: dict[str, object]) -> None:
    answer = httpx.post(f"{server.url}/v1/read", **form)  # type: ignore[arg-type]
    assert answer.status_code == 422
    cut = {"content-type": "multipart/form-data; boundary=b"}
    assert httpx.post(f"{server.url}/v1/read", content=b"--b\r\nrubbish", headers=cut).status_code in (400, 422)
    assert httpx.post(f"{server.url}/v1/read", content=b"x", headers={"content-type": "multipart/form-data"}).is_error


def occupied(server: Served, least: int) -> None:
    """Returns when so many requests have their place in the queue."""
    until = time.monotonic() + 8
    while f"numerals_queue {least}.0" not in httpx.get(f"{server.url}/metrics").text:
        assert time.monotonic() < until
        time.sleep(0.005)


@pytest.mark.slow
def test_a_full_queue_refuses_exactly_what_is_over(tmp_path: Path) -> None:
    """Eight places, taken; of ten more all ten are refused at once, as in Triton's test, and the eight are answered."""
    slow = encoded(some_digits(25)[0].reshape(5, 5, 28, 28).swapaxes(1, 2).reshape(140, 140))
    with served(tmp_path, "--queue", 8) as server:

        def ask(_: int) -> tuple[int, float, str]:
            started = time.monotonic()
            answer = read(server, slow)
            return answer.status_code, time.monotonic() - started, answer.headers.get("retry-after", "")

        with ThreadPoolExecutor(18) as pool:
            accepted = [pool.submit(ask, place) for place in range(8)]
            occupied(server, 8)
            over = list(pool.map(ask, range(10)))
            assert [(status, again) for status, _, again in over] == [(503, "1")] * 10
            assert max(seconds for _, seconds, _ in over) < 2
            assert [each.result()[0] for each in accepted] == [200] * 8
        assert httpx.get(f"{server.url}/readyz").status_code == 200
        assert server.end() == 0


# The end


def test_told_to_end_it_answers_what_it_accepted(tmp_path: Path) -> None:
    """Under load: no request that was taken is lost, readyz says no at once, and the exit code is 0.

    Who comes long after readyz has said no may be refused, or, between the last accept and the closing, cut off.
    """
    picture, statuses, not_ready, late = drawing("571"), list[int](), list[float](), list[float]()
    with served(tmp_path) as server:
        stop = threading.Event()

        def load() -> None:
            while not stop.is_set():
                began = time.monotonic()
                try:
                    statuses.append(read(server, picture).status_code)
                except httpx.ConnectError:
                    return
                except (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError):
                    late.append(began)
                    return

        def watch() -> None:
            while not stop.is_set():
                try:
                    if httpx.get(f"{server.url}/readyz").status_code == 503:
                        not_ready.append(time.monotonic())
                except httpx.TransportError:
                    return
                time.sleep(0.01)

        threads = [threading.Thread(target=load) for _ in range(8)] + [threading.Thread(target=watch)]
        for thread in threads:
            thread.start()
        time.sleep(1.5)
        told = time.monotonic()
        assert server.end() == 0
        stop.set()
        for thread in threads:
            thread.join()
    assert time.monotonic() - told < 30
    assert not_ready and not_ready[0] - told < 0.5
    assert all(began > told + 0.8 * SHUTDOWN_GRACE_SECONDS for began in late) and len(late) <= 2, late
    assert len(statuses) > 8 and set(statuses) == {200}


@pytest.mark.slow
def test_several_processes_answer_and_end_together(tmp_path: Path) -> None:
    with served(tmp_path, "--workers", 2) as server:
        picture = drawing("20")
        with ThreadPoolExecutor(8) as pool:
            texts = list(pool.map(lambda _: read(server, picture).json()["text"], range(16)))
        assert texts == ["20"] * 16
        counted = httpx.get(f"{server.url}/metrics").text
        assert 'numerals_requests_total{method="POST",path="/v1/read",status="200"} 16.0' in counted
        processes = server.processes()
        assert server.end() == 0
    until = time.monotonic() + 5
    while [pid for pid in processes if Path(f"/proc/{pid}").exists()]:
        assert time.monotonic() < until
        time.sleep(0.05)


# Slow and hostile senders


@pytest.mark.slow
def test_slow_clients_keep_nobody_waiting_and_are_cut_off(server: Served) -> None:
    """200 that send a byte every five seconds, half of them headers, half a body."""
    heads = [
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX-A: ",
        b"POST /v1/read HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999999\r\n\r\n",
    ]
    slow = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(200)]
    started, seconds = time.monotonic(), []
    for place, each in enumerate(slow):
        each.sendall(heads[place % 2])
    with httpx.Client(base_url=server.url) as client:
        while time.monotonic() - started < 13:
            if round(time.monotonic() - started, 1) % 5 == 0:
                for each in slow:
                    with contextlib.suppress(OSError):
                        each.send(b"a")
            before = time.monotonic()
            assert client.get("/healthz").status_code == 200
            seconds.append(time.monotonic() - before)
            time.sleep(0.02)
    assert statistics.quantiles(seconds, n=100)[98] < 0.1
    for each in slow:
        each.settimeout(1)
        received = b""
        while part := each.recv(1000):  # to its end: it is cut
            received += part
        assert b"408" in received.split(b"\r\n")[0]
        each.close()


def test_endless_headers_are_cut_off(server: Served) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as endless:
        endless.settimeout(5)
        with pytest.raises(OSError):
            endless.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
            for _ in range(1000):
                endless.sendall(b"X-A: " + b"a" * 10_000 + b"\r\n")
                time.sleep(0.001)
    assert httpx.get(f"{server.url}/healthz").status_code == 200


def hostile() -> Iterator[bytes]:
    """Cut, with lying headers, bombs, polyglots."""
    chance = np.random.default_rng(0)
    page = np.asarray(Image.open(io.BytesIO(drawing("3141"))))
    for form in ("PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP", "PPM"):
        whole = encoded(page, form)
        yield from (whole[: int(len(whole) * share)] for share in (0.02, 0.1, 0.5, 0.9, 0.99))
        for _ in range(12):
            bent = bytearray(whole)
            for place in chance.integers(0, min(len(bent), 200), 6):
                bent[place] = chance.integers(256)
            yield bytes(bent)
        yield whole + b"%PDF-1.7 <script>alert(1)</script>" + whole
        yield b"GIF89a" + whole
    for mode, side in (("1", 4999), ("L", 4990), ("RGBA", 4000), ("RGB", 20000)):
        bomb = io.BytesIO()
        Image.new(mode, (side, side if side < 20000 else 1200)).save(bomb, "PNG")
        yield bomb.getvalue()
    yield b"P6 99999999 99999999 255\n" + bytes(100)
    yield b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR" + b"\xff" * 17
    yield b"%PDF-1.4 rubbish"
    yield b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>"


@pytest.mark.slow
def test_hostile_pictures_cost_one_answer_each(tmp_path: Path) -> None:
    with served(tmp_path) as server:
        read(server, drawing("2"))
        start, most = server.mebibytes(), 0.0
        for picture in hostile():
            before = time.monotonic()
            status = read(server, picture).status_code
            seconds = time.monotonic() - before
            most = max(most, server.mebibytes())
            assert status == 200 or 400 <= status < 500, picture[:60]
            assert seconds < 2, (seconds, picture[:60])
        assert most - start < 400, (start, most)
        assert read(server, drawing("2")).json()["text"] == "2"
        assert server.end() == 0


DENSE = ("pport_g4.tif", "total-pages-zero.tif")  # whole pages of print: not malformed, but much to read


@pytest.fixture(scope="module")
def pillows(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Pillow's own test pictures, out of its source package: fetched by pip, and not built."""
    folder = tmp_path_factory.mktemp("pillow")
    lines = (Path(__file__).parents[2] / "constraints.txt").read_text().splitlines()
    [pinned] = [line for line in lines if line.startswith("pillow==")]
    fetch = [sys.executable, "-m", "pip", "download", pinned, "--no-deps", "--no-binary", "pillow", "--dest", folder]
    # pip also asks the package its name, which fails or not, by what is installed; --no-clean leaves the sources
    command = [*map(str, fetch), "--no-build-isolation", "--no-clean"]
    with contextlib.suppress(subprocess.TimeoutExpired):
        subprocess.run(
            command, env={**os.environ, "TMPDIR": str(folder)}, capture_output=True, timeout=120, check=False
        )
    found = sorted(path for path in folder.glob("*/*/Tests/images/**/*") if path.is_file())
    if not found:
        pytest.skip(f"pip cannot fetch the source package of {pinned} here")
    return found


@pytest.mark.slow
def test_pillows_own_hostile_pictures_cost_one_answer_each(pillows: list[Path], tmp_path: Path) -> None:
    assert len(pillows) > 500 and any(path.name.startswith("crash") for path in pillows)
    with served(tmp_path) as server:
        read(server, drawing("2"))
        start, most, statuses = server.mebibytes(), 0.0, Counter[int]()
        for path in pillows:
            before = time.monotonic()
            status = read(server, path.read_bytes()).status_code
            seconds = time.monotonic() - before
            statuses[status] += 1
            most = max(most, server.mebibytes())
            assert status == 200 or 400 <= status < 500, path.name
            assert seconds < (10 if path.name in DENSE else 2), (seconds, path.name)  # ten: any answer's limit
        assert most - start < 400, (start, most)
        assert statuses[200] > 100 and statuses[422] > 100, statuses
        assert read(server, drawing("2")).json()["text"] == "2"
        assert server.end() == 0


@pytest.mark.slow
def test_many_large_pictures_at_once_stay_within_memory(tmp_path: Path) -> None:
    chance = np.random.default_rng(1)
    large = encoded(np.kron(chance.integers(200, 255, (250, 250, 3)), np.ones((19, 19, 1))).astype(np.uint8), "JPEG")
    with served(tmp_path) as server:
        read(server, drawing("2"))
        start, most, done = server.mebibytes(), 0.0, threading.Event()

        def watch() -> None:
            nonlocal most
            while not done.wait(0.02):
                most = max(most, server.mebibytes())

        watcher = threading.Thread(target=watch)
        watcher.start()
        with ThreadPoolExecutor(40) as pool:
            statuses = set(pool.map(lambda _: read(server, large).status_code, range(80)))
        done.set()
        watcher.join()
        assert statuses <= {200, 503} and 200 in statuses
        assert most - start < 400, (start, most)


@pytest.mark.slow
def test_schemathesis_finds_nothing(tmp_path: Path) -> None:
    """All checks, 500 examples an operation, with real pictures among them: tests/helpers/fuzz_serve.py."""
    with served(tmp_path) as server:
        command = [sys.executable, "-m", "pytest", "-q", "tests/helpers/fuzz_serve.py"]
        environment = {**os.environ, "NUMERALS_URL": server.url}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1200, check=False)
        assert done.returncode == 0, done.stdout[-6000:]
        assert server.end() == 0


def test_the_readmes_examples_work(server: Served, tmp_path: Path) -> None:
    """The Python example of the README, at this server's address."""
    text = (Path(__file__).parents[2] / "README.md").read_text()
    [code] = [part.split("```")[0] for part in text.split("```python\n")[1:] if "/v1/read" in part.split("```")[0]]
    (tmp_path / "photo.jpg").write_bytes(drawing("571"))
    code = code.replace("http://127.0.0.1:8000", server.url).replace('"photo.jpg"', repr(str(tmp_path / "photo.jpg")))
    names: dict[str, object] = {}
    exec(code, names)
    assert isinstance(names["page"], dict) and names["page"]["text"] == "571"
    assert "curl --data-binary @photo.jpg http://127.0.0.1:8000/v1/read" in text
    assert json.dumps(names["page"])
