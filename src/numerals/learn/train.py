"""The training loop, in plain sight (the article's sections 5 to 7). Every number in it comes from the recipe.

Knows nothing about terminals: whoever wants to watch passes an Observer.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn
from torch.nn import functional

from numerals.errors import FailureError, InputError
from numerals.files import storage_error
from numerals.learn import curves, kernel, model, randomness, sources
from numerals.learn.batches import batches, samples
from numerals.learn.callbacks import EarlyStopping, Epoch, OneCycle, Plateau, TensorBoard, add_test
from numerals.learn.checkpoint import RunFolder, Weights, snapshot, weights_sha256
from numerals.learn.data import Dataset, Part
from numerals.learn.device import choose_device, uses_bfloat16
from numerals.learn.device import seed as set_seed
from numerals.learn.evaluate import Metrics, score
from numerals.learn.optimizer import KerasAdam
from numerals.learn.recipe import Recipe
from numerals.learn.stages import Stages, versions


class Observer(Protocol):
    """What may be watched. `step` is called often, the others once an event."""

    def started(self, recipe: Recipe, layers: Sequence[model.Layer], facts: dict[str, Any]) -> None: ...
    def step(self, epoch: int, step: int, steps: int, loss: float, accuracy: float) -> None: ...
    def epoch(self, row: Epoch, best: bool) -> None: ...


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


def train(
    recipe: str | Path | Recipe = "article",
    data: str | Dataset | None = None,
    *,
    out: str | Path | None = None,
    seed: int = 0,
    device: str = "auto",
    observer: Observer | None = None,
) -> Run:
    """Train as the recipe says, keep the run, and evaluate it once on the test digits.

    Args:
        recipe: a name ("article"), a TOML file, or a Recipe.
        data: None or "mnist" for MNIST, a path as `sources.load` takes it, or a Dataset.
        out: the run folder, which must not exist; by default runs/NAME-1, runs/NAME-2, ...
        seed: 0 or more; the same seed on the same processor, with as many threads, gives the same weights bit for bit.
        device: "auto" (CUDA where there is one), "cpu" or "cuda".
        observer: is told of every step and epoch.

    Ctrl-C (KeyboardInterrupt) ends it cleanly: the best model so far stays in the folder, `test` is None.

    Raises:
        DataError, RecipeError, RunError, InputError: a mistake in what was passed; nothing was written.
        StorageError: the disk is full; whole files of a model kept so far stay, else nothing.
        KeyboardInterrupt: interrupted before the first epoch ended; nothing is kept.
    """
    stages = Stages()
    kernel.keep_memory()
    recipe = recipe if isinstance(recipe, Recipe) else Recipe.load(recipe)
    place = choose_device(device)
    if not 0 <= seed < 2**63:
        raise InputError(f"seed {seed}: must be 0 or more, and under 2^63")
    folder = RunFolder.create(out, recipe.name)
    try:
        with torch.random.fork_rng():
            return _train(recipe, data, folder, seed, place, observer, stages)
    except BaseException as error:
        kept = f"the best model so far is kept in {folder.path}" if folder.has_model() else "nothing was kept"
        if not folder.has_model():
            folder.discard()
        if isinstance(error, OSError):  # TensorBoard's files are not written by our writer
            raise storage_error(error, folder.path) from error
        if isinstance(error, KeyboardInterrupt):
            raise KeyboardInterrupt(kept) from error
        raise


def _train(
    recipe: Recipe,
    data: str | Dataset | None,
    folder: RunFolder,
    seed: int,
    device: torch.device,
    observer: Observer | None,
    stages: Stages,
) -> Run:
    folder.write("recipe.toml", recipe.to_toml())
    with stages("load"):
        dataset = data if isinstance(data, Dataset) else sources.load(data)
        (images, labels), validation = dataset.parts(recipe.split.validation, recipe.split.random_state)
        count = max(round(recipe.training_share * len(images)), 1)  # of a part that the split has shuffled
        training = images[:count], labels[:count]
    torch.manual_seed(randomness.torch_seed(seed, randomness.INITIAL))
    network = model.build(recipe.model).to(device)
    with stages("fit"):
        fitted = fit(network, recipe, training, validation, folder, seed, observer)
    return _conclude(network, recipe, dataset, folder, fitted, seed, device, stages)


@dataclass(frozen=True)
class Fitted:
    """What `fit` leaves behind, besides the network with its best weights."""

    history: tuple[Epoch, ...]
    best_epoch: int
    ended: str  # "all epochs", "early" or "interrupted"


def fit(
    network: nn.Sequential,
    recipe: Recipe,
    training: Part,
    validation: Part,
    folder: RunFolder,
    seed: int,
    observer: Observer | None = None,
) -> Fitted:
    """The loop. It sees the training and the validation part and nothing else.

    Afterwards the network, and model.safetensors in the folder, have the weights of the epoch with the least val_loss;
    with a one-cycle schedule those of the last, as it ends at its best.
    """
    device = next(network.parameters()).device
    optimizer = KerasAdam(network, recipe.optimizer)
    stopping, plateau = EarlyStopping(recipe.early_stopping), Plateau(recipe.plateau)
    cycle = OneCycle(recipe) if recipe.schedule.kind == "one-cycle" else None
    predict = model.predictor(network)
    history: list[Epoch] = []
    best: tuple[int, Weights] | None = None  # epoch and weights together, so that no interruption parts them
    ended = "all epochs"
    board = TensorBoard(folder.path / "tensorboard") if recipe.tensorboard.enabled else None
    try:
        if board:
            board.add_digits("augmented digits", samples(training, recipe, seed, device))
        if observer:
            observer.started(recipe, model.describe(network), _facts(training, validation, recipe, device))
        for epoch in range(1, recipe.epochs + 1):
            started, rate = time.perf_counter(), cycle.highest(epoch) if cycle else optimizer.rate
            loss, accuracy = _learn(network, optimizer, cycle, recipe, training, seed, epoch, folder, observer)
            scored = score(predict(validation[0]), validation[1])
            seconds = round(time.perf_counter() - started, 3)
            row = Epoch(epoch, loss, accuracy, scored.loss, scored.accuracy, rate, seconds)
            history.append(row)
            is_best = cycle is not None or stopping.is_best(epoch, row.val_loss)
            if cycle is None:
                optimizer.rate = plateau.next_rate(row.val_loss, rate)
            if is_best:
                best = epoch, snapshot(network)
                folder.write_model(best[1])
            folder.write_history([each.to_dict() for each in history])
            if board:
                board.add_epoch(row, network)
            if observer:
                observer.epoch(row, is_best)
            if stopping.stop:
                ended = "early"
                break
    except KeyboardInterrupt:
        if best is None:
            raise
        ended = "interrupted"
        folder.write_model(best[1])
        folder.write_history([each.to_dict() for each in history])
    finally:
        if board:
            board.close()
    assert best is not None  # the first epoch always is the best so far
    network.load_state_dict(best[1])
    return Fitted(tuple(history), best[0], ended)


def _learn(
    network: nn.Sequential,
    optimizer: KerasAdam,
    cycle: OneCycle | None,
    recipe: Recipe,
    training: Part,
    seed: int,
    epoch: int,
    folder: RunFolder,
    observer: Observer | None,
) -> tuple[float, float]:
    """One epoch: every training digit once. The mean loss and accuracy on the way, augmented and with dropout.

    Raises:
        FailureError: the loss is no number any more.
    """
    device = next(network.parameters()).device
    bfloat16 = uses_bfloat16(recipe.precision, device)
    loss_sum, right, seen = 0.0, 0, 0
    steps = math.ceil(len(training[0]) / recipe.batch_size)
    network.train()
    for step, (digits, truth) in enumerate(batches(training, recipe, seed, epoch, device), 1):
        set_seed(device, randomness.torch_seed(seed, randomness.DROPOUT, epoch, step))
        if cycle:
            optimizer.rate = cycle.rate(epoch - 1 + (step - 0.5) / steps)
        with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
            logits = network(digits)
        loss = functional.cross_entropy(logits.float(), truth, label_smoothing=recipe.label_smoothing)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

        value = loss.item()
        if not math.isfinite(value):
            raise FailureError(_diverged(epoch, step, value, folder))
        loss_sum += value * len(truth)
        right += int((logits.argmax(1) == truth).sum())
        seen += len(truth)
        if observer:
            observer.step(epoch, step, steps, loss_sum / seen, right / seen)
    return loss_sum / seen, right / seen


def _facts(training: Part, validation: Part, recipe: Recipe, device: torch.device) -> dict[str, Any]:
    """What an observer may want to say at the start."""
    return {
        "digits": len(training[0]),
        "validation": len(validation[0]),
        "device": str(device),
        "bfloat16": uses_bfloat16(recipe.precision, device),
    }


def _diverged(epoch: int, step: int, loss: float, folder: RunFolder) -> str:
    kept = f"the best model so far is kept in {folder.path}" if folder.has_model() else "nothing is kept"
    return f"epoch {epoch}, step {step}: the loss is {loss}; lower the recipe's learning_rate ({kept})"


def _conclude(
    network: nn.Sequential,
    recipe: Recipe,
    dataset: Dataset,
    folder: RunFolder,
    fitted: Fitted,
    seed: int,
    device: torch.device,
    stages: Stages,
) -> Run:
    """Evaluate on the test digits, once, and write down what the run was."""
    predict = model.predictor(network)
    test: Metrics | None = None
    if recipe.curves:
        with stages("draw"):
            folder.write("curves.svg", curves.draw(fitted.history, fitted.best_epoch, recipe))
    if fitted.ended != "interrupted":
        with stages("test"):
            probabilities = predict(dataset.test[0])
            test = score(probabilities, dataset.test[1])
            folder.write_probabilities(probabilities, dataset.test[1])
            if recipe.tensorboard.enabled:
                add_test(folder.path / "tensorboard", probabilities, *dataset.test)
    kept = fitted.history[fitted.best_epoch - 1]
    metrics = {
        "recipe": recipe.name,
        "seed": seed,
        "data": dataset.facts(),
        "epochs": len(fitted.history),
        "best_epoch": fitted.best_epoch,
        "ended": fitted.ended,
        "validation": {"accuracy": kept.val_accuracy, "loss": kept.val_loss},
        "test": test.to_dict() if test else None,
        "weights_sha256": weights_sha256(snapshot(network)),
        "parameters": sum(layer.parameters for layer in model.describe(network)),
        "device": str(device),
        "precision": "bfloat16" if uses_bfloat16(recipe.precision, device) else "float32",
        "threads": torch.get_num_threads(),
        "versions": versions(),
        **stages.to_dict(),
    }
    folder.write_metrics(metrics)
    return Run(folder.path, recipe, fitted.history, fitted.best_epoch, test, metrics, predict)
