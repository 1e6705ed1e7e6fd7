"""A scenario from plan to verdict, against a lab made of air: what is recorded, and that every way a run may end leaves
a result and no lab."""

from __future__ import annotations

import os
import re
import signal
import threading
import time

import pytest
from fake_lab import FakeAgent
from fake_runs import Runs

from lab import wire
from lab.driver.backends.base import Missing
from lab.driver.errors import LabError, LeftBehind, UsageError
from lab.record import Result, read_requests

TEN_EACH = "name: ten\nload: {requests: 20}\ncontroller: {engine: osken}\nexpect: {hits: {h1: 10, h2: 10}}\n"
TWO_ROUNDS = """
name: down
controller: {engine: osken}
steps:
- load: {requests: 10, expect: {hits: {h1: 5, h2: 5}}}
- link: {host: h2, state: down}
- wait: {server: h2, state: down, timeout_s: 1}
- load: {requests: 6, expect: {hits: {h1: 6, h2: 0}}}
expect: {hits: {h1: 11, h2: 5}}
"""


def failures(result: Result) -> list[str]:
    return [check.name for check in result.expectations if not check.passed]


def test_a_run_that_goes_well_is_recorded_whole(runs: Runs) -> None:
    result = runs(TEN_EACH)
    assert result.verdict == "passed", result.expectations
    assert result.requests == {"sent": 20, "ok": 20, "failed": 0}
    assert result.hits == {"h1": {"client": 10, "server": 10}, "h2": {"client": 10, "server": 10}}
    assert result.services == {"web": {"policy": "round_robin", "hits": {"h1": 10, "h2": 10}}}
    assert result.controller == {"packet_ins": 20, "flow_mods": 20, "packet_ins_total": 20, "flow_mods_total": 20}
    assert result.latency_ms["connect"] == {"p50": 1.0, "p95": 1.0, "p99": 1.0}
    assert result.versions == {"open_vswitch": "3.1.0", "mininet": "2.3.0", "os_ken": "2.5.0", "pox": None}
    assert (result.backend, result.engine, result.datapath, result.mode) == ("fake", "osken", "user", "reactive")
    assert result.why == {"backend": "made of air", "engine": "asked for"}
    assert None not in result.timing_s.values()
    assert runs.nothing_is_left()


def test_the_folder_holds_what_the_contract_names(runs: Runs) -> None:
    runs(TEN_EACH)
    names = {path.name for path in runs.path.iterdir()}
    assert names == {
        "result.json",
        "requests.ndjson",
        "scenario.yaml",
        "controller.log",
        "agent.log",
        "flows.txt",
    }
    assert len(list(read_requests(runs.path))) == 20
    assert (runs.path / "flows.txt").read_text() == "s1: a flow\n"
    assert (runs.path / "controller.log").read_text() == "it began\nlast word\n"


def test_hits_of_before_the_load_are_not_counted(runs: Runs, agent: FakeAgent) -> None:
    agent._hit("h1")
    assert runs(TEN_EACH).verdict == "passed"


def test_the_lab_is_started_from_the_main_thread(runs: Runs) -> None:
    """A sandbox ends with the thread that started it."""
    runs(TEN_EACH)
    assert runs.backend.threads == [threading.main_thread()]


def test_network_and_controller_are_told_what_the_scenario_says(runs: Runs, agent: FakeAgent) -> None:
    runs(TEN_EACH)
    network = wire.decode(wire.Network, agent.bodies["PUT /network"])
    controller = wire.decode(wire.Controller, agent.bodies["PUT /controller"])
    assert [host.name for host in network.hosts] == ["h1", "h2", "h3", "h4", "h5", "h6"]
    assert controller.engine == "osken"
    assert agent.calls.index("POST /network/connect") > agent.calls.index("PUT /network")


def test_an_uneven_hit_fails_the_run(runs: Runs, agent: FakeAgent) -> None:
    agent.choose = lambda index: "h1"
    result = runs(TEN_EACH)
    assert result.verdict == "failed"
    assert failures(result) == ["hits.h1", "hits.h2"]
    assert runs.nothing_is_left()


