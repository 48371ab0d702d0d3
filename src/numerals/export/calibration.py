"""Confidences that mean what they say, fitted on digits that were not learnt from. Knows nothing about networks."""

import numpy as np
import numpy.typing as npt

from numerals.read.strip_reader import LOGIT_EPSILON, logit

Floats = npt.NDArray[np.floating]
PRIOR = 1.0  # how strongly a calibration is drawn to leaving confidences as they are, in observations


def fit_temperature(logits: Floats, labels: npt.NDArray[np.integer]) -> float:
    """What to divide logits (n, classes) by for the least cross-entropy (Guo et al. 2017)."""
    candidates = np.exp(np.linspace(np.log(0.2), np.log(3), 200))
    truth = np.arange(len(labels)), labels.astype(np.int64)

    def loss(temperature: float) -> float:
        scaled = logits.astype(np.float64) / temperature
        top = scaled.max(axis=1, keepdims=True)
        return float((np.log(np.exp(scaled - top).sum(axis=1)) + top[:, 0] - scaled[truth]).mean())

    return float(min(candidates, key=loss))


def choose_threshold(being: Floats, rejected: float) -> float:
    """The is_digit, in [0, 1], under which that share of logits (n,) of real digits lies."""
    logit = float(np.quantile(being, rejected))
    return 1 / (1 + float(np.exp(-logit)))


def fit_sureness(confidence: Floats, right: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Slope and shift that make a confidence (n,) in [0, 1] the share of answers that are right (Platt 1999).

    The calibrated confidence is 1 / (1 + exp(-(slope * logit(confidence) + shift))). Little data, or all of it right or
    wrong, leaves them near 1 and 0: PRIOR draws them there.
    """
    x = np.stack([logit(confidence), np.ones(len(confidence))], axis=1)
    y, start = right.astype(np.float64), np.array([1.0, 0.0])

    def loss(line: npt.NDArray[np.float64]) -> float:
        told = x @ line
        return float(np.sum(np.logaddexp(0, told) - y * told) + PRIOR / 2 * np.sum((line - start) ** 2))

    line = start
    for _ in range(50):  # Newton's steps, each halved until it helps: the loss is convex
        p = 1 / (1 + np.exp(-x @ line))
        curvature = (x * (p * (1 - p))[:, None]).T @ x + PRIOR * np.eye(2)
        step = np.linalg.solve(curvature, x.T @ (p - y) + PRIOR * (line - start))
        share = 1.0
        while share > 1e-6 and loss(line - share * step) > loss(line):
            share /= 2
        line = line - share * step
    return float(max(line[0], LOGIT_EPSILON)), float(line[1])
