"""The pool over the control socket: what an operation answers, what reaches the switch, and refusals by kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from helpers import frames
from helpers.openflow_reader import Reader, messages

from lab import wire
from lab.balancer.rules import AddRule, DeleteRules, SendPacket
from lab.engines import control, openflow
from lab.engines.switchboard import Switchboard


@pytest.fixture
def board(config: wire.Controller) -> Switchboard:
    return Switchboard(config)


@pytest.fixture
def weighted(config: wire.Controller, tmp_path: Path) -> str:
    """A service whose policy heeds weights."""
    (web,) = config.services
    board = Switchboard(replace(config, services=(replace(web, policy="weighted_round_robin"),)))
    place = str(tmp_path / "weighted.sock")
    control.serve(place, board.operations())
    return place


@pytest.fixture
def path(board: Switchboard, tmp_path: Path) -> str:
    place = str(tmp_path / "control.sock")
    control.serve(place, board.operations())
    return place


def connect(board: Switchboard) -> list[AddRule | DeleteRules | SendPacket]:
    """What the balancing switch is sent, as it comes."""
    got: list[AddRule | DeleteRules | SendPacket] = []
    reader = Reader(openflow.OF13)

    def send(raw: bytes) -> None:
        got.extend(command for command in map(reader.read, messages(raw)) if command is not None)

    board.connected(1, openflow.OF13, got, send)
    return got


def names(answer: dict[str, object], keys: Sequence[str]) -> list[object]:
    return [answer[key] for key in keys]


def test_each_operation_tells_how_the_server_stands_now(weighted: str) -> None:
    ask = control.ask
    added = ask(weighted, "pool_add", service="web", server="h3", ip="10.0.0.3", weight=2)
    assert names(added, ("service", "name", "ip", "weight", "admin")) == ["web", "h3", "10.0.0.3", 2, "ready"]
    assert ask(weighted, "pool_weight", service="web", server="h3", weight=7)["weight"] == 7
    assert ask(weighted, "pool_drain", service="web", server="h3")["admin"] == "maint"  # it has no connections
    assert ask(weighted, "pool_enable", service="web", server="h3")["admin"] == "ready"
    assert ask(weighted, "pool_remove", service="web", server="h3")["admin"] == "gone"
    web = ask(weighted, "pool")["services"]["web"]
    assert (web["ip"], web["port"], sorted(web["servers"])) == ("10.0.1.1", 80, ["h1", "h2"])


@pytest.mark.parametrize(
    ("operation", "args", "kind", "sentence"),
    [
        ("pool_drain", {"server": "h22"}, "unknown", "did you mean 'h2'"),
        ("pool_add", {"server": "h2", "ip": "10.0.0.2"}, "conflict", "in the pool of 'web' already"),
        ("pool_weight", {"server": "h2", "weight": 0}, "wrong", "from 1 to 256"),
        ("pool_add", {"server": "h3", "ip": "h3"}, "wrong", "'h3'"),
        ("pool_weight", {"server": "h2", "weight": 3}, "conflict", "heeds no weights; weighted_round_robin, "),
    ],
)
def test_refusal_says_of_which_kind_it_is(
    path: str, operation: str, args: dict[str, object], kind: str, sentence: str
) -> None:
    with pytest.raises(control.Refused, match=sentence) as refused:
        control.ask(path, operation, service="web", **args)
    assert refused.value.kind == kind


def test_switch_that_is_connected_is_told_at_once(board: Switchboard, path: str) -> None:
    sent = connect(board)
    control.ask(path, "pool_add", service="web", server="h3", ip="10.0.0.3")
    (opening,) = [c for c in sent if isinstance(c, AddRule) and c.match.get("ip_dst") == frames.ip("10.0.0.3")]
    control.ask(path, "pool_remove", service="web", server="h3")
    assert [c for c in sent if isinstance(c, DeleteRules) and c.match == opening.match]


def test_switch_that_connects_later_gets_the_pool_as_it_is(board: Switchboard, path: str) -> None:
    control.ask(path, "pool_remove", service="web", server="h1")
    matched = [c.match for c in connect(board) if isinstance(c, AddRule)]
    assert frames.ip("10.0.0.2") in [match.get("ip_dst") for match in matched]
    assert frames.ip("10.0.0.1") not in [match.get("ip_dst") for match in matched]


def test_operations_are_logged(board: Switchboard, path: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    control.ask(path, "pool_drain", service="web", server="h2")
    assert "web: h2 (10.0.0.2) is drained: no connection is left" in caplog.messages


def test_error_of_a_switch_is_counted_by_name(board: Switchboard, caplog: pytest.LogCaptureFixture) -> None:
    connect(board)
    board.switch_error(1, 5, 1)
    board.switch_error(9, 5, 1)  # no switch of ours
    assert board.statistics()["switch_errors"] == {"flow_mod_failed/table_full": 1}
    assert "switch 1 refused a command: flow_mod_failed/table_full" in caplog.messages
