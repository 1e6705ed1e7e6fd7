"""Disruption: who moves when the pool changes, beside who must, and beside Maglev's figures."""

from __future__ import annotations

from math import sqrt

import pytest

from lab.simulate import disruption
from lab.simulate.disruption import Disruption, Resilience, asked
from lab.simulate.fleet import PolicyMaker

FLOWS = 80_000
# of the clients, where one of so many servers leaves a table of 65,537 places: this kit's, known for long
MOVED = {10: 0.102, 100: 0.0154}


def measure(policy: str, servers: int) -> dict[str, Disruption]:
    found = disruption.measure(PolicyMaker(name=policy), servers, FLOWS, 65_537, 1, lambda part: None)
    return {d.change: d for d in found}


def fail(servers: int, size: int) -> list[Resilience]:
    return list(disruption.fail_at_once(servers, size, 1, lambda part: None))


def deviations(part: float, count: int = 5) -> float:
    """So many standard deviations of a part of the clients."""
    return count * sqrt(part * (1 - part) / asked(FLOWS))


@pytest.mark.parametrize("servers", [10, 100])
def test_hash_moves_as_many_as_maglev(servers: int) -> None:
    found = measure("source_hash", servers)
    assert found["nothing"].moved == 0
    for change in ("leave", "join"):
        moved = found[change]
        assert moved.must == pytest.approx(1 / servers)
        # the figure is of the table's places, and varies by a few hundredths with who leaves
        assert moved.moved == pytest.approx(MOVED[servers], abs=deviations(MOVED[servers]) + 0.05 * MOVED[servers])
        assert moved.moved - moved.needless == pytest.approx(1 / servers, abs=deviations(1 / servers))
    assert found["weight"].moved - found["weight"].needless == pytest.approx(
        found["weight"].must, abs=deviations(1 / servers)
    )


@pytest.mark.parametrize("policy", ["round_robin", "weighted_round_robin", "random", "least_connections"])
def test_without_affinity_all_but_one_in_n_move_whether_or_not_the_pool_changes(policy: str) -> None:
    found = measure(policy, 10)
    for change in ("nothing", "leave", "join"):
        assert found[change].moved == pytest.approx(0.9, abs=deviations(0.9))
    assert found["nothing"].needless == found["nothing"].moved
    assert found["leave"].needless == pytest.approx(0.8, abs=deviations(0.8))


def test_only_who_heeds_weights_must_move_for_one() -> None:
    assert measure("round_robin", 10)["weight"].must == 0
    assert measure("random", 10)["weight"].must == pytest.approx(2 / 11 - 1 / 10)


def test_servers_that_fail_together_move_their_places_and_a_few_more() -> None:
    small, large = fail(100, 6_553), fail(100, 65_537)
    assert [f.gone for f in small] == [1, 2, 5, 10]
    for one in (*small, *large):
        assert one.must == pytest.approx(one.gone / 100, abs=1 / one.table_size * one.gone)
        assert one.moved == pytest.approx(one.must + one.needless)
    assert large[0].moved == pytest.approx(MOVED[100], rel=0.05)
    assert all(b.needless < a.needless for a, b in zip(small, large))
