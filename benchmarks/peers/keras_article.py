"""The article's program on Keras 3, the reference for numerals' `article` recipe.

Data, split, augmentation, layers, optimizer and callbacks are the article's (sections 1 to 7), with its published
hyperparameters. KERAS_BACKEND selects the backend.
"""

import os
import tempfile
import time
from pathlib import Path

STARTED = time.perf_counter()
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
from keras import layers
from keras.src.legacy.preprocessing.image import ImageDataGenerator
from sklearn.model_selection import train_test_split

from benchmarks.peers import training

STOPWATCH = training.Stopwatch(STARTED)


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
    options = training.parse_options(__doc__, epochs=10)
    keras.utils.set_random_seed(options.seed)
    (images, labels), (test_images, test_labels) = (
        (images[..., None], keras.utils.to_categorical(labels, 10)) for images, labels in training.load(options.data)
    )
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
            keras.callbacks.LambdaCallback(on_epoch_end=lambda _, logs: STOPWATCH.epoch(float(logs["val_accuracy"]))),
        ]
        if keras.backend.backend() == "tensorflow":  # Keras's TensorBoard callback needs TensorFlow
            callbacks.append(keras.callbacks.TensorBoard(log_dir=logs))
        model.fit(
            generator.flow(images, labels, batch_size=32, seed=options.seed),
            epochs=options.epochs,
            validation_data=(validation_images, validation_labels),
            callbacks=callbacks,
            verbose=0,
        )
        loss, accuracy = model.evaluate(test_images, test_labels, verbose=0)
        model.save(Path(logs) / "model.keras")
    program = f"Keras {keras.__version__} on {keras.backend.backend()}"
    STOPWATCH.print_result(program, options.seed, float(accuracy), float(loss))


if __name__ == "__main__":
    main()
