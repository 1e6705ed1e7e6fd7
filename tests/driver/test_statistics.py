"""Percentiles and the chi-square tail, against values from printed tables."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.driver.statistics import chi_square_survival, percentile


@pytest.mark.parametrize(
    ("statistic", "degrees", "p"),
    [
        # Abramowitz and Stegun, table 26.8: the value that is exceeded with probability p
        (3.84146, 1, 0.05),
        (6.63490, 1, 0.01),
        (10.828, 1, 0.001),
        (0.454937, 1, 0.5),
        (5.99146, 2, 0.05),
        (11.0705, 5, 0.05),
        (18.3070, 10, 0.05),
        (23.2093, 10, 0.01),
        (43.7729, 30, 0.05),
        (124.342, 100, 0.05),
        (99.3341, 100, 0.5),
        (0.0, 3, 1.0),
    ],
)
def test_chi_square_tail_agrees_with_the_printed_table(statistic: float, degrees: int, p: float) -> None:
    assert chi_square_survival(statistic, degrees) == pytest.approx(p, rel=2e-3)


@given(st.floats(0, 500))
def test_one_and_two_degrees_agree_with_their_closed_forms(x: float) -> None:
    assert chi_square_survival(x, 1) == pytest.approx(math.erfc(math.sqrt(x / 2)), rel=1e-9, abs=1e-12)
    assert chi_square_survival(x, 2) == pytest.approx(math.exp(-x / 2), rel=1e-9, abs=1e-12)


@given(st.floats(0, 3000), st.floats(0, 100), st.integers(1, 1000))
def test_tail_is_a_probability_that_falls_as_the_statistic_grows(x: float, more: float, degrees: int) -> None:
    low, high = chi_square_survival(x, degrees), chi_square_survival(x + more, degrees)
    assert -1e-9 <= high <= low + 1e-9 <= 1 + 2e-9


@pytest.mark.parametrize(("percent", "value"), [(50, 2), (95, 4), (99, 4), (1, 1), (25, 1), (26, 2), (100, 4)])
def test_percentile_is_the_nearest_rank(percent: float, value: float) -> None:
    assert percentile([1, 2, 3, 4], percent) == value


def test_percentile_of_nothing_is_not_known() -> None:
    assert percentile([], 50) is None


@given(st.lists(st.floats(0, 1e6), min_size=1), st.sampled_from([50, 95, 99]))
def test_at_least_that_many_do_not_exceed_it(values: list[float], percent: int) -> None:
    found = percentile(sorted(values), percent)
    assert found is not None
    assert sum(v <= found for v in values) >= len(values) * percent / 100
