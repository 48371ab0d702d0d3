"""Run ours and the peers in turn, each in its own environment, and keep one line for every run.

    python benchmarks/run.py numerals keras-tensorflow --seeds 0 1 2

Each run is a whole process from a cold start (MNIST unpacked, page cache warm) and appends one JSON object to
the record: what ran, seed, accuracy, seconds, peak memory, machine, versions, date, source hash.
`benchmarks/table.py` makes the README's table from them.
"""

import argparse
import datetime
import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
RECORD = HERE / "records" / "article.jsonl"
PEERS = {"keras-tensorflow": ("tensorflow", ROOT / ".venv-keras-tensorflow" / "bin" / "python")}


def machine() -> dict[str, Any]:
    """What the runs ran on, as far as Linux tells."""
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
    flags = Path("/proc/cpuinfo").read_text()
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "amx": "amx_bf16" in flags,
        "avx512_bf16": "avx512_bf16" in flags,
        "system": platform.system(),
        "python": platform.python_version(),
    }


def source_hash() -> str:
    """SHA-256 over the package's own source, so that a record names the code that it measured."""
    digest = hashlib.sha256()
    for path in sorted((ROOT / "src").rglob("*")):
        if path.suffix in (".py", ".toml"):
            digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


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

    options.record.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for seed in options.seeds:
            for program in options.programs:
                started = time.perf_counter()
                if program == "numerals":
                    result = run_numerals(options.recipe, seed, Path(folder))
                else:
                    result = run_peer(program, seed, Path(folder))
                result["process_seconds"] = round(time.perf_counter() - started, 2)
                result |= {
                    "date": datetime.date.today().isoformat(),
                    "source": source_hash(),
                    "machine": machine(),
                    "note": options.note,
                }
                with open(options.record, "a") as file:
                    file.write(json.dumps(result) + "\n")
                print(f"{result['program']:32s} seed {seed}: {result['test_accuracy']:.4f}", flush=True)


if __name__ == "__main__":
    main()
