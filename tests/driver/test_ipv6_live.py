"""A lab with an IPv6 service, in a sandbox: what its hosts can do beside calling the service."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from kept_lab import kept, wait_until

from lab.balancer.modes import CONTROLLER_CHOOSES
from lab.driver.agent_client import Agent

pytestmark = pytest.mark.sandbox
SIX = "name: six\nservices: {six: {ip: 'fd00::1:1'}, four: {}}\nload: {clients: [h4, h5, h6]}\n"


@pytest.fixture(params=CONTROLLER_CHOOSES)
def agent(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Agent]:
    """Of a lab of one IPv6 and one IPv4 service with the same servers, kept running; the engine is left to choose."""
    with kept(tmp_path, monkeypatch, SIX, "--mode", request.param) as agent:
        yield agent


def says(agent: Agent, *argv: str) -> str:
    """What a command on h3 prints; it must succeed."""
    done: dict[str, Any] = agent.exec("h3", list(argv), timeout_s=10)
    assert done["exit_code"] == 0, done
    return str(done["stdout"])


def test_ordinary_ipv6_is_switched_beside_a_service(agent: Agent) -> None:
    assert agent.controller()["engine"] == "osken"
    answers = [says(agent, "curl", "-sg", f"http://{host}/").split()[0] for host in ("[fd00::1:1]", "10.0.1.1") * 2]
    assert answers == ["h1", "h1", "h2", "h2"]  # each service has turns of its own
    for address in ("fd00::4", "fd00::2", "fd00::1:1", "10.0.0.4", "10.0.1.1"):
        says(agent, "ping", "-c", "1", "-W", "2", address)
    assert says(agent, "curl", "-sg", "http://[fd00::2]/").startswith("h2 ")  # past the service
    assert says(agent, "curl", "-sg", "http://[fd00::1:1]/").startswith("h1 ")


def test_server_whose_link_comes_back_is_up_again(agent: Agent) -> None:
    def is_told(state: str) -> bool:
        services = agent.pools()["services"]
        return {services[name]["servers"]["h2"]["state"] for name in ("six", "four")} == {state}

    for state in ("down", "up", "up"):  # up twice: it has its address already
        agent.link(state, host="h2")
        wait_until(partial(is_told, state))
    assert says(agent, "curl", "-sg", "http://[fd00::2]/").startswith("h2 ")
