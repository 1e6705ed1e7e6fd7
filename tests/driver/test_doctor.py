"""The doctor: what it says of machines that can run everything, something or nothing, and that looking is quick."""

from __future__ import annotations

import io
import os
import time
from pathlib import Path

import pytest
from rich.console import Console

from lab.driver import doctor
from lab.driver.backends import Missing
from lab.driver.doctor import Fact, Report
from lab.driver.errors import LabError
from lab.driver.pox_supply import PoxResult

POX = PoxResult(path=Path("/pox"), why="POX 20d2918 from the cache /pox")
NO_POX = PoxResult(path=None, why="no POX here: set POX_SOURCE")
POX_IN_REACH = PoxResult(path=None, why="POX is not here yet, but it is in reach", in_reach=True)
NO_DOCKER = Missing(what="no Docker engine answers [/]", mend="sudo apt-get install docker.io")


def report(compose: list[Missing], sandbox: list[Missing], pox: PoxResult = POX) -> Report:
    return Report(
        missing={"compose": compose, "sandbox": sandbox}, pox=pox, facts=(Fact(name="curl", value="7.88.1", good=True),)
    )


def printed(what: Report) -> str:
    console = Console(file=io.StringIO(), width=100)
    doctor.show(what, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize(
    ("compose", "sandbox", "code"),
    [([], [], 0), ([NO_DOCKER], [], 0), ([], [NO_DOCKER], 0), ([NO_DOCKER], [NO_DOCKER], 3)],
)
def test_one_backend_is_enough(compose: list[Missing], sandbox: list[Missing], code: int) -> None:
    assert report(compose, sandbox).exit_code == code


@pytest.mark.parametrize(
    ("pox", "verdicts"),
    [(POX, ["yes", "yes", "yes"]), (NO_POX, ["no", "yes", "no"]), (POX_IN_REACH, ["later", "yes", "later"])],
)
def test_without_pox_only_osken_runs(pox: PoxResult, verdicts: list[str]) -> None:
    found = report([NO_DOCKER], [], pox)
    assert [found.verdict("sandbox", engine) for engine in doctor.ENGINES] == verdicts
    assert [found.verdict("compose", engine) for engine in doctor.ENGINES] == ["no", "no", "no"]


def test_what_is_missing_is_printed_as_it_stands_with_its_mend() -> None:
    text = printed(report([NO_DOCKER], []))
    assert "compose lacks: no Docker engine answers [/]" in text
    assert "mend: sudo apt-get install docker.io" in text
    assert "Ready: python lab/run_lab.py scenarios/round_robin.yaml (backend sandbox)" in text


def test_where_nothing_runs_the_closing_line_says_what_to_do() -> None:
    assert printed(report([NO_DOCKER], [NO_DOCKER])).rstrip().endswith("`make demo` does it all.")


def test_a_backend_that_cannot_even_look_is_one_that_lacks_something(monkeypatch: pytest.MonkeyPatch) -> None:
    def choose(name: str) -> None:
        raise LabError(f"{name} is out of order")

    monkeypatch.setattr(doctor, "choose", choose)
    monkeypatch.setattr(doctor.pox_supply, "outlook", lambda patience: NO_POX)
    found = doctor.examine()
    assert found.exit_code == 3
    assert found.missing["compose"][0].what == "compose is out of order"


def test_programs_that_hang_or_fail_cost_a_second_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, body in {"docker": "exec sleep 30", "ovs-vswitchd": "exec sleep 30", "curl": "exit 1"}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(doctor, "_gaps", lambda backend: [])
    monkeypatch.setattr(doctor.pox_supply, "outlook", lambda patience: NO_POX)
    monkeypatch.setattr(doctor, "_PATIENCE", 0.3)
    start = time.monotonic()
    found = {fact.name: fact for fact in doctor.examine().facts}
    assert time.monotonic() - start < 5.0  # one after the other they would sleep for a minute
    assert found["Open vSwitch"].value == found["Docker engine"].value == found["curl"].value == "not found"
    assert found["Python"].good
