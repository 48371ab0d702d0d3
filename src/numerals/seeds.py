"""Where chance comes from: always derived from (seed, epoch, ...), never from a generator that runs on.

So the same seed gives the same training, a training can go on from any step, and several workers can share one.
"""

import numpy as np

SHUFFLE, AUGMENTATION, DROPOUT, INITIAL_WEIGHTS, SYNTHETIC_DIGITS, SYNTHETIC_ROWS, NON_DIGIT_ROWS, CORRUPTIONS = range(
    8
)  # what the chance is for: no two uses share a stream


def generator(seed: int, *place: int) -> np.random.Generator:
    """A fresh generator for that place, e.g. `generator(seed, SHUFFLE, epoch)`."""
    return np.random.default_rng([seed, *place])


def torch_seed(seed: int, *place: int) -> int:
    """A seed for torch, in [0, 2^63)."""
    return int(np.random.SeedSequence([seed, *place]).generate_state(1, np.uint64)[0] >> np.uint64(1))
