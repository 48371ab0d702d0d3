"""Kill trainings and resume them: `python -m tests.helpers.faults FOLDER MODE`. MODE says when to kill:

    operations [N]   SIGKILL before each operation that changes a file, and in the middle of each write; or at N of them
    moments N        SIGKILL at N random moments, with TensorBoard

Prints the number of kills, and a line on stderr for everything that went wrong. Each training runs in a fork of this
process, which has PyTorch loaded, so that it takes a fraction of a second. This process starts no thread and computes
nothing itself, as forking requires.
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
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"}  # audit events of operations to kill at


class FileOperations:
    """Counts the operations that change files in a folder, and kills the process at number `kill_at`."""

    def __init__(self, folder: Path, kill_at: int | None) -> None:
        self.count, self.kill_at, self._folder = 0, kill_at, str(folder)
        sys.addaudithook(self._on_audit_event)
        fsync = os.fsync

        def counted_fsync(fd: Any) -> None:
            self.count_one()
            fsync(fd)

        os.fsync = counted_fsync
        files.open = lambda path, mode: TearableFile(open(path, mode), self)  # type: ignore[attr-defined]  # noqa: SIM115

    def is_fatal(self) -> bool:
        """Count an operation; true if the process is to die at it."""
        self.count += 1
        return self.count == self.kill_at

    def count_one(self) -> None:
        """Count an operation that has not happened yet, and kill the process if it is the one."""
        if self.is_fatal():
            os.kill(os.getpid(), signal.SIGKILL)

    def _on_audit_event(self, event: str, arguments: tuple[Any, ...]) -> None:
        changes = event in CHANGES or (event == "open" and arguments[2] & os.O_CREAT)
        if changes and str(arguments[0]).startswith(self._folder):
            self.count_one()


class TearableFile:
    """A file whose write may kill the process halfway."""

    def __init__(self, file: Any, operations: FileOperations) -> None:
        self._file, self._operations = file, operations

    def write(self, content: bytes) -> None:
        if self._operations.is_fatal():
            self._file.write(content[: len(content) // 2])
            self._file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        self._file.write(content)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> "TearableFile":
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()


def run_in_fork(work: Callable[[], int], kill_after: float | None = None) -> int:
    """Do the work in a fork that exits with its result; return its wait status. Kill it after `kill_after` seconds."""
    child = os.fork()
    if child == 0:
        code = 99
        try:
            code = work()
        except BaseException:  # noqa: BLE001 (the exit code reports any failure)
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]


def outcome(run: Path) -> tuple[str, list[tuple[str, ...]]]:
    """The hash of the weights, and the history without its seconds."""
    with open(run / "history.csv", newline="") as file:
        rows = [tuple(value for name, value in row.items() if name != "seconds") for row in csv.DictReader(file)]
    return hashlib.sha256((run / "model.safetensors").read_bytes()).hexdigest(), rows


def problems_of(run: Path, expected: Any, tensorboard: bool) -> list[str]:
    """What is wrong with a resumed run, a line each."""
    problems = []
    if outcome(run) != expected:
        problems.append("other weights or another history")
    if leftovers := [path.name for path in run.rglob(".*")] + [
        path.name for path in run.parent.iterdir() if re.fullmatch(r"\.[0-9a-f]{32}", path.name) and path.is_file()
    ]:
        problems.append(f"left over: {leftovers}")
    checkpoints = sorted(path.stem for path in run.glob("checkpoint/*-*.json"))
    if checkpoints != ["00001-000015", "00002-000000"] or len(list(run.glob("checkpoint/*.safetensors"))) != 2:
        problems.append(f"checkpoints: {checkpoints}")
    if tensorboard and (wrong_tags := missing_or_repeated_figures(run / "tensorboard")):
        problems.append(f"TensorBoard: {wrong_tags}")
    return problems


def missing_or_repeated_figures(folder: Path) -> list[str]:
    """The tags without exactly one figure per epoch, as TensorBoard's own reader sees them."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    steps: dict[tuple[str, str], list[int]] = {}
    for path in sorted(folder.glob("*/events*")):
        for event in EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                steps.setdefault((path.parent.name, value.tag), []).append(event.step)
    once = {tag for tag in steps if tag[1] == "augmented digits" or tag[0] == "test"}
    expected = {tag: [0] if tag in once else list(range(1, EPOCHS + 1)) for tag in steps}
    wrong = [f"{tag}: {of_tag}" for tag, of_tag in steps.items() if of_tag != expected[tag]]
    return wrong if steps else ["no figures"]


def main(folder: Path, mode: str, number: int | None) -> list[str]:
    torch.set_num_threads(1)
    with_tensorboard = mode == "moments"
    if with_tensorboard:
        from torch.utils import tensorboard  # noqa: F401 (takes a second; the forks inherit it)
    (x, y), (a, b) = load_mnist()
    data = Dataset("a few", (x[:COUNT], y[:COUNT]), (a[:100], b[:100]))
    recipe = Recipe.load("article").change(
        epochs=EPOCHS,
        curves=False,
        precision="float32",
        model={"convolutions": (4, 8), "dense": 16},
        tensorboard={"enabled": with_tensorboard},
    )

    def whole(run: Path, kill_at: int | None) -> int:
        operations = FileOperations(run.parent, kill_at) if mode == "operations" else None
        train(recipe, data, out=run, device="cpu", every_steps=EVERY)
        (folder / "count").write_text(str(operations.count if operations else 0))
        return 0

    def resumed(run: Path) -> int:
        try:
            resume(run, data=data, every_steps=EVERY)
        except RunError as error:  # killed before the run folder existed: start again
            if run.exists():
                sys.stderr.write(f"{error}\n")
                return 1
            return whole(run, None)
        return 0

    reference = folder / "reference" / "run"
    reference.parent.mkdir()
    started = time.perf_counter()
    assert run_in_fork(lambda: whole(reference, None)) == 0
    seconds, expected = time.perf_counter() - started, outcome(reference)
    problems = [f"not interrupted: {problem}" for problem in problems_of(reference, expected, with_tensorboard)]
    rng = random.Random(0)
    moments: list[float]  # numbers of operations, or seconds
    if mode == "operations":
        all_operations = range(1, int((folder / "count").read_text()) + 1)
        moments = list(all_operations if number is None else sorted(rng.sample(all_operations, number)))
    else:
        moments = [rng.uniform(0, seconds) for _ in range(number or 20)]
    for moment in moments:
        run = folder / str(moment) / "run"
        run.parent.mkdir()
        if mode == "operations":
            status = run_in_fork(lambda run=run, moment=moment: whole(run, int(moment)))  # type: ignore[misc]
            if status != signal.SIGKILL:
                problems.append(f"{moment}: ended with {status} and was not killed")
        else:
            run_in_fork(lambda run=run: whole(run, None), moment)  # type: ignore[misc]
        if run_in_fork(lambda run=run: resumed(run)) != 0:  # type: ignore[misc]
            problems.append(f"{moment}: did not resume")
        else:
            problems += [f"{moment}: {problem}" for problem in problems_of(run, expected, with_tensorboard)]
    sys.stdout.write(f"{len(moments)} kills\n")
    return problems


if __name__ == "__main__":
    problems = main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else None)
    sys.stderr.write("\n".join(problems))
    sys.exit(1 if problems else 0)
