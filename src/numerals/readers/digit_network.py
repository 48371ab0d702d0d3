"""The network that reads one digit per picture: which digit it is, and whether it is a digit at all.

Its only convolution at full resolution has a stride of 2, because such networks spend most of their time on their
first feature maps. 5.9 million multiplications per digit, 333,000 parameters.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from numerals.spec import CLASSES, WHITE


class DigitNetwork(nn.Module):
    """Convolutional network with two heads: digit classes, and digit or non-digit."""

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
        """Return the logits of the classes, (n, 10), and of being a digit, (n,).

        Args:
            digits: uint8 (n, 28, 28) in 0..255, white ink on black.
        """
        features = self.body(digits.unsqueeze(1).float() / WHITE)
        return self.classes(features), self.is_digit(features).squeeze(1)


def _convolution(channels: int, filters: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    convolution = nn.Conv2d(channels, filters, kernel, stride, kernel // 2, bias=False)
    return [convolution, nn.BatchNorm2d(filters), nn.ReLU()]


def predict_logits(
    network: nn.Module, images: npt.NDArray[np.uint8]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Run a network with the two outputs of `DigitNetwork` over many digits, in batches of at most 1000.

    Args:
        network: in evaluation mode, on any device.
        images: uint8 (n, 28, 28), white ink on black.

    Returns:
        Class logits float32 (n, 10), and logits of being a digit float32 (n,).
    """
    device = next(network.parameters()).device
    batches = np.array_split(images, -(-len(images) // 1000))
    with torch.inference_mode():
        outputs = [network(torch.tensor(batch, device=device)) for batch in batches]
    classes, is_digit = (np.concatenate([output[head].cpu().numpy() for output in outputs]) for head in (0, 1))
    return classes, is_digit
