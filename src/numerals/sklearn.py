"""The article's network as a classifier of scikit-learn: `from numerals.sklearn import DigitClassifier`."""

from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch

from numerals import seeds
from numerals.article import model
from numerals.article.data import Dataset, Images, as_digits
from numerals.article.device import choose_device
from numerals.article.fit import fit
from numerals.article.recipe import Recipe
from numerals.errors import DataError, MissingError
from numerals.runs.session import check_seed
from numerals.runs.train import training_parts
from numerals.spec import CLASSES, PIXELS

try:
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.utils import check_random_state
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_is_fitted, validate_data
except ImportError as error:
    raise MissingError("numerals.sklearn needs scikit-learn 1.6 or later; pip install 'numerals[sklearn]'") from error

MAX_SEED = 2**31 - 1


class DigitClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Classifies images of 28x28 pixels, white ink on black, into at most ten classes.

    X has a row of 784 pixels for each image, or is (n, 28, 28): whole numbers from 0 to 255, or floats from 0 to 1.
    Labels may be anything that scikit-learn takes, digits or names. Nothing is written to disk; `numerals.train` keeps
    runs.

    Args:
        recipe: a built-in recipe's name ("quick" takes seconds on all of MNIST), a TOML file, or a `numerals.Recipe`.
        epochs, batch_size, learning_rate: instead of the recipe's.
        random_state: a seed; None for another training each time.
        device: "auto" (CUDA if available), "cpu" or "cuda".

    Attributes:
        classes_: the labels in the order of `predict_proba`'s columns.
        network_: the trained PyTorch module, on the CPU.
        history_: a row for each epoch, with its losses and accuracies.
        n_features_in_: 784.
    """

    def __init__(
        self,
        recipe: str | Recipe = "article",
        *,
        epochs: int | None = None,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        random_state: Any = 0,
        device: str = "auto",
    ) -> None:
        self.recipe = recipe
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.random_state = random_state
        self.device = device

    def fit(self, X: Any, y: Any) -> Self:  # noqa: N803  (scikit-learn's name)
        """Train on images and their labels; a part of them, as the recipe says, is held out for validation.

        Raises:
            ValueError: X has no images of 784 pixels, or y more than ten classes, or fewer than two.
            RecipeError, InputError: a parameter cannot be used.
        """
        recipe, device, seed = self._recipe(), choose_device(self.device), self._seed()
        X, y = validate_data(self, _flat(X), y, dtype="numeric")  # noqa: N806
        check_classification_targets(y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        if not 2 <= len(self.classes_) <= len(CLASSES):
            count = "one class" if len(self.classes_) == 1 else f"{len(self.classes_)} classes"
            raise ValueError(f"y has {count}; give 2 to {len(CLASSES)}")
        digits = _digits(X)
        try:
            dataset = Dataset("X", (digits, labels.astype(np.uint8)), (digits[:0], labels[:0].astype(np.uint8)))
            training, validation = training_parts(dataset, recipe)
        except DataError as error:
            raise ValueError(str(error)) from error
        with torch.random.fork_rng():
            torch.manual_seed(seeds.torch_seed(seed, seeds.INITIAL_WEIGHTS))
            network = model.build(recipe.model).to(device)
            self.history_ = fit(network, training, validation, recipe, seed=seed)
        self.network_ = network.cpu().eval()
        return self

    def predict_proba(self, X: Any) -> npt.NDArray[np.float64]:  # noqa: N803
        """Return a probability for each image and class, float64 (n, classes)."""
        check_is_fitted(self)
        digits = _digits(validate_data(self, _flat(X), dtype="numeric", reset=False))
        probabilities = model.predictor(self.network_)(digits)[:, : len(self.classes_)].astype(np.float64)
        return probabilities / probabilities.sum(axis=1, keepdims=True)  # type: ignore[no-any-return]

    def predict(self, X: Any) -> npt.NDArray[Any]:  # noqa: N803
        """Return the most probable class of each image."""
        best = self.predict_proba(X).argmax(axis=1)
        return self.classes_[best]  # type: ignore[no-any-return]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.positive_only = True
        return tags

    def _recipe(self) -> Recipe:
        recipe = self.recipe if isinstance(self.recipe, Recipe) else Recipe.load(self.recipe)
        changes: dict[str, Any] = {"epochs": self.epochs, "batch_size": self.batch_size}
        if self.learning_rate is not None:
            changes["optimizer"] = {"learning_rate": self.learning_rate}
        return recipe.change(**{key: value for key, value in changes.items() if value is not None})

    def _seed(self) -> int:
        if isinstance(self.random_state, int):
            check_seed(self.random_state)
            return self.random_state
        return int(check_random_state(self.random_state).randint(MAX_SEED))


def _flat(images: Any) -> Any:
    """Images (n, 28, 28) or (n, 28, 28, 1) as rows of pixels; tables as they are."""
    shape: tuple[int, ...] = getattr(images, "shape", ())
    return np.reshape(images, (shape[0], -1)) if len(shape) > 2 else images


def _digits(pixels: npt.NDArray[Any]) -> Images:
    if pixels.shape[1] != PIXELS:
        raise ValueError(f"X has {pixels.shape[1]} columns; a row must have the {PIXELS} pixels of an image of 28x28")
    try:
        return as_digits(pixels, "X")
    except DataError as error:
        raise ValueError(str(error)) from error
