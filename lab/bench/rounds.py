"""Who is measured when: rounds that alternate, A B C A B C. Rule: pure; the order is the same on every machine.

A pass is one round at one concurrency: every variant once, one right after the other, and direct again at the end, so
that each stands between two of direct's. Bulk comes first: the thousands of connections that a load leaves in a tracker
for two minutes make each packet's way longer, and say nothing about a stream.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lab.bench.options import Options
from lab.bench.variants import DIRECT

SETTLING_S = {"stock": 10.0, "pox-reactive": 2.0, "osken-reactive": 2.0}  # until rules are gone, for the forecast
OVERHEAD_S = 0.5  # of a measurement: caches filled, programs started
DIRECTIONS = ("down", "up")


@dataclass(frozen=True, slots=True)
class Turn:
    """One measurement. direction None: connections; else bulk."""

    variant: str
    round: int
    concurrency: int = 0
    direction: str | None = None


def turns(options: Options, variants: Sequence[str]) -> Iterator[Turn]:
    again = [DIRECT] if DIRECT in variants and len(variants) > 1 else []
    rounds = range(1, options.rounds + 1)
    for number, direction in itertools.product(rounds, DIRECTIONS if options.bulk else ()):
        yield from (Turn(variant, number, direction=direction) for variant in [*variants, *again])
    for number, concurrency in itertools.product(rounds, options.concurrency):
        yield from (Turn(variant, number, concurrency) for variant in [*variants, *again])


def forecast_s(options: Options, variants: Sequence[str]) -> float:
    """About how long all of it takes."""
    return sum(
        options.seconds + OVERHEAD_S + (SETTLING_S.get(turn.variant, 0.0) if turn.direction is None else 0.0)
        for turn in turns(options, variants)
    )
