"""Reactive mode in a real lab: what the switch keeps of connections that have ended."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from kept_lab import cached_flows, kept, served, wait_until

from lab.driver.agent_client import Agent

pytestmark = pytest.mark.sandbox
ENGINES = [pytest.param("pox", marks=pytest.mark.pox), "osken"]
CACHED_S = 10.0  # how long Open vSwitch keeps a cached flow that carries no packets
SCENARIO = """
name: reactive
services:
  web: {ip: 10.0.1.1, port: 80, servers: [h1, h2]}
servers: {kind: nginx}
load: {service: web}
"""


@pytest.fixture(params=ENGINES)
def agent(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Agent]:
    with kept(tmp_path, monkeypatch, SCENARIO, "--engine", request.param) as agent:
        yield agent


def connections_cached(agent: Agent) -> int:
    """Cached flows from a client's port to the service."""
    return sum(bool(re.search(r"dst=10\.0\.1\.1,.*tcp\(src=\d+", flow)) for flow in cached_flows(agent))


def test_an_ended_connections_cached_flow_leaves_with_its_rule(agent: Agent) -> None:
    assert served(agent, "http://10.0.1.1", 100) == {"h1": 50, "h2": 50}
    assert connections_cached(agent) > 50
    wait_until(lambda: connections_cached(agent) == 0, CACHED_S / 2)
