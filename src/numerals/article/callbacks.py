"""What happens after each epoch (the article's section 5): early stopping, and reducing the learning rate on a plateau.

Both decide as the Keras callbacks of the same names do, in float32 as they do, on any sequence of losses; a test
compares them. `TrainingState.end_epoch` asks them after every epoch. Your own code during a training is a
subclass of `Callback` in fit.py, as are TensorBoard (runs/tensorboard.py), checkpoints (runs/checkpoint.py) and the
progress bar (runs/progress.py).
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from numerals.article.recipe import EarlyStoppingSettings, PlateauSettings, Recipe


@dataclass(frozen=True)
class Epoch:
    """A row of the history. Training loss and accuracy are means over the epoch: augmented digits, dropout on."""

    epoch: int  # from 1
    loss: float
    accuracy: float
    val_loss: float
    val_accuracy: float
    learning_rate: float  # used in this epoch; with a one-cycle schedule the highest
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class EarlyStopping:
    """Stops after `patience` epochs without a new minimum of val_loss, and remembers the epoch that had it."""

    def __init__(self, settings: EarlyStoppingSettings) -> None:
        self._patience = settings.patience
        self._best: float | None = None
        self._wait = 0
        self.best_epoch = 0  # from 1; 0 before the first
        self.stop = False

    def update(self, epoch: int, val_loss: float) -> bool:
        """Record an epoch's val_loss; True if it is a new minimum, whose weights to keep. Sets `stop`."""
        self._wait += 1
        if _is_less(val_loss, self._best):
            self._best, self.best_epoch, self._wait = val_loss, epoch, 0
            return True
        self.stop = self._wait >= self._patience
        return False

    def state(self) -> dict[str, Any]:
        """Its state, for a checkpoint."""
        return {"best": self._best, "wait": self._wait, "best_epoch": self.best_epoch}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from what `state` returned."""
        self._best, self._wait, self.best_epoch = state["best"], state["wait"], state["best_epoch"]
        self.stop = self._wait >= self._patience


class ReduceLROnPlateau:
    """Multiplies the learning rate by `factor` after `patience` epochs without an improvement of `min_delta`."""

    def __init__(self, settings: PlateauSettings) -> None:
        self._settings = settings
        self._best: float | None = None
        self._wait = 0

    def update(self, val_loss: float, rate: float) -> float:
        """The learning rate for the next epoch, as a float32 holds it.

        Args:
            val_loss: validation loss of the epoch that just ended.
            rate: its learning rate.
        """
        if _is_less(val_loss + self._settings.min_delta, self._best):
            self._best, self._wait = val_loss, 0
            return rate
        self._wait += 1
        if self._wait < self._settings.patience or rate <= float(np.float32(self._settings.minimum)):
            return rate
        self._wait = 0
        rate32 = float(np.float32(rate))  # Keras multiplies the float32 value, which shows in the last bit
        return float(np.float32(max(rate32 * self._settings.factor, self._settings.minimum)))

    def state(self) -> dict[str, Any]:
        """Its state, for a checkpoint."""
        return {"best": self._best, "wait": self._wait}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from what `state` returned."""
        self._best, self._wait = state["best"], state["wait"]


def _is_less(value: float, best: float | None) -> bool:
    """Whether `value` improves on `best`, compared in float32 as Keras does; the first value does, NaN never."""
    return best is None or bool(np.float32(value) < np.float32(best))


class OneCycle:
    """A learning rate that rises linearly to its peak and falls linearly to zero (Smith and Topin 2017)."""

    def __init__(self, recipe: Recipe) -> None:
        self._peak, self._warmup, self._epochs = recipe.optimizer.learning_rate, recipe.schedule.warmup, recipe.epochs

    def rate(self, epochs_done: float) -> float:
        """The rate after a number of epochs, whole or fractional."""
        share = epochs_done / self._epochs
        return self._peak * min(share / self._warmup, (1 - share) / (1 - self._warmup))

    def highest(self, epoch: int) -> float:
        """The highest rate within an epoch; epochs count from 1."""
        return self.rate(min(max(self._warmup * self._epochs, epoch - 1), epoch))
