"""Starts a real server for tests: `numerals serve` in a process of its own, on a free port of this machine."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.helpers.pages import blank, write
from tests.helpers.pictures import encoded


@dataclass
class RunningServer:
    """A server that accepts requests, its file of corrections, and the lines on its stderr."""

    process: "subprocess.Popen[str]"
    url: str
    corrections: Path
    stderr_lines: list[str] = field(default_factory=list)

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def stop(self) -> int:
        """Send SIGTERM, wait, and return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(120)

    def pids(self) -> list[int]:
        """Process ids of the server and its descendants."""
        pids = [self.process.pid]
        for pid in pids:
            for children in Path(f"/proc/{pid}/task").glob("*/children"):
                with suppress(FileNotFoundError, ProcessLookupError):  # the thread has ended meanwhile
                    pids += map(int, children.read_text().split())
        return pids

    def memory_mebibytes(self) -> float:
        """Resident memory of all its processes."""
        pages = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in self.pids()]
        return sum(pages) * os.sysconf("SC_PAGE_SIZE") / 2**20

    @contextmanager
    def watched_memory(self) -> Iterator[list[float]]:
        """Yield a list that gets the peak of the first process's resident memory, in mebibytes, during the block."""
        peak: list[float] = []
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")
        yield peak
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        peak.append(int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) / 2**10)

    def cpu_seconds(self) -> float:
        """Processor time of all its processes and of those that ended: unlike wall time, little of it is others'."""
        stats = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in self.pids()]
        return sum(int(ticks) for fields in stats for ticks in fields[11:15]) / os.sysconf("SC_CLK_TCK")

    def open_files(self) -> int:
        return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in self.pids())


@contextmanager
def running_server(folder: Path, *options: object, under: Sequence[object] = (), **env: str) -> Iterator[RunningServer]:
    """Run a server until the block ends; fail if there is a traceback on its stderr.

    Args:
        folder: gets the file of corrections.
        options: of `numerals serve`.
        under: a command that starts it, such as strace.
        env: further environment variables.
    """
    corrections = folder / "corrections.sqlite"
    command = [*under, sys.executable, "-m", "numerals", "serve", "--port", "0", "--corrections", corrections, *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **env}
    with subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        try:
            first_line = process.stderr.readline()
            match = re.search(r"http://\S+:\d+", first_line)
            assert match, first_line + process.stderr.read()
            server = RunningServer(process, match[0], corrections)
            threading.Thread(target=server.stderr_lines.extend, args=(process.stderr,), daemon=True).start()
            yield server
        finally:
            if process.poll() is None:
                process.kill()
    assert not [line for line in server.stderr_lines if "Traceback" in line], server.stderr_lines


def drawing_png(number: str, seed: int = 0, height: int = 60) -> bytes:
    """A drawing of a number as the web page sends it: PNG, black on white."""
    page = blank(280, 480, 255, 0)
    write(page, number, 30, 60, height, ink=235, seed=seed)
    return encoded(page.grey)


def other_client(server: RunningServer, **options: object) -> httpx.Client:
    """A client with another address than everybody else's; `options` are httpx's."""
    transport = httpx.HTTPTransport(local_address="127.0.0.2")
    return httpx.Client(base_url=server.url, transport=transport, timeout=120, **options)  # type: ignore[arg-type]


def post_picture(server: RunningServer, picture: bytes, **options: object) -> httpx.Response:
    """POST a picture file to /v1/read; `options` are httpx's."""
    return httpx.post(f"{server.url}/v1/read", content=picture, timeout=120, **options)  # type: ignore[arg-type]
