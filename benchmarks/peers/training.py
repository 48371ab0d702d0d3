"""Shared code of the training peers: options, data and the JSON result.

Each peer is a program: `python -m benchmarks.peers.NAME mnist.npz --seed 0 [--epochs N]`. It prints one JSON object.
"""

import argparse
import json
import time
from importlib import metadata
from pathlib import Path

import numpy as np

from benchmarks.peers.process import own_peak

PACKAGES = {
    "keras",
    "tensorflow",
    "tensorflow-cpu",
    "torch",
    "tinygrad",
    "numpy",
    "scipy",
}  # their versions are recorded


def parse_options(description: str, epochs: int) -> argparse.Namespace:
    """Parse data, seed and epochs; the default of `epochs` is the number that the peer publishes."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("data", type=Path, help="an .npz with x_train, y_train, x_test, y_test")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=epochs)
    return parser.parse_args()


def load(path: Path) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Images float32 (n, 28, 28) in [0, 1] and labels int64 (n,), for training and test."""
    with np.load(path) as file:
        images = [file[f"x_{part}"].astype("float32") / 255 for part in ("train", "test")]
        labels = [file[f"y_{part}"].astype("int64") for part in ("train", "test")]
    return (images[0], labels[0]), (images[1], labels[1])


def _canonical_name(distribution: metadata.Distribution) -> str:
    return distribution.name.lower().replace("_", "-")


class Stopwatch:
    """A peer's clock. Create it after the imports; `started` is time.perf_counter() from before them."""

    def __init__(self, started: float) -> None:
        self._started = started
        self._imported = self._seconds()
        self._reached: list[tuple[float, float]] = []

    def _seconds(self) -> float:
        return round(time.perf_counter() - self._started, 3)

    def epoch(self, accuracy: float) -> None:
        """Note the end of an epoch; `accuracy` is on the digits that the program itself evaluates after each epoch."""
        self._reached.append((self._seconds(), accuracy))

    def print_result(self, program: str, seed: int, accuracy: float, loss: float) -> None:
        """Print one JSON object; accuracy and loss are on the test digits."""
        print(
            json.dumps(
                {
                    "program": program,
                    "seed": seed,
                    "versions": {
                        package.name: package.version
                        for package in metadata.distributions()
                        if _canonical_name(package) in PACKAGES
                    },
                    "epochs": len(self._reached),
                    "test_accuracy": accuracy,
                    "test_loss": loss,
                    "import_seconds": self._imported,
                    "reached": self._reached,
                    "total_seconds": self._seconds(),
                    "peak_mebibytes": own_peak(),
                }
            )
        )
