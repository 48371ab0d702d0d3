"""Trainings that are killed, and go on: `python -m tests.helpers.faults FOLDER MODE`, where MODE says at which moments.

    operations [N]   SIGKILL before each operation that changes a file, and in the middle of each write; or at N of them
    moments N        SIGKILL at N random moments, with TensorBoard

Says what went wrong, a line each, and how many kills there were. A process that has PyTorch loaded forks for every
training, so that each takes a part of a second; it is no thread's parent, and computes nothing itself.
"""

import csv
import hashlib
import os
import random
import re
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from numerals import files
from numerals.article.data import Dataset, load_mnist
from numerals.article.recipe import Recipe
from numerals.errors import RunError
from numerals.runs.resume import resume
from numerals.runs.train import train

COUNT, EPOCHS, EVERY = 1000, 2, 15
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"}  # of Python's audit events


class Faults:
    """Counts the operations that change files in a folder, and kills the process at one of them."""

    def __init__(self, folder: Path, kill_at: int | None) -> None:
        self.count, self.kill_at, self._folder = 0, kill_at, str(folder)
        sys.addaudithook(self._audited)
        fsync = os.fsync

        def noted(fd: Any) -> None:
            self.before()
            fsync(fd)

        os.fsync = noted
        files.open = lambda path, mode: Torn(open(path, mode), self)  # type: ignore[attr-defined]  # noqa: SIM115

    def is_the_one(self) -> bool:
        """Whether this operation is the one at which the process dies."""
        self.count += 1
        return self.count == self.kill_at

    def before(self) -> None:
        if self.is_the_one():
            os.kill(os.getpid(), signal.SIGKILL)

    def _audited(self, event: str, arguments: tuple[Any, ...]) -> None:
        changes = event in CHANGES or (event == "open" and arguments[2] & os.O_CREAT)
        if changes and str(arguments[0]).startswith(self._folder):
            self.before()


class Torn:
    """A file of which a write may be the last thing that the process does, half done."""

    def __init__(self, file: Any, faults: Faults) -> None:
        self._file, self._faults = file, faults

    def write(self, content: bytes) -> None:
        if self._faults.is_the_one():
            self._file.write(content[: len(content) // 2])
            self._file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        self._file.write(content)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> "Torn":
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()


def in_a_fork(work: Callable[[], int], after: float | None = None) -> int:
    """How a process ended that does the work and exits with what that returns; it is killed after so many seconds."""
    child = os.fork()
    if child == 0:
        code = 99
        try:
            code = work()
        except BaseException:  # noqa: BLE001 (whatever it is, it is said below)
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    if after is not None:
        time.sleep(after)
        os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]


def outcome(run: Path) -> tuple[str, list[tuple[str, ...]]]:
    """The hash of the weights, and the history without the clock."""
    with open(run / "history.csv", newline="") as file:
        rows = [tuple(value for name, value in row.items() if name != "seconds") for row in csv.DictReader(file)]
    return hashlib.sha256((run / "model.safetensors").read_bytes()).hexdigest(), rows


def faults_of(run: Path, wanted: Any, board: bool) -> list[str]:
    """What is wrong with a resumed run."""
    found = []
    if outcome(run) != wanted:
        found.append("other weights or another history")
    if leftovers := [path.name for path in run.rglob(".*")] + [
        path.name for path in run.parent.iterdir() if re.fullmatch(r"\.[0-9a-f]{32}", path.name) and path.is_file()
    ]:
        found.append(f"left over: {leftovers}")
    kept = sorted(path.stem for path in run.glob("checkpoint/*-*.json"))
    if kept != ["00001-000015", "00002-000000"] or len(list(run.glob("checkpoint/*.safetensors"))) != 2:
        found.append(f"checkpoints: {kept}")
    if board and (repeated := figures_not_there_once(run / "tensorboard")):
        found.append(f"TensorBoard: {repeated}")
    return found


def figures_not_there_once(folder: Path) -> list[str]:
    """Tags whose steps are not those of the epochs, each once, by TensorBoard's own reader of files."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    steps: dict[tuple[str, str], list[int]] = {}
    for path in sorted(folder.glob("*/events*")):
        for event in EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                steps.setdefault((path.parent.name, value.tag), []).append(event.step)
    once = {tag for tag in steps if tag[1] == "augmented digits" or tag[0] == "test"}
    wanted = {tag: [0] if tag in once else list(range(1, EPOCHS + 1)) for tag in steps}
    return [f"{tag}: {found}" for tag, found in steps.items() if found != wanted[tag]] + ([] if steps else ["none"])


def main(folder: Path, mode: str, number: int | None) -> list[str]:
    torch.set_num_threads(1)
    board = mode == "moments"
    if board:
        from torch.utils import tensorboard  # noqa: F401 (a second, once)
    (x, y), (a, b) = load_mnist()
    data = Dataset("a few", (x[:COUNT], y[:COUNT]), (a[:100], b[:100]))
    recipe = Recipe.load("article").change(
        epochs=EPOCHS,
        curves=False,
        precision="float32",
        model={"convolutions": (4, 8), "dense": 16},
        tensorboard={"enabled": board},
    )

    def whole(run: Path, kill_at: int | None) -> int:
        faults = Faults(run.parent, kill_at) if mode == "operations" else None
        train(recipe, data, out=run, device="cpu", every_steps=EVERY)
        (folder / "count").write_text(str(faults.count if faults else 0))
        return 0

    def resumed(run: Path) -> int:
        try:
            resume(run, data=data, every_steps=EVERY)
        except RunError as error:  # killed before there was a run: the same command again
            if run.exists():
                sys.stderr.write(f"{error}\n")
                return 1
            return whole(run, None)
        return 0

    reference = folder / "reference" / "run"
    reference.parent.mkdir()
    started = time.perf_counter()
    assert in_a_fork(lambda: whole(reference, None)) == 0
    seconds, wanted = time.perf_counter() - started, outcome(reference)
    wrong = [f"not interrupted: {each}" for each in faults_of(reference, wanted, board)]
    chance = random.Random(0)
    if mode == "operations":
        every = range(1, int((folder / "count").read_text()) + 1)
        moments: list[float] = list(every if number is None else sorted(chance.sample(every, number)))
    else:
        moments = [chance.uniform(0, seconds) for _ in range(number or 20)]
    for moment in moments:
        run = folder / str(moment) / "run"
        run.parent.mkdir()
        if mode == "operations":
            ended = in_a_fork(lambda run=run, moment=moment: whole(run, int(moment)))  # type: ignore[misc]
            if ended != signal.SIGKILL:
                wrong.append(f"{moment}: ended with {ended} and was not killed")
        else:
            in_a_fork(lambda run=run: whole(run, None), moment)  # type: ignore[misc]
        if in_a_fork(lambda run=run: resumed(run)) != 0:  # type: ignore[misc]
            wrong.append(f"{moment}: did not go on")
        else:
            wrong += [f"{moment}: {each}" for each in faults_of(run, wanted, board)]
    sys.stdout.write(f"{len(moments)} kills\n")
    return wrong


if __name__ == "__main__":
    problems = main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else None)
    sys.stderr.write("\n".join(problems))
    sys.exit(1 if problems else 0)
