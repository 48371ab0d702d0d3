"""Several processes that train one network, each with its share of every batch. Knows nothing about how they started.

Alone, as nearly always, a process is a team of one, and nothing here does anything. The others are found through
torch.distributed, if somebody has set it up: distributed.py does.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import distributed, nn

Predict = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]


def size() -> int:
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def rank() -> int:
    """Which of them this process is, from 0."""
    return distributed.get_rank() if size() > 1 else 0


def place() -> tuple[int, ...]:
    """What chance is derived from besides, where each is to have its own; the first has that of a team of one."""
    return (rank(),) if rank() else ()


def share(order: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """This process's part of an epoch's digits: every size-th of every batch.

    All have the same number; of a last batch that cannot be shared evenly, fewer than `size` digits are left out.
    """
    return order[: len(order) // size() * size()][rank() :: size()]


def joined(network: nn.Module) -> nn.Module:
    """The network with gradients that are the mean over the team: torch's DistributedDataParallel."""
    if size() == 1:
        return network
    return nn.parallel.DistributedDataParallel(network, broadcast_buffers=False)  # our BatchNorm keeps them equal


def total(tensor: torch.Tensor) -> torch.Tensor:
    """The sum over the team."""
    if size() > 1:
        distributed.all_reduce(tensor)
    return tensor


def overall(loss: float, right: int, digits: int) -> tuple[float, int, int]:
    """A step's mean loss, right answers and digits, over the team."""
    if size() == 1:
        return loss, right, digits
    device = "cuda" if distributed.get_backend() == "nccl" else "cpu"
    figures = total(torch.tensor([loss * digits, right, digits], dtype=torch.float64, device=device)).tolist()
    return figures[0] / figures[2], int(figures[1]), int(figures[2])


def predicting(predict: Predict) -> Predict:
    """The same answers, each process having asked for its part of them."""
    if size() == 1:
        return predict

    def together(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        parts: list[Any] = [None] * size()
        distributed.all_gather_object(parts, predict(np.array_split(images, size())[rank()]))
        return np.concatenate(parts)

    return together
