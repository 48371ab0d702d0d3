"""A run of the article's kind read back whole, for a report: or refused in a line that names the file.

Knows nothing about how a training went or how it is shown.
"""

import contextlib
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
from numerals.errors import InputError, RunError, StorageError
from numerals.runs.folder import RunFolder, snapshot, weights_sha256

NEEDED = {  # keys of metrics.json that a report shows, and what they are
    "seed": int, "data": dict, "best_epoch": int, "ended": str, "weights_sha256": str, "device": str, "versions": dict,
    "seconds": float, "stages": dict,
}  # fmt: skip


@dataclass(frozen=True)
class KeptRun:
    """All that a training left, and the digits that it was about."""

    folder: Path
    recipe: Recipe
    history: tuple[Epoch, ...]
    metrics: dict[str, Any]  # as metrics.json has them
    probabilities: npt.NDArray[np.float32]  # (n, 10), on the test digits
    network: nn.Sequential
    dataset: Dataset

    @property
    def name(self) -> str:
        return self.folder.resolve().name

    @property
    def test(self) -> dict[str, Any]:
        """The figures of `evaluate.Metrics`, as JSON holds them."""
        return dict(self.metrics["test"])

    @property
    def answers(self) -> npt.NDArray[np.int64]:
        return np.asarray(self.probabilities.argmax(axis=1))

    @property
    def mistakes(self) -> npt.NDArray[np.int64]:
        """Places of the test digits that it got wrong."""
        return np.flatnonzero(self.answers != self.dataset.test[1])

    @property
    def predict(self) -> model.Predict:
        return model.predictor(self.network)

    @property
    def held_out(self) -> int:
        """How many digits validated it."""
        return len(
            split_indices(len(self.dataset.train[0]), self.recipe.split.validation, self.recipe.split.random_state)[1]
        )

    def training(self) -> LabelledImages:
        """The digits that it learnt from."""
        (images, labels), _ = self.dataset.split(self.recipe.split.validation, self.recipe.split.random_state)
        count = max(round(self.recipe.training_share * len(images)), 1)
        return images[:count], labels[:count]


def read_run(path: Path) -> KeptRun:
    """The run in that folder, every file of it checked.

    A run kept before there were so many metrics gets them in its metrics.json.

    Raises:
        RunError, RecipeError, DataError: a file is missing, cut, or does not fit the others.
    """
    folder = RunFolder.open(path)
    if (kind := folder.kind()) is not None:
        raise RunError(f"{path}: a run of the network {kind}; reports show runs of the article's network")
    recipe = folder.recipe()
    for name in ("history.csv", "metrics.json", "test_probabilities.npz"):  # `network` checks the others
        if (path / name).exists():
            folder.check(name)
    metrics = _metrics(path / "metrics.json")
    history = _history(path / "history.csv")
    probabilities, labels = read_probabilities(path / "test_probabilities.npz", metrics["ended"])
    if not 1 <= metrics["best_epoch"] <= len(history):
        raise RunError(
            f"{path}: metrics.json keeps epoch {metrics['best_epoch']}, history.csv has {len(history)} epochs"
        )
    network = folder.network()
    if weights_sha256(snapshot(network)) != metrics["weights_sha256"]:
        raise RunError(f"{path}: model.safetensors has other weights than metrics.json names; train again")
    dataset = datasets.load(folder.data_source())
    if dataset.sha256() != metrics["data"].get("sha256") or not np.array_equal(labels, dataset.test[1]):
        raise RunError(f"{path}: {dataset.name} has other digits than this run was trained and tested on")
    _complete(folder, metrics, probabilities, labels)
    return KeptRun(path, recipe, history, metrics, probabilities, network, dataset)


def _complete(
    folder: RunFolder, metrics: dict[str, Any], probabilities: npt.NDArray[np.float32], labels: npt.NDArray[np.uint8]
) -> None:
    """See that metrics["test"] is what the probabilities say, in full."""
    path = folder.path / "test_probabilities.npz"
    try:
        test = json.loads(json.dumps(compute_metrics(probabilities, labels).to_dict()))
    except InputError as error:
        raise RunError(f"{path}: damaged ({error})") from error
    kept = metrics["test"]
    if not isinstance(kept, dict) or kept.get("errors") != test["errors"]:
        raise RunError(f"{path}: has {test['errors']} mistakes, metrics.json another number; train again")
    if kept != test:
        metrics["test"] = test
    if kept != test and not folder.sums():
        with contextlib.suppress(StorageError):  # a folder that may only be read has its report elsewhere
            folder.write_metrics(metrics)


def _metrics(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(_bytes(path))
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path}: cut or damaged, not JSON ({error})") from error
    if not isinstance(found, dict):
        raise RunError(f"{path}: not the metrics of a training of ours")
    for key, kind in NEEDED.items():
        if not isinstance(found.get(key), kind):
            raise RunError(f"{path}: not the metrics of a training of ours: {key} is missing or of another kind")
    return found


def _history(path: Path) -> tuple[Epoch, ...]:
    try:
        rows = list(csv.DictReader(_bytes(path).decode().splitlines(), strict=True))
        kinds = {field.name: int if field.name == "epoch" else float for field in fields(Epoch)}
        history = tuple(Epoch(**{name: kind(row[name]) for name, kind in kinds.items()}) for row in rows)  # type: ignore[arg-type]
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise RunError(f"{path}: cut or damaged ({type(error).__name__}: {error})") from error
    if [row.epoch for row in history] != list(range(1, len(history) + 1)) or not history:
        raise RunError(f"{path}: cut or damaged: its epochs are not 1, 2, 3 and so on")
    return history


def read_probabilities(path: Path, ended: str) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    """What a run answered on its test digits, float32 (n, 10), and their labels. Raises RunError where it is cut."""
    if ended in ("interrupted", "stopped") and not path.exists():
        raise RunError(f"{path.parent}: this training was {ended} and never tested; let one end for a report")
    try:
        with np.load(io.BytesIO(_bytes(path)), allow_pickle=False) as kept:
            return kept["probabilities"], kept["labels"]
    except (OSError, ValueError, KeyError, EOFError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise RunError(f"{path}: cut or damaged ({error})") from error


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror or error}); a report needs it") from error
