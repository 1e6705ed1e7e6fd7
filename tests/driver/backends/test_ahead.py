"""A lab that is begun before the scenario is read: only where that was right before, used where it fits, else gone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import stand_in

from lab.driver import commands
from lab.driver.backends import ahead
from lab.driver.backends.ahead import Ahead
from lab.driver.backends.former_runs import FormerRuns
from lab.driver.backends.sandbox import SandboxBackend, SandboxLab
from lab.driver.cli import main

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def ran(folder: Path) -> FormerRuns:
    """The notes of a command that ran before, without POX."""
    (folder / "sound.yaml").write_text("name: sound\n")
    former = FormerRuns(["run"], [str(folder / "sound.yaml")])
    former.remember(None)
    return former


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
def test_the_lab_that_was_begun_is_the_one_that_comes_up(made: list[SandboxLab], tmp_path: Path) -> None:
    with Ahead(ran(tmp_path), keep=False) as begun:
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
    with Ahead(ran(tmp_path), keep=False) as begun:
        backend = ahead.SandboxBackend()
        begun.offer(backend)
        (tmp_path / "pox").mkdir()
        lab = backend.up("other", tmp_path / "pox", False)
        assert not made[0].alive()
        assert stand_in.facts(lab.url)["pox"] == []
        lab.down()


@pytest.mark.sandbox
def test_a_lab_that_nobody_takes_is_gone_at_the_end(made: list[SandboxLab], tmp_path: Path) -> None:
    with Ahead(ran(tmp_path), keep=False):
        (lab,) = made
        assert lab.alive()
    assert not lab.alive()


@pytest.mark.parametrize("keep", [False, True])
def test_no_lab_is_begun_that_would_not_be_used(made: list[SandboxLab], tmp_path: Path, keep: bool) -> None:
    with Ahead(ran(tmp_path) if keep else FormerRuns(["never"], []), keep=keep):
        assert made == []


def test_a_mistake_is_left_to_those_who_tell_it(
    made: list[SandboxLab], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAB_PORT", "many")
    with Ahead(ran(tmp_path), keep=False):
        assert made == []


@pytest.mark.sandbox
def test_of_a_scenario_that_is_wrong_now_nothing_is_started(
    made: list[SandboxLab], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    scenario = tmp_path / "first.yaml"
    scenario.write_text("name: first\n")
    taken: list[SandboxLab | None] = []
    monkeypatch.setattr(commands, "run_scenarios", lambda *args, **_: taken.append(args[2].take("lab", None)) or 0)
    begun = []
    for text in ("name: first\n", "name: first\n", "name: first\ntopology: {hosts: -1}\n"):
        scenario.write_text(text)
        assert main(["first.yaml", "--backend", "sandbox"]) == 0
        begun.append(len(made))
    for lab in made:
        lab.down()
    assert (begun, [lab is not None for lab in taken]) == ([0, 1, 1], [False, True, False])
