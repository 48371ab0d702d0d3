"""Who may send requests (Host, Origin, token), and hostile input: malformed pictures, fuzzed requests."""

import contextlib
import io
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from numerals.errors import InputError
from numerals.server.settings import ServerSettings
from tests.conftest import NUMERALS, run_quietly
from tests.helpers.pictures import encoded
from tests.helpers.serving import RunningServer, drawing_png, post_picture, running_server

# Access


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", "10.0.0.1"])
def test_a_forged_host_is_rejected(server: RunningServer, host: str) -> None:
    assert httpx.get(f"{server.url}/healthz", headers={"Host": host}).status_code == 403


@pytest.mark.parametrize("origin", ["null", "https://evil.example", "http://127.0.0.1:1", "http://[", ""])
def test_a_foreign_page_may_not_post(server: RunningServer, origin: str) -> None:
    response = post_picture(server, drawing_png("1"), headers={"Origin": origin})
    assert response.status_code == 403
    assert "access-control-allow-origin" not in response.headers
    assert post_picture(server, drawing_png("2"), headers={"Origin": server.url}).status_code == 200


def test_only_the_token_opens_the_api(tmp_path: Path) -> None:
    with running_server(tmp_path, NUMERALS_TOKEN="a-secret") as server:
        for headers in ({}, {"Authorization": "Bearer another"}, {"Authorization": "a-secret"}):
            response = httpx.get(f"{server.url}/v1/model", headers=headers)
            assert response.status_code == 401 and "Authorization: Bearer TOKEN" in response.json()["detail"]
        assert httpx.get(f"{server.url}/v1/model", headers={"Authorization": "Bearer a-secret"}).status_code == 200
        assert httpx.get(f"{server.url}/metrics").status_code == 401
        assert httpx.get(f"{server.url}/").status_code == httpx.get(f"{server.url}/healthz").status_code == 200
        assert server.stop() == 0


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_serving_other_machines_needs_a_token(host: str) -> None:
    done = run_quietly((*NUMERALS, "serve", "--host", host))
    assert (done.returncode, done.stdout) == (2, "")
    assert "--token" in done.stderr and "--insecure" in done.stderr
    ServerSettings(host=host, token="secret").check()
    ServerSettings(host=host, insecure=True).check()
    with pytest.raises(InputError):
        ServerSettings(host=host, token=" ").check()


def test_which_hosts_are_accepted() -> None:
    local, public = ServerSettings(host_names=("numbers.example",)), ServerSettings(host="0.0.0.0")
    accepted = ("127.0.0.1:8000", "localhost", "LOCALHOST.:1", "[::1]:8000", "numbers.example")
    assert all(map(local.accepts_host, accepted))
    assert not any(map(local.accepts_host, ("", "192.168.0.7", "other.example", "[fe80::1]")))
    assert public.accepts_host("192.168.0.7:8000") and not public.accepts_host("other.example")


def test_a_port_in_use_is_reported_in_one_line(server: RunningServer) -> None:
    done = run_quietly((*NUMERALS, "serve", "--port", server.port))
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and str(server.port) in done.stderr


# Hostile input


def hostile_pictures() -> Iterator[bytes]:
    """Truncated and corrupted files, wrong headers, decompression bombs, polyglots."""
    rng = np.random.default_rng(0)
    page = np.asarray(Image.open(io.BytesIO(drawing_png("3141"))))
    for form in ("PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP", "PPM"):
        valid = encoded(page, form)
        yield from (valid[: int(len(valid) * share)] for share in (0.02, 0.1, 0.5, 0.9, 0.99))
        for _ in range(12):
            corrupted = bytearray(valid)
            for index in rng.integers(0, min(len(corrupted), 200), 6):
                corrupted[index] = rng.integers(256)
            yield bytes(corrupted)
        yield valid + b"%PDF-1.7 <script>alert(1)</script>" + valid
        yield b"GIF89a" + valid
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
    with running_server(tmp_path) as server:
        post_picture(server, drawing_png("2"))
        memory, peak = server.memory_mebibytes(), 0.0
        for picture in hostile_pictures():
            before = server.cpu_seconds()
            status = post_picture(server, picture).status_code
            seconds = server.cpu_seconds() - before
            peak = max(peak, server.memory_mebibytes())
            assert status == 200 or 400 <= status < 500, picture[:60]
            assert seconds < 2, (seconds, picture[:60])
        assert peak - memory < 400, (memory, peak)
        assert post_picture(server, drawing_png("2")).json()["text"] == "2"
        assert server.stop() == 0


# Whole pages of print: well-formed, but much to read, so only the limit of any response holds for them.
DENSE_PAGES = ("pport_g4.tif", "total-pages-zero.tif")


@pytest.fixture(scope="module")
def pillow_pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Pillow's own test pictures, from its source package, which pip downloads and does not build."""
    folder = tmp_path_factory.mktemp("pillow")
    lines = (Path(__file__).parents[2] / "constraints.txt").read_text().splitlines()
    [pinned] = [line for line in lines if line.startswith("pillow==")]
    fetch = [sys.executable, "-m", "pip", "download", pinned, "--no-deps", "--no-binary", "pillow", "--dest", folder]
    # pip also builds the package's metadata, which may fail for want of build tools; --no-clean leaves the sources
    command = [*map(str, fetch), "--no-build-isolation", "--no-clean"]
    with contextlib.suppress(subprocess.TimeoutExpired):
        subprocess.run(
            command, env={**os.environ, "TMPDIR": str(folder)}, capture_output=True, timeout=120, check=False
        )
    pictures = sorted(path for path in folder.glob("*/*/Tests/images/**/*") if path.is_file())
    if not pictures:
        pytest.skip(f"pip cannot download the source package of {pinned} here")
    return pictures


@pytest.mark.slow
def test_pillows_own_hostile_pictures_cost_one_answer_each(pillow_pictures: list[Path], tmp_path: Path) -> None:
    assert len(pillow_pictures) > 500 and any(path.name.startswith("crash") for path in pillow_pictures)
    with running_server(tmp_path) as server:
        post_picture(server, drawing_png("2"))
        memory, peak, statuses = server.memory_mebibytes(), 0.0, Counter[int]()
        for path in pillow_pictures:
            before = server.cpu_seconds()
            status = post_picture(server, path.read_bytes()).status_code
            seconds = server.cpu_seconds() - before
            statuses[status] += 1
            peak = max(peak, server.memory_mebibytes())
            assert status == 200 or 400 <= status < 500, path.name
            assert seconds < (10 if path.name in DENSE_PAGES else 2), (seconds, path.name)
        assert peak - memory < 400, (memory, peak)
        assert statuses[200] > 100 and statuses[422] > 100, statuses
        assert post_picture(server, drawing_png("2")).json()["text"] == "2"
        assert server.stop() == 0


@pytest.mark.slow
def test_schemathesis_finds_nothing(tmp_path: Path) -> None:
    """All checks, 500 examples per operation, with real pictures among them: tests/helpers/fuzz_serve.py."""
    with running_server(tmp_path) as server:
        command = [sys.executable, "-m", "pytest", "-q", "tests/helpers/fuzz_serve.py"]
        environment = {**os.environ, "NUMERALS_URL": server.url}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1200, check=False)
        assert done.returncode == 0, done.stdout[-6000:]
        assert server.stop() == 0
