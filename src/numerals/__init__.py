"""numerals trains the classic MNIST convolutional network. The public names; each is loaded when it is first used."""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from numerals.article.data import load_mnist, prepare
    from numerals.article.metrics import evaluate
    from numerals.interface import Run, load, resume, train
    from numerals.read.reader import Reader

__all__ = ["Reader", "Run", "__version__", "evaluate", "load", "load_mnist", "prepare", "resume", "train"]

_HOMES = {
    "load_mnist": "numerals.article.data",
    "prepare": "numerals.article.data",
    "Run": "numerals.interface",
    "load": "numerals.interface",
    "resume": "numerals.interface",
    "train": "numerals.interface",
    "evaluate": "numerals.article.metrics",
    "Reader": "numerals.read.reader",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'numerals' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
