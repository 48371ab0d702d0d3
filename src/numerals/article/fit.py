"""The training loop (the article's section 6): network, data, recipe and callbacks in, history out.

An epoch passes over the training digits once, shuffled, augmented and in batches. For each batch: predict, measure the
loss, go one step down its gradient. After each epoch the validation digits decide what early stopping and the learning
rate do next. The test digits are not an argument, so nothing here can depend on them.
"""

import math
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from numerals import seeds
from numerals.article.batches import batches
from numerals.article.callbacks import Epoch
from numerals.article.data import LabelledImages
from numerals.article.device import seed_torch
from numerals.article.metrics import compute_metrics
from numerals.article.model import predictor
from numerals.article.recipe import Recipe
from numerals.article.state import TrainingState
from numerals.errors import FailureError


class Callback:
    """Base class for code that runs during `fit`, as in Keras. Override what you need; every method does nothing.

    `state.network` is the network in training, `state.history` the epochs so far. To end the training after the
    current epoch, set `state.stop_training = True`; the test digits are then left alone.
    """

    def on_train_begin(self, state: TrainingState) -> None:
        """Called once, before the first step. A resumed training begins where its checkpoint was."""

    def on_step_end(self, state: TrainingState) -> None:
        """Called after each batch; `state.epoch`, `state.step`, `state.loss` and `state.accuracy` are up to date."""

    def on_epoch_end(self, state: TrainingState, epoch: Epoch) -> None:
        """Called after validation, with the figures of the epoch; `state` already begins the next one."""

    def on_train_end(self, state: TrainingState) -> None:
        """Called once, when the network has the weights of its best epoch; not after an interruption."""


def fit(
    network: nn.Sequential,
    training: LabelledImages,
    validation: LabelledImages,
    recipe: Recipe,
    *,
    seed: int = 0,
    callbacks: Sequence[Callback] = (),
    state: TrainingState | None = None,
) -> list[Epoch]:
    """Train `network` in place. Afterwards it has the weights of the epoch with the least val_loss.

    With a one-cycle schedule it has those of the last epoch.

    Args:
        network: what `model.build` returns, on the device to train on.
        training, validation: images uint8 (n, 28, 28), white ink on black, and labels (n,).
        recipe: every number of the training.
        seed: decides the order of the digits, their augmentation and dropout.
        callbacks: called in this order at each event.
        state: a training of this network, with this recipe and seed, to continue; left out, a new one begins.

    Returns:
        The history, one row per epoch.

    Raises:
        FailureError: the loss became NaN or infinite.
    """
    state = state or TrainingState(network, recipe, seed)
    state.training_count, state.validation_count = len(training[0]), len(validation[0])
    state.steps_per_epoch = math.ceil(len(training[0]) / recipe.batch_size)
    predict = predictor(network)
    for callback in callbacks:
        callback.on_train_begin(state)
    while not state.is_finished:
        train_epoch(state, training, callbacks)
        probabilities = predict(validation[0])
        _check_finite(float(probabilities.sum()), f"val_loss after epoch {state.epoch}")
        val_metrics = compute_metrics(probabilities, validation[1])
        row = state.end_epoch(val_metrics.loss, val_metrics.accuracy)
        for callback in callbacks:
            callback.on_epoch_end(state, row)
    state.restore_best_weights()
    for callback in callbacks:
        callback.on_train_end(state)
    return state.history


def train_epoch(state: TrainingState, training: LabelledImages, callbacks: Sequence[Callback] = ()) -> None:
    """Train on the batches that are left of the current epoch: all of them, unless a checkpoint interrupted it."""
    network, optimizer, recipe, device = state.network, state.optimizer, state.recipe, state.device
    uses_bfloat16 = state.uses_bfloat16
    network.train()
    for digits, labels in batches(training, recipe, state.seed, state.epoch, device, state.step):
        seed_torch(device, seeds.torch_seed(state.seed, seeds.DROPOUT, state.epoch, state.step + 1))
        if state.one_cycle:
            optimizer.learning_rate = state.one_cycle.rate(state.epoch - 1 + (state.step + 0.5) / state.steps_per_epoch)
        with torch.autocast(device.type, torch.bfloat16, enabled=uses_bfloat16):
            logits = network(digits)
        loss = functional.cross_entropy(logits.float(), labels, label_smoothing=recipe.label_smoothing)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        mean_loss = loss.item()
        _check_finite(mean_loss, f"the loss in epoch {state.epoch}, step {state.step + 1}")
        state.end_step(mean_loss, int((logits.argmax(1) == labels).sum()), len(labels))
        for callback in callbacks:
            callback.on_step_end(state)


def _check_finite(value: float, name: str) -> None:
    if not math.isfinite(value):
        raise FailureError(f"{name} is {value}; lower the recipe's learning_rate")
