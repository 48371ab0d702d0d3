"""Printed lines and boxes taken out of a mask of ink, so that what they touch comes apart. Knows only shapes."""

import cv2
import numpy as np

from numerals.read.pixels import Mask

# Of the picture's side: how long straight runs are that may be parts of a rule, how far it reaches in all, and, of its
# length, how far it climbs at least.
LEVEL, ASKEW = (0.08, 0.4, 0.0), (0.03, 0.6, 0.015)
THICKEST = 0.012  # of the picture's longer side: a rule is no thicker
SIDES = 0.8  # of each side of its frame that a printed box covers
REACH = 0.1  # of its width or height within which a box's side lies
BOXES = 60  # pieces looked at, at most: the largest


def without_rules(mask: Mask) -> Mask:
    """The mask, uint8 0 or 1, without lines across the picture and boxes around things."""
    thickest = max(round(THICKEST * max(mask.shape)), 3)
    cleared = _without_lying(mask, thickest)
    cleared = np.ascontiguousarray(_without_lying(np.ascontiguousarray(cleared.T), thickest).T)
    return _without_boxes(cleared)


def _without_lying(mask: Mask, thickest: int) -> Mask:
    """The mask without rules along its rows, but with the strokes that cross them: where ink goes on up or down."""
    band, thickness = _rules(mask, thickest)
    if not thickness:
        return mask
    crossing = np.asarray(cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((thickness + 2, 1), np.uint8)), np.uint8)
    return np.asarray(mask & ((1 - band) | crossing), np.uint8)


def _rules(mask: Mask, thickest: int) -> tuple[Mask, int]:
    """Where rules run along the mask's rows, from side to side, uint8 0 or 1, and how thick the thickest of them is.

    Long runs that make one straight line are a rule: on a page that lies askew the runs are short, and there must be
    more of them.
    """
    band, most = np.zeros_like(mask), 0
    for share, across, steepness in (LEVEL, ASKEW):
        run = max(round(share * mask.shape[1]), 16)
        runs = np.asarray(cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((1, run), np.uint8)), np.uint8)
        if not runs.any():
            continue
        thick = np.asarray(cv2.morphologyEx(runs, cv2.MORPH_OPEN, np.ones((thickest + 1, 3), np.uint8)), np.uint8)
        thin = np.asarray(runs & (1 - thick), np.uint8)
        wider = cv2.dilate(thin, np.ones((3, 1), np.uint8))
        bridged = cv2.morphologyEx(wider, cv2.MORPH_CLOSE, np.ones((1, run), np.uint8))
        most = _drawn_through(band, thin, np.asarray(bridged, np.uint8), across, steepness)
        if most:
            break
    return band, most


def _drawn_through(band: Mask, thin: Mask, bridged: Mask, across: float, steepness: float) -> int:
    """Each straight line that is long and steep enough drawn into `band`, whole; the thickness of the thickest."""
    width, most = band.shape[1], 0
    count, labels, stats, _ = cv2.connectedComponentsWithStats(bridged, connectivity=8)
    for piece in range(1, count):
        left, top, wide, high = stats[piece, :4].tolist()
        if wide < across * width or high < steepness * wide:
            continue
        window = slice(top, top + high), slice(left, left + wide)
        y, x = np.nonzero((labels[window] == piece) & (thin[window] > 0))
        thickness = int(np.ceil(len(x) / len(np.unique(x))))
        climb, start = np.polyfit(x + left, y + top, 1)
        ends = [(0, round(float(start) * 16)), (16 * width, round(float(start + climb * width) * 16))]
        cv2.line(band, ends[0], ends[1], 1, thickness + 2, cv2.LINE_8, 4)
        band[labels == piece] = 1
        most = max(most, thickness)
    return most


def _without_boxes(mask: Mask) -> Mask:
    """The mask without the sides of printed boxes; what stands in a box or touches it stays."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    sizes = np.minimum(stats[1:, cv2.CC_STAT_WIDTH], stats[1:, cv2.CC_STAT_HEIGHT])
    cleared = mask
    for piece in (np.argsort(-sizes)[:BOXES] + 1).tolist():
        left, top, width, height = stats[piece, :4].tolist()
        if min(width, height) < 16:
            break
        window = slice(top, top + height), slice(left, left + width)
        own = np.asarray(labels[window] == piece, np.uint8)
        if is_box(own):
            cleared = mask.copy() if cleared is mask else cleared
            cleared[window] -= _sides(own)
    return cleared


def is_box(own: Mask) -> bool:
    """Whether a piece, cut to its frame, is a box: each side of the frame is covered nearly whole."""
    height, width = own.shape
    down, across = max(round(REACH * height), 2), max(round(REACH * width), 2)
    lying = own[:down].any(axis=0), own[-down:].any(axis=0)
    standing = own[:, :across].any(axis=1), own[:, -across:].any(axis=1)
    return min(float(side.mean()) for side in (*lying, *standing)) >= SIDES and float(own.mean()) < 0.5


def _sides(own: Mask) -> Mask:
    """The straight lines of a box: its sides, and those that part it."""
    height, width = own.shape
    lying = cv2.morphologyEx(own, cv2.MORPH_OPEN, np.ones((1, max(round(0.6 * min(width, height)), 8)), np.uint8))
    standing = cv2.morphologyEx(own, cv2.MORPH_OPEN, np.ones((max(round(0.8 * height), 8), 1), np.uint8))
    straight = np.asarray(lying, np.uint8) | np.asarray(standing, np.uint8)
    sides = np.asarray(cv2.dilate(straight, np.ones((3, 3), np.uint8)), np.uint8)
    return np.asarray(sides & own, np.uint8)
