"""The network that finds digits on a page: where each one is, how large, and which.

Centres of objects as peaks of a heat map: CenterNet (Zhou, Wang and Krähenbühl 2019). Features from coarse to fine:
feature pyramid networks (Lin et al. 2017). Fully convolutional, so that a page may have any size.
"""

import torch
from torch import nn
from torch.nn import functional


class DetectorNetwork(nn.Module):
    """Convolutional network that finds digits.

    The attribute names are the keys of model.safetensors: `down` has features at strides 2 to 32, `up` brings the
    coarse ones back to the fine, `head` answers.

    Args:
        widths: channels at the strides 2, 4, 8, 16 and 32.
        width: channels before the answer.
    """

    def __init__(self, widths: tuple[int, int, int, int, int] = (16, 32, 64, 112, 144), width: int = 48) -> None:
        super().__init__()
        a, b, c, d, e = widths
        self.down = nn.ModuleList(
            [
                nn.Sequential(_layer(2, a, 5, 2), _layer(a, b, 3, 2), _Residual(b)),
                nn.Sequential(_layer(b, c, 3, 2), _Residual(c), _Residual(c)),
                nn.Sequential(_layer(c, d, 3, 2), _Residual(d), _Residual(d), _Residual(d)),
                nn.Sequential(_layer(d, e, 3, 2), _Residual(e), _Residual(e)),
            ]
        )
        self.side = _layer(b, width, 1)
        self.up = nn.ModuleList([_layer(e, d, 1), _layer(d, c, 1), _layer(c, width, 1)])
        self.merge = nn.ModuleList(
            [_layer(d, d, 3), _layer(c, c, 3), nn.Sequential(_layer(width, width, 3), _Residual(width))]
        )
        self.head = nn.Conv2d(width, 15, 1)
        with torch.no_grad():
            assert self.head.bias is not None
            self.head.bias[0] = -4.0  # nearly no cell is a centre

    def forward(self, planes: torch.Tensor) -> torch.Tensor:
        """Return (n, 15, h / 4, w / 4): the logit of a digit's centre, ten logits of its class, and its box.

        The box is the logarithms of width and height in units of `detect.SIZE_UNIT` pixels, then the centre's offset
        from the upper left corner of the cell, x and y in cells.

        Args:
            planes: uint8 or float (n, 2, h, w) in 0..255, as `read.page_contrast` makes them; h and w multiples of 32.
        """
        features = [self.down[0](planes.float() * (1 / 85) - 1)]
        for level in list(self.down)[1:]:
            features.append(level(features[-1]))
        fine = [self.side(features[0]), features[1], features[2]]
        merged = features[3]
        for up, merge in zip(self.up, self.merge, strict=True):
            merged = merge(fine.pop() + functional.interpolate(up(merged), scale_factor=2.0, mode="nearest"))
        output: torch.Tensor = self.head(merged)
        return output


class _Residual(nn.Module):
    """A convolution whose output is added to its input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layer = _layer(width, width, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = x + self.layer(x)
        return output


def _layer(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Convolution, batch normalisation, ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )
