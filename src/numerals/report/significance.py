"""Compare runs on the same test digits: is the difference between them more than noise?

McNemar's test (1947) looks at the digits that only one of two runs gets wrong: if both were equally good, each of these
would be as likely to be wrong in one run as in the other. The test is exact. It says nothing about what other seeds
would give.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from numerals.errors import InputError
from numerals.runs.load import SavedRun

SIGNIFICANCE_LEVEL = 0.05  # from this p-value on a difference counts as noise


@dataclass(frozen=True)
class Difference:
    """How the mistakes of a run differ from those of the first run."""

    only_first: npt.NDArray[np.int64]  # indices of the test digits that only the first run gets wrong
    only_other: npt.NDArray[np.int64]
    both: int  # how many digits both get wrong
    p_value: float  # of McNemar's test, two-sided, adjusted for the number of comparisons

    @property
    def is_noise(self) -> bool:
        return self.p_value >= SIGNIFICANCE_LEVEL


def compare(runs: Sequence[SavedRun]) -> list[Difference]:
    """Compare each run with the first one.

    Returns:
        One difference for each run but the first, with p-values adjusted by `holm`.

    Raises:
        InputError: the runs were tested on different digits.
    """
    first, *others = runs
    for other in others:
        if other.metrics["data"]["sha256"] != first.metrics["data"]["sha256"]:
            raise InputError(
                f"{other.folder}: trained and tested on other digits than {first.folder}; compare runs on the same data"
            )
    first_mistakes, *other_mistakes = [set(run.mistakes.tolist()) for run in runs]
    splits = [
        (sorted(first_mistakes - mistakes), sorted(mistakes - first_mistakes), len(first_mistakes & mistakes))
        for mistakes in other_mistakes
    ]
    adjusted = holm([mcnemar(len(only_first), len(only_other)) for only_first, only_other, _ in splits])
    return [
        Difference(np.array(only_first, np.int64), np.array(only_other, np.int64), both, p_value)
        for (only_first, only_other, both), p_value in zip(splits, adjusted, strict=True)
    ]


def mcnemar(only_first: int, only_other: int) -> float:
    """The exact two-sided p-value of McNemar's test.

    Args:
        only_first, only_other: how many digits only the first and only the other run gets wrong.
    """
    count, fewer = only_first + only_other, min(only_first, only_other)
    combinations, total = 1, 1  # of `count` coins with 0, 1, ... heads; integers, so nothing is rounded
    for heads in range(1, fewer + 1):
        combinations = combinations * (count - heads + 1) // heads
        total += combinations
    return float(min(1, 2 * total / 2**count))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values for multiple comparisons (Holm 1979)."""
    adjusted, highest = list(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted
