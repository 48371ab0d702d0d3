"""Evaluate predicted probabilities against labels (the article's section 7): accuracy and loss, and what they hide.

The article reports test accuracy and loss. This module adds a confidence interval, precision and recall of each digit,
the confusion matrix, calibration, and risk against coverage. It needs numpy only and scores any `predict` function.

In all functions `labels` and `predictions` are classes (n,), `confidence` is the probability (n,) of the predicted
class, and `correct` (n,) is true where the prediction equals the label. The tests compare the results with those of
scikit-learn, SciPy and Keras.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from numerals.article.data import SHA256, TEST_LABELS, check_digits
from numerals.errors import InputError
from numerals.spec import CLASSES

Floats = npt.NDArray[np.floating[Any]]
Flags = npt.NDArray[np.bool_]
Classes = npt.NDArray[np.integer[Any]]

EPSILON = 1e-7  # Keras clips probabilities to [EPSILON, 1 - EPSILON] before the logarithm
COVERAGES = (0.99, 0.95)  # fractions of the predictions, most confident first, whose accuracy is reported
CALIBRATION_BINS = 15  # of confidence, as in Guo et al. 2017
MAX_CONFUSIONS = 10  # pairs of digits that are reported as the most confused
NORMAL_95 = 1.959963984540054  # a normal distribution has 95 % within this many standard deviations of its mean

# Indices of the MNIST test digits whose label people dispute. Five people looked at each test digit that seemed
# mislabelled; for these fifteen, fewer than three chose the given label (Northcutt, Athalye and Mueller 2021,
# cleanlab's study of label errors). Every score counts them, as published results do; a second score leaves them out.
DISPUTED_TEST_DIGITS = (947, 1621, 1901, 2130, 2462, 2597, 2654, 3520, 3558, 5937, 6651, 6783, 8527, 9679, 9729)
IDX_LABELS_HEADER = b"\0\0\x08\x01"  # unsigned bytes, one dimension


@dataclass(frozen=True)
class ClassScore:
    """Precision, recall and F1 of one digit."""

    digit: int
    count: int  # images with this label
    precision: float  # of the images predicted as this digit, the fraction that are it
    recall: float  # of the images of this digit, the fraction predicted as it
    f1: float  # harmonic mean of precision and recall


@dataclass(frozen=True)
class Confusion:
    """How often one digit was predicted as another."""

    truth: int
    answer: int
    count: int


@dataclass(frozen=True)
class ReliabilityBin:
    """The predictions whose confidence lies from `low` up to the next bin's `low`; the last bin includes 1."""

    low: float
    count: int
    confidence: float  # mean
    accuracy: float


@dataclass(frozen=True)
class UndisputedScore:
    """The score without the test digits whose label people dispute."""

    disputed: tuple[int, ...]  # their indices
    errors: int
    accuracy: float


@dataclass(frozen=True)
class Details:
    """Everything beyond accuracy and loss."""

    interval: tuple[float, float]  # 95 % confidence interval of the accuracy
    undisputed: UndisputedScore | None  # None unless these are the MNIST test labels
    classes: tuple[ClassScore, ...]
    confusion: tuple[tuple[int, ...], ...]  # a row for each label, a column for each prediction
    top_confusions: tuple[Confusion, ...]
    calibration_error: float  # expected calibration error
    reliability: tuple[ReliabilityBin, ...]
    accuracy_at_coverage: dict[str, float]  # "0.99": accuracy of the most confident 99 %
    risk_at_coverage: tuple[float, ...]  # error rate of the most confident 1 %, 2 %, ... 100 %


@dataclass(frozen=True)
class Metrics:
    """How well `count` digits were classified."""

    count: int
    errors: int
    accuracy: float  # in [0, 1]
    loss: float  # categorical cross-entropy in nats, mean over the digits
    details: Details | None = field(default=None, repr=False)  # None for rows of digits, which have no classes

    def to_dict(self) -> dict[str, Any]:
        """Return one flat dictionary, as metrics.json stores it and JSON reads it back: lists instead of tuples."""
        values = asdict(self)
        flat: dict[str, Any] = json.loads(json.dumps(values | (values.pop("details") or {})))
        return flat


def evaluate(
    predict: Callable[[npt.NDArray[np.uint8]], Floats],
    images: npt.ArrayLike,
    labels: npt.ArrayLike,
) -> Metrics:
    """Score any function from digit images to probabilities.

    Args:
        predict: takes images, uint8 (n, 28, 28) in [0, 255], white ink on black; returns probabilities (n, 10).
        images, labels: as returned by `load_mnist` or `prepare`.

    Raises:
        DataError: `images` or `labels` have the wrong shape or values.
        InputError: `predict` does not return probabilities.
    """
    digits, classes = check_digits(images, labels, "evaluate")
    return compute_metrics(predict(digits), classes)


def compute_metrics(probabilities: Floats, labels: npt.NDArray[np.uint8]) -> Metrics:
    """Compare probabilities (n, 10) with labels (n,).

    Raises:
        InputError: wrong shape, or rows that are not probabilities.
    """
    if probabilities.shape != (len(labels), len(CLASSES)):
        raise InputError(
            f"probabilities of shape {probabilities.shape} for {len(labels)} digits; "
            f"they must be ({len(labels)}, {len(CLASSES)})"
        )
    if not np.allclose(probabilities.sum(axis=1), 1, atol=1e-3) or probabilities.min() < 0:  # NaN fails too
        raise InputError(
            "predict returned rows that are not probabilities: each must be 0 or more and sum to 1 (softmax the logits)"
        )
    errors = int((probabilities.argmax(axis=1) != labels).sum())
    label_probabilities = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    loss = float(-np.log(np.clip(label_probabilities, EPSILON, 1 - EPSILON)).mean())
    return Metrics(len(labels), errors, (len(labels) - errors) / len(labels), loss, _details(probabilities, labels))


