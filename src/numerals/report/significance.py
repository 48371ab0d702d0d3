"""Several runs side by side: is the difference more than noise? Knows nothing about pages.

McNemar's test (1947) looks at the digits that one run gets wrong and the other right: were both equally good, each of
those would be a coin's throw. It is exact here, and says nothing of what another seed would have given.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from numerals.errors import InputError
from numerals.runs.load import KeptRun

NOISE = 0.05  # a p from here on is called noise


@dataclass(frozen=True)
class Difference:
    """A run beside the first one, on the same test digits."""

    only_first: npt.NDArray[np.int64]  # places of the digits that only the first run gets wrong
    only_other: npt.NDArray[np.int64]
    both: int
    p: float  # of McNemar's test, adjusted for as many comparisons as there are

    @property
    def is_noise(self) -> bool:
        return self.p >= NOISE


def compare(runs: Sequence[KeptRun]) -> list[Difference]:
    """Each run but the first beside the first.

    Raises:
        InputError: they were tested on different digits.
    """
    first, *others = runs
    for other in others:
        if other.metrics["data"]["sha256"] != first.metrics["data"]["sha256"]:
            raise InputError(
                f"{other.folder}: trained and tested on other digits than {first.folder}; compare runs on the same"
            )
    wrong = [set(run.mistakes.tolist()) for run in runs]
    pairs = [(sorted(wrong[0] - each), sorted(each - wrong[0]), len(wrong[0] & each)) for each in wrong[1:]]
    adjusted = holm([mcnemar(len(mine), len(theirs)) for mine, theirs, _ in pairs])
    return [
        Difference(np.array(mine, np.int64), np.array(theirs, np.int64), both, p)
        for (mine, theirs, both), p in zip(pairs, adjusted, strict=True)
    ]


def mcnemar(only_first: int, only_other: int) -> float:
    """How likely so uneven a parting is, or a more uneven one, of fair coins: the exact two-sided p."""
    count, fewer = only_first + only_other, min(only_first, only_other)
    ways, total = 1, 1  # of so many coins that fall so; whole numbers, so nothing is rounded
    for heads in range(1, fewer + 1):
        ways = ways * (count - heads + 1) // heads
        total += ways
    return float(min(1, 2 * total / 2**count))


def holm(ps: Sequence[float]) -> list[float]:
    """Each p made larger for being one of several, so that all together are wrong as seldom as one (Holm 1979)."""
    adjusted, highest = list(ps), 0.0
    for rank, at in enumerate(sorted(range(len(ps)), key=ps.__getitem__)):
        highest = max(highest, min(1.0, (len(ps) - rank) * ps[at]))
        adjusted[at] = highest
    return adjusted


def verdict(first: KeptRun, other: KeptRun, difference: Difference) -> str:
    """What the test says, in words."""
    mine, theirs = len(difference.only_first), len(difference.only_other)
    if not mine + theirs:
        return f"Both get the very same {difference.both} digits wrong: there is no difference."
    counted = (
        f"{difference.both} digits both get wrong; {mine} only {first.name}, {theirs} only {other.name}. "
        f"Were both equally good, a parting as uneven as {mine} to {theirs}, or more so, would come about "
        f"{chance(difference.p)}."
    )
    if difference.is_noise:
        return f"{counted} That is noise: neither can be called the better one."
    better = first.name if mine < theirs else other.name
    return f"{counted} That is more than noise: {better} is better on these digits. Of its recipe, other seeds tell."


def chance(p: float) -> str:
    """A probability as people say it."""
    if p >= 0.995:
        return "nearly always"
    if p >= 0.01:
        return f"{round(100 * p)} times in 100"
    return f"{round(1000 * p)} times in 1,000" if p >= 0.0015 else "once in 1,000 times or less"
