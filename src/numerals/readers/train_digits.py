"""The training of the model that reads one digit a picture: `numerals train --recipe reader`.

Beside `train.py`, which has one loss, one pass over the digits an epoch and the article's callbacks: here every sample
is made anew, some are no digits, and the weights that are kept are the running mean of the last steps.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator
from multiprocessing import get_context

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from numerals import seeds
from numerals.article.data import Dataset
from numerals.handwriting.digits import NO_DIGIT, Synthesis
from numerals.readers.averaging import averaging
from numerals.readers.digit_network import ReaderNetwork
from numerals.readers.recipes import AdaptRecipe, DigitRecipe
from numerals.readers.workers import deaf, end_with_parent

Keep = Callable[[nn.Module, dict[str, float]], None]  # the weights so far, and how far the training is
Weights = dict[str, torch.Tensor]
WORKERS = 2  # processes that make samples
AHEAD = 8  # batches that wait at most while the network learns
EVERY = 200  # steps after which the weights are kept and progress is told


def train_reader(
    recipe: DigitRecipe, dataset: Dataset, seed: int, keep: Keep, initial: Weights | None = None
) -> ReaderNetwork:
    """The trained network: the running mean of its weights, in evaluation mode. Learns from `dataset.train` alone.

    `initial` are weights to start from. `keep` gets the weights every EVERY steps, with step, steps, loss and samples
    a second.
    """
    torch.manual_seed(seeds.torch_seed(seed, seeds.INITIAL_WEIGHTS))
    network = ReaderNetwork().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if initial is not None:
        network.load_state_dict(initial)
    averaged = averaging(network, recipe.averaging)
    optimizer = torch.optim.AdamW(network.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.learning_rate, total_steps=recipe.steps, pct_start=0.15
    )
    started, total = time.perf_counter(), 0.0
    network.train()
    for step, (digits, labels) in enumerate(batches(recipe, dataset, seed), 1):
        loss = loss_of(network, digits, labels, recipe)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        averaged.update_parameters(network)
        total += loss.item()
        if step % EVERY == 0 or step == recipe.steps:
            rate = 2 * step * recipe.fresh / (time.perf_counter() - started)
            mean = total / ((step - 1) % EVERY + 1)
            keep(averaged.module, {"step": step, "steps": recipe.steps, "loss": mean, "samples_per_second": rate})
            total = 0.0
    result = averaged.module
    assert isinstance(result, ReaderNetwork)
    return result.eval()


def loss_of(
    network: nn.Module, digits: torch.Tensor, labels: torch.Tensor, recipe: DigitRecipe | AdaptRecipe
) -> torch.Tensor:
    """Cross-entropy of the classes over the digits, and of being one over all."""
    logits, being = network(digits)
    real = labels != NO_DIGIT
    classes = functional.cross_entropy(logits[real], labels[real], label_smoothing=recipe.smoothing)
    return classes + recipe.stranger_loss * functional.binary_cross_entropy_with_logits(being, real.float())


def batches(recipe: DigitRecipe, dataset: Dataset, seed: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Every batch of the training: new samples, and as many again that were seen before.

    The new ones are made by other processes, and are the same whatever their number.
    """
    kept: deque[tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]] = deque(
        maxlen=max(recipe.memory // recipe.fresh, 1)
    )
    learnt_from = dataset.split(recipe.split.validation, recipe.split.random_state)[0]
    with deaf():
        beside = get_context("spawn").Pool(WORKERS, _start_worker, (learnt_from, seed, recipe.fresh))
    with beside as pool:
        waiting = deque(pool.apply_async(_make, (step,)) for step in range(min(AHEAD, recipe.steps)))
        for step in range(recipe.steps):
            images, labels = waiting.popleft().get()
            if step + AHEAD < recipe.steps:
                waiting.append(pool.apply_async(_make, (step + AHEAD,)))
            kept.append((images, labels))
            again, again_labels = _remembered(kept, recipe.fresh, seeds.generator(seed, seeds.SHUFFLE, step))
            yield (
                torch.from_numpy(np.concatenate([images, again])),
                torch.from_numpy(np.concatenate([labels, again_labels])),
            )


def _remembered(
    kept: "deque[tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]]", count: int, chance: np.random.Generator
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """As many samples as are new in a step, each drawn from all that are kept, and moved by up to a pixel."""
    chosen = chance.integers(len(kept), size=count)
    images = np.stack([kept[which][0][at] for at, which in enumerate(chosen)])
    labels = np.array([kept[which][1][at] for at, which in enumerate(chosen)])
    return np.roll(images, tuple(chance.integers(-1, 2, 2)), (1, 2)), labels


_worker: tuple[Synthesis, int, int] | None = None


def _start_worker(digits: tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]], seed: int, fresh: int) -> None:
    global _worker
    import cv2

    end_with_parent()
    cv2.setNumThreads(1)
    _worker = Synthesis(digits), seed, fresh


def _make(step: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    assert _worker is not None
    synthesis, seed, fresh = _worker
    return synthesis.batch(seed, np.arange(step * fresh, (step + 1) * fresh))
