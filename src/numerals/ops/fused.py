"""Fused training kernels for the CPU, each with a plain PyTorch twin that the tests compare it with.

Batch normalisation in training (`batch_norm`). PyTorch's kernel for channels_last memory adds up the 21,632 values of a
channel one by one in float32: its gradients are off by 4e-3, these by 5e-6 (batch size 32, the article's first layer,
against float64). PyTorch's kernel for contiguous memory is as exact as this one but makes the whole training step 1.3
times as slow (16.2 ms against 12.7 ms, median of 120, one thread).

A convolution of one channel (`convolve_one_channel`). PyTorch hands it to oneDNN, whose gradient is slow for such
narrow filters.

ReLU, batch normalisation and 2x2 max pooling at once (`relu_batch_norm_pool`). A few passes over memory replace twenty,
which took half of a step's time. The loops are in `numba_loops`; without Numba the layers compute the three steps one
after the other. The loops run on OpenMP threads, as much of PyTorch does, so a process must not use them after a fork.
"""

import functools
import threading
from types import ModuleType
from typing import Any

import torch
from torch.autograd.function import once_differentiable

Normalised = tuple[torch.Tensor, torch.Tensor, torch.Tensor]  # feature maps; mean and variance of each channel

NUMBA_LOCK = threading.Lock()  # Numba's own thread pool, its fallback where OpenMP is missing, serves one caller only


def batch_norm(maps: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, epsilon: float) -> Normalised:
    """Normalise each channel to mean 0 and variance 1 over the batch, then scale and shift (Ioffe and Szegedy 2015).

    Args:
        maps: float32 (n, channels, height, width), channels_last for speed.
        weight, bias: scale and shift, float32 (channels,).
        epsilon: added to the variance.

    Returns:
        Normalised maps of the same shape, and the batch's mean and variance (channels,). The variance is divided by the
        number of values, not by one less. Mean and variance are not differentiable.
    """
    normalised: Normalised = _BatchNorm.apply(maps, weight, bias, epsilon)  # type: ignore[no-untyped-call]
    return normalised


def batch_norm_plain(maps: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, epsilon: float) -> Normalised:
    """The twin of `batch_norm` in plain PyTorch, with PyTorch's own gradients."""
    variance, mean = torch.var_mean(maps, (0, 2, 3), correction=0)
    scale = weight * torch.rsqrt(variance + epsilon)
    return (maps - mean[:, None, None]) * scale[:, None, None] + bias[:, None, None], mean.detach(), variance.detach()


def convolve_one_channel(maps: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Convolve one-channel maps, without padding, as one matrix product over the pixels of all windows.

    The twin is torch.conv2d. With 3x3 filters this takes 0.5 to 0.9 of its time, gradients included (batch sizes 32 and
    128, 8 to 64 filters, one and two threads), where the maps are digits and need no gradient; with 5x5, 0.6 to 1.6.

    Args:
        maps: (n, 1, height, width).
        weight: (filters, 1, side, side).
        bias: (filters,).

    Returns:
        (n, filters, height - side + 1, width - side + 1), channels_last.
    """
    filters, _, side, _ = weight.shape
    windows = maps[:, 0].unfold(1, side, 1).unfold(2, side, 1)  # (n, rows, columns, side, side)
    count, rows, columns = windows.shape[:3]
    pixels = windows.permute(3, 4, 0, 1, 2).reshape(side * side, -1)
    filter_columns = weight.reshape(filters, -1).t().contiguous()  # the copy halves the time of its gradient
    sums = torch.addmm(bias, pixels.t(), filter_columns)
    return sums.view(count, rows, columns, filters).permute(0, 3, 1, 2)


def can_fuse(maps: torch.Tensor) -> bool:
    """Whether `relu_batch_norm_pool` can take `maps`: they are in the CPU's memory, and Numba works."""
    return maps.device.type == "cpu" and _loops() is not None


def relu_batch_norm_pool(maps: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, epsilon: float) -> Normalised:
    """Apply ReLU, then `batch_norm`, then 2x2 max pooling; an odd last row or column is left out of the pooling.

    The result does not depend on the number of threads. Call it only if `can_fuse(maps)`.

    Args:
        maps: float32 (n, channels, height, width), channels_last for speed.
        weight, bias: scale and shift, float32 (channels,).
        epsilon: added to the variance.

    Returns:
        Pooled maps (n, channels, height // 2, width // 2), channels_last; mean and variance as from `batch_norm`.

    Raises:
        ValueError: wrong shapes or dtypes, or no maps. The compiled loops check no bounds.
    """
    fits = maps.ndim == 4 and maps.numel() > 0 and weight.shape == bias.shape == maps.shape[1:2]
    if not fits or {maps.dtype, weight.dtype, bias.dtype} != {torch.float32}:
        given = ", ".join(f"{tensor.dtype} {tuple(tensor.shape)}" for tensor in (maps, weight, bias))
        raise ValueError(f"maps, weight and bias must be float32 (n, channels, height, width) and (channels,): {given}")
    pooled: Normalised = _ReluBatchNormPool.apply(maps, weight, bias, epsilon)  # type: ignore[no-untyped-call]
    return pooled


def relu_batch_norm_pool_plain(
    maps: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, epsilon: float
) -> Normalised:
    """The twin of `relu_batch_norm_pool` in plain PyTorch."""
    normalised, mean, variance = batch_norm_plain(maps.relu(), weight, bias, epsilon)
    return torch.max_pool2d(normalised, 2), mean, variance


class _BatchNorm(torch.autograd.Function):
    """Batch normalisation over a matrix with a column for each channel.

    PyTorch's column sums are fast and exact there; its variance of columns is forty times slower than these sums.
    """

    @staticmethod
    def forward(
        context: Any, maps: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, epsilon: float
    ) -> Normalised:
        pixels = _to_matrix(maps)
        count = len(pixels)
        mean = pixels.sum(0) / count
        centred = pixels - mean
        variance = (centred * centred).sum(0) / count
        inverse_std = torch.rsqrt(variance + epsilon)
        context.save_for_backward(centred, weight, inverse_std)
        context.mark_non_differentiable(mean, variance)
        return _to_maps(torch.addcmul(bias, centred, weight * inverse_std), maps), mean, variance

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: torch.Tensor, *_: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        # With g the gradient of an output, c the centred input, s the inverse standard deviation, n values a channel:
        #   of the bias    sum(g)
        #   of the weight  sum(g c) s
        #   of an input    weight s (g - sum(g) / n - c s^2 sum(g c) / n)
        # The last two terms are there because every input moves the mean and the variance of its channel.
        centred, weight, inverse_std = context.saved_tensors
        pixels = _to_matrix(gradient)
        count = len(pixels)
        bias_gradient = pixels.sum(0)
        weight_gradient = (pixels * centred).sum(0) * inverse_std
        scale = weight * inverse_std
        input_gradient = torch.addcmul(-scale * bias_gradient / count, pixels, scale)
        input_gradient.addcmul_(centred, -scale * inverse_std * weight_gradient / count)
        return _to_maps(input_gradient, gradient), weight_gradient, bias_gradient, None


def _to_matrix(maps: torch.Tensor) -> torch.Tensor:
    """(n, channels, height, width) -> (n * height * width, channels); a view if the memory is channels_last."""
    return maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1])