def test_a_server_that_served_more_than_was_asked_fails_the_run(runs: Runs, agent: FakeAgent) -> None:
    agent.extra_hits = {"h2": 1}
    result = runs(TEN_EACH)
    assert result.hits["h2"] == {"client": 10, "server": 11}
    assert failures(result) == ["both_ends"]


def test_an_answer_that_was_lost_on_the_way_back_is_forgiven_to_the_server(runs: Runs, agent: FakeAgent) -> None:
    agent.fails = lambda index: index == 19
    agent.fails_after_serving = True
    result = runs("name: a\ncontroller: {engine: osken}\nload: {requests: 20}\nexpect: {failed: 1}\n")
    assert result.verdict == "passed", result.expectations
    assert result.hits["h2"] == {"client": 9, "server": 10}
    assert result.requests == {"sent": 20, "ok": 19, "failed": 1}


def test_steps_are_done_in_order_and_judged_one_by_one(runs: Runs, agent: FakeAgent) -> None:
    agent.choose = lambda index: "h1" if agent.states["h2"] == "down" else ("h1", "h2")[index % 2]
    result = runs(TWO_ROUNDS)
    assert result.verdict == "passed", result.expectations
    names = [check.name for check in result.expectations]
    assert names[:2] == ["steps.0.hits.h1", "steps.0.hits.h2"]
    assert {"steps.3.hits.h2", "hits.h1", "failed", "both_ends"} <= set(names)
    assert [step["what"] for step in result.steps] == ["load web", "link h2 down", "wait for h2 down", "load web"]
    assert all(step["started_s"] <= step["ended_s"] for step in result.steps)


def test_a_step_that_fails_its_own_expectation_fails_the_run(runs: Runs) -> None:
    """In turn although h2 is down: the whole is wrong and so is the round."""
    assert "steps.3.hits.h2" in failures(runs(TWO_ROUNDS))


def test_a_wait_that_is_in_vain_breaks_the_run(runs: Runs, agent: FakeAgent) -> None:
    result = runs(TWO_ROUNDS.replace("host: h2, state: down", "host: h1, state: down").replace("1}", "0.1}"))
    assert (result.verdict, result.reason) == ("broken", "h2 was not held for down after 0.1 s")
    assert result.requests["sent"] == 10
    assert runs.nothing_is_left()


def test_pingall_is_asked_for_when_it_is_expected(runs: Runs, agent: FakeAgent) -> None:
    agent.pings = wire.Pings(sent=30, received=27)
    result = runs(TEN_EACH.replace("10}}", "10}, pingall_loss: 0}"))
    assert failures(result) == ["pingall_loss"]
    assert result.pingall_loss == 10.0


def test_an_engine_that_does_not_count_leaves_nulls(runs: Runs, agent: FakeAgent) -> None:
    agent.counters = {"packet_ins": None, "flow_mods": None}
    result = runs(TEN_EACH)
    assert result.verdict == "passed"
    assert set(result.controller.values()) == {None}


