"""The `lab` command's views of the agent's answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lab import wire
from lab.agent import cli


class Canned(cli.Door):
    """An agent with one network, always the same."""

    def __init__(self, **answers: Any) -> None:
        super().__init__(Path("/nowhere"))
        network = {**wire.encode(wire.default_network()), "connected": {"s1": True}, "datapath": "user"}
        pids = {"h1": 11, "h3": 33}
        self._answers = {"/network": {**network, "versions": {"open_vswitch": "3.1.0"}, "pids": pids}, **answers}

    def ask(self, method: str, path: str, body: object = None) -> str:
        return json.dumps(self._answers[path])


def test_status_lists_switches_hosts_and_servers() -> None:
    lines = cli.status(Canned()).splitlines()
    assert lines[0] == "s1  dpid 1  connected"
    assert lines[1] == "h1  10.0.0.1/8  02:00:0a:00:00:01  on s1  serves HTTP on port 80"
    assert lines[-1] == "user datapath; open vswitch 3.1.0"


def test_hits_are_counted_with_their_share() -> None:
    assert cli.hits(Canned(**{"/hits": {"h1": [1, 2, 3], "h2": [4]}})).splitlines() == [
        "h1       3   75.0 %",
        "h2       1   25.0 %",
        "all      4",
    ]


def test_no_hits_yet_is_no_division_by_zero() -> None:
    assert "0.0 %" in cli.hits(Canned(**{"/hits": {"h1": []}}))


def test_pingall_names_the_pairs_that_failed() -> None:
    text = cli.pingall(Canned(**{"/pingall": {"sent": 2, "received": 1, "failed": [["h1", "h2"]]}}))
    assert text == "no answer: h1 → h2\n1 of 2 pings answered\n"


def test_a_hosts_command_joins_the_host_and_a_switchs_stays_here() -> None:
    assert cli.on_node(Canned(), "h3", ["curl", "-i", "x"]) == ["mnexec", "-a", "33", "curl", "-i", "x"]
    assert cli.on_node(Canned(), "s1", ["ip", "link"]) == ["ip", "link"]


def test_an_unknown_host_is_a_sentence_with_the_known_ones() -> None:
    with pytest.raises(cli.Trouble, match="no node 'h9'; known: h1, h3, s1, agent"):
        cli.on_node(Canned(), "h9", ["ls"])


def test_without_an_agent_the_command_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LAB_STATE", str(tmp_path))
    assert cli.main(["hits"]) == cli.NO_LAB
    assert "no agent answers" in capsys.readouterr().err
