"""The pool of a real lab in a sandbox: drained while downloads run, enabled, added to, removed from."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import pytest
from kept_lab import kept, run, wait_until

from lab import wire
from lab.driver.agent_client import Agent

pytestmark = pytest.mark.sandbox
POOL = "name: pool\nload: {clients: [h4, h5, h6]}\n"
URL = "http://10.0.1.1"
ENGINES = [pytest.param("pox", marks=pytest.mark.pox), "osken"]


@pytest.fixture(params=ENGINES)
def agent(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Agent]:
    """Of the tutorial's lab, kept running."""
    with kept(tmp_path, monkeypatch, POOL, "--engine", request.param) as agent:
        yield agent


def servers(agent: Agent) -> dict[str, dict[str, object]]:
    found: dict[str, dict[str, object]] = agent.pools()["services"]["web"]["servers"]
    return found


def load(agent: Agent, requests: int, concurrency: int = 1, path: str = "/") -> Iterator[wire.Request]:
    """Each as it ends."""
    wanted = wire.Load(
        clients=("h4", "h5", "h6"), url=URL + path, requests=requests, concurrency=concurrency, timeout_s=30
    )
    return (line for line in agent.load(wanted) if isinstance(line, wire.Request))


def served(agent: Agent, requests: int) -> dict[str | None, int]:
    done = list(load(agent, requests))
    assert all(request.ok for request in done)
    return dict(Counter(request.server for request in done))


def test_drain_lets_downloads_finish_and_enable_brings_the_server_back(agent: Agent) -> None:
    downloads: list[wire.Request] = []
    thread = threading.Thread(target=lambda: downloads.extend(load(agent, 12, 12, "/slow?seconds=4&bytes=100000")))
    thread.start()
    wait_until(lambda: servers(agent)["h2"]["live"] == 6)
    assert run("pool", "drain", "h2") == "web: h2 is draining: 6 connections left\n"
    assert served(agent, 10) == {"h1": 10}
    assert thread.is_alive(), "the downloads were too short to prove anything"
    thread.join()
    assert Counter(request.server for request in downloads if request.ok) == {"h1": 6, "h2": 6}
    wait_until(lambda: servers(agent)["h2"]["admin"] == "maint")
    assert "web: h2 (10.0.0.2) is drained: no connection is left" in agent.controller_log()

    run("pool", "enable", "h2")
    assert served(agent, 10) == {"h1": 5, "h2": 5}


def test_pool_shrinks_and_grows_under_requests(agent: Agent) -> None:
    run("pool", "remove", "h2")
    assert served(agent, 6) == {"h1": 6}
    run("pool", "add", "h2")
    wait_until(lambda: bool(servers(agent)["h2"]["available"]))
    assert served(agent, 6) == {"h1": 3, "h2": 3}

    h2 = json.loads(run("pool", "--json"))["services"]["web"]["servers"]["h2"]
    assert (h2["weight"], h2["hits"], h2["admin"], h2["state"]) == (1, 3, "ready", "up")
    assert 'balance_lab_server_connections_total{server="h2",service="web"} 3.0' in run("metrics")


def test_download_of_a_removed_server_ends_at_once(agent: Agent) -> None:
    downloads: list[wire.Request] = []
    thread = threading.Thread(target=lambda: downloads.extend(load(agent, 2, 2, "/slow?seconds=12&bytes=100000")))
    thread.start()
    wait_until(lambda: servers(agent)["h2"]["live"] == 1)
    started = monotonic()
    run("pool", "remove", "h2")
    wait_until(lambda: any(not request.ok for request in downloads), timeout=5)
    assert monotonic() - started < 5
    thread.join()  # the other one is not disturbed
    assert Counter((request.server, request.ok) for request in downloads)[("h1", True)] == 1


def test_table_full_is_told_by_name_and_everyone_is_served(agent: Agent) -> None:
    rules = sum("table=1" in line for line in agent.flows().splitlines())
    limit = ["ovs-vsctl", "--", "--id=@t", "create", "Flow_Table", f"flow_limit={rules}", "overflow_policy=refuse"]
    done = agent.exec("s1", [*limit, "--", "set", "Bridge", "s1", "flow_tables:1=@t"])
    assert done["exit_code"] == 0, done
    assert served(agent, 6) == {"h1": 3, "h2": 3}
    errors = agent.controller()["statistics"]["switch_errors"]
    assert [error for error in errors if error.endswith("table_full") or error.endswith("tables_full")], errors
    log = agent.controller_log()
    assert "switch 1 refused a command: flow_mod_failed/" in log
    assert "Traceback" not in log
