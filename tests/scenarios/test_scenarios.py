"""The kit's scenarios for real, in a sandbox, under each engine and mode: every expectation in them holds.

A scenario is a lesson and a test; here it is the test."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from lab.driver.scenario import load
from lab.driver.scenario_model import MODES
from lab.record import read_requests

ROOT = Path(__file__).parents[2]
NAMES = (
    "round_robin",
    "random",
    "multi_switch",
    "server_down",
    "http_down",
    "drain",
    "controller_restart",
    "switch_restart",
    "syn_flood",
)
ORDERED = ("round_robin",)  # the policy leaves nothing to chance, and requests come one by one
ENGINES = [pytest.param("pox", marks=pytest.mark.pox), "osken"]
pytestmark = pytest.mark.sandbox


@cache
def run(name: str, engine: str, mode: str) -> tuple[dict[str, Any], list[str | None]]:
    """The result, and who answered each request in turn."""
    words = [f"scenarios/{name}.yaml", "--backend", "sandbox", "--engine", engine, "--mode", mode]
    with TemporaryDirectory() as out:
        command = [sys.executable, str(ROOT / "lab" / "run_lab.py"), *words, "--json", "--out", out]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.stdout, done.stderr
        (folder,) = (path.parent for path in Path(out).glob("[0-9]*/result.json"))
        result = json.loads((folder / "result.json").read_text())
        return result, [request.server for request in read_requests(folder)]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", NAMES)
def test_every_expectation_holds(name: str, engine: str, mode: str) -> None:
    result, _ = run(name, engine, mode)
    failed = [f"{item['name']}: {item['detail']}" for item in result["expectations"] if not item["passed"]]
    assert (result["verdict"], result["reason"], failed) == ("passed", None, [])
    assert (result["engine"], result["mode"]) == (engine, mode)


@pytest.mark.pox
@pytest.mark.parametrize("name", ORDERED)
def test_engines_and_modes_choose_the_same_server_for_each_request(name: str) -> None:
    chosen = {(engine, mode): run(name, engine, mode)[1] for engine in ("pox", "osken") for mode in MODES}
    first = chosen["pox", MODES[0]]
    assert first
    assert all(servers == first for servers in chosen.values())


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", ["round_robin", "multi_switch"])
def test_a_connection_costs_one_packet_in_and_its_modes_flow_mods(name: str, engine: str, mode: str) -> None:
    result, _ = run(name, engine, mode)
    assert result["hits"] == {"h1": {"client": 20, "server": 20}, "h2": {"client": 20, "server": 20}}
    assert result["controller"]["packet_ins"] == 40
    assert result["controller"]["flow_mods"] == {"reactive": 40, "tracked": 0}[mode]


@pytest.mark.pox
def test_stock_pox_reaches_both_servers_and_answers_all() -> None:
    result, servers = run("stock_pox", "stock", "reactive")
    assert (result["verdict"], result["requests"]["ok"]) == ("passed", 40)
    assert set(servers) == {"h1", "h2"}


@pytest.mark.parametrize("path", sorted((ROOT / "lab" / "scenarios").glob("*.yaml")), ids=lambda path: path.stem)
def test_a_scenario_says_what_it_shows_and_bears_its_files_name(path: Path) -> None:
    scenario = load(path)
    assert scenario.name == path.stem
    assert scenario.about
    assert "# Watch:" in path.read_text()
    assert "# Try:" in path.read_text()
