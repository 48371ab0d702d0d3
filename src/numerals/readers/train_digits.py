"""Training of the digit network: recipe `digits`.

It differs from the article's training in three ways: every sample is synthesised on the fly, some samples are
non-digits, and the result is a moving average of the weights.
"""

import signal
import time
from collections import deque
from collections.abc import Iterator
from multiprocessing import get_context

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from numerals import seeds
from numerals.article.data import Dataset, LabelledImages
from numerals.article.state import StateDict
from numerals.handwriting.digits import NON_DIGIT, Synthesis
from numerals.processes import blocked_signals, exit_with_parent
from numerals.readers.common import Progress, ProgressCallback, moving_average
from numerals.readers.digit_network import DigitNetwork
from numerals.readers.recipes import AdaptRecipe, DigitRecipe

WORKERS = 2  # processes that synthesise samples
MAX_PREFETCHED = 8  # batches requested from the workers ahead of the training step
PROGRESS_STEPS = 200  # steps between two reports of progress

Samples = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]  # digits (n, 28, 28), labels (n,) with NON_DIGIT


def train_digits(
    recipe: DigitRecipe, dataset: Dataset, seed: int, on_progress: ProgressCallback, initial: StateDict | None = None
) -> DigitNetwork:
    """Train a digit network on the CPU, on samples made from the training part of the recipe's split.

    Args:
        recipe: every number of the training.
        dataset: digits to synthesise samples from.
        seed: the same seed gives the same network.
        on_progress: called every PROGRESS_STEPS steps and after the last one; its metric is samples_per_second.
        initial: weights to start from; random ones if None.

    Returns:
        The moving average of the network, in evaluation mode.
    """
    torch.manual_seed(seeds.torch_seed(seed, seeds.INITIAL_WEIGHTS))
    network = DigitNetwork().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if initial is not None:
        network.load_state_dict(initial)
    averaged = moving_average(network, recipe.averaging)
    optimizer = torch.optim.AdamW(network.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.learning_rate, total_steps=recipe.steps, pct_start=0.15
    )
    started, total_loss = time.perf_counter(), 0.0
    network.train()
    for step, (digits, labels) in enumerate(batches(recipe, dataset, seed), 1):
        loss = digit_loss(network, digits, labels, recipe)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        averaged.update_parameters(network)
        total_loss += loss.item()
        if step % PROGRESS_STEPS == 0 or step == recipe.steps:
            rate = 2 * step * recipe.fresh / (time.perf_counter() - started)
            mean = total_loss / ((step - 1) % PROGRESS_STEPS + 1)
            on_progress(averaged.module, Progress("step", step, recipe.steps, mean, {"samples_per_second": rate}))
            total_loss = 0.0
    result = averaged.module
    assert isinstance(result, DigitNetwork)
    return result.eval()


def digit_loss(
    network: nn.Module, digits: torch.Tensor, labels: torch.Tensor, recipe: DigitRecipe | AdaptRecipe
) -> torch.Tensor:
    """Cross-entropy of the classes, over digits, plus weighted binary cross-entropy of being a digit, over all samples.

    Args:
        network: gives class logits (n, 10) and logits of being a digit (n,).
        digits: uint8 (n, 28, 28), white ink on black.
        labels: int64 (n,), 0 to 9 or NON_DIGIT.
        recipe: its `smoothing` and `stranger_loss` are used.
    """
    logits, is_digit_logits = network(digits)
    is_digit = labels != NON_DIGIT
    classes = functional.cross_entropy(logits[is_digit], labels[is_digit], label_smoothing=recipe.smoothing)
    non_digits = functional.binary_cross_entropy_with_logits(is_digit_logits, is_digit.float())
    return classes + recipe.stranger_loss * non_digits


def batches(recipe: DigitRecipe, dataset: Dataset, seed: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield the batch of each step: `recipe.fresh` new samples, and as many from the last `recipe.memory` ones.

    Worker processes make the new samples; their number and speed do not change the result.
    """
    memory: deque[Samples] = deque(maxlen=max(recipe.memory // recipe.fresh, 1))
    training = dataset.split(recipe.split.validation, recipe.split.random_state)[0]
    with blocked_signals(signal.SIGINT):
        workers = get_context("spawn").Pool(WORKERS, _start_worker, (training, seed, recipe.fresh))
    with workers as pool:
        pending = deque(pool.apply_async(_fresh_samples, (step,)) for step in range(min(MAX_PREFETCHED, recipe.steps)))
        for step in range(recipe.steps):
            images, labels = pending.popleft().get()
            if step + MAX_PREFETCHED < recipe.steps:
                pending.append(pool.apply_async(_fresh_samples, (step + MAX_PREFETCHED,)))
            memory.append((images, labels))
            rng = seeds.generator(seed, seeds.SHUFFLE, step)
            replayed_images, replayed_labels = _replayed_samples(memory, recipe.fresh, rng)
            yield (
                torch.from_numpy(np.concatenate([images, replayed_images])),
                torch.from_numpy(np.concatenate([labels, replayed_labels])),
            )


def _replayed_samples(memory: deque[Samples], count: int, rng: np.random.Generator) -> Samples:
    """Draw one sample for each position of a batch from all batches in memory, and shift all by up to one pixel."""
    chosen = rng.integers(len(memory), size=count)
    images = np.stack([memory[batch][0][position] for position, batch in enumerate(chosen)])
    labels = np.array([memory[batch][1][position] for position, batch in enumerate(chosen)])
    return np.roll(images, tuple(rng.integers(-1, 2, 2)), (1, 2)), labels


_worker: tuple[Synthesis, int, int] | None = None  # in a worker process: synthesis, seed, samples per step


def _start_worker(digits: LabelledImages, seed: int, fresh: int) -> None:
    global _worker
    import cv2

    exit_with_parent()
    cv2.setNumThreads(1)
    _worker = Synthesis(digits), seed, fresh


def _fresh_samples(step: int) -> Samples:
    assert _worker is not None
    synthesis, seed, fresh = _worker
    return synthesis.batch(seed, np.arange(step * fresh, (step + 1) * fresh))
