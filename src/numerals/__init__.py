"""numerals trains the classic MNIST convolutional network. The public names; each is loaded when it is first used."""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from numerals.learn.data import load_mnist, prepare
    from numerals.learn.evaluate import evaluate
    from numerals.learn.resume import resume
    from numerals.learn.train import train
    from numerals.read.reader import Reader

__all__ = ["Reader", "__version__", "evaluate", "load_mnist", "prepare", "resume", "train"]

_HOMES = {
    "load_mnist": "numerals.learn.data",
    "prepare": "numerals.learn.data",
    "train": "numerals.learn.train",
    "resume": "numerals.learn.resume",
    "evaluate": "numerals.learn.evaluate",
    "Reader": "numerals.read.reader",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'numerals' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