def _to_maps(matrix: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """The inverse of `_to_matrix`: channels_last maps of the shape of `like`."""
    count, channels, height, width = like.shape
    return matrix.view(count, height, width, channels).permute(0, 3, 1, 2)


class _ReluBatchNormPool(torch.autograd.Function):
    """`_BatchNorm` between ReLU and 2x2 max pooling, in loops over (n, height, width, channels)."""

    @staticmethod
    def forward(
        context: Any, maps: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, epsilon: float
    ) -> Normalised:
        pixels = maps.permute(0, 2, 3, 1).contiguous()
        images, height, width, channels = pixels.shape
        mean, squares = pixels.new_empty(channels), pixels.new_empty(channels)
        _run("moments", pixels, mean, squares)
        count = images * height * width
        variance = squares / count
        inverse_std = torch.rsqrt(variance + epsilon)
        scale = weight * inverse_std
        pooled = pixels.new_empty(images, height // 2, width // 2, channels)
        argmax = torch.empty_like(pooled, dtype=torch.uint8)
        _run("scale_and_pool", pixels, mean, scale, bias, pooled, argmax)
        context.save_for_backward(pixels, argmax, mean, inverse_std, scale)
        context.mark_non_differentiable(mean, variance)
        return pooled.permute(0, 3, 1, 2), mean, variance

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: torch.Tensor, *_: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        # As in `_BatchNorm`, where g is not zero only at the largest pixel of each square. The gradient of an input is
        #   scale g - scale sum(g) / n - (input - mean) scale s sum(g c) s / n,  or 0 where ReLU cut the input off.
        # The second and third term are a line over the input, constant + slope * input, computed here once a channel.
        pixels, argmax, mean, inverse_std, scale = context.saved_tensors
        pooled_gradient = gradient.permute(0, 2, 3, 1).contiguous()
        bias_gradient, scale_gradient = torch.empty_like(mean), torch.empty_like(mean)
        _run("gradient_sums", pixels, mean, argmax, pooled_gradient, bias_gradient, scale_gradient)
        weight_gradient = scale_gradient * inverse_std
        share = scale / -pixels[..., 0].numel()
        slope = share * inverse_std * weight_gradient
        constant = share * bias_gradient - mean * slope
        input_gradient = torch.empty_like(pixels)
        _run("input_gradients", pixels, argmax, pooled_gradient, scale, constant, slope, input_gradient)
        return input_gradient.permute(0, 3, 1, 2), weight_gradient, bias_gradient, None


@functools.cache
def _loops() -> ModuleType | None:
    """The compiled loops; None without a Numba that works."""
    threads = torch.get_num_threads()
    try:
        from numerals.ops import numba_loops
    except (ImportError, ValueError):  # not installed, too old for this NumPy, forbidden to compile, or no threads
        return None
    finally:
        torch.set_num_threads(threads)  # Numba shares PyTorch's OpenMP and sets it to all processors
    return numba_loops


def _run(name: str, *tensors: torch.Tensor) -> None:
    """Call one of the loops with as many threads as PyTorch may use."""
    numba_loops = _loops()
    assert numba_loops is not None, "see can_fuse"
    loop, arrays = getattr(numba_loops, name), [tensor.detach().numpy() for tensor in tensors]
    with NUMBA_LOCK:
        numba_loops.set_max_threads(torch.get_num_threads())
        try:
            loop(*arrays)
        except OSError:  # the first call compiled it but could not save the machine code to disk
            loop(*arrays)
