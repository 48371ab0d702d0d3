"""All that a training is between two of its steps, as tensors and as JSON, and back. Knows nothing about files.

Chance is not in it: that is derived from (seed, epoch, step) wherever it is drawn.
"""

import time
from dataclasses import asdict
from typing import Any

import torch
from torch import nn

from numerals.article.callbacks import EarlyStopping, Epoch, Plateau
from numerals.article.optimizer import KerasAdam
from numerals.article.recipe import Recipe

Weights = dict[str, torch.Tensor]


class State:
    """A training before its first step; it is changed by whoever trains."""

    def __init__(self, network: nn.Module, recipe: Recipe) -> None:
        self.network = network
        self.optimizer = KerasAdam(network, recipe.optimizer)
        self.stopping, self.plateau = EarlyStopping(recipe.early_stopping), Plateau(recipe.plateau)
        self.history: list[Epoch] = []
        self.best: tuple[int, Weights] | None = None  # epoch and weights together, so that no interruption parts them
        self.epoch = 0
        self.begin(1)

    def begin(self, epoch: int) -> None:
        """Before the first step of an epoch."""
        self.epoch, self.step = epoch, 0  # steps done in it
        self.loss_sum, self.right, self.seen = 0.0, 0, 0  # over the digits of those steps
        self._began = time.perf_counter()

    def count(self, loss: float, right: int, digits: int) -> None:
        """A step was done, of so many digits with that mean loss."""
        self.step += 1
        self.loss_sum += loss * digits
        self.right += right
        self.seen += digits

    @property
    def seconds(self) -> float:
        """That this epoch has taken, before a resumption and after it."""
        return round(time.perf_counter() - self._began, 3)

    @property
    def place(self) -> tuple[int, int]:
        """Epochs done, and steps done in the next."""
        return self.epoch - 1, self.step

    def tensors(self) -> Weights:
        """The weights now, the optimizer's, and the best epoch's; the first two are the training's own."""
        found = {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        found |= {f"optimizer.{name}": tensor for name, tensor in self.optimizer.tensors().items()}
        return found | {f"best.{name}": tensor for name, tensor in (self.best[1] if self.best else {}).items()}

    def facts(self) -> dict[str, Any]:
        """Everything else."""
        return {
            "epoch": self.epoch,
            "step": self.step,
            "loss_sum": self.loss_sum,
            "right": self.right,
            "seen": self.seen,
            "seconds": self.seconds,
            "best_epoch": self.best[0] if self.best else None,
            "optimizer": self.optimizer.state(),
            "early_stopping": self.stopping.state(),
            "plateau": self.plateau.state(),
            "history": [asdict(row) for row in self.history],
        }

    @torch.no_grad()
    def restore(self, tensors: Weights, facts: dict[str, Any]) -> None:
        """Go on from there.

        Raises:
            ValueError: they are another network's.
        """
        best = {name.removeprefix("best."): each for name, each in tensors.items() if name.startswith("best.")}
        self.best = (facts["best_epoch"], best) if facts["best_epoch"] else None
        own = {name: tensor for name, tensor in self.tensors().items() if not name.startswith("best.")}
        kept = {name: tensor for name, tensor in tensors.items() if not name.startswith("best.")}
        if {name: each.shape for name, each in own.items()} != {name: each.shape for name, each in kept.items()}:
            raise ValueError("its weights are another network's")
        for name, tensor in own.items():  # into the same memory, whose order decides in which order sums are made
            tensor.copy_(kept[name])
        self.epoch, self.step = facts["epoch"], facts["step"]
        self.loss_sum, self.right, self.seen = facts["loss_sum"], facts["right"], facts["seen"]
        self._began = time.perf_counter() - facts["seconds"]
        self.optimizer.restore(facts["optimizer"])
        self.stopping.restore(facts["early_stopping"])
        self.plateau.restore(facts["plateau"])
        self.history = [Epoch(**row) for row in facts["history"]]
