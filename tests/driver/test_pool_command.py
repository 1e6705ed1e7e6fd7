"""The `pool` and `metrics` commands: what is asked of the lab, what is shown, and whose mistake it was."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fake_lab import FakeAgent, pool_of

from lab.driver import pool as pool_commands
from lab.driver.backends import registry
from lab.driver.cli import main

pytestmark = pytest.mark.usefixtures("kept")


@pytest.mark.parametrize("words", [["pool"], ["pool", "list"]])
def test_pool_is_shown_as_a_table(words: list[str], agent: FakeAgent, capsys: pytest.CaptureFixture[str]) -> None:
    agent.pools["web"]["servers"]["h2"].update(admin="maint", live=3, hits=1234567)
    assert main(words) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows == [
        ["web", "10.0.1.1:80", "round_robin"],
        ["server", "address", "health", "pool", "weight", "open", "served"],
        ["h1", "10.0.0.1", "up", "ready", "1", "0", "20"],
        ["h2", "10.0.0.2", "up", "drained", "1", "3", "1234567"],
    ]


def test_table_fits_into_80_columns(
    agent: FakeAgent, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    agent.pools["a-service-with-a-long-name"] = pool_of("h1")
    longest = agent.pools["web"]["servers"]["a-host-with-a-name-that-is-rather-long-for-a-host"] = {}
    longest.update(pool_of("h1")["servers"]["h1"], ip="192.168.100.200", weight=256, admin="draining", live=1000000)
    assert main(["pool"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert any("draining" in line and "1000000" in line for line in lines)


@pytest.mark.parametrize(
    ("words", "call", "body", "said"),
    [
        (["drain", "h2"], "h2/drain", {}, "web: h2 is draining: 1 connection left"),
        (["enable", "h2"], "h2/enable", {}, "web: h2 is enabled"),
        (["remove", "h2"], "h2/remove", {}, "web: h2 is removed, and its connections are over"),
        (["weight", "h2", "3"], "h2/weight", {"weight": 3}, "web: h2 has weight 3"),
        (
            ["add", "h3", "--weight", "2"],
            "h3/add",
            {"ip": "10.0.0.3", "weight": 2},
            "web: h3 (10.0.0.3) is added with weight 2, and gets connections once it is up",
        ),
        (
            ["add", "x", "--ip", "10.9.9.9"],
            "x/add",
            {"ip": "10.9.9.9", "weight": 1},
            "web: x (10.9.9.9) is added with weight 1, and gets connections once it is up",
        ),
    ],
)
def test_server_is_changed_and_what_follows_is_said(
    words: list[str], call: str, body: object, said: str, agent: FakeAgent, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pool", *words]) == 0
    assert agent.bodies[f"POST /controller/pool/web/{call}"] == body
    assert capsys.readouterr().out == f"{said}\n"


def test_open_connections_that_are_not_known_are_shown_as_a_dash(
    agent: FakeAgent, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    agent.pools["web"]["servers"]["h2"]["live"] = None
    assert main(["pool"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].split() == ["h2", "10.0.0.2", "up", "ready", "1", "-", "20"]
    draining = {"service": "web", "name": "h2", "admin": "draining", "live": None}
    monkeypatch.setattr(agent, "change_pool", lambda *_: draining)
    assert main(["pool", "drain", "h2"]) == 0
    assert capsys.readouterr().out == "web: h2 is draining\n"


def test_drained_server_without_connections_is_said_to_be_drained(
    agent: FakeAgent, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    drained = {"service": "web", "name": "h2", "admin": "maint", "live": 0}
    monkeypatch.setattr(agent, "change_pool", lambda *_: drained)
    assert main(["pool", "drain", "h2"]) == 0
    assert capsys.readouterr().out == "web: h2 is drained: no connection is left\n"


def test_enabled_server_that_is_down_gets_nothing_yet(agent: FakeAgent, capsys: pytest.CaptureFixture[str]) -> None:
    agent.pools["web"]["servers"]["h2"].update(state="down", available=False)
    assert main(["pool", "enable", "h2"]) == 0
    assert capsys.readouterr().out == "web: h2 is enabled, and gets connections once it is up (now it is down)\n"


@pytest.mark.parametrize("words", [["pool", "--json"], ["pool", "list", "--json"], ["pool", "--json", "list"]])
def test_list_as_json_is_the_labs_own(words: list[str], agent: FakeAgent, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out) == {"services": agent.pools}


def test_change_as_json_is_the_server_as_it_stands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pool", "weight", "h2", "3", "--json"]) == 0
    now = json.loads(capsys.readouterr().out)
    assert (now["service"], now["name"], now["weight"]) == ("web", "h2", 3)


def test_one_of_several_services_must_be_named(agent: FakeAgent, capsys: pytest.CaptureFixture[str]) -> None:
    agent.pools["api"] = pool_of("h1")
    assert main(["pool", "drain", "h1"]) == 2
    assert capsys.readouterr().err == "there are several services; name one with --service: web, api\n"
    assert main(["pool", "--service", "apy", "drain", "h1"]) == 2
    assert 'no service is called "apy": did you mean "api"?' in capsys.readouterr().err
    assert main(["pool", "drain", "h1", "--service", "api"]) == 0
    assert "POST /controller/pool/api/h1/drain" in agent.calls
    assert main(["pool", "--service", "api"]) == 0
    assert "web" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["pool", "drian", "h2"], 'unknown command "drian": did you mean "drain"? known: add, drain, enable'),
        (["pool", "add", "h33"], 'no host is called "h33": did you mean "h3"?'),
        (["pool", "weight", "h2", "much"], "'much' is not a valid integer"),
        (["pool", "drain"], "missing argument 'SERVER'"),
        (["pool", "--lab", "mnie"], 'no lab is called "mnie": did you mean "mine"?'),
        (["metrics", "--lab", "mnie"], 'no lab is called "mnie": did you mean "mine"?'),
    ],
)
def test_wrong_name_is_2_and_the_nearest_is_told(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert sentence in capsys.readouterr().err


def test_what_the_lab_refuses_is_2_in_its_own_words(agent: FakeAgent, capsys: pytest.CaptureFixture[str]) -> None:
    agent.refuse["POST /controller/pool/web/h22/drain"] = (404, "service 'web' has no server 'h22'")
    assert main(["pool", "drain", "h22"]) == 2
    assert capsys.readouterr().err == "service 'web' has no server 'h22'\n"


@pytest.mark.parametrize("words", [["pool"], ["pool", "drain", "h2"], ["metrics"]])
def test_no_lab_is_2(words: list[str], home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for entry in registry.entries():
        registry.remove(entry.name)
    assert main(words) == 2
    assert capsys.readouterr().err == "no lab is running: start one with `up`\n"


def test_metrics_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["metrics"]) == 0
    assert capsys.readouterr().out == "balance_lab_controller_up 1.0\n"


@pytest.mark.parametrize(
    ("pool", "said"),
    [
        ({"ip": "10.0.1.1", "port": 80, "last_port": 80, "protocol": "tcp"}, "10.0.1.1:80"),
        ({"ip": "10.0.1.1", "port": 8000, "last_port": 8010, "protocol": "udp"}, "10.0.1.1:8000-8010 udp"),
        ({"ip": "fd00::1:1", "port": 80, "last_port": 80, "protocol": "tcp"}, "[fd00::1:1]:80"),
    ],
)
def test_a_service_is_named_with_its_ports_and_protocol(pool: dict[str, object], said: str) -> None:
    assert pool_commands._address_of(pool) == said
