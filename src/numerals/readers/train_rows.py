"""The training of the model that reads rows: `numerals train --recipe rows`. Rows are drawn while it learns.

Every row is seen once: while the network learns from a round's rows, a process beside it draws the next round's. All
chance comes from (seed, round, row), so the processes' speed changes nothing.
"""

import math
import tempfile
import time
from collections.abc import Callable, Iterator
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
from numerals.handwriting.glyphs import Glyphs, glyphs_of
from numerals.handwriting.rows import row
from numerals.read.ctc import BLANK
from numerals.readers.averaging import averaging
from numerals.readers.recipes import RowRecipe
from numerals.readers.row_network import RowNet
from numerals.readers.workers import deaf, end_with_parent
from numerals.seeds import SHUFFLE, generator, torch_seed

Weights = dict[str, torch.Tensor]
Row = tuple[npt.NDArray[np.uint8], list[int]]  # a strip and its digits
Keep = Callable[[nn.Module, dict[str, float]], None]  # the weights so far, and how far the training is
VALIDATION, TEST = 1 << 40, 1 << 41  # first indices of the rows to validate and to test with


def train_rows(recipe: RowRecipe, dataset: Dataset, seed: int, keep: Keep, initial: Weights | None = None) -> RowNet:
    """The trained network: the running mean of its weights, in evaluation mode. Learns from `dataset.train` alone.

    `initial` are weights to start from. `keep` gets the weights after each round, with round, rounds, loss,
    validation_exact and seconds.
    """
    torch.manual_seed(torch_seed(seed))
    network: RowNet = RowNet().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if initial is not None:
        network.load_state_dict(initial)
    averaged = averaging(network, recipe.averaging)
    kept = averaged.module
    optimizer = torch.optim.AdamW(network.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay)
    learnt_from, held_out = dataset.split(recipe.split.validation, recipe.split.random_state)
    validation = drawn(glyphs_of(*held_out), seed, VALIDATION, recipe.validation_rows)
    for place, rows in enumerate(_rounds(recipe, learnt_from, seed)):
        started, losses = time.perf_counter(), []
        pending = list(batches(rows, recipe.batch_size, generator(seed, SHUFFLE, place)))
        for step, (strips, digits) in enumerate(pending):
            rate = learning_rate(recipe, (place + step / len(pending)) / recipe.rounds)
            losses.append(_step(network, optimizer, rate, strips, digits))
            averaged.update_parameters(network)
        told = {"round": place + 1, "rounds": recipe.rounds, "loss": float(np.mean(losses))}
        exact = row_accuracy(kept, validation)
        keep(kept, {**told, "validation_exact": exact, "seconds": time.perf_counter() - started})
    assert isinstance(kept, RowNet)
    return kept.eval()


def drawn(glyphs: Glyphs, seed: int, start: int, count: int) -> list[Row]:
    """Rows number `start` and on, drawn with those digits."""
    return [row(glyphs, seed, index) for index in range(start, start + count)]


def batches(rows: list[Row], size: int, chance: np.random.Generator) -> Iterator[tuple[torch.Tensor, list[list[int]]]]:
    """The rows once each, in batches of strips of about one width: float32 (n, 1, 40, w) in 0..255."""
    widths = np.array([strip.shape[1] for strip, _ in rows]) * np.exp(chance.normal(0, 0.1, len(rows)))
    order = np.argsort(widths)
    chunks = [order[start : start + size] for start in range(0, len(rows), size)]
    for place in chance.permutation(len(chunks)):
        chosen = [rows[index] for index in chunks[place]]
        yield stacked([varied(strip, chance) for strip, _ in chosen]), [digits for _, digits in chosen]


def stacked(strips: list[npt.NDArray[np.uint8]]) -> torch.Tensor:
    """Strips of several widths as one tensor, paper to the right; few widths, as oneDNN prepares for each anew."""
    widest = math.ceil(max(strip.shape[1] for strip in strips) / 16) * 16
    padded = np.stack([np.pad(strip, ((0, 0), (0, widest - strip.shape[1]))) for strip in strips])
    return torch.from_numpy(padded)[:, None].float().contiguous(memory_format=torch.channels_last)


