"""What follows a training: the test digits, once; what the run was, written down. Knows nothing about how to train."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from numerals.article import model
from numerals.article.callbacks import Epoch
from numerals.article.data import Dataset
from numerals.article.metrics import Metrics, compute_metrics
from numerals.article.recipe import Recipe
from numerals.plots import training_curves
from numerals.runs.folder import RunFolder, snapshot, weights_sha256
from numerals.runs.profiling import Stages
from numerals.runs.tensorboard import add_test


@dataclass(frozen=True)
class Run:
    """What a training ended with."""

    folder: Path
    recipe: Recipe
    history: tuple[Epoch, ...]
    best_epoch: int
    test: Metrics | None  # None when it was interrupted: the test digits are for finished trainings
    metrics: dict[str, Any]  # as metrics.json has them
    predict: model.Predict  # uint8 (n, 28, 28) -> probabilities (n, 10)


@dataclass(frozen=True)
class Fitted:
    """What `fit` leaves behind, besides the network with its best weights."""

    history: tuple[Epoch, ...]
    best_epoch: int
    ended: str  # "all epochs", "early", "interrupted" or "stopped"


def conclude(
    network: nn.Sequential,
    recipe: Recipe,
    dataset: Dataset,
    folder: RunFolder,
    fitted: Fitted,
    about: dict[str, Any],
    stages: Stages,
) -> Run:
    """Evaluate on the test digits, once, and write down what the run was; `about` is what its checkpoints hold."""
    predict = model.predictor(network)
    test: Metrics | None = None
    if recipe.curves:
        with stages("draw"):
            folder.write("curves.svg", training_curves.draw(fitted.history, fitted.best_epoch, recipe))
    if fitted.ended not in ("interrupted", "stopped"):
        with stages("test"):
            probabilities = predict(dataset.test[0])
            test = compute_metrics(probabilities, dataset.test[1])
            folder.write_probabilities(probabilities, dataset.test[1])
            if recipe.tensorboard.enabled:
                add_test(folder.path / "tensorboard", probabilities, *dataset.test)
    kept = fitted.history[fitted.best_epoch - 1]
    metrics = {
        "recipe": recipe.name,
        "seed": about["seed"],
        "data": about["data"],
        "epochs": len(fitted.history),
        "best_epoch": fitted.best_epoch,
        "ended": fitted.ended,
        "validation": {"accuracy": kept.val_accuracy, "loss": kept.val_loss},
        "test": test.to_dict() if test else None,
        "weights_sha256": weights_sha256(snapshot(network)),
        "parameters": sum(layer.parameters for layer in model.describe(network)),
        **{name: about[name] for name in ("device", "precision", "threads", "versions")},
        **stages.to_dict(),
    }
    folder.write_metrics(metrics)
    folder.write_sums()
    return Run(folder.path, recipe, fitted.history, fitted.best_epoch, test, metrics, predict)
