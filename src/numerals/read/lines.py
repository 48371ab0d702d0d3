"""A mask of ink -> lines of writing: which pieces of ink belong together, and how each line runs. Knows only shapes."""

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
import numpy.typing as npt

from numerals.read.pixels import Mask

SMALLEST = 7  # pixels: lower pieces are specks, dots or dashes, never a digit
EDGE_TO_EDGE = 6  # heights of the other pieces from which on what runs from edge to edge is none of them
NEAR = 5.0  # heights of a digit between neighbours in a line, at most
STEEPEST = 0.35  # how far a line may climb, per length
TOUCHING = 4.0  # heights that a piece of touching digits is wide, at most
OFF_LINE = 0.55  # heights that a neighbour's middle may lie above or below where the line leads


@dataclass(frozen=True)
class Pieces:
    """Connected pieces of ink: boxes float64 (n, 4) as left, top, right, bottom; `labels` int32 (h, w), piece + 1."""

    boxes: npt.NDArray[np.float64]
    areas: npt.NDArray[np.float64]
    labels: npt.NDArray[np.int32]

    @cached_property
    def heights(self) -> npt.NDArray[np.float64]:
        return self.boxes[:, 3] - self.boxes[:, 1]

    @cached_property
    def widths(self) -> npt.NDArray[np.float64]:
        return self.boxes[:, 2] - self.boxes[:, 0]

    @cached_property
    def middles(self) -> npt.NDArray[np.float64]:
        """The middles of the boxes, (n, 2) as x, y."""
        return (self.boxes[:, :2] + self.boxes[:, 2:]) / 2


@dataclass(frozen=True)
class Line:
    """The pieces of one line of writing, its digits' height, and where its middle runs: y = start + climb * x."""

    pieces: npt.NDArray[np.int64]
    height: float
    start: float
    climb: float

    def at(self, x: npt.NDArray[np.float64] | float) -> npt.NDArray[np.float64] | float:
        """The y of the middle of the line there."""
        return self.start + self.climb * x


def pieces_of(mask: Mask) -> Pieces:
    """The connected pieces of a mask, uint8 (h, w), not 0 where ink is."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    boxes = stats[1:count, :4].astype(np.float64)
    boxes[:, 2:] += boxes[:, :2]
    return Pieces(boxes, stats[1:count, cv2.CC_STAT_AREA].astype(np.float64), np.asarray(labels, np.int32))


def lines_of(pieces: Pieces, shape: tuple[int, ...]) -> list[Line]:
    """The lines of writing, from top to bottom. Borders, rules, shadows and specks are in none."""
    candidates = np.flatnonzero(_may_be_writing(pieces, shape))
    if not len(candidates):
        return []
    size = typical_height(pieces, _whole(pieces, candidates, shape))
    heights = pieces.heights[candidates]
    digits = candidates[(heights > max(0.4 * size, SMALLEST)) & (heights < 3 * size)]
    inside = ~at_edge(pieces, shape)
    chains = [
        chain for chain in _chained(pieces, digits[np.argsort(pieces.boxes[digits, 0])], size) if inside[chain].any()
    ]
    lines = [_line(pieces, np.array(chain), size) for chain in chains]
    lines = _without_debris(_merged(pieces, lines), pieces)
    small = candidates[heights <= max(0.4 * size, SMALLEST)]
    lines = _joined(pieces, lines, small)
    across = shape[1] / 2
    return sorted(lines, key=lambda line: line.at(across))


def _may_be_writing(pieces: Pieces, shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """Not a speck, not a border or a shadow, not a rule."""
    high, wide = pieces.heights, pieces.widths
    height, width = shape[0], shape[1]
    filled = pieces.areas / np.maximum(high * wide, 1)
    large = (high > 0.6 * height) & (wide > 0.6 * width)
    long = ((wide > 0.4 * width) & (high < 0.08 * wide)) | ((high > 0.4 * height) & (wide < 0.04 * high))
    frame = (
        at_edge(pieces, shape)
        & ((wide > 0.3 * width) | (high > 0.5 * height))
        & (filled < 0.9)
        & ((high < 0.9 * height) | large)
    )
    speck = pieces.areas < 6
    return ~(speck | large | long | frame | _from_edge_to_edge(pieces, shape))


def _from_edge_to_edge(pieces: Pieces, shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """A table beside the paper, a finger: from one edge to the other, and far larger than the other pieces."""
    first, last = pieces.boxes[:, :2] <= 1, pieces.boxes[:, 2:] >= np.array([shape[1], shape[0]]) - 1
    spans = np.asarray((first & last).any(axis=1), np.bool_)
    others = pieces.heights[~spans & (pieces.heights > SMALLEST)]
    if not len(others):
        return np.zeros(len(spans), np.bool_)
    longest = np.maximum(pieces.heights, pieces.widths)
    return np.asarray(spans & (longest > EDGE_TO_EDGE * np.median(others)), np.bool_)


def _whole(pieces: Pieces, chosen: npt.NDArray[np.int64], shape: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """Those that the picture's edge does not cut, as it may cut a table or a shadow; all, where these are too few."""
    inside = chosen[~at_edge(pieces, shape)[chosen]]
    return inside if (pieces.heights[inside] > SMALLEST).sum() > 1 else chosen


