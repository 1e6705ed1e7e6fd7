"""What will run and why, settled before anything is started."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_lab import FakeBackend

from lab.driver import pox_supply
from lab.driver.backends.base import Missing
from lab.driver.errors import LabError, UsageError
from lab.driver.plan import Plan, make_plan
from lab.driver.pox_supply import PoxResult
from lab.driver.scenario import load

HERE = PoxResult(path=Path("/somewhere/pox"), why="POX 20d2918 from the cache")
NONE = PoxResult(path=None, why="no POX here: set POX_SOURCE")


def plan(home: Path, backend: FakeBackend, engine: str) -> Plan:
    file = home / "a.yaml"
    file.write_text(f"name: a\ncontroller: {{engine: {engine}}}\n")
    return make_plan(load(str(file)), (backend, "made of air"))


@pytest.mark.parametrize(
    ("engine", "pox", "chosen", "why"),
    [
        ("auto", HERE, "pox", "POX 20d2918 from the cache"),
        ("auto", NONE, "osken", "no POX here: set POX_SOURCE"),
        ("pox", HERE, "pox", "asked for; POX 20d2918 from the cache"),
        ("stock", HERE, "stock", "asked for; POX 20d2918 from the cache"),
        ("osken", HERE, "osken", "asked for"),
    ],
)
def test_engine_and_reason(
    home: Path,
    backend: FakeBackend,
    monkeypatch: pytest.MonkeyPatch,
    engine: str,
    pox: PoxResult,
    chosen: str,
    why: str,
) -> None:
    monkeypatch.setattr(pox_supply, "find_pox", lambda explicit=False: pox)
    made = plan(home, backend, engine)
    assert (made.engine, made.engine_why) == (chosen, why)
    assert made.pox == (pox.path if engine != "osken" else None)


def test_an_ipv6_service_makes_auto_choose_the_engine_that_can(
    home: Path, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pox_supply, "find_pox", lambda explicit=False: pytest.fail("looked"))
    file = home / "six.yaml"
    file.write_text("name: six\nservices: {web: {ip: 'fd00::1:1'}}\n")
    made = make_plan(load(str(file)), (backend, "made of air"))
    assert (made.engine, made.pox) == ("osken", None)
    assert "IPv6" in made.engine_why
    with pytest.raises(UsageError, match=r"engine pox speaks OpenFlow 1\.0"):
        load(str(file), engine="pox")


@pytest.mark.parametrize("engine", ["pox", "stock"])
def test_asking_for_pox_without_pox_says_how_to_supply_it(
    home: Path, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    monkeypatch.setattr(pox_supply, "find_pox", lambda explicit=False: NONE)
    with pytest.raises(LabError, match=f"the engine {engine} needs POX: no POX here: set POX_SOURCE"):
        plan(home, backend, engine)


def test_osken_never_looks_for_pox(home: Path, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no git host is in reach that costs ten seconds."""
    monkeypatch.setattr(pox_supply, "find_pox", lambda explicit=False: pytest.fail("looked"))
    assert plan(home, backend, "osken").pox is None


def test_all_that_a_backend_lacks_is_told(home: Path, backend: FakeBackend) -> None:
    backend.gaps = [Missing(what="no curl", mend="install curl"), Missing(what="no tun", mend="modprobe tun")]
    with pytest.raises(LabError, match="no curl: install curl; no tun: modprobe tun"):
        plan(home, backend, "osken")
