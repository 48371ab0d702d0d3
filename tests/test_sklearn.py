"""DigitClassifier does what scikit-learn expects of a classifier."""

import pickle
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.utils.estimator_checks import check_estimator
from sklearn.utils.validation import check_is_fitted, validate_data

import numerals
from numerals.sklearn import DigitClassifier
from numerals.spec import PIXELS
from tests.conftest import run_quietly
from tests.helpers.installations import installed_with
from tests.helpers.keras_peer import digits

pytestmark = pytest.mark.usefixtures("one_thread")

(X_IMAGES, Y), (X_TEST_IMAGES, Y_TEST) = digits(400).train, digits(400, 200).test
X, X_TEST = X_IMAGES.reshape(-1, PIXELS), X_TEST_IMAGES.reshape(-1, PIXELS)
SMALL = numerals.Recipe.load("quick").change(
    training_share=1.0, batch_size=32, model={"convolutions": (4, 8), "dense": 16}
)
OTHER_COLUMNS = "the data of this check are no images of 784 pixels"
CHECKS_WITH_OTHER_COLUMNS = [
    "check_classifier_data_not_an_array",
    "check_classifiers_classes",
    "check_classifiers_train",
    "check_dict_unchanged",
    "check_dont_overwrite_parameters",
    "check_dtype_object",
    "check_estimators_dtypes",
    "check_estimators_fit_returns_self",
    "check_estimators_nan_inf",
    "check_estimators_overwrite_params",
    "check_estimators_pickle",
    "check_f_contiguous_array_estimator",
    "check_fit2d_1feature",
    "check_fit2d_predict1d",
    "check_fit_check_is_fitted",
    "check_fit_idempotent",
    "check_fit_score_takes_y",
    "check_methods_sample_order_invariance",
    "check_methods_subset_invariance",
    "check_n_features_in",
    "check_n_features_in_after_fitting",
    "check_pipeline_consistency",
    "check_positive_only_tag_during_fit",
    "check_readonly_memmap_input",
    "check_supervised_y_2d",
]
ROUNDING = "check_methods_subset_invariance"  # to 1e-7, which float32 in batches of other sizes may miss
CHECKS_OF_PIPELINES = {  # the first two fail with every classifier
    "check_dont_overwrite_parameters": "Pipeline.fit replaces its steps",
    "check_estimators_overwrite_params": "Pipeline.fit replaces its steps",
    ROUNDING: "float32 in batches of other sizes may round differently, by 1e-6",
}