def varied(strip: npt.NDArray[np.uint8], chance: np.random.Generator) -> npt.NDArray[np.uint8]:
    """The strip a little wider or narrower, higher or lower, fainter or darker."""
    width = max(round(strip.shape[1] * np.exp(chance.normal(0, 0.08))), 8)
    moved = np.roll(cv2.resize(strip, (width, strip.shape[0])), int(chance.integers(-2, 3)), axis=0)
    return np.asarray(cv2.convertScaleAbs(moved, alpha=float(np.exp(chance.normal(0, 0.12)))), np.uint8)


def ctc(logits: torch.Tensor, digits: list[list[int]]) -> torch.Tensor:
    """The CTC loss of a batch of logits (n, t, 11); a row too long for its strip counts nothing."""
    targets = torch.tensor([digit + 1 for row in digits for digit in row], dtype=torch.long)
    lengths = torch.tensor([len(row) for row in digits])
    steps = torch.full((len(digits),), logits.shape[1])
    spoken = logits.log_softmax(2).transpose(0, 1)
    return functional.ctc_loss(spoken, targets, steps, lengths, BLANK, "mean", zero_infinity=True)


def greedy(logits: torch.Tensor) -> list[list[int]]:
    """The best class of each step, repeats and blanks left out."""
    best = logits.argmax(2).numpy()
    return [
        [int(c) - 1 for before, c in zip([-1, *line[:-1]], line, strict=True) if c not in (before, BLANK)]
        for line in best
    ]


def row_accuracy(network: nn.Module, rows: list[Row]) -> float:
    """The share of rows that the network reads without a mistake, at one look and the best class of each step."""
    network.eval()
    right = 0
    with torch.inference_mode():
        for strip, digits in rows:
            right += greedy(network(stacked([strip])))[0] == digits
    network.train()
    return right / len(rows)


def learning_rate(recipe: RowRecipe, done: float) -> float:
    """A rise over the first 3 %, then a cosine."""
    if done < 0.03:
        return recipe.learning_rate * (0.1 + 0.9 * done / 0.03)
    return recipe.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (done - 0.03) / 0.97)))


def _step(
    network: RowNet, optimizer: torch.optim.Optimizer, rate: float, strips: torch.Tensor, digits: list[list[int]]
) -> float:
    for group in optimizer.param_groups:
        group["lr"] = rate
    loss = ctc(network(strips), digits)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
    optimizer.step()
    return float(loss.detach())


_glyphs: Glyphs | None = None  # of the process that draws


def _start_drawing(path: str) -> None:
    global _glyphs
    end_with_parent()
    cv2.setNumThreads(1)
    with np.load(path) as file:
        _glyphs = Glyphs.of(file["soft"], file["thin"], file["labels"])


def _draw(seed: int, start: int, count: int) -> list[Row]:
    assert _glyphs is not None
    return drawn(_glyphs, seed, start, count)


def _rounds(recipe: RowRecipe, digits: LabelledImages, seed: int) -> Iterator[list[Row]]:
    """The rows of each round; the next ones are being drawn meanwhile."""
    with tempfile.TemporaryDirectory() as folder:  # 270 MB, too much to hand to a process through a pipe
        path = str(Path(folder) / "glyphs.npz")
        glyphs = glyphs_of(*digits)
        np.savez(path, soft=glyphs.soft, thin=glyphs.thin, labels=glyphs.labels)
        del glyphs
        with ProcessPoolExecutor(1, get_context("spawn"), _start_drawing, (path,)) as beside:
            with deaf():  # the process starts with its first task
                coming: Future[list[Row]] = beside.submit(_draw, seed, 0, recipe.rows)
            for place in range(recipe.rounds):
                rows = coming.result()
                if place + 1 < recipe.rounds:
                    coming = beside.submit(_draw, seed, (place + 1) * recipe.rows, recipe.rows)
                yield rows
