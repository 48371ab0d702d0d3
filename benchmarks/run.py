"""Run ours and the peers in turn, each in its own environment, and keep one line for every run.

    python -m benchmarks.run numerals keras-tensorflow --seeds 0 1 2

Each run is a whole process from a cold start (MNIST unpacked, page cache warm) and appends one JSON object to
the record: what ran, seed, accuracy, seconds, peak memory, machine, versions, date, source hash.
`benchmarks/table.py` makes the README's table from them.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import RECORDS, ROOT, conditions, keep

HERE = Path(__file__).resolve().parent
RECORD = RECORDS / "article.jsonl"
PEERS = {"keras-tensorflow": ("tensorflow", ROOT / ".venv-keras-tensorflow" / "bin" / "python")}


def run_numerals(recipe: str, seed: int, scratch: Path) -> dict[str, Any]:
    """One training of ours: a new process, its own run folder, its --json."""
    command = [sys.executable, "-m", "numerals", "train", "--recipe", recipe, "--seed", str(seed)]
    command += ["--out", str(scratch / f"{recipe}-{seed}"), "--json", "--quiet"]
    out = subprocess.run(command, capture_output=True, text=True, check=True)
    metrics = json.loads(out.stdout)
    return {
        "program": f"numerals {recipe}",
        "seed": seed,
        "epochs": metrics["epochs"],
        "test_accuracy": metrics["test"]["accuracy"],
        "test_loss": metrics["test"]["loss"],
        "precision": metrics["precision"],
        "peak_mebibytes": metrics["peak_mebibytes"],
        "versions": metrics["versions"],
    }


def run_peer(name: str, seed: int, scratch: Path) -> dict[str, Any]:
    """One training of the article's program on Keras, in the peer's environment."""
    backend, python = PEERS[name]
    data = scratch / "mnist.npz"
    if not data.exists():
        import numerals

        (x_train, y_train), (x_test, y_test) = numerals.load_mnist()
        np.savez(data, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    command = [str(python), str(HERE / "peers" / "keras_article.py"), str(data), "--seed", str(seed)]
    environment = os.environ | {"KERAS_BACKEND": backend}
    out = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    result: dict[str, Any] = json.loads(out.stdout.splitlines()[-1])
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("programs", nargs="+", choices=["numerals", *PEERS])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--recipe", default="article")
    parser.add_argument("--record", type=Path, default=RECORD, help="the file that a line a run is added to")
    parser.add_argument("--note", default="", help="conditions worth knowing, e.g. what else ran")
    options = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        for seed in options.seeds:
            for program in options.programs:
                started = time.perf_counter()
                if program == "numerals":
                    result = run_numerals(options.recipe, seed, Path(folder))
                else:
                    result = run_peer(program, seed, Path(folder))
                result["process_seconds"] = round(time.perf_counter() - started, 2)
                result |= conditions(options.note)
                keep(options.record, result)
                print(f"{result['program']:32s} seed {seed}: {result['test_accuracy']:.4f}", flush=True)


if __name__ == "__main__":
    main()
