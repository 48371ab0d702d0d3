"""numerals trains the classic MNIST convolutional network and reads handwritten digits in pictures.

    import numerals

    run = numerals.train("article")          # or numerals.load("runs/article-1")
    run.predict(images)                      # probabilities of digits, 28x28

    reader = numerals.Reader()
    reader.read("photo.jpg").text            # rows of digits in a picture
    reader.recognise("seven.png").digits     # pictures of one digit each

docs/api.md lists the public names. Each is loaded when it is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any, NoReturn

__version__ = "0.1.0"

if TYPE_CHECKING:
    from numerals.article.data import Dataset, load_mnist, prepare
    from numerals.article.fit import Callback
    from numerals.article.metrics import Metrics, evaluate
    from numerals.article.recipe import Recipe
    from numerals.errors import (
        DataError,
        FailureError,
        InputError,
        MissingError,
        ModelError,
        NumeralsError,
        PictureError,
        RecipeError,
        RunError,
        StorageError,
    )
    from numerals.interface import Run, load, resume, train
    from numerals.read.reader import Reader
    from numerals.results import Box, Digit, Page, Recognition, Row

__all__ = [
    "Box",
    "Callback",
    "DataError",
    "Dataset",
    "Digit",
    "FailureError",
    "InputError",
    "Metrics",
    "MissingError",
    "ModelError",
    "NumeralsError",
    "Page",
    "PictureError",
    "Reader",
    "Recipe",
    "RecipeError",
    "Recognition",
    "Row",
    "Run",
    "RunError",
    "StorageError",
    "__version__",
    "evaluate",
    "load",
    "load_mnist",
    "prepare",
    "resume",
    "train",
]

_HOMES = {
    "article.data": ("Dataset", "load_mnist", "prepare"),
    "article.fit": ("Callback",),
    "article.metrics": ("Metrics", "evaluate"),
    "article.recipe": ("Recipe",),
    "errors": tuple(name for name in __all__ if name.endswith("Error")),
    "interface": ("Run", "load", "resume", "train"),
    "read.reader": ("Reader",),
    "results": ("Box", "Digit", "Page", "Recognition", "Row"),
}


class _Missing:
    """Stands for a name whose packages are not installed, so that the others can be used, listed and documented."""

    def __init__(self, name: str, package: str | None) -> None:
        self._message = f"numerals.{name} needs {package}, which is not installed; pip install 'numerals[train]'"
        self.__doc__ = f"Not available: {self._message}."

    def __call__(self, *arguments: object, **keywords: object) -> NoReturn:
        from numerals.errors import MissingError

        raise MissingError(self._message)

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("_"):  # what notebooks and help() look for
            raise AttributeError(name)
        self()


if not TYPE_CHECKING:  # a type checker would accept any name

    def __getattr__(name: str) -> Any:
        home = next((home for home, names in _HOMES.items() if name in names), None)
        if home is None:
            raise AttributeError(f"module 'numerals' has no attribute {name!r}")
        try:
            return getattr(importlib.import_module(f"numerals.{home}"), name)
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] == "numerals":
                raise
            return _Missing(name, error.name)


def __dir__() -> list[str]:
    return sorted(__all__)
