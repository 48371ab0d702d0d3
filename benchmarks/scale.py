"""Measure `numerals read-many`: speed, memory, and whether it loses records when workers die. See docs/scale.md.

    python -m benchmarks.scale speed --pictures 16000             two actors against twice one single-threaded Reader
    python -m benchmarks.scale memory --pictures 1000000          memory over the whole job; hours
    python -m benchmarks.scale killed --pictures 20000            kill a worker every 20 seconds, compare the records
    python -m benchmarks.scale killed --nodes 3 --workers 3       the same on a simulated cluster of three nodes

The pictures are MNIST's test digits as 28x28 PNG files, in a Parquet table that is written first. Run it on an
otherwise idle machine.
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
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.machine import Record, append_record, conditions
from numerals.article.data import load_mnist
from numerals.read.reader import Reader
from numerals.scale.read_many import PartReader
from tests.helpers.clusters import cluster, token_environment

ACTOR = PartReader.__name__  # in the command line of the process of an actor
ROW_GROUP = 5000  # rows per row group of the table
KILL_SECONDS = 20.0  # between two kills


def pictures(count: int) -> Iterator[bytes]:
    """PNG files of 28x28 pixels: dark ink on paper of varying grey."""
    (_, _), (digits, _) = load_mnist()
    for number in range(count):
        paper = 235 - number // len(digits) % 60
        yield cv2.imencode(".png", (paper - digits[number % len(digits)] * (paper / 300)).astype(np.uint8))[1].tobytes()


def write_table(path: Path, count: int) -> None:
    source = pictures(count)
    schema = pa.schema([("picture", pa.binary())])
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, count, ROW_GROUP):
            rows = [next(source) for _ in range(min(ROW_GROUP, count - start))]
            writer.write_table(pa.table({"picture": rows}, schema))


def single_reader_speed(count: int = 2500, warm_up: int = 100) -> tuple[float, float]:
    """Pictures per second, and per CPU second, of one single-threaded Reader in this process."""
    cv2.setNumThreads(1)
    reader, files = Reader(threads=1), list(pictures(count + warm_up))
    for picture in files[:warm_up]:
        reader.read(picture)
    started, cpu_started = time.perf_counter(), time.process_time()
    for picture in files[warm_up:]:
        reader.read(picture)
    return count / (time.perf_counter() - started), count / (time.process_time() - cpu_started)


class Monitor:
    """Samples a job's memory and progress every second, in a thread; optionally kills an actor now and then.

    Args:
        pid: the process of the command.
        cluster_pid: the process that Ray's nodes belong to; the command's own where it starts Ray.
        out: the folder that the job writes to.
        kill_seconds: seconds between two kills; None never kills.
    """

    def __init__(self, pid: int, cluster_pid: int, out: Path, kill_seconds: float | None) -> None:
        self.curve: list[dict[str, float]] = []  # seconds, parts and MiB by kind of process, at each sample
        self.killed = 0
        self.cpu_seconds: dict[int, float] = {}  # by actor
        self._pid, self._cluster_pid, self._out, self._kill_seconds = pid, cluster_pid, out, kill_seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _sample(self) -> None:
        started = last_kill = time.monotonic()
        while not self._stop.wait(1):
            processes = process_tree(self._pid) | process_tree(self._cluster_pid)
            memory = {"driver": 0.0, "actors": 0.0, "ray": 0.0}
            actors = []
            for pid, (command, resident) in processes.items():
                kind = "driver" if pid == self._pid else "actors" if ACTOR in command else "ray"
                memory[kind] += resident
                if kind == "actors":
                    actors.append(pid)
                    self.cpu_seconds[pid] = cpu_seconds(pid) or self.cpu_seconds.get(pid, 0.0)
            parts = sum(1 for _ in self._out.glob("part-*"))
            self.curve.append({"seconds": time.monotonic() - started, "parts": parts, **memory})
            if self._kill_seconds and actors and parts and time.monotonic() - last_kill > self._kill_seconds:
                last_kill = time.monotonic()
                with contextlib.suppress(ProcessLookupError):
                    os.kill(actors[self.killed % len(actors)], signal.SIGKILL)
                    self.killed += 1


def process_tree(root: int) -> dict[int, tuple[str, float]]:
    """Command and resident MiB (without shared memory) of `root` and all its descendants, by pid."""
    parents, commands = {}, {}
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            parents[int(path.name)] = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            resident, shared = map(int, (path / "statm").read_text().split()[1:3])
            command = (path / "cmdline").read_bytes().decode(errors="replace")
            commands[int(path.name)] = (command, (resident - shared) * os.sysconf("SC_PAGESIZE") / 2**20)
    pids = {root}
    while children := {pid for pid, parent in parents.items() if parent in pids} - pids:
        pids |= children
    return {pid: commands[pid] for pid in pids if pid in commands}


def cpu_seconds(pid: int) -> float:
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0


@dataclass(frozen=True)
class Job:
    """A `numerals read-many` to run and measure."""

    table: Path
    workers: int
    part: int  # pictures per part
    address: str | None = None  # of a running cluster; None starts Ray for the command
    cluster_pid: int = 0  # the process that the cluster's nodes belong to; 0: the command's own


def run_job(job: Job, out: Path, kill_seconds: float | None = None) -> Record:
    """Run a whole job and measure it; `kill_seconds` as in `Monitor`."""
    command = [sys.executable, "-m", "numerals", "read-many", str(job.table), "--out", str(out)]
    command += ["--workers", str(job.workers), "--part", str(job.part)]
    command += ["--address", job.address] if job.address else []
    environment = {**os.environ, **(token_environment() if job.address else {})}
    started = time.perf_counter()
    with subprocess.Popen(command, env=environment) as process:
        monitor = Monitor(process.pid, job.cluster_pid or process.pid, out, kill_seconds)
        code = process.wait()
        monitor.stop()
    seconds = time.perf_counter() - started
    assert code == 0, code
    working = [sample for sample in monitor.curve if sample["parts"]]
    # From the first sample with a part to the first with all parts: `seconds` includes Ray's start and end.
    first, last = working[0], next(sample for sample in working if sample["parts"] == working[-1]["parts"])
    steady_speed = (last["parts"] - first["parts"]) * job.part / (last["seconds"] - first["seconds"])
    total = [sum(sample[kind] for kind in ("driver", "actors", "ray")) for sample in working]
    tenths = [working[round(tenth * (len(working) - 1) / 10)] for tenth in range(11)]
    count = pq.read_metadata(job.table).num_rows
    return {
        "workers": job.workers,
        "pictures": count,
        "records": pq.read_table(out, columns=["picture"]).num_rows,
        "seconds": round(seconds, 1),
        "pictures_a_second": round(steady_speed, 1),
        "pictures_a_cpu_second": round(count / sum(monitor.cpu_seconds.values()), 1),
        "killed": monitor.killed,
        "most_mib": round(max(total)),
        "curve_mib": [{name: round(value) for name, value in sample.items()} for sample in tenths],
        "hash": content_hash(out),
    }


def content_hash(out: Path) -> str:
    """SHA-256 of all records in order: equal if the same pictures were read with the same results."""
    digest = hashlib.sha256()
    for path in sorted(out.glob("part-*.parquet")):
        for record in pq.read_table(path).to_pylist():
            digest.update(json.dumps(record, sort_keys=True).encode())
    return digest.hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("measure", choices=["speed", "memory", "killed"])
    parser.add_argument("--pictures", type=int, default=16000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--part", type=int, default=500, help="pictures per part")
    parser.add_argument("--nodes", type=int, default=0, help="nodes of a simulated cluster; 0: the command starts Ray")
    parser.add_argument("--record", type=Path, default=Path("runs/scale.jsonl"), help="file to append a line to")
    parser.add_argument("--note", default="nothing else ran", help="conditions to record")
    options = parser.parse_args()
    result: Record = {"what": options.measure, "nodes": options.nodes, **conditions(options.note)}
    simulated = cluster(options.nodes) if options.nodes else contextlib.nullcontext((None, None))
    with tempfile.TemporaryDirectory() as scratch, simulated as (address, process):
        table = Path(scratch) / "pictures.parquet"
        write_table(table, options.pictures)
        if options.measure == "speed":
            speed, cpu_speed = single_reader_speed()
            result["one_reader"], result["one_reader_a_cpu_second"] = round(speed, 1), round(cpu_speed, 1)
        job = Job(table, options.workers, options.part, address, process.pid if process else 0)
        result |= run_job(job, Path(scratch) / "out")
        if options.measure == "speed":
            result["of_all_readers"] = round(result["pictures_a_second"] / (options.workers * result["one_reader"]), 3)
            result["of_its_work"] = round(result["pictures_a_cpu_second"] / result["one_reader_a_cpu_second"], 3)
        if options.measure == "killed":
            result["with_kills"] = run_job(job, Path(scratch) / "killed", KILL_SECONDS)
            result["equal"] = result["hash"] == result["with_kills"]["hash"]
    append_record(options.record, result)
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
