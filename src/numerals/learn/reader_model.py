"""The reader's model, trained: `python -m numerals.learn.reader_model OUT`.

Beside `train.py`, which has one loss, one pass over the digits an epoch and the article's callbacks: here every sample
is made anew, some are no digits, and the weights that are kept are the running mean of the last steps.
"""

import argparse
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import numpy.typing as npt
import safetensors.torch
import torch
from torch import nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel

from numerals.files import write_atomically
from numerals.learn import randomness
from numerals.learn.export import export
from numerals.learn.reader_network import ReaderNetwork, ReaderRecipe, parts
from numerals.learn.synthesis import NO_DIGIT, Synthesis

Say = Callable[[str], None]
WORKERS = 2  # processes that make samples
AHEAD = 8  # batches that wait at most while the network learns
EVERY = 200  # steps between two lines of progress


def loss_of(network: nn.Module, digits: torch.Tensor, labels: torch.Tensor, recipe: ReaderRecipe) -> torch.Tensor:
    """Cross-entropy of the classes over the digits, and of being one over all."""
    logits, being = network(digits)
    real = labels != NO_DIGIT
    classes = functional.cross_entropy(logits[real], labels[real], label_smoothing=recipe.smoothing)
    return classes + recipe.stranger_loss * functional.binary_cross_entropy_with_logits(being, real.float())


def batches(recipe: ReaderRecipe) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Every batch of the training: new samples, and as many again that were seen before.

    The new ones are made by other processes, and are the same whatever their number.
    """
    kept: deque[tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]] = deque(maxlen=recipe.memory // recipe.fresh)
    with get_context("spawn").Pool(WORKERS, _start_worker, (recipe,)) as pool:
        waiting = deque(pool.apply_async(_make, (step,)) for step in range(min(AHEAD, recipe.steps)))
        for step in range(recipe.steps):
            images, labels = waiting.popleft().get()
            if step + AHEAD < recipe.steps:
                waiting.append(pool.apply_async(_make, (step + AHEAD,)))
            kept.append((images, labels))
            again, again_labels = _remembered(kept, recipe, step)
            yield (
                torch.from_numpy(np.concatenate([images, again])),
                torch.from_numpy(np.concatenate([labels, again_labels])),
            )


def _remembered(
    kept: "deque[tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]]", recipe: ReaderRecipe, step: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """As many samples as are new in a step, each drawn from all that are kept, and moved by up to a pixel."""
    chance = randomness.generator(recipe.seed, randomness.ORDER, step)
    chosen = chance.integers(len(kept), size=recipe.fresh)
    images = np.stack([kept[which][0][at] for at, which in enumerate(chosen)])
    labels = np.array([kept[which][1][at] for at, which in enumerate(chosen)])
    return np.roll(images, tuple(chance.integers(-1, 2, 2)), (1, 2)), labels


_worker: tuple[ReaderRecipe, Synthesis] | None = None


def _start_worker(recipe: ReaderRecipe) -> None:
    global _worker
    import cv2

    cv2.setNumThreads(1)
    _worker = recipe, Synthesis(parts(recipe)[0])


def _make(step: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    assert _worker is not None
    recipe, synthesis = _worker
    first = step * recipe.fresh
    return synthesis.batch(recipe.seed, np.arange(first, first + recipe.fresh))


def train_reader(recipe: ReaderRecipe, say: Say) -> ReaderNetwork:
    """The trained network: the running mean of its weights, in evaluation mode."""
    torch.manual_seed(randomness.torch_seed(recipe.seed, randomness.INITIAL))
    network = ReaderNetwork().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    averaged = AveragedModel(network, avg_fn=_averaging(recipe.averaging), use_buffers=True)
    optimizer = torch.optim.AdamW(network.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.learning_rate, total_steps=recipe.steps, pct_start=0.15
    )
    started, total = time.perf_counter(), 0.0
    network.train()
    for step, (digits, labels) in enumerate(batches(recipe), 1):
        loss = loss_of(network, digits, labels, recipe)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        averaged.update_parameters(network)
        total += loss.item()
        if step % EVERY == 0 or step == recipe.steps:
            rate = 2 * step * recipe.fresh / (time.perf_counter() - started)
            say(f"step {step}/{recipe.steps}  loss {total / ((step - 1) % EVERY + 1):.4f}  {rate:.0f} samples/s")
            total = 0.0
    result = averaged.module
    assert isinstance(result, ReaderNetwork)
    return result.eval()


def _averaging(decay: float) -> Callable[[torch.Tensor, torch.Tensor, torch.Tensor | int], torch.Tensor]:
    """The running mean of the weights; young ones are forgotten faster, since they are far from good."""

    def average(mean: torch.Tensor, new: torch.Tensor, count: torch.Tensor | int) -> torch.Tensor:
        kept = min(decay, (1 + float(count)) / (10 + float(count)))
        return mean * kept + new * (1 - kept) if new.is_floating_point() else new

    return average


def main() -> None:
    """Train, export the model and its card, and say how good it is."""
    parser = argparse.ArgumentParser(prog="python -m numerals.learn.reader_model", description=main.__doc__)
    parser.add_argument("out", type=Path, help="folder for reader.onnx and its card reader.json")
    parser.add_argument("--recipe", type=Path, help="a TOML file; by default the packaged reader.toml")
    parser.add_argument("--steps", type=int, help="instead of the recipe's, for a trial")
    options = parser.parse_args()
    recipe = ReaderRecipe.load(options.recipe)
    if options.steps:
        recipe = replace(recipe, steps=options.steps)
    options.out.mkdir(parents=True, exist_ok=True)

    def say(line: str) -> None:
        sys.stderr.write(line + "\n")

    torch.set_num_threads(1)  # the other core makes samples; two threads wait for each other most of the time
    network = train_reader(recipe, say)
    weights = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    write_atomically(options.out / "reader.safetensors", safetensors.torch.save(weights))
    card = export(network, recipe, options.out / "reader.onnx")
    say(str(card["accuracy"]))


if __name__ == "__main__":
    main()
