"""The kit's scenarios for real, in a sandbox, under each engine and mode: every expectation in them holds.

A scenario is a lesson and a test; here it is the test."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

import pytest
from played import SCENARIOS, combinations, in_order, play, run

pytestmark = pytest.mark.sandbox
STOCK = [name for name in SCENARIOS if combinations(name)[0][0] == "stock"]
OURS = [name for name in SCENARIOS if name not in STOCK]
ORDERED = [name for name in OURS if in_order(name) and len(combinations(name)) > 1]
POX = pytest.mark.pox


def each(names: list[str]) -> pytest.MarkDecorator:
    """Parameters for every combination of these scenarios, engine and mode."""
    cases = [(name, engine, mode) for name in names for engine, mode in combinations(name)]
    params = [pytest.param(*case, marks=[] if case[1] == "osken" else POX, id="-".join(case)) for case in cases]
    return pytest.mark.parametrize(("name", "engine", "mode"), params)


@each(list(SCENARIOS))
def test_every_expectation_holds(name: str, engine: str, mode: str) -> None:
    played = run(name, engine, mode)
    assert (played.result["verdict"], played.result["reason"], played.failed) == ("passed", None, [])
    assert (played.result["engine"], played.result["mode"]) == (engine, mode)


@POX
@pytest.mark.parametrize("name", ORDERED)
def test_engines_and_modes_choose_the_same_server_for_each_request(name: str) -> None:
    chosen = {combination: run(name, *combination).servers_in_turn() for combination in combinations(name)}
    first = next(iter(chosen.values()))
    assert all(first.values())
    assert all(servers == first for servers in chosen.values())


def test_scenarios_that_leave_nothing_to_chance_are_found() -> None:
    """So that the test above doesn't lose one without a word."""
    known = {"round_robin", "weighted", "sticky", "two_services", "custom_policy", "server_down"}
    assert known <= set(ORDERED)
    assert all(len(combinations(name)) == 4 for name in known)
    assert not {"random", "least_connections"} & set(ORDERED)


@each(["round_robin", "multi_switch", "udp"])
def test_a_connection_costs_one_packet_in_and_its_modes_flow_mods(name: str, engine: str, mode: str) -> None:
    result = run(name, engine, mode).result
    assert result["hits"] == {"h1": {"client": 20, "server": 20}, "h2": {"client": 20, "server": 20}}
    assert result["controller"]["packet_ins"] == 40
    assert result["controller"]["flow_mods"] == {"reactive": 40, "tracked": 0}[mode]


@each(["weighted"])
def test_three_to_one_is_never_four_in_a_row(name: str, engine: str, mode: str) -> None:
    turns = run(name, engine, mode).servers_in_turn()["web"]
    assert max(len(list(same)) for _, same in groupby(turns)) == 3


@each(["sticky"])
def test_only_the_clients_of_a_server_that_leaves_move_and_they_come_back(name: str, engine: str, mode: str) -> None:
    requests = run(name, engine, mode).requests
    first, without, again = ({r.client: r.server for r in requests[at : at + 35]} for at in (0, 35, 70))
    assert len(first) == 7
    moved = {client for client, server in first.items() if without[client] != server}
    assert moved == {client for client, server in first.items() if server == "h3"}
    assert again == first


@each(["two_services"])
def test_both_services_are_called_at_once(name: str, engine: str, mode: str) -> None:
    """Else their exact turns would say nothing of one disturbing the other."""
    requests = run(name, engine, mode).requests[50:]
    changes = len(list(groupby(request.server in ("h1", "h2") for request in requests)))
    assert changes > 50


@pytest.mark.parametrize(
    ("name", "policy"),
    [
        ("weighted", "random"),
        ("least_connections", "round_robin"),
        ("sticky", "round_robin"),
        ("custom_policy", "round_robin"),
    ],
)
def test_a_policys_lesson_fails_without_it(name: str, policy: str) -> None:
    played = play(SCENARIOS[name], "--engine", "osken", "--policy", policy)
    assert (played.result["verdict"], played.result["requests"]["failed"]) == ("failed", 0)


FAILING = """
class Failing:
    def __init__(self, rng):
        self.live = ()

    def pool_changed(self, live):
        self.live = live

    def choose(self, client_ip):
        if client_ip == 10 << 24 | 6:
            raise LookupError("not this one")
        return self.live[-1]
"""


@pytest.mark.parametrize("mode", ["reactive", "tracked"])
@pytest.mark.parametrize("engine", [pytest.param("pox", marks=POX), "osken"])
def test_a_policy_that_fails_is_told_and_no_connection_is_lost(tmp_path: Path, engine: str, mode: str) -> None:
    (tmp_path / "failing.py").write_text(FAILING)
    scenario = tmp_path / "failing.yaml"
    scenario.write_text(
        "name: failing\n"
        "services: {web: {policy: 'failing.py:Failing'}}\n"
        "steps:\n"
        "  - load: {clients: [h5], requests: 6, expect: {hits: {h1: 0, h2: 6}}}\n"
        "  - load: {clients: [h6], requests: 6, expect: {hits: {h1: 3, h2: 3}}}\n"  # by round robin
    )
    played = play(scenario, "--engine", engine, "--mode", mode)
    assert (played.result["verdict"], played.failed) == ("passed", [])
    assert "failing.py: Failing.choose failed (1 times by now): LookupError: not this one" in played.controller_log


@each(STOCK)
def test_stock_pox_reaches_both_servers_and_answers_all(name: str, engine: str, mode: str) -> None:
    played = run(name, engine, mode)
    assert played.result["requests"]["ok"] == 40
    assert {request.server for request in played.requests} == {"h1", "h2"}


@pytest.mark.parametrize("engine", [pytest.param("pox", marks=POX), "osken"])
def test_a_new_controller_takes_over_what_the_switch_remembers_in_proactive_mode_too(
    engine: str, tmp_path: Path
) -> None:
    """os-ken speaks another version of OpenFlow there, in which the switch's answer has another name."""
    scenario = tmp_path / "restarted.yaml"
    scenario.write_text("""
name: restarted
services: {web: {policy: connection_hash}}
controller: {mode: proactive}
steps:
  - load: {clients: [h3, h4], requests: 10}
  - controller: kill
  - controller: start
  - wait: {server: h1, state: up}
  - wait: {server: h2, state: up}
  - load: {clients: [h3, h4], requests: 10}
expect: {failed: 0}
""")
    played = play(scenario, "--engine", engine)
    assert (played.result["verdict"], played.failed) == ("passed", [])
    assert "rules over from a former controller" in played.controller_log
