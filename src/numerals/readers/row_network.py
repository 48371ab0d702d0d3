"""The network that reads a row of digits: a strip in, logits of CTC labels for every second column out.

Connectionist temporal classification: Graves et al. 2006. The network is fully convolutional, so that a strip may have
any width.
"""

import torch
from torch import nn

from numerals.read.strips import STRIDE, STRIP_HEIGHT


class RowNetwork(nn.Module):
    """Convolutional network for rows of digits.

    The attribute names are the keys of model.safetensors: `look` extracts features from the strip, `around` adds the
    context of neighbouring columns, `name` classifies each column.

    Args:
        widths: channels of the five convolutions of `look`.
        dropout: before the classification.
    """

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
        """Return logits float32 (n, ceil(w / 2), 11): the blank first, then the digits 0 to 9.

        Args:
            strips: uint8 or float (n, 1, 40, w) in 0..255, bright ink on black, as `read.strips` makes them.
        """
        features = self.look(strips.float() * (1 / 200) - 0.2)
        for layer in self.around:
            features = features + layer(features)
        logits: torch.Tensor = self.name(self.dropout(features))
        return logits.squeeze(2).transpose(1, 2)


def _layer(
    inputs: int, outputs: int, kernel: tuple[int, int], padding: tuple[int, int], pool: int = 1
) -> nn.Sequential:
    """Convolution, max pooling of rows, batch normalisation, ReLU.

    Pooling comes first because it makes the last two, which are slow, work on fewer values.
    """
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=padding, bias=False),
        nn.MaxPool2d((pool, 1)) if pool > 1 else nn.Identity(),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )
