"""Group pieces of ink into lines of writing, and measure how each line runs."""

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
import numpy.typing as npt

from numerals.read.pixels import Mask

MIN_DIGIT_HEIGHT = 7  # pixels; lower pieces are specks, dots or dashes
MAX_SPAN = 6  # heights of the other pieces; a larger piece that runs from edge to edge is not writing
MAX_GAP = 5.0  # heights of a digit between neighbours in a line
MAX_CLIMB = 0.35  # of a line, per length
MAX_TOUCHING_WIDTH = 4.0  # heights of a piece that consists of touching digits
MAX_MISALIGNMENT = 0.55  # heights by which a neighbour may be above or below where the line leads

PieceIndices = npt.NDArray[np.int64]  # (n,), of pieces


@dataclass(frozen=True)
class Pieces:
    """The n connected pieces of ink in a mask."""

    boxes: npt.NDArray[np.float64]  # (n, 4): left, top, right, bottom
    areas: npt.NDArray[np.float64]  # (n,), in pixels
    labels: npt.NDArray[np.int32]  # (h, w): the piece's index + 1, 0 outside

    @cached_property
    def heights(self) -> npt.NDArray[np.float64]:
        return self.boxes[:, 3] - self.boxes[:, 1]

    @cached_property
    def widths(self) -> npt.NDArray[np.float64]:
        return self.boxes[:, 2] - self.boxes[:, 0]

    @cached_property
    def centres(self) -> npt.NDArray[np.float64]:
        """The centres of the boxes, (n, 2): x, y."""
        return (self.boxes[:, :2] + self.boxes[:, 2:]) / 2


@dataclass(frozen=True)
class Line:
    """A line of writing, whose middle runs along y = start + climb * x."""

    pieces: PieceIndices
    height: float  # of its digits, in pixels
    start: float
    climb: float

    def y_at(self, x: npt.NDArray[np.float64] | float) -> npt.NDArray[np.float64] | float:
        return self.start + self.climb * x


def find_pieces(mask: Mask) -> Pieces:
    """Find the connected pieces of ink in a mask."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    boxes = stats[1:count, :4].astype(np.float64)
    boxes[:, 2:] += boxes[:, :2]
    return Pieces(boxes, stats[1:count, cv2.CC_STAT_AREA].astype(np.float64), np.asarray(labels, np.int32))


def find_lines(pieces: Pieces, shape: tuple[int, ...]) -> list[Line]:
    """Find the lines of writing, from top to bottom, without borders, ruled lines, shadows and specks.

    Args:
        pieces: of the mask.
        shape: of the mask.
    """
    candidates = np.flatnonzero(_may_be_writing(pieces, shape))
    if not len(candidates):
        return []
    size = _typical_height(pieces, _away_from_edges(pieces, candidates, shape))
    heights = pieces.heights[candidates]
    digits = candidates[(heights > max(0.4 * size, MIN_DIGIT_HEIGHT)) & (heights < 3 * size)]
    inside = ~_touches_edge(pieces, shape)
    chains = _chained(pieces, digits[np.argsort(pieces.boxes[digits, 0])], size)
    lines = [_fit_line(pieces, np.array(chain), size) for chain in chains if inside[chain].any()]
    lines = _without_debris(_merged(pieces, lines))
    small = candidates[heights <= max(0.4 * size, MIN_DIGIT_HEIGHT)]
    lines = _with_small_pieces(pieces, lines, small)
    middle = shape[1] / 2
    return sorted(lines, key=lambda line: line.y_at(middle))


def _may_be_writing(pieces: Pieces, shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """Return which pieces are not specks, borders, shadows or ruled lines."""
    heights, widths = pieces.heights, pieces.widths
    height, width = shape[0], shape[1]
    filled = pieces.areas / np.maximum(heights * widths, 1)
    large = (heights > 0.6 * height) & (widths > 0.6 * width)
    long = (widths > 0.4 * width) & (heights < 0.08 * widths)
    long |= (heights > 0.4 * height) & (widths < 0.04 * heights)
    frame = (
        _touches_edge(pieces, shape)
        & ((widths > 0.3 * width) | (heights > 0.5 * height))
        & (filled < 0.9)
        & ((heights < 0.9 * height) | large)
    )
    speck = pieces.areas < 6
    return ~(speck | large | long | frame | _spans_picture(pieces, shape))


def _spans_picture(pieces: Pieces, shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """Return which pieces run from edge to edge and are far larger than the others, as a table or a finger."""
    at_start, at_end = pieces.boxes[:, :2] <= 1, pieces.boxes[:, 2:] >= np.array([shape[1], shape[0]]) - 1
    spans = np.asarray((at_start & at_end).any(axis=1), np.bool_)
    others = pieces.heights[~spans & (pieces.heights > MIN_DIGIT_HEIGHT)]
    if not len(others):
        return np.zeros(len(spans), np.bool_)
    longest = np.maximum(pieces.heights, pieces.widths)
    return np.asarray(spans & (longest > MAX_SPAN * np.median(others)), np.bool_)


def _away_from_edges(pieces: Pieces, chosen: PieceIndices, shape: tuple[int, ...]) -> PieceIndices:
    """Return the chosen pieces that the picture's edge does not cut, as it may cut a table; all if too few are left."""
    inside = chosen[~_touches_edge(pieces, shape)[chosen]]
    return inside if (pieces.heights[inside] > MIN_DIGIT_HEIGHT).sum() > 1 else chosen


