"""Loops over maps that Numba compiles to machine code, for kernel.py, which says what they are for.

They are compiled at the first call, which takes some seconds, and kept on disk for all later processes. The maps are
float32 (n, height, width, channels), C-contiguous. Each image is one thread's, so that their number changes no bit.
"""

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
from numba import prange

if numba.config.DISABLE_JIT:  # type: ignore[attr-defined]
    raise ImportError("NUMBA_DISABLE_JIT is set, and these loops are slow unless compiled")

Floats = npt.NDArray[np.float32]
Corners = npt.NDArray[np.uint8]  # of four pixels, the one that was largest: 0 and 1 above, 2 and 3 below
ZERO = np.float32(0)
THREADS = numba.get_num_threads()  # all there are; they start here


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    options: dict[str, Any] = {"parallel": True, "nogil": True}
    try:
        compiled = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no folder may be written: compiled anew in each process
        compiled = numba.njit(**options)(function)
    return compiled  # type: ignore[no-any-return]


def use_threads(count: int) -> None:
    """At most so many for the loops that this thread calls."""
    numba.set_num_threads(min(count, THREADS))


@_compiled
def moments(maps: Floats, mean: Floats, squares: Floats) -> None:
    """Of ReLU(maps), by channel: the mean, and the sum of squared distances from it."""
    count, height, width, channels = maps.shape
    own_mean, own_squares = np.empty((count, channels), np.float32), np.empty((count, channels), np.float32)
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
        own_mean[image], own_squares[image] = total, square
    for channel in range(channels):  # of all images from those of each (Chan, Golub and LeVeque 1979)
        centre, square_sum = own_mean[:, channel].sum(dtype=np.float64) / count, 0.0
        for image in range(count):
            square_sum += own_squares[image, channel] + height * width * (own_mean[image, channel] - centre) ** 2
        mean[channel], squares[channel] = centre, square_sum


@_compiled
def scale_and_pool(maps: Floats, mean: Floats, scale: Floats, bias: Floats, pooled: Floats, corners: Corners) -> None:
    """(ReLU(maps) - mean) * scale + bias: the largest of every four pixels, and which one it was."""
    count, height, width, channels = pooled.shape
    for image in prange(count):
        for row in range(height):
            above, below = maps[image, 2 * row], maps[image, 2 * row + 1]
            for column in range(width):
                left, right = 2 * column, 2 * column + 1
                for channel in range(channels):
                    centre, factor = mean[channel], scale[channel]
                    largest, corner = (max(above[left, channel], ZERO) - centre) * factor, 0
                    value = (max(above[right, channel], ZERO) - centre) * factor
                    largest, corner = (value, 1) if value > largest else (largest, corner)
                    value = (max(below[left, channel], ZERO) - centre) * factor
                    largest, corner = (value, 2) if value > largest else (largest, corner)
                    value = (max(below[right, channel], ZERO) - centre) * factor
                    largest, corner = (value, 3) if value > largest else (largest, corner)
                    pooled[image, row, column, channel] = largest + bias[channel]
                    corners[image, row, column, channel] = corner


@_compiled
def gradient_sums(
    maps: Floats, mean: Floats, corners: Corners, gradient: Floats, plain: Floats, weighted: Floats
) -> None:
    """By channel: the sum of the gradient, and of it times ReLU(the pixel it belongs to) - mean."""
    count, height, width, channels = gradient.shape
    own_plain, own_weighted = np.empty((count, channels), np.float32), np.empty((count, channels), np.float32)
    for image in prange(count):
        plain_sum, weighted_sum = np.zeros(channels, np.float32), np.zeros(channels, np.float32)
        for row in range(height):
            above, below = maps[image, 2 * row], maps[image, 2 * row + 1]
            for column in range(width):
                left, right = 2 * column, 2 * column + 1
                for channel in range(channels):
                    corner, value = corners[image, row, column, channel], above[left, channel]
                    value = above[right, channel] if corner == 1 else value
                    value = below[left, channel] if corner == 2 else value
                    value = below[right, channel] if corner == 3 else value
                    slope = gradient[image, row, column, channel]
                    plain_sum[channel] += slope
                    weighted_sum[channel] += slope * (max(value, ZERO) - mean[channel])
        own_plain[image], own_weighted[image] = plain_sum, weighted_sum
    for channel in range(channels):
        plain[channel] = own_plain[:, channel].sum(dtype=np.float64)
        weighted[channel] = own_weighted[:, channel].sum(dtype=np.float64)


@_compiled
def spread(
    maps: Floats, corners: Corners, gradient: Floats, scale: Floats, constant: Floats, by_value: Floats, out: Floats
) -> None:
    """Where maps > 0: constant + by_value * maps, and in its corner gradient * scale besides. Elsewhere 0."""
    count, height, width, channels = gradient.shape
    for image in prange(count):
        for row in range(height):
            for column in range(width):
                for channel in range(channels):
                    corner = corners[image, row, column, channel]
                    slope = gradient[image, row, column, channel] * scale[channel]
                    flat, factor = constant[channel], by_value[channel]
                    for place in range(4):  # unrolled by the compiler
                        value = maps[image, 2 * row + place // 2, 2 * column + place % 2, channel]
                        own = flat + factor * value + (slope if corner == place else ZERO)
                        out[image, 2 * row + place // 2, 2 * column + place % 2, channel] = own if value > 0 else ZERO
        for row in range(maps.shape[1]):  # an odd row or column at the end is in no square
            for column in range(2 * width if row < 2 * height else 0, maps.shape[2]):
                for channel in range(channels):
                    value = maps[image, row, column, channel]
                    own = constant[channel] + by_value[channel] * value
                    out[image, row, column, channel] = own if value > 0 else ZERO
