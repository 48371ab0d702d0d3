"""What the trainings of both reading networks share: weight averaging and progress."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel


@dataclass(frozen=True)
class Progress:
    """How far a training is, and its metrics since the last report.

    Attributes:
        unit: what the training counts.
        done: finished units, from 1 to `total`.
        total: units of the whole training.
        loss: mean training loss since the last report.
        metrics: further metrics by name, in the order of their columns in history.csv.
    """

    unit: Literal["step", "round"]
    done: int
    total: int
    loss: float
    metrics: Mapping[str, float] = field(default_factory=dict)

    def history_row(self) -> dict[str, float]:
        """The row of history.csv: unit, units, loss, then the metrics."""
        return {self.unit: self.done, f"{self.unit}s": self.total, "loss": self.loss, **self.metrics}


ProgressCallback = Callable[[nn.Module, Progress], None]  # called with the averaged network so far


def moving_average(network: nn.Module, decay: float) -> AveragedModel:
    """Exponential moving average of a network's weights and batch-normalisation statistics.

    Call `.update_parameters(network)` after each optimizer step; `.module` is the averaged network.

    Args:
        network: the network in training.
        decay: share of the average that each update keeps, in [0, 1). The first updates keep less, (1 + n) / (10 + n)
            after n of them, because the first weights are far from good.
    """

    def update(average: torch.Tensor, new: torch.Tensor, count: torch.Tensor | int) -> torch.Tensor:
        share = min(decay, (1 + float(count)) / (10 + float(count)))
        return average * share + new * (1 - share) if new.is_floating_point() else new

    return AveragedModel(network, avg_fn=update, use_buffers=True)
