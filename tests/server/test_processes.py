"""The processes of a server when one is killed, cannot be started, or gets a signal that others get too."""

import io
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import resources
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.conftest import NUMERALS, run_quietly
from tests.helpers.descriptors import leave_descriptors
from tests.helpers.serving import RunningServer, drawing_png, post_picture, running_server
from tests.helpers.waiting import PATIENCE, wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc")


def pids_of(server: RunningServer, module: str) -> list[int]:
    """Process ids of the server's workers (spawn_main) or decoding processes (numerals.read.sandbox)."""
    return [pid for pid in server.pids() if module in Path(f"/proc/{pid}/cmdline").read_text()]


def workers(server: RunningServer) -> list[int]:
    return pids_of(server, "spawn_main")


def decoders(server: RunningServer) -> list[int]:
    return pids_of(server, "numerals.read.sandbox")


def kill_decoder(server: RunningServer) -> None:
    (pid,) = pids_of(server, "numerals.read.sandbox")
    os.kill(pid, signal.SIGKILL)


# The decoding process


def test_an_idle_decoder_that_was_killed_costs_no_answer(server: RunningServer) -> None:
    picture = drawing_png("571")
    assert post_picture(server, picture).json()["text"] == "571"
    for _ in range(3):
        kill_decoder(server)
        assert post_picture(server, picture).json()["text"] == "571"


def test_with_no_file_descriptors_left_it_is_not_ready_and_recovers(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    picture = drawing_png("571")
    with running_server(tmp_path) as server, httpx.Client(base_url=server.url, timeout=PATIENCE) as client:
        before = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
        assert client.post("/v1/read", content=picture).status_code == 200
        for _ in range(2):
            assert client.get("/readyz").status_code == 200
            leave_descriptors(server.process.pid, 2)
            assert client.post("/v1/read", content=picture).status_code == 200  # it has all that it needs
            kill_decoder(server)
            for _ in range(3):
                response = client.post("/v1/read", content=picture)
                assert response.status_code == 503 and "Too many open files" in response.json()["detail"]
                assert client.get("/readyz").status_code == 503
                assert client.get("/healthz").status_code == 200
            resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, before)
            assert client.post("/v1/read", content=picture).json()["text"] == "571"
        leave_descriptors(server.process.pid, 2)
        kill_decoder(server)
        assert client.post("/v1/read", content=picture).status_code == 503
        assert server.stop() == 0


def test_a_form_needs_no_disk(tmp_path: Path) -> None:
    """As if the disk were full: the server may not write a byte to any file."""
    resource = pytest.importorskip("resource")
    noise = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (1200, 1200, 3), np.uint8)).save(noise, "PNG")
    with running_server(tmp_path) as server:
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (0, 0))
        assert noise.tell() > 4_000_000
        response = httpx.post(f"{server.url}/v1/read", files={"file": noise.getvalue()}, timeout=PATIENCE)
        assert response.status_code == post_picture(server, noise.getvalue()).status_code == 200
        assert server.stop() == 0


# Workers


def has_other_workers(server: RunningServer, killed: list[int]) -> bool:
    running = workers(server)
    return len(running) == len(killed) and not set(running) & set(killed)


def test_all_workers_killed_at_once_are_replaced(tmp_path: Path) -> None:
    picture = drawing_png("20")
    with running_server(tmp_path, "--workers", 2, TMPDIR=str(tmp_path)) as server:
        for _ in range(2):  # the second time they have run for a moment only
            killed = workers(server)
            assert len(killed) == 2
            for pid in killed:
                os.kill(pid, signal.SIGKILL)
            wait_until(partial(has_other_workers, server, killed), "others run")
            assert post_picture(server, picture).json()["text"] == "20"
            wait_until(lambda: len(decoders(server)) == 2, "both have started")
            for pid in killed:
                assert any(f"worker process {pid} ended (SIGKILL)" in line for line in server.stderr_lines)
                assert not list(tmp_path.glob(f"numerals-serve-*/gauge_live*_{pid}.db"))
        assert server.stop() == 0


