"""The controller as a queue: waiting as theory has it, an overload named, a calibration that does the work."""

from __future__ import annotations

import itertools

import pytest

from lab.engines.switchboard import Switchboard
from lab.simulate import controller
from lab.simulate.controller import calibrate, curve, load_at


@pytest.mark.parametrize("used", [0.1, 0.5, 0.8])
def test_waiting_is_that_of_m_d_1(used: float) -> None:
    found = load_at(used * 10_000, cpu_us=100, count=200_000, seed=1)
    assert found.utilisation == pytest.approx(used)
    assert found.expected_mean_ms == pytest.approx(0.1 * (1 + used / (2 * (1 - used))))
    # neighbours in a queue wait alike, the longer the fuller it is, so a mean is worth fewer independent ones
    assert found.mean_ms == pytest.approx(found.expected_mean_ms, rel=0.01 + 0.04 * used)
    assert found.p50_ms is not None
    assert found.p99_ms is not None
    assert 0.1 <= found.p50_ms < found.p99_ms


def test_a_controller_that_cannot_keep_up_has_no_waiting_time() -> None:
    found = load_at(30_000, cpu_us=100, count=1000, seed=1)
    assert (found.utilisation, found.controllers) == (pytest.approx(3.0), 4)
    assert (found.mean_ms, found.expected_mean_ms, found.p50_ms, found.p99_ms) == (None, None, None, None)


def test_load_depends_on_the_given_cost_alone() -> None:
    slow, fast = curve(200, 2000, 1, lambda part: None), curve(100, 2000, 1, lambda part: None)
    assert [s.rate * 2 for s in slow] == pytest.approx([f.rate for f in fast])
    assert [s.mean_ms for s in slow] == pytest.approx([2 * f.mean_ms for f in fast if f.mean_ms is not None])
    assert fast == curve(100, 2000, 1, lambda part: None)


def test_calibration_times_whole_connections_of_the_real_core(monkeypatch: pytest.MonkeyPatch) -> None:
    boards: list[Switchboard] = []
    make_board = controller.make_board
    monkeypatch.setattr(controller, "make_board", lambda: boards.append(make_board()) or boards[0])
    clock = itertools.count()
    monkeypatch.setattr(controller, "process_time", lambda: float(next(clock)))
    assert calibrate(lambda part: None) == pytest.approx(1e6 / controller.CONNECTIONS)  # a second for each round
    found = boards[0].statistics()
    connections = controller.ROUNDS * controller.CONNECTIONS
    assert found["packet_ins"] == found["flow_mods"] == connections
    assert found["connections"]["live"] == 0
    assert found["connections"]["remembered"] == connections
    servers = found["services"]["web"]["servers"].values()
    assert {server["hits"] for server in servers} == {connections // controller.SERVERS}
