"""Temperature scaling, thresholds and Platt scaling."""

import numpy as np
import pytest

from numerals.article.metrics import expected_calibration_error
from numerals.export import calibration
from numerals.read.strip_reader import logit


def test_the_temperature_of_scaled_logits_is_found() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (20000, 10)).astype(np.float32)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (probabilities.cumsum(axis=1) > rng.random((20000, 1))).argmax(axis=1).astype(np.uint8)
    assert abs(calibration.fit_temperature(logits * 2, labels) - 2) < 0.1


def test_the_threshold_rejects_the_given_share_of_digits() -> None:
    logits = np.random.default_rng(0).normal(4, 2, 10_000).astype(np.float32)
    is_digit = 1 / (1 + np.exp(-logits))
    assert abs((is_digit < calibration.choose_threshold(logits, 0.004)).mean() - 0.004) < 0.001


def test_platt_scaling_finds_the_slope_and_shift_of_the_data() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.01, 0.99, 30_000)
    accuracy = 1 / (1 + np.exp(-(0.5 * logit(confidence) - 1)))
    right = rng.random(30_000) < accuracy
    assert calibration.fit_platt_scaling(confidence, right) == pytest.approx((0.5, -1), abs=0.05)


@pytest.mark.parametrize("share", [0.0, 1.0])
@pytest.mark.parametrize("sure", [0.5, 0.999])
def test_platt_scaling_is_finite_when_all_answers_are_right_or_wrong(share: float, sure: float) -> None:
    slope, shift = calibration.fit_platt_scaling(np.full(50, sure), np.full(50, bool(share)))
    assert 0 < slope < 10 and abs(shift) < 10


@pytest.mark.parametrize("seed", range(60))
def test_platt_scaling_stays_near_the_identity_on_little_skewed_data(seed: int) -> None:
    rng = np.random.default_rng(seed)
    confidence = 1 - rng.beta(0.2, 5, 200)
    right = rng.random(200) < confidence
    slope, shift = calibration.fit_platt_scaling(confidence, right)
    assert 0.2 < slope < 3 and abs(shift) < 4


def test_the_calibration_error_of_two_bins_by_hand() -> None:
    confidence = np.array([0.9, 0.9, 0.9, 0.9, 0.51])
    right = np.array([True, True, True, False, False])
    # four answers at 0.9, three of them right, and a wrong one at 0.51
    assert expected_calibration_error(confidence, right, 10) == pytest.approx(0.8 * 0.15 + 0.2 * 0.51)
