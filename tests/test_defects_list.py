"""docs/defects.md lists every known defect of the stock balancer once, with a test that exists."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "docs" / "defects.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| D(\d+) \|.+\| \[(\w+)\]\[(\w+)\] \|$", re.MULTILINE)
PLACES = dict(re.findall(r"^\[(\w+)\]: \.\./(\S+)$", TEXT, re.MULTILINE))


def test_every_defect_is_listed_once() -> None:
    assert [int(number) for number, _, _ in ROW.findall(TEXT)] == list(range(1, 39))


def test_every_test_that_is_named_exists_and_bears_its_defects_number() -> None:
    for number, name, place in ROW.findall(TEXT):
        assert f"d{int(number):02}" in name.split("_"), name
        assert f"def test_{name}(" in (ROOT / PLACES[place]).read_text(encoding="utf-8"), name


def test_every_scenario_that_is_named_exists() -> None:
    named = re.findall(r"`(?:scenarios/)?(\w+\.yaml)`", TEXT)
    assert len(named) > 3
    assert [name for name in named if not (ROOT / "lab" / "scenarios" / name).is_file()] == []
