"""Training of the row network: recipe `rows`.

Each round trains on newly synthesised rows, so that no row is seen twice; a worker process makes the next round's rows
meanwhile. All random draws derive from (seed, row index) or (seed, round), so timing does not change the result.
"""

import math
import signal
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from numerals.article.data import Dataset, LabelledImages
from numerals.article.state import StateDict
from numerals.files import open_plain
from numerals.handwriting.glyphs import Glyphs, prepare_glyphs
from numerals.handwriting.rows import synthesise_row
from numerals.processes import blocked_signals, exit_with_parent
from numerals.read.ctc import BLANK
from numerals.readers.common import Progress, ProgressCallback, moving_average
from numerals.readers.recipes import RowRecipe
from numerals.readers.row_network import RowNetwork
from numerals.seeds import SHUFFLE, generator, torch_seed

LabelledStrip = tuple[npt.NDArray[np.uint8], list[int]]  # a strip (40, w), bright ink on black, and its digits
MAX_GLYPH_BYTES = 2**32  # of the file for the worker process; MNIST's are 270 MB
FIRST_VALIDATION_ROW, FIRST_TEST_ROW = 1 << 40, 1 << 41  # row indices, far from those of training


def train_rows(
    recipe: RowRecipe, dataset: Dataset, seed: int, on_progress: ProgressCallback, initial: StateDict | None = None
) -> RowNetwork:
    """Train a row network on the CPU, on rows written with the training part of the recipe's split.

    Args:
        recipe: every number of the training.
        dataset: digits to write rows with.
        seed: the same seed gives the same network.
        on_progress: called after each round; its metrics are validation_exact, the share of validation rows read
            without a mistake, and the seconds of the round.
        initial: weights to start from; random ones if None.

    Returns:
        The moving average of the network, in evaluation mode.
    """
    torch.manual_seed(torch_seed(seed))
    network: RowNetwork = RowNetwork().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if initial is not None:
        network.load_state_dict(initial)
    averaged = moving_average(network, recipe.averaging)
    result = averaged.module
    optimizer = torch.optim.AdamW(network.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay)
    training_digits, validation_digits = dataset.split(recipe.split.validation, recipe.split.random_state)
    validation_glyphs = prepare_glyphs(*validation_digits)
    validation_rows = synthesise_rows(validation_glyphs, seed, FIRST_VALIDATION_ROW, recipe.validation_rows)
    for number, rows in enumerate(_rounds(recipe, training_digits, seed)):
        started, losses = time.perf_counter(), []
        round_batches = list(batches(rows, recipe.batch_size, generator(seed, SHUFFLE, number)))
        for step, (strips, digits) in enumerate(round_batches):
            rate = learning_rate(recipe, (number + step / len(round_batches)) / recipe.rounds)
            losses.append(_step(network, optimizer, rate, strips, digits))
            averaged.update_parameters(network)
        loss = float(np.mean(losses))
        exact = exact_row_rate(result, validation_rows)
        metrics = {"validation_exact": exact, "seconds": time.perf_counter() - started}
        on_progress(result, Progress("round", number + 1, recipe.rounds, loss, metrics))
    assert isinstance(result, RowNetwork)
    return result.eval()


def synthesise_rows(glyphs: Glyphs, seed: int, start: int, count: int) -> list[LabelledStrip]:
    """Synthesise the rows with the indices `start` to `start + count`, written with these glyphs."""
    return [synthesise_row(glyphs, seed, index) for index in range(start, start + count)]


def batches(
    rows: list[LabelledStrip], size: int, rng: np.random.Generator
) -> Iterator[tuple[torch.Tensor, list[list[int]]]]:
    """Yield every row once, augmented, in shuffled batches of strips of similar width.

    Yields:
        Strips as `stack_strips` returns them, and the digits of each.
    """
    widths = np.array([strip.shape[1] for strip, _ in rows]) * np.exp(rng.normal(0, 0.1, len(rows)))
    order = np.argsort(widths)
    chunks = [order[start : start + size] for start in range(0, len(rows), size)]
    for chunk in rng.permutation(len(chunks)):
        chosen = [rows[index] for index in chunks[chunk]]
        yield stack_strips([augment_strip(strip, rng) for strip, _ in chosen]), [digits for _, digits in chosen]


def stack_strips(strips: list[npt.NDArray[np.uint8]]) -> torch.Tensor:
    """Stack strips, padded on the right with background, to float32 (n, 1, 40, w) in 0..255.

    The width is a multiple of 16, because oneDNN prepares a kernel for each width and caches only a few of them.
    """
    widest = math.ceil(max(strip.shape[1] for strip in strips) / 16) * 16
    padded = np.stack([np.pad(strip, ((0, 0), (0, widest - strip.shape[1]))) for strip in strips])
    return torch.from_numpy(padded)[:, None].float().contiguous(memory_format=torch.channels_last)


