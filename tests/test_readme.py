"""What the README says can be typed, and is read in 120 columns."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lab.driver.cli import cli
from lab.driver.scenario import load

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = sorted(set(re.findall(r"lab/run_lab\.py ([a-z-]+)\b(?![./])", README)))
TYPED = [line.partition("#")[0] for line in README.splitlines() if "lab/run_lab.py" in line]
OPTIONS = sorted({option for line in TYPED for option in re.findall(r"--[a-z]+", line)})
FILES = sorted(set(re.findall(r"\]\(([^)#]+)\)|`((?:scenarios|docs|lab)/[\w/]+\.\w+)`", README)))


def test_no_line_is_longer_than_120_columns() -> None:
    assert [line for line in README.splitlines() if len(line) > 120] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_it_names_is_there(command: str) -> None:
    assert command in cli.commands


@pytest.mark.parametrize("option", OPTIONS)
def test_each_option_it_names_is_there(option: str) -> None:
    known = {word for command in cli.commands.values() for param in command.params for word in param.opts}
    known |= {word for command in cli.commands["pool"].commands.values() for p in command.params for word in p.opts}
    assert option in known


@pytest.mark.parametrize("path", [one or other for one, other in FILES])
def test_each_file_it_names_is_there(path: str) -> None:
    assert (ROOT / path).exists() or (ROOT / "lab" / path).exists()


def test_its_scenario_is_sound(tmp_path: Path) -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    (tmp_path / "my_first.yaml").write_text(text)
    assert load(tmp_path / "my_first.yaml").name == "my_first"
