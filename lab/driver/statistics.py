"""The little statistics that a verdict needs: percentiles, and the tail of the chi-square distribution.

Written out with `math` alone, since a statistics library takes longer to import than a whole lab takes to start.
Rule: pure functions of numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

_PRECISION: Final = 1e-14
_TINY: Final = 1e-300
_ROUNDS: Final = 10_000  # both expansions need about 10 * sqrt(degrees) at most


def percentile(ordered: Sequence[float], percent: float) -> float | None:
    """The smallest of the sorted values that `percent` of them don't exceed (nearest rank); None: there are none."""
    if not ordered:
        return None
    rank = math.ceil(len(ordered) * percent / 100)
    return ordered[max(rank, 1) - 1]


def chi_square_survival(statistic: float, degrees: int) -> float:
    """Probability that a chi-square variable with `degrees` of freedom exceeds `statistic` (>= 0).

    It is the regularized upper incomplete gamma function Q(degrees / 2, statistic / 2): 1 - its series below the mean,
    its continued fraction above. Source: Abramowitz and Stegun, 6.5.29, 6.5.31 and 26.4.19."""
    a, x = degrees / 2, statistic / 2
    if x <= 0:
        return 1.0
    front = math.exp(a * math.log(x) - x - math.lgamma(a))
    return 1 - front * _series(a, x) if x < a + 1 else front * _fraction(a, x)


def _series(a: float, x: float) -> float:
    """Sum of x^n / (a (a + 1) … (a + n))."""
    term = total = 1 / a
    for n in range(1, _ROUNDS):
        term *= x / (a + n)
        total += term
        if term < total * _PRECISION:
            break
    return total


def _fraction(a: float, x: float) -> float:
    """1 / (x + 1 - a - 1 (1 - a) / (x + 3 - a - …)), evaluated from the front (Lentz)."""
    b = x + 1 - a
    c, d = 1 / _TINY, 1 / b
    value = d
    for n in range(1, _ROUNDS):
        factor = n * (a - n)
        b += 2
        d = 1 / (factor * d + b or _TINY)
        c = b + factor / c or _TINY
        value *= c * d
        if abs(c * d - 1) < _PRECISION:
            break
    return value
