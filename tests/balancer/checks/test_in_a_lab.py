"""Health checks against real servers in a sandbox: the process of one dies while its host stays."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
SCENARIO = """\
name: process_dies
services:
  web:
    servers: [h1, h2]
    health: {{kind: {kind}, interval_s: 0.6, timeout_s: 0.6}}
servers: {{kind: {server}}}
steps:
  - load: {{clients: [h3, h4], requests: 10, expect: {{hits: {{h1: 5, h2: 5}}, failed: 0}}}}
  - server: {{host: h2, http: stop}}
{after}
"""
LEAVES = """\
  - wait: {server: h2, state: down, timeout_s: 8}
  - load: {clients: [h3, h4], requests: 10, expect: {hits: {h1: 10, h2: 0}, failed: 0}}
  - server: {host: h2, http: start}
  - wait: {server: h2, state: up, timeout_s: 8}
  - load: {clients: [h3, h4], requests: 10, expect: {hits: {h1: 5, h2: 5}, failed: 0}}
"""
STAYS = """\
  - wait: {seconds: 2}
  - load: {clients: [h3, h4], requests: 10, expect: {hits: {h1: 5, h2: 0}, failed: 5}}
"""


def run(folder: Path, engine: str, text: str) -> dict[str, Any]:
    scenario = folder / "process_dies.yaml"
    scenario.write_text(text)
    command = [sys.executable, str(ROOT / "lab" / "run_lab.py"), "--backend", "sandbox", "--engine", engine, "--json"]
    done = subprocess.run([*command, "--out", str(folder), str(scenario)], capture_output=True, text=True, timeout=120)
    assert done.stdout, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == 0, (result, done.stderr)
    return result


@pytest.mark.sandbox
@pytest.mark.parametrize("engine", ["osken", pytest.param("pox", marks=pytest.mark.pox)])
@pytest.mark.parametrize(
    ("kind", "server", "after"),
    [("http", "python", LEAVES), ("http", "nginx", LEAVES), ("tcp", "python", LEAVES), ("arp", "python", STAYS)],
)
def test_dead_process_leaves_the_pool_under_http_and_tcp_and_stays_under_arp(
    tmp_path: Path, engine: str, kind: str, server: str, after: str
) -> None:
    """The run also fails if a probe stands among the servers' hits: both ends must have counted the same."""
    run(tmp_path, engine, SCENARIO.format(kind=kind, server=server, after=after))
