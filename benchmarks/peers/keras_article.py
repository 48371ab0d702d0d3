"""The article's program on Keras 3, the peer that ours is held against. Knows nothing about numerals.

Same data, split, augmentation, layers, optimiser and callbacks as the article (sections 1 to 7), at its published
hyperparameters; the backend is Keras's own choice (KERAS_BACKEND). Prints one JSON object.

    python benchmarks/peers/keras_article.py mnist.npz --seed 0
"""

import argparse
import json
import os
import resource
import tempfile
import time
from importlib import metadata, util
from pathlib import Path

PACKAGES = ("keras", "tensorflow", "torch", "numpy", "scipy")  # whose versions are told, where installed
STARTED = time.perf_counter()
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras  # noqa: E402  (the backend must be chosen first)
import numpy as np  # noqa: E402
from keras import layers  # noqa: E402
from keras.src.legacy.preprocessing.image import ImageDataGenerator  # noqa: E402
from sklearn.model_selection import train_test_split  # noqa: E402

IMPORTED = time.perf_counter()


def load(path: Path) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Images as float32 (n, 28, 28, 1) in [0, 1] and labels one-hot (n, 10), training part and test part."""
    with np.load(path) as file:
        images = [file[f"x_{part}"].astype("float32")[..., None] / 255 for part in ("train", "test")]
        labels = [keras.utils.to_categorical(file[f"y_{part}"], 10) for part in ("train", "test")]
    return (images[0], labels[0]), (images[1], labels[1])


def build() -> keras.Model:
    return keras.Sequential(
        [
            layers.Input((28, 28, 1)),
            layers.Conv2D(32, 3, activation="relu"),
            layers.BatchNormalization(),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, activation="relu"),
            layers.BatchNormalization(),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(128, activation="relu"),
            layers.Dropout(0.2),
            layers.Dense(10, activation="softmax"),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="an .npz with x_train, y_train, x_test, y_test")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=10)
    options = parser.parse_args()

    keras.utils.set_random_seed(options.seed)
    (images, labels), (test_images, test_labels) = load(options.data)
    images, validation_images, labels, validation_labels = train_test_split(
        images, labels, test_size=0.2, random_state=42
    )
    generator = ImageDataGenerator(rotation_range=10, zoom_range=0.1, width_shift_range=0.1, height_shift_range=0.1)
    model = build()
    model.compile(optimizer="adam", loss="categorical_crossentropy", metrics=["accuracy"])
    with tempfile.TemporaryDirectory() as logs:
        callbacks = [
            keras.callbacks.EarlyStopping(monitor="val_loss", patience=3, restore_best_weights=True),
            keras.callbacks.ReduceLROnPlateau(monitor="val_loss", factor=0.1, patience=2, min_lr=1e-6),
        ]
        if keras.backend.backend() == "tensorflow":  # Keras's TensorBoard callback needs TensorFlow
            callbacks.append(keras.callbacks.TensorBoard(log_dir=logs))
        fitting = time.perf_counter()
        history = model.fit(
            generator.flow(images, labels, batch_size=32, seed=options.seed),
            epochs=options.epochs,
            validation_data=(validation_images, validation_labels),
            callbacks=callbacks,
            verbose=0,
        )
        fitted = time.perf_counter()
        loss, accuracy = model.evaluate(test_images, test_labels, verbose=0)
        model.save(Path(logs) / "model.keras")
    print(
        json.dumps(
            {
                "program": f"Keras {keras.__version__} on {keras.backend.backend()}",
                "seed": options.seed,
                "versions": {name: metadata.version(name) for name in PACKAGES if util.find_spec(name)},
                "epochs": len(history.history["loss"]),
                "test_accuracy": float(accuracy),
                "test_loss": float(loss),
                "import_seconds": IMPORTED - STARTED,
                "fit_seconds": fitted - fitting,
                "total_seconds": time.perf_counter() - STARTED,
                "peak_mebibytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            }
        )
    )


if __name__ == "__main__":
    main()
