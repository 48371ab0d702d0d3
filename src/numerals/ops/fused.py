"""Steps of our own where torch's are slow or inexact on a processor. Each has a twin in plain torch, and a test.

Knows nothing about networks. The first is batch normalisation in training: torch's kernel for channels_last memory adds
a channel's 21,632 values one by one in float32, so that its gradients are off by 4e-3 where these are by 5e-6 (batch
32, the article's first layer, against float64). torch's kernel for contiguous memory is as exact as this, at 1.3 times
the processor's time for the whole step (16.2 ms against 12.7 ms, median of 120, one thread).

The second is a convolution of one channel, which torch hands to oneDNN, whose gradient of so narrow a filter is slow.

The third does the article's ReLU, that normalisation and 2x2 pooling in few passes over memory instead of twenty,
which were half of a step's time. Its loops are Numba's (loops.py); without Numba a network does them one after the
other. They run on OpenMP's threads, as much of torch does, so a process that forks must not use them in the child.
"""

import ctypes
import functools
import sys
import threading
from types import ModuleType
from typing import Any

import torch
from torch.autograd.function import once_differentiable

Normalised = tuple[torch.Tensor, torch.Tensor, torch.Tensor]  # the maps, each channel's mean and variance
ONE_AT_A_TIME = threading.Lock()  # Numba's own threads, which it takes where OpenMP is missing, serve one caller

MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1  # of glibc's malloc.h


def keep_freed_memory() -> None:
    """Memory that was freed is used again, not given back to Linux and asked for anew, as zeros, at each step.

    A step of the article then takes four fifths of the time (docs/log.md). It holds for the whole process, so it is for
    programs to call, and `train` leaves it alone. Without glibc nothing is done.
    """
    if sys.platform != "linux":
        return
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):  # musl
        return
    mallopt(MMAP_THRESHOLD, 2**25)  # larger are those of an evaluation, which are better given back
    mallopt(TRIM_THRESHOLD, 2**30)


def batch_norm(maps: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, epsilon: float) -> Normalised:
    """Each channel brought to mean 0 and variance 1 over the batch, then scaled and shifted (Ioffe and Szegedy 2015).

    Args:
        maps: float32 (n, channels, height, width), channels_last for speed.
        weight, bias: float32 (channels,).
        epsilon: added to the variance.

    Returns:
        Maps of the same shape; mean and variance (channels,) of the batch, divided by the number of values, not one
        less, and not differentiable.
    """
    normalised: Normalised = _BatchNorm.apply(maps, weight, bias, epsilon)  # type: ignore[no-untyped-call]
    return normalised


def batch_norm_plain(maps: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, epsilon: float) -> Normalised:
    """The twin: the same in plain torch, whose gradients torch derives."""
    variance, mean = torch.var_mean(maps, (0, 2, 3), correction=0)
    scale = weight * torch.rsqrt(variance + epsilon)
    return (maps - mean[:, None, None]) * scale[:, None, None] + bias[:, None, None], mean.detach(), variance.detach()


