"""Network layers that compute exactly what Keras's do, and use the fused kernels in training on a CPU.

In evaluation every layer is PyTorch's own.
"""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from numerals.ops import fused


class Flatten(nn.Module):
    """Flatten feature maps in Keras's order: (n, channels, height, width) -> (n, height * width * channels).

    channels_last memory already has this order, so nothing is copied.
    """

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return maps.permute(0, 2, 3, 1).flatten(1)


class Conv2d(nn.Conv2d):
    """A convolution with a square kernel, without padding.

    In training on a CPU a 3x3 convolution of one channel, the digit, uses `fused.convolve_one_channel`.
    """

    def __init__(self, channels: int, filters: int, side: int) -> None:
        super().__init__(channels, filters, side)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        one_channel = (self.in_channels, self.kernel_size) == (1, (3, 3))
        if self.training and one_channel and self.bias is not None and maps.device.type == "cpu":
            return fused.convolve_one_channel(maps, self.weight, self.bias)
        return super().forward(maps)


class BatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation as Keras computes it in training.

    The running variance takes the batch's variance divided by n, where PyTorch's takes it divided by n - 1.
    """

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return super().forward(maps)
        return self._normalise_by_batch(fused.batch_norm, maps)

    def _normalise_by_batch(self, kernel: Callable[..., fused.Normalised], maps: torch.Tensor) -> torch.Tensor:
        """Apply a kernel of `fused` and update the running mean and variance with the batch's."""
        normalised, mean, variance = kernel(maps.float(), self.weight, self.bias, self.eps)  # sums need float32
        assert self.running_mean is not None and self.running_var is not None and self.momentum is not None
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)
        return normalised


class ReluBatchNormPool(BatchNorm2d):
    """ReLU, batch normalisation and 2x2 max pooling as one layer: what follows each convolution of the article.

    In training on a CPU with Numba all three are one kernel, `fused.relu_batch_norm_pool`; otherwise they are computed
    one after the other. The weights are those of the batch normalisation.
    """

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        if self.training and fused.can_fuse(maps):
            return self._normalise_by_batch(fused.relu_batch_norm_pool, maps)
        return functional.max_pool2d(super().forward(functional.relu(maps)), 2)

    def unfused(self) -> tuple[nn.ReLU, BatchNorm2d, nn.MaxPool2d]:
        """The three layers, sharing this layer's weights and running statistics."""
        norm = BatchNorm2d(self.num_features, eps=self.eps, momentum=self.momentum)
        norm.weight, norm.bias = self.weight, self.bias
        norm.running_mean, norm.running_var = self.running_mean, self.running_var
        norm.num_batches_tracked = self.num_batches_tracked
        return nn.ReLU(), norm.train(self.training), nn.MaxPool2d(2)


def sequential(layers: list[nn.Module]) -> nn.Sequential:
    """Chain layers, each named by its index in the unfused network.

    A `ReluBatchNormPool` counts as three layers and has the name of the second, so a state dict has the same keys
    whether the layers are fused or not. The article's are "0.weight", "2.weight", "4.weight", "6.weight" and so on.
    """
    network, index = nn.Sequential(), 0
    for layer in layers:
        is_fused = isinstance(layer, ReluBatchNormPool)
        network.add_module(str(index + 1 if is_fused else index), layer)
        index += 3 if is_fused else 1
    return network


def unfused(network: nn.Sequential) -> nn.Sequential:
    """The same network with every `ReluBatchNormPool` as three layers, for looking at each; the weights are shared."""
    layers: list[nn.Module] = []
    for layer in network:
        layers += layer.unfused() if isinstance(layer, ReluBatchNormPool) else [layer]
    return nn.Sequential(*layers)
