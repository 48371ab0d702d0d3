"""How `numerals serve` bears load, on loopback: /v1/read with drawings, and /v1/recognise next to LitServe.

    python -m benchmarks.serve [--requests 10000] [--peer .venv-litserve/bin/python] [--record FILE]
    python -m benchmarks.serve --soak 600    good and bad load for so many seconds; memory and open files watched

The client is asyncio with plain sockets, in this process: a client library would take more time than the servers.
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

from benchmarks.machine import machine
from numerals.read.model_files import shipped_path
from tests.helpers.pictures import some_digits
from tests.helpers.serving import Served, drawing, served

WARM = 50  # requests before it counts
CUT_OFF = 0  # the status of a request that got none


@dataclass(frozen=True)
class Load:
    """What one run of requests came to."""

    program: str
    path: str
    requests: int
    concurrency: int
    errors: int
    p50_ms: float
    p99_ms: float
    requests_per_second: float


def http(path: str, body: bytes, kind: str) -> bytes:
    """A POST as it goes over the wire."""
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def answer(reader: asyncio.StreamReader) -> int:
    """The status of one response, which is read to its end."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
    await reader.readexactly(length)
    return int(head.split(b" ", 2)[1])


async def load(
    port: int, requests: list[bytes], count: int, concurrency: int
) -> tuple[list[float], Counter[int], float]:
    """Seconds of each, how often each status, and seconds of all."""
    seconds: list[float] = []
    statuses: Counter[int] = Counter()
    left = iter(range(count))

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for number in left:
            started = time.perf_counter()
            writer.write(requests[number % len(requests)])
            try:
                statuses[await answer(reader)] += 1
            except (OSError, EOFError):  # cut off: an error, and a new connection
                statuses[CUT_OFF] += 1
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            seconds.append(time.perf_counter() - started)
        writer.close()

    started = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(concurrency)))
    return seconds, statuses, time.perf_counter() - started


def measured(program: str, port: int, path: str, requests: list[bytes], count: int, concurrency: int) -> Load:
    asyncio.run(load(port, requests, WARM, concurrency=5))
    seconds, statuses, whole = asyncio.run(load(port, requests, count, concurrency))
    hundredths = statistics.quantiles(seconds, n=100)
    errors = sum(number for status, number in statuses.items() if status != 200)
    p50, p99 = (round(1000 * hundredths[place], 1) for place in (49, 98))
    return Load(program, path, count, concurrency, errors, p50, p99, round(count / whole, 1))


def singles(path: str) -> list[bytes]:
    bodies = ({"digits": base64.b64encode(image.tobytes()).decode(), "n": 1} for image in some_digits()[0])
    return [http(path, json.dumps(body).encode(), "application/json") for body in bodies]


def drawings() -> list[bytes]:
    return [http("/v1/read", drawing(text, seed), "image/png") for seed, text in enumerate(("2", "10", "571", "2073"))]


def beside(peer: Path, count: int, say: Callable[[Load], None]) -> None:
    """LitServe, in its own environment, on a port that nobody else has."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [peer, "benchmarks/peers/litserve_recognise.py", shipped_path(), port]
    with (
        tempfile.TemporaryFile() as said,
        subprocess.Popen(list(map(str, command)), stdout=said, stderr=said, start_new_session=True) as process,
    ):
        try:
            for _ in range(600):
                try:
                    asyncio.run(load(port, singles("/predict"), 1, 1))
                    break
                except OSError:
                    if process.poll() is not None:
                        sys.exit(f"{peer}: LitServe has ended with {process.returncode} before it answered")
                    time.sleep(0.1)
            for concurrency in (10, 100):
                say(measured("LitServe 0.2.19", port, "/predict", singles("/predict"), count, concurrency))
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # terminate leaves its workers behind


def soak(server: Served, seconds: float) -> None:
    """Good and bad requests, mixed; prints memory and open files as it goes, and fails where they grow."""
    good = [*drawings(), *singles("/v1/recognise")[:8]]
    bad = [http("/v1/read", drawing("31")[:400], "image/png"), http("/v1/recognise", b"{", "application/json")]
    bad += [http("/nowhere", b"x", "text/plain"), http("/v1/read", b"GIF89a" * 9, "image/gif")]
    asyncio.run(load(server.port, [*good, *bad], 400, 20))
    before, files, statuses = server.mebibytes(), server.open_files(), Counter[int]()
    until = time.monotonic() + seconds
    for turn in itertools.count():
        _, found, _ = asyncio.run(load(server.port, [*good, *bad], 600, (5, 20, 60)[turn % 3]))
        statuses += found
        if time.monotonic() > until:
            break
    time.sleep(1)
    grown, more = server.mebibytes() - before, server.open_files() - files
    print(
        f"{sum(statuses.values())} requests {dict(statuses)}; memory {grown:+.0f} MiB of {before:.0f}; files {more:+d}"
    )
    if grown > 50 or more > 5 or any(status == CUT_OFF or (status >= 500 and status != 503) for status in statuses):
        sys.exit(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--peer", type=Path, help="python of an environment with benchmarks/peers/litserve.txt")
    parser.add_argument("--record", type=Path, help="keep the figures here too, a line of JSON each")
    parser.add_argument("--only", choices=("read", "recognise"))
    parser.add_argument("--soak", type=float, metavar="SECONDS")
    asked = parser.parse_args()

    def say(found: Load) -> None:
        print(json.dumps(asdict(found)), flush=True)
        if asked.record:
            with open(asked.record, "a") as file:
                file.write(json.dumps({**asdict(found), "machine": machine()}) + "\n")

    with tempfile.TemporaryDirectory() as folder, served(Path(folder)) as server:
        if asked.soak:
            soak(server, asked.soak)
            return
        if asked.only != "recognise":
            for concurrency in (10, 100):
                say(measured("numerals serve", server.port, "/v1/read", drawings(), asked.requests, concurrency))
        if asked.only != "read":
            for concurrency in (10, 100):
                requests = singles("/v1/recognise")
                say(measured("numerals serve", server.port, "/v1/recognise", requests, asked.requests, concurrency))
    if asked.peer and asked.only != "read":
        beside(asked.peer, asked.requests, say)


if __name__ == "__main__":
    main()
