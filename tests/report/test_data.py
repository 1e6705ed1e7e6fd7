"""Reading a run's folder: what is wrong with it is said in a sentence, what is odd in it becomes a note."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from made_runs import in_turn, interrupted, leave, result, round_robin, scenario

from lab.report.data import ReportError, read_run
from lab.report.html import write_html


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "holds no result.json"),
        ("{", "is not JSON: line 1"),
        ("[]", "is not a result that this kit reads"),
        ("{}", "expected schema 'balance-lab/result/1', got None"),
        ('{"schema": "balance-lab/result/2"}', "got 'balance-lab/result/2'"),
        ('{"schema": "balance-lab/result/1"}', "is not a result that this kit reads"),
        ('{"schema": "balance-lab/result/1", "scenario": "x", "expectations": [{"odd": 1}]}', "is not a result"),
        ("[" * 100_000, "is not a result that this kit reads"),
        ("\udcff", "is not a result that this kit reads"),
    ],
)
def test_wrong_result_is_one_sentence(content: str | None, sentence: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "result.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(ReportError) as error:
        write_html(tmp_path)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "report.html").exists()


def test_no_folder_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="nowhere is no folder of a run"):
        write_html(tmp_path / "nowhere")


def test_lines_that_are_no_requests_are_counted_and_left_out(tmp_path: Path) -> None:
    folder = round_robin(tmp_path)
    good = (folder / "requests.ndjson").read_text().splitlines()
    odd = ["", "[]", "{}", good[0][:40], "\x00", good[0].replace('"client": "h3"', '"client": 3')]
    odd += [good[0].replace("1700000000.0", value) for value in ("NaN", "1e999", "-1", "1e300", '"x"')]
    (folder / "requests.ndjson").write_text("\n".join(good[:20] + odd + good[20:]))
    run = read_run(folder)
    assert len(run.requests) == 40
    assert f"{len(odd)} of {40 + len(odd)} lines of requests.ndjson are not requests and were left out." in run.notes


@pytest.mark.parametrize("content", ["a: [", "", "[1]", "a: 'x", "topology: 3\nservices: 4\nload: []\nsteps: {}"])
def test_odd_scenario_still_gives_a_page(content: str, tmp_path: Path) -> None:
    requests = in_turn(4, ["h3"], ["h1"])
    folder = leave(tmp_path, result(requests), requests)
    (folder / "scenario.yaml").write_text(content)
    assert write_html(folder).is_file()


def test_nulls_everywhere_give_a_page_that_says_so(tmp_path: Path) -> None:
    folder = interrupted(tmp_path / "run")
    assert "There is no scenario.yaml: the network can't be drawn." in read_run(folder).notes
    assert "interrupted" in write_html(folder).read_text()


ODD_VALUES = ("x", 3, -1, 1e308, [], {}, [None], {"h1": None}, {"h1": {"client": "x"}}, True, [{"what": 1}], [3])


@pytest.mark.parametrize("value", ODD_VALUES, ids=repr)
def test_any_field_may_hold_anything(value: object, tmp_path: Path) -> None:
    """Of another kit's version, or edited by hand: a page all the same."""
    requests = in_turn(8, ["h3", "h4"], ["h1", "h2"])
    folder = leave(tmp_path, result(requests), requests, scenario())
    whole = json.loads((folder / "result.json").read_text())
    for key in whole:
        if key not in ("schema", "expectations"):
            (folder / "result.json").write_text(json.dumps({**whole, key: value}))
            assert write_html(folder).is_file(), key


def test_a_service_shows_the_policy_that_ran_not_the_one_asked_for(tmp_path: Path) -> None:
    """POX's own component draws at random, whatever a scenario says."""
    outcome = result(services={"web": {"policy": "random", "hits": {}}})
    run = read_run(leave(tmp_path, outcome, plan=scenario()))
    assert [service.policy for service in run.services] == ["random"]
