"""Steps other than loads, and steps beside a load, on a lab made of air: what the lab is asked for, and when."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from fake_lab import FakeAgent
from fake_runs import Runs

from lab import wire
from lab.driver.scenario import Scenario, load
from lab.driver.steps import (
    ControllerStep,
    FloodStep,
    LoadStep,
    PauseStep,
    PoolStep,
    ServerStep,
    SwitchStep,
    SwitchWaitStep,
    WaitStep,
    describe,
)
from lab.record import Result, read_requests

ALL = Path(__file__).parent / "data" / "ok" / "all_steps.yaml"
HEAD = "name: a\ncontroller: {engine: osken}\n"


@pytest.fixture
def scenario() -> Scenario:
    return load(ALL)


def check(result: Result, name: str) -> bool:
    (found,) = [item.passed for item in result.expectations if item.name == name]
    return found


def test_every_kind_of_step_comes_typed_and_in_order(scenario: Scenario) -> None:
    download, *rest = scenario.steps
    assert isinstance(download, LoadStep)
    assert download.load.url == "http://10.0.1.1:80/slow?seconds=3&bytes=100000"
    assert download.during[:3] == (
        PauseStep(seconds=0.5),
        ControllerStep(action="kill"),
        ControllerStep(action="start"),
    )
    assert rest[:-2] == [
        ControllerStep(action="stop"),
        ControllerStep(action="restart"),
        SwitchStep(action="restart"),
        SwitchWaitStep(switch="s1", state="up"),
        ServerStep(host="h2", action="stop"),
        WaitStep(server="h2", state="down"),
        ServerStep(host="h2", action="start"),
        PoolStep(service="web", server="h3", action="add", ip="10.0.0.3", weight=1),
        PoolStep(service="web", server="h3", action="weight", ip="10.0.0.3", weight=4),
        PoolStep(service="web", server="h3", action="drain", ip="10.0.0.3"),
        WaitStep(server="h3", state="drained"),
        PoolStep(service="web", server="h3", action="enable", ip="10.0.0.3"),
        PoolStep(service="web", server="h3", action="remove", ip="10.0.0.3"),
        FloodStep(flood=wire.Flood(host="h6", ip="10.0.1.1", syns=1000, seconds=1.0), service="web"),
    ]


def test_each_step_is_described_in_words_of_its_own(scenario: Scenario) -> None:
    words = [describe(step) for step in scenario.steps]
    assert len(set(words)) == len(words) - 1  # the two loads of one service
    assert "pool weight h3 4" in words
    assert "flood web, 1000 SYNs" in words


def test_rounds_are_all_loads_those_beside_another_right_behind_it(scenario: Scenario) -> None:
    assert [one.load.requests for one in scenario.rounds] == [8, 4, 40]
    assert scenario.requests == 52


def test_a_server_that_a_step_adds_has_its_web_server_from_the_start(scenario: Scenario) -> None:
    assert [server.host for server in scenario.network().servers] == ["h1", "h2", "h3"]
    assert [server.name for server in scenario.controller().services[0].servers] == ["h1", "h2"]


def test_a_load_that_says_its_success_is_not_overruled_by_the_default(scenario: Scenario) -> None:
    assert scenario.expect.failed is None


def test_a_controller_that_a_step_kills_is_no_broken_lab(runs: Runs, agent: FakeAgent) -> None:
    agent.fails = lambda index: agent.exit_code is not None
    steps = "steps:\n- load: {requests: 4}\n- controller: kill\n- load: {requests: 2, expect: {failed: 2}}\n"
    result = runs(HEAD + steps + "- controller: start\n- load: {requests: 4}\n")
    assert result.verdict == "passed", (result.reason, result.expectations)
    assert result.requests == {"sent": 10, "ok": 8, "failed": 2}
    assert agent.restarted == 1
    assert agent.bodies["POST /controller/kill"] == {"signal": "KILL"}


def test_a_controller_may_stay_dead_to_the_end(runs: Runs) -> None:
    assert runs(HEAD + "steps:\n- load: {requests: 4}\n- controller: stop\n").verdict == "passed"


def test_counters_of_both_controllers_are_added_up(runs: Runs) -> None:
    result = runs(HEAD + "steps:\n- load: {requests: 4}\n- controller: restart\n- load: {requests: 6}\n")
    assert result.controller["packet_ins"] == 10


def test_what_is_done_during_a_load_is_done_while_it_runs(runs: Runs, agent: FakeAgent) -> None:
    """The load hangs until the pool has been asked for, so that it can't be asked before or after."""

    def wait_for_the_pool(index: int) -> None:
        if index == 3:
            deadline = time.monotonic() + 10
            while "POST /controller/pool/web/h2/drain" not in agent.calls and time.monotonic() < deadline:
                time.sleep(0.01)

    agent.before_request = wait_for_the_pool
    result = runs(HEAD + "steps:\n- load: {requests: 6, during: [{pool: {server: h2, action: drain}}]}\n")
    assert result.verdict == "passed", (result.reason, result.expectations)
    load, pool = result.steps
    assert (load["what"], pool["what"]) == ("load web", "pool drain h2")
    assert load["started_s"] <= pool["started_s"] <= pool["ended_s"] <= load["ended_s"]
    assert load["outcome"] == "6 of 6 answered"


