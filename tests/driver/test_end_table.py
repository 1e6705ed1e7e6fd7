"""The table at the end: it says all that matters, in words, in 80 columns, whatever the run was like."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from lab.driver.summary import render, show
from lab.record import Expectation, Result


def a_result(**changes: object) -> Result:
    result = Result(
        scenario="round_robin",
        verdict="passed",
        backend="sandbox",
        engine="osken",
        policy="round_robin",
        mode="reactive",
        requests={"sent": 40, "ok": 40, "failed": 0},
        hits={"h1": {"client": 30, "server": 30}, "h2": {"client": 10, "server": 10}},
        controller={"packet_ins": 40, "flow_mods": 40, "packet_ins_total": 52, "flow_mods_total": 47},
        expectations=[Expectation(name="hits.h1", passed=True, detail="30 = 30")],
        timing_s={"bring_up": 1.4, "run": 0.6, "tear_down": 0.2},
        duration_s=2.3,
    )
    for name, value in changes.items():
        setattr(result, name, value)
    return result


def shown(result: Result, folder: Path = Path("runs/x")) -> str:
    console = Console(file=io.StringIO(), width=80, color_system=None)
    console.print(render(result, folder))
    assert isinstance(console.file, io.StringIO)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines())


def test_no_line_of_words_is_padded(tmp_path: Path) -> None:
    stream = io.StringIO()
    show(a_result(), tmp_path, stream)
    lines = stream.getvalue().splitlines()
    assert lines[0] == ""
    assert [
        line for line in lines if line.startswith(("passed", "packet-ins", " PASSED")) and line.endswith("  ")
    ] == []


def test_it_says_who_served_what_at_both_ends_and_how_fast() -> None:
    text = shown(a_result(latency_ms={"connect": {"p50": 1.25, "p95": 2.0, "p99": 3.0}}))
    assert "PASSED" in text
    assert "sandbox · osken · round_robin · reactive" in text
    assert [line.split()[:4] for line in text.splitlines() if line.startswith("h")] == [
        ["h1", "30", "30", "75.0%"],
        ["h2", "10", "10", "25.0%"],
    ]
    assert "connect          1.25     2.00     3.00" in text
    assert "packet-ins 40 for these, 52 in all     flow-mods 40 for these, 47 in all" in text
    assert "all of 1 expectation held, in 2.3 s (up 1.4, run 0.6, down 0.2)" in text
    assert text.endswith("run: runs/x")


def test_it_fits_eighty_columns() -> None:
    long = [Expectation(name=f"steps.{n}.hits.h1", passed=n % 2 == 0, detail="because " * 20) for n in range(40)]
    text = shown(a_result(expectations=long, controller=dict.fromkeys(a_result().controller, 123456789)))
    assert max(map(len, text.splitlines())) <= 80


def test_every_failure_is_shown_and_a_crowd_of_passes_is_not() -> None:
    many = [Expectation(name=f"hits.h{n}", passed=n < 30, detail="") for n in range(60)]
    text = shown(a_result(verdict="failed", expectations=many))
    assert text.count("FAILED") == 1 + 30
    assert "… and 18 more" in text
    assert "30 of 60 expectations failed" in text


def test_a_crowd_of_servers_is_cut_short() -> None:
    text = shown(a_result(hits={f"h{n}": {"client": 1, "server": 1} for n in range(100)}))
    assert "… and 80 more" in text


def test_a_run_that_broke_says_why_and_shows_no_empty_table() -> None:
    text = shown(Result(scenario="a", reason="no room for it"))
    assert "BROKEN" in text
    assert "broken: no room for it" in text
    assert "latency" not in text


def test_what_is_not_known_is_not_made_up() -> None:
    hits = {"h1": {"client": 3, "server": None}}
    text = shown(a_result(hits=hits, engine="stock", controller=dict.fromkeys(a_result().controller)))
    assert [line.split()[:3] for line in text.splitlines() if line.startswith("h1")] == [["h1", "3", "?"]]
    assert "not told by this engine" in text


@pytest.mark.parametrize("note", ["the report could not be made: [bold]disk[/bold] full"])
def test_notes_are_shown_as_they_are(note: str) -> None:
    assert note in shown(a_result(notes=[note]))
