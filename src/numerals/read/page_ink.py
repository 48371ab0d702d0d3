"""Extract the ink of a page, whatever the light, the tint of the paper and the colour of the ink.

Unlike a picture of one digit (see `digit_ink`), a page is mostly background, and its writing may have any size and
strength. So the rarer of bright and dark is the ink, the threshold comes from the noise of each block of the page, and
the contrast is kept as it is, since a faint row next to a bold one must stay.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from numerals.read.background import absorbed_light, without_ink
from numerals.read.pixels import GreyPixels, Mask, Pixels, downscale
from numerals.read.ruled_lines import without_ruled_lines
from numerals.read.strips import Darkness

MAX_SIDE = 1120  # pixels; larger pictures are reduced before rows are detected
BACKGROUND_SIDE = 160  # pixels of the longest side at which the background is judged
MIN_INK = 7.0  # of 255: less is never ink
MIN_SIGNAL_TO_NOISE = 5.0  # ink is this many times as strong as the background's noise
CLEAR_INK = 2.0  # somewhere, a stroke must be this many times as strong as its faintest parts may be
EDGE_STEP, MIN_TONE_RANGE = 0.15, 60  # the paper ends where its tone changes by this share of its range of levels
HALO_SHARE = 0.3  # of the strongest ink within a few pixels: less is blur


@dataclass(frozen=True)
class Sheet:
    """The ink of a page."""

    ink: Darkness  # float32 (h, w) in [0, 255]: the share of the background's light that the ink absorbs, times 255
    mask: Mask  # uint8 (h, w): 1 where there is writing

    def turned(self, quarters: int) -> "Sheet":
        """Return the sheet after counterclockwise quarter turns."""
        ink = np.ascontiguousarray(np.rot90(self.ink, quarters), np.float32)
        return Sheet(ink, np.ascontiguousarray(np.rot90(self.mask, quarters), np.uint8))


def reduced(pixels: Pixels) -> tuple[Pixels, float]:
    """Downscale a picture to the size at which rows are detected, and return it with its scale, at most 1."""
    scale = min(1.0, MAX_SIDE / max(pixels.shape[:2]))
    return (pixels, scale) if scale == 1 else (downscale(pixels, scale), scale)


def extract_sheet(pixels: Pixels, light_ink: bool | None = None, ruled: bool = True) -> Sheet:
    """Extract the ink of a page.

    Args:
        pixels: grey or RGB, as `reduced` returns them.
        light_ink: whether the ink is lighter than its background; None for what is more likely.
        ruled: there may be ruled lines and boxes, which are removed from the mask.
    """
    light_ink = polarities(pixels)[0] if light_ink is None else light_ink
    planes = [np.asarray(plane, np.uint8) for plane in (cv2.split(pixels) if pixels.ndim == 3 else [pixels])]
    if light_ink:
        planes = [np.asarray(cv2.bitwise_not(plane), np.uint8) for plane in planes]
    ink = combined([contrast(plane) for plane in planes])
    mask = writing_mask(ink)
    return Sheet(ink, without_ruled_lines(mask) if ruled else mask)


def polarities(pixels: Pixels) -> list[bool]:
    """Return whether the ink of a page is lighter than its background; both answers, the likelier first, if unclear.

    Where the paper ends, on a table of another tone, its corners look like ink, so the surroundings of such edges are
    ignored. But large digits close together may look like such an edge.
    """
    grey = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8) if pixels.ndim == 3 else pixels
    without_edges, with_edges = has_light_ink(grey, ignore_edges=True), has_light_ink(grey)
    return [without_edges] if without_edges == with_edges else [without_edges, with_edges]


def has_light_ink(grey: GreyPixels, ignore_edges: bool = False) -> bool:
    """Return whether the ink is lighter than its background: it is the rarer and the stronger of the two.

    Args:
        grey: the picture.
        ignore_edges: ignore what is near to where the tone of the paper changes.
    """
    small = downscale(grey, 0.5) if max(grey.shape) > 700 else grey
    tone = cv2.medianBlur(cv2.resize(small, (64, 64), interpolation=cv2.INTER_AREA), 21)
    size = small.shape[::-1]
    difference = small - cv2.resize(tone, size, interpolation=cv2.INTER_LINEAR).astype(np.float32)
    if ignore_edges:
        step = cv2.morphologyEx(tone, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
        edges = (step > EDGE_STEP * max(int(tone.max()) - int(tone.min()), MIN_TONE_RANGE)).astype(np.uint8)
        edges = np.asarray(cv2.dilate(edges, np.ones((15, 15), np.uint8)), np.uint8)
        if edges.mean() < 0.75:
            difference = difference[cv2.resize(edges, size, interpolation=cv2.INTER_NEAREST) == 0]
    return float(np.mean(difference**3)) > 0


def contrast(plane: GreyPixels) -> GreyPixels:
    """Return how much darker than the background around it each pixel is: the share of its brightness, times 255."""
    step = max(max(plane.shape) / BACKGROUND_SIDE, 1.0)
    small = downscale(plane, 1 / step)
    margin = 20
    padded = cv2.copyMakeBorder(cv2.medianBlur(small, 3), margin, margin, margin, margin, cv2.BORDER_REPLICATE)
    closed = without_ink(np.asarray(padded, np.uint8), 13, cv2.MORPH_ELLIPSE)
    background = np.ascontiguousarray(cv2.GaussianBlur(closed, (0, 0), 3)[margin:-margin, margin:-margin])
    background = np.maximum(cv2.resize(background, plane.shape[::-1], interpolation=cv2.INTER_LINEAR), 16)
    return absorbed_light(plane, background)


def combined(planes: list[GreyPixels]) -> Darkness:
    """Combine the planes of a coloured picture, each weighted by how strongly the ink shows in it."""
    strengths = np.array([float(np.percentile(plane[::4, ::4], 99)) for plane in planes]) + 1e-3
    weights = strengths**2 / np.sum(strengths**2)
    ink = np.zeros(planes[0].shape, np.float32)
    for plane, weight in zip(planes, weights.tolist(), strict=True):
        cv2.scaleAdd(plane.astype(np.float32), weight, ink, ink)
    return ink


def writing_mask(ink: Darkness) -> Mask:
    """Return the mask of pixels that stand out from the noise and belong to something that does so clearly.

    Faint writing next to bold writing stays: no share of the boldest ink is required of all ink. But near a bold
    stroke, its halo is not taken for ink.
    """
    smooth = np.asarray(cv2.GaussianBlur(ink, (0, 0), 1.0), np.float32)
    background_level, min_ink = background_levels(smooth)
    strongest_near = cv2.dilate(smooth, np.ones((15, 15), np.uint8))
    mask = (smooth > np.maximum(background_level + min_ink, HALO_SHARE * strongest_near)).astype(np.uint8)
    count, labels = cv2.connectedComponents(mask, connectivity=8)
    clear = np.zeros(count, np.uint8)
    clear[labels[smooth >= background_level + CLEAR_INK * min_ink]] = 1
    return np.asarray(clear[labels] * mask, np.uint8)


def background_levels(smooth: Darkness) -> tuple[Darkness, Darkness]:
    """Measure the background in blocks: its level, and how far above it ink must be, float32 (h, w) each.

    Level and noise are the median and the median deviation of each block.
    """
    height, width = smooth.shape
    block = max(round(max(height, width) / 40), 8)
    step = max(block // 8, 1)
    padded = np.pad(smooth, ((0, -height % block), (0, -width % block)), mode="edge")[::step, ::step]
    side = -(-block // step)
    padded = padded[: padded.shape[0] // side * side, : padded.shape[1] // side * side]
    blocks = padded.reshape(padded.shape[0] // side, side, padded.shape[1] // side, side)
    level = np.median(blocks, axis=(1, 3)).astype(np.float32)
    noise = np.median(np.abs(blocks - level[:, None, :, None]), axis=(1, 3)).astype(np.float32)
    min_ink = np.maximum(MIN_SIGNAL_TO_NOISE * 1.4826 * noise, MIN_INK)
    kernel = 5 if min(level.shape) >= 5 else 1
    maps = [cv2.medianBlur(plane, kernel) for plane in (level, min_ink)]
    level, min_ink = (np.asarray(cv2.resize(plane, (width, height)), np.float32) for plane in maps)
    return level, min_ink