def _details(probabilities: Floats, labels: npt.NDArray[np.uint8]) -> Details:
    predictions, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    correct = predictions == labels
    confusion = confusion_matrix(labels, predictions)
    risks = risk_coverage_curve(confidence, correct)
    return Details(
        interval=wilson_interval(int(correct.sum()), len(correct)),
        undisputed=_undisputed_score(correct, labels),
        classes=class_scores(confusion),
        confusion=tuple(map(tuple, confusion.tolist())),
        top_confusions=top_confusions(confusion),
        calibration_error=expected_calibration_error(confidence, correct),
        reliability=reliability_bins(confidence, correct),
        accuracy_at_coverage={str(coverage): 1 - risk_at_coverage(coverage, risks) for coverage in COVERAGES},
        risk_at_coverage=tuple(risk_at_coverage(percent / 100, risks) for percent in range(1, 101)),
    )


def wilson_interval(successes: int, count: int) -> tuple[float, float]:
    """The 95 % confidence interval of a proportion such as the accuracy (Wilson 1927)."""
    proportion, spread = successes / count, NORMAL_95**2 / count
    centre = proportion + spread / 2
    half_width = NORMAL_95 * ((proportion * (1 - proportion) + spread / 4) / count) ** 0.5
    return max((centre - half_width) / (1 + spread), 0.0), min((centre + half_width) / (1 + spread), 1.0)


def confusion_matrix(labels: Classes, predictions: Classes) -> npt.NDArray[np.int64]:
    """Count the predictions, int64 (10, 10): a row for each label, a column for each prediction."""
    size = len(CLASSES)
    cells = labels.astype(np.int64) * size + predictions
    return np.bincount(cells, minlength=size * size).reshape(size, size)


def class_scores(confusion: npt.NDArray[np.int64]) -> tuple[ClassScore, ...]:
    """Precision, recall and F1 of each digit; 0 where the denominator is 0."""
    hits, truths, answers = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    precision, recall = hits / np.maximum(answers, 1), hits / np.maximum(truths, 1)
    f1 = 2 * hits / np.maximum(truths + answers, 1)
    columns = zip(truths.tolist(), precision.tolist(), recall.tolist(), f1.tolist(), strict=True)
    return tuple(ClassScore(digit, *column) for digit, column in enumerate(columns))


def top_confusions(confusion: npt.NDArray[np.int64]) -> tuple[Confusion, ...]:
    """The most frequent confusions, at most MAX_CONFUSIONS, most frequent first."""
    counts = np.where(np.eye(len(confusion), dtype=bool), 0, confusion)
    cells = np.argsort(-counts, axis=None, kind="stable")[:MAX_CONFUSIONS].tolist()
    pairs = (Confusion(cell // len(confusion), cell % len(confusion), int(counts.flat[cell])) for cell in cells)
    return tuple(pair for pair in pairs if pair.count)


def reliability_bins(confidence: Floats, correct: Flags, bins: int = CALIBRATION_BINS) -> tuple[ReliabilityBin, ...]:
    """Group the predictions into `bins` of equal width by confidence; empty bins are left out."""
    bin_of = np.minimum((confidence * bins).astype(int), bins - 1)
    return tuple(
        ReliabilityBin(
            index / bins,
            int(members.sum()),
            float(confidence[members].mean(dtype=np.float64)),
            float(correct[members].mean()),
        )
        for index in range(bins)
        if (members := bin_of == index).any()
    )


def expected_calibration_error(confidence: Floats, correct: Flags, bins: int = CALIBRATION_BINS) -> float:
    """The mean gap between confidence and accuracy over `bins` of equal width (Naeini et al. 2015)."""
    gaps = (abs(b.confidence - b.accuracy) * b.count for b in reliability_bins(confidence, correct, bins))
    return sum(gaps) / len(correct)


def risk_coverage_curve(confidence: Floats, correct: Flags) -> Floats:
    """Error rate of the most confident 1, 2, ... n predictions, float64 (n,) (Geifman and El-Yaniv 2017)."""
    most_confident_first = np.argsort(-confidence, kind="stable")
    return np.cumsum(~correct[most_confident_first]) / np.arange(1, len(correct) + 1)


def risk_at_coverage(coverage: float, risks: Floats) -> float:
    """Error rate when only the fraction `coverage` of the predictions is given, the most confident ones."""
    return float(risks[max(round(coverage * len(risks)), 1) - 1])


def disputed_indices(labels: Classes) -> tuple[int, ...]:
    """DISPUTED_TEST_DIGITS if `labels` are the MNIST test labels in their order, otherwise an empty tuple.

    The labels are recognised by the hash of MNIST's own file, so the name of the dataset does not matter.
    """
    idx_file = IDX_LABELS_HEADER + len(labels).to_bytes(4, "big") + labels.astype(np.uint8).tobytes()
    return DISPUTED_TEST_DIGITS if hashlib.sha256(idx_file).hexdigest() == SHA256[TEST_LABELS] else ()


def _undisputed_score(correct: Flags, labels: npt.NDArray[np.uint8]) -> UndisputedScore | None:
    disputed = disputed_indices(labels)
    if not disputed:
        return None
    undisputed = np.delete(correct, disputed)
    return UndisputedScore(disputed, int((~undisputed).sum()), float(undisputed.mean()))
