"""Random numbers, always derived from (seed, purpose, epoch, step), never from a generator that keeps running.

So the same seed gives the same training, and a training can resume at any step.
"""

import numpy as np

# What random numbers are for; no two purposes share a stream. Their order is part of every result: append only.
(
    SHUFFLE,
    AUGMENTATION,
    DROPOUT,
    INITIAL_WEIGHTS,
    SYNTHETIC_DIGITS,
    SYNTHETIC_ROWS,
    NON_DIGIT_ROWS,
    CORRUPTIONS,
    SYNTHETIC_PAGES,
) = range(9)


def generator(seed: int, *key: int) -> np.random.Generator:
    """Create a NumPy generator; the key is the purpose and what it is drawn for: `generator(seed, SHUFFLE, epoch)`."""
    return np.random.default_rng([seed, *key])


def torch_seed(seed: int, *key: int) -> int:
    """Derive a seed for PyTorch, in [0, 2^63): `torch_seed(seed, DROPOUT, epoch, step)`."""
    return int(np.random.SeedSequence([seed, *key]).generate_state(1, np.uint64)[0] >> np.uint64(1))