class ToPixels(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Turns columns of any number into 784 pixels from 0 to 1."""

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: N803
        validate_data(self, X)
        self.fitted_ = True
        return self

    def transform(self, X: Any) -> npt.NDArray[np.float64]:  # noqa: N803
        check_is_fitted(self)
        values = validate_data(self, X, reset=False)
        repeats = -(-PIXELS // values.shape[1])
        return np.repeat(1 / (1 + np.exp(-values / 2)), repeats, axis=1)[:, :PIXELS]


def failed_checks(estimator: Any, expected: dict[str, str]) -> list[str]:
    """The checks that fail and are not expected to, and those that are expected to and do not."""
    with warnings.catch_warnings(action="ignore"):
        results = check_estimator(estimator, expected_failed_checks=expected, on_fail=None, on_skip=None)
    failed = {f"{each['check_name']}: {each['exception']}" for each in results if each["status"] == "failed"}
    assert len(results) > 50
    as_expected = {each["check_name"] for each in results if each["status"] == "xfail"}
    return sorted(failed | (expected.keys() - as_expected - {ROUNDING}))


def test_check_estimator_fails_only_where_its_data_are_no_images() -> None:
    assert failed_checks(DigitClassifier(SMALL), dict.fromkeys(CHECKS_WITH_OTHER_COLUMNS, OTHER_COLUMNS)) == []


@pytest.mark.slow
def test_in_a_pipeline_that_makes_pixels_every_check_passes() -> None:
    classifier = DigitClassifier(SMALL, epochs=30)
    assert failed_checks(make_pipeline(ToPixels(), classifier), CHECKS_OF_PIPELINES) == []


@pytest.fixture(scope="module")
def fitted(one_thread: None) -> DigitClassifier:
    return DigitClassifier(SMALL, epochs=6).fit(X, Y)


def test_it_learns_digits(fitted: DigitClassifier) -> None:
    probabilities = fitted.predict_proba(X_TEST)
    assert probabilities.shape == (200, 10) and np.allclose(probabilities.sum(axis=1), 1)
    assert np.array_equal(fitted.classes_, np.arange(10)) and fitted.n_features_in_ == PIXELS
    assert np.array_equal(fitted.predict(X_TEST), probabilities.argmax(axis=1))
    assert fitted.score(X_TEST, Y_TEST) > 0.7 and len(fitted.history_) == 6


@pytest.mark.parametrize(
    "form", [lambda x: x / 255, lambda x: x.reshape(-1, 28, 28), lambda x: numerals.prepare(x, x[:, 0] * 0)[0], list]
)
def test_images_in_any_form_give_the_same_probabilities(
    fitted: DigitClassifier, form: Callable[[npt.NDArray[np.uint8]], Any]
) -> None:
    assert np.array_equal(fitted.predict_proba(form(X_TEST)), fitted.predict_proba(X_TEST))


def test_it_pickles(fitted: DigitClassifier) -> None:
    restored = pickle.loads(pickle.dumps(fitted))
    assert np.array_equal(restored.predict_proba(X_TEST), fitted.predict_proba(X_TEST))
    assert restored.get_params() == fitted.get_params()


def test_the_same_seed_gives_the_same_probabilities(fitted: DigitClassifier) -> None:
    assert np.array_equal(clone(fitted).fit(X, Y).predict_proba(X_TEST), fitted.predict_proba(X_TEST))
    other = clone(fitted).set_params(random_state=1).fit(X, Y)
    assert not np.array_equal(other.predict_proba(X_TEST), fitted.predict_proba(X_TEST))


def test_it_works_in_a_pipeline_and_a_search() -> None:
    pipeline = make_pipeline(MinMaxScaler(clip=True), DigitClassifier(SMALL))
    search = GridSearchCV(pipeline, {"digitclassifier__epochs": [1, 4], "digitclassifier__learning_rate": [0.01]}, cv=2)
    search.fit(X, Y)
    assert search.best_params_["digitclassifier__epochs"] == 4 and search.score(X_TEST, Y_TEST) > 0.5
    assert search.best_estimator_[-1].get_params()["learning_rate"] == 0.01
    assert len(cross_val_score(DigitClassifier(SMALL, epochs=1), X, Y, cv=2)) == 2


def test_named_classes_and_fewer_than_ten() -> None:
    names = np.array(["even", "odd"])[Y % 2]
    classifier = DigitClassifier(SMALL, epochs=6).fit(X, names)
    assert classifier.classes_.tolist() == ["even", "odd"]
    assert classifier.predict_proba(X_TEST).shape == (200, 2) and set(classifier.predict(X_TEST)) == {"even", "odd"}
    assert classifier.score(X_TEST, np.array(["even", "odd"])[Y_TEST % 2]) > 0.7


@pytest.mark.parametrize(
    ("images", "labels", "words"),
    [
        (X[:, :64], Y, "X has 64 columns"),
        (StandardScaler().fit_transform(X), Y, "must be whole numbers from 0 to 255"),
        (X, np.arange(400) % 20, "y has 20 classes; give 2 to 10"),
        (X, Y * 0, "y has one class"),
    ],
)
def test_what_it_cannot_learn_is_refused_in_a_line(images: Any, labels: Any, words: str) -> None:
    with pytest.raises(ValueError, match=rf"^[^\n]*{words}[^\n]*$"):
        DigitClassifier(SMALL).fit(images, labels)


def test_without_scikit_learn_it_names_the_extra(tmp_path: Path) -> None:
    code = "import numerals\ntry: import numerals.sklearn\nexcept numerals.MissingError as e: print(e)"
    done = run_quietly((sys.executable, "-c", code), cwd=tmp_path, PYTHONPATH=installed_with(tmp_path, "train"))
    assert "pip install 'numerals[sklearn]'" in done.stdout and done.stderr == ""
