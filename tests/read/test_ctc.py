"""CTC decoding, compared with its definition: the sum over all paths of a reading."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from numerals.read.ctc import BLANK, StepProbabilities, align, beam_search, decode, likelihoods


def random_probabilities(seed: int, steps: int, classes: int = 3) -> StepProbabilities:
    """Random probabilities of blank and the first digits, 0 for the others: float32 (steps, 11)."""
    probabilities = np.zeros((steps, 11), np.float32)
    probabilities[:, :classes] = np.random.default_rng(seed).dirichlet(np.ones(classes) * 0.7, steps)
    return probabilities


def by_definition(probabilities: StepProbabilities, classes: int = 3) -> dict[tuple[int, ...], float]:
    """Every reading with its probability: the sum over all paths, with repeats and blanks dropped."""
    sums: dict[tuple[int, ...], float] = {}
    for path in itertools.product(range(classes), repeat=len(probabilities)):
        reading = tuple(c - 1 for c, before in zip(path, (-1, *path), strict=False) if c not in (BLANK, before))
        path_probability = float(np.prod([probabilities[step, c] for step, c in enumerate(path)]))
        sums[reading] = sums.get(reading, 0.0) + path_probability
    return sums


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), steps=st.integers(1, 6))
def test_likelihood_is_the_sum_over_all_paths(seed: int, steps: int) -> None:
    probabilities = random_probabilities(seed, steps)
    exact = by_definition(probabilities)
    assert likelihoods(probabilities, list(exact)) == pytest.approx(list(exact.values()), abs=1e-6)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), steps=st.integers(1, 6))
def test_beam_search_returns_the_most_probable_reading_first(seed: int, steps: int) -> None:
    probabilities = random_probabilities(seed, steps)
    exact = by_definition(probabilities)
    reading, _ = beam_search(probabilities)[0]
    assert exact[reading] == pytest.approx(max(exact.values()), rel=0.02)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), steps=st.integers(1, 12))
def test_aligned_digits_are_at_rising_steps(seed: int, steps: int) -> None:
    probabilities = random_probabilities(seed, steps)
    reading, _ = beam_search(probabilities)[0]
    digit_steps = align(probabilities, reading)
    assert len(digit_steps) == len(reading)
    assert all(left < right for left, right in itertools.pairwise(digit_steps))


def test_a_repeated_digit_needs_a_blank_in_between() -> None:
    probabilities = np.full((5, 11), 1e-4, np.float32)
    for step, c in enumerate((8, 8, BLANK, 8, BLANK)):
        probabilities[step, c] = 0.999
    assert decode([probabilities])[0].digits == (7, 7)
    assert decode([probabilities])[0].steps in ((0, 3), (1, 3))


def test_the_reading_that_the_views_agree_on_is_first() -> None:
    one, other = np.full((2, 3, 11), 1e-3, np.float32)
    one[1, 2], one[1, 3], other[1, 2], other[1, 5] = 0.5, 0.45, 0.45, 0.5
    for view in (one, other):
        view[[0, 2], BLANK] = 0.99
    assert decode([one, other])[0].digits == (1,)


def test_all_blank_is_an_empty_reading() -> None:
    blank = np.zeros((4, 11), np.float32)
    blank[:, BLANK] = 1
    assert decode([blank])[0].digits == ()
    assert decode([blank])[0].probability == pytest.approx(1)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), steps=st.integers(1, 6))
def test_decoded_readings_are_ranked_by_their_mean_probability(seed: int, steps: int) -> None:
    views = [random_probabilities(seed, steps), random_probabilities(seed + 1, steps)]
    exact = [by_definition(view) for view in views]
    hypotheses = decode(views)
    ranking = [hypothesis.probability for hypothesis in hypotheses]
    assert ranking == sorted(ranking, reverse=True)
    assert len({hypothesis.digits for hypothesis in hypotheses}) == len(hypotheses)
    for hypothesis in hypotheses:
        mean = sum(view.get(hypothesis.digits, 0.0) for view in exact) / 2
        assert hypothesis.probability == pytest.approx(mean, abs=1e-6)
