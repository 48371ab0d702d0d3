"""What every peer that trains has in common: its options, the data, what it tells. Knows nothing about any of them.

Each is a program of its own, `python -m benchmarks.peers.NAME mnist.npz --seed 0 [--epochs N]`; prints a JSON object.
"""

import argparse
import json
import time
from importlib import metadata
from pathlib import Path

import numpy as np

from benchmarks.peers.process import own_peak

PACKAGES = {"keras", "tensorflow", "tensorflow-cpu", "torch", "tinygrad", "numpy", "scipy"}  # whose versions are told


def options(description: str, epochs: int) -> argparse.Namespace:
    """data, seed and epochs; `epochs` is what the peer publishes."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("data", type=Path, help="an .npz with x_train, y_train, x_test, y_test")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=epochs)
    return parser.parse_args()


def load(path: Path) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Images float32 (n, 28, 28) in [0, 1] and labels int64 (n,), training part and test part."""
    with np.load(path) as file:
        images = [file[f"x_{part}"].astype("float32") / 255 for part in ("train", "test")]
        labels = [file[f"y_{part}"].astype("int64") for part in ("train", "test")]
    return (images[0], labels[0]), (images[1], labels[1])


def _key(distribution: metadata.Distribution) -> str:
    return distribution.name.lower().replace("_", "-")


class Watch:
    """A peer's clock, made when its imports are done; `started` is a reading of time.perf_counter from before them."""

    def __init__(self, started: float) -> None:
        self._started = started
        self._imported = self._seconds()
        self._reached: list[tuple[float, float]] = []

    def _seconds(self) -> float:
        return round(time.perf_counter() - self._started, 3)

    def epoch(self, accuracy: float) -> None:
        """An epoch is over; `accuracy` is of the digits that the program itself looks at after each."""
        self._reached.append((self._seconds(), accuracy))

    def tell(self, program: str, seed: int, accuracy: float, loss: float) -> None:
        """One JSON object to stdout; accuracy and loss are of the test digits."""
        print(
            json.dumps(
                {
                    "program": program,
                    "seed": seed,
                    "versions": {
                        each.name: each.version for each in metadata.distributions() if _key(each) in PACKAGES
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
