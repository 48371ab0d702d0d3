"""Keras's own MNIST example ("Simple MNIST convnet") with its published hyperparameters: 15 epochs, batches of 128.

Two convolutions, dropout 0.5, Adam, a tenth of the training digits for validation.
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

from benchmarks.peers import training

STOPWATCH = training.Stopwatch(STARTED)


def main() -> None:
    options = training.parse_options(__doc__, epochs=15)
    keras.utils.set_random_seed(options.seed)
    (images, labels), (test_images, test_labels) = (
        (images[..., None], keras.utils.to_categorical(labels, 10)) for images, labels in training.load(options.data)
    )
    stack = [layers.Input((28, 28, 1))]
    for filters in (32, 64):
        stack += [layers.Conv2D(filters, 3, activation="relu"), layers.MaxPooling2D()]
    stack += [layers.Flatten(), layers.Dropout(0.5), layers.Dense(10, activation="softmax")]
    model = keras.Sequential(stack)
    model.compile(optimizer="adam", loss="categorical_crossentropy", metrics=["accuracy"])
    clock = keras.callbacks.LambdaCallback(on_epoch_end=lambda _, logs: STOPWATCH.epoch(float(logs["val_accuracy"])))
    model.fit(images, labels, batch_size=128, epochs=options.epochs, validation_split=0.1, callbacks=[clock], verbose=0)
    loss, accuracy = model.evaluate(test_images, test_labels, verbose=0)
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder) / "model.keras")
    program = f"Keras's example, Keras {keras.__version__} on {keras.backend.backend()}"
    STOPWATCH.print_result(program, options.seed, float(accuracy), float(loss))


if __name__ == "__main__":
    main()
