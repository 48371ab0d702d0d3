"""The row network: a strip in, for every second column of it ten digits or none (CTC, Graves 2006).

Knows nothing about how strips are made. Fully convolutional, so a strip may be of any width.
"""

import torch
from torch import nn

from numerals.read.strips import STRIDE, STRIP_HEIGHT


def _layer(
    inputs: int, outputs: int, kernel: tuple[int, int], padding: tuple[int, int], pool: int = 1
) -> nn.Sequential:
    """Convolution, pooling of rows, normalisation, ReLU; pooled first, as the two last take longer than they should."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=padding, bias=False),
        nn.MaxPool2d((pool, 1)) if pool > 1 else nn.Identity(),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class RowNet(nn.Module):
    """uint8 or float (n, 1, 40, w) in 0..255 -> logits float32 (n, ceil(w / 2), 11)."""

    def __init__(self, widths: tuple[int, int, int, int, int] = (24, 40, 64, 96, 128), dropout: float = 0.1) -> None:
        super().__init__()
        a, b, c, d, e = widths
        self.look = nn.Sequential(
            nn.Conv2d(1, a, 5, STRIDE, 2),
            nn.ReLU(inplace=True),
            _layer(a, b, (3, 3), (1, 1), 2),
            _layer(b, c, (3, 3), (1, 1), 2),
            _layer(c, d, (3, 3), (1, 1)),
            _layer(d, e, (STRIP_HEIGHT // 8, 1), (0, 0)),
        )
        self.around = nn.ModuleList([_layer(e, e, (1, 5), (0, 2)) for _ in range(2)])
        self.dropout = nn.Dropout(dropout)
        self.name = nn.Conv2d(e, 11, 1)

    def forward(self, strips: torch.Tensor) -> torch.Tensor:
        seen = self.look(strips.float() * (1 / 200) - 0.2)
        for layer in self.around:
            seen = seen + layer(seen)
        logits: torch.Tensor = self.name(self.dropout(seen))
        return logits.squeeze(2).transpose(1, 2)
