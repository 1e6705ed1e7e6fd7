"""The switchboard: which switch gets which brain, whose word counts, what is counted."""

from __future__ import annotations

import dataclasses
import itertools
import logging
import struct
from collections.abc import Sequence

import pytest
from helpers import frames
from helpers.frames import ACK, SYN
from helpers.openflow_reader import Read, Reader, messages

from lab import wire
from lab.balancer.rules import AddRule, AskRules, DeleteRules, FlushTracked
from lab.engines import openflow
from lab.engines.switchboard import Switchboard

SERVICE_IP = frames.ip("10.0.1.1")
SERVICE_MAC = 0x02010A000101


class Switch:
    """A connection: reads what it is sent."""

    def __init__(self, version: int = openflow.OF13) -> None:
        self.version = version
        self.got: list[Read] = []
        self._reader = Reader(version)

    def send(self, raw: bytes) -> None:
        for message in messages(raw):
            command = self._reader.read(message)
            if command is not None:
                self.got.append(command)

    def tables(self) -> set[int]:
        """Tables that have more than the rule for what nothing else matches."""
        return {c.table for c in self.got if isinstance(c, AddRule) and c.priority}

    def mods(self) -> int:
        return sum(isinstance(c, AddRule | DeleteRules) for c in self.got)


def connect(board: Switchboard, dpid: int, version: int = openflow.OF13) -> Switch:
    switch = Switch(version)
    board.connected(dpid, version, switch, switch.send)
    return switch


def answer_probes(board: Switchboard, dpid: int = 1, servers: Sequence[int] = (1, 2)) -> None:
    for n in servers:
        mac, ip = 0x02000A000000 | n, frames.ip(f"10.0.0.{n}")
        answer = frames.arp(2, mac, SERVICE_MAC, (mac, ip), (SERVICE_MAC, SERVICE_IP))
        board.packet_in(dpid, n, openflow.REASON_ACTION, answer)


def syn(board: Switchboard, dpid: int = 1, port: int = 40000) -> None:
    macs, ips = (0x02000A000003, SERVICE_MAC), (frames.ip("10.0.0.3"), SERVICE_IP)
    board.packet_in(dpid, 3, openflow.REASON_ACTION, frames.tcp(macs, ips, (port, 80), SYN, port))


@pytest.fixture
def board(config: wire.Controller) -> Switchboard:
    """The tutorial's, with switch 1 chosen."""
    return Switchboard(config)


@pytest.mark.parametrize("version", [openflow.OF10, openflow.OF13])
def test_chosen_switch_balances_and_others_learn(board: Switchboard, version: int) -> None:
    other, chosen = connect(board, 2, version), connect(board, 1, version)
    assert 1 in chosen.tables()
    assert 1 not in other.tables()
    assert {0, 2} <= other.tables()
    assert board.statistics()["switches"] == [1, 2]


def test_d17_first_switch_balances_with_a_warning(config: wire.Controller, caplog: pytest.LogCaptureFixture) -> None:
    board = Switchboard(dataclasses.replace(config, dpid=None))
    assert board.statistics()["balancing_dpid"] is None
    first, second = connect(board, 7), connect(board, 3)
    assert 1 in first.tables()
    assert 1 not in second.tables()
    assert board.statistics()["balancing_dpid"] == 7
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert warnings == ["no dpid was given, so switch 7, the first to connect, balances"]


@pytest.mark.parametrize(
    ("ports", "mode", "warned"),
    [
        ((80, None), "reactive", False),
        ((32_000, 32_767), "reactive", False),
        ((32_767, 32_768), "reactive", True),
        ((40_000, None), "reactive", True),
        ((61_000, None), "reactive", False),
        ((40_000, 40_010), "tracked", False),  # whose tracker tells answers from beginnings
    ],
)
def test_ports_from_which_servers_connect_by_themselves_are_warned_of(
    config: wire.Controller, caplog: pytest.LogCaptureFixture, ports: tuple[int, int | None], mode: str, warned: bool
) -> None:
    (web,) = config.services
    web = dataclasses.replace(web, port=ports[0], last_port=ports[1])
    Switchboard(dataclasses.replace(config, services=(web,), mode=mode, stateful=mode != "tracked"))  # which has no say
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert ["looks like an answer: choose ports below 32768" in text for text in warnings] == [True] * warned


def test_connection_is_balanced_and_counted(board: Switchboard) -> None:
    switch = connect(board, 1)
    answer_probes(board)
    for port in (40000, 40001, 40002):
        syn(board, port=port)
    said = board.statistics()
    assert said["services"]["web"]["policy"] == "round_robin"
    servers = said["services"]["web"]["servers"]
    assert {name: (s["state"], s["hits"]) for name, s in servers.items()} == {"h1": ("up", 2), "h2": ("up", 1)}
    assert (said["packet_ins"], said["flow_mods"], said["packet_ins_total"]) == (3, 3, 5)
    assert said["flow_mods_total"] == switch.mods()