def test_a_server_without_life_breaks_the_run(runs: Runs, agent: FakeAgent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lab.driver.session.SERVERS_UP_S", 0.05)
    agent.states["h2"] = "down"
    result = runs(TEN_EACH)
    assert result.reason == "the balancer found no life in h2 within 0.05 s"
    assert runs.nothing_is_left()


@pytest.mark.parametrize("call", ["PUT /network", "PUT /controller", "POST /network/connect"])
def test_what_the_agent_refuses_is_the_reason(runs: Runs, agent: FakeAgent, call: str) -> None:
    agent.refuse[call] = (409, "no: because")
    result = runs(TEN_EACH)
    assert (result.verdict, result.reason) == ("broken", "no: because")
    assert runs.nothing_is_left()


def test_a_controller_that_dies_under_load_is_found_at_the_first_failure(runs: Runs, agent: FakeAgent) -> None:
    def die(index: int) -> None:
        agent.exit_code = -9 if index == 4 else agent.exit_code

    agent.before_request = die
    agent.fails = lambda index: index >= 4
    agent.hang_at = 6  # what comes after is never waited for
    result = runs(TEN_EACH)
    assert result.verdict == "broken"
    assert result.reason == "the controller (osken) was killed by signal 9 during the run; last in its log: last word"
    assert result.requests == {"sent": 5, "ok": 4, "failed": 1}
    assert runs.nothing_is_left()


def test_a_controller_that_died_unnoticed_is_found_at_the_end(runs: Runs, agent: FakeAgent) -> None:
    def die(index: int) -> None:
        agent.exit_code = 1 if index == 19 else None

    agent.before_request = die
    result = runs(TEN_EACH)
    assert (result.verdict, result.requests["ok"]) == ("broken", 20)
    assert "ended with exit code 1" in str(result.reason)


def test_a_lab_that_dies_is_told_by_its_own_words(runs: Runs, agent: FakeAgent) -> None:
    def die(index: int) -> None:
        if index == 5:
            runs.backend.labs[0].dead = "killed for want of memory"
            agent.shutdown()
            agent.server_close()
            agent.break_off_at = 5

    agent.before_request = die
    result = runs(TEN_EACH)
    assert result.verdict == "broken"
    assert result.reason == "the lab ended during the run: killed for want of memory"
    assert len(list(read_requests(runs.path))) == result.requests["sent"] > 0


def test_a_lab_that_does_not_come_up_leaves_a_result(runs: Runs) -> None:
    runs.backend.refusal = LabError("no room for it")
    result = runs(TEN_EACH)
    assert (result.verdict, result.reason, result.backend) == ("broken", "no room for it", "fake")
    assert Result.read(runs.path) == result


def test_tracked_mode_without_a_connection_tracker_breaks_at_bring_up(runs: Runs, agent: FakeAgent) -> None:
    agent.tracker = False
    result = runs(TEN_EACH.replace("{engine: osken}", "{engine: osken, mode: tracked}"))
    assert result.verdict == "broken"
    assert result.reason == (
        "mode tracked needs a connection tracker, and Open vSwitch's user datapath here has none; use --mode reactive"
    )
    assert "POST /network/connect" not in agent.calls
    assert runs.nothing_is_left()


PROACTIVE = TEN_EACH.replace("{engine: osken}", "{engine: osken, mode: proactive}") + (
    "services: {web: {policy: connection_hash}}\n"
)


def test_a_datapath_whose_hash_may_change_is_told_of_where_connections_stay(runs: Runs, agent: FakeAgent) -> None:
    agent.hash = False
    result = runs(PROACTIVE)
    assert result.verdict == "passed"
    assert [note for note in result.notes if "no hash of addresses and ports" in note]


def test_a_datapath_whose_hash_may_change_is_refused_where_connections_would_break(
    runs: Runs, agent: FakeAgent
) -> None:
    agent.hash = False
    result = runs(PROACTIVE.replace("mode: proactive", "mode: proactive, stateful: false"))
    assert result.verdict == "broken"
    assert "connections would break; use controller.stateful: true" in (result.reason or "")


@pytest.mark.parametrize(("mode", "tracker"), [("reactive", False), ("tracked", None), ("tracked", True)])
def test_only_a_tracker_that_is_needed_and_known_to_be_missing_stops_a_run(
    runs: Runs, agent: FakeAgent, mode: str, tracker: bool | None
) -> None:
    agent.tracker = tracker
    assert runs(TEN_EACH.replace("{engine: osken}", f"{{engine: osken, mode: {mode}}}")).verdict == "passed"


def test_what_the_machine_lacks_is_told_with_its_mend(runs: Runs) -> None:
    runs.backend.gaps = [Missing(what="no curl", mend="apt-get install curl")]
    assert "no curl: apt-get install curl" in str(runs(TEN_EACH).reason)
    assert runs.backend.labs == []


def test_a_usage_error_while_starting_is_passed_on(runs: Runs) -> None:
    def refuse() -> None:
        raise UsageError("LAB_PORT is no port")

    runs.backend.on_up = refuse
    with pytest.raises(UsageError, match="LAB_PORT"):
        runs(TEN_EACH)
    assert Result.read(runs.path).reason == "LAB_PORT is no port"


def test_an_internal_error_is_one_sentence_and_a_trace_in_the_folder(runs: Runs) -> None:
    def fail() -> None:
        raise ZeroDivisionError("a bug")

    runs.backend.on_up = fail
    result = runs(TEN_EACH)
    assert result.verdict == "broken"
    assert str(result.reason).startswith("an internal error ended the run: ZeroDivisionError: a bug (details: ")
    assert "Traceback" in (runs.path / "driver-trace.txt").read_text()


def interrupt_when(event: threading.Event, number: int) -> None:
    def wait_and_kill() -> None:
        event.wait(10)
        os.kill(os.getpid(), number)

    threading.Thread(target=wait_and_kill, daemon=True).start()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_keeps_what_there_was(runs: Runs, agent: FakeAgent, number: int) -> None:
    agent.hang_at = 7
    runs.screen.wanted = 7
    interrupt_when(runs.screen.reached, number)
    result = runs(TEN_EACH)
    assert (result.verdict, result.reason) == ("interrupted", f"stopped by {signal.Signals(number).name}")
    assert result.requests == {"sent": 7, "ok": 7, "failed": 0}
    assert result.hits["h1"] == {"client": 4, "server": 4}
    assert len(list(read_requests(runs.path))) == 7
    assert runs.run is not None
    assert runs.run.caught
    assert runs.nothing_is_left()


def test_ctrl_c_during_the_clean_up_does_not_break_it(runs: Runs, agent: FakeAgent) -> None:
    agent.hang_at = 7
    interrupt_when(agent.hanging, signal.SIGINT)
    runs.backend.lab_on_down = lambda: os.kill(os.getpid(), signal.SIGINT)
    assert runs(TEN_EACH).verdict == "interrupted"
    assert runs.nothing_is_left()


def test_ctrl_c_while_the_lab_comes_up(runs: Runs) -> None:
    runs.backend.on_up = lambda: os.kill(os.getpid(), signal.SIGINT)
    assert runs(TEN_EACH).verdict == "interrupted"


def test_ctrl_c_in_the_last_clean_up_does_not_change_the_verdict(runs: Runs) -> None:
    runs.backend.lab_on_down = lambda: os.kill(os.getpid(), signal.SIGINT)
    assert runs(TEN_EACH).verdict == "passed"
    assert runs.run is not None
    assert runs.run.caught
    assert runs.nothing_is_left()


def test_the_time_limit_counts_for_the_whole_run(runs: Runs, agent: FakeAgent) -> None:
    agent.hang_at = 3
    result = runs(TEN_EACH, time_limit_s=0.5)
    assert (result.verdict, result.reason) == ("broken", "the run passed its time limit of 0.5 s")
    assert result.requests["sent"] == 3
    assert runs.nothing_is_left()


def test_what_is_made_once_for_all_runs_does_not_count_for_the_time_limit(runs: Runs) -> None:
    """Images that are built, POX that is fetched."""
    runs.backend.on_prepare = lambda: time.sleep(1.1)
    assert runs(TEN_EACH, time_limit_s=1).verdict == "passed"


def test_a_kept_lab_is_left_alone(runs: Runs) -> None:
    assert runs(TEN_EACH, keep=True).verdict == "passed"
    assert runs.run is not None
    assert runs.run.kept == "ten"
    assert runs.backend.labs[0].downs == 0


def test_an_interrupted_run_keeps_no_lab(runs: Runs, agent: FakeAgent) -> None:
    agent.hang_at = 0
    interrupt_when(agent.hanging, signal.SIGINT)
    runs(TEN_EACH, keep=True)
    assert runs.run is not None
    assert runs.run.kept is None
    assert runs.backend.labs[0].downs == 1


@pytest.mark.parametrize(
    ("error", "left"),
    [
        (LeftBehind("a container is left: rm it"), "^a container is left: rm it$"),
        (RuntimeError("stuck"), r"^the lab \S+ could not be torn down \(stuck\): python lab/run_lab.py down --all$"),
    ],
)
def test_a_tear_down_that_fails_is_told_and_nothing_of_the_run_is_lost(runs: Runs, error: Exception, left: str) -> None:
    def fail() -> None:
        raise error

    runs.backend.lab_on_down = fail
    assert runs(TEN_EACH).verdict == "passed"
    result = Result.read(runs.path)
    assert re.search(left, result.left or "")
    assert result.requests["ok"] == len(list(read_requests(runs.path))) == 20
    assert (runs.path / "controller.log").read_text() == "it began\nlast word\n"
