"""What every peer that trains has in common: its options, the data, what it tells. Knows nothing about any of them.

Each is a program of its own, `python -m benchmarks.peers.NAME mnist.npz --seed 0 [--epochs N]`; prints a JSON object.
"""

import argparse
import json
import resource
import time
from importlib import metadata
from pathlib import Path

import numpy as np

PACKAGES = {
    "keras",
    "tensorflow",
    "tensorflow-cpu",
    "torch",
    "numpy",
    "scipy",
}  # whose versions are told


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


def tell(
    program: str, seed: int, epochs: int, accuracy: float, loss: float, started: float, imported: float, fitted: float
) -> None:
    """One JSON object to stdout. `started` and `imported` are clock readings, `fitted` is seconds."""
    print(
        json.dumps(
            {
                "program": program,
                "seed": seed,
                "versions": {each.name: each.version for each in metadata.distributions() if _key(each) in PACKAGES},
                "epochs": epochs,
                "test_accuracy": accuracy,
                "test_loss": loss,
                "import_seconds": imported - started,
                "fit_seconds": fitted,
                "total_seconds": time.perf_counter() - started,
                "peak_mebibytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            }
        )
    )
