"""tinygrad's beautiful_mnist with its published hyperparameters: 70 steps of 512 random digits, Adam.

Two blocks of two convolutions, each ending with BatchNorm and pooling. On a CPU tinygrad compiles its kernels with
clang (Debian: clang) and caches them between runs.
"""

import tempfile
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

STARTED = time.perf_counter()

import numpy as np
from tinygrad import Context, Tensor, TinyJit, nn

from benchmarks.peers import training

STOPWATCH = training.Stopwatch(STARTED)
BATCH = 512
STEPS = 70  # in the whole training, counted as one epoch
TEST_BATCHES = 10


class Network:
    """Two blocks of two convolutions, and a dense layer."""

    def __init__(self) -> None:
        self.layers = [
            nn.Conv2d(1, 32, 5),
            Tensor.relu,
            nn.Conv2d(32, 32, 5),
            Tensor.relu,
            nn.BatchNorm(32),
            Tensor.max_pool2d,
            nn.Conv2d(32, 64, 3),
            Tensor.relu,
            nn.Conv2d(64, 64, 3),
            Tensor.relu,
            nn.BatchNorm(64),
            Tensor.max_pool2d,
            lambda maps: maps.flatten(1),
            nn.Linear(576, 10),
        ]

    def __call__(self, digits: Tensor) -> Tensor:
        return digits.sequential(self.layers)


def main() -> None:
    options = training.parse_options(__doc__, epochs=1)
    Tensor.manual_seed(options.seed)
    (images, labels), (test_images, test_labels) = training.load(options.data)
    digits, truth = Tensor(images[:, None]), Tensor(labels.astype("int32"))
    network = Network()
    optimizer = nn.optim.Adam(nn.state.get_parameters(network))

    def train_step() -> Tensor:
        with Context(TRAINING=1):
            chosen = Tensor.randint(BATCH, high=len(images))
            optimizer.zero_grad()
            loss = network(digits[chosen]).sparse_categorical_crossentropy(truth[chosen]).backward()
            return loss.realize(*optimizer.schedule_step())

    step = TinyJit(train_step)
    predict = TinyJit(lambda batch: network(batch).log_softmax().realize())
    for _ in range(options.epochs):
        for _ in range(STEPS):
            step().item()
        accuracy, loss = score(predict, test_images, test_labels)
        STOPWATCH.epoch(accuracy)
    with tempfile.TemporaryDirectory() as folder:
        nn.state.safe_save(nn.state.get_state_dict(network), str(Path(folder) / "model.safetensors"))
    STOPWATCH.print_result(f"tinygrad's example, tinygrad {metadata.version('tinygrad')}", options.seed, accuracy, loss)


def score(predict: Callable[[Tensor], Tensor], images: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Accuracy and mean loss, computed in TEST_BATCHES batches."""
    batches = np.split(images, TEST_BATCHES)
    log_probabilities = np.concatenate([predict(Tensor(batch[:, None])).numpy() for batch in batches])
    loss = -log_probabilities[np.arange(len(labels)), labels].mean()
    return float((log_probabilities.argmax(1) == labels).mean()), float(loss)


if __name__ == "__main__":
    main()
