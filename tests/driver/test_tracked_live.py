"""Tracked mode in a real lab: what connections cost, what the switch keeps of them, and what it can't do is told."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kept_lab import cached_flows, kept, served, wait_until

from lab.driver.agent_client import Agent

pytestmark = pytest.mark.sandbox
ENGINES = [pytest.param("pox", marks=pytest.mark.pox), "osken"]
CONNECTIONS = 400
SCENARIO = """
name: tracked
services:
  web: {ip: 10.0.1.1, port: 80, servers: [h1, h2]}
  api: {ip: 10.0.1.2, port: 8080, servers: [h2, h1]}
servers: {kind: nginx}
controller: {mode: tracked}
load: {service: web}
"""


@pytest.fixture(params=ENGINES)
def agent(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Agent]:
    with kept(tmp_path, monkeypatch, SCENARIO, "--engine", request.param) as agent:
        yield agent


def counted(agent: Agent) -> dict[str, Any]:
    statistics: dict[str, Any] = agent.controller()["statistics"]
    return statistics


def test_connections_cost_a_packet_in_each_and_leave_few_flows(agent: Agent) -> None:
    assert served(agent, "http://10.0.1.1", 16) == {"h1": 8, "h2": 8}  # all hosts have been learned
    before = counted(agent)
    assert served(agent, "http://10.0.1.1", CONNECTIONS) == {"h1": CONNECTIONS / 2, "h2": CONNECTIONS / 2}
    flows = cached_flows(agent)
    after = counted(agent)
    spent = {name: after[name] - before[name] for name in ("packet_ins", "flow_mods", "flow_mods_total")}
    assert spent == {"packet_ins": CONNECTIONS, "flow_mods": 0, "flow_mods_total": 0}
    assert (after["switch_errors"], {n for n in after["drops"].values()}) == ({}, {0})
    assert len(flows) <= 30, "\n".join(flows)
    ports = {port for flow in flows for port in re.findall(r"(?:src|dst)=(\d+)[,)]", flow)}
    assert ports <= {"80", "8080"}, flows  # a service's, no client's

    assert served(agent, "http://10.0.1.2:8080", 40) == {"h1": 20, "h2": 20}
    assert len(cached_flows(agent)) < 50


def test_servers_may_be_clients_and_be_chosen_for_themselves(agent: Agent) -> None:
    for client in ("h1", "h2"):
        assert served(agent, "http://10.0.1.1", 20, (client,)) == {"h1": 10, "h2": 10}
    assert served(agent, "http://10.0.0.1", 5, ("h2", "h3")) == {"h1": 5}  # its own address


def test_switch_that_refuses_to_track_is_told_of_by_name(agent: Agent) -> None:
    for feature in ("ct_state_nat", "ct_state"):
        done = agent.exec("s1", ["ovs-appctl", "dpif/set-dp-features", "s1", feature, "false"])
        assert done["exit_code"] == 0, done
    agent.pool("web", "h3", "add", ip="10.0.0.3")  # its rules are refused
    wait_until(lambda: "nicira/no_connection_tracker" in counted(agent)["switch_errors"])
    assert "mode tracked can't work without: use --mode reactive" in agent.controller_log()
    assert "Traceback" not in agent.controller_log()
