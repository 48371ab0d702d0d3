"""Train numerals' recipes and peer programs in turn, each in its own environment, and record every run.

    python -m benchmarks.run article quick instant keras-tensorflow --seeds 0 1 2
    python -m benchmarks.run article keras-tensorflow --seeds 0 --epochs 1    # a minute

A run is a whole process, from a cold start (MNIST unpacked, page cache warm) to a saved and evaluated model. Each
appends a JSON line to the record (default: runs/benchmark.jsonl): program, seed, accuracy, seconds, peak memory,
machine, versions, date, source hash. The last lines printed say how many times as fast as Keras each recipe was.
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

import numpy as np

from benchmarks.machine import ROOT, Record, append_record, conditions
from numerals.cli import benchmark

RECORD = ROOT / "runs" / "benchmark.jsonl"
RECIPES = ("article", "instant", "quick", "best")
REFERENCE = "keras-tensorflow"  # the peer that speeds are compared with


def environment_python(name: str) -> Path:
    """The Python of a peer's environment, created by `make .venv-NAME/done`."""
    return ROOT / f".venv-{name}" / "bin" / "python"


KERAS = environment_python("keras-tensorflow")


@dataclass(frozen=True)
class Peer:
    """A program in benchmarks/peers and its environment."""

    program: str
    python: Path
    installs: tuple[str, ...]  # the packages that a user installs to run it
    variables: dict[str, str] = field(default_factory=dict)  # environment variables


PEERS = {
    "keras-tensorflow": Peer(
        "keras_article", KERAS, ("keras", "tensorflow-cpu", "scipy", "scikit-learn"), {"KERAS_BACKEND": "tensorflow"}
    ),
    "keras-torch": Peer(
        "keras_article",
        environment_python("keras-torch"),
        ("keras", "torch", "scipy", "scikit-learn"),
        {"KERAS_BACKEND": "torch"},
    ),
    "keras-example": Peer("keras_convnet", KERAS, ("keras", "tensorflow-cpu"), {"KERAS_BACKEND": "tensorflow"}),
    "torch-example": Peer("torch_example", Path(sys.executable), ("torch", "numpy")),
    "tinygrad-example": Peer(
        "tinygrad_beautiful", environment_python("tinygrad"), ("tinygrad", "numpy"), {"DEV": "CPU"}
    ),
}


def run_recipe(recipe: str, seed: int, epochs: int | None, threads: int | None, folder: Path) -> Record:
    """Train a recipe of numerals in a process of its own."""
    training = benchmark.train(recipe, seed, folder, threads, epochs)
    return {
        "program": f"numerals {recipe}" + (f", threads: {threads}" if threads else ""),
        "seed": seed,
        "epochs": training.metrics["epochs"],
        "test_accuracy": training.accuracy,
        "test_loss": training.metrics["test"]["loss"],
        "precision": training.metrics["precision"],
        "process_seconds": training.seconds,
        "fit_seconds": training.fit_seconds,
        "reached": training.reached,
        "peak_mebibytes": training.metrics["peak_mebibytes"],
        "versions": training.metrics["versions"],
    }


def run_peer(peer: Peer, seed: int, epochs: int | None, data: Path) -> Record:
    """Run a peer's program in its environment."""
    started = time.perf_counter()
    command = [str(peer.python), "-m", f"benchmarks.peers.{peer.program}", str(data), "--seed", str(seed)]
    output = _run(command + (["--epochs", str(epochs)] if epochs else []), peer.variables)
    result: Record = json.loads(output.splitlines()[-1])
    return result | {"process_seconds": round(time.perf_counter() - started, 2)}


def _run(command: list[str], variables: dict[str, str] | None = None) -> str:
    """What the command prints to stdout; exits with its last line of stderr if it fails."""
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env=os.environ | (variables or {}), check=False
    )
    if done.returncode:
        sys.exit(f"benchmark: {' '.join(command)} failed: {done.stderr.strip().splitlines()[-1:]}")
    return done.stdout


def install_mebibytes(program: str) -> float:
    """Size of everything that a user installs to run the program."""
    peer = PEERS.get(program)
    python, packages = (peer.python, peer.installs) if peer else (sys.executable, ("numerals[train]",))
    return float(_run([str(python), "-m", "benchmarks.peers.size", *packages]))


def import_seconds(program: str) -> float | None:
    """Import time of numerals' training code, the median of three processes; None for peers, which report their own."""
    if program in PEERS:
        return None
    code = "import time; t = time.perf_counter(); import numerals.runs.train; print(time.perf_counter() - t)"
    return round(statistics.median(float(_run([sys.executable, "-c", code])) for _ in range(3)), 3)


def ratios(seconds: dict[str, list[float]]) -> list[str]:
    """A line per recipe: the median time of REFERENCE (or else of the first peer) divided by the recipe's."""
    peers = [name for name in seconds if name in PEERS]
    reference = REFERENCE if REFERENCE in peers else next(iter(peers), None)
    return [
        f"{name}: {statistics.median(seconds[reference]) / statistics.median(taken):.1f} times as fast as {reference}"
        for name, taken in seconds.items()
        if reference and name not in PEERS
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("programs", nargs="+", choices=[*RECIPES, *PEERS])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, help="number of epochs of all programs (default: each one's own)")
    parser.add_argument("--record", type=Path, default=RECORD, help="file to append a line per run to")
    parser.add_argument("--threads", type=int, help="threads of numerals' trainings (default: one per core)")
    parser.add_argument("--note", default="", help="conditions to record, e.g. what else ran")
    options = parser.parse_args()

    per_program = {
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
                result = per_program[program] | result | {"asked_epochs": options.epochs} | conditions(options.note)
                seconds[program].append(result["process_seconds"])
                append_record(options.record, result)
                figures = f"{result['test_accuracy']:.4f}  {result['process_seconds']:7.2f} s"
                print(f"{result['program']:44s} seed {seed}: {figures}", flush=True)
    print("\n".join(ratios(seconds)))


if __name__ == "__main__":
    main()
