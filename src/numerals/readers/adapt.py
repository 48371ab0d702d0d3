"""Adapt the digit network to one person's writing, from corrections, without forgetting everybody else's.

Each step sees some corrected digits among many of MNIST and of the synthetic samples, non-digits included (rehearsal,
Robins 1995). Batch normalisation keeps its statistics, which a few hundred digits of one writer would distort.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from numerals import seeds
from numerals.article import augment, datasets
from numerals.article.data import Dataset, LabelledImages, split_indices
from numerals.article.metrics import evaluate
from numerals.article.state import StateDict, snapshot
from numerals.errors import DataError, InputError
from numerals.handwriting.digits import Synthesis
from numerals.readers.digit_network import DigitNetwork
from numerals.readers.evaluate import open_run, predictor
from numerals.readers.pretrained import PRETRAINED, pretrained_weights
from numerals.readers.recipes import AdaptRecipe
from numerals.readers.train import ReaderRun, Report, finish
from numerals.readers.train_digits import Samples, digit_loss
from numerals.runs.folder import RunFolder
from numerals.runs.session import Session, check_seed

MIN_CORRECTIONS = 8  # fewer cannot be split into some to train on and some to evaluate with


def adapt(
    recipe: AdaptRecipe,
    corrections: LabelledImages,
    *,
    out: str | Path | None = None,
    seed: int = 0,
    initial: str | Path | None = None,
    report: Report = lambda line: None,
) -> ReaderRun:
    """Adapt, keep the run, and report accuracy before and after on corrections that were held out.

    Args:
        corrections: images uint8 (n, 28, 28) in MNIST's form, white ink on black, and labels (n,).
        out, seed, report: as `readers.train.train` takes them.
        initial: a run of the digit network to start from; None or "shipped" for the one that ships.

    Raises:
        DataError: fewer than MIN_CORRECTIONS corrections.
        RunError, InputError: an argument cannot be used; nothing was written.
        StorageError: the disk is full.
        KeyboardInterrupt: interrupted; nothing is saved before the end.
    """
    if len(corrections[0]) < MIN_CORRECTIONS:
        raise DataError(f"{len(corrections[0])} corrections are too few to train on; make at least {MIN_CORRECTIONS}")
    check_seed(seed)
    session, start = Session(), _initial_weights(initial)
    with session.profile("load"):
        dataset = datasets.load(None)
    training, held_out = _split(corrections, recipe.held_out, seed)
    validation = dataset.split(recipe.split.validation, recipe.split.random_state)[1]
    network = DigitNetwork().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    network.load_state_dict(start)
    network.eval()
    with session.new_folder(out, recipe.name, {"recipe.toml": recipe.to_toml().encode()}) as folder:
        with session.profile("fit"):
            before = _accuracies(network, held_out, validation)
            _fit(network, recipe, training, dataset, seed, report)
            after = _accuracies(network, held_out, validation)
        folder.write_model(snapshot(network))
        for name, accuracy in after.items():
            report(f"{name}: {before[name]:.2%} correct before, {accuracy:.2%} after")
        counts = {"corrections": len(training[0]), "corrections held out": len(held_out[0])}
        return finish(session, folder, recipe, seed, start, dataset, network, counts, before=before, after=after)


def _initial_weights(initial: str | Path | None) -> StateDict:
    if initial is None or str(initial) == PRETRAINED:
        return pretrained_weights()
    _, network = open_run(RunFolder.open(initial))
    if not isinstance(network, DigitNetwork):
        raise InputError(f"--init {initial}: a run of another network; give a run of train-reader digits or of adapt")
    return snapshot(network)


def _split(corrections: LabelledImages, held_out: float, seed: int) -> tuple[LabelledImages, LabelledImages]:
    """The corrections to train on, and those to evaluate with."""
    images, labels = corrections
    first, second = split_indices(len(images), held_out, seed % 2**32)  # what RandomState takes
    return (images[first], labels[first]), (images[second], labels[second])


def _accuracies(network: DigitNetwork, held_out: LabelledImages, validation: LabelledImages) -> dict[str, float]:
    predict = predictor(network)
    return {
        f"your {len(held_out[0])} held-out corrections": evaluate(predict, *held_out).accuracy,
        "MNIST's validation digits": evaluate(predict, *validation).accuracy,
    }


def _fit(
    network: DigitNetwork,
    recipe: AdaptRecipe,
    corrections: LabelledImages,
    dataset: Dataset,
    seed: int,
    report: Report,
) -> None:
    """Train in place; the network stays in evaluation mode, so that batch normalisation keeps its statistics."""
    mnist = dataset.split(recipe.split.validation, recipe.split.random_state)[0]
    synthetic = Synthesis(mnist).batch(seed, np.arange(recipe.made))
    optimizer = torch.optim.AdamW(network.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.learning_rate, total_steps=recipe.steps, pct_start=0.15
    )
    for step in range(recipe.steps):
        images, labels = _batch(recipe, corrections, mnist, synthetic, seed, step)
        loss = digit_loss(network, torch.from_numpy(images), torch.from_numpy(labels), recipe)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if (step + 1) % 100 == 0:
            report(f"step {step + 1}/{recipe.steps}  loss {loss.item():.4f}")


def _batch(
    recipe: AdaptRecipe,
    corrections: LabelledImages,
    mnist: LabelledImages,
    synthetic: Samples,
    seed: int,
    step: int,
) -> Samples:
    """A step's images and labels: corrections, augmented, then digits of MNIST and synthetic samples as they are."""
    random = seeds.generator(seed, seeds.SHUFFLE, step)
    own = max(1, round(recipe.own * recipe.batch_size))
    half = (recipe.batch_size - own) // 2
    counts = (own, half, recipe.batch_size - own - half)
    sources: list[tuple[npt.NDArray[np.uint8], npt.NDArray[np.integer[Any]]]] = [corrections, mnist, synthetic]
    drawn = []
    for count, (images, labels) in zip(counts, sources, strict=True):
        chosen = random.integers(len(images), size=count)
        drawn.append((images[chosen], labels[chosen].astype(np.int64)))
    augmented = _augmented(drawn[0][0], recipe, seed, step)
    batch = np.concatenate([augmented, *(images for images, _ in drawn[1:])])
    return batch, np.concatenate([labels for _, labels in drawn])


def _augmented(images: npt.NDArray[np.uint8], recipe: AdaptRecipe, seed: int, step: int) -> npt.NDArray[np.uint8]:
    """The images slightly rotated, zoomed and shifted, differently in each step."""
    generator = seeds.generator(seed, seeds.AUGMENTATION, step)
    transforms = augment.random_transforms(len(images), recipe.augment, generator)
    augmented = augment.apply_transforms(torch.from_numpy(images[:, None]).float(), transforms)
    return augmented[:, 0].round().to(torch.uint8).numpy()
