"""Probabilities in, metrics out (the article's section 7). Knows nothing about networks: it scores any `predict`."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from numerals.article import measures
from numerals.article.data import check
from numerals.article.disputed import disputed
from numerals.errors import InputError
from numerals.spec import CLASSES

CLIP = 1e-7  # Keras keeps probabilities this far from 0 and 1 before the logarithm
COVERAGES = (0.99, 0.95)  # shares of the answers, the surest ones, whose accuracy is told


@dataclass(frozen=True)
class Undisputed:
    """The score without the digits whose label people do not agree with."""

    disputed: tuple[int, ...]  # which those are
    errors: int
    accuracy: float


@dataclass(frozen=True)
class Details:
    """What there is to know of answers besides how many were right."""

    interval: tuple[float, float]  # of the accuracy, 95 %
    undisputed: Undisputed | None  # None where no labels are known to be disputed
    classes: tuple[measures.ClassScore, ...]
    confusion: tuple[tuple[int, ...], ...]  # a row for each truth, a column for each answer
    top_confusions: tuple[measures.Confusion, ...]
    calibration_error: float  # expected calibration error, 15 bins
    reliability: tuple[measures.Bin, ...]
    accuracy_at_coverage: dict[str, float]  # "0.99": of the surest 99 %
    risk_at_coverage: tuple[float, ...]  # share of mistakes among the surest 1 %, 2 %, ... 100 %


@dataclass(frozen=True)
class Metrics:
    """How well it did on `count` digits."""

    count: int
    errors: int
    accuracy: float  # in [0, 1]
    loss: float  # categorical cross-entropy, nats, mean over the digits
    details: Details | None = None  # None for rows of digits, which have no classes

    def to_dict(self) -> dict[str, Any]:
        """One flat table, as metrics.json has it and JSON gives it back: lists, no tuples."""
        figures = asdict(self)
        table: dict[str, Any] = json.loads(json.dumps(figures | (figures.pop("details") or {})))
        return table


def evaluate(
    predict: Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.floating[Any]]],
    images: npt.NDArray[np.generic],
    labels: npt.NDArray[np.generic],
) -> Metrics:
    """Score any function from digits to probabilities.

    Args:
        predict: uint8 (n, 28, 28) in [0, 255], white ink on black, to probabilities (n, 10).
        images, labels: as `load_mnist` gives them.

    Raises:
        DataError: images or labels that are not digits of ours.
        InputError: `predict` gives no probabilities.
    """
    images, labels = check(images, labels, "evaluate")
    return score(predict(images), labels)


def score(probabilities: npt.NDArray[np.floating[Any]], labels: npt.NDArray[np.uint8]) -> Metrics:
    """Metrics of probabilities (n, 10) against labels (n,).

    Raises:
        InputError: another shape, or rows that are no probabilities.
    """
    if probabilities.shape != (len(labels), len(CLASSES)):
        raise InputError(
            f"probabilities of shape {probabilities.shape} for {len(labels)} digits; "
            f"they must be ({len(labels)}, {len(CLASSES)})"
        )
    if not np.allclose(probabilities.sum(axis=1), 1, atol=1e-3) or probabilities.min() < 0:  # NaN fails too
        raise InputError(
            "predict gave rows that are no probabilities: each must be 0 or more and sum to 1 (softmax the logits)"
        )
    errors = int((probabilities.argmax(axis=1) != labels).sum())
    chosen = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    loss = float(-np.log(np.clip(chosen, CLIP, 1 - CLIP)).mean())
    return Metrics(len(labels), errors, (len(labels) - errors) / len(labels), loss, _details(probabilities, labels))


def _details(probabilities: npt.NDArray[np.floating[Any]], labels: npt.NDArray[np.uint8]) -> Details:
    answers, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    right = answers == labels
    confusion = measures.confusion_matrix(labels, answers)
    risks = measures.risk_coverage(confidence, right)
    return Details(
        interval=measures.interval(int(right.sum()), len(right)),
        undisputed=_undisputed(right, labels),
        classes=measures.by_class(confusion),
        confusion=tuple(map(tuple, confusion.tolist())),
        top_confusions=measures.top_confusions(confusion),
        calibration_error=measures.expected_calibration_error(confidence, right),
        reliability=measures.reliability(confidence, right),
        accuracy_at_coverage={str(share): 1 - measures.risk_at(share, risks) for share in COVERAGES},
        risk_at_coverage=tuple(measures.risk_at(percent / 100, risks) for percent in range(1, 101)),
    )


def _undisputed(right: npt.NDArray[np.bool_], labels: npt.NDArray[np.uint8]) -> Undisputed | None:
    doubtful = disputed(labels)
    if not doubtful:
        return None
    rest = np.delete(right, doubtful)
    return Undisputed(doubtful, int((~rest).sum()), float(rest.mean()))