def _touches_edge(pieces: Pieces, shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    at_end = pieces.boxes[:, 2:] >= np.array([shape[1], shape[0]]) - 1
    return np.asarray((pieces.boxes[:, :2] <= 1).any(axis=1) | at_end.any(axis=1))


def _typical_height(pieces: Pieces, chosen: PieceIndices) -> float:
    """Return the height of most of the ink: a median of heights, weighted by the longest side.

    A long smear or shadow weighs no more than a few touching digits.
    """
    chosen = chosen[pieces.heights[chosen] >= min(MIN_DIGIT_HEIGHT, pieces.heights[chosen].max())]
    heights = pieces.heights[chosen]
    weights = np.clip(pieces.widths[chosen], heights, MAX_TOUCHING_WIDTH * heights) ** 1.5
    order = np.argsort(heights)
    return float(heights[order][np.searchsorted(np.cumsum(weights[order]), weights.sum() / 2)])


def _chained(pieces: Pieces, digits: PieceIndices, size: float) -> list[list[int]]:
    """Assign digits, left to right, to the chain that leads to them best, or begin new chains."""
    chains: list[list[int]] = []
    for digit in digits.tolist():
        misalignments = [_misalignment(pieces, chain, digit, size) for chain in chains]
        best = int(np.argmin(misalignments)) if misalignments else -1
        if misalignments and misalignments[best] < MAX_MISALIGNMENT:
            chains[best].append(digit)
        else:
            chains.append([digit])
    return chains


def _misalignment(pieces: Pieces, chain: list[int], digit: int, size: float) -> float:
    """Return how many heights off the chain's course a digit is; infinite if it cannot be the chain's next."""
    x, y = pieces.centres[digit]
    recent = pieces.centres[chain[-4:]]
    box, other_boxes = pieces.boxes[digit].tolist(), pieces.boxes[chain[-4:]].tolist()
    gap = box[0] - max(other[2] for other in other_boxes)
    if gap > MAX_GAP * size or any(_is_stacked(box, other) for other in other_boxes):
        return float("inf")
    span = recent[-1, 0] - recent[0, 0]
    climb = 0.0
    if len(recent) > 1 and span > size:
        climb = float(np.clip(_slope(recent), -MAX_CLIMB, MAX_CLIMB)) * min(1, span / (3 * size))
    expected = recent[:, 1].mean() + climb * (x - recent[:, 0].mean())
    unit = max((pieces.heights[digit] + np.median(pieces.heights[chain[-4:]])) / 2, 0.6 * size)
    return float(abs(y - expected) / unit + 0.03 * max(gap, 0) / size)


def _slope(points: npt.NDArray[np.float64]) -> float:
    """Return the slope of the least-squares line through points; np.polyfit takes ten times as long."""
    x, y = (points - points.mean(axis=0)).T
    return float(x @ y / (x @ x))


def _is_stacked(box: list[float], other: list[float]) -> bool:
    """Return whether one box is above the other, so that they cannot be neighbours in a line."""
    overlap = [min(box[end], other[end]) - max(box[end - 2], other[end - 2]) for end in (2, 3)]
    smaller = [min(box[end] - box[end - 2], other[end] - other[end - 2]) for end in (2, 3)]
    return overlap[0] > 0.3 * smaller[0] and overlap[1] < 0.3 * smaller[1]


def _fit_line(pieces: Pieces, members: PieceIndices, size: float) -> Line:
    centres, heights = pieces.centres[members], pieces.heights[members]
    height = float(np.median(heights))
    start, climb = float(np.mean(centres[:, 1])), 0.0
    if len(members) > 1 and np.ptp(centres[:, 0]) > 1.5 * size:
        y = (pieces.boxes[members, 1] + pieces.boxes[members, 3]) / 2
        climb = float(np.clip(np.polyfit(centres[:, 0], y, 1)[0], -MAX_CLIMB, MAX_CLIMB))
        start = float(np.median(centres[:, 1] - climb * centres[:, 0]))
    return Line(members, height, start, climb)


def _merged(pieces: Pieces, lines: list[Line]) -> list[Line]:
    """Merge lines that continue each other, over a wide gap or side by side."""
    merged: list[Line] = []
    for line in sorted(lines, key=lambda line: -len(line.pieces)):
        x, y = pieces.centres[line.pieces, 0], pieces.centres[line.pieces, 1]
        for index, other in enumerate(merged):
            if np.abs(y - other.y_at(x)).max() < 0.5 * min(other.height, line.height):
                members = np.concatenate([other.pieces, line.pieces])
                merged[index] = _fit_line(pieces, members[np.argsort(pieces.boxes[members, 0])], other.height)
                break
        else:
            merged.append(line)
    return merged


def _without_debris(lines: list[Line]) -> list[Line]:
    """Keep the lines that are about as high as the main ones, and no single low piece among long lines."""
    if not lines:
        return []
    largest = max(len(line.pieces) * line.height for line in lines)
    tallest = max(line.height for line in lines if len(line.pieces) * line.height > 0.3 * largest)
    return [line for line in lines if line.height > 0.45 * tallest and len(line.pieces) * line.height > 0.08 * largest]


def _with_small_pieces(pieces: Pieces, lines: list[Line], small: PieceIndices) -> list[Line]:
    """Add to each line the small pieces in it: dots, dashes, and strokes that are apart from their digit."""
    members = [line.pieces.tolist() for line in lines]
    for piece in small.tolist():
        x, y = pieces.centres[piece]
        distances = [abs(y - line.y_at(x)) / line.height for line in lines]
        nearest = int(np.argmin(distances)) if distances else -1
        if distances and distances[nearest] < 0.75:
            line = lines[nearest]
            left, right = pieces.boxes[line.pieces, 0].min(), pieces.boxes[line.pieces, 2].max()
            if left - line.height < x < right + line.height:
                members[nearest].append(piece)
    return [
        Line(np.array(indices), line.height, line.start, line.climb)
        for line, indices in zip(lines, members, strict=True)
    ]
