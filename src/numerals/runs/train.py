"""Train and keep the run: what `numerals train` does around `article.fit`.

A run is the training loop, together with callbacks for TensorBoard, checkpoints and whatever the caller passes, and
one evaluation on the test digits at the end. Everything it keeps is in its run folder (runs/folder.py).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt
import torch
from torch import nn

from numerals import seeds
from numerals.article import datasets, model
from numerals.article.callbacks import Epoch
from numerals.article.data import Dataset, LabelledImages
from numerals.article.device import choose_device
from numerals.article.fit import Callback, fit
from numerals.article.metrics import Metrics, compute_metrics
from numerals.article.recipe import Recipe
from numerals.article.state import TrainingState, snapshot
from numerals.plots import training_curves
from numerals.runs.checkpoint import Checkpoint, CheckpointStore, EpochCheckpoint, StepCheckpoint, TrainingSpec
from numerals.runs.folder import RunFolder, weights_sha256
from numerals.runs.session import Session, check_seed
from numerals.runs.tensorboard import TensorBoard, add_test_results


@dataclass(frozen=True)
class FinishedRun:
    """A training that has ended, as `train` and `resume` here return it; numerals.Run is made of one."""

    folder: Path
    recipe: Recipe
    history: tuple[Epoch, ...]
    best_epoch: int  # from 1; its weights are in the folder
    test: Metrics | None  # None if it was interrupted or stopped: the test digits are for finished trainings
    metrics: dict[str, Any]  # the content of metrics.json
    network: nn.Sequential  # float32 (n, 1, 28, 28) in [0, 1] -> logits (n, 10)

    def predict(self, images: npt.ArrayLike) -> model.Probabilities:
        """Probabilities float32 (n, 10) of images in any form that `data.as_digits` converts."""
        return model.predictor(self.network)(images)


def train(
    recipe: str | Path | Recipe = "article",
    data: str | Dataset | Callable[[], Dataset] | None = None,
    *,
    out: str | Path | None = None,
    seed: int = 0,
    device: str = "auto",
    callbacks: Sequence[Callback] = (),
    every_steps: int | None = None,
) -> FinishedRun:
    """Train with a recipe, keep the run in a folder, and evaluate it once on the test digits.

    The same seed on the same processor, with the same number of threads, gives the same weights bit for bit. Ctrl-C
    (KeyboardInterrupt) ends the training cleanly: the best model so far stays in the folder and `test` is None.
    However it ends, `resume` continues from the last checkpoint.

    Args:
        recipe: a built-in recipe's name ("article"), a TOML file, or a Recipe.
        data: None or "mnist" for MNIST, a path as `datasets.load` takes it, a Dataset, or a function that returns one.
        out: the run folder, which must not exist; by default runs/NAME-1, runs/NAME-2, ...
        seed: 0 or more.
        device: "auto" (CUDA if available), "cpu" or "cuda".
        callbacks: your own, called after those that write the run folder.
        every_steps: save a checkpoint every so many steps too, not only after each epoch.

    Raises:
        DataError, RecipeError, RunError, InputError: an argument cannot be used; nothing was written.
        StorageError: the disk is full; models and checkpoints saved before stay.
        FailureError: the loss is NaN or infinite, or there is not enough memory.
        KeyboardInterrupt: interrupted before the first epoch ended, or twice; the message says what is saved.
    """
    session = Session()
    recipe = recipe if isinstance(recipe, Recipe) else Recipe.load(recipe)
    chosen_device = choose_device(device)
    check_seed(seed)
    with session.profile("load"):
        dataset = data if isinstance(data, Dataset) else data() if callable(data) else datasets.load(data)
        spec = TrainingSpec.of(recipe, seed, chosen_device, dataset)
    with session.new_folder(out, recipe.name, spec.first_files()) as folder:
        return run_training(session, folder, spec, dataset, callbacks=callbacks, every_steps=every_steps)


def run_training(
    session: Session,
    folder: RunFolder,
    spec: TrainingSpec,
    dataset: Dataset,
    *,
    checkpoint: Checkpoint | None = None,
    callbacks: Sequence[Callback] = (),
    every_steps: int | None = None,
) -> FinishedRun:
    """Train what `spec` describes, from `checkpoint` or from the beginning, and finish the run."""
    recipe = spec.recipe
    training, validation = training_parts(dataset, recipe)
    (folder.path / "checkpoint").mkdir(exist_ok=True)
    with torch.random.fork_rng():
        torch.manual_seed(seeds.torch_seed(spec.seed, seeds.INITIAL_WEIGHTS))
        network = model.build(recipe.model).to(spec.device)
        with session.profile("fit"):
            state = TrainingState(network, recipe, spec.seed)
            if checkpoint:
                CheckpointStore(folder).restore(checkpoint, spec, state)
            board = TensorBoard(folder.path / "tensorboard", training) if recipe.tensorboard.enabled else None
            saving = EpochCheckpoint(folder, spec, session, board)
            inner = [board, saving] if board else [saving]
            all_callbacks = [*inner, *callbacks, StepCheckpoint(saving, session, every_steps)]
            try:
                with session.sigint.deferred():
                    fit(network, training, validation, recipe, seed=spec.seed, callbacks=all_callbacks, state=state)
                ended = "stopped" if state.stop_training else "early" if state.early_stopping.stop else "all epochs"
            except KeyboardInterrupt:
                if state.best is None or session.sigint.repeated:
                    raise
                ended = "interrupted"
                state.restore_best_weights()
                folder.write_model(state.best.weights)
                folder.write_history([row.to_dict() for row in state.history])
            finally:
                if board:
                    board.close()
        return finish(session, folder, spec, dataset, state, ended)


def training_parts(dataset: Dataset, recipe: Recipe) -> tuple[LabelledImages, LabelledImages]:
    """The digits that a recipe trains on, and those that it validates with."""
    (images, labels), validation = dataset.split(recipe.split.validation, recipe.split.random_state)
    count = max(round(recipe.training_share * len(images)), 1)  # the split has shuffled them
    return (images[:count], labels[:count]), validation


def finish(
    session: Session, folder: RunFolder, spec: TrainingSpec, dataset: Dataset, state: TrainingState, ended: str
) -> FinishedRun:
    """Evaluate once on the test digits, unless interrupted or stopped, and write the results.

    Args:
        ended: "all epochs", "early" (early stopping), "interrupted" (Ctrl-C) or "stopped" (by a callback).
    """
    assert state.best is not None  # the first epoch is always the best so far
    network, recipe, best_epoch = state.network, spec.recipe, state.best.epoch
    predict = model.predictor(network)
    test: Metrics | None = None
    if recipe.curves:
        with session.profile("draw"):
            folder.write("curves.svg", training_curves.draw(tuple(state.history), best_epoch, recipe))
    if ended not in ("interrupted", "stopped"):
        with session.profile("test"):
            probabilities = predict(dataset.test[0])
            test = compute_metrics(probabilities, dataset.test[1])
            folder.write_probabilities(probabilities, dataset.test[1])
            if recipe.tensorboard.enabled:
                add_test_results(folder.path / "tensorboard", probabilities, *dataset.test)
    best = state.history[best_epoch - 1]
    metrics = {
        "recipe": recipe.name,
        "seed": spec.seed,
        "data": spec.data.model_dump(),
        "epochs": len(state.history),
        "best_epoch": best_epoch,
        "ended": ended,
        "validation": {"accuracy": best.val_accuracy, "loss": best.val_loss},
        "test": test.to_dict() if test else None,
        "weights_sha256": weights_sha256(snapshot(network)),
        "parameters": _parameters(network),
        **spec.model_dump(include={"device", "precision", "threads", "versions"}),
        **session.profile.to_dict(),
    }
    folder.write_metrics(metrics)
    folder.write_sums()
    return FinishedRun(folder.path, recipe, tuple(state.history), best_epoch, test, metrics, network)


def _parameters(network: nn.Sequential) -> int:
    """All weights and running statistics, as Keras counts parameters."""
    return sum(layer.parameters for layer in model.describe(network))
