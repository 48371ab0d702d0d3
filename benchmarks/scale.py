"""How fast `numerals read-many` reads, how much memory it takes, whether it loses anything: figures of docs/scale.md.

    python -m benchmarks.scale speed --pictures 16000             two actors beside twice one Reader, a thread each
    python -m benchmarks.scale memory --pictures 1000000          memory over the whole job; hours
    python -m benchmarks.scale killed --pictures 20000            a worker killed every 20 seconds, equal to none killed
    python -m benchmarks.scale killed --nodes 3 --workers 3       the same on a simulated cluster of three nodes

The pictures are MNIST's test digits as PNG of 28x28 pixels, in a Parquet table that is made first. Run it alone.
"""

import argparse
import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.machine import conditions, keep
from numerals.article.data import load_mnist
from numerals.read.reader import Reader
from tests.helpers.clusters import cluster, of_token

ACTOR = "ReadParts"
GROUP = 5000  # rows of a row group
EVERY = 20.0  # seconds between two kills


def pictures(count: int) -> Iterator[bytes]:
    """PNG files of 28x28 pixels, dark ink on paper that is not always as white."""
    (_, _), (digits, _) = load_mnist()
    for number in range(count):
        paper = 235 - number // len(digits) % 60
        yield cv2.imencode(".png", (paper - digits[number % len(digits)] * (paper / 300)).astype(np.uint8))[1].tobytes()


def make_table(path: Path, count: int) -> None:
    made = pictures(count)
    schema = pa.schema([("picture", pa.binary())])
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, count, GROUP):
            rows = [next(made) for _ in range(min(GROUP, count - start))]
            writer.write_table(pa.table({"picture": rows}, schema))


def one_reader(count: int = 2500) -> tuple[float, float]:
    """Pictures a second of one Reader with one thread, in this process; and a second of the processor's."""
    cv2.setNumThreads(1)
    reader, made = Reader(threads=1), list(pictures(count + 100))
    for picture in made[:100]:
        reader.read(picture)
    began, processor = time.perf_counter(), time.process_time()
    for picture in made[100:]:
        reader.read(picture)
    return count / (time.perf_counter() - began), count / (time.process_time() - processor)


class Watch:
    """Memory of a job's processes and how far it is, every second; kills a worker every `every` seconds."""

    def __init__(self, pid: int, cluster: int, out: Path, every: float | None) -> None:
        self.curve: list[dict[str, float]] = []
        self.killed = 0
        self.busy: dict[int, float] = {}  # seconds of the processor's that each actor took
        self._pid, self._cluster, self._out, self._every = pid, cluster, out, every
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        began = last = time.monotonic()
        while not self._stop.wait(1):
            found = tree(self._pid) | tree(self._cluster)
            memory = {"driver": 0.0, "actors": 0.0, "ray": 0.0}
            actors = []
            for pid, (command, resident) in found.items():
                kind = "driver" if pid == self._pid else "actors" if ACTOR in command else "ray"
                memory[kind] += resident
                if kind == "actors":
                    actors.append(pid)
                    self.busy[pid] = processor_seconds(pid) or self.busy.get(pid, 0.0)
            parts = sum(1 for _ in self._out.glob("part-*"))
            self.curve.append({"seconds": time.monotonic() - began, "parts": parts, **memory})
            if self._every and actors and parts and time.monotonic() - last > self._every:
                last = time.monotonic()
                with contextlib.suppress(ProcessLookupError):
                    os.kill(actors[self.killed % len(actors)], signal.SIGKILL)
                    self.killed += 1


def tree(root: int) -> dict[int, tuple[str, float]]:
    """Every process below and with `root`: its command, its own resident MiB (without shared memory)."""
    parents, commands = {}, {}
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            parents[int(path.name)] = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            resident, shared = map(int, (path / "statm").read_text().split()[1:3])
            command = (path / "cmdline").read_bytes().decode(errors="replace")
            commands[int(path.name)] = (command, (resident - shared) * os.sysconf("SC_PAGESIZE") / 2**20)
    below = {root}
    while more := {pid for pid, parent in parents.items() if parent in below} - below:
        below |= more
    return {pid: commands[pid] for pid in below if pid in commands}


