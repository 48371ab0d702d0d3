"""Confidences that mean what they say."""

import numpy as np
import pytest

from numerals.article.metrics import expected_calibration_error
from numerals.export import calibration
from numerals.read.strip_reader import logit


def test_the_temperature_is_found() -> None:
    chance = np.random.default_rng(0)
    logits = chance.normal(0, 2, (20000, 10)).astype(np.float32)
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (shares.cumsum(axis=1) > chance.random((20000, 1))).argmax(axis=1).astype(np.uint8)
    assert abs(calibration.fit_temperature(logits * 2, labels) - 2) < 0.1


def test_the_threshold_turns_few_digits_away() -> None:
    being = np.random.default_rng(0).normal(4, 2, 10_000).astype(np.float32)
    shares = 1 / (1 + np.exp(-being))
    assert abs((shares < calibration.choose_threshold(being, 0.004)).mean() - 0.004) < 0.001


def test_sureness_finds_the_line_that_the_answers_came_from() -> None:
    chance = np.random.default_rng(0)
    confidence = chance.uniform(0.01, 0.99, 30_000)
    truth = 1 / (1 + np.exp(-(0.5 * logit(confidence) - 1)))
    right = chance.random(30_000) < truth
    assert calibration.fit_platt_scaling(confidence, right) == pytest.approx((0.5, -1), abs=0.05)


@pytest.mark.parametrize("share", [0.0, 1.0])
@pytest.mark.parametrize("sure", [0.5, 0.999])
def test_sureness_is_finite_where_all_is_right_or_wrong(share: float, sure: float) -> None:
    slope, shift = calibration.fit_platt_scaling(np.full(50, sure), np.full(50, bool(share)))
    assert 0 < slope < 10 and abs(shift) < 10


@pytest.mark.parametrize("seed", range(60))
def test_sureness_does_not_run_away_on_little_skewed_data(seed: int) -> None:
    chance = np.random.default_rng(seed)
    confidence = 1 - chance.beta(0.2, 5, 200)
    right = chance.random(200) < confidence
    slope, shift = calibration.fit_platt_scaling(confidence, right)
    assert 0.2 < slope < 3 and abs(shift) < 4


def test_the_calibration_error_of_two_bins_by_hand() -> None:
    confidence = np.array([0.9, 0.9, 0.9, 0.9, 0.51])
    right = np.array([True, True, True, False, False])
    # four answers at 0.9 of which three are right, one at 0.51 that is wrong
    assert expected_calibration_error(confidence, right, 10) == pytest.approx(0.8 * 0.15 + 0.2 * 0.51)
