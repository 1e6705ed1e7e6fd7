"""A lab in a sandbox that stays while a test looks at it, made and ended by the command line as a user would."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

import pytest

from lab import wire
from lab.driver.agent_client import Agent
from lab.driver.backends import registry

ROOT = Path(__file__).parents[2]
CLIENTS = ("h3", "h4", "h5", "h6")


def run(*words: str) -> str:
    """What a command prints; it must succeed."""
    command = [sys.executable, str(ROOT / "lab/run_lab.py"), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def kept(folder: Path, monkeypatch: pytest.MonkeyPatch, scenario: str, *options: str) -> Iterator[Agent]:
    """The agent of a lab of that scenario, registered in `folder`; nothing of it stays, whatever the test does."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    path = folder / "kept.yaml"
    path.write_text(scenario)
    try:
        run("up", str(path), "--backend", "sandbox", *options)
        entry = registry.newest()
        assert entry is not None
        yield Agent(entry.url, entry.token)
    finally:
        run("down", "--all")


def served(agent: Agent, url: str, requests: int, clients: tuple[str, ...] = CLIENTS) -> dict[str | None, int]:
    """By 16 at a time."""
    wanted = wire.Load(clients=clients, url=url, requests=requests, concurrency=16, timeout_s=20)
    done = [line for line in agent.load(wanted) if isinstance(line, wire.Request)]
    assert [request for request in done if not request.ok] == []
    return dict(Counter(request.server for request in done))


def cached_flows(agent: Agent) -> list[str]:
    """Those of IPv4; hosts' IPv6 chatter and probes are nobody's connections."""
    lines: list[str] = agent.exec("s1", ["ovs-appctl", "dpctl/dump-flows"])["stdout"].splitlines()
    return [line for line in lines if "eth_type(0x0800)" in line]


def wait_until(condition: Callable[[], bool], timeout: float = 15.0) -> None:
    deadline = monotonic() + timeout
    while not condition():
        assert monotonic() < deadline, "it never came true"
        sleep(0.05)
