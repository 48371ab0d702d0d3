"""The batches of an epoch: shuffled, augmented, on the device. Knows nothing about networks.

Chance is derived from (seed, epoch), so that any epoch can be drawn again.
"""

from collections.abc import Iterator
from itertools import islice

import numpy as np
import numpy.typing as npt
import torch

from numerals import seeds
from numerals.article import augment
from numerals.article.data import LabelledImages
from numerals.article.model import as_input
from numerals.article.recipe import Recipe
from numerals.spec import WHITE

CHUNK = 2048  # digits augmented at a time: large enough to be fast, small enough for 50 MB
SAMPLES = 8  # augmented digits in a row of `augmented_samples`


def batches(
    training: LabelledImages, recipe: Recipe, seed: int, epoch: int, device: torch.device, done: int = 0
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """The epoch's batches, shuffled, augmented if the recipe does: float32 (b, 1, 28, 28) in [0, 1], int64 (b,).

    The first `done` are left out, and what is left is the same as without.
    """
    images, labels = training
    order = seeds.generator(seed, seeds.SHUFFLE, epoch).permutation(len(images))
    size = recipe.batch_size
    transforms = augment.random_transforms(
        len(images), recipe.augment, seeds.generator(seed, seeds.AUGMENTATION, epoch)
    )
    chunk = max(1, CHUNK // size) * size
    for start in range(done * size // chunk * chunk, len(order), chunk):
        chosen = order[start : start + chunk]
        digits = as_input(images[chosen], device)
        if augment.transform_limits(recipe.augment).any():
            digits = augment.apply_transforms(digits, transforms[chosen]).contiguous(memory_format=torch.channels_last)
        truth = torch.from_numpy(labels[chosen].astype(np.int64)).to(device)
        pairs = zip(digits.split(size), truth.split(size), strict=True)
        yield from islice(pairs, max(0, done - start // size), None)


def augmented_samples(
    training: LabelledImages, recipe: Recipe, seed: int, device: torch.device
) -> npt.NDArray[np.uint8]:
    """The first augmented digits of the training as one picture, uint8 (height, width), SAMPLES in a row."""
    digits, _ = next(batches(training, recipe, seed, 1, device))
    shown = (digits[:, 0].cpu().numpy() * WHITE).round().astype(np.uint8)
    shown = shown[: max(1, len(shown) // SAMPLES) * SAMPLES]
    return np.vstack([np.hstack(list(shown[at : at + SAMPLES])) for at in range(0, len(shown), SAMPLES)])
