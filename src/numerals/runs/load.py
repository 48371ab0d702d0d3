"""A run of the article's kind, loaded and checked: each file fits the others, or a one-line error names it."""

import csv
import io
import json
import zipfile
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from numerals.article import datasets, model
from numerals.article.callbacks import Epoch
from numerals.article.data import Dataset, LabelledImages, split_indices
from numerals.article.metrics import compute_metrics
from numerals.article.recipe import Recipe
from numerals.errors import InputError, RunError
from numerals.files import read_plain
from numerals.runs.folder import MAX_TENSOR_BYTES, MAX_TEXT_BYTES, RunFolder
from numerals.runs.train import FinishedRun, training_parts
from numerals.spec import CLASSES

REQUIRED_METRICS = {  # keys of metrics.json that a report shows, and their types
    "seed": int, "data": dict, "best_epoch": int, "ended": str, "weights_sha256": str, "device": str, "versions": dict,
    "seconds": float, "stages": dict,
}  # fmt: skip


@dataclass(frozen=True)
class SavedRun:
    """Everything that a finished training left, and the digits that it used."""

    folder: Path
    recipe: Recipe
    history: tuple[Epoch, ...]
    metrics: dict[str, Any]  # the content of metrics.json, with all of today's test metrics
    probabilities: npt.NDArray[np.float32]  # (n, 10), for the test digits
    network: nn.Sequential
    dataset: Dataset

    @property
    def name(self) -> str:
        return self.folder.resolve().name

    @property
    def test(self) -> dict[str, Any]:
        """The test metrics: `metrics.Metrics` as JSON holds it."""
        return dict(self.metrics["test"])

    @property
    def predictions(self) -> npt.NDArray[np.int64]:
        """int64 (n,): the predicted class of each test digit."""
        return np.asarray(self.probabilities.argmax(axis=1))

    @property
    def mistakes(self) -> npt.NDArray[np.int64]:
        """Indices of the misclassified test digits."""
        return np.flatnonzero(self.predictions != self.dataset.test[1])

    @property
    def predict(self) -> model.Predict:
        return model.predictor(self.network)

    @property
    def validation_count(self) -> int:
        """The number of validation digits."""
        split = self.recipe.split
        return len(split_indices(len(self.dataset.train[0]), split.validation, split.random_state)[1])

    def training(self) -> LabelledImages:
        """The digits that it was trained on."""
        return training_parts(self.dataset, self.recipe)[0]


def load_finished(folder: RunFolder) -> FinishedRun:
    """Load a run that has ended, without its digits.

    Raises:
        RunError, RecipeError: a file is missing, cut off, or does not fit the others.
    """
    if (kind := folder.kind()) is not None:
        raise RunError(f"{folder.path}: a run of the {kind} network; only runs of the article's network can be loaded")
    path, recipe, network = folder.path, folder.recipe(), folder.network()
    metrics, history = _read_metrics(path / "metrics.json"), read_history(path / "history.csv")
    _check_best_epoch(path, metrics, history)
    test = None
    if metrics.get("test") is not None:
        test = compute_metrics(*read_probabilities(path / "test_probabilities.npz", metrics["ended"]))
    return FinishedRun(path, recipe, history, metrics["best_epoch"], test, metrics, network)


def load_dataset(folder: RunFolder, given: Dataset | None = None) -> Dataset:
    """Load the digits that a run was trained and tested on, and check that they still are.

    Args:
        folder: of the run.
        given: the digits, for a run that was trained on arrays.

    Raises:
        RunError: the digits are not those of the run.
        DataError: they cannot be loaded.
    """
    dataset = given or datasets.load(folder.data_source())
    expected = folder.metrics().get("data", {}).get("sha256")
    if expected is not None and dataset.sha256() != expected:
        hint = "" if given or folder.data_source() else "; load it with its digits: numerals.load(run, data=...)"
        raise RunError(f"{folder.path}: {dataset.name} has other digits than this run was trained and tested on{hint}")
    return dataset


