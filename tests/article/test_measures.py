"""The measures against scikit-learn's, SciPy's and a second reckoning of the calibration."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from numerals.article import metrics
from numerals.article.metrics import DISPUTED_TEST_DIGITS, compute_metrics
from numerals.report import significance
from tests.article.test_metrics import drawn
from tests.helpers.keras_peer import mnist

Floats = npt.NDArray[np.float32]


def naive_calibration_error(probabilities: Floats, labels: npt.NDArray[np.uint8]) -> float:
    """Guo et al. 2017, equation 3, one answer after the other."""
    bins: list[list[tuple[float, bool]]] = [[] for _ in range(15)]
    for row, label in zip(probabilities.tolist(), labels.tolist(), strict=True):
        sure = max(row)
        bins[min(int(sure * 15), 14)].append((sure, row.index(sure) == label))
    gaps = (abs(sum(right for _, right in b) - sum(sure for sure, _ in b)) for b in bins)
    return sum(gaps) / len(labels)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), count=st.integers(1, 400), sharpness=st.floats(0.1, 2.0))
def test_same_as_scikit_learn_and_a_second_reckoning(seed: int, count: int, sharpness: float) -> None:
    probabilities, labels = drawn(seed, count, sharpness)
    answers = probabilities.argmax(axis=1)
    details = compute_metrics(probabilities, labels).details
    assert details
    assert np.array_equal(details.confusion, confusion_matrix(labels, answers, labels=range(10)))
    theirs = precision_recall_fscore_support(labels, answers, labels=range(10), zero_division=0)
    ours = [[getattr(each, name) for each in details.classes] for name in ("precision", "recall", "f1", "count")]
    assert np.allclose(ours, theirs, atol=1e-12)
    assert details.calibration_error == pytest.approx(naive_calibration_error(probabilities, labels), abs=1e-6)
    pairs = [(pair.truth, pair.answer, pair.count) for pair in details.top_confusions]
    assert all(details.confusion[truth][answer] == times for truth, answer, times in pairs)
    rest = sorted((times for row in range(10) for at, times in enumerate(details.confusion[row]) if at != row))[::-1]
    assert [times for *_, times in pairs] == [times for times in rest[:10] if times]


@settings(max_examples=50, deadline=None)
@given(count=st.integers(1, 20_000), share=st.floats(0, 1))
def test_the_interval_is_scipys(count: int, share: float) -> None:
    right = round(share * count)
    theirs = binomtest(right, count).proportion_ci(0.95, method="wilson")
    assert metrics.wilson_interval(right, count) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


def test_risk_and_coverage_by_hand() -> None:
    confidence = np.array([0.5, 0.9, 0.6, 0.8], np.float32)
    right = np.array([False, True, True, False])
    risks = metrics.risk_coverage_curve(confidence, right)
    assert risks.tolist() == pytest.approx([0, 1 / 2, 1 / 3, 2 / 4])
    assert metrics.risk_at_coverage(0.5, risks) == 1 / 2 and metrics.risk_at_coverage(1, risks) == 2 / 4


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), count=st.integers(100, 400))
def test_the_whole_coverage_is_the_score(seed: int, count: int) -> None:
    metrics = compute_metrics(*drawn(seed, count, 1.0))
    assert metrics.details and len(metrics.details.risk_at_coverage) == 100
    assert metrics.details.risk_at_coverage[-1] == pytest.approx(1 - metrics.accuracy)
    assert sum(b.count for b in metrics.details.reliability) == count


def test_disputed_labels_are_told_by_mnists_own_labels() -> None:
    labels = mnist().test[1]
    wrong_there = np.eye(10, dtype=np.float32)[labels]
    wrong_there[list(DISPUTED_TEST_DIGITS)] = np.roll(wrong_there[list(DISPUTED_TEST_DIGITS)], 1, axis=1)
    details = compute_metrics(wrong_there, labels).details
    assert details and details.undisputed
    assert details.undisputed.disputed == (
        947, 1621, 1901, 2130, 2462, 2597, 2654, 3520, 3558, 5937, 6651, 6783, 8527, 9679, 9729,
    )  # fmt: skip
    assert (details.undisputed.errors, details.undisputed.accuracy) == (0, 1.0)
    assert compute_metrics(wrong_there, labels).errors == 15
    another = labels.copy()
    another[0] = 3
    for other in (another, labels[:9999], labels[::-1].copy()):
        found = compute_metrics(np.eye(10, dtype=np.float32)[other], other).details
        assert found and found.undisputed is None


@settings(max_examples=60, deadline=None)
@given(one=st.integers(0, 400), other=st.integers(0, 400))
def test_mcnemars_test_is_scipys_exact_one(one: int, other: int) -> None:
    theirs = binomtest(one, one + other).pvalue if one + other else 1.0
    assert significance.mcnemar(one, other) == pytest.approx(theirs, rel=1e-9)
    assert significance.mcnemar(one, other) == significance.mcnemar(other, one)


def test_many_mistakes_are_no_trouble() -> None:
    assert significance.mcnemar(3000, 7000) < 1e-300 and significance.mcnemar(5000, 5000) == 1


def test_several_comparisons_ask_for_more() -> None:
    assert significance.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert significance.holm([0.04]) == [0.04] and significance.holm([0.9, 0.8]) == [1, 1]
