"""Serializable training state: everything a training is between two steps, as tensors and JSON, and back.

No random state is part of it: every random number is derived from (seed, purpose, epoch, step) where it is drawn.
"""

import math
import time
from dataclasses import asdict
from typing import Any, NamedTuple

import torch
from torch import nn

from numerals.article.callbacks import EarlyStopping, Epoch, OneCycle, ReduceLROnPlateau
from numerals.article.device import uses_bfloat16
from numerals.article.optimizer import KerasAdam
from numerals.article.recipe import Recipe

StateDict = dict[str, torch.Tensor]


class BestEpoch(NamedTuple):
    """The best epoch and its weights, in one object so that no interruption separates them."""

    epoch: int
    weights: StateDict


class TrainingState:
    """A training of `network`, before its first step. `fit` advances it, callbacks read it, checkpoints store it."""

    def __init__(self, network: nn.Sequential, recipe: Recipe, seed: int = 0) -> None:
        self.network, self.recipe, self.seed = network, recipe, seed
        self.optimizer = KerasAdam(network, recipe.optimizer)
        self.early_stopping = EarlyStopping(recipe.early_stopping)
        self.reduce_lr = ReduceLROnPlateau(recipe.plateau)
        self.one_cycle = OneCycle(recipe) if recipe.schedule.kind == "one-cycle" else None
        self.history: list[Epoch] = []
        self.best: BestEpoch | None = None
        self.stop_training = False
        self.steps_per_epoch = 0  # `fit` sets these three
        self.training_count = 0
        self.validation_count = 0
        self._begin_epoch(1)

    def _begin_epoch(self, epoch: int) -> None:
        self.epoch = epoch  # from 1
        self.step = 0  # steps done in this epoch
        self._loss_sum, self._correct, self._seen = 0.0, 0, 0  # over the digits of those steps
        self._started = time.perf_counter()

    @property
    def is_finished(self) -> bool:
        return self.epoch > self.recipe.epochs or self.early_stopping.stop or self.stop_training

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    @property
    def uses_bfloat16(self) -> bool:
        """Whether steps multiply in bfloat16; evaluation is always in float32."""
        return uses_bfloat16(self.recipe.precision, self.device)

    @property
    def loss(self) -> float:
        """Mean training loss over this epoch's digits so far; NaN before its first step."""
        return self._loss_sum / self._seen if self._seen else math.nan

    @property
    def accuracy(self) -> float:
        """Training accuracy over this epoch's digits so far, in [0, 1]; NaN before its first step."""
        return self._correct / self._seen if self._seen else math.nan

    @property
    def seconds(self) -> float:
        """Seconds spent in this epoch, including those before a resumption."""
        return round(time.perf_counter() - self._started, 3)

    @property
    def position(self) -> tuple[int, int]:
        """Epochs done, and steps done in the next one."""
        return self.epoch - 1, self.step

    def end_step(self, loss: float, correct: int, count: int) -> None:
        """Record a step on `count` digits: their mean loss, and how many were answered correctly."""
        self.step += 1
        self._loss_sum += loss * count
        self._correct += correct
        self._seen += count

    def end_epoch(self, val_loss: float, val_accuracy: float) -> Epoch:
        """Record an epoch: keep its weights if they are the best, set the next learning rate, begin the next epoch.

        With a one-cycle schedule the last epoch counts as the best, since the rate falls to zero at the end.
        """
        rate = self.one_cycle.highest(self.epoch) if self.one_cycle else self.optimizer.learning_rate
        row = Epoch(self.epoch, self.loss, self.accuracy, val_loss, val_accuracy, rate, self.seconds)
        self.history.append(row)
        is_best = self.one_cycle is not None or self.early_stopping.update(row.epoch, val_loss)
        if self.one_cycle is None:
            self.optimizer.learning_rate = self.reduce_lr.update(val_loss, rate)
        if is_best:
            self.best = BestEpoch(row.epoch, snapshot(self.network))
        self._begin_epoch(row.epoch + 1)
        return row

    def restore_best_weights(self) -> None:
        """Give the network the weights of its best epoch; at least one epoch must have ended."""
        assert self.best is not None
        self.network.load_state_dict(self.best.weights)

    def tensors(self) -> StateDict:
        """Network, optimizer and best weights; the first two share memory with the training."""
        best = self.best.weights if self.best else {}
        groups = {"network": self.network.state_dict(), "optimizer": self.optimizer.tensors(), "best": best}
        return {f"{group}.{name}": tensor for group, tensors in groups.items() for name, tensor in tensors.items()}

    def to_dict(self) -> dict[str, Any]:
        """Everything that is not a tensor, as JSON holds it."""
        return {
            "epoch": self.epoch,
            "step": self.step,
            "loss_sum": self._loss_sum,
            "right": self._correct,
            "seen": self._seen,
            "seconds": self.seconds,
            "best_epoch": self.best.epoch if self.best else None,
            "optimizer": self.optimizer.state(),
            "early_stopping": self.early_stopping.state(),
            "plateau": self.reduce_lr.state(),
            "history": [asdict(row) for row in self.history],
        }

    @torch.no_grad()
    def restore(self, tensors: StateDict, values: dict[str, Any]) -> None:
        """Continue from what `tensors` and `to_dict` returned.

        Raises:
            ValueError: they belong to another network.
        """
        best = {name.removeprefix("best."): each for name, each in tensors.items() if name.startswith("best.")}
        self.best = BestEpoch(values["best_epoch"], best) if values["best_epoch"] else None
        own = {name: tensor for name, tensor in self.tensors().items() if not name.startswith("best.")}
        stored = {name: tensor for name, tensor in tensors.items() if not name.startswith("best.")}
        if {name: each.shape for name, each in own.items()} != {name: each.shape for name, each in stored.items()}:
            raise ValueError("its weights belong to another network")
        for name, tensor in own.items():  # into the same memory, whose layout decides the order of sums
            tensor.copy_(stored[name])
        self.epoch, self.step = values["epoch"], values["step"]
        self._loss_sum, self._correct, self._seen = values["loss_sum"], values["right"], values["seen"]
        self._started = time.perf_counter() - values["seconds"]
        self.optimizer.restore(values["optimizer"])
        self.early_stopping.restore(values["early_stopping"])
        self.reduce_lr.restore(values["plateau"])
        self.history = [Epoch(**row) for row in values["history"]]


def snapshot(network: nn.Module) -> StateDict:
    """A copy of all weights and running statistics, on the CPU."""
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in network.state_dict().items()}
