"""metrics.py against scikit-learn, SciPy, Keras, and a second implementation of the calibration error."""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score, confusion_matrix, log_loss, precision_recall_fscore_support

from numerals.article import metrics
from numerals.article.metrics import DISPUTED_TEST_DIGITS, compute_metrics, evaluate
from numerals.errors import DataError, InputError
from tests.helpers.keras_peer import keras, mnist

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.uint8]


def random_predictions(seed: int, count: int, sharpness: float) -> tuple[Floats, Labels]:
    """Probabilities (count, 10), more confident for a larger `sharpness`, and labels drawn independently."""
    generator = np.random.default_rng(seed)
    odds = np.exp(sharpness * generator.normal(size=(count, 10)))
    labels = generator.integers(0, 10, count).astype(np.uint8)
    return (odds / odds.sum(1, keepdims=True)).astype(np.float32), labels


def keras_loss(probabilities: Floats, labels: Labels) -> float:
    losses = keras().losses.categorical_crossentropy(np.eye(10, dtype=np.float32)[labels], probabilities)
    return float(losses.double().mean())


def naive_calibration_error(probabilities: Floats, labels: Labels) -> float:
    """Guo et al. 2017, equation 3, one prediction after the other."""
    bins: list[list[tuple[float, bool]]] = [[] for _ in range(15)]
    for row, label in zip(probabilities.tolist(), labels.tolist(), strict=True):
        confidence = max(row)
        bins[min(int(confidence * 15), 14)].append((confidence, row.index(confidence) == label))
    gaps = (abs(sum(correct for _, correct in b) - sum(confidence for confidence, _ in b)) for b in bins)
    return sum(gaps) / len(labels)


# Accuracy and loss


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), count=st.integers(1, 300), sharpness=st.floats(0, 1.2))
def test_accuracy_and_loss_are_those_of_scikit_learn_and_keras(seed: int, count: int, sharpness: float) -> None:
    probabilities, labels = random_predictions(seed, count, sharpness)
    result = compute_metrics(probabilities, labels)
    assert result.accuracy == pytest.approx(accuracy_score(labels, probabilities.argmax(1)), abs=1e-12)
    assert (result.count, result.errors) == (count, int((probabilities.argmax(1) != labels).sum()))
    exact = probabilities.astype(np.float64)
    exact /= exact.sum(1, keepdims=True)
    assert result.loss == pytest.approx(log_loss(labels, exact, labels=range(10)), abs=1e-6)
    assert result.loss == pytest.approx(keras_loss(probabilities, labels), abs=1e-5)


def test_an_error_with_confidence_1_has_keras_loss() -> None:
    probabilities = np.eye(10, dtype=np.float32)[[0, 1, 2, 3]]
    labels = np.array([0, 1, 2, 9], np.uint8)
    result = compute_metrics(probabilities, labels)
    assert result.accuracy == 0.75
    assert result.loss == pytest.approx(keras_loss(probabilities, labels), rel=1e-5)
    headline = {"count": 4, "errors": 1, "accuracy": 0.75, "loss": result.loss}
    assert result.to_dict().items() >= headline.items()
    assert replace(result, details=None).to_dict() == headline, "metrics of rows have no details"


# Any predict function


