"""How fast ours is, in three ways: measured, not judged. Knows nothing about accuracy."""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

import numerals
from benchmarks.engines import run
from numerals.errors import FailureError
from numerals.spec import WHITE

PICTURE = 280  # pixels a side of the one digit for the cold start

Digits = npt.NDArray[np.uint8]  # (n, 28, 28)


def digits() -> Digits:
    """MNIST's 10,000 test digits."""
    _, (images, _) = numerals.load_mnist()
    return images


def recognise(runs: int) -> Iterator[dict[str, Any]]:
    """Digits a second through Reader.recognise: as MNIST has them, which need no normalising, and dark on light."""
    reader = numerals.Reader()
    for kind, pictures in (("in MNIST's form", digits()), ("dark ink on light paper", WHITE - digits())):
        given = list(pictures)
        seconds = _median(runs, partial(reader.recognise, given))
        yield {"measure": "recognise", "pictures": kind, "per_second": round(len(given) / seconds), "runs": runs}


def cold_start(runs: int) -> dict[str, Any]:
    """Seconds of `numerals read one.png` as a whole process; what it needs is in the system's cache from a run before.

    Raises:
        FailureError: it does not read it.
    """
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder) / "one.png"
        Image.fromarray(WHITE - digits()[0]).resize((PICTURE, PICTURE)).save(picture)
        command = [sys.executable, "-m", "numerals", "read", str(picture)]
        done = run(command)
        if done.returncode:
            raise FailureError(f"`numerals read` does not run: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
        seconds = _median(runs, lambda: run(command))
    return {"measure": "cold start", "seconds": round(seconds, 3), "runs": runs}


def _in_turns(ways: dict[str, Callable[[], float]], runs: int) -> dict[str, float]:
    """The median seconds of each way, after one run of each that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(runs + 1):
        for name, way in ways.items():
            took = way()
            seconds[name] += [took] if turn else []
    return {name: statistics.median(took) for name, took in seconds.items()}


def _median(runs: int, act: Callable[[], Any]) -> float:
    """The median seconds of that many runs, after one that does not count."""

    def timed() -> float:
        started = time.perf_counter()
        act()
        return time.perf_counter() - started

    return _in_turns({"it": timed}, runs)["it"]
