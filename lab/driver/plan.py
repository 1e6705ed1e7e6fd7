"""What will run and why, settled before anything is started: backend, engine, and where POX comes from.

Rule: every choice has its reason beside it, since both are printed first and recorded with the result.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lab.driver import pox_supply
from lab.driver.backends.base import Backend
from lab.driver.errors import LabError
from lab.driver.scenario import Scenario


@dataclass(frozen=True, kw_only=True)
class Plan:
    scenario: Scenario
    backend: Backend
    backend_why: str
    engine: str  # pox, osken or stock: `auto` is settled
    engine_why: str
    pox: Path | None = None  # a checked-out folder
    keep: bool = False
    verbose: bool = False


def make_plan(scenario: Scenario, backend: tuple[Backend, str], *, keep: bool = False, verbose: bool = False) -> Plan:
    """Raises LabError: this machine lacks what the backend or the engine needs. UsageError: POX_SOURCE is no POX."""
    chosen, why = backend
    if gaps := chosen.missing():
        raise LabError(f"the {chosen.name} backend can't run here: " + "; ".join(f"{g.what}: {g.mend}" for g in gaps))
    engine, engine_why, pox = _choose_engine(scenario)
    return Plan(
        scenario=scenario,
        backend=chosen,
        backend_why=why,
        engine=engine,
        engine_why=engine_why,
        pox=pox,
        keep=keep,
        verbose=verbose,
    )


def _choose_engine(scenario: Scenario) -> tuple[str, str, Path | None]:
    asked = scenario.engine
    if asked == "osken":
        return asked, "asked for", None
    if asked == "auto" and scenario.is_ipv6:
        return "osken", "a service has an IPv6 address, which POX's OpenFlow 1.0 can't rewrite", None
    found = pox_supply.find_pox(explicit=asked != "auto")
    if asked == "auto":
        return "pox" if found.path else "osken", found.why, found.path
    if found.path is None:
        raise LabError(f"the engine {asked} needs POX: {found.why}")
    return asked, f"asked for; {found.why}", found.path
