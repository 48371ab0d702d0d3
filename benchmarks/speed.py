"""How fast ours is, in four ways, and Keras beside it: measured, not judged. Knows nothing about accuracy."""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

import numerals
from benchmarks.engines import run, where
from benchmarks.machine import ROOT
from numerals.errors import FailureError
from numerals.read import weights
from numerals.read.recognise import BATCH, Recogniser
from numerals.spec import WHITE

KERAS = ROOT / ".venv-keras-tensorflow" / "bin" / "python"
BATCHES = {1: 1_000, 32: 10_000, 256: 10_000, 10_000: 10_000}  # digits a batch, and in how many digits it is timed
THREADS = (1, 2)
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


def predict(model: Path, runs: int) -> Iterator[dict[str, Any]]:
    """The model's digits a second with onnxruntime on one and two threads, and Keras's predict, in turns.

    Ours starts from uint8, Keras from float32 in [0, 1] that is ready: that favours Keras, a little.

    Raises:
        FailureError: Keras does not run.
    """
    recogniser = Recogniser(weights.load(model))
    images = digits()
    with keras(images) as (versions, keras_seconds):
        for batch, count in BATCHES.items():
            ways: dict[str, Callable[[], float]] = {
                f"threads_{threads}": partial(_ours, recogniser, images[:count], batch, threads) for threads in THREADS
            }
            ways["keras"] = partial(keras_seconds, batch, count)
            seconds = _in_turns(ways, runs)
            speeds = {f"{name}_per_second": round(count / median) for name, median in seconds.items()}
            yield {"measure": "predict", "batch": batch, "digits": count, **speeds, "runs": runs, "versions": versions}


def _ours(recogniser: Recogniser, part: Digits, batch: int, threads: int) -> float:
    """Seconds for all of them in batches of that size, cut as Recogniser itself cuts; each thread has its share."""
    size = min(batch, BATCH)

    def share(mine: Digits) -> None:
        for start in range(0, len(mine), size):
            recogniser(mine[start : start + size])

    started = time.perf_counter()
    if threads == 1:
        share(part)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(share, np.array_split(part, threads)))
    return time.perf_counter() - started


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


@contextmanager
def keras(images: Digits) -> Iterator[tuple[dict[str, str], Callable[[int, int], float]]]:
    """Keras with the article's network in its own process: its versions, and (batch, digits) -> seconds of predict.

    Raises:
        FailureError: it does not run.
    """
    command = [str(KERAS), "-m", "benchmarks.peers.keras_predict", str(len(images))]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, **where(command[0])) as process:
        assert process.stdin and process.stdout

        def answer() -> Any:
            line = process.stdout.readline() if process.stdout else b""
            if not line:
                raise FailureError("Keras does not run; `make .venv-keras-tensorflow/done` installs it anew")
            return json.loads(line)

        def seconds(batch: int, count: int) -> float:
            assert process.stdin
            process.stdin.write(json.dumps([batch, count]).encode() + b"\n")
            process.stdin.flush()
            return float(answer())

        process.stdin.write(images.tobytes())
        process.stdin.flush()
        yield answer(), seconds
        process.stdin.close()
