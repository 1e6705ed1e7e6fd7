"""Loads run by real curl, on loopback in place of hosts' namespaces."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from agent_rig import Web, wait_until
from hypothesis import given
from hypothesis import strategies as st

from lab import wire
from lab.agent.clients import Outcome, Run, client_of, next_batch, shares
from lab.agent.namespaces import Here

WebMaker = Callable[..., Web]


class Watched(Here):
    """Remembers what it started."""

    def __init__(self) -> None:
        self.started: list[subprocess.Popen[bytes]] = []

    def popen(self, argv: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
        self.started.append(super().popen(argv, **options))
        return self.started[-1]

    def running(self) -> int:
        return sum(process.poll() is None for process in self.started)


def load(url: str, **changes: Any) -> wire.Load:
    return wire.Load(**{"clients": ("h3", "h4", "h5"), "url": url, "requests": 10, **changes})


def run(load: wire.Load, place: Here | None = None) -> tuple[Outcome, list[wire.Request]]:
    found: list[wire.Request] = []
    outcome = Run(load, dict.fromkeys(load.clients, place or Here()), found.append).run()
    return outcome, found


def test_one_at_a_time_the_clients_take_turns_in_exact_order(web: WebMaker) -> None:
    outcome, found = run(load(web("h2").url))
    assert outcome == Outcome(sent=10, dropped=0)
    assert [request.client for request in found] == ["h3", "h4", "h5"] * 3 + ["h3"]
    assert {(request.server, request.status, request.error) for request in found} == {("h2", 200, None)}


def test_both_ends_count_the_same_and_know_the_same_connections(web: WebMaker) -> None:
    server = web()
    _, found = run(load(server.url, requests=30, concurrency=5))
    assert sorted(request.local_port or 0 for request in found) == sorted(hit["client_port"] for hit in server.hits())


def test_concurrency_is_what_is_in_flight(web: WebMaker) -> None:
    begun = time.monotonic()
    run(load(web(delay_ms=300).url, requests=6, concurrency=6))
    assert time.monotonic() - begun < 6 * 0.3


def test_keepalive_gives_each_client_one_connection(web: WebMaker) -> None:
    server = web()
    outcome, found = run(load(server.url, keepalive=True))
    assert outcome.sent == 10
    assert [request.client for request in found] == ["h3"] * 4 + ["h4"] * 3 + ["h5"] * 3
    assert len({hit["client_port"] for hit in server.hits()}) == 3
    assert sum(request.connect_ms is not None for request in found) == 3


@pytest.mark.parametrize("changes", [{"concurrency": 3}, {"concurrency": 3, "keepalive": True}])
def test_a_duration_ends_a_load_and_cuts_no_request_off(web: WebMaker, changes: dict[str, Any]) -> None:
    server = web()
    begun = time.monotonic()
    outcome, found = run(load(server.url, requests=None, duration_s=0.5, **changes))
    assert 0.4 < time.monotonic() - begun < 5
    assert outcome.sent == len(found) == len(server.hits())
    assert all(request.ok for request in found)


def test_a_keepalive_load_whose_server_falls_silent_ends_nevertheless(web: WebMaker) -> None:
    server = web(delay_ms=60_000)
    outcome, found = run(
        load(server.url, clients=("h3",), requests=None, duration_s=0.2, timeout_s=0.3, keepalive=True)
    )
    assert outcome.sent == len(found) >= 1
    assert not any(request.ok for request in found)


def test_a_rate_starts_requests_whatever_the_answers_do(web: WebMaker) -> None:
    begun = time.monotonic()
    outcome, found = run(load(web(delay_ms=200).url, requests=10, rate=50.0, concurrency=10))
    assert outcome == Outcome(sent=10, dropped=0)
    starts = sorted(request.time for request in found)
    assert 0.1 < starts[-1] - starts[0] < 1.0
    assert time.monotonic() - begun < 10 * 0.2


def test_beyond_its_concurrency_a_rate_drops_and_counts(web: WebMaker) -> None:
    outcome, found = run(load(web(delay_ms=2000).url, requests=10, rate=100.0, concurrency=2))
    assert outcome == Outcome(sent=2, dropped=8)
    assert len(found) == 2


def test_an_unreachable_server_is_an_error_per_request() -> None:
    outcome, found = run(load("http://127.0.0.1:1/", requests=3))
    assert outcome.sent == 3
    assert all(request.error and request.status is None for request in found)


def test_a_silent_server_is_given_up_after_the_time_out(web: WebMaker) -> None:
    _, (request,) = run(load(web(delay_ms=5000).url, requests=1, timeout_s=0.2))
    assert request.error is not None
    assert "timed out" in request.error
    assert 200 <= request.total_ms < 3000


def test_cancelling_kills_every_curl(web: WebMaker) -> None:
    place, found = Watched(), []
    run = Run(load(web(delay_ms=60_000).url, concurrency=4), dict.fromkeys(("h3", "h4", "h5"), place), found.append)
    thread = threading.Thread(target=run.run)
    thread.start()
    wait_until(lambda: place.running() == 4, "four curls")
    run.cancel()
    thread.join(timeout=5)
    assert not thread.is_alive()
    assert (place.running(), len(place.started), found) == (0, 4, [])


@given(st.integers(1, 9), st.integers(1, 200))
def test_shares_are_what_dealing_in_turn_would_give(clients: int, requests: int) -> None:
    names = tuple(f"h{n}" for n in range(clients))
    wanted = wire.Load(clients=names, url="http://10.0.1.1/", requests=requests)
    dealt = [client_of(wanted, number) for number in range(requests)]
    assert shares(wanted) == {name: dealt.count(name) for name in names if name in dealt}


@given(st.floats(0, 1e6), st.floats(-10, 1e9))
def test_a_batch_holds_at_least_one_request_and_is_done_in_time(rate: float, left_s: float) -> None:
    size = next_batch(rate, left_s)
    assert size >= 1
    assert size == 1 or size <= rate * left_s
