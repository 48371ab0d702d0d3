"""Our own part of the benchmark: whole trainings and the speed of recognising, on this machine.

Each training is a new process, from a cold start to a saved and evaluated model. Knows nothing about other programs;
they are in benchmarks/, which uses this.
"""

import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from numerals.errors import FailureError
from numerals.read.recognise import Recogniser
from numerals.spec import SIDE, WHITE

BATCHES = {1: 1000, 32: 100, 256: 20}  # digits a call, and how many calls are timed
WARM = 5  # calls before the first that counts


@dataclass(frozen=True)
class Training:
    """One training of a recipe: what `numerals train --json` says of it, and what the process took."""

    recipe: str
    seed: int
    seconds: float  # of the whole process
    metrics: dict[str, Any]
    reached: tuple[tuple[float, float], ...]  # after each epoch: seconds since the process began, validation accuracy

    @property
    def accuracy(self) -> float:
        return float(self.metrics["test"]["accuracy"])

    @property
    def fit_seconds(self) -> float:
        """Of the training loop alone."""
        return float(self.metrics["stages"]["fit"]["seconds"])


def train(recipe: str, seed: int, folder: Path, threads: int | None = None, epochs: int | None = None) -> Training:
    """A training in a process of its own, with so many threads (None: one for each core).

    Raises:
        FailureError: it does not run; with its last line.
    """
    out = folder / f"{Path(recipe).stem}-{seed}-{threads}"
    command = [sys.executable, "-m", "numerals", "train", "--recipe", recipe, "--seed", str(seed), "--out", str(out)]
    command += ["--json", "--quiet", *(["--epochs", str(epochs)] if epochs else [])]
    environment = os.environ | ({"OMP_NUM_THREADS": str(threads)} if threads else {})
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    seconds = round(time.perf_counter() - started, 2)
    if done.returncode:
        raise FailureError(f"numerals train does not run: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
    metrics = json.loads(done.stdout)
    return Training(recipe, seed, seconds, metrics, tuple(_reached(out, seconds, metrics)))


def _reached(run: Path, seconds: float, metrics: dict[str, Any]) -> Iterator[tuple[float, float]]:
    elapsed = seconds - metrics["seconds"] + metrics["stages"]["load"]["seconds"]
    for row in csv.DictReader((run / "history.csv").read_text().splitlines()):
        elapsed += float(row["seconds"])
        yield round(elapsed, 2), float(row["val_accuracy"])


def trainings(
    recipe: str, seeds: int, say: Callable[[str], None], threads: tuple[int, ...] = (1, 2)
) -> list[dict[str, Any]]:
    """A row for each number of threads, its seeds 0, 1, ... trained in turn with the other's.

    Raises:
        FailureError: a training does not run.
    """
    found: dict[int, list[Training]] = {count: [] for count in threads}
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(seeds):
            for count in threads:
                one = train(recipe, seed, Path(folder), count)
                found[count].append(one)
                say(f"{recipe}, seed {seed}, {_threads(count)}: {one.accuracy:.4f} in {one.seconds:.1f} s")
    return [_row(recipe, count, mine) for count, mine in found.items()]


def _row(recipe: str, threads: int, mine: list[Training]) -> dict[str, Any]:
    accuracies = [one.accuracy for one in mine]
    return {
        "recipe": recipe,
        "threads": threads,
        "runs": len(mine),
        "accuracy": statistics.mean(accuracies),
        "deviation": statistics.stdev(accuracies) if len(mine) > 1 else None,
        "process_seconds": statistics.median(one.seconds for one in mine),
        "fit_seconds": statistics.median(one.fit_seconds for one in mine),
        "peak_mebibytes": max(one.metrics["peak_mebibytes"] or 0 for one in mine),
    }


def recognising() -> list[dict[str, Any]]:
    """A row for each size of batch: digits a second and the milliseconds of a call, of the digit model that ships."""
    recogniser = Recogniser()
    return [
        {"batch": batch, **latencies(partial(recogniser, _digits(batch)), batch, calls)}
        for batch, calls in BATCHES.items()
    ]


def latencies(call: Callable[[], Any], batch: int, calls: int) -> dict[str, float]:
    """Digits a second, and the median and 99th percentile of a call's milliseconds, after WARM calls."""
    taken = []
    for _ in range(WARM + calls):
        started = time.perf_counter()
        call()
        taken.append(time.perf_counter() - started)
    counted = np.array(taken[WARM:])
    p50, p99 = np.percentile(1000 * counted, (50, 99))
    return {
        "per_second": round(batch * len(counted) / counted.sum()),
        "p50_ms": round(float(p50), 3),
        "p99_ms": round(float(p99), 3),
    }


def _digits(count: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Noise, uint8 (count, 28, 28): what is in a picture does not change how long it takes."""
    return np.random.default_rng(0).integers(0, WHITE + 1, (count, SIDE, SIDE), np.uint8)


def lines(trained: list[dict[str, Any]], recognised: list[dict[str, Any]]) -> Iterator[str]:
    """Both as text, and how much faster two threads are than one."""
    recipe, runs = trained[0]["recipe"], trained[0]["runs"]
    yield f"recipe {recipe}, {runs} trainings each; whole process and training loop are medians"
    yield "threads  test accuracy     process       loop       peak"
    for row in trained:
        spread = "" if row["deviation"] is None else f" ± {100 * row['deviation']:.2f}"
        yield (
            f"{row['threads']:>7}  {100 * row['accuracy']:.2f}{spread} %".ljust(27)
            + f"{row['process_seconds']:>6.1f} s {row['fit_seconds']:>8.1f} s {row['peak_mebibytes']:>6.0f} MiB"
        )
    first, last = trained[0], trained[-1]
    gain = first["fit_seconds"] / last["fit_seconds"]
    yield f"{_threads(last['threads'])}: {gain:.2f} times as fast as one in the loop"
    yield "recognising one digit a picture, the model that ships, on one thread"
    yield "  batch   digits a second       p50       p99"
    for row in recognised:
        yield f"{row['batch']:>7}{row['per_second']:>18,}{row['p50_ms']:>7.2f} ms{row['p99_ms']:>7.2f} ms"


def _threads(count: int) -> str:
    return "one thread" if count == 1 else f"{count} threads"
