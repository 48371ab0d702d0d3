"""Metrics against scikit-learn's and Keras's."""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, log_loss

from numerals.article.metrics import compute_metrics, evaluate
from numerals.errors import DataError, InputError
from tests.helpers.keras_peer import keras, mnist


def drawn(seed: int, count: int, sharpness: float) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    chance = np.random.default_rng(seed)
    logits = np.exp(sharpness * chance.normal(size=(count, 10)))
    labels = chance.integers(0, 10, count).astype(np.uint8)
    return (logits / logits.sum(1, keepdims=True)).astype(np.float32), labels


def kerases_loss(probabilities: npt.NDArray[np.float32], labels: npt.NDArray[np.uint8]) -> float:
    each = keras.losses.categorical_crossentropy(np.eye(10, dtype=np.float32)[labels], probabilities)
    return float(each.double().mean())


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), count=st.integers(1, 300), sharpness=st.floats(0, 1.2))
def test_same_figures_as_scikit_learn_and_keras(seed: int, count: int, sharpness: float) -> None:
    probabilities, labels = drawn(seed, count, sharpness)
    metrics = compute_metrics(probabilities, labels)
    assert metrics.accuracy == pytest.approx(accuracy_score(labels, probabilities.argmax(1)), abs=1e-12)
    assert (metrics.count, metrics.errors) == (count, int((probabilities.argmax(1) != labels).sum()))
    exact = probabilities.astype(np.float64)
    exact /= exact.sum(1, keepdims=True)
    assert metrics.loss == pytest.approx(log_loss(labels, exact, labels=range(10)), abs=1e-6)
    assert metrics.loss == pytest.approx(kerases_loss(probabilities, labels), abs=1e-5)


def test_a_certain_mistake_costs_what_it_costs_in_keras() -> None:
    probabilities = np.eye(10, dtype=np.float32)[[0, 1, 2, 3]]
    labels = np.array([0, 1, 2, 9], np.uint8)
    metrics = compute_metrics(probabilities, labels)
    assert metrics.accuracy == 0.75
    assert metrics.loss == pytest.approx(kerases_loss(probabilities, labels), rel=1e-5)
    headline = {"count": 4, "errors": 1, "accuracy": 0.75, "loss": metrics.loss}
    assert metrics.to_dict().items() >= headline.items()
    assert replace(metrics, details=None).to_dict() == headline, "of rows there is no more"


def test_any_predict_is_scored() -> None:
    images, labels = mnist().test[0][:500], mnist().test[1][:500]
    seen: list[npt.NDArray[np.uint8]] = []

    def predict(digits: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
        seen.append(digits)
        probabilities = np.full((len(digits), 10), 0.02)
        probabilities[:, 1] = 0.82
        return probabilities

    metrics = evaluate(predict, images, labels)
    assert metrics.accuracy == pytest.approx((labels == 1).mean())
    assert len(seen) == 1 and seen[0].dtype == np.uint8 and np.array_equal(seen[0], images)


def test_float_images_and_wide_labels_that_are_whole_numbers_are_taken() -> None:
    images, labels = mnist().test[0][:20], mnist().test[1][:20]
    probabilities = np.eye(10)[labels]
    metrics = evaluate(lambda digits: probabilities, images.astype(np.float64), labels.astype(np.int64))
    assert metrics.accuracy == 1


BAD: dict[str, npt.NDArray[Any]] = {
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


@pytest.mark.parametrize("probabilities", BAD.values(), ids=BAD.keys())
def test_what_is_no_probabilities_is_refused_in_one_line(probabilities: npt.NDArray[Any]) -> None:
    images, labels = mnist().test[0][:4], mnist().test[1][:4]
    with pytest.raises(InputError) as caught:
        evaluate(lambda digits: probabilities, images, labels)
    assert "probabilities" in str(caught.value) and "\n" not in str(caught.value)


def test_what_is_no_digits_is_refused() -> None:
    images, labels = mnist().test[0][:4], mnist().test[1][:4]
    for wrong_images, wrong_labels in ((images[:, 1:], labels), (images, labels[:3]), (images, labels + 10)):
        with pytest.raises(DataError) as caught:
            evaluate(lambda digits: np.full((len(digits), 10), 0.1), wrong_images, wrong_labels)
        assert "\n" not in str(caught.value)
