"""Probabilities in, metrics out (the article's section 7). Knows nothing about networks: it scores any `predict`."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from numerals.errors import InputError
from numerals.learn.data import check
from numerals.spec import CLASSES

CLIP = 1e-7  # Keras keeps probabilities this far from 0 and 1 before the logarithm


@dataclass(frozen=True)
class Metrics:
    """How well it did on `count` digits."""

    count: int
    errors: int
    accuracy: float  # in [0, 1]
    loss: float  # categorical cross-entropy, nats, mean over the digits

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


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
    return Metrics(len(labels), errors, 1 - errors / len(labels), loss)
