"""Small trainings for the tests: a few hundred digits, eight steps per epoch, and ways to stop them."""

import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from numerals.article import model
from numerals.article.callbacks import Epoch
from numerals.article.data import Dataset, split_indices
from numerals.article.fit import Callback
from numerals.article.state import TrainingState
from numerals.runs.train import FinishedRun, train
from tests.helpers.keras_peer import digits, small

COUNT = 300  # 240 to train on, which are 8 steps per epoch, and 60 for validation
EPOCHS = 3
DATA = digits(COUNT)
CPU = torch.device("cpu")


class Recorder(Callback):
    """Records what happens in a training; may call `action` after one of its steps."""

    def __init__(self, epoch: int = 0, step: int = 0, action: Callable[[], None] = lambda: None) -> None:
        self.begins_at = (0, 0)
        self.layers: list[model.LayerSummary] = []
        self.steps: list[tuple[int, int]] = []
        self.steps_per_epoch = 0
        self.digits = (0, 0)  # for training, for validation
        self.rows: list[tuple[Epoch, bool]] = []  # and whether the epoch was the best so far
        self._act_at, self._action = (epoch, step), action

    def on_train_begin(self, state: TrainingState) -> None:
        self.begins_at = (state.epoch, state.step)
        self.layers = model.describe(state.network)
        self.steps_per_epoch = state.steps_per_epoch
        self.digits = state.training_count, state.validation_count

    def on_step_end(self, state: TrainingState) -> None:
        self.steps.append((state.epoch, state.step))
        if (state.epoch, state.step) == self._act_at:
            self._action()

    def on_epoch_end(self, state: TrainingState, epoch: Epoch) -> None:
        self.rows.append((epoch, state.best is not None and state.best.epoch == epoch.epoch))


class PulledPlugError(Exception):
    """An error that no code expects."""


def pull_the_plug() -> None:
    raise PulledPlugError


def interrupt() -> None:
    raise KeyboardInterrupt


def train_few(
    tmp_path: Path, name: str = "run", seed: int = 0, callbacks: Sequence[Callback] = (), **changes: Any
) -> FinishedRun:
    """A training of a small network on DATA; `changes` are those of the recipe."""
    return train(small(**changes), DATA, out=tmp_path / name, seed=seed, device="cpu", callbacks=callbacks)


def stopped_run(out: Path, epoch: int, step: int, every: int | None = None, **changes: Any) -> Path:
    """The folder of a training that ended suddenly after a step."""
    with pytest.raises(PulledPlugError):
        train(
            small(**{"epochs": EPOCHS, "curves": False} | changes),
            DATA,
            out=out,
            device="cpu",
            every_steps=every,
            callbacks=[Recorder(epoch, step, pull_the_plug)],
        )
    return out


def history_without_seconds(run: FinishedRun) -> list[Epoch]:
    return [replace(row, seconds=0.0) for row in run.history]


def equal_runs(one: FinishedRun, other: FinishedRun) -> bool:
    """Whether two runs are equal but for their times."""
    keys = ("weights_sha256", "test", "best_epoch", "ended")
    metrics = [{key: run.metrics[key] for key in keys} for run in (one, other)]
    return history_without_seconds(one) == history_without_seconds(other) and metrics[0] == metrics[1]


def split_data(data: Dataset) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    """The training and the validation digits of the article's split."""
    images, labels = data.train
    training, validation = split_indices(len(images), 0.2, 42)
    return (images[training], labels[training]), (images[validation], labels[validation])


def flip_byte(path: Path, at: float = 0.6) -> None:
    """Change one bit at this share of the file's length."""
    content = bytearray(path.read_bytes())
    content[int(len(content) * at)] ^= 1
    path.write_bytes(content)


def sha256_sums(run: Path) -> dict[str, str]:
    """The output of sha256sum for a run's files."""
    names = sorted(
        str(path.relative_to(run)) for path in run.rglob("*") if path.is_file() and path.name != "SHA256SUMS"
    )
    output = subprocess.run(["sha256sum", *names], cwd=run, capture_output=True, text=True, check=True).stdout
    return dict(line.split("  ", 1)[::-1] for line in output.splitlines())
