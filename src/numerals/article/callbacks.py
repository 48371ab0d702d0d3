"""What happens between epochs (the article's section 5): early stopping, learning rate on plateau, TensorBoard.

Knows nothing about data. Both rules decide as Keras's callbacks of the same names do, in float32 as they do, on any
sequence of losses (a test compares them).
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from numerals.article import recipe as recipes
from numerals.article.recipe import EarlyStoppingSettings, PlateauSettings

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

    def __init__(self, recipe: EarlyStoppingSettings) -> None:
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

    def __init__(self, recipe: PlateauSettings) -> None:
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
