"""Keras on its PyTorch backend, which the tests compare with, and the small datasets and recipes that they share.

Import this before anything else imports Keras: an environment variable sets the backend, once per process.
"""

import os

os.environ["KERAS_BACKEND"] = "torch"

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from numerals.article.data import Dataset, load_mnist
from numerals.article.recipe import EarlyStoppingSettings, PlateauSettings, Recipe

# For pytest.mark.filterwarnings: NumPy 2.4 warns about Keras's Variable.numpy()
KERAS_WARNS = "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
ARTICLE = Recipe.load("article")


@cache
def keras() -> Any:
    """Keras, imported at the first use: that takes seconds, which a process without tests of Keras saves."""
    import keras

    assert keras.backend.backend() == "torch", "Keras is already imported with another backend"
    return keras


@cache
def mnist() -> Dataset:
    train, test = load_mnist()
    return Dataset("mnist", train, test)


def digits(train: int, test: int = 100) -> Dataset:
    """The first digits of MNIST."""
    (x_train, y_train), (x_test, y_test) = mnist().train, mnist().test
    return Dataset("first digits", (x_train[:train], y_train[:train]), (x_test[:test], y_test[:test]))


def small(**tables: Any) -> Recipe:
    """The article's recipe with a slim network and two epochs, in float32, without TensorBoard."""
    slim = {
        "name": "small",
        "epochs": 2,
        "precision": "float32",
        "model": {"convolutions": (4, 8), "dense": 16},
        "tensorboard": {"enabled": False},
    }
    return ARTICLE.change(**slim).change(**tables)


def article_network(dropout: float = 0.2) -> Any:
    """The article's section 4, in its own code."""
    layers = keras().layers
    return keras().Sequential(
        [
            layers.Input((28, 28, 1)),
            layers.Conv2D(32, (3, 3), activation="relu"),
            layers.BatchNormalization(),
            layers.MaxPooling2D((2, 2)),
            layers.Conv2D(64, (3, 3), activation="relu"),
            layers.BatchNormalization(),
            layers.MaxPooling2D((2, 2)),
            layers.Flatten(),
            layers.Dense(128, activation="relu"),
            layers.Dropout(dropout),
            layers.Dense(10, activation="softmax"),
        ]
    )


def as_state_dict(weights: Sequence[npt.NDArray[np.float32]], network: nn.Module) -> dict[str, torch.Tensor]:
    """Convert Keras's list of weights to a state dict of the network; the layers have the same order, not layout."""
    names = [name for name in network.state_dict() if not name.endswith("num_batches_tracked")]
    assert len(names) == len(weights)
    axes = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}  # HWIO -> OIHW, (in, out) -> (out, in)
    return {
        name: torch.tensor(np.ascontiguousarray(value.transpose(axes[value.ndim])))
        for name, value in zip(names, weights, strict=True)
    }


def as_keras_weights(network: nn.Module) -> list[npt.NDArray[np.float32]]:
    """The inverse of `as_state_dict`."""
    axes = {4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}
    values = {name: value.numpy().copy() for name, value in network.state_dict().items()}
    return [
        value.transpose(axes[value.ndim]) for name, value in values.items() if not name.endswith("num_batches_tracked")
    ]


@cache
def _tiny_model() -> Any:
    model = keras().Sequential([keras().layers.Input((1,)), keras().layers.Dense(1)])
    model.compile(optimizer=keras().optimizers.Adam(), loss="mse")
    return model


def keras_callbacks(
    losses: Sequence[float], rate: float, stopping: EarlyStoppingSettings, plateau: PlateauSettings
) -> tuple[int, int, list[np.float32]]:
    """Run Keras's own callbacks on a sequence of val_losses.

    Returns:
        The epoch after which training stops (from 1; the last one if it does not), the epoch whose weights are
        restored, and the learning rate after each epoch. To tell epochs apart, all weights are n in epoch n.
    """
    model = _tiny_model()
    model.optimizer.learning_rate = rate
    model.stop_training = False
    callbacks = [
        keras().callbacks.EarlyStopping(monitor="val_loss", patience=stopping.patience, restore_best_weights=True),
        keras().callbacks.ReduceLROnPlateau(
            monitor="val_loss",
            factor=plateau.factor,
            patience=plateau.patience,
            min_lr=plateau.minimum,
            min_delta=plateau.min_delta,
        ),
    ]
    rates = []
    for callback in callbacks:
        callback.set_model(model)
        callback.on_train_begin()
    last = 0
    for last, loss in enumerate(losses, 1):
        model.set_weights([np.full(value.shape, last, np.float32) for value in model.get_weights()])
        for callback in callbacks:
            callback.on_epoch_end(last - 1, {"val_loss": loss})
        rates.append(np.float32(keras().ops.convert_to_numpy(model.optimizer.learning_rate)))
        if model.stop_training:
            break
    for callback in callbacks:
        callback.on_train_end()
    return last, int(model.get_weights()[0].flat[0]), rates
