"""Requests to a real server: reading, recognising, explaining, model cards, health, metrics, pages, wrong input."""

import base64
import json
import socket
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPResponse
from pathlib import Path

import httpx
import numpy as np
import pytest

from numerals.read.reader import Reader
from tests.helpers.pictures import encoded, some_digits
from tests.helpers.serving import RunningServer, drawing_png, post_picture


def base64_of(content: bytes) -> str:
    return base64.b64encode(content).decode()


def test_a_picture_is_read_as_a_body_and_as_a_form(server: RunningServer) -> None:
    picture = drawing_png("2073")
    expected = Reader().read(picture).to_dict()
    assert expected["text"] == "2073"
    assert post_picture(server, picture).json() == expected
    assert httpx.post(f"{server.url}/v1/read", files={"file": ("a.png", picture)}).json() == expected
    digits = post_picture(server, picture, params={"seen": True}).json()["rows"][0]["digits"]
    assert [len(base64.b64decode(digit["seen"])) for digit in digits] == [784] * 4


def test_a_blank_picture_has_no_rows(server: RunningServer) -> None:
    page = post_picture(server, encoded(np.full((200, 300), 255, np.uint8))).json()
    assert (page["text"], page["rows"]) == ("", [])


def test_an_upgrade_is_ignored(server: RunningServer) -> None:
    """curl --http2 offers HTTP/2 with each request, browsers may offer it too; the body belongs to HTTP/1.1."""
    picture = drawing_png("2073")
    head = (
        b"POST /v1/read HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
        b"HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n"
    )
    with_length = head + b"Content-Length: %d\r\n\r\n" % len(picture) + picture
    chunked = head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(picture), picture)
    websocket = with_length.replace(b"h2c", b"websocket")
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.settimeout(120)
        for request in (with_length, chunked, websocket):
            for part in (request[:200], request[200:]):
                client.sendall(part)
            with HTTPResponse(client) as response:
                response.begin()
                assert (response.status, json.load(response)["text"]) == (200, "2073")
        client.sendall(b"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert client.recv(1000).startswith(b"HTTP/1.1 400")


def test_single_digits_are_recognised_as_by_the_reader(server: RunningServer) -> None:
    images, _ = some_digits(40)
    body = {"digits": base64_of(images.tobytes()), "n": 40}
    recognition = httpx.post(f"{server.url}/v1/recognise", json=body).json()
    expected = Reader().recognise(images)
    assert recognition["digits"] == expected.digits.tolist() and recognition["rejected"] == expected.rejected.tolist()
    assert np.allclose(recognition["probabilities"], expected.probabilities, atol=1e-5)


def test_concurrent_requests_get_their_own_results(server: RunningServer) -> None:
    images, _ = some_digits(60)
    expected = Reader().recognise(images).digits.tolist()

    def recognise(index: int) -> int:
        body = {"digits": base64_of(images[index].tobytes()), "n": 1}
        [digit] = httpx.post(f"{server.url}/v1/recognise", json=body).json()["digits"]
        return int(digit)

    with ThreadPoolExecutor(20) as pool:
        assert list(pool.map(recognise, range(60))) == expected


def test_a_digit_is_explained_by_its_ink(server: RunningServer) -> None:
    images, labels = some_digits(1)
    body = {"seen": base64_of(images[0].tobytes()), "digit": int(labels[0])}
    explanation = httpx.post(f"{server.url}/v1/explain", json=body).json()
    heat = np.array(explanation["heat"])
    assert heat.shape == (28, 28) and np.argmax(explanation["probabilities"]) == labels[0]
    assert heat[images[0] > 128].mean() > 3 * abs(heat[images[0] == 0]).mean()


def test_model_cards_health_and_metrics(server: RunningServer) -> None:
    model = httpx.get(f"{server.url}/v1/model").json()
    assert (model["digits"]["reads"], model["rows"]["reads"]) == ("digits", "rows")
    assert httpx.get(f"{server.url}/healthz").status_code == httpx.get(f"{server.url}/readyz").status_code == 200
    post_picture(server, b"no picture")
    metrics = httpx.get(f"{server.url}/metrics").text
    assert 'numerals_requests_total{method="POST",path="/v1/read",status="422"}' in metrics
    for name in ("numerals_seconds_bucket", "numerals_queue", "numerals_rejected_total"):
        assert name in metrics


def test_pages_load_nothing_from_other_servers(server: RunningServer) -> None:
    for path in ("/", "/docs", "/page/page.js", "/page/style.css", "/page/icon.svg"):
        response = httpx.get(server.url + path)
        assert response.status_code == 200
        assert "http:" not in response.text.replace("http://www.w3.org/2000/svg", "")
        assert "https:" not in response.text
        assert "default-src 'none'" in response.headers["content-security-policy"]
        assert "unsafe" not in response.headers["content-security-policy"]


def test_docs_describe_every_route_and_object(server: RunningServer) -> None:
    schema, page = httpx.get(f"{server.url}/openapi.json").json(), httpx.get(f"{server.url}/docs").text
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            assert f"<code>{method.upper()} {path}</code> {operation['summary']}" in page
            assert operation["description"], path
    for name, definition in schema["components"]["schemas"].items():
        assert f'<section id="{name}">' in page
        for field in definition["properties"]:
            assert f"<td><code>{field}</code></td>" in page


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("recognise", {"digits": "AAAA", "n": 1}, "digits"),
        ("recognise", {"digits": "not base64!", "n": 1}, "digits"),
        ("recognise", {"digits": "", "n": 0}, "n"),
        ("recognise", {"digits": "", "n": 1, "more": 1}, "more"),
        ("explain", {"seen": base64_of(bytes(784)), "digit": 10}, "digit"),
        ("explain", {"seen": "AAAA", "digit": 1}, "seen"),
        ("corrections", {"picture": base64_of(b"<script>"), "digit": 1}, "bytes"),
        ("corrections", {"picture": "AAAA", "digit": "1"}, "digit"),
        ("recognise", ["digits"], "body"),
    ],
)
def test_a_wrong_body_is_answered_in_one_line_that_names_the_field(
    server: RunningServer, path: str, body: object, field: str
) -> None:
    response = httpx.post(f"{server.url}/v1/{path}", json=body)
    assert response.status_code == 422
    assert list(response.json()) == ["detail"] and "\n" not in response.json()["detail"]
    assert field in response.json()["detail"].split(": ")[0]


