"""The network that reads one digit a picture: which digit, and whether it is one. Knows nothing about its training.

Small for speed: its only convolution at full size has a stride, since most of the time of such networks goes into their
first maps. 5.9 million multiplications, 333,000 parameters.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from numerals.spec import CLASSES, WHITE


class ReaderNetwork(nn.Module):
    """uint8 (n, 28, 28), white ink on black -> logits of the classes (n, 10) and of being a digit at all (n,)."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_convolution(1, 32, 5, stride=2),
            *_convolution(32, 48, 3),
            nn.MaxPool2d(2),
            *_convolution(48, 96, 3),
            nn.MaxPool2d(2),
            *_convolution(96, 128, 3),
            nn.Flatten(),
            nn.Linear(1152, 144, bias=False),
            nn.BatchNorm1d(144),
            nn.ReLU(),
            nn.Dropout(0.1),
        )
        self.classes = nn.Linear(144, len(CLASSES))
        self.is_digit = nn.Linear(144, 1)

    def forward(self, digits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        seen = self.body(digits.unsqueeze(1).float() / WHITE)
        return self.classes(seen), self.is_digit(seen).squeeze(1)


def _convolution(channels: int, filters: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    convolution = nn.Conv2d(channels, filters, kernel, stride, kernel // 2, bias=False)
    return [convolution, nn.BatchNorm2d(filters), nn.ReLU()]


def answers(
    network: nn.Module, images: npt.NDArray[np.uint8]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """What the network gives, (n, 10) and (n,), for uint8 (n, 28, 28)."""
    device = next(network.parameters()).device
    with torch.inference_mode():
        found = [network(torch.tensor(part, device=device)) for part in np.array_split(images, -(-len(images) // 1000))]
    return tuple(np.concatenate([each[i].cpu().numpy() for each in found]) for i in (0, 1))  # type: ignore[return-value]
