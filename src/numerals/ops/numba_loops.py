"""Loops over feature maps for `fused.relu_batch_norm_pool`, compiled to machine code by Numba.

The first call compiles them, which takes seconds, and saves the machine code to disk for later processes. Feature maps
are float32 (n, height, width, channels), C-contiguous; results are written to the last arguments. One thread computes
each image and the sums over images are serial, so the number of threads changes no bit of a result.
"""

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
from numba import prange

if numba.config.DISABLE_JIT:  # type: ignore[attr-defined]
    raise ImportError("NUMBA_DISABLE_JIT is set; these loops are too slow unless compiled")

Floats = npt.NDArray[np.float32]
Argmax = npt.NDArray[np.uint8]  # which pixel of a 2x2 square is largest: 0 and 1 are the upper two, 2 and 3 the lower
ZERO = np.float32(0)
MAX_THREADS = numba.get_num_threads()  # Numba starts this many


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    options: dict[str, Any] = {"parallel": True, "nogil": True}
    try:
        compiled = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no folder is writable, so each process compiles for itself
        compiled = numba.njit(**options)(function)
    return compiled  # type: ignore[no-any-return]


def set_max_threads(count: int) -> None:
    """Let the loops that this thread calls use at most `count` threads."""
    numba.set_num_threads(min(count, MAX_THREADS))


@_compiled
def moments(maps: Floats, mean: Floats, squares: Floats) -> None:
    """For each channel of ReLU(maps): the mean, and the sum of squared distances from it."""
    count, height, width, channels = maps.shape
    image_mean, image_squares = np.empty((count, channels), np.float32), np.empty((count, channels), np.float32)
    for image in prange(count):
        total, square = np.zeros(channels, np.float32), np.zeros(channels, np.float32)
        for row in range(height):
            for column in range(width):
                for channel in range(channels):
                    total[channel] += max(maps[image, row, column, channel], ZERO)
        total /= np.float32(height * width)
        for row in range(height):
            for column in range(width):
                for channel in range(channels):
                    distance = max(maps[image, row, column, channel], ZERO) - total[channel]
                    square[channel] += distance * distance
        image_mean[image], image_squares[image] = total, square
    for channel in range(channels):  # combine the images' moments (Chan, Golub and LeVeque 1979)
        centre, square_sum = image_mean[:, channel].sum(dtype=np.float64) / count, 0.0
        for image in range(count):
            square_sum += image_squares[image, channel] + height * width * (image_mean[image, channel] - centre) ** 2
        mean[channel], squares[channel] = centre, square_sum


@_compiled
def scale_and_pool(maps: Floats, mean: Floats, scale: Floats, bias: Floats, pooled: Floats, argmax: Argmax) -> None:
    """Compute (ReLU(maps) - mean) * scale + bias, and of each 2x2 square the largest value and which pixel it is.

    Pixels are compared after scaling, since a negative scale makes the smallest pixel the largest.
    """
    count, height, width, channels = pooled.shape
    for image in prange(count):
        for row in range(height):
            above, below = maps[image, 2 * row], maps[image, 2 * row + 1]
            for column in range(width):
                left, right = 2 * column, 2 * column + 1
                for channel in range(channels):
                    centre, factor = mean[channel], scale[channel]
                    largest, at = (max(above[left, channel], ZERO) - centre) * factor, 0
                    value = (max(above[right, channel], ZERO) - centre) * factor
                    largest, at = (value, 1) if value > largest else (largest, at)
                    value = (max(below[left, channel], ZERO) - centre) * factor
                    largest, at = (value, 2) if value > largest else (largest, at)
                    value = (max(below[right, channel], ZERO) - centre) * factor
                    largest, at = (value, 3) if value > largest else (largest, at)
                    pooled[image, row, column, channel] = largest + bias[channel]
                    argmax[image, row, column, channel] = at


@_compiled
def gradient_sums(
    maps: Floats, mean: Floats, argmax: Argmax, gradient: Floats, bias_gradient: Floats, scale_gradient: Floats
) -> None:
    """For each channel: the sum of the pooled maps' gradient, and of gradient * (ReLU(largest pixel) - mean)."""
    count, height, width, channels = gradient.shape
    image_bias, image_scale = np.empty((count, channels), np.float32), np.empty((count, channels), np.float32)
    for image in prange(count):
        bias_sum, scale_sum = np.zeros(channels, np.float32), np.zeros(channels, np.float32)
        for row in range(height):
            above, below = maps[image, 2 * row], maps[image, 2 * row + 1]
            for column in range(width):
                left, right = 2 * column, 2 * column + 1
                for channel in range(channels):
                    at, largest = argmax[image, row, column, channel], above[left, channel]
                    largest = above[right, channel] if at == 1 else largest
                    largest = below[left, channel] if at == 2 else largest
                    largest = below[right, channel] if at == 3 else largest
                    slope = gradient[image, row, column, channel]
                    bias_sum[channel] += slope
                    scale_sum[channel] += slope * (max(largest, ZERO) - mean[channel])
        image_bias[image], image_scale[image] = bias_sum, scale_sum
    for channel in range(channels):
        bias_gradient[channel] = image_bias[:, channel].sum(dtype=np.float64)
        scale_gradient[channel] = image_scale[:, channel].sum(dtype=np.float64)


@_compiled
def input_gradients(
    maps: Floats, argmax: Argmax, gradient: Floats, scale: Floats, constant: Floats, slope: Floats, out: Floats
) -> None:
    """Where maps > 0: constant + slope * maps, plus gradient * scale at the largest pixel of each square. Elsewhere 0.

    `constant` and `slope` (channels,) are how a pixel acts through the mean and variance of its channel.
    """
    count, height, width, channels = gradient.shape
    for image in prange(count):
        for row in range(height):
            for column in range(width):
                for channel in range(channels):
                    at = argmax[image, row, column, channel]
                    direct = gradient[image, row, column, channel] * scale[channel]
                    offset, factor = constant[channel], slope[channel]
                    for pixel in range(4):  # the compiler unrolls it
                        value = maps[image, 2 * row + pixel // 2, 2 * column + pixel % 2, channel]
                        total = offset + factor * value + (direct if at == pixel else ZERO)
                        out[image, 2 * row + pixel // 2, 2 * column + pixel % 2, channel] = total if value > 0 else ZERO
        for row in range(maps.shape[1]):  # an odd last row or column is in no square
            for column in range(2 * width if row < 2 * height else 0, maps.shape[2]):
                for channel in range(channels):
                    value = maps[image, row, column, channel]
                    total = constant[channel] + slope[channel] * value
                    out[image, row, column, channel] = total if value > 0 else ZERO