def augment_strip(strip: npt.NDArray[np.uint8], rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Change a strip's width, vertical position and contrast a little, at random."""
    width = max(round(strip.shape[1] * np.exp(rng.normal(0, 0.08))), 8)
    moved = np.roll(cv2.resize(strip, (width, strip.shape[0])), int(rng.integers(-2, 3)), axis=0)
    return np.asarray(cv2.convertScaleAbs(moved, alpha=float(np.exp(rng.normal(0, 0.12)))), np.uint8)


def ctc_loss(logits: torch.Tensor, digits: list[list[int]]) -> torch.Tensor:
    """Mean CTC loss of a batch; each row's loss is divided by its number of digits.

    Args:
        logits: (n, t, 11), the blank first.
        digits: of each row. A row with more digits than its strip has room for has a loss of zero.
    """
    targets = torch.tensor([digit + 1 for row in digits for digit in row], dtype=torch.long)
    target_lengths = torch.tensor([len(row) for row in digits])
    input_lengths = torch.full((len(digits),), logits.shape[1])
    log_probabilities = logits.log_softmax(2).transpose(0, 1)
    return functional.ctc_loss(
        log_probabilities, targets, input_lengths, target_lengths, BLANK, "mean", zero_infinity=True
    )


def greedy_decode(logits: torch.Tensor) -> list[list[int]]:
    """Decode logits (n, t, 11) to digits: the best label of each column, without repetitions and blanks."""
    best = logits.argmax(2).numpy()
    return [
        [int(label) - 1 for before, label in zip([-1, *row[:-1]], row, strict=True) if label not in (before, BLANK)]
        for row in best
    ]


def exact_row_rate(network: nn.Module, rows: list[LabelledStrip]) -> float:
    """Share of rows that greedy decoding reads without a mistake. Leaves the network in training mode."""
    network.eval()
    exact = 0
    with torch.inference_mode():
        for strip, digits in rows:
            exact += greedy_decode(network(stack_strips([strip])))[0] == digits
    network.train()
    return exact / len(rows)


def learning_rate(recipe: RowRecipe, progress: float) -> float:
    """Linear warmup over the first 3 % of the training, then cosine decay to a hundredth; `progress` is in [0, 1]."""
    if progress < 0.03:
        return recipe.learning_rate * (0.1 + 0.9 * progress / 0.03)
    return recipe.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (progress - 0.03) / 0.97)))


def _step(
    network: RowNetwork, optimizer: torch.optim.Optimizer, rate: float, strips: torch.Tensor, digits: list[list[int]]
) -> float:
    for group in optimizer.param_groups:
        group["lr"] = rate
    loss = ctc_loss(network(strips), digits)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
    optimizer.step()
    return float(loss.detach())


_glyphs: Glyphs | None = None  # in the worker process


def _start_worker(path: str) -> None:
    global _glyphs
    exit_with_parent()
    cv2.setNumThreads(1)
    with open_plain(Path(path), MAX_GLYPH_BYTES) as plain, np.load(plain, allow_pickle=False) as file:
        _glyphs = Glyphs(file["images"], file["skeletons"], file["labels"])


def _synthesise_in_worker(seed: int, start: int, count: int) -> list[LabelledStrip]:
    assert _glyphs is not None
    return synthesise_rows(_glyphs, seed, start, count)


def _rounds(recipe: RowRecipe, digits: LabelledImages, seed: int) -> Iterator[list[LabelledStrip]]:
    """Yield the rows of each round while the worker process makes those of the next."""
    with tempfile.TemporaryDirectory() as folder:  # glyphs are 270 MB, too much to send to a process through a pipe
        path = str(Path(folder) / "glyphs.npz")
        glyphs = prepare_glyphs(*digits)
        np.savez(path, images=glyphs.images, skeletons=glyphs.skeletons, labels=glyphs.labels)
        del glyphs
        with ProcessPoolExecutor(1, get_context("spawn"), _start_worker, (path,)) as worker:
            with blocked_signals(signal.SIGINT):  # the process starts with its first task
                next_rows: Future[list[LabelledStrip]] = worker.submit(_synthesise_in_worker, seed, 0, recipe.rows)
            for number in range(recipe.rounds):
                rows = next_rows.result()
                if number + 1 < recipe.rounds:
                    next_rows = worker.submit(_synthesise_in_worker, seed, (number + 1) * recipe.rows, recipe.rows)
                yield rows
