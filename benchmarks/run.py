"""Run recipes of ours and the peers in turn, each in its own environment, and keep one line for every run.

    python -m benchmarks.run article quick instant keras-tensorflow --seeds 0 1 2
    python -m benchmarks.run article keras-tensorflow --seeds 0 --epochs 1    # a minute

Each run is a whole process from a cold start (MNIST unpacked, page cache warm) to a saved, evaluated model, and appends
one JSON object to the record, runs/benchmark.jsonl where none is named: what ran, seed, accuracy, seconds, peak memory,
machine, versions, date, source hash. At the end it says how many times as fast as Keras each of ours was.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import ROOT, conditions, keep
from numerals.cli import benchmark

RECORD = ROOT / "runs" / "benchmark.jsonl"
RECIPES = ("article", "instant", "quick", "best")
REFERENCE = "keras-tensorflow"  # what the others are compared with


def environment(name: str) -> Path:
    """The Python of a peer's environment, which `make .venv-NAME/done` makes."""
    return ROOT / f".venv-{name}" / "bin" / "python"


KERAS = environment("keras-tensorflow")


@dataclass(frozen=True)
class Peer:
    """A program in benchmarks/peers, and the environment that runs it."""

    program: str
    python: Path
    installs: tuple[str, ...]  # what its user installs
    environment: dict[str, str] = field(default_factory=dict)


PEERS = {
    "keras-tensorflow": Peer(
        "keras_article", KERAS, ("keras", "tensorflow-cpu", "scipy", "scikit-learn"), {"KERAS_BACKEND": "tensorflow"}
    ),
    "keras-torch": Peer(
        "keras_article",
        environment("keras-torch"),
        ("keras", "torch", "scipy", "scikit-learn"),
        {"KERAS_BACKEND": "torch"},
    ),
    "keras-example": Peer("keras_convnet", KERAS, ("keras", "tensorflow-cpu"), {"KERAS_BACKEND": "tensorflow"}),
    "torch-example": Peer("torch_example", Path(sys.executable), ("torch", "numpy")),
    "tinygrad-example": Peer("tinygrad_beautiful", environment("tinygrad"), ("tinygrad", "numpy"), {"DEV": "CPU"}),
}


def run_recipe(recipe: str, seed: int, epochs: int | None, threads: int | None, folder: Path) -> dict[str, Any]:
    """One training of ours, whole."""
    one = benchmark.train(recipe, seed, folder, threads, epochs)
    return {
        "program": f"numerals {recipe}" + (f", threads: {threads}" if threads else ""),
        "seed": seed,
        "epochs": one.metrics["epochs"],
        "test_accuracy": one.accuracy,
        "test_loss": one.metrics["test"]["loss"],
        "precision": one.metrics["precision"],
        "process_seconds": one.seconds,
        "fit_seconds": one.fit_seconds,
        "reached": one.reached,
        "peak_mebibytes": one.metrics["peak_mebibytes"],
        "versions": one.metrics["versions"],
    }


def run_peer(peer: Peer, seed: int, epochs: int | None, data: Path) -> dict[str, Any]:
    """One training of a peer's program, whole, in its environment."""
    started = time.perf_counter()
    command = [str(peer.python), "-m", f"benchmarks.peers.{peer.program}", str(data), "--seed", str(seed)]
    out = _timed(command + (["--epochs", str(epochs)] if epochs else []), peer.environment)
    result: dict[str, Any] = json.loads(out.splitlines()[-1])
    return result | {"process_seconds": round(time.perf_counter() - started, 2)}


def _timed(command: list[str], environment: dict[str, str] | None = None) -> str:
    """What the command prints."""
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env=os.environ | (environment or {}), check=False
    )
    if done.returncode:
        sys.exit(f"benchmark: {' '.join(command)} failed: {done.stderr.strip().splitlines()[-1:]}")
    return done.stdout


def install_mebibytes(program: str) -> float:
    """How large what a user installs for it is."""
    peer = PEERS.get(program)
    python, wanted = (peer.python, peer.installs) if peer else (sys.executable, ("numerals[train]",))
    return float(_timed([str(python), "-m", "benchmarks.peers.size", *wanted]))


def import_seconds(program: str) -> float | None:
    """How long what a recipe of ours trains with takes to import, the median of three processes; peers tell theirs."""
    if program in PEERS:
        return None
    code = "import time; t = time.perf_counter(); import numerals.runs.train; print(time.perf_counter() - t)"
    return round(statistics.median(float(_timed([sys.executable, "-c", code])) for _ in range(3)), 3)


def ratios(seconds: dict[str, list[float]]) -> list[str]:
    """A line for each recipe of ours: the median time of REFERENCE, or of the first peer, over its own."""
    peers = [name for name in seconds if name in PEERS]
    beside = REFERENCE if REFERENCE in peers else next(iter(peers), None)
    return [
        f"{name}: {statistics.median(seconds[beside]) / statistics.median(mine):.1f} times as fast as {beside}"
        for name, mine in seconds.items()
        if beside and name not in PEERS
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("programs", nargs="+", choices=[*RECIPES, *PEERS])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, help="for all of them, instead of each one's own number")
    parser.add_argument("--record", type=Path, default=RECORD, help="the file that a line a run is added to")
    parser.add_argument("--threads", type=int, help="of ours; left out: one for each core")
    parser.add_argument("--note", default="", help="conditions worth knowing, e.g. what else ran")
    options = parser.parse_args()

    fixed = {
        program: {"install_mebibytes": install_mebibytes(program), "import_seconds": import_seconds(program)}
        for program in options.programs
    }
    seconds: dict[str, list[float]] = {program: [] for program in options.programs}
    with tempfile.TemporaryDirectory() as folder:
        import numerals

        (x_train, y_train), (x_test, y_test) = numerals.load_mnist()
        data = Path(folder) / "mnist.npz"
        np.savez(data, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
        for seed in options.seeds:
            for program in options.programs:
                if program in PEERS:
                    result = run_peer(PEERS[program], seed, options.epochs, data)
                else:
                    result = run_recipe(program, seed, options.epochs, options.threads, Path(folder))
                result = fixed[program] | result | {"asked_epochs": options.epochs} | conditions(options.note)
                seconds[program].append(result["process_seconds"])
                keep(options.record, result)
                figures = f"{result['test_accuracy']:.4f}  {result['process_seconds']:7.2f} s"
                print(f"{result['program']:44s} seed {seed}: {figures}", flush=True)
    print("\n".join(ratios(seconds)))


if __name__ == "__main__":
    main()
