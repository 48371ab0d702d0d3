"""The speed of numerals alone: recognising single digits, and a cold start of the command."""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

import numerals
from benchmarks.engines import run_process
from benchmarks.machine import Record
from numerals.errors import FailureError
from numerals.read.pixels import DigitImages
from numerals.spec import WHITE

SIDE = 280  # pixels; the picture of one digit for the cold start


def mnist_test_digits() -> DigitImages:
    """MNIST's 10,000 test digits."""
    _, (images, _) = numerals.load_mnist()
    return images


def recognise(runs: int) -> Iterator[Record]:
    """Measure digits per second in `Reader.recognise`: in MNIST's form, which needs no normalising, and inverted."""
    reader = numerals.Reader()
    for kind, pictures in (
        ("in MNIST's form", mnist_test_digits()),
        ("dark ink on light paper", WHITE - mnist_test_digits()),
    ):
        digits = list(pictures)
        seconds = _median_seconds(runs, partial(reader.recognise, digits))
        yield {"measure": "recognise", "pictures": kind, "per_second": round(len(digits) / seconds), "runs": runs}


def cold_start(runs: int) -> Record:
    """Measure `numerals read one.png` as a whole process. A first run fills the page cache and does not count.

    Raises:
        FailureError: the command failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder) / "one.png"
        Image.fromarray(WHITE - mnist_test_digits()[0]).resize((SIDE, SIDE)).save(picture)
        command = [sys.executable, "-m", "numerals", "read", str(picture)]
        done = run_process(command)
        if done.returncode:
            raise FailureError(f"`numerals read` failed: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
        seconds = _median_seconds(runs, lambda: run_process(command))
    return {"measure": "cold start", "seconds": round(seconds, 3), "runs": runs}


def medians_in_turn(timed: dict[str, Callable[[], float]], runs: int) -> dict[str, float]:
    """The median of what each function returns, called in turn with the others; the first turn does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in timed}
    for turn in range(runs + 1):
        for name, function in timed.items():
            taken = function()
            seconds[name] += [taken] if turn else []
    return {name: statistics.median(taken) for name, taken in seconds.items()}


def _median_seconds(runs: int, act: Callable[[], Any]) -> float:
    def timed() -> float:
        started = time.perf_counter()
        act()
        return time.perf_counter() - started

    return medians_in_turn({"": timed}, runs)[""]
