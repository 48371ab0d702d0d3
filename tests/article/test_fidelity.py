"""The article's training as a whole, and beside Keras's. Slow: `make slow`."""

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
    # Keras reaches scipy's affine_transform through a namespace that scipy has renamed
    pytest.mark.filterwarnings("ignore:Please import `affine_transform` from:DeprecationWarning"),
]


def test_the_articles_recipe_ends_at_99_2_percent(tmp_path: Path) -> None:
    out = tmp_path / "run"
    command = [sys.executable, "-m", "numerals", "train", "--out", str(out), "--seed", "0", "--json"]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    metrics = json.loads(answer.stdout)
    assert metrics == json.loads((out / "metrics.json").read_text())
    test = metrics["test"]
    assert test["count"] == 10_000 and test["accuracy"] >= 0.992
    assert answer.stderr.splitlines()[-1] == f"Test Accuracy: {test['accuracy']:.4f}, Test Loss: {test['loss']:.4f}"


def test_five_small_epochs_teach_as_much_as_kerases(tmp_path: Path) -> None:
    """6,000 digits, augmented; both should be far from chance and near to each other.

    Fewer steps would compare BatchNorm's running variance, of which 0.99 ** steps is still the 1 that it began with.
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
    ours = run.history[-1].val_accuracy

    keras.utils.set_random_seed(0)
    pixels, truth = images[..., None].astype(np.float32) / 255, np.eye(10, dtype=np.float32)[labels]
    kept, held_out = split_indices(6000, 0.2, 42)
    generator = ImageDataGenerator(rotation_range=10, zoom_range=0.1, width_shift_range=0.1, height_shift_range=0.1)
    peer = article_network()
    peer.compile(optimizer="adam", loss="categorical_crossentropy", metrics=["accuracy"])
    for at, (digits, answers) in enumerate(generator.flow(pixels[kept], truth[kept], batch_size=32), 1):
        peer.train_on_batch(digits, answers)
        if at == 5 * 150:
            break
    theirs = float((peer.predict(pixels[held_out], verbose=0).argmax(1) == labels[held_out]).mean())
    assert ours > 0.9 and theirs > 0.9 and abs(ours - theirs) < 0.04
