"""Remove ruled lines and printed boxes from a mask of ink, so that the digits that touch them come apart."""

from typing import NamedTuple

import cv2
import numpy as np

from numerals.read.pixels import Mask


class _LineShape(NamedTuple):
    """What counts as a ruled line, as shares of the mask's width."""

    run: float  # length of the straight runs that it consists of
    length: float  # of the line in all
    min_climb: float  # of the line's length


LEVEL, ASKEW = _LineShape(0.08, 0.4, 0.0), _LineShape(0.03, 0.6, 0.015)
MAX_THICKNESS = 0.012  # of the picture's longer side
MIN_SIDE_COVERAGE = 0.8  # of each side of its bounding box that a printed box covers
SIDE_DEPTH = 0.1  # of a box's width or height, within which its side is
MAX_BOXES = 60  # largest pieces that are examined


def without_ruled_lines(mask: Mask) -> Mask:
    """Remove lines across the picture and boxes around things."""
    max_thickness = max(round(MAX_THICKNESS * max(mask.shape)), 3)
    cleared = _without_level_lines(mask, max_thickness)
    cleared = np.ascontiguousarray(_without_level_lines(np.ascontiguousarray(cleared.T), max_thickness).T)
    return _without_boxes(cleared)


def _without_level_lines(mask: Mask, max_thickness: int) -> Mask:
    """Remove lines along the mask's rows, but keep the strokes that cross them: where ink continues up or down."""
    lines, thickness = _find_lines(mask, max_thickness)
    if not thickness:
        return mask
    crossing = np.asarray(cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((thickness + 2, 1), np.uint8)), np.uint8)
    return np.asarray(mask & ((1 - lines) | crossing), np.uint8)


def _find_lines(mask: Mask, max_thickness: int) -> tuple[Mask, int]:
    """Return where lines run along the mask's rows from side to side, and the thickness of the thickest, 0 if none.

    Long runs that make one straight line are a ruled line. On a page that lies askew the runs are short, so the line
    must be longer.
    """
    lines, thickness = np.zeros_like(mask), 0
    for shape in (LEVEL, ASKEW):
        run = max(round(shape.run * mask.shape[1]), 16)
        runs = np.asarray(cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((1, run), np.uint8)), np.uint8)
        if not runs.any():
            continue
        thick = np.asarray(cv2.morphologyEx(runs, cv2.MORPH_OPEN, np.ones((max_thickness + 1, 3), np.uint8)), np.uint8)
        thin = np.asarray(runs & (1 - thick), np.uint8)
        wider = cv2.dilate(thin, np.ones((3, 1), np.uint8))
        bridged = cv2.morphologyEx(wider, cv2.MORPH_CLOSE, np.ones((1, run), np.uint8))
        thickness = _draw_lines(lines, thin, np.asarray(bridged, np.uint8), shape)
        if thickness:
            break
    return lines, thickness


def _draw_lines(lines: Mask, thin: Mask, bridged: Mask, shape: _LineShape) -> int:
    """Draw each straight line of that shape into `lines`, across the whole width; return the largest thickness."""
    width, max_thickness = lines.shape[1], 0
    count, labels, stats, _ = cv2.connectedComponentsWithStats(bridged, connectivity=8)
    for piece in range(1, count):
        left, top, piece_width, piece_height = stats[piece, :4].tolist()
        if piece_width < shape.length * width or piece_height < shape.min_climb * piece_width:
            continue
        window = slice(top, top + piece_height), slice(left, left + piece_width)
        y, x = np.nonzero((labels[window] == piece) & (thin[window] > 0))
        thickness = int(np.ceil(len(x) / len(np.unique(x))))
        climb, start = np.polyfit(x + left, y + top, 1)
        ends = [(0, round(float(start) * 16)), (16 * width, round(float(start + climb * width) * 16))]
        cv2.line(lines, ends[0], ends[1], 1, thickness + 2, cv2.LINE_8, 4)
        lines[labels == piece] = 1
        max_thickness = max(max_thickness, thickness)
    return max_thickness


def _without_boxes(mask: Mask) -> Mask:
    """Remove the sides of printed boxes; what is inside a box or touches it stays."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    sizes = np.minimum(stats[1:, cv2.CC_STAT_WIDTH], stats[1:, cv2.CC_STAT_HEIGHT])
    cleared = mask
    for piece in (np.argsort(-sizes)[:MAX_BOXES] + 1).tolist():
        left, top, width, height = stats[piece, :4].tolist()
        if min(width, height) < 16:
            break
        window = slice(top, top + height), slice(left, left + width)
        piece_mask = np.asarray(labels[window] == piece, np.uint8)
        if _is_box(piece_mask):
            cleared = mask.copy() if cleared is mask else cleared
            cleared[window] -= _sides_of_box(piece_mask)
    return cleared


def _is_box(piece: Mask) -> bool:
    """Return whether a piece, cut to its bounding box, covers each side of it nearly completely."""
    height, width = piece.shape
    down, across = max(round(SIDE_DEPTH * height), 2), max(round(SIDE_DEPTH * width), 2)
    level = piece[:down].any(axis=0), piece[-down:].any(axis=0)
    upright = piece[:, :across].any(axis=1), piece[:, -across:].any(axis=1)
    return min(float(side.mean()) for side in (*level, *upright)) >= MIN_SIDE_COVERAGE and float(piece.mean()) < 0.5


def _sides_of_box(piece: Mask) -> Mask:
    """Return the straight lines of a box: its sides, and those that divide it."""
    height, width = piece.shape
    level = cv2.morphologyEx(piece, cv2.MORPH_OPEN, np.ones((1, max(round(0.6 * min(width, height)), 8)), np.uint8))
    upright = cv2.morphologyEx(piece, cv2.MORPH_OPEN, np.ones((max(round(0.8 * height), 8), 1), np.uint8))
    straight = np.asarray(level, np.uint8) | np.asarray(upright, np.uint8)
    sides = np.asarray(cv2.dilate(straight, np.ones((3, 3), np.uint8)), np.uint8)
    return np.asarray(sides & piece, np.uint8)
