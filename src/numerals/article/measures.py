"""What probabilities say of whoever gave them, one measure a function. Knows nothing about networks; numpy alone.

`answers` and `labels` are classes (n,), `confidence` is the probability (n,) of the answer, `right` whether it was the
label's. scikit-learn and a second reckoning of the calibration give the same figures (a test compares them).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from numerals.spec import CLASSES

Floats = npt.NDArray[np.floating[Any]]
Flags = npt.NDArray[np.bool_]
Classes = npt.NDArray[np.integer[Any]]

NORMAL_95 = 1.959963984540054  # standard deviations to either side that hold 95 % of a normal distribution
BINS = 15  # of confidence, as in Guo et al. 2017
MOST_CONFUSED = 10  # pairs that are named


@dataclass(frozen=True)
class ClassScore:
    """One digit: of those called so, how many are; of those that are, how many were called so; their harmonic mean."""

    digit: int
    count: int
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class Confusion:
    """How often one digit was taken for another."""

    truth: int
    answer: int
    count: int


@dataclass(frozen=True)
class Bin:
    """The answers whose confidence lies from `low` to the next bin's; the last includes 1."""

    low: float
    count: int
    confidence: float  # mean
    accuracy: float


def interval(right: int, count: int) -> tuple[float, float]:
    """The 95 % interval of an accuracy (Wilson 1927): what it may be on other digits of the same kind."""
    share, spread = right / count, NORMAL_95**2 / count
    middle = share + spread / 2
    half = NORMAL_95 * ((share * (1 - share) + spread / 4) / count) ** 0.5
    return max((middle - half) / (1 + spread), 0.0), min((middle + half) / (1 + spread), 1.0)


def confusion_matrix(labels: Classes, answers: Classes) -> npt.NDArray[np.int64]:
    """int64 (10, 10): a row for each truth, a column for each answer."""
    size = len(CLASSES)
    pairs = labels.astype(np.int64) * size + answers
    return np.bincount(pairs, minlength=size * size).reshape(size, size)


def by_class(confusion: npt.NDArray[np.int64]) -> tuple[ClassScore, ...]:
    """Precision, recall and F1 of each digit; 0 where there is nothing to divide by."""
    hits, truths, answers = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    precision, recall = hits / np.maximum(answers, 1), hits / np.maximum(truths, 1)
    f1 = 2 * hits / np.maximum(truths + answers, 1)
    columns = zip(truths.tolist(), precision.tolist(), recall.tolist(), f1.tolist(), strict=True)
    return tuple(ClassScore(digit, *column) for digit, column in enumerate(columns))


def top_confusions(confusion: npt.NDArray[np.int64]) -> tuple[Confusion, ...]:
    """The pairs that were confused most, the worst first."""
    counts = np.where(np.eye(len(confusion), dtype=bool), 0, confusion)
    worst = np.argsort(-counts, axis=None, kind="stable")[:MOST_CONFUSED].tolist()
    pairs = (Confusion(at // len(confusion), at % len(confusion), int(counts.flat[at])) for at in worst)
    return tuple(pair for pair in pairs if pair.count)


def reliability(confidence: Floats, right: Flags, bins: int = BINS) -> tuple[Bin, ...]:
    """The answers in bins of equal width by confidence, empty ones left out."""
    which = _bin(confidence, bins)
    return tuple(
        Bin(at / bins, int(mine.sum()), float(confidence[mine].mean(dtype=np.float64)), float(right[mine].mean()))
        for at in range(bins)
        if (mine := which == at).any()
    )


def expected_calibration_error(confidence: Floats, right: Flags, bins: int = BINS) -> float:
    """The mean distance of confidence and share of right answers over equal bins (Naeini et al. 2015)."""
    return sum(abs(b.confidence - b.accuracy) * b.count for b in reliability(confidence, right, bins)) / len(right)


def risk_coverage(confidence: Floats, right: Flags) -> Floats:
    """float64 (n,): the share of mistakes among the surest 1, 2, ... n answers (Geifman and El-Yaniv 2017)."""
    surest = np.argsort(-confidence, kind="stable")
    return np.cumsum(~right[surest]) / np.arange(1, len(right) + 1)


def risk_at(coverage: float, risks: Floats) -> float:
    """The share of mistakes where only that share of the answers is given, the surest ones."""
    return float(risks[max(round(coverage * len(risks)), 1) - 1])


def _bin(confidence: Floats, bins: int) -> Classes:
    return np.asarray(np.minimum((confidence * bins).astype(int), bins - 1))
