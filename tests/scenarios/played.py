"""Scenarios played for real in a sandbox, once each: what many tests judge is one run, kept for the test session."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from lab.driver.scenario import Scenario, load
from lab.driver.scenario_model import CONTROLLER_CHOOSES, POLICIES_KEPT
from lab.record import read_requests
from lab.wire import Request

ROOT = Path(__file__).parents[2]
MODES = tuple(mode for mode, kept in POLICIES_KEPT.items() if kept == CONTROLLER_CHOOSES)
SCENARIOS = {path.stem: path for path in sorted((ROOT / "lab" / "scenarios").glob("*.yaml"))}


@dataclass(frozen=True)
class Played:
    scenario: Scenario
    result: dict[str, Any]
    requests: Sequence[Request]  # in the order they finished
    controller_log: str

    @property
    def failed(self) -> list[str]:
        """The expectations that did not hold."""
        return [f"{item['name']}: {item['detail']}" for item in self.result["expectations"] if not item["passed"]]

    def servers_in_turn(self) -> dict[str, list[str | None]]:
        """Service → which of its servers answered, in turn; services with the same servers have the same list."""
        pools = self.scenario.servers
        return {service: [r.server for r in self.requests if r.server in pool] for service, pool in pools.items()}


def play(path: Path, *options: str) -> Played:
    """One run in a sandbox, whatever its verdict."""
    with TemporaryDirectory() as out:
        words = [str(path), "--backend", "sandbox", *options, "--json", "--out", out]
        command = [sys.executable, str(ROOT / "lab" / "run_lab.py"), *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.stdout, done.stderr
        (folder,) = (found.parent for found in Path(out).glob("[0-9]*/result.json"))
        return Played(
            scenario=load(folder / "scenario.yaml"),
            result=json.loads((folder / "result.json").read_text()),
            requests=list(read_requests(folder)),
            controller_log=(folder / "controller.log").read_text(),
        )


@cache
def run(name: str, engine: str, mode: str) -> Played:
    """One of the kit's scenarios."""
    return play(SCENARIOS[name], "--engine", engine, "--mode", mode)


def combinations(name: str) -> list[tuple[str, str]]:
    """Engine and mode, each that the scenario doesn't settle by itself."""
    says = yaml.safe_load(SCENARIOS[name].read_text()).get("controller", {})
    engines = (says["engine"],) if "engine" in says else ("pox", "osken")
    modes = (says["mode"],) if "mode" in says else ("reactive",) if engines == ("stock",) else MODES
    return [(engine, mode) for engine in engines for mode in modes]


def in_order(name: str) -> bool:
    """Nothing is left to chance: requests come one by one, and no policy draws by lot."""
    scenario = load(SCENARIOS[name])
    one_by_one = all(step.load.concurrency == 1 for step in scenario.rounds)
    return one_by_one and "random" not in scenario.policies.values()
