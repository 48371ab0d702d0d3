"""Layers that compute as Keras's do, by way of the fused kernels where those are faster."""

from collections.abc import Callable

import torch
from torch import nn

from numerals.ops import fused


class Flatten(nn.Module):
    """(n, channels, height, width) -> (n, features) in Keras's order: height, width, channel.

    That is how channels_last memory lies already, so nothing moves.
    """

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return maps.permute(0, 2, 3, 1).flatten(1)


class Conv2d(nn.Conv2d):
    """In training on a processor, 3x3 filters of one channel, the digit's, are kernel.py's: there they are faster."""

    def __init__(self, channels: int, filters: int, side: int) -> None:
        super().__init__(channels, filters, side)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        is_ours = self.training and (self.in_channels, self.kernel_size) == (1, (3, 3)) and maps.device.type == "cpu"
        if not is_ours or self.bias is None:
            return super().forward(maps)
        return fused.convolve_one_channel(maps, self.weight, self.bias)


class BatchNorm2d(nn.BatchNorm2d):
    """As Keras computes it in training: the running variance takes the batch's own, not one corrected by n - 1."""

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return super().forward(maps)
        return self.by(fused.batch_norm, maps)

    def by(self, function: Callable[..., fused.Normalised], maps: torch.Tensor) -> torch.Tensor:
        """What a function of kernel.py makes of the maps in training; its mean and variance enter the running ones."""
        # bfloat16 would be too coarse for sums
        normalised, mean, variance = function(maps.float(), self.weight, self.bias, self.eps)
        assert self.running_mean is not None and self.running_var is not None and self.momentum is not None
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)
        return normalised


class Network(nn.Sequential):
    """Layers one after the other; in training, those three that kernel.py does together are done together.

    Hooks on those three are not called then.
    """

    def forward(self, signal: torch.Tensor) -> torch.Tensor:
        layers = list(self)
        while layers:
            match layers:
                case [
                    nn.ReLU(),
                    BatchNorm2d(training=True) as norm,
                    nn.MaxPool2d(kernel_size=2, stride=2, padding=0, dilation=1, ceil_mode=False, return_indices=False),
                    *rest,
                ] if fused.can_fuse(signal):
                    signal = norm.by(fused.relu_batch_norm_pool, signal)
                case [layer, *rest]:
                    signal = layer(signal)
            layers = rest
        return signal
