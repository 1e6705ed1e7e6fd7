"""A lab that is begun before the scenario is read: used where it fits, else gone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import stand_in

from lab.driver.backends import ahead, requirements, sandbox_init
from lab.driver.backends.ahead import Ahead
from lab.driver.backends.sandbox import SandboxBackend, SandboxLab

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[SandboxLab]:
    """Labs that were begun, of stand-ins in the place of agent and supervisor."""
    labs: list[SandboxLab] = []

    class Standing(SandboxBackend):
        def __init__(self) -> None:
            programs = stand_in.backend(f"ahead{os.getpid()}")._programs
            super().__init__(agent=programs["agent"], supervisor=programs["supervisor"])

        def start(self, name: str, pox: Path | None) -> SandboxLab:
            labs.append(super().start(name, pox))
            return labs[-1]

    monkeypatch.setattr(ahead, "SandboxBackend", Standing)
    return labs


@pytest.mark.sandbox
def test_the_lab_that_was_begun_is_the_one_that_comes_up(made: list[SandboxLab]) -> None:
    with Ahead("sandbox", "osken", keep=False) as begun:
        backend = ahead.SandboxBackend()
        begun.offer(backend)
        first, second = backend.up("first", None, False), backend.up("second", None, False)
        assert first is made[0]
        assert (first.name, second.name, second is first) == ("first", "second", False)
        second.down()
    assert first.alive(), "what was taken is its taker's to end"
    first.down()


@pytest.mark.sandbox
def test_a_lab_with_another_pox_is_ended_and_one_is_made(made: list[SandboxLab], tmp_path: Path) -> None:
    with Ahead("sandbox", "osken", keep=False) as begun:
        backend = ahead.SandboxBackend()
        begun.offer(backend)
        lab = backend.up("other", tmp_path, False)
        assert not made[0].alive()
        assert stand_in.facts(lab.url)["pox"] == []
        lab.down()


@pytest.mark.sandbox
def test_a_lab_that_nobody_takes_is_gone_at_the_end(made: list[SandboxLab]) -> None:
    with Ahead("sandbox", "osken", keep=False):
        (lab,) = made
        assert lab.alive()
    assert not lab.alive()


@pytest.mark.parametrize(("backend", "keep"), [("compose", False), ("nonsense", False), ("sandbox", True)])
def test_no_lab_is_begun_that_would_not_be_used(made: list[SandboxLab], backend: str, keep: bool) -> None:
    with Ahead(backend, None, keep=keep):
        assert made == []


@pytest.mark.parametrize("command", ahead.OTHERS)
def test_auto_waits_where_another_backend_may_be_meant(
    made: list[SandboxLab], command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ahead.shutil, "which", lambda name: f"/usr/bin/{name}" if name == command else None)
    with Ahead("auto", None, keep=False):
        assert made == []


def test_a_machine_that_lacks_something_begins_nothing(made: list[SandboxLab], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requirements, "MODULES", {"no_such_module": "no-such-package"})
    with Ahead("sandbox", None, keep=False):
        assert made == []


def test_a_mistake_is_left_to_those_who_tell_it(made: list[SandboxLab], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_PORT", "many")
    with Ahead("sandbox", None, keep=False):
        assert made == []


@pytest.mark.sandbox
def test_a_wrong_scenario_leaves_nothing_when_the_command_ends(tmp_path: Path) -> None:
    (tmp_path / "wrong.yaml").write_text("name: wrong\ntopology: {hosts: -1}\n")
    before = set(stand_in.processes(sandbox_init.__file__))
    command = [sys.executable, str(ROOT / "lab/run_lab.py"), "wrong.yaml", "--backend", "sandbox"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "wrong.yaml:2" in done.stderr
    assert os.listdir(tmp_path) == ["wrong.yaml"]
    assert set(stand_in.processes(sandbox_init.__file__)) <= before