def at_edge(pieces: Pieces, shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """Which pieces touch the picture's edge."""
    ends = pieces.boxes[:, 2:] >= np.array([shape[1], shape[0]]) - 1
    return np.asarray((pieces.boxes[:, :2] <= 1).any(axis=1) | ends.any(axis=1))


def typical_height(pieces: Pieces, chosen: npt.NDArray[np.int64]) -> float:
    """The height of most of the ink: the median of the pieces' heights, each counted with its box's longest side.

    A long smear or shadow counts as no more than a few touching digits would.
    """
    chosen = chosen[pieces.heights[chosen] >= min(SMALLEST, pieces.heights[chosen].max())]
    heights = pieces.heights[chosen]
    weights = np.clip(pieces.widths[chosen], heights, TOUCHING * heights) ** 1.5
    order = np.argsort(heights)
    return float(heights[order][np.searchsorted(np.cumsum(weights[order]), weights.sum() / 2)])


def _chained(pieces: Pieces, digits: npt.NDArray[np.int64], size: float) -> list[list[int]]:
    """Digits, left to right, each put to the chain that leads to it best, or beginning one."""
    chains: list[list[int]] = []
    for digit in digits.tolist():
        misses = [_miss(pieces, chain, digit, size) for chain in chains]
        best = int(np.argmin(misses)) if misses else -1
        if misses and misses[best] < OFF_LINE:
            chains[best].append(digit)
        else:
            chains.append([digit])
    return chains


def _miss(pieces: Pieces, chain: list[int], digit: int, size: float) -> float:
    """How far, in heights, the digit lies off where the chain leads; infinite where it cannot be its next."""
    x, y = pieces.middles[digit]
    recent = pieces.middles[chain[-4:]]
    box, others = pieces.boxes[digit].tolist(), pieces.boxes[chain[-4:]].tolist()
    gap = box[0] - max(other[2] for other in others)
    if gap > NEAR * size or any(_stacked(box, other) for other in others):
        return float("inf")
    span = recent[-1, 0] - recent[0, 0]
    climb = 0.0
    if len(recent) > 1 and span > size:
        climb = float(np.clip(_slope(recent), -STEEPEST, STEEPEST)) * min(1, span / (3 * size))
    expected = recent[:, 1].mean() + climb * (x - recent[:, 0].mean())
    unit = max((pieces.heights[digit] + np.median(pieces.heights[chain[-4:]])) / 2, 0.6 * size)
    return float(abs(y - expected) / unit + 0.03 * max(gap, 0) / size)


def _slope(points: npt.NDArray[np.float64]) -> float:
    """Of the line with the least squares through them; np.polyfit's takes ten times as long."""
    x, y = (points - points.mean(axis=0)).T
    return float(x @ y / (x @ x))


def _stacked(box: list[float], other: list[float]) -> bool:
    """Whether one box stands above the other, so that they cannot be neighbours in a line."""
    overlap = [min(box[end], other[end]) - max(box[end - 2], other[end - 2]) for end in (2, 3)]
    smaller = [min(box[end] - box[end - 2], other[end] - other[end - 2]) for end in (2, 3)]
    return overlap[0] > 0.3 * smaller[0] and overlap[1] < 0.3 * smaller[1]


def _line(pieces: Pieces, members: npt.NDArray[np.int64], size: float) -> Line:
    """How the line of these pieces runs."""
    middles, heights = pieces.middles[members], pieces.heights[members]
    height = float(np.median(heights))
    start, climb = float(np.mean(middles[:, 1])), 0.0
    if len(members) > 1 and np.ptp(middles[:, 0]) > 1.5 * size:
        ends = (pieces.boxes[members, 1] + pieces.boxes[members, 3]) / 2
        climb = float(np.clip(np.polyfit(middles[:, 0], ends, 1)[0], -STEEPEST, STEEPEST))
        start = float(np.median(middles[:, 1] - climb * middles[:, 0]))
    return Line(members, height, start, climb)


def _merged(pieces: Pieces, lines: list[Line]) -> list[Line]:
    """Lines that are one line, over a wide gap or beside each other, made one."""
    merged: list[Line] = []
    for line in sorted(lines, key=lambda line: -len(line.pieces)):
        x = pieces.middles[line.pieces, 0]
        y = pieces.middles[line.pieces, 1]
        for place, other in enumerate(merged):
            if np.abs(y - other.at(x)).max() < 0.5 * min(other.height, line.height):
                members = np.concatenate([other.pieces, line.pieces])
                merged[place] = _line(pieces, members[np.argsort(pieces.boxes[members, 0])], other.height)
                break
        else:
            merged.append(line)
    return merged


def _without_debris(lines: list[Line], pieces: Pieces) -> list[Line]:
    """Only lines about as high as the main ones, and no lone low piece among lines of many."""
    if not lines:
        return []
    main = max(len(line.pieces) * line.height for line in lines)
    tall = max(line.height for line in lines if len(line.pieces) * line.height > 0.3 * main)
    return [line for line in lines if line.height > 0.45 * tall and len(line.pieces) * line.height > 0.08 * main]


def _joined(pieces: Pieces, lines: list[Line], small: npt.NDArray[np.int64]) -> list[Line]:
    """The lines with the small pieces that lie in them: dots, dashes, strokes apart from their digit."""
    joined = [line.pieces.tolist() for line in lines]
    for piece in small.tolist():
        x, y = pieces.middles[piece]
        misses = [abs(y - line.at(x)) / line.height for line in lines]
        near = int(np.argmin(misses)) if misses else -1
        if misses and misses[near] < 0.75:
            left, right = pieces.boxes[lines[near].pieces, 0].min(), pieces.boxes[lines[near].pieces, 2].max()
            if left - lines[near].height < x < right + lines[near].height:
                joined[near].append(piece)
    return [
        Line(np.array(members), line.height, line.start, line.climb)
        for line, members in zip(lines, joined, strict=True)
    ]
