"""The row network's training: `python -m numerals.learn.train_rows --out DIR`. Rows are drawn while it learns.

Every row is seen once: while the network learns from a round's rows, a process beside it draws the next round's. All
chance comes from (seed, round, row), so the processes' speed changes nothing.
"""

import argparse
import copy
import json
import math
import time
import tomllib
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from importlib import resources
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import safetensors.torch
import torch
from torch.nn import functional

from numerals.files import write_atomically
from numerals.learn.data import load_mnist, split
from numerals.learn.glyphs import Glyphs, glyphs_of
from numerals.learn.randomness import ORDER, generator, torch_seed
from numerals.learn.rownet import BLANK, RowNet
from numerals.learn.rows import row

Row = tuple[npt.NDArray[np.uint8], list[int]]  # a strip and its digits
VALIDATION = 1 << 40  # first index of the rows for validation


@dataclass(frozen=True)
class RowRecipe:
    """Every number of the training; `recipes/rows.toml` says what each is."""

    seed: int
    rounds: int
    rows: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    average: float
    validation_rows: int

    @classmethod
    def load(cls, path: Path | None = None) -> "RowRecipe":
        """The recipe in that file, or the packaged one."""
        file = path or Path(str(resources.files("numerals"))) / "recipes" / "rows.toml"
        return cls(**tomllib.loads(file.read_text(encoding="utf-8")))


_glyphs: Glyphs | None = None  # of the drawing process


def _open_glyphs(path: Path) -> None:
    global _glyphs
    cv2.setNumThreads(1)
    _glyphs = _load_glyphs(path)


def _load_glyphs(path: Path) -> Glyphs:
    with np.load(path) as file:
        labels = file["labels"]
        by_class = tuple(np.flatnonzero(labels == digit) for digit in range(10))
        return Glyphs(file["soft"], file["thin"], labels, by_class)


def _draw(seed: int, start: int, count: int) -> list[Row]:
    assert _glyphs is not None
    return [row(_glyphs, seed, index) for index in range(start, start + count)]


def save_glyphs(folder: Path) -> tuple[Path, Path]:
    """The training and the validation digits ready to write with, in two files there."""
    (images, labels), _ = load_mnist()
    paths = folder / "glyphs-train.npz", folder / "glyphs-validation.npz"
    for path, chosen in zip(paths, split(len(images), 0.2, 42), strict=True):
        if not path.exists():
            glyphs = glyphs_of(images[chosen], labels[chosen])
            np.savez(path, soft=glyphs.soft, thin=glyphs.thin, labels=glyphs.labels)
    return paths


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


def exact(network: RowNet, rows: list[Row]) -> float:
    """The share of rows that the network reads without a mistake."""
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


def train_rows(recipe: RowRecipe, out: Path, initial: Path | None = None) -> RowNet:
    """Train; `out` gets the averaged weights after each round, rows.safetensors, and a line a round, history.jsonl."""
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(torch_seed(recipe.seed))
    network = RowNet()
    if initial:
        network.load_state_dict(safetensors.torch.load(initial.read_bytes()))
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    kept = copy.deepcopy(network)
    optimizer = torch.optim.AdamW(network.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay)
    train_glyphs, validation_glyphs = save_glyphs(out)
    _open_glyphs(validation_glyphs)
    validation = _draw(recipe.seed, VALIDATION, recipe.validation_rows)
    done = 0
    with ProcessPoolExecutor(1, get_context("spawn"), _open_glyphs, (train_glyphs,)) as beside:
        for place, rows in enumerate(_rounds(beside, recipe)):
            started, losses = time.perf_counter(), []
            chance = generator(recipe.seed, ORDER, place)
            pending = list(batches(rows, recipe.batch_size, chance))
            for step, (strips, digits) in enumerate(pending):
                rate = learning_rate(recipe, (place + step / len(pending)) / recipe.rounds)
                losses.append(_step(network, optimizer, rate, strips, digits))
                _average(kept, network, min(recipe.average, (1 + done) / (10 + done)))
                done += 1
            write_atomically(out / "rows.safetensors", safetensors.torch.save(_contiguous(kept)))
            line = {
                "round": place,
                "loss": float(np.mean(losses)),
                "validation_exact": exact(kept, validation),
                "seconds": time.perf_counter() - started,
            }
            with open(out / "history.jsonl", "a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
    return kept


def _contiguous(network: RowNet) -> dict[str, torch.Tensor]:
    """All weights as safetensors takes them."""
    return {name: tensor.contiguous() for name, tensor in network.state_dict().items()}


def _rounds(beside: ProcessPoolExecutor, recipe: RowRecipe) -> Iterator[list[Row]]:
    """The rows of each round; the next ones are being drawn meanwhile."""
    coming: Future[list[Row]] = beside.submit(_draw, recipe.seed, 0, recipe.rows)
    for place in range(recipe.rounds):
        drawn = coming.result()
        coming = beside.submit(_draw, recipe.seed, (place + 1) * recipe.rows, recipe.rows)
        yield drawn


@torch.no_grad()
def _average(kept: RowNet, network: RowNet, share: float) -> None:
    """Move the averaged weights, and what the normalisations counted, towards the network's."""
    for old, new in zip(kept.state_dict().values(), network.state_dict().values(), strict=True):
        old.lerp_(new, 1 - share) if old.is_floating_point() else old.copy_(new)


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


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the row network.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--recipe", type=Path)
    parser.add_argument("--initial", type=Path, help="weights to start from")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(1)
    train_rows(RowRecipe.load(options.recipe), options.out, options.initial)


if __name__ == "__main__":
    main()
