"""The measurements of `numerals benchmark`: whole trainings, and the speed of recognition.

Each training runs in a new process, from a cold start to a saved and evaluated model. The folder benchmarks/ of the
source uses these functions to compare numerals with other programs.
"""

import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from numerals.errors import FailureError
from numerals.read.recognise import Recogniser
from numerals.spec import SIDE, WHITE

CALLS = {1: 1000, 32: 100, 256: 20}  # digits in a call -> number of calls to time
THREAD_COUNTS = (1, 2)
WARM_UP_CALLS = 5  # not timed


@dataclass(frozen=True)
class Training:
    """A training in a process of its own."""

    recipe: str
    seed: int
    seconds: float  # of the whole process
    metrics: dict[str, Any]  # metrics.json, as `numerals train --json` prints it
    reached: tuple[tuple[float, float], ...]  # after each epoch: seconds since the start, validation accuracy

    @property
    def accuracy(self) -> float:
        """On the test digits."""
        return float(self.metrics["test"]["accuracy"])

    @property
    def fit_seconds(self) -> float:
        """Of the training loop alone."""
        return float(self.metrics["stages"]["fit"]["seconds"])


@dataclass(frozen=True)
class TrainingSpeed:
    """Several trainings of a recipe with the same number of threads."""

    recipe: str
    threads: int
    runs: int
    accuracy: float  # mean
    deviation: float | None  # of the accuracy; None for a single run
    process_seconds: float  # median
    fit_seconds: float  # median
    peak_mebibytes: float  # maximum


@dataclass(frozen=True)
class Speed:
    """The speed of a function that takes batches."""

    batch: int  # items in a call
    per_second: int  # items
    p50_ms: float  # median of a call
    p99_ms: float  # 99th percentile of a call


def train(recipe: str, seed: int, folder: Path, threads: int | None = None, epochs: int | None = None) -> Training:
    """Train in a process of its own.

    Args:
        recipe: a built-in name or a file.
        seed: of the training.
        folder: where to save the run folder.
        threads: number of threads; None for one per core.
        epochs: maximum number of epochs; None for the recipe's own.

    Raises:
        FailureError: the training failed; the message has its last line.
    """
    out = folder / f"{Path(recipe).stem}-{seed}-{threads}"
    command = [sys.executable, "-m", "numerals", "train", "--recipe", recipe, "--seed", str(seed), "--out", str(out)]
    command += ["--json", "--quiet", *(["--epochs", str(epochs)] if epochs else [])]
    environment = os.environ | ({"OMP_NUM_THREADS": str(threads)} if threads else {})
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    seconds = round(time.perf_counter() - started, 2)
    if done.returncode:
        raise FailureError(f"numerals train failed: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
    metrics = json.loads(done.stdout)
    return Training(recipe, seed, seconds, metrics, tuple(_reached(out, seconds, metrics)))


def _reached(run: Path, seconds: float, metrics: dict[str, Any]) -> Iterator[tuple[float, float]]:
    elapsed = seconds - metrics["seconds"] + metrics["stages"]["load"]["seconds"]
    for row in csv.DictReader((run / "history.csv").read_text().splitlines()):
        elapsed += float(row["seconds"])
        yield round(elapsed, 2), float(row["val_accuracy"])


def time_trainings(recipe: str, seeds: int, print_status: Callable[[str], None]) -> list[TrainingSpeed]:
    """Train with seeds 0, 1, ... and each of THREAD_COUNTS, which take turns.

    Raises:
        FailureError: a training failed.
    """
    trainings: dict[int, list[Training]] = {threads: [] for threads in THREAD_COUNTS}
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(seeds):
            for threads in THREAD_COUNTS:
                training = train(recipe, seed, Path(folder), threads)
                trainings[threads].append(training)
                figures = f"{training.accuracy:.4f} in {training.seconds:.1f} s"
                print_status(f"{recipe}, seed {seed}, {_threads(threads)}: {figures}")
    return [_speed(recipe, threads, runs) for threads, runs in trainings.items()]


def _speed(recipe: str, threads: int, runs: Sequence[Training]) -> TrainingSpeed:
    accuracies = [run.accuracy for run in runs]
    return TrainingSpeed(
        recipe=recipe,
        threads=threads,
        runs=len(runs),
        accuracy=statistics.mean(accuracies),
        deviation=statistics.stdev(accuracies) if len(runs) > 1 else None,
        process_seconds=statistics.median(run.seconds for run in runs),
        fit_seconds=statistics.median(run.fit_seconds for run in runs),
        peak_mebibytes=max(run.metrics["peak_mebibytes"] or 0 for run in runs),
    )


def time_recognition() -> list[Speed]:
    """Time the shipped model of single digits, on one thread, with each batch size of CALLS."""
    recogniser = Recogniser()
    return [latencies(partial(recogniser, _noise(batch)), batch, calls) for batch, calls in CALLS.items()]


def latencies(call: Callable[[], Any], batch: int, calls: int) -> Speed:
    """Time a function that takes `batch` items, after WARM_UP_CALLS."""
    seconds = []
    for _ in range(WARM_UP_CALLS + calls):
        started = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - started)
    timed = np.array(seconds[WARM_UP_CALLS:])
    p50, p99 = np.percentile(1000 * timed, (50, 99))
    return Speed(batch, round(batch * len(timed) / timed.sum()), round(float(p50), 3), round(float(p99), 3))


def _noise(count: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Images, uint8 (count, 28, 28). Noise will do: the time does not depend on the content."""
    return np.random.default_rng(0).integers(0, WHITE + 1, (count, SIDE, SIDE), np.uint8)


def lines(trainings: Sequence[TrainingSpeed], recognition: Sequence[Speed]) -> Iterator[str]:
    """Format both as text, with the speed-up of the highest number of threads."""
    first, last = trainings[0], trainings[-1]
    yield f"recipe {first.recipe}, {first.runs} trainings each; whole process and training loop are medians"
    yield "threads  test accuracy     process       loop       peak"
    for speed in trainings:
        deviation = "" if speed.deviation is None else f" ± {100 * speed.deviation:.2f}"
        yield (
            f"{speed.threads:>7}  {100 * speed.accuracy:.2f}{deviation} %".ljust(27)
            + f"{speed.process_seconds:>6.1f} s {speed.fit_seconds:>8.1f} s {speed.peak_mebibytes:>6.0f} MiB"
        )
    yield f"{_threads(last.threads)}: loop {first.fit_seconds / last.fit_seconds:.2f} times as fast as with one thread"
    yield "recognition of single digits, shipped model, one thread"
    yield "  batch   digits/second       p50       p99"
    for row in recognition:
        yield f"{row.batch:>7}{row.per_second:>16,}{row.p50_ms:>7.2f} ms{row.p99_ms:>7.2f} ms"


def _threads(count: int) -> str:
    return "one thread" if count == 1 else f"{count} threads"
