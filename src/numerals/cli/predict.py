"""The work of `numerals predict`: names the digit in each picture, with the probability of each class."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from numerals.cli.read_files import Chunks, load_pages
from numerals.errors import InputError, MissingError, NumeralsError, PictureError, printable
from numerals.read import model_files
from numerals.read.normalise import normalise
from numerals.read.pixels import DigitImages
from numerals.read.recognise import Recogniser
from numerals.read.sandbox import Sandbox
from numerals.spec import CLASSES

BAR_LENGTH = 30  # of a probability of 1

Probabilities = npt.NDArray[np.float32]
Predict = Callable[[DigitImages], Probabilities]  # uint8 (n, 28, 28) -> (n, 10)


@dataclass(frozen=True)
class Prediction:
    """What a model says about one picture, or the reason why it says nothing."""

    picture: str
    probabilities: Probabilities | None  # (10,)
    error: str | None = None

    def to_dict(self) -> dict[str, Any]:
        answer: dict[str, Any] = dict.fromkeys(("digit", "confidence", "probabilities"))
        if self.probabilities is not None:
            likeliest = int(self.probabilities.argmax())
            answer = {
                "digit": likeliest,
                "confidence": float(self.probabilities[likeliest]),
                "probabilities": self.probabilities.tolist(),
            }
        return {"picture": self.picture, **answer, "error": self.error}


def load(path: Path) -> Predict:
    """Load a run, or an exported model, which needs no PyTorch.

    Raises:
        RunError, ModelError: it cannot be used.
        InputError: it names no single digits.
        MissingError: a run, without PyTorch.
    """
    if path.suffix == ".onnx" or path.is_file():
        return _load_exported(path)
    try:
        from numerals.readers.evaluate import open_run, predictor
        from numerals.runs.folder import RunFolder
    except ModuleNotFoundError as error:
        raise MissingError(
            f"{path}: a run needs PyTorch; pip install 'numerals[train]', or run numerals export where it was trained "
            "and pass the .onnx file"
        ) from error
    recipe, network = open_run(RunFolder.open(path))
    if recipe.NETWORK in ("rows", "detector"):
        raise _not_single_digits(path, "rows" if recipe.NETWORK == "rows" else "pages")
    return predictor(network)


def _load_exported(path: Path) -> Predict:
    model = model_files.load(path)
    if model.reads != "digits":
        raise _not_single_digits(path, model.reads)
    recogniser = Recogniser(model)
    return lambda digits: recogniser(digits).probabilities


def _not_single_digits(path: Path, reads: str) -> InputError:
    return InputError(f"{path} reads {reads}; pass a model that recognises single digits")


def predict_all(predict: Predict, sandbox: Sandbox, names: Iterable[str]) -> Iterator[Prediction]:
    """Predict the digit in each picture, in order; of a file with several pages, the first.

    Args:
        predict: the model.
        sandbox: decodes the pictures.
        names: paths, or "-" for standard input.
    """
    for name in names:
        try:
            with contextlib.closing(load_pages(sandbox, name)) as pages:
                digits = normalise([next(pages).pixels])
            if not digits.any():
                raise PictureError(f"{name}: no digit found")
            yield Prediction(name, predict(digits)[0])
        except NumeralsError as error:
            yield Prediction(name, None, str(error))


def report_errors(
    predictions: Iterable[Prediction], pictures: int, errors: list[str], report: Callable[[str], None]
) -> Iterator[Prediction]:
    """The same predictions; adds each error to `errors` and reports it.

    Raises:
        InputError: after the last prediction, if there is only one picture and it cannot be used.
    """
    for prediction in predictions:
        if prediction.error:
            errors.append(prediction.error)
            if pictures > 1:
                report(prediction.error)
        yield prediction
    if errors and pictures == 1:
        raise InputError(errors[0])


def as_text(predictions: Iterable[Prediction]) -> Chunks:
    """The name of each picture with its digit, and a bar for the probability of each class."""
    for prediction in predictions:
        if prediction.probabilities is not None:
            yield f"{printable(prediction.picture)}: {CLASSES[prediction.probabilities.argmax()]}\n"
            for name, probability in zip(CLASSES, prediction.probabilities.tolist(), strict=True):
                bar = "█" * round(BAR_LENGTH * probability)
                yield f"  {name}  {bar:<{BAR_LENGTH}}  {100 * probability:5.1f} %\n"
