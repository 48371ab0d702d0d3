"""PyTorch's own MNIST example with its published hyperparameters: 14 epochs, batches of 64, Adadelta.

Two convolutions, one pooling, two dropouts, 1.2 million parameters; digits standardised to mean 0 and deviation 1; the
learning rate is multiplied by 0.7 after each epoch.
"""

import tempfile
import time
from pathlib import Path

STARTED = time.perf_counter()

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.peers import training

STOPWATCH = training.Stopwatch(STARTED)
MEAN, DEVIATION = 0.1307, 0.3081


def build() -> nn.Sequential:
    convolutions = [nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.25)]
    dense = [nn.Flatten(), nn.Linear(9216, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 10)]
    return nn.Sequential(*convolutions, *dense)


def loader(data: tuple[np.ndarray, np.ndarray], batch: int, shuffle: bool) -> "DataLoader[tuple[torch.Tensor, ...]]":
    images = (torch.from_numpy(data[0])[:, None] - MEAN) / DEVIATION
    return DataLoader(TensorDataset(images, torch.from_numpy(data[1])), batch, shuffle=shuffle)


def score(network: nn.Module, test: "DataLoader[tuple[torch.Tensor, ...]]") -> tuple[float, float]:
    """Accuracy and mean loss."""
    network.eval()
    correct, loss, count = 0, 0.0, 0
    with torch.no_grad():
        for digits, truth in test:
            logits = network(digits)
            correct += int((logits.argmax(1) == truth).sum())
            loss += float(functional.cross_entropy(logits, truth, reduction="sum"))
            count += len(truth)
    return correct / count, loss / count


def main() -> None:
    options = training.parse_options(__doc__, epochs=14)
    torch.manual_seed(options.seed)
    train, test = training.load(options.data)
    network = build()
    optimizer = torch.optim.Adadelta(network.parameters(), lr=1.0)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.7)
    batches, tests = loader(train, 64, shuffle=True), loader(test, 1000, shuffle=False)
    for _ in range(options.epochs):
        network.train()
        for digits, truth in batches:
            optimizer.zero_grad()
            functional.cross_entropy(network(digits), truth).backward()
            optimizer.step()
        accuracy, loss = score(network, tests)  # the example evaluates the test digits after each epoch
        STOPWATCH.epoch(accuracy)
        schedule.step()
    with tempfile.TemporaryDirectory() as folder:
        torch.save(network.state_dict(), Path(folder) / "mnist_cnn.pt")
    STOPWATCH.print_result(f"PyTorch's example, torch {torch.__version__}", options.seed, accuracy, loss)


if __name__ == "__main__":
    main()
