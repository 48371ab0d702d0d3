"""Export a run as a Keras model: the article's layers, weights and compile settings in a .keras file."""

import importlib
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from numerals.article.data import Dataset, Images
from numerals.article.model import predictor
from numerals.article.recipe import Recipe
from numerals.errors import FailureError, InputError, MissingError
from numerals.files import make_folder, write_atomically
from numerals.ops.layers import Flatten, unfused
from numerals.runs.folder import RunFolder
from numerals.runs.load import load_dataset
from numerals.spec import SIDE, WHITE

MAX_DIFFERENCE = 1e-5  # between the probabilities of Keras and PyTorch


def export_keras(run: str | Path, out: str | Path | None = None, digits: Dataset | None = None) -> Path:
    """Export the trained network of a run of the article's kind as a file that `keras.models.load_model` opens.

    The model takes float32 (n, 28, 28, 1) in [0, 1] and returns probabilities (n, 10), as the article's does; it is
    compiled with the recipe's Adam, so that `fit` goes on with it.

    Args:
        run: a run folder.
        out: the model file, ending in .keras; `model.keras` in the run folder by default. It is replaced.
        digits: as for `load_dataset`.

    Returns:
        The path of the model file.

    Raises:
        RunError, RecipeError, DataError, InputError: the run, its data or `out` cannot be used; nothing is written.
        MissingError: Keras is not installed.
        FailureError: Keras and PyTorch disagree on a test digit; nothing is written.
        StorageError: the disk is full or read-only.
    """
    folder = RunFolder.open(run)
    path = Path(out) if out is not None else folder.path / "model.keras"
    if path.suffix != ".keras":
        raise InputError(f"--out {path}: the name of a Keras model must end in .keras")
    recipe, network, keras = folder.recipe(), folder.network(), _import_keras()
    model = _build(keras, network, recipe)
    _check(model, network, load_dataset(folder, digits).test[0])
    with tempfile.TemporaryDirectory() as temporary:
        file = Path(temporary, "model.keras")
        model.save(file)
        content = file.read_bytes()
    make_folder(path.parent)
    write_atomically(path, content)
    return path


def _import_keras() -> Any:
    """Keras, on PyTorch unless it is imported already or KERAS_BACKEND says otherwise."""
    if "keras" not in sys.modules:
        os.environ.setdefault("KERAS_BACKEND", "torch")
    try:
        return importlib.import_module("keras")
    except ModuleNotFoundError as error:
        raise MissingError(f"export to Keras needs {error.name}; pip install 'numerals[keras]'") from error


def _build(keras: Any, network: nn.Sequential, recipe: Recipe) -> Any:
    """A compiled Keras model with the layers and the weights of a network."""
    model = keras.Sequential([keras.layers.Input((SIDE, SIDE, 1))], name=recipe.name.replace(".", "-"))
    for layer in unfused(network):
        _add(keras.layers, model, layer)
    model.layers[-1].activation = keras.activations.softmax
    optimizer = recipe.optimizer
    model.compile(
        optimizer=keras.optimizers.Adam(
            learning_rate=optimizer.learning_rate,
            beta_1=optimizer.beta_1,
            beta_2=optimizer.beta_2,
            epsilon=optimizer.epsilon,
            weight_decay=optimizer.weight_decay or None,
        ),
        loss=keras.losses.CategoricalCrossentropy(label_smoothing=recipe.label_smoothing),
        metrics=["accuracy"],
    )
    model.optimizer.build(model.trainable_variables)  # else Keras warns, when it opens the file, that they are missing
    return model


def _add(layers: Any, model: Any, layer: nn.Module) -> None:
    """Add the Keras layer that computes what a layer of PyTorch's does. ReLU belongs to the layer before, if it can."""
    match layer:
        case nn.Conv2d():
            assert layer.bias is not None
            model.add(layers.Conv2D(layer.out_channels, layer.kernel_size))
            _set(model, layer.weight.permute(2, 3, 1, 0), layer.bias)
        case nn.BatchNorm2d():
            assert layer.momentum is not None and layer.running_mean is not None and layer.running_var is not None
            model.add(layers.BatchNormalization(momentum=1 - layer.momentum, epsilon=layer.eps))
            _set(model, layer.weight, layer.bias, layer.running_mean, layer.running_var)
        case nn.MaxPool2d():
            model.add(layers.MaxPooling2D(layer.kernel_size))
        case Flatten():
            model.add(layers.Flatten())
        case nn.Dropout():
            model.add(layers.Dropout(layer.p))
        case nn.Linear():
            model.add(layers.Dense(layer.out_features))
            _set(model, layer.weight.T, layer.bias)
        case nn.ReLU() if isinstance(model.layers[-1], layers.Conv2D | layers.Dense):
            model.layers[-1].activation = importlib.import_module("keras").activations.relu
        case nn.ReLU():
            model.add(layers.ReLU())
        case _:
            raise FailureError(f"{type(layer).__name__} has no layer of Keras's that computes the same")


def _set(model: Any, *weights: Any) -> None:
    model.layers[-1].set_weights([np.ascontiguousarray(each.numpy(force=True)) for each in weights])


def _check(model: Any, network: nn.Sequential, images: Images) -> None:
    """Raise FailureError unless Keras and PyTorch give the same probabilities for images."""
    scaled = images[..., None].astype(np.float32) / np.float32(WHITE)
    difference = float(np.abs(model.predict(scaled, batch_size=500, verbose=0) - predictor(network)(images)).max())
    if not difference <= MAX_DIFFERENCE:
        raise FailureError(f"Keras and PyTorch disagree by {difference:.1e} on a test digit; nothing was written")
