"""A page -> how much ink is at each pixel, whatever the light, the paper's tint and the ink's colour.

Unlike one digit's picture (`paper`), a page is mostly paper, and its writing may be of any size and strength: which
side is ink is told by the rarer one, the threshold by the noise of each block, and the contrast is kept as it
is, since a faint row beside a bold one must stay.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from numerals.read.background import taken, without_ink
from numerals.read.pixels import GreyPixels, Mask, Pixels, downscale
from numerals.read.rules import without_rules
from numerals.read.strips import Darkness

SIDE = 1120  # longest side of the picture that is looked at; larger ones are reduced
COARSE = 160  # longest side at which the paper is judged
FAINTEST = 7.0  # grey levels, of 255: less than this is never ink
NOISES = 5.0  # and no less than so many times the paper's own noise
SURE = 2.0  # ink must somewhere be so many times that; the rest of the stroke need not
ENDS, FLAT = 0.15, 60  # where the paper's tone changes by so much of its range, at least that of FLAT levels, it ends
HALO = 0.3  # of the strongest ink within a few pixels: less is blur


@dataclass(frozen=True)
class Sheet:
    """The ink, float32 (h, w), 0 on paper, and its mask, uint8 0 or 1."""

    ink: Darkness
    mask: Mask

    def turned(self, quarters: int) -> "Sheet":
        """The same after quarter turns against the clock."""
        ink = np.ascontiguousarray(np.rot90(self.ink, quarters), np.float32)
        return Sheet(ink, np.ascontiguousarray(np.rot90(self.mask, quarters), np.uint8))


def reduced(picture: Pixels) -> tuple[Pixels, float]:
    """The picture, no longer than SIDE, and how many of its pixels are one of the picture's."""
    scale = min(1.0, SIDE / max(picture.shape[:2]))
    if scale == 1:
        return picture, scale
    return downscale(picture, scale), scale


def sheet_of(picture: Pixels, light: bool | None = None, ruled: bool = True) -> Sheet:
    """The ink in a picture; `light` says whether it is lighter than its paper, None the likelier.

    Where the picture may be `ruled`, printed lines are taken out.
    """
    light = polarities(picture)[0] if light is None else light
    planes = [np.asarray(plane, np.uint8) for plane in (cv2.split(picture) if picture.ndim == 3 else [picture])]
    if light:
        planes = [np.asarray(cv2.bitwise_not(plane), np.uint8) for plane in planes]
    ink = together([contrast(plane) for plane in planes])
    mask = mask_of(ink)
    return Sheet(ink, without_rules(mask) if ruled else mask)


def polarities(picture: Pixels) -> list[bool]:
    """Whether the ink of a page is lighter than its paper; both answers, the likelier first, where that is not clear.

    Where a page ends, on a table of another tone, its corners would look like ink, so nothing near there is asked. But
    large digits close together may look like such an end.
    """
    grey = np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), np.uint8) if picture.ndim == 3 else picture
    inside, everywhere = is_light(grey, inside=True), is_light(grey)
    return [inside] if inside == everywhere else [inside, everywhere]


def is_light(grey: GreyPixels, inside: bool = False) -> bool:
    """Whether the ink is lighter than the paper: ink is the rarer and the stronger of the two sides.

    Args:
        grey: uint8 (h, w).
        inside: nothing is asked near where the paper's tone changes.
    """
    small = downscale(grey, 0.5) if max(grey.shape) > 700 else grey
    around = cv2.medianBlur(cv2.resize(small, (64, 64), interpolation=cv2.INTER_AREA), 21)
    size = small.shape[::-1]
    apart = small - cv2.resize(around, size, interpolation=cv2.INTER_LINEAR).astype(np.float32)
    if inside:
        step = cv2.morphologyEx(around, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
        ends = (step > ENDS * max(int(around.max()) - int(around.min()), FLAT)).astype(np.uint8)
        ends = np.asarray(cv2.dilate(ends, np.ones((15, 15), np.uint8)), np.uint8)
        if ends.mean() < 0.75:
            apart = apart[cv2.resize(ends, size, interpolation=cv2.INTER_NEAREST) == 0]
    return float(np.mean(apart**3)) > 0


def contrast(plane: GreyPixels) -> GreyPixels:
    """How much darker than the paper around it each pixel is, as a share of that paper's brightness, times 255."""
    step = max(max(plane.shape) / COARSE, 1.0)
    small = downscale(plane, 1 / step)
    edge = 20
    wider = cv2.copyMakeBorder(cv2.medianBlur(small, 3), edge, edge, edge, edge, cv2.BORDER_REPLICATE)
    closed = without_ink(np.asarray(wider, np.uint8), 13, cv2.MORPH_ELLIPSE)
    paper = np.ascontiguousarray(cv2.GaussianBlur(closed, (0, 0), 3)[edge:-edge, edge:-edge])
    return taken(plane, np.maximum(cv2.resize(paper, plane.shape[::-1], interpolation=cv2.INTER_LINEAR), 16))


def together(planes: list[GreyPixels]) -> Darkness:
    """The planes of a coloured picture as one, each weighted by how strongly the ink shows in it."""
    strengths = np.array([float(np.percentile(plane[::4, ::4], 99)) for plane in planes]) + 1e-3
    weights = strengths**2 / np.sum(strengths**2)
    ink = np.zeros(planes[0].shape, np.float32)
    for plane, weight in zip(planes, weights.tolist(), strict=True):
        cv2.scaleAdd(plane.astype(np.float32), weight, ink, ink)
    return ink


def mask_of(ink: Darkness) -> Mask:
    """Which pixels are ink: those that stand out from the noise around and belong to something that does so clearly.

    Faint writing beside bold is kept: there is no share of the boldest that all ink must reach, but near a bold stroke
    its own halo is not taken for ink.
    """
    soft = np.asarray(cv2.GaussianBlur(ink, (0, 0), 1.0), np.float32)
    level, least = paper_levels(soft)
    around = cv2.dilate(soft, np.ones((15, 15), np.uint8))
    mask = (soft > np.maximum(level + least, HALO * around)).astype(np.uint8)
    count, labels = cv2.connectedComponents(mask, connectivity=8)
    sure = np.zeros(count, np.uint8)
    sure[labels[soft >= level + SURE * least]] = 1
    return np.asarray(sure[labels] * mask, np.uint8)


def paper_levels(soft: Darkness) -> tuple[Darkness, Darkness]:
    """For each pixel the paper's level and how far above it ink must be, by medians of blocks: float32 (h, w) each."""
    height, width = soft.shape
    block = max(round(max(height, width) / 40), 8)
    step = max(block // 8, 1)
    padded = np.pad(soft, ((0, -height % block), (0, -width % block)), mode="edge")[::step, ::step]
    side = -(-block // step)
    padded = padded[: padded.shape[0] // side * side, : padded.shape[1] // side * side]
    blocks = padded.reshape(padded.shape[0] // side, side, padded.shape[1] // side, side)
    level = np.median(blocks, axis=(1, 3)).astype(np.float32)
    noise = np.median(np.abs(blocks - level[:, None, :, None]), axis=(1, 3)).astype(np.float32)
    least = np.maximum(NOISES * 1.4826 * noise, FAINTEST)
    kernel = 5 if min(level.shape) >= 5 else 1
    smooth = [cv2.medianBlur(plane, kernel) for plane in (level, least)]
    maps = [np.asarray(cv2.resize(plane, (width, height)), np.float32) for plane in smooth]
    return maps[0], maps[1]