def convolve_one_channel(maps: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """A convolution, without padding, of maps with one channel, as one matrix product of all their windows' pixels.

    For filters of 3x3 in 0.5 to 0.9 of the time of torch.conv2d, its twin, gradients included (batches of 32 and 128,
    8 to 64 filters, one and two threads), where the maps are digits and need no gradient; for 5x5 in 0.6 to 1.6 of it.

    Args:
        maps: (n, 1, height, width).
        weight: (filters, 1, side, side), of odd or even side.
        bias: (filters,).

    Returns:
        (n, filters, height - side + 1, width - side + 1), channels_last.
    """
    filters, _, side, _ = weight.shape
    windows = maps[:, 0].unfold(1, side, 1).unfold(2, side, 1)  # (n, rows, columns, side, side)
    count, rows, columns = windows.shape[:3]
    pixels = windows.permute(3, 4, 0, 1, 2).reshape(side * side, -1)
    filter_columns = weight.reshape(filters, -1).t().contiguous()  # a copy, with which its gradient takes half the time
    sums = torch.addmm(bias, pixels.t(), filter_columns)
    return sums.view(count, rows, columns, filters).permute(0, 3, 1, 2)


def can_fuse(maps: torch.Tensor) -> bool:
    """Whether `relu_batch_norm_pool` takes them: they are in a processor's memory, and Numba is installed."""
    return maps.device.type == "cpu" and _loops() is not None


def relu_batch_norm_pool(maps: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, epsilon: float) -> Normalised:
    """ReLU, then `batch_norm`, then the largest of every 2x2 pixels; an odd row or column at the end is left out.

    Args and Returns: those of `batch_norm`; the maps are of half the height and width, channels_last, and come out the
    same with any number of threads. Only for maps that `can_fuse`.

    Raises:
        ValueError: other shapes or numbers than these, or no maps; the loops check nothing.
    """
    fits = maps.ndim == 4 and maps.numel() > 0 and weight.shape == bias.shape == maps.shape[1:2]
    if not fits or {maps.dtype, weight.dtype, bias.dtype} != {torch.float32}:
        given = ", ".join(f"{tensor.dtype} {tuple(tensor.shape)}" for tensor in (maps, weight, bias))
        raise ValueError(f"maps, weight and bias must be float32 (n, channels, height, width) and (channels,): {given}")
    pooled: Normalised = _RectifyNormPool.apply(maps, weight, bias, epsilon)  # type: ignore[no-untyped-call]
    return pooled


def relu_batch_norm_pool_plain(
    maps: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, epsilon: float
) -> Normalised:
    """The twin."""
    normalised, mean, variance = batch_norm_plain(maps.relu(), weight, bias, epsilon)
    return torch.max_pool2d(normalised, 2), mean, variance


class _BatchNorm(torch.autograd.Function):
    """Over rows of channels, where torch's sums are fast and exact; its own variance is forty times slower there."""

    @staticmethod
    def forward(
        context: Any, maps: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, epsilon: float
    ) -> Normalised:
        rows = _rows(maps)
        count = len(rows)
        mean = rows.sum(0) / count
        centred = rows - mean
        variance = (centred * centred).sum(0) / count
        deviation = torch.rsqrt(variance + epsilon)
        context.save_for_backward(centred, weight, deviation)
        context.mark_non_differentiable(mean, variance)
        return _maps(torch.addcmul(bias, centred, weight * deviation), maps), mean, variance

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: torch.Tensor, *_: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        centred, weight, deviation = context.saved_tensors
        rows = _rows(gradient)
        count = len(rows)
        of_bias = rows.sum(0)
        of_weight = (rows * centred).sum(0) * deviation
        scale = weight * deviation
        of_rows = torch.addcmul(-scale * of_bias / count, rows, scale)
        of_rows.addcmul_(centred, -scale * deviation * of_weight / count)
        return _maps(of_rows, gradient), of_weight, of_bias, None


def _rows(maps: torch.Tensor) -> torch.Tensor:
    """(n, channels, height, width) -> (n * height * width, channels); a view where the memory is channels_last."""
    return maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1])


def _maps(rows: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """The way back: rows as channels_last maps of the shape of `like`."""
    count, channels, height, width = like.shape
    return rows.view(count, height, width, channels).permute(0, 3, 1, 2)


class _RectifyNormPool(torch.autograd.Function):
    """The same as `_BatchNorm` between ReLU and pooling, of which only each square's largest pixel has a gradient."""

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
        deviation = torch.rsqrt(variance + epsilon)
        scale = weight * deviation
        pooled = pixels.new_empty(images, height // 2, width // 2, channels)
        corners = torch.empty_like(pooled, dtype=torch.uint8)
        _run("scale_and_pool", pixels, mean, scale, bias, pooled, corners)
        context.save_for_backward(pixels, corners, mean, deviation, scale)
        context.mark_non_differentiable(mean, variance)
        return pooled.permute(0, 3, 1, 2), mean, variance

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: torch.Tensor, *_: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        pixels, corners, mean, deviation, scale = context.saved_tensors
        slopes = gradient.permute(0, 2, 3, 1).contiguous()
        of_bias, of_scale = torch.empty_like(mean), torch.empty_like(mean)
        _run("gradient_sums", pixels, mean, corners, slopes, of_bias, of_scale)
        of_weight = of_scale * deviation
        share = scale / -pixels[..., 0].numel()
        by_value = share * deviation * of_weight
        of_pixels = torch.empty_like(pixels)
        _run("spread", pixels, corners, slopes, scale, share * of_bias - mean * by_value, by_value, of_pixels)
        return of_pixels.permute(0, 3, 1, 2), of_weight, of_bias, None


@functools.cache
def _loops() -> ModuleType | None:
    threads = torch.get_num_threads()
    try:
        from numerals.ops import numba_loops
    except (ImportError, ValueError):  # not there, not for this NumPy, told not to compile, or without threads
        return None
    finally:
        torch.set_num_threads(threads)  # Numba shares torch's OpenMP and tells it to take all processors
    return numba_loops


def _run(name: str, *tensors: torch.Tensor) -> None:
    """One of loops.py, over as many threads as torch may use."""
    numba_loops = _loops()
    assert numba_loops is not None, "see can_fuse"
    loop, arrays = getattr(numba_loops, name), [tensor.detach().numpy() for tensor in tensors]
    with ONE_AT_A_TIME:
        numba_loops.use_threads(torch.get_num_threads())
        try:
            loop(*arrays)
        except OSError:  # it was compiled just now, and its machine code could not be kept on disk
            loop(*arrays)
