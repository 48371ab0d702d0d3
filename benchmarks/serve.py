"""Load test of `numerals serve` on loopback: /v1/read with drawings; /v1/recognise, compared with LitServe.

    python -m benchmarks.serve [--requests 10000] [--peer .venv-litserve/bin/python] [--record FILE]
    python -m benchmarks.serve --soak 600    # valid and invalid requests for 600 seconds; checks memory and open files

The client uses asyncio with plain sockets: a client library would take more processor time than the servers.
"""

import argparse
import asyncio
import base64
import itertools
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.machine import append_record, machine
from numerals.read.model_files import shipped_path
from tests.helpers.pictures import some_digits
from tests.helpers.serving import RunningServer, drawing_png, running_server

WARM_UP_REQUESTS = 50
CONCURRENCIES = (10, 100)
NO_RESPONSE = 0  # counted like a status: the connection was cut off
LITSERVE_STARTUP_SECONDS = 60


@dataclass(frozen=True)
class LoadTest:
    """Result of one load test; the fields are keys of the record file."""

    program: str
    path: str
    requests: int
    concurrency: int
    errors: int  # responses other than 200, and missing ones
    p50_ms: float
    p99_ms: float
    requests_per_second: float


def post_request(path: str, body: bytes, content_type: str) -> bytes:
    """Encode a POST request as HTTP/1.1."""
    lines = (
        f"POST {path} HTTP/1.1",
        "Host: 127.0.0.1",
        f"Content-Type: {content_type}",
        f"Content-Length: {len(body)}",
    )
    return "\r\n".join((*lines, "", "")).encode() + body


async def read_status(reader: asyncio.StreamReader) -> int:
    """Read one response to its end and return its status."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
    await reader.readexactly(length)
    return int(head.split(b" ", 2)[1])


async def send_requests(
    port: int, requests: list[bytes], count: int, concurrency: int
) -> tuple[list[float], Counter[int], float]:
    """Send `count` requests over `concurrency` connections.

    Returns:
        Seconds of each request, how often each status came, seconds in total.
    """
    seconds: list[float] = []
    statuses: Counter[int] = Counter()
    numbers = iter(range(count))

    async def run_client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for number in numbers:
            started = time.perf_counter()
            writer.write(requests[number % len(requests)])
            try:
                statuses[await read_status(reader)] += 1
            except (OSError, EOFError):
                statuses[NO_RESPONSE] += 1
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            seconds.append(time.perf_counter() - started)
        writer.close()

    started = time.perf_counter()
    await asyncio.gather(*(run_client() for _ in range(concurrency)))
    return seconds, statuses, time.perf_counter() - started


def measure_load(program: str, port: int, path: str, requests: list[bytes], count: int, concurrency: int) -> LoadTest:
    """Run one load test, after a warm-up."""
    asyncio.run(send_requests(port, requests, WARM_UP_REQUESTS, concurrency=5))
    seconds, statuses, total_seconds = asyncio.run(send_requests(port, requests, count, concurrency))
    percentiles = statistics.quantiles(seconds, n=100)
    errors = sum(number for status, number in statuses.items() if status != 200)
    p50, p99 = (round(1000 * percentiles[index], 1) for index in (49, 98))
    return LoadTest(program, path, count, concurrency, errors, p50, p99, round(count / total_seconds, 1))


def single_digit_requests(path: str) -> list[bytes]:
    bodies = ({"digits": base64.b64encode(image.tobytes()).decode(), "n": 1} for image in some_digits()[0])
    return [post_request(path, json.dumps(body).encode(), "application/json") for body in bodies]


def drawing_requests() -> list[bytes]:
    numbers = ("2", "10", "571", "2073")
    return [post_request("/v1/read", drawing_png(number, seed), "image/png") for seed, number in enumerate(numbers)]


def measure_litserve(python: Path, count: int, report: Callable[[LoadTest], None]) -> None:
    """Test LitServe with the same ONNX file, in an environment of its own, on a free port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    command = [python, "benchmarks/peers/litserve_recognise.py", shipped_path(), port]
    requests = single_digit_requests("/predict")
    with (
        tempfile.TemporaryFile() as output,
        subprocess.Popen(list(map(str, command)), stdout=output, stderr=output, start_new_session=True) as process,
    ):
        try:
            deadline = time.monotonic() + LITSERVE_STARTUP_SECONDS
            while time.monotonic() < deadline:
                try:
                    asyncio.run(send_requests(port, requests, 1, 1))
                    break
                except OSError:
                    if process.poll() is not None:
                        sys.exit(f"{python}: LitServe exited with {process.returncode} before it answered a request")
                    time.sleep(0.1)
            for concurrency in CONCURRENCIES:
                report(measure_load("LitServe 0.2.19", port, "/predict", requests, count, concurrency))
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # SIGTERM would leave its workers behind


def soak(server: RunningServer, seconds: float) -> None:
    """Send valid and invalid requests; exit with 1 if memory or open files grow, or an unexpected status comes."""
    requests = [*drawing_requests(), *single_digit_requests("/v1/recognise")[:8]]
    requests += [
        post_request("/v1/read", drawing_png("31")[:400], "image/png"),
        post_request("/v1/recognise", b"{", "application/json"),
        post_request("/nowhere", b"x", "text/plain"),
        post_request("/v1/read", b"GIF89a" * 9, "image/gif"),
    ]
    asyncio.run(send_requests(server.port, requests, 400, 20))
    memory, files, statuses = server.memory_mebibytes(), server.open_files(), Counter[int]()
    deadline = time.monotonic() + seconds
    for concurrency in itertools.cycle((5, 20, 60)):
        statuses += asyncio.run(send_requests(server.port, requests, 600, concurrency))[1]
        if time.monotonic() > deadline:
            break
    time.sleep(1)
    more_memory, more_files = server.memory_mebibytes() - memory, server.open_files() - files
    print(
        f"{sum(statuses.values())} requests {dict(statuses)}; "
        f"memory {more_memory:+.0f} MiB from {memory:.0f} MiB; open files {more_files:+d}"
    )
    unexpected = [status for status in statuses if status == NO_RESPONSE or (status >= 500 and status != 503)]
    if more_memory > 50 or more_files > 5 or unexpected:
        sys.exit(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=10_000, help="requests per load test (default: 10000)")
    parser.add_argument("--peer", type=Path, help="Python of an environment with benchmarks/peers/litserve.txt")
    parser.add_argument("--record", type=Path, help="append each result to this file, as a line of JSON")
    parser.add_argument("--only", choices=("read", "recognise"), help="test only this route")
    parser.add_argument("--soak", type=float, metavar="SECONDS", help="run the soak test instead, for this long")
    options = parser.parse_args()

    def report(result: LoadTest) -> None:
        print(json.dumps(asdict(result)), flush=True)
        if options.record:
            append_record(options.record, {**asdict(result), "machine": machine()})

    with tempfile.TemporaryDirectory() as folder, running_server(Path(folder)) as server:
        if options.soak:
            soak(server, options.soak)
            return
        routes = {"/v1/read": drawing_requests(), "/v1/recognise": single_digit_requests("/v1/recognise")}
        for path, requests in routes.items():
            if options.only is None or path.endswith(f"/{options.only}"):
                for concurrency in CONCURRENCIES:
                    report(measure_load("numerals serve", server.port, path, requests, options.requests, concurrency))
    if options.peer and options.only != "read":
        measure_litserve(options.peer, options.requests, report)


if __name__ == "__main__":
    main()