def test_evaluate_scores_any_predict_function() -> None:
    images, labels = mnist().test[0][:500], mnist().test[1][:500]
    calls: list[npt.NDArray[np.uint8]] = []

    def predict(digits: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
        calls.append(digits)
        probabilities = np.full((len(digits), 10), 0.02)
        probabilities[:, 1] = 0.82
        return probabilities

    result = evaluate(predict, images, labels)
    assert result.accuracy == pytest.approx((labels == 1).mean())
    assert len(calls) == 1 and calls[0].dtype == np.uint8 and np.array_equal(calls[0], images)


def test_whole_numbers_of_any_type_are_accepted() -> None:
    images, labels = mnist().test[0][:20], mnist().test[1][:20]
    probabilities = np.eye(10)[labels]
    result = evaluate(lambda digits: probabilities, images.astype(np.float64), labels.astype(np.int64))
    assert result.accuracy == 1


NOT_PROBABILITIES: dict[str, npt.NDArray[Any]] = {
    "too few rows": np.full((3, 10), 0.1),
    "too many classes": np.full((4, 11), 1 / 11),
    "one dimension": np.full(4, 0.1),
    "logits": np.arange(40.0).reshape(4, 10),
    "sums to 1, but negative": np.tile([-0.5, 1.5, *[0.0] * 8], (4, 1)),
    "NaN": np.full((4, 10), np.nan),
    "one NaN": np.where(np.eye(4, 10) == 1, np.nan, 0.1),
    "infinite": np.full((4, 10), np.inf),
    "one row is zero": np.vstack([np.full((3, 10), 0.1), np.zeros((1, 10))]),
}


@pytest.mark.parametrize("probabilities", NOT_PROBABILITIES.values(), ids=NOT_PROBABILITIES.keys())
def test_anything_but_probabilities_is_an_error_of_one_line(probabilities: npt.NDArray[Any]) -> None:
    images, labels = mnist().test[0][:4], mnist().test[1][:4]
    with pytest.raises(InputError) as caught:
        evaluate(lambda digits: probabilities, images, labels)
    assert "probabilities" in str(caught.value) and "\n" not in str(caught.value)


def test_anything_but_digits_is_an_error_of_one_line() -> None:
    images, labels = mnist().test[0][:4], mnist().test[1][:4]
    for wrong_images, wrong_labels in ((images[:, 1:], labels), (images, labels[:3]), (images, labels + 10)):
        with pytest.raises(DataError) as caught:
            evaluate(lambda digits: np.full((len(digits), 10), 0.1), wrong_images, wrong_labels)
        assert "\n" not in str(caught.value)


# Details


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), count=st.integers(1, 400), sharpness=st.floats(0.1, 2.0))
def test_details_are_those_of_scikit_learn_and_a_naive_calibration_error(
    seed: int, count: int, sharpness: float
) -> None:
    probabilities, labels = random_predictions(seed, count, sharpness)
    predictions = probabilities.argmax(axis=1)
    details = compute_metrics(probabilities, labels).details
    assert details
    assert np.array_equal(details.confusion, confusion_matrix(labels, predictions, labels=range(10)))
    expected = precision_recall_fscore_support(labels, predictions, labels=range(10), zero_division=0)
    actual = [[getattr(score, name) for score in details.classes] for name in ("precision", "recall", "f1", "count")]
    assert np.allclose(actual, expected, atol=1e-12)
    assert details.calibration_error == pytest.approx(naive_calibration_error(probabilities, labels), abs=1e-6)
    pairs = [(pair.truth, pair.answer, pair.count) for pair in details.top_confusions]
    assert all(details.confusion[truth][answer] == times for truth, answer, times in pairs)
    off_diagonal = [details.confusion[row][column] for row in range(10) for column in range(10) if row != column]
    assert [times for *_, times in pairs] == [times for times in sorted(off_diagonal)[::-1][:10] if times]


@settings(max_examples=50, deadline=None)
@given(count=st.integers(1, 20_000), proportion=st.floats(0, 1))
def test_the_confidence_interval_is_scipys(count: int, proportion: float) -> None:
    successes = round(proportion * count)
    expected = binomtest(successes, count).proportion_ci(0.95, method="wilson")
    assert metrics.wilson_interval(successes, count) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_risk_and_coverage_of_an_example() -> None:
    confidence = np.array([0.5, 0.9, 0.6, 0.8], np.float32)
    correct = np.array([False, True, True, False])
    risks = metrics.risk_coverage_curve(confidence, correct)
    assert risks.tolist() == pytest.approx([0, 1 / 2, 1 / 3, 2 / 4])
    assert metrics.risk_at_coverage(0.5, risks) == 1 / 2 and metrics.risk_at_coverage(1, risks) == 2 / 4


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), count=st.integers(100, 400))
def test_risk_at_full_coverage_is_the_error_rate(seed: int, count: int) -> None:
    result = compute_metrics(*random_predictions(seed, count, 1.0))
    assert result.details and len(result.details.risk_at_coverage) == 100
    assert result.details.risk_at_coverage[-1] == pytest.approx(1 - result.accuracy)
    assert sum(b.count for b in result.details.reliability) == count


def test_disputed_labels_are_recognised_by_the_mnist_labels() -> None:
    labels = mnist().test[1]
    disputed = list(DISPUTED_TEST_DIGITS)
    wrong_on_disputed = np.eye(10, dtype=np.float32)[labels]
    wrong_on_disputed[disputed] = np.roll(wrong_on_disputed[disputed], 1, axis=1)
    details = compute_metrics(wrong_on_disputed, labels).details
    assert details and details.undisputed
    assert details.undisputed.disputed == (
        947, 1621, 1901, 2130, 2462, 2597, 2654, 3520, 3558, 5937, 6651, 6783, 8527, 9679, 9729,
    )  # fmt: skip
    assert (details.undisputed.errors, details.undisputed.accuracy) == (0, 1.0)
    assert compute_metrics(wrong_on_disputed, labels).errors == 15
    one_changed = labels.copy()
    one_changed[0] = 3
    for other in (one_changed, labels[:9999], labels[::-1].copy()):
        details = compute_metrics(np.eye(10, dtype=np.float32)[other], other).details
        assert details and details.undisputed is None
