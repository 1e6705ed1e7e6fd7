"""What the requests of a run add up to."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_runs import failed, in_turn, leave, request, result, scenario

from lab.report.data import read_run
from lab.report.summary import (
    COLOURS,
    MAX_CLIENTS,
    MAX_SERVERS,
    MAX_SLICES,
    OTHERS,
    Summary,
    natural,
    nice_step,
    percentile,
    summarise,
)


def summary_of(folder: Path) -> Summary:
    return summarise(read_run(folder))


def test_nothing_is_lost_where_much_is_gathered(tmp_path: Path) -> None:
    """More clients, servers and time than a page has room for: the sums still hold."""
    servers = [f"h{i}" for i in range(1, 41)]
    clients = [f"c{i}" for i in range(100)]
    requests = [*in_turn(997, clients, servers), request(1000, "c1", None, "no route")]
    summary = summary_of(leave(tmp_path, result(requests), requests, scenario(40, servers)))
    assert summary.matrix is not None
    assert summary.timeline is not None
    assert len(summary.matrix.rows) == MAX_CLIENTS + 1
    assert summary.matrix.rows[-1][0] == OTHERS
    assert len(summary.matrix.servers) == MAX_SERVERS + 1
    assert sum(sum(cells) for _, cells in summary.matrix.rows) == 998
    assert sum(cells[-1] for _, cells in summary.matrix.rows) == 1
    assert sum(map(sum, summary.timeline.slices)) == 998
    assert sum(counts[-1] for counts in summary.timeline.slices) == 1
    assert len(summary.timeline.slices) <= MAX_SLICES + 1


def test_a_server_keeps_its_colour_and_the_scenario_orders_them(tmp_path: Path) -> None:
    requests = in_turn(20, ["h9"], ["h3", "h1"])
    summary = summary_of(leave(tmp_path, result(requests), requests, scenario(9, ("h1", "h2", "h3"))))
    assert [row.name for row in summary.servers] == ["h1", "h2", "h3"]
    assert [summary.colour(name) for name in ("h1", "h2", "h3", "stranger")] == [0, 1, 2, COLOURS]


def test_steps_are_marked_at_their_time_after_the_first_request(tmp_path: Path) -> None:
    timeline = summary_of(failed(tmp_path)).timeline
    assert timeline is not None
    assert [event.what for event in timeline.events] == ["link h2 down", "wait until h2 is down"]
    assert timeline.events[0].at == pytest.approx(3.01)


def test_failed_requests_do_not_count_as_latency(tmp_path: Path) -> None:
    requests = [*in_turn(10, ["h3"], ["h1"]), request(11, "h3", None, "timed out")]
    connect, total = summary_of(leave(tmp_path, result(requests), requests, scenario())).latency
    assert (connect.count, total.count) == (10, 10)
    assert total.worst is not None
    assert total.worst < 5000


def test_percentiles_are_the_results_own(tmp_path: Path) -> None:
    requests = in_turn(10, ["h3"], ["h1"])
    given_ones = {"total": {"p50": 7.5, "p95": None}}
    _, total = summary_of(leave(tmp_path, result(requests, latency_ms=given_ones), requests, scenario())).latency
    assert total.p50 == 7.5
    assert total.p95 == max(one.total_ms for one in requests)


def test_hits_come_from_the_result_and_else_from_the_requests(tmp_path: Path) -> None:
    requests = in_turn(10, ["h3"], ["h1", "h2"])
    outcome = result(requests, hits={"h1": {"client": 4, "server": 6}})
    rows = {row.name: row for row in summary_of(leave(tmp_path, outcome, requests, scenario())).servers}
    assert (rows["h1"].client_hits, rows["h1"].server_hits) == (4, 6)
    assert (rows["h2"].client_hits, rows["h2"].server_hits) == (5, None)


@given(st.lists(st.floats(0, 1e9), min_size=1), st.floats(0.1, 100))
def test_percentile_leaves_at_most_the_rest_above(values: list[float], percent: float) -> None:
    found = percentile(sorted(values), percent)
    assert found is not None
    assert sum(value > found for value in values) <= len(values) * (1 - percent / 100) + 1e-6


@given(st.floats(1e-6, 1e12))
def test_nice_step_is_the_next_round_number(raw: float) -> None:
    step = nice_step(raw)
    assert raw * 0.99999 <= step <= raw * 2.51
    assert f"{step:.0e}"[0] in "125"


def test_names_sort_as_people_count() -> None:
    assert sorted(["h10", "h2", "h1", "a", "h"], key=natural) == ["a", "h", "h1", "h2", "h10"]
