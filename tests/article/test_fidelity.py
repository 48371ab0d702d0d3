"""Whole trainings: the article's accuracy, and the same accuracy as Keras. Run with `make slow`."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from numerals.article.data import Dataset, split_indices
from numerals.runs.train import train
from tests.helpers.keras_peer import ARTICLE, KERAS_WARNS, article_network, keras, mnist

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings(KERAS_WARNS),
    # Keras imports affine_transform from a namespace that SciPy has renamed
    pytest.mark.filterwarnings("ignore:Please import `affine_transform` from:DeprecationWarning"),
]


def test_the_articles_recipe_reaches_99_2_percent(tmp_path: Path) -> None:
    out = tmp_path / "run"
    command = [sys.executable, "-m", "numerals", "train", "--out", str(out), "--seed", "0", "--json"]
    finished = subprocess.run(command, capture_output=True, text=True, check=True)
    metrics = json.loads(finished.stdout)
    assert metrics == json.loads((out / "metrics.json").read_text())
    test = metrics["test"]
    assert test["count"] == 10_000 and test["accuracy"] >= 0.992
    assert finished.stderr.splitlines()[-1] == f"Test Accuracy: {test['accuracy']:.4f}, Test Loss: {test['loss']:.4f}"


def test_five_small_epochs_reach_the_accuracy_of_keras(tmp_path: Path) -> None:
    """On 6,000 augmented digits both must be far above chance and close to each other.

    With fewer steps BatchNorm's running variance would still be mostly its initial 1, whose weight is 0.99 ** steps.
    """
    from keras.src.legacy.preprocessing.image import ImageDataGenerator

    (images, labels), test = mnist().train, mnist().test
    images, labels = images[:6000], labels[:6000]
    recipe = ARTICLE.change(
        epochs=5,
        early_stopping={"patience": 9},
        plateau={"patience": 9},
        precision="float32",
        tensorboard={"enabled": False},
    )
    run = train(recipe, Dataset("6,000", (images, labels), test), out=tmp_path / "run", device="cpu")
    accuracy = run.history[-1].val_accuracy

    keras().utils.set_random_seed(0)
    pixels, truth = images[..., None].astype(np.float32) / 255, np.eye(10, dtype=np.float32)[labels]
    training, validation = split_indices(6000, 0.2, 42)
    generator = ImageDataGenerator(rotation_range=10, zoom_range=0.1, width_shift_range=0.1, height_shift_range=0.1)
    peer = article_network()
    peer.compile(optimizer="adam", loss="categorical_crossentropy", metrics=["accuracy"])
    for step, (digits, targets) in enumerate(generator.flow(pixels[training], truth[training], batch_size=32), 1):
        peer.train_on_batch(digits, targets)
        if step == 5 * 150:
            break
    predictions = peer.predict(pixels[validation], verbose=0).argmax(1)
    keras_accuracy = float((predictions == labels[validation]).mean())
    assert accuracy > 0.9 and keras_accuracy > 0.9 and abs(accuracy - keras_accuracy) < 0.04