def load_run(path: Path, digits: Dataset | None = None) -> SavedRun:
    """Load the run in a folder and check each of its files. Nothing is written.

    Args:
        path: the run folder.
        digits: as for `load_dataset`.

    Raises:
        RunError, RecipeError, DataError: a file is missing, cut off, or does not fit the others.
    """
    folder = RunFolder.open(path)
    if (kind := folder.kind()) is not None:
        raise RunError(f"{path}: a run of the {kind} network; reports show runs of the article's network")
    recipe = folder.recipe()
    for name in ("history.csv", "metrics.json", "test_probabilities.npz"):  # `network` checks the others
        if (path / name).exists():
            folder.check(name)
    metrics = _read_metrics(path / "metrics.json")
    history = read_history(path / "history.csv")
    probabilities, labels = read_probabilities(path / "test_probabilities.npz", metrics["ended"])
    _check_best_epoch(path, metrics, history)
    network = folder.network()
    dataset = load_dataset(folder, digits)
    if not np.array_equal(labels, dataset.test[1]):
        raise RunError(f"{path}: {dataset.name} has other digits than this run was trained and tested on")
    metrics["test"] = _test_metrics(path, metrics["test"], probabilities, labels)
    return SavedRun(path, recipe, history, metrics, probabilities, network, dataset)


def read_probabilities(path: Path, ended: str) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    """The probabilities float32 (n, 10) for a run's test digits, and their labels uint8 (n,).

    Args:
        path: the run's test_probabilities.npz.
        ended: how the training ended, as metrics.json says.

    Raises:
        RunError: the file is missing, cut off or damaged.
    """
    if ended in ("interrupted", "stopped") and not path.exists():
        raise RunError(f"{path.parent}: this training was {ended} before it was tested; resume it to its end first")
    try:
        with np.load(io.BytesIO(_read(path, MAX_TENSOR_BYTES)), allow_pickle=False) as arrays:
            if sum(each.file_size for each in arrays.zip.infolist()) > MAX_TENSOR_BYTES:
                raise ValueError("too large when unpacked")
            probabilities, labels = arrays["probabilities"], arrays["labels"]
            if (probabilities.dtype, labels.dtype) != (np.float32, np.uint8) or (labels >= len(CLASSES)).any():
                raise ValueError("not the arrays that a training saves")
            return probabilities, labels
    except (OSError, ValueError, KeyError, EOFError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise RunError(f"{path}: cut off or damaged ({error})") from error


def _check_best_epoch(path: Path, metrics: dict[str, Any], history: tuple[Epoch, ...]) -> None:
    if not 1 <= metrics["best_epoch"] <= len(history):
        raise RunError(
            f"{path}: metrics.json says epoch {metrics['best_epoch']} was best, history.csv has {len(history)} epochs"
        )


def _test_metrics(
    path: Path, saved: Any, probabilities: npt.NDArray[np.float32], labels: npt.NDArray[np.uint8]
) -> dict[str, Any]:
    """The test metrics of the probabilities. Those saved by an earlier version may be fewer, but must not differ."""
    probabilities_path = path / "test_probabilities.npz"
    try:
        test: dict[str, Any] = json.loads(json.dumps(compute_metrics(probabilities, labels).to_dict()))
    except InputError as error:
        raise RunError(f"{probabilities_path}: damaged ({error})") from error
    if not isinstance(saved, dict) or saved.get("errors") != test["errors"]:
        raise RunError(
            f"{probabilities_path}: has {test['errors']} mistakes, metrics.json has another number; train again"
        )
    return test


def _read_metrics(path: Path) -> dict[str, Any]:
    try:
        metrics = json.loads(_read(path))
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path}: cut off or damaged, not JSON ({error})") from error
    if not isinstance(metrics, dict):
        raise RunError(f"{path}: not the metrics of a training")
    for key, kind in REQUIRED_METRICS.items():
        if not isinstance(metrics.get(key), kind):
            raise RunError(f"{path}: not the metrics of a training: {key} is missing or has another type")
    return metrics


def read_history(path: Path) -> tuple[Epoch, ...]:
    """Every epoch of a history.csv.

    Raises:
        RunError: the file is missing, cut off or damaged.
    """
    try:
        rows = list(csv.DictReader(_read(path).decode().splitlines(), strict=True))
        types = {field.name: int if field.name == "epoch" else float for field in fields(Epoch)}
        history = tuple(Epoch(**{name: kind(row[name]) for name, kind in types.items()}) for row in rows)  # type: ignore[arg-type]
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise RunError(f"{path}: cut off or damaged ({type(error).__name__}: {error})") from error
    if [row.epoch for row in history] != list(range(1, len(history) + 1)) or not history:
        raise RunError(f"{path}: cut off or damaged: its epochs are not 1, 2, 3, ...")
    return history


def _read(path: Path, limit: int = MAX_TEXT_BYTES) -> bytes:
    try:
        return read_plain(path, limit)
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror or error}); a report needs it") from error
