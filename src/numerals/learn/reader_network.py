"""The reader's network and its recipe: which digit, and whether it is one. Knows nothing about how samples are made.

Small for speed: its only convolution at full size has a stride, since most of the time of such networks goes into their
first maps. 5.9 million multiplications, 333,000 parameters.
"""

import tomllib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from numerals.learn.data import Part, load_mnist, split
from numerals.spec import CLASSES, WHITE


@dataclass(frozen=True)
class ReaderRecipe:
    """Every number of the training; `recipes/reader.toml` says what each is."""

    seed: int
    steps: int
    fresh: int
    memory: int
    learning_rate: float
    weight_decay: float
    smoothing: float
    stranger_loss: float
    averaging: float
    validation: float
    random_state: int

    @classmethod
    def load(cls, path: Path | None = None) -> "ReaderRecipe":
        """The recipe in that file, or the packaged one."""
        file = path or Path(str(resources.files("numerals"))) / "recipes" / "reader.toml"
        return cls(**tomllib.loads(file.read_text(encoding="utf-8")))


class ReaderNetwork(nn.Module):
    """uint8 (n, 28, 28), white ink on black -> logits of the classes (n, 10) and of being a digit at all (n,)."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_convolution(1, 32, 5, stride=2),
            *_convolution(32, 48, 3),
            nn.MaxPool2d(2),
            *_convolution(48, 96, 3),
            nn.MaxPool2d(2),
            *_convolution(96, 128, 3),
            nn.Flatten(),
            nn.Linear(1152, 144, bias=False),
            nn.BatchNorm1d(144),
            nn.ReLU(),
            nn.Dropout(0.1),
        )
        self.classes = nn.Linear(144, len(CLASSES))
        self.is_digit = nn.Linear(144, 1)

    def forward(self, digits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        seen = self.body(digits.unsqueeze(1).float() / WHITE)
        return self.classes(seen), self.is_digit(seen).squeeze(1)


def _convolution(channels: int, filters: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    convolution = nn.Conv2d(channels, filters, kernel, stride, kernel // 2, bias=False)
    return [convolution, nn.BatchNorm2d(filters), nn.ReLU()]


def parts(recipe: ReaderRecipe) -> tuple[Part, Part]:
    """MNIST's training digits: those to learn from and those to decide by."""
    (images, labels), _ = load_mnist()
    kept, held_out = split(len(images), recipe.validation, recipe.random_state)
    return (images[kept], labels[kept]), (images[held_out], labels[held_out])


def answers(
    network: nn.Module, images: npt.NDArray[np.uint8]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Logits (n, 10) and (n,) for uint8 (n, 28, 28)."""
    with torch.inference_mode():
        found = [network(torch.tensor(part)) for part in np.array_split(images, -(-len(images) // 1000))]
    return np.concatenate([a.numpy() for a, _ in found]), np.concatenate([b.numpy() for _, b in found])
