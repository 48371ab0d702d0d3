"""The running mean of a network's weights, which is what the reading models keep."""

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel


def averaging(network: nn.Module, decay: float) -> AveragedModel:
    """The mean of weights and normalisations: call `.update_parameters(network)` after each step; `.module` is it.

    Each step keeps `decay` of the mean; the first ones less, since they are far from good.
    """

    def average(mean: torch.Tensor, new: torch.Tensor, count: torch.Tensor | int) -> torch.Tensor:
        kept = min(decay, (1 + float(count)) / (10 + float(count)))
        return mean * kept + new * (1 - kept) if new.is_floating_point() else new

    return AveragedModel(network, avg_fn=average, use_buffers=True)
