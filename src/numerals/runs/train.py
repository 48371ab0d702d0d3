"""The training loop, in plain sight (the article's sections 5 to 7). Every number in it comes from the recipe.

Knows nothing about terminals: whoever wants to watch passes an Observer.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn
from torch.nn import functional

from numerals import seeds
from numerals.article import datasets, model
from numerals.article.batches import augmented_samples, batches
from numerals.article.callbacks import Epoch, OneCycle, Stopped
from numerals.article.data import Dataset, LabelledImages
from numerals.article.device import choose_device, is_out_of_memory, seed_torch, uses_bfloat16
from numerals.article.metrics import compute_metrics
from numerals.article.recipe import Recipe
from numerals.article.state import State
from numerals.errors import FailureError, InputError
from numerals.files import storage_error
from numerals.runs.checkpoint import Checkpoints, about, recipe_of, start
from numerals.runs.conclude import Fitted, conclude
from numerals.runs.conclude import Run as Run
from numerals.runs.folder import RunFolder, snapshot
from numerals.runs.profiling import Stages
from numerals.runs.tensorboard import TensorBoard


class Observer(Protocol):
    """What may be watched. `step` is called often, the others once an event; `epoch` may raise Stopped."""

    def started(self, recipe: Recipe, layers: Sequence[model.LayerSummary], facts: dict[str, Any]) -> None: ...
    def step(self, epoch: int, step: int, steps: int, loss: float, accuracy: float) -> None: ...
    def epoch(self, row: Epoch, best: bool) -> None: ...


def train(
    recipe: str | Path | Recipe = "article",
    data: str | Dataset | Callable[[], Dataset] | None = None,
    *,
    out: str | Path | None = None,
    seed: int = 0,
    device: str = "auto",
    observer: Observer | None = None,
    every_steps: int | None = None,
) -> Run:
    """Train as the recipe says, keep the run, and evaluate it once on the test digits.

    Args:
        recipe: a name ("article"), a TOML file, or a Recipe.
        data: None or "mnist" for MNIST, a path as `sources.load` takes it, a Dataset, or a function that gives one.
        out: the run folder, which must not exist; by default runs/NAME-1, runs/NAME-2, ...
        seed: 0 or more; the same seed on the same processor, with as many threads, gives the same weights bit for bit.
        device: "auto" (CUDA where there is one), "cpu" or "cuda".
        observer: is told of every step and epoch.
        every_steps: a checkpoint after so many steps too, beside that at the end of each epoch.

    Ctrl-C (KeyboardInterrupt) ends it cleanly: the best model so far stays in the folder, `test` is None. However it
    ends, `resume` goes on from the last checkpoint.

    Raises:
        DataError, RecipeError, RunError, InputError: a mistake in what was passed; nothing was written.
        StorageError: the disk is full; whole files of a model or a checkpoint kept so far stay, else nothing.
        FailureError: the loss is no number any more, or there is not enough memory.
        KeyboardInterrupt: interrupted before the first epoch ended; it says whether a checkpoint is kept.
    """
    stages = Stages()
    recipe = recipe if isinstance(recipe, Recipe) else Recipe.load(recipe)
    place = choose_device(device)
    if not 0 <= seed < 2**63:
        raise InputError(f"seed {seed}: must be 0 or more, and under 2^63")
    with stages("load"):
        dataset = data if isinstance(data, Dataset) else data() if callable(data) else datasets.load(data)
        what = about(recipe, seed, place, dataset)
    folder = RunFolder.create(out, recipe.name, start(what))
    with explained(folder, fresh=True), folder.locked():
        return train_in(folder, dataset, Checkpoints(folder.path, what, stages, every_steps), observer)


@contextmanager
def explained(folder: RunFolder, fresh: bool) -> Iterator[None]:
    """Whatever ends a training says what is kept; a fresh folder goes where that is nothing."""
    try:
        yield
    except BaseException as error:
        kept = "nothing was kept"
        if folder.has_model():
            kept = f"the best model so far is kept in {folder.path}"
        elif folder.has_checkpoint():
            kept = f"what was learnt is kept in {folder.path}; numerals train --resume goes on"
        elif fresh:
            folder.discard()
        if isinstance(error, OSError):  # TensorBoard's files are not written by our writer
            raise storage_error(error, folder.path) from error
        if isinstance(error, KeyboardInterrupt):
            raise KeyboardInterrupt(kept) from error
        if type(error) is FailureError:
            raise FailureError(f"{error} ({kept})") from error
        if is_out_of_memory(error):
            raise FailureError(
                f"out of memory; lower the recipe's batch_size or make its model smaller ({kept})"
            ) from error
        raise


def train_in(folder: RunFolder, dataset: Dataset, checkpoints: Checkpoints, observer: Observer | None = None) -> Run:
    """The training that the checkpoints are about, from where they are, to its end."""
    what = checkpoints.about
    recipe = recipe_of(what)
    (images, labels), validation = dataset.split(recipe.split.validation, recipe.split.random_state)
    count = max(round(recipe.training_share * len(images)), 1)  # of a part that the split has shuffled
    training = images[:count], labels[:count]
    with torch.random.fork_rng():
        torch.manual_seed(seeds.torch_seed(what["seed"], seeds.INITIAL_WEIGHTS))
        network = model.build(recipe.model).to(what["device"])
        with checkpoints.stages("fit"):
            fitted = fit(network, recipe, training, validation, folder, checkpoints, observer)
        return conclude(network, recipe, dataset, folder, fitted, what, checkpoints.stages)


def fit(
    network: nn.Sequential,
    recipe: Recipe,
    training: LabelledImages,
    validation: LabelledImages,
    folder: RunFolder,
    checkpoints: Checkpoints,
    observer: Observer | None = None,
) -> Fitted:
    """The loop. It sees the training and the validation part and nothing else.

    Afterwards the network, and model.safetensors in the folder, have the weights of the epoch with the least val_loss;
    with a one-cycle schedule those of the last, as it ends at its best.
    """
    device, seed = next(network.parameters()).device, checkpoints.about["seed"]
    state = State(network, recipe)
    checkpoints.begin(state)
    cycle = OneCycle(recipe) if recipe.schedule.kind == "one-cycle" else None
    predict = model.predictor(network)
    board = TensorBoard(folder.path / "tensorboard", state.history) if recipe.tensorboard.enabled else None
    ended = "all epochs"
    try:
        with checkpoints.ctrl_c:
            if board and board.is_new:
                board.add_digits("augmented digits", augmented_samples(training, recipe, seed, device))
            if observer:
                facts = _facts(training, validation, recipe, device) | {
                    "resumed": checkpoints.resumed,
                    "said": checkpoints.said,
                }
                observer.started(recipe, model.describe(network), facts)
            while state.epoch <= recipe.epochs and not state.stopping.stop:
                rate = cycle.highest(state.epoch) if cycle else state.optimizer.learning_rate
                loss, accuracy = _learn(state, cycle, recipe, training, checkpoints, board, observer)
                probabilities = predict(validation[0])
                _check_loss(float(probabilities.sum()), f"epoch {state.epoch}, after its last step: val_loss")
                scored = compute_metrics(probabilities, validation[1])
                row = Epoch(state.epoch, loss, accuracy, scored.loss, scored.accuracy, rate, state.seconds)
                state.history.append(row)
                is_best = cycle is not None or state.stopping.is_best(row.epoch, row.val_loss)
                if cycle is None:
                    state.optimizer.learning_rate = state.plateau.next_rate(row.val_loss, rate)
                if is_best:
                    state.best = row.epoch, snapshot(network)
                if board:
                    board.add_epoch(row, network)
                state.begin(row.epoch + 1)
                checkpoints.save(state, board)  # first, since the files below can be made from it
                if is_best and state.best:
                    folder.write_model(state.best[1])
                folder.write_history([each.to_dict() for each in state.history])
                if observer:
                    observer.epoch(row, is_best)
                checkpoints.heed_ctrl_c()
            ended = "early" if state.stopping.stop else ended
    except (KeyboardInterrupt, Stopped) as error:
        if state.best is None or checkpoints.ctrl_c.twice:
            raise
        ended = "stopped" if isinstance(error, Stopped) else "interrupted"
        folder.write_model(state.best[1])
        folder.write_history([each.to_dict() for each in state.history])
    finally:
        if board:
            board.close()
    assert state.best is not None  # the first epoch always is the best so far
    network.load_state_dict(state.best[1])
    return Fitted(tuple(state.history), state.best[0], ended)


def _learn(
    state: State,
    cycle: OneCycle | None,
    recipe: Recipe,
    training: LabelledImages,
    checkpoints: Checkpoints,
    board: TensorBoard | None,
    observer: Observer | None,
) -> tuple[float, float]:
    """One epoch: every training digit once. The mean loss and accuracy on the way, augmented and with dropout.

    Raises:
        FailureError: the loss is no number any more.
    """
    network, optimizer, epoch, seed = state.network, state.optimizer, state.epoch, checkpoints.about["seed"]
    device = next(network.parameters()).device
    bfloat16 = uses_bfloat16(recipe.precision, device)
    steps = math.ceil(len(training[0]) / recipe.batch_size)
    network.train()
    for step, (digits, truth) in enumerate(batches(training, recipe, seed, epoch, device, state.step), state.step + 1):
        seed_torch(device, seeds.torch_seed(seed, seeds.DROPOUT, epoch, step))
        if cycle:
            optimizer.learning_rate = cycle.rate(epoch - 1 + (step - 0.5) / steps)
        with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
            logits = network(digits)
        loss = functional.cross_entropy(logits.float(), truth, label_smoothing=recipe.label_smoothing)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

        value, right = loss.item(), int((logits.argmax(1) == truth).sum())
        _check_loss(value, f"epoch {epoch}, step {step}: the loss")
        state.count(value, right, len(truth))
        if observer:
            observer.step(epoch, step, steps, state.loss_sum / state.seen, state.right / state.seen)
        checkpoints.after_step(state, board)
    return state.loss_sum / state.seen, state.right / state.seen


def _check_loss(loss: float, what: str) -> None:
    if not math.isfinite(loss):
        raise FailureError(f"{what} is {loss}; lower the recipe's learning_rate")


def _facts(
    training: LabelledImages, validation: LabelledImages, recipe: Recipe, device: torch.device
) -> dict[str, Any]:
    """What an observer may want to say at the start."""
    return {
        "digits": len(training[0]),
        "validation": len(validation[0]),
        "device": str(device),
        "bfloat16": uses_bfloat16(recipe.precision, device),
    }