def test_a_load_beside_another_is_judged_by_its_own_requests(runs: Runs) -> None:
    inner = "{load: {requests: 5, expect: {failed: 0, hits: {h1: 3, h2: 2}}}}"
    result = runs(HEAD + f"steps:\n- load: {{requests: 8, during: [{inner}], expect: {{hits: {{h1: 4}}}}}}\n")
    assert result.verdict == "passed", result.expectations
    names = [item.name for item in result.expectations]
    assert "steps.0.during.0.hits.h1" in names
    assert result.requests["sent"] == 13


def test_a_step_that_fails_ends_the_run_while_the_load_still_runs(runs: Runs, agent: FakeAgent) -> None:
    agent.hang_at = 2
    agent.refuse["POST /switch/restart"] = (409, "not these switches")
    result = runs(HEAD + "steps:\n- load: {requests: 6, during: [{switch: restart}]}\n")
    assert (result.verdict, result.reason) == ("broken", "not these switches")
    assert runs.nothing_is_left()


def test_a_load_that_fails_ends_the_run_though_steps_are_left(runs: Runs, agent: FakeAgent) -> None:
    agent.break_off_at = 2
    during = "[{wait: {seconds: 0.2}}, {wait: {seconds: 0.1}}]"
    result = runs(HEAD + f"steps:\n- load: {{requests: 6, during: {during}}}\n")
    assert result.verdict == "broken"
    assert "broke the load off" in str(result.reason)


def test_a_recovery_is_timed_from_the_start_of_the_controller(runs: Runs, agent: FakeAgent) -> None:
    agent.clock = time.time
    text = HEAD + "steps:\n- controller: restart\n- load: {requests: 3, expect: {recovered_within_s: LIMIT}}\n"
    assert check(runs(text.replace("LIMIT", "5")), "steps.1.recovered_within_s")
    agent.before_request = lambda index: time.sleep(0.05)
    assert not check(runs(text.replace("LIMIT", "0.01")), "steps.1.recovered_within_s")


def test_a_connection_of_before_the_start_is_no_recovery(runs: Runs, agent: FakeAgent) -> None:
    """The fake's requests happened long ago."""
    result = runs(HEAD + "steps:\n- switch: restart\n- load: {requests: 3, expect: {recovered_within_s: 5}}\n")
    assert not check(result, "steps.1.recovered_within_s")


@pytest.mark.parametrize(("peak", "passed"), [(229.0, True), (231.0, False)])
def test_memory_grows_from_the_first_step_to_the_peak(runs: Runs, agent: FakeAgent, peak: float, passed: bool) -> None:
    def grow(index: int) -> None:
        agent.rss_peak_mb = peak

    agent.before_request = grow
    result = runs(HEAD + "load: {requests: 4}\nexpect: {controller_memory_mb_growth: 200}\n")
    assert check(result, "controller_memory_mb_growth") is passed
    assert result.controller_memory_mb_growth == peak - 30


def test_a_flood_tells_what_it_sent(runs: Runs, agent: FakeAgent) -> None:
    result = runs(HEAD + "steps:\n- flood: {syns: 500, seconds: 1, spoofed: false}\n")
    sent = wire.decode(wire.Flood, agent.bodies["POST /flood"])
    assert sent == wire.Flood(host="h6", ip="10.0.1.1", syns=500, seconds=1.0, spoofed=False)
    assert result.steps[0]["outcome"] == "500 SYNs in 0.5 s"


def test_waiting_for_a_switch_that_does_not_come_breaks_the_run(runs: Runs, agent: FakeAgent) -> None:
    agent.connected["s1"] = False
    result = runs(HEAD + "steps:\n- wait: {switch: s1, state: down}\n- wait: {switch: s1, state: up, timeout_s: 0.1}\n")
    assert result.reason == "s1 was not connected after 0.1 s"


def test_a_web_server_is_stopped_and_started(runs: Runs, agent: FakeAgent) -> None:
    steps = "- server: {host: h2, http: stop}\n- wait: {server: h2, state: down}\n- server: {host: h2, http: start}\n"
    assert runs(HEAD + f"steps:\n{steps}- wait: {{server: h2, state: up}}\n").reason is None
    assert agent.calls.count("POST /server") == 2


def test_a_run_that_ends_early_notes_nothing_after_its_end(runs: Runs, agent: FakeAgent) -> None:
    """The load still hangs in its thread when the time limit ends the step beside it."""
    agent.hang_at = 3
    beside = "[{wait: {server: h1, state: down, timeout_s: 30}}]"
    result = runs(HEAD + f"steps:\n- load: {{requests: 9, during: {beside}}}\n", time_limit_s=0.5)
    agent.end_hang.set()
    assert result.verdict == "broken"
    assert result.requests["sent"] == len(list(read_requests(runs.path))) == 3
    assert runs.nothing_is_left()
