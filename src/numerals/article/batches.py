"""Serve the training digits of an epoch in batches: shuffled, augmented, on the device (the article's section 6).

The order and the transforms depend only on the seed and the epoch, so a resumed training continues any epoch.
"""

from collections.abc import Iterator
from itertools import islice

import numpy as np
import torch

from numerals import seeds
from numerals.article import augment
from numerals.article.data import LabelledImages
from numerals.article.model import as_input
from numerals.article.recipe import Recipe

MAX_CHUNK = 2048  # digits augmented at once: enough to be fast, in 50 MB


def batches(
    training: LabelledImages, recipe: Recipe, seed: int, epoch: int, device: torch.device, first_step: int = 0
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield the epoch's batches of images and labels, shuffled, and augmented if the recipe says so.

    Args:
        training: images uint8 (n, 28, 28) and labels (n,).
        recipe: sets batch size and augmentation.
        seed, epoch: determine the order and the transforms; epochs count from 1.
        device: where the batches go.
        first_step: skip this many batches, as a resumed training does; the others stay the same.

    Yields:
        float32 (batch, 1, 28, 28) in [0, 1] and int64 (batch,). The last batch may be smaller.
    """
    images, labels = training
    order = seeds.generator(seed, seeds.SHUFFLE, epoch).permutation(len(images))
    transforms = augment.random_transforms(
        len(images), recipe.augment, seeds.generator(seed, seeds.AUGMENTATION, epoch)
    )
    batch_size = recipe.batch_size
    chunk = max(1, MAX_CHUNK // batch_size) * batch_size
    for start in range(first_step * batch_size // chunk * chunk, len(order), chunk):
        indices = order[start : start + chunk]
        digits = as_input(images[indices], device)
        if recipe.augment.is_on:
            digits = augment.apply_transforms(digits, transforms[indices]).contiguous(memory_format=torch.channels_last)
        truth = torch.from_numpy(labels[indices].astype(np.int64)).to(device)
        pairs = zip(digits.split(batch_size), truth.split(batch_size), strict=True)
        yield from islice(pairs, max(0, first_step - start // batch_size), None)
