"""significance.py against SciPy's exact binomial test."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from numerals.report import significance


@settings(max_examples=60, deadline=None)
@given(first=st.integers(0, 400), second=st.integers(0, 400))
def test_mcnemar_is_scipys_exact_test(first: int, second: int) -> None:
    expected = binomtest(first, first + second).pvalue if first + second else 1.0
    assert significance.mcnemar(first, second) == pytest.approx(expected, rel=1e-9)
    assert significance.mcnemar(first, second) == significance.mcnemar(second, first)


def test_mcnemar_takes_thousands_of_errors() -> None:
    assert significance.mcnemar(3000, 7000) < 1e-300 and significance.mcnemar(5000, 5000) == 1


def test_holm_corrects_for_several_comparisons() -> None:
    assert significance.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert significance.holm([0.04]) == [0.04] and significance.holm([0.9, 0.8]) == [1, 1]
