"""What happens between epochs (the article's section 5): early stopping, learning rate on plateau, TensorBoard.

Knows nothing about data. Both rules decide as Keras's callbacks of the same names do, in float32 as they do, on any
sequence of losses (a test compares them).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from numerals.learn import recipe as recipes
from numerals.learn import recipe_tables

MISTAKES = 128  # of the test digits, shown in TensorBoard: the surest


@dataclass(frozen=True)
class Epoch:
    """A row of the history. The training figures are means over the epoch: augmented digits, dropout on."""

    epoch: int  # from 1
    loss: float
    accuracy: float
    val_loss: float
    val_accuracy: float
    learning_rate: float  # that this epoch was trained with
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class Stopped(Exception):  # noqa: N818  it is no error
    """What whoever watches a training raises after an epoch, where the others of a sweep do better."""


class EarlyStopping:
    """Stops after `patience` epochs without a new least val_loss, and remembers which epoch had it."""

    def __init__(self, recipe: recipe_tables.EarlyStopping) -> None:
        self._patience = recipe.patience
        self._best: float | None = None
        self._wait = 0
        self.best_epoch = 0  # from 1; 0 before the first
        self.stop = False

    def is_best(self, epoch: int, val_loss: float) -> bool:
        """Take note of an epoch's val_loss; true if its weights are the ones to keep. Sets `stop`."""
        self._wait += 1
        if _less(val_loss, self._best):
            self._best, self.best_epoch, self._wait = val_loss, epoch, 0
            return True
        self.stop = self._wait >= self._patience
        return False

    def state(self) -> dict[str, Any]:
        """What it has seen, for `restore`."""
        return {"best": self._best, "wait": self._wait, "best_epoch": self.best_epoch}

    def restore(self, state: dict[str, Any]) -> None:
        self._best, self._wait, self.best_epoch = state["best"], state["wait"], state["best_epoch"]
        self.stop = self._wait >= self._patience


class Plateau:
    """Multiplies the learning rate with `factor` after `patience` epochs without a gain of `min_delta` in val_loss."""

    def __init__(self, recipe: recipe_tables.Plateau) -> None:
        self._recipe = recipe
        self._best: float | None = None
        self._wait = 0

    def next_rate(self, val_loss: float, rate: float) -> float:
        """The learning rate for the epoch after one that ended with this val_loss, as a float32 holds it."""
        if _less(val_loss + self._recipe.min_delta, self._best):
            self._best, self._wait = val_loss, 0
            return rate
        self._wait += 1
        if self._wait < self._recipe.patience or rate <= float(np.float32(self._recipe.minimum)):
            return rate
        self._wait = 0
        held = float(np.float32(rate))  # Keras multiplies what a float32 holds, which shows in the last bit
        return float(np.float32(max(held * self._recipe.factor, self._recipe.minimum)))

    def state(self) -> dict[str, Any]:
        """What it has seen, for `restore`."""
        return {"best": self._best, "wait": self._wait}

    def restore(self, state: dict[str, Any]) -> None:
        self._best, self._wait = state["best"], state["wait"]


def _less(value: float, best: float | None) -> bool:
    """Whether it is a gain, as Keras compares: in float32; the first value always is one; NaN is none."""
    return best is None or bool(np.float32(value) < np.float32(best))


class OneCycle:
    """A learning rate that rises in a line to its peak and falls in a line to nothing (Smith and Topin 2017)."""

    def __init__(self, recipe: recipes.Recipe) -> None:
        self._peak, self._warmup, self._epochs = recipe.optimizer.learning_rate, recipe.schedule.warmup, recipe.epochs

    def rate(self, done: float) -> float:
        """The rate after `done` epochs, a whole number or not."""
        share = done / self._epochs
        return self._peak * min(share / self._warmup, (1 - share) / (1 - self._warmup))

    def highest(self, epoch: int) -> float:
        """The highest rate of an epoch, from 1."""
        return self.rate(min(max(self._warmup * self._epochs, epoch - 1), epoch))


class TensorBoard:
    """Writes what TensorBoard shows, without TensorFlow: `tensorboard --logdir RUN/tensorboard`.

    Training and validation are two writers with the same tags, so that the page draws them over each other. Where files
    of an earlier part of the training are in the folder, it goes on after them.

    Args:
        history: the epochs before; their figures are written again where the files are not there any more.
    """

    def __init__(self, folder: Path, history: Sequence[Epoch] = ()) -> None:
        from torch.utils.tensorboard import SummaryWriter  # half a second that other recipes need not spend

        self.is_new = not any(folder.glob("*/*"))
        self._train = SummaryWriter(folder / "train")
        self._validation = SummaryWriter(folder / "validation")
        for row in history if self.is_new else ():
            self.add_figures(row)

    def add_digits(self, tag: str, grid: npt.NDArray[np.uint8]) -> None:
        """One grey picture, uint8 (height, width)."""
        self._train.add_image(tag, grid, 0, dataformats="HW")

    def add_epoch(self, row: Epoch, network: nn.Module) -> None:
        """Losses, accuracies, learning rate, and a histogram of each weight."""
        self.add_figures(row)
        for name, weights in network.named_parameters():
            if torch.isfinite(weights).all():  # there is no histogram of NaN
                self._train.add_histogram(f"weights/{name}", weights.detach().float(), row.epoch)

    def add_figures(self, row: Epoch) -> None:
        """Losses, accuracies, learning rate."""
        self._train.add_scalar("loss", row.loss, row.epoch)
        self._train.add_scalar("accuracy", row.accuracy, row.epoch)
        self._train.add_scalar("learning_rate", row.learning_rate, row.epoch)
        self._validation.add_scalar("loss", row.val_loss, row.epoch)
        self._validation.add_scalar("accuracy", row.val_accuracy, row.epoch)

    def flush(self) -> None:
        """Everything is in the files."""
        self._train.flush()
        self._validation.flush()

    def close(self) -> None:
        self._train.close()
        self._validation.close()


def add_test(
    folder: Path, probabilities: npt.NDArray[np.float32], images: npt.NDArray[np.uint8], labels: npt.NDArray[np.uint8]
) -> None:
    """TensorBoard's page on the test digits: the confusion matrix, and the mistakes, the surest first."""
    from torch.utils.tensorboard import SummaryWriter

    from numerals.learn import figures, measures, pictures  # matplotlib, which other recipes need not import

    answers = probabilities.argmax(axis=1)
    wrong = np.flatnonzero(answers != labels)
    surest = wrong[np.argsort(-probabilities[wrong].max(axis=1), kind="stable")][:MISTAKES]
    with SummaryWriter(folder / "test") as writer:
        matrix = figures.confusion_picture(measures.confusion_matrix(labels, answers))
        writer.add_image("confusion matrix", matrix, 0, dataformats="HWC")
        if len(surest):
            writer.add_image("mistakes", pictures.sheet(images[surest], 16), 0, dataformats="HW")
        named = ", ".join(f"{labels[at]} as {answers[at]}" for at in surest)
        writer.add_text("mistakes, row by row", named or "none")