def processor_seconds(pid: int) -> float:
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0


def job(
    table: Path, out: Path, workers: int, part: int, address: str | None, cluster: int, every: float | None = None
) -> dict[str, Any]:
    """A whole `numerals read-many`, watched; `cluster` is the process that Ray's nodes belong to, if not the job's."""
    command = [sys.executable, "-m", "numerals", "read-many", str(table), "--out", str(out)]
    command += ["--address", address] if address else []
    environment = {**os.environ, **(of_token() if address else {})}
    began = time.perf_counter()
    with subprocess.Popen([*command, "--workers", str(workers), "--part", str(part)], env=environment) as process:
        watch = Watch(process.pid, cluster or process.pid, out, every)
        code = process.wait()
        watch.stop()
    seconds = time.perf_counter() - began
    assert code == 0, code
    working = [point for point in watch.curve if point["parts"]]
    # from the first second with a part to the first with all: what Ray's start and end take is in `seconds`
    last = next(point for point in working if point["parts"] == working[-1]["parts"])
    steady = (last["parts"] - working[0]["parts"]) * part / (last["seconds"] - working[0]["seconds"])
    total = [sum(point[kind] for kind in ("driver", "actors", "ray")) for point in working]
    tenths = [working[round(at * (len(working) - 1) / 10)] for at in range(11)]
    return {
        "workers": workers,
        "pictures": pq.read_metadata(table).num_rows,
        "records": pq.read_table(out, columns=["picture"]).num_rows,
        "seconds": round(seconds, 1),
        "pictures_a_second": round(steady, 1),
        "pictures_a_cpu_second": round(pq.read_metadata(table).num_rows / sum(watch.busy.values()), 1),
        "killed": watch.killed,
        "most_mib": round(max(total)),
        "curve_mib": [{name: round(value) for name, value in point.items()} for point in tenths],
        "hash": content_hash(out),
    }


def content_hash(out: Path) -> str:
    """Of all records in order: equal where the same pictures were read to the same end."""
    digest = hashlib.sha256()
    for path in sorted(out.glob("part-*.parquet")):
        for record in pq.read_table(path).to_pylist():
            digest.update(json.dumps(record, sort_keys=True).encode())
    return digest.hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["speed", "memory", "killed"])
    parser.add_argument("--pictures", type=int, default=16000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--part", type=int, default=500)
    parser.add_argument("--nodes", type=int, default=0, help="of a simulated cluster; 0: Ray as the command starts it")
    parser.add_argument("--record", type=Path, default=Path("runs/scale.jsonl"))
    parser.add_argument("--note", default="nothing else ran")
    given = parser.parse_args()
    found: dict[str, Any] = {"what": given.what, "nodes": given.nodes, **conditions(given.note)}
    simulated = cluster(given.nodes) if given.nodes else contextlib.nullcontext((None, None))
    with tempfile.TemporaryDirectory() as scratch, simulated as (address, process):
        table = Path(scratch) / "pictures.parquet"
        make_table(table, given.pictures)
        if given.what == "speed":
            found["one_reader"], found["one_reader_a_cpu_second"] = (round(rate, 1) for rate in one_reader())
        where = address, process.pid if process else 0
        found |= job(table, Path(scratch) / "out", given.workers, given.part, *where)
        if given.what == "speed":
            found["of_all_readers"] = round(found["pictures_a_second"] / (given.workers * found["one_reader"]), 3)
            found["of_its_work"] = round(found["pictures_a_cpu_second"] / found["one_reader_a_cpu_second"], 3)
        if given.what == "killed":
            found["with_kills"] = job(table, Path(scratch) / "killed", given.workers, given.part, *where, EVERY)
            found["equal"] = found["hash"] == found["with_kills"]["hash"]
    keep(given.record, found)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
