"""The kit's scenarios for real, in the sandbox: real switch, controller, sockets. Each must pass under each engine."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
ENGINES = ["osken", pytest.param("pox", marks=pytest.mark.pox)]
MODES = ["reactive", "tracked"]

pytestmark = pytest.mark.sandbox


def run(folder: Path, name: str, *options: str) -> dict[str, Any]:
    """The result of a scenario that passes."""
    command = [sys.executable, str(ROOT / "lab" / "run_lab.py"), f"scenarios/{name}.yaml", "--backend", "sandbox"]
    command += ["--json", "--out", str(folder), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180)
    assert done.stdout, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    assert (done.returncode, result["verdict"]) == (0, "passed"), (result["expectations"], result.get("reason"))
    return result


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", ["round_robin", "multi_switch"])
def test_turns_are_exact_and_cost_one_packet_in_each(tmp_path: Path, name: str, engine: str, mode: str) -> None:
    result = run(tmp_path, name, "--engine", engine, "--mode", mode)
    assert result["hits"] == {"h1": {"client": 20, "server": 20}, "h2": {"client": 20, "server": 20}}
    assert result["requests"] == {"sent": 40, "ok": 40, "failed": 0}
    assert result["controller"]["packet_ins"] == 40
    assert result["controller"]["flow_mods"] == (40 if mode == "reactive" else 0)


@pytest.mark.parametrize("engine", ENGINES)
def test_random_is_a_fair_draw(tmp_path: Path, engine: str) -> None:
    assert run(tmp_path, "random", "--engine", engine)["policy"] == "random"


@pytest.mark.pox
def test_stock_pox_reaches_both_servers(tmp_path: Path) -> None:
    result = run(tmp_path, "stock_pox")
    assert result["requests"] == {"sent": 40, "ok": 40, "failed": 0}
    assert result["controller"]["packet_ins"] is None


@pytest.mark.parametrize(
    ("engine", "mode"), [("osken", "tracked"), pytest.param("pox", "reactive", marks=pytest.mark.pox)]
)
@pytest.mark.parametrize("name", ["server_down", "controller_restart", "switch_restart", "drain", "http_down"])
def test_what_goes_wrong_breaks_no_connection(tmp_path: Path, name: str, engine: str, mode: str) -> None:
    run(tmp_path, name, "--engine", engine, "--mode", mode)
