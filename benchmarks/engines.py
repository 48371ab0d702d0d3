"""The reading engines of the benchmark, each a process in its own environment."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.machine import ROOT
from benchmarks.peers.process import EngineResult
from numerals.errors import FailureError

RAPIDOCR = ROOT / ".venv-rapidocr" / "bin" / "python"


@dataclass(frozen=True)
class Engine:
    """How to run and how to install an engine."""

    command: tuple[str, ...]  # reads pictures as `peers.process.read_pictures` does
    needs: str  # a file or a command that must exist
    install: str  # the command that installs it
    one_row: bool = False  # treats a picture as one row, so it only runs on sets where every picture has one


ENGINES = {
    "numerals": Engine((sys.executable, "-m", "benchmarks.peers.read_numerals"), sys.executable, ""),
    "tesseract": Engine(
        (sys.executable, "-m", "benchmarks.peers.read_tesseract"), "tesseract", "apt-get install tesseract-ocr"
    ),
    "rapidocr": Engine(
        (str(RAPIDOCR), "-m", "benchmarks.peers.read_rapidocr"), str(RAPIDOCR), "make .venv-rapidocr/done"
    ),
    "rapidocr-row": Engine(
        (str(RAPIDOCR), "-m", "benchmarks.peers.read_rapidocr", "--one-row"),
        str(RAPIDOCR),
        "make .venv-rapidocr/done",
        one_row=True,
    ),
}


def why_missing(name: str) -> str | None:
    """A line that says why the engine cannot run and how to install it; None if it is installed."""
    engine = ENGINES[name]
    if shutil.which(engine.needs):
        return None
    return f"skipping {name}: not installed; run `{engine.install}`"


def run_engine(name: str, pictures: Sequence[Path]) -> EngineResult:
    """Read the pictures with an engine, in one process.

    Raises:
        FailureError: the engine failed.
    """
    engine = ENGINES[name]
    paths = json.dumps([str(picture.resolve()) for picture in pictures])
    done = run_process(engine.command, paths)
    if done.returncode or not done.stdout.strip():
        last_line = (done.stderr.strip().splitlines() or [f"exit {done.returncode} without output"])[-1]
        raise FailureError(f"{name} failed: {last_line}" + (f"; run `{engine.install}`" if engine.install else ""))
    return EngineResult.from_json(done.stdout.splitlines()[-1])


def run_process(command: Sequence[str], text: str = "") -> "subprocess.CompletedProcess[str]":
    """Run a command with `popen_options`, `text` as its standard input, and return its output."""
    return subprocess.run(command, input=text, capture_output=True, text=True, check=False, **popen_options(command[0]))


def popen_options(python: str) -> dict[str, Any]:
    """Folder and environment of a process: it finds benchmarks/, but another environment does not see our packages."""
    ours = python == sys.executable
    environment = {key: value for key, value in os.environ.items() if ours or key != "PYTHONPATH"}
    return {"cwd": ROOT, "env": environment}
