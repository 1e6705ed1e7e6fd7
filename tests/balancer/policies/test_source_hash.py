"""Source hash: a client stays, shares are even, and a server that leaves moves little more than its own clients."""

from __future__ import annotations

import random
from collections import Counter
from itertools import count

import pytest
from helpers.pools import members, policy
from hypothesis import given
from hypothesis import strategies as st

from lab.balancer.policies import make
from lab.balancer.policies.source_hash import DEFAULT_SIZE, SourceHash, build_table, check_size, permutation, place_of
from lab.balancer.pool import Member

SIZES = st.sampled_from([2, 7, 13, 101])
# three servers, 7 places: the walks are 5 6 0 1 2 3 4, 4 0 3 6 2 5 1 and 0 1 2 3 4 5 6;
# so h1 takes 5, h2 4, h3 0, h1 6, h2 3 (0 is taken), h3 1, h1 2
KNOWN_PERMUTATIONS = [(5, 1), (4, 3), (0, 1)]
KNOWN_TABLE = [3, 3, 1, 2, 2, 1, 1]
KNOWN_PLACES = [0, 0, 1, 3, 6, 0]
WEIGHTS = st.lists(st.integers(1, 4), min_size=1, max_size=6)


def slow_table(pool: list[Member], size: int) -> list[int]:
    """The paper's pseudo code with every permutation written out; ids. Turns by weight: the k-th round is a member's if
    its share of k rounds has reached another whole number."""
    pool = sorted(pool, key=lambda m: m.ip)
    walks = {m.id: [(o + j * s) % size for j in range(size)] for m in pool for o, s in [permutation(m.ip, size)]}
    table: dict[int, int] = {}
    largest = max(m.share for m in pool)
    for number in count(1):
        for m in pool:
            if number * m.share // largest > (number - 1) * m.share // largest:
                table[next(place for place in walks[m.id] if place not in table)] = m.id
                if len(table) == size:
                    return [table[place] for place in range(size)]
    raise AssertionError("a walk reaches every place")


@given(WEIGHTS, SIZES)
def test_fast_table_is_the_slow_one(weights: list[int], size: int) -> None:
    pool = members(len(weights), weights)
    assert [m.id for m in build_table(pool, size)] == slow_table(pool, size)


@given(WEIGHTS, st.randoms(use_true_random=False))
def test_order_of_the_pool_does_not_matter(weights: list[int], shuffler: random.Random) -> None:
    pool = members(len(weights), weights)
    table = build_table(pool, 101)
    shuffler.shuffle(pool)
    assert build_table(pool, 101) == table


@given(st.integers(1, 20), st.sampled_from([101, 1009]))
def test_equal_members_differ_by_one_place_at_most(number: int, size: int) -> None:
    places = Counter(m.id for m in build_table(members(number), size))
    assert max(places.values()) - min(places.values()) <= 1


def test_places_follow_shares() -> None:
    places = Counter(m.id for m in build_table(members(3, (1, 2, 5)), 8009))
    assert all(abs(places[n] - 1001 * weight) < 5 for n, weight in ((1, 1), (2, 2), (3, 5)))


def test_a_server_that_leaves_moves_little_more_than_its_own_clients() -> None:
    pool = members(10)
    before, after = build_table(pool), build_table(pool[1:])
    moved = sum(a is not b for a, b in zip(before, after))
    assert 0.1 <= moved / DEFAULT_SIZE < 0.105  # see docs/policies.md
    assert build_table(pool) == before  # and all are back with it


def test_known_answers() -> None:
    """The table must be the same on every machine and in every run; worked out by hand from the permutations."""
    assert [permutation(m.ip, 7) for m in members(3)] == KNOWN_PERMUTATIONS
    assert [m.id for m in build_table(members(3), 7)] == KNOWN_TABLE
    assert [place_of(0x0A000003 + n, 7) for n in range(6)] == KNOWN_PLACES


def test_clients_are_spread_evenly() -> None:
    for base in (0x0A000001, 0xC0A80001, 0x20010DB8 << 96):
        places = Counter(place_of(base + n, 101) for n in range(10_100))
        # 100 expected in each; a binomial's standard deviation is 10
        assert 50 < min(places.values()) <= max(places.values()) < 150


def test_a_client_stays_whatever_else_is_chosen() -> None:
    chooser = policy("source_hash", members(5))
    first = {ip: chooser.choose(ip) for ip in range(50)}
    assert all(chooser.choose(ip) is first[ip] for ip in reversed(range(50)))
    assert len(set(m.id for m in first.values())) == 5


def test_a_dead_servers_clients_return_with_it_and_the_others_stay() -> None:
    pool = members(3)
    chooser = policy("source_hash", pool)
    first = {ip: chooser.choose(ip) for ip in range(300)}
    chooser.pool_changed(pool[1:])
    without = {ip: chooser.choose(ip) for ip in range(300)}
    assert pool[0] not in without.values()
    stayed = sum(without[ip] is server for ip, server in first.items() if server is not pool[0])
    assert stayed >= 0.98 * sum(server is not pool[0] for server in first.values())
    chooser.pool_changed(pool)
    assert {ip: chooser.choose(ip) for ip in range(300)} == first


def test_servers_that_come_up_together_cost_one_table(monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[int] = []

    def build(pool: list[Member], size: int) -> list[Member]:
        built.append(len(pool))
        return build_table(pool, size)

    monkeypatch.setattr("lab.balancer.policies.source_hash.build_table", build)
    pool = members(5)
    chooser = SourceHash(random.Random(1), 101)
    for up in range(1, 6):
        chooser.pool_changed(pool[:up])
    for ip in range(10):
        chooser.choose(ip)
    assert built == [5]


@pytest.mark.parametrize("size", [-7, 0, 1, 4, 65_536, 5_000_013])
def test_size_that_is_no_prime_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"prime.*{size}"):
        check_size(size)
    with pytest.raises(ValueError, match="prime"):
        make("source_hash", random.Random(1), size)
