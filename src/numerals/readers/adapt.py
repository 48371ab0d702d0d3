"""The model of single digits brought to one person's writing, from kept corrections, without forgetting the others'.

Each step sees some corrected digits among many of MNIST and of the samples that the model was made with, strangers too
(rehearsal, Robins 1995). Batch normalisation stays as it was: a few hundred digits of one hand would bend it.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from numerals import seeds
from numerals.article import augment, datasets
from numerals.article.data import Dataset, LabelledImages, split_indices
from numerals.article.metrics import Metrics, evaluate
from numerals.errors import DataError, InputError
from numerals.handwriting.digits import Synthesis
from numerals.readers.digit_network import DigitNetwork
from numerals.readers.evaluate import evaluate_network, open_run, predictor
from numerals.readers.pretrained import PRETRAINED, pretrained_weights
from numerals.readers.recipes import AdaptRecipe
from numerals.readers.train_digits import digit_loss
from numerals.runs.folder import RunFolder, Weights, snapshot, weights_sha256
from numerals.runs.profiling import Stages, versions

LEAST = 8  # corrections: fewer cannot be parted into those to learn from and those to count

Say = Callable[[str], None]  # a line of progress
Samples = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]


def adapt(
    recipe: AdaptRecipe,
    corrected: LabelledImages,
    *,
    out: str | Path | None = None,
    seed: int = 0,
    initial: str | Path | None = None,
    say: Say = lambda line: None,
) -> tuple[RunFolder, Metrics, dict[str, Any]]:
    """Adapt, keep the run, say what was gained and lost on digits that were held out.

    Args:
        corrected: uint8 (n, 28, 28) in MNIST's form, and what they are.
        initial: "shipped", which is meant when it is left out, or a run of the reader's network.

    Raises:
        DataError: fewer than LEAST corrections.
        RunError, InputError: a mistake in what was passed.
        StorageError: the disk is full.
    """
    if len(corrected[0]) < LEAST:
        raise DataError(f"{len(corrected[0])} corrections; at least {LEAST} are needed, some of them to be counted on")
    stages, start = Stages(), _start(initial)
    with stages("load"):
        dataset = datasets.load(None)
    own, counted = _parted(corrected, recipe.held_out, seed)
    validation = dataset.split(recipe.split.validation, recipe.split.random_state)[1]
    network = DigitNetwork().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    network.load_state_dict(start)
    network.eval()
    folder = RunFolder.create(out, recipe.name)
    try:
        folder.write("recipe.toml", recipe.to_toml())
        with stages("fit"):
            before = _scores(network, counted, validation)
            _fit(network, recipe, own, dataset, seed, say)
            after = _scores(network, counted, validation)
        folder.write_model(snapshot(network))
        with stages("test"):
            test = evaluate_network(network, dataset.test)
    except BaseException:
        folder.discard()
        raise
    for name, right in after.items():
        say(f"{name}: {before[name]:.2%} right before, {right:.2%} after")
    metrics = {
        "recipe": recipe.name,
        "seed": seed,
        "init_sha256": weights_sha256(start),
        "data": dataset.metadata() | {"corrections": len(own[0]), "corrections held out": len(counted[0])},
        "before": before,
        "after": after,
        "test": test.to_dict(),
        "weights_sha256": weights_sha256(snapshot(network)),
        "versions": versions(),
        **stages.to_dict(),
    }
    folder.write_metrics(metrics)
    return folder, test, metrics


def _start(initial: str | Path | None) -> Weights:
    if initial is None or str(initial) == PRETRAINED:
        return pretrained_weights()
    _, network = open_run(RunFolder.open(initial))
    if not isinstance(network, DigitNetwork):
        raise InputError(f"--init {initial}: a run of another network; give one of recipe reader or adapt, or shipped")
    return snapshot(network)


def _parted(corrected: LabelledImages, held_out: float, seed: int) -> tuple[LabelledImages, LabelledImages]:
    """The corrections to learn from, and those that are only counted."""
    images, labels = corrected
    kept, aside = split_indices(len(images), held_out, seed)
    return (images[kept], labels[kept]), (images[aside], labels[aside])


def _scores(network: DigitNetwork, counted: LabelledImages, validation: LabelledImages) -> dict[str, float]:
    predict = predictor(network)
    return {
        f"your {len(counted[0])} held-out corrections": evaluate(predict, *counted).accuracy,
        "MNIST's validation digits": evaluate(predict, *validation).accuracy,
    }


def _fit(
    network: DigitNetwork, recipe: AdaptRecipe, own: LabelledImages, dataset: Dataset, seed: int, say: Say
) -> None:
    """Train in place; the network stays in evaluation mode, so that its batch normalisation stays as it was."""
    learnt_from = dataset.split(recipe.split.validation, recipe.split.random_state)[0]
    made = Synthesis(learnt_from).batch(seed, np.arange(recipe.made))
    optimizer = torch.optim.AdamW(network.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.learning_rate, total_steps=recipe.steps, pct_start=0.15
    )
    for step in range(recipe.steps):
        digits, labels = _batch(recipe, own, learnt_from, made, seed, step)
        loss = digit_loss(network, torch.from_numpy(digits), torch.from_numpy(labels), recipe)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if (step + 1) % 100 == 0:
            say(f"step {step + 1}/{recipe.steps}  loss {loss.item():.4f}")


def _batch(
    recipe: AdaptRecipe, own: LabelledImages, mnist: LabelledImages, made: Samples, seed: int, step: int
) -> Samples:
    """A step's digits: the corrected ones moved a little, the others as they are."""
    chance = seeds.generator(seed, seeds.SHUFFLE, step)
    mine = max(1, round(recipe.own * recipe.batch_size))
    theirs = (recipe.batch_size - mine) // 2
    counts = (mine, theirs, recipe.batch_size - mine - theirs)
    kinds: list[tuple[npt.NDArray[np.uint8], npt.NDArray[np.integer[Any]]]] = [own, mnist, made]
    parts = []
    for count, (images, labels) in zip(counts, kinds, strict=True):
        chosen = chance.integers(len(images), size=count)
        parts.append((images[chosen], labels[chosen].astype(np.int64)))
    moved = _moved(parts[0][0], recipe, seed, step)
    images = np.concatenate([moved, *(images for images, _ in parts[1:])])
    return images, np.concatenate([labels for _, labels in parts])


def _moved(digits: npt.NDArray[np.uint8], recipe: AdaptRecipe, seed: int, step: int) -> npt.NDArray[np.uint8]:
    """The digits turned, zoomed and shifted a little, another way in each step."""
    transforms = augment.random_transforms(len(digits), recipe.augment, seeds.generator(seed, seeds.AUGMENTATION, step))
    moved = augment.apply_transforms(torch.from_numpy(digits[:, None]).float(), transforms)
    return moved[:, 0].round().to(torch.uint8).numpy()