def both_end(server: RunningServer, plan: str) -> bool:
    """Whether both workers have ended for want of their model, and the server does this next."""
    lines = [line for line in server.stderr_lines if "model.onnx: cannot be read" in line and plan in line]
    return len(lines) == 2


@pytest.mark.slow
def test_workers_that_end_as_they_start_are_started_later_and_later(tmp_path: Path) -> None:
    """The service survives that, and goes on when what they need is there again."""
    model = tmp_path / "model.onnx"
    for suffix in (".onnx", ".json"):
        included = resources.files("numerals") / "weights" / f"reader{suffix}"
        model.with_suffix(suffix).write_bytes(included.read_bytes())
    with running_server(tmp_path, "--workers", 2, "--model", model) as server:
        model.rename(tmp_path / "hidden.onnx")
        for pid in workers(server):
            os.kill(pid, signal.SIGKILL)
        for delay in (2, 4):
            wait_until(partial(both_end, server, f"the next worker starts in {delay} s"), "both end again")
        (tmp_path / "hidden.onnx").rename(model)
        assert post_picture(server, drawing_png("20")).json()["text"] == "20"
        assert server.stop() == 0


@pytest.mark.parametrize("count", [1, 2])
def test_a_server_that_cannot_start_ends_with_one_line(count: int, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no model")
    command = (*NUMERALS, "serve", "--port", 0, "--workers", count, "--model", tmp_path / "model.onnx")
    done = run_quietly(command)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "model.onnx: not ONNX, or damaged" in done.stderr


@pytest.mark.parametrize("count", [1, 2])
def test_a_killed_server_leaves_no_process_and_no_listener(count: int, tmp_path: Path) -> None:
    with running_server(tmp_path, "--workers", count) as server:
        assert post_picture(server, drawing_png("20")).status_code == 200
        pids = server.pids()
        assert len(pids) >= 2 * count
        server.process.kill()
        server.process.wait(PATIENCE)
        wait_until(lambda: not [pid for pid in pids if Path(f"/proc/{pid}").exists()], "its processes have ended")
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", server.port))


# Signals


@pytest.mark.parametrize(
    ("count", "number"),
    [(1, signal.SIGHUP), (1, signal.SIGTERM), (2, signal.SIGINT), (2, signal.SIGHUP), (2, signal.SIGTERM)],
)
def test_a_signal_to_all_processes_loses_no_accepted_request(
    count: int, number: signal.Signals, tmp_path: Path
) -> None:
    """As a terminal sends Ctrl-C and SIGHUP, and a service manager SIGTERM."""
    picture, half_sent, signalled = drawing_png("571"), threading.Event(), threading.Event()

    def late_body() -> Iterator[bytes]:
        yield picture[:100]
        half_sent.set()
        signalled.wait(PATIENCE)
        yield picture[100:]

    with running_server(tmp_path, "--workers", count) as server, ThreadPoolExecutor(1) as pool:
        late = pool.submit(httpx.post, f"{server.url}/v1/read", content=late_body(), timeout=PATIENCE)
        assert half_sent.wait(PATIENCE)
        with httpx.Client(base_url=server.url, timeout=PATIENCE) as client:
            for pid in server.pids():
                os.kill(pid, number)
            wait_until(lambda: client.get("/readyz").status_code == 503, "it is not ready")
        if number == signal.SIGHUP:  # a closed terminal sends it, and so does its shell
            server.process.send_signal(number)
        signalled.set()
        assert late.result().status_code == 200
        assert server.process.wait(PATIENCE) == 0


def test_started_to_outlive_its_terminal_it_does(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does; what a process ignores, its children do too
    try:
        with running_server(tmp_path) as server:
            server.process.send_signal(signal.SIGHUP)
            assert post_picture(server, drawing_png("20")).status_code == 200
            assert server.stop() == 0
    finally:
        signal.signal(signal.SIGHUP, before)