@pytest.mark.parametrize("version", [openflow.OF10, openflow.OF13])
def test_first_connection_alone_is_asked_what_the_switch_remembers(board: Switchboard, version: int) -> None:
    first = connect(board, 1, version)
    assert first.got[0] == AskRules(table=1)
    board.rules_found(1, [])
    again, other = connect(board, 1, version), connect(board, 2, version)
    assert not [c for c in (*again.got, *other.got) if isinstance(c, AskRules)]


@pytest.mark.parametrize("version", [openflow.OF10, openflow.OF13])
def test_what_a_switch_remembers_is_answered_by_its_own_brain(config: wire.Controller, version: int) -> None:
    board = Switchboard(dataclasses.replace(config, mode="tracked"))
    switch, other = connect(board, 1, version), connect(board, 2, version)
    before = len(switch.got), len(other.got)
    board.rules_found(2, [0])
    board.rules_found(3, [0])
    assert (len(switch.got), len(other.got)) == before
    board.rules_found(1, [0])
    assert [c for c in switch.got if isinstance(c, FlushTracked)] == [FlushTracked(zone=10), FlushTracked(zone=11)]


def test_drops_are_counted_by_name(board: Switchboard) -> None:
    connect(board, 1)
    answer_probes(board)
    for port in (1, 2):
        board.port_changed(1, port, False)
    syn(board)
    board.packet_in(1, 3, openflow.REASON_ACTION, b"\0" * 12 + b"\x08\x00E")
    drops = board.statistics()["drops"]
    assert (drops["no_server"], drops["truncated"], drops["no_connection"]) == (1, 1, 0)


def test_copy_to_learn_from_is_not_answered_by_the_balancer(board: Switchboard) -> None:
    switch = connect(board, 1)
    before = len(switch.got)
    macs, ips = (0x02000A000003, SERVICE_MAC), (frames.ip("10.0.0.3"), SERVICE_IP)
    frame = frames.tcp(macs, ips, (40000, 80), ACK)
    board.packet_in(1, 3, openflow.REASON_NO_MATCH, frame[:64])
    assert [c.table for c in switch.got[before:] if isinstance(c, AddRule)] == [0, 2]
    assert len(switch.got) == before + 2
    assert board.statistics()["packet_ins"] == 0


def test_word_of_an_unknown_switch_changes_nothing(board: Switchboard) -> None:
    syn(board, dpid=9)
    board.port_changed(9, 1, False)
    board.flow_removed(9, 1, openflow.FLOW_REMOVED_IDLE)
    assert board.statistics()["packet_ins"] == 0
    assert board.statistics()["switches"] == []


def test_d30_second_switch_of_a_number_is_refused(board: Switchboard) -> None:
    first = connect(board, 1)
    second = Switch()
    assert not board.connected(1, openflow.OF13, second, second.send)
    board.gone(1, second)
    assert board.statistics()["switches"] == [1]
    assert board.statistics()["refused_switches"] == 1
    before = len(first.got)
    answer_probes(board)
    syn(board)
    assert second.got == []
    assert len(first.got) > before


def test_state_outlives_a_connection(board: Switchboard) -> None:
    board.gone(1, connect(board, 1))
    switch = connect(board, 1)
    answer_probes(board)
    syn(board)
    board.gone(1, switch)
    again = connect(board, 1)
    assert not [c for c in again.got if isinstance(c, DeleteRules) and c.table is None]
    h1 = board.statistics()["services"]["web"]["servers"]["h1"]
    assert (h1["state"], h1["hits"]) == ("up", 1)


def test_what_became_of_probes_is_told(board: Switchboard) -> None:
    connect(board, 1)
    answer_probes(board, servers=[1])
    h1, h2 = board.statistics()["services"]["web"]["servers"].values()
    assert (h1["check"], h1["probes"]) == ("arp", {"sent": 1, "answered": 1, "failed": 0, "late": 0})
    assert 0 <= h1["changed_s_ago"] < 1
    assert (h1["flaps"], h2["probes"]["answered"], h2["changed_s_ago"]) == (0, 0, None)


def test_learning_switch_remembers_its_hosts_over_a_reconnection(board: Switchboard) -> None:
    switch = connect(board, 2)
    board.packet_in(2, 5, openflow.REASON_NO_MATCH, frames.ethernet(frames.BROADCAST, 0xAAAA, 0x86DD, bytes(50)))
    board.gone(2, switch)
    again = connect(board, 2)
    assert {"in_port": 5, "eth_src": 0xAAAA} in [c.match for c in again.got if isinstance(c, AddRule)]