@pytest.mark.parametrize("form", [{"data": {"file": "text"}}, {"files": {"other": b"x"}}])
def test_a_form_without_a_file_is_rejected(server: RunningServer, form: dict[str, object]) -> None:
    response = httpx.post(f"{server.url}/v1/read", **form)  # type: ignore[arg-type]
    assert response.status_code == 422
    truncated = {"content-type": "multipart/form-data; boundary=b"}
    response = httpx.post(f"{server.url}/v1/read", content=b"--b\r\nrubbish", headers=truncated)
    assert response.status_code in (400, 422)
    without_boundary = {"content-type": "multipart/form-data"}
    assert httpx.post(f"{server.url}/v1/read", content=b"x", headers=without_boundary).is_error


def test_a_wrong_method_is_answered_with_the_allowed_ones(server: RunningServer) -> None:
    response = httpx.put(f"{server.url}/v1/corrections")
    assert (response.status_code, response.headers["allow"]) == (405, "GET, POST")
    assert "GET, POST" in response.json()["detail"]


def test_the_python_example_of_the_readme_works(server: RunningServer, tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "README.md").read_text()
    [code] = [part.split("```")[0] for part in text.split("```python\n")[1:] if "/v1/read" in part.split("```")[0]]
    (tmp_path / "photo.jpg").write_bytes(drawing_png("571"))
    code = code.replace("http://127.0.0.1:8000", server.url).replace('"photo.jpg"', repr(str(tmp_path / "photo.jpg")))
    names: dict[str, object] = {}
    exec(code, names)
    assert isinstance(names["page"], dict) and names["page"]["text"] == "571"
    assert "curl --data-binary @photo.jpg http://127.0.0.1:8000/v1/read" in text
    assert json.dumps(names["page"])
