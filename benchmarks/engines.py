"""The engines that read, each a process in an environment of its own. Knows nothing about scores or records."""

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
from numerals.errors import FailureError

RAPIDOCR = ROOT / ".venv-rapidocr" / "bin" / "python"


@dataclass(frozen=True)
class Engine:
    """How to run one."""

    command: tuple[str, ...]  # reads the pictures named on its input and answers as `peers.process` does
    needs: str  # what must be there to run it, a file or a command
    install: str  # how to get that
    one_row: bool = False  # it takes a picture as one row, so it is asked only where every picture is


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


def missing(name: str) -> str | None:
    """Why that engine cannot run here and what to do, in one line; None where it can."""
    engine = ENGINES[name]
    if shutil.which(engine.needs):
        return None
    return f"{name} is left out: it is not installed; {engine.install}"


def ask(name: str, pictures: Sequence[Path]) -> dict[str, Any]:
    """What that engine reads in each picture and what it took, as `peers.process.answer` tells it.

    Raises:
        FailureError: the engine does not run.
    """
    engine = ENGINES[name]
    asked = json.dumps([str(picture.resolve()) for picture in pictures])
    done = run(engine.command, asked)
    if done.returncode or not done.stdout.strip():
        last = (done.stderr.strip().splitlines() or [f"it ended with {done.returncode} and no answer"])[-1]
        raise FailureError(f"{name} does not run: {last}" + (f"; {engine.install}" if engine.install else ""))
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def run(command: Sequence[str], text: str = "") -> "subprocess.CompletedProcess[str]":
    """A process of the benchmark's, to its end, that finds the benchmark's modules."""
    return subprocess.run(command, input=text, capture_output=True, text=True, check=False, **where(command[0]))


def where(python: str) -> dict[str, Any]:
    """The folder and environment that a process is run in: a peer's does not see our packages."""
    own = python == sys.executable
    environment = {key: value for key, value in os.environ.items() if own or key != "PYTHONPATH"}
    return {"cwd": ROOT, "env": environment}
