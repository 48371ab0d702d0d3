"""A real server for tests: `numerals serve` in a process of its own, at a free port of this machine."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.helpers.pages import blank, write
from tests.helpers.pictures import encoded


@dataclass
class Served:
    """A server that answers, and what it said on stderr."""

    process: "subprocess.Popen[str]"
    url: str
    corrections: Path
    said: list[str] = field(default_factory=list)

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def processes(self) -> list[int]:
        """Its own and those that it started."""
        found = [self.process.pid]
        for pid in found:
            for children in Path(f"/proc/{pid}/task").glob("*/children"):
                found += map(int, children.read_text().split())
        return found

    def mebibytes(self) -> float:
        """What all its processes hold."""
        pages = [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in self.processes()]
        return sum(pages) * os.sysconf("SC_PAGE_SIZE") / 2**20

    def open_files(self) -> int:
        return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in self.processes())


@contextmanager
def served(folder: Path, *options: object, **env: str) -> Iterator[Served]:
    """A server until the block ends; it must have said nothing but where it is."""
    corrections = folder / "corrections.sqlite"
    command = [sys.executable, "-m", "numerals", "serve", "--port", "0", "--corrections", corrections, *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **env}
    with subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        try:
            line = process.stderr.readline()
            found = re.search(r"http://\S+:\d+", line)
            assert found, line + process.stderr.read()
            server = Served(process, found[0], corrections)
            threading.Thread(target=server.said.extend, args=(process.stderr,), daemon=True).start()
            yield server
        finally:
            if process.poll() is None:
                process.kill()
    assert not [line for line in server.said if "Traceback" in line], server.said


def drawing(text: str, seed: int = 0, height: int = 60) -> bytes:
    """A drawing of a number, as the page sends it: black on white."""
    page = blank(280, 480, 255, 0)
    write(page, text, 30, 60, height, ink=235, seed=seed)
    return encoded(page.grey)


def read(server: Served, picture: bytes, **options: object) -> httpx.Response:
    return httpx.post(f"{server.url}/v1/read", content=picture, timeout=15, **options)  # type: ignore[arg-type]
