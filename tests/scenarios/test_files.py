"""What the scenario files and the manual say of themselves and of each other is true."""

from __future__ import annotations

import random
import re

import pytest
from played import ROOT, SCENARIOS

from lab.balancer.policies import POLICIES
from lab.balancer.policies.plugin import Guarded, Plugin, load
from lab.driver import scenario

MANUAL = (ROOT / "docs" / "policies.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_says_what_it_shows_and_bears_its_files_name(name: str) -> None:
    read = scenario.load(SCENARIOS[name])
    assert read.name == name
    assert read.about
    text = SCENARIOS[name].read_text(encoding="utf-8")
    assert "# Watch:" in text
    assert "# Try:" in text


def test_the_readme_names_every_scenario_and_no_other() -> None:
    assert set(re.findall(r"^\| `(\w+)\.yaml` \|", README, re.MULTILINE)) == set(SCENARIOS)


def test_the_manual_names_every_policy_and_no_other() -> None:
    overview = MANUAL.partition("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", overview, re.MULTILINE)) == set(POLICIES)
    assert set(POLICIES) <= set(re.findall(r"^## (\w+)$", MANUAL, re.MULTILINE))


def test_the_manuals_example_is_the_policy_that_its_scenario_runs() -> None:
    example = (ROOT / "lab" / "scenarios" / "policies" / "even_odd.py").read_text(encoding="utf-8")
    assert f"```python\n{example}```\n" in MANUAL
    made = Plugin(file="even_odd.py", class_name="EvenOdd", source=example)
    assert Guarded(made, load(made), random.Random(1), raising=True).failures == 0
    assert scenario.load(SCENARIOS["custom_policy"]).policy == "even_odd.py:EvenOdd"


@pytest.mark.parametrize("page", ["README.md", "docs/architecture.md"])
def test_the_manual_is_linked(page: str) -> None:
    assert "policies.md)" in (ROOT / page).read_text(encoding="utf-8")
