"""The design of tinygrad's beautiful_mnist, at its published hyperparameters: 70 steps of 512 drawn digits, Adam.

Knows nothing about numerals. Four convolutions in two blocks, each ending with BatchNorm and pooling. On a processor
tinygrad compiles its kernels with clang (Debian: clang); they are kept in its cache from one run to the next.
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

WATCH = training.Watch(STARTED)
BATCH = 512
STEPS = 70  # of the whole training, which is an epoch here
PARTS = 10  # the test digits are asked for in so many parts


class Network:
    """Two blocks of two convolutions, and one dense layer."""

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
    options = training.options(__doc__, epochs=1)
    Tensor.manual_seed(options.seed)
    (images, labels), (test_images, test_labels) = training.load(options.data)
    digits, truth = Tensor(images[:, None]), Tensor(labels.astype("int32"))
    network = Network()
    optimizer = nn.optim.Adam(nn.state.get_parameters(network))

    def learn() -> Tensor:
        with Context(TRAINING=1):
            chosen = Tensor.randint(BATCH, high=len(images))
            optimizer.zero_grad()
            loss = network(digits[chosen]).sparse_categorical_crossentropy(truth[chosen]).backward()
            return loss.realize(*optimizer.schedule_step())

    step = TinyJit(learn)
    answer = TinyJit(lambda part: network(part).log_softmax().realize())
    for _ in range(options.epochs):
        for _ in range(STEPS):
            step().item()
        accuracy, loss = score(answer, test_images, test_labels)
        WATCH.epoch(accuracy)
    with tempfile.TemporaryDirectory() as folder:
        nn.state.safe_save(nn.state.get_state_dict(network), str(Path(folder) / "model.safetensors"))
    WATCH.tell(f"tinygrad's example, tinygrad {metadata.version('tinygrad')}", options.seed, accuracy, loss)


def score(answer: Callable[[Tensor], Tensor], images: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Accuracy and mean loss, asked for in PARTS."""
    logs = np.concatenate([answer(Tensor(part[:, None])).numpy() for part in np.split(images, PARTS)])
    return float((logs.argmax(1) == labels).mean()), float(-logs[np.arange(len(labels)), labels].mean())


if __name__ == "__main__":
    main()
