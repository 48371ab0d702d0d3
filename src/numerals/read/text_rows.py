"""Group detections into rows of writing, in reading order, by where they stand."""

import numpy as np
import numpy.typing as npt

from numerals.read.detect import Detections

MIN_STEP, MAX_STEP = 0.3, 4.0  # heights of a digit from one digit to the next that tell the slope of a row
MAX_SLOPE = 0.45
MAX_OFFSET = 0.55  # heights of a digit that a digit may stand above or below its row
MEMORY = 3  # digits at the end of a row that tell where it continues
SIZES = 0.4, 2.4  # of the usual height on a page: what is smaller or larger is not one of its digits

Indices = npt.NDArray[np.int64]


def usual_sizes(detections: Detections) -> Detections:
    """Drop the detections that are much smaller or larger than most of the page's."""
    if not len(detections):
        return detections
    usual = float(np.average(detections.height, weights=detections.score))
    height = detections.height / usual
    return detections.take((height > SIZES[0]) & (height < SIZES[1]))


def group_rows(detections: Detections) -> list[Indices]:
    """Return the rows from top to bottom, each as the indices of its detections from left to right.

    Whatever stands on one line is a row, also across the columns of a table.
    """
    level = detections.y - page_slope(detections) * detections.x
    rows: list[list[int]] = []
    for index in np.argsort(detections.x, kind="stable").tolist():
        offsets = [
            abs(level[index] - level[row[-MEMORY:]].mean())
            / max(float(np.median(detections.height[row])), detections.height[index])
            for row in rows
        ]
        nearest = int(np.argmin(offsets)) if offsets else -1
        if offsets and offsets[nearest] < MAX_OFFSET:
            rows[nearest].append(index)
        else:
            rows.append([index])
    rows.sort(key=lambda row: float(level[row].mean()))
    return [np.array(row, np.int64) for row in rows]


def page_slope(detections: Detections) -> float:
    """Return how many pixels rows climb down per pixel to the right: the median over neighbouring digits."""
    slopes = []
    for index in range(len(detections)):
        across, down = detections.x - detections.x[index], detections.y - detections.y[index]
        height = detections.height[index]
        is_next = (across > MIN_STEP * height) & (across < MAX_STEP * height)
        is_next &= (np.abs(down) < MAX_SLOPE * across) & (np.abs(down) < 0.7 * height)
        if is_next.any():
            nearest = np.flatnonzero(is_next)[np.argmin(across[is_next])]
            slopes.append(float(down[nearest] / across[nearest]))
    return float(np.median(slopes)) if len(slopes) > 1 else 0.0
