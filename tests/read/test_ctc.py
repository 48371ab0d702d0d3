"""CTC decoding against the definition: all ways to say a reading, summed."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from numerals.read.ctc import BLANK, StepProbabilities, align, best_readings, candidates, likelihoods


def some(seed: int, steps: int, classes: int = 3) -> StepProbabilities:
    """StepProbabilities of blank and of the first digits, the rest 0: float32 (steps, 11)."""
    answer = np.zeros((steps, 11), np.float32)
    answer[:, :classes] = np.random.default_rng(seed).dirichlet(np.ones(classes) * 0.7, steps)
    return answer


def by_definition(probabilities: StepProbabilities, classes: int = 3) -> dict[tuple[int, ...], float]:
    """Every reading with its probability: over all paths, repeats and blanks left out."""
    sums: dict[tuple[int, ...], float] = {}
    for path in itertools.product(range(classes), repeat=len(probabilities)):
        reading = tuple(c - 1 for c, before in zip(path, (-1, *path), strict=False) if c not in (BLANK, before))
        share = float(np.prod([probabilities[step, c] for step, c in enumerate(path)]))
        sums[reading] = sums.get(reading, 0.0) + share
    return sums


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), steps=st.integers(1, 6))
def test_likelihood_is_the_sum_over_all_paths(seed: int, steps: int) -> None:
    probabilities = some(seed, steps)
    exact = by_definition(probabilities)
    assert likelihoods(probabilities, list(exact)) == pytest.approx(list(exact.values()), abs=1e-6)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), steps=st.integers(1, 6))
def test_the_best_reading_is_the_most_probable_one(seed: int, steps: int) -> None:
    probabilities = some(seed, steps)
    exact = by_definition(probabilities)
    reading, _ = best_readings(probabilities)[0]
    assert exact[reading] == pytest.approx(max(exact.values()), rel=0.02)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), steps=st.integers(1, 12))
def test_digits_stand_at_rising_steps(seed: int, steps: int) -> None:
    probabilities = some(seed, steps)
    reading, _ = best_readings(probabilities)[0]
    at = align(probabilities, reading)
    assert len(at) == len(reading)
    assert all(left < right for left, right in itertools.pairwise(at))


def test_a_digit_twice_needs_a_blank_between() -> None:
    said = np.full((5, 11), 1e-4, np.float32)
    for step, c in enumerate((8, 8, BLANK, 8, BLANK)):
        said[step, c] = 0.999
    assert candidates([said])[0].digits == (7, 7)
    assert candidates([said])[0].steps in ((0, 3), (1, 3))


def test_looks_that_agree_win() -> None:
    one, other = np.full((2, 3, 11), 1e-3, np.float32)
    one[1, 2], one[1, 3], other[1, 2], other[1, 5] = 0.5, 0.45, 0.45, 0.5
    for view in (one, other):
        view[[0, 2], BLANK] = 0.99
    assert candidates([one, other])[0].digits == (1,)


def test_nothing_said_is_no_digit() -> None:
    silent = np.zeros((4, 11), np.float32)
    silent[:, BLANK] = 1
    assert candidates([silent])[0].digits == ()
    assert candidates([silent])[0].share == pytest.approx(1)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), steps=st.integers(1, 6))
def test_candidates_are_the_most_probable_readings_best_first(seed: int, steps: int) -> None:
    views = [some(seed, steps), some(seed + 1, steps)]
    exact = [by_definition(view) for view in views]
    found = candidates(views)
    shares = [each.share for each in found]
    assert shares == sorted(shares, reverse=True)
    assert len({each.digits for each in found}) == len(found)
    for each in found:
        mean = sum(view.get(each.digits, 0.0) for view in exact) / 2
        assert each.share == pytest.approx(mean, abs=1e-6)