def test_deleted_rule_is_not_taken_for_an_idle_one(board: Switchboard) -> None:
    switch = connect(board, 2)
    board.packet_in(2, 5, openflow.REASON_NO_MATCH, frames.ethernet(frames.BROADCAST, 0xAAAA, 0x86DD, bytes(50)))
    cookie = next(c.cookie for c in switch.got if isinstance(c, AddRule) and c.match.get("eth_src") == 0xAAAA)
    before = len(switch.got)
    board.flow_removed(2, cookie, 2)
    assert len(switch.got) == before
    board.flow_removed(2, cookie, openflow.FLOW_REMOVED_IDLE)
    assert isinstance(switch.got[-1], DeleteRules)


def test_port_down_takes_its_server_down(board: Switchboard, caplog: pytest.LogCaptureFixture) -> None:
    connect(board, 1)
    answer_probes(board)
    board.port_changed(1, 2, False)
    states = {n: s["state"] for n, s in board.statistics()["services"]["web"]["servers"].items()}
    assert states == {"h1": "up", "h2": "down"}
    assert "web: h2 (10.0.0.2) is down: its link is down" in [r.getMessage() for r in caplog.records]


def test_probes_go_out_again_as_time_passes(board: Switchboard, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr("lab.engines.switchboard.monotonic", lambda: clock[0])
    switch = connect(board, 1)
    probes = [len(switch.got)]
    for clock[0] in (1000.5, 1001.0, 1001.05):
        board.tick()
        probes.append(len(switch.got))
    assert [b - a for a, b in itertools.pairwise(probes)] == [0, 2, 0]


def test_greeting_comes_before_all_else_under_1_0(board: Switchboard) -> None:
    sent: list[bytes] = []
    board.connected(1, openflow.OF10, object(), sent.append)
    assert struct.unpack_from("!II", sent[0], 8) == (0x2320, 15)
    assert {message[0] for raw in sent for message in messages(raw)} == {1}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [({"services": ()}, "no service"), ({"mode": "magic"}, "unknown mode"), ({"idle_timeout_s": 0}, "idle time-out")],
    ids=["no service", "mode", "idle"],
)
def test_configuration_that_cannot_work_is_refused(
    config: wire.Controller, change: dict[str, object], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        Switchboard(dataclasses.replace(config, **change))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"protocol": "sctp"}, "unknown protocol 'sctp'; known: tcp, udp"),
        ({"health": wire.Health(kind="magic")}, "'magic' isn't known; known: arp"),
        ({"ip": "10.0.0.1"}, "both a service's address and a server's"),
    ],
    ids=["protocol", "health", "address"],
)
def test_service_that_cannot_work_is_refused(config: wire.Controller, change: dict[str, object], sentence: str) -> None:
    service = dataclasses.replace(config.services[0], **change)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=sentence):
        Switchboard(dataclasses.replace(config, services=(service,)))


def test_answers_leave_together_when_more_is_to_be_answered(board: Switchboard) -> None:
    pieces: list[bytes] = []
    switch = Switch()
    board.connected(1, openflow.OF13, switch, pieces.append)
    answer_probes(board)
    pieces.clear()
    for number in range(3):
        macs, ips = (0x02000A000003, SERVICE_MAC), (frames.ip("10.0.0.3"), SERVICE_IP)
        frame = frames.tcp(macs, ips, (40000 + number, 80), SYN, 1)
        board.packet_in(1, 3, openflow.REASON_ACTION, frame, number < 2)
    (piece,) = pieces
    assert len(list(messages(piece))) == 8  # two rules for the client, once; a rule and a packet-out each


def test_answers_do_not_wait_for_many(board: Switchboard) -> None:
    pieces: list[bytes] = []
    board.connected(1, openflow.OF13, board, pieces.append)
    answer_probes(board)
    pieces.clear()
    for number in range(20):
        macs, ips = (0x02000A000003, SERVICE_MAC), (frames.ip("10.0.0.3"), SERVICE_IP)
        board.packet_in(1, 3, openflow.REASON_ACTION, frames.tcp(macs, ips, (40000 + number, 80), SYN, 1), True)
    assert [len(list(messages(piece))) for piece in pieces] == [16, 16]


def test_answers_that_were_kept_leave_with_whatever_comes_next(board: Switchboard) -> None:
    pieces: list[bytes] = []
    board.connected(1, openflow.OF13, board, pieces.append)
    answer_probes(board)
    pieces.clear()
    macs, ips = (0x02000A000003, SERVICE_MAC), (frames.ip("10.0.0.3"), SERVICE_IP)
    board.packet_in(1, 3, openflow.REASON_ACTION, frames.tcp(macs, ips, (40000, 80), SYN, 1), True)
    assert not pieces
    board.flow_removed(1, 0x1000000000000001, 1)  # for a reason that means nothing to us
    assert len(list(messages(pieces[0]))) == 4
