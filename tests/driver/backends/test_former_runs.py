"""What is known of a command before its scenario is read: that the very same one ran, and with which POX."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.driver.backends import former_runs
from lab.driver.backends.former_runs import FormerRuns

POX = Path("/somewhere/pox")


@pytest.fixture(autouse=True)
def scenario(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "one.yaml"
    path.write_text("name: one\n")
    return path


def test_the_same_command_is_known_with_its_pox_or_without() -> None:
    assert FormerRuns(["a"], ["one.yaml"]).pox() is None
    for pox in (None, POX):
        FormerRuns(["a"], ["one.yaml"]).remember(pox)
        assert FormerRuns(["a"], ["one.yaml"]).pox() == (pox,)


@pytest.mark.parametrize("words", [["b"], [], ["a", "a"], ["aone.yaml"]])
def test_other_words_are_another_command(words: list[str]) -> None:
    FormerRuns(["a"], ["one.yaml"]).remember(POX)
    assert FormerRuns(words, ["one.yaml"]).pox() is None


def test_a_changed_scenario_folder_or_kit_is_not_known(
    scenario: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FormerRuns(["a"], [str(scenario)]).remember(POX)
    with monkeypatch.context() as elsewhere:
        elsewhere.chdir("/")
        assert FormerRuns(["a"], [str(scenario)]).pox() is None
    with monkeypatch.context() as later:
        later.setattr(former_runs, "_kit", lambda: [b"a later kit"])
        assert FormerRuns(["a"], [str(scenario)]).pox() is None
    assert FormerRuns(["a"], [str(scenario)]).pox() == (POX,)
    scenario.write_text("name: two\n")
    assert FormerRuns(["a"], [str(scenario)]).pox() is None


@pytest.mark.parametrize("words", [["--policy", "mine.py:Mine"], []])
def test_a_plug_in_policy_may_have_changed_so_nothing_is_known(scenario: Path, words: list[str]) -> None:
    if not words:
        scenario.write_text("services: {web: {policy: mine.py:Mine}}\n")
    FormerRuns(words, [str(scenario)]).remember(POX)
    assert FormerRuns(words, [str(scenario)]).pox() is None


def test_scenarios_that_are_not_there_and_a_cache_that_cannot_be_written_are_no_error(tmp_path: Path) -> None:
    FormerRuns(["a"], ["none.yaml"]).remember(POX)
    assert FormerRuns(["a"], ["none.yaml"]).pox() is None
    (tmp_path / "cache").write_text("a file in the folder's place")
    FormerRuns(["a"], ["one.yaml"]).remember(POX)
    assert FormerRuns(["a"], ["one.yaml"]).pox() is None


def test_no_more_notes_are_kept_than_some(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(former_runs, "BOUND", 3)
    for number in range(5):
        FormerRuns([str(number)], ["one.yaml"]).remember(POX)
    known = [FormerRuns([str(number)], ["one.yaml"]).pox() for number in range(5)]
    assert sum(pox is not None for pox in known) == 3
    assert known[-1] == (POX,)
