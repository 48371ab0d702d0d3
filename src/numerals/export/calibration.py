"""Fit temperatures, thresholds and Platt scaling, so that a confidence is the probability of being right.

Use digits that the network was not trained on.
"""

import numpy as np
import numpy.typing as npt

from numerals.read.strip_reader import LOGIT_EPSILON, logit

Floats = npt.NDArray[np.floating]
PRIOR = 1.0  # weight of the prior that leaves confidences unchanged, in observations


def fit_temperature(logits: Floats, labels: npt.NDArray[np.integer]) -> float:
    """Find the temperature to divide logits (n, 10) by that minimises the cross-entropy (Guo et al. 2017).

    The best of 200 temperatures from 0.2 to 3.
    """
    candidates = np.exp(np.linspace(np.log(0.2), np.log(3), 200))
    truth = np.arange(len(labels)), labels.astype(np.int64)

    def loss(temperature: float) -> float:
        scaled = logits.astype(np.float64) / temperature
        top = scaled.max(axis=1, keepdims=True)
        return float((np.log(np.exp(scaled - top).sum(axis=1)) + top[:, 0] - scaled[truth]).mean())

    return float(min(candidates, key=loss))


def choose_threshold(is_digit_logits: Floats, rejection_rate: float) -> float:
    """Choose the is_digit in [0, 1] that rejects this share of real digits, given their logits (n,)."""
    logit = float(np.quantile(is_digit_logits, rejection_rate))
    return 1 / (1 + float(np.exp(-logit)))


def fit_platt_scaling(confidence: Floats, right: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Fit the slope and shift that turn a confidence into the share of right answers (Platt 1999).

    The calibrated confidence is 1 / (1 + exp(-(slope * logit(confidence) + shift))). A prior keeps slope and shift
    near 1 and 0 when there is little data, or when all answers are right or all are wrong.

    Args:
        confidence: (n,) in [0, 1].
        right: (n,) whether each answer is right.

    Returns:
        The slope, greater than 0, and the shift.
    """
    x = np.stack([logit(confidence), np.ones(len(confidence))], axis=1)
    y, start = right.astype(np.float64), np.array([1.0, 0.0])

    def loss(line: npt.NDArray[np.float64]) -> float:
        logits = x @ line
        return float(np.sum(np.logaddexp(0, logits) - y * logits) + PRIOR / 2 * np.sum((line - start) ** 2))

    line = start
    for _ in range(50):  # Newton's method, halving each step until the loss falls: the loss is convex
        p = 1 / (1 + np.exp(-x @ line))
        curvature = (x * (p * (1 - p))[:, None]).T @ x + PRIOR * np.eye(2)
        step = np.linalg.solve(curvature, x.T @ (p - y) + PRIOR * (line - start))
        step_size = 1.0
        while step_size > 1e-6 and loss(line - step_size * step) > loss(line):
            step_size /= 2
        line = line - step_size * step
    return float(max(line[0], LOGIT_EPSILON)), float(line[1])
