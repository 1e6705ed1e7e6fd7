"""The direct way past POX and os-ken: what takes it, what doesn't, and in which order answers leave."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import pytest

from lab.engines import pox_direct
from lab.engines.direct import Direct
from lab.engines.openflow import OF10, OF13
from lab.engines.osken_direct import DirectSocket

DPID = 7
COOKIE = 0x80010A0000039C41


def packet_in(version: int, port: int, frame: bytes = b"frame") -> bytes:
    if version == OF10:
        body = struct.pack("!IHHBx", 0xFFFFFFFF, len(frame), port, 1)
    else:
        body = struct.pack("!IHBBQHHII4xxx", 0xFFFFFFFF, len(frame), 1, 3, 7, 1, 12, 0x80000004, port)
    return struct.pack("!BBHI", version, 10, 8 + len(body) + len(frame), 0) + body + frame


def flow_removed(version: int) -> bytes:
    layout = "!40xQHBxIIH2xQQ" if version == OF10 else "!QHBBIIHHQQHH4x"
    fields = (COOKIE, 200, 0, 1, 0, 10, 6, 400) if version == OF10 else (COOKIE, 9, 0, 1, 1, 0, 9, 0, 6, 400, 1, 4)
    body = struct.pack(layout, *fields)
    return struct.pack("!BBHI", version, 11, 8 + len(body), 0) + body


ECHO = {version: struct.pack("!BBHI", version, 2, 8, 0) for version in (OF10, OF13)}


class Board:
    """Notes what the switchboard would be told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def packet_in(self, *what: Any) -> None:
        self.told.append(("packet_in", *what))

    def flow_removed(self, *what: Any) -> None:
        self.told.append(("flow_removed", *what))


@pytest.fixture
def board() -> Board:
    return Board()


def direct(board: Board, version: int) -> Direct:
    return Direct(board, DPID, version)  # type: ignore[arg-type]


@pytest.mark.parametrize("version", [OF10, OF13])
def test_message_says_whether_another_of_its_kind_follows(board: Board, version: int) -> None:
    first, second, third = packet_in(version, 1), flow_removed(version), packet_in(version, 2)
    way, stream = direct(board, version), first + second + third + ECHO[version]
    for at in (0, len(first), len(first + second)):
        assert way.take(stream, at)
    assert board.told == [
        ("packet_in", DPID, 1, 1, b"frame", True),
        ("flow_removed", DPID, COOKIE, 0, True),
        ("packet_in", DPID, 2, 1, b"frame", False),
    ]


def test_message_that_has_not_come_whole_is_not_waited_for(board: Board) -> None:
    first, second = packet_in(OF10, 1), packet_in(OF10, 2)
    assert direct(board, OF10).take(first + second[:-1], 0)
    assert board.told[0][-1] is False


def test_message_that_cannot_be_read_is_left(board: Board) -> None:
    broken = packet_in(OF13, 1).replace(b"\0\1\0\x0c", b"\0\1\0\x02")
    assert not direct(board, OF13).take(broken, 0)
    assert not board.told


# POX


class PoxConnection:
    """A connection's reading loop, and what POX's own way was given."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Any]] = []
        self.unpackers: Any = [self._unpacker(kind) for kind in range(22)]
        self.handlers: Any = [self._handler(kind) for kind in range(22)]

    def _unpacker(self, kind: int) -> Callable[[bytes, int], tuple[int, Any]]:
        return lambda data, at: (at + int.from_bytes(data[at + 2 : at + 4], "big"), f"message {kind}")

    def _handler(self, kind: int) -> Callable[[Any, Any], None]:
        return lambda connection, message: self.events.append((f"handler {kind}", message))

    def feed(self, data: bytes) -> None:
        at = 0
        while at < len(data):
            kind = data[at + 1]
            behind, message = self.unpackers[kind](data, at)
            assert behind - at == int.from_bytes(data[at + 2 : at + 4], "big")
            at = behind
            self.handlers[kind](self, message)


def test_pox_hands_both_kinds_over_and_keeps_the_rest(board: Board) -> None:
    connection = PoxConnection()
    pox_direct.install(connection, direct(board, OF10), lambda: False)
    connection.feed(packet_in(OF10, 1) + ECHO[OF10] + flow_removed(OF10))
    assert [told[0] for told in board.told] == ["packet_in", "flow_removed"]
    assert connection.events == [("handler 2", "message 2")]


def test_pox_other_connections_are_left_as_they_were(board: Board) -> None:
    connection, other = PoxConnection(), PoxConnection()
    other.unpackers, other.handlers = connection.unpackers, connection.handlers  # POX's connections share them
    pox_direct.install(connection, direct(board, OF10), lambda: False)
    other.feed(packet_in(OF10, 1))
    assert not board.told
    assert connection.events == [("handler 10", "message 10")]


def test_pox_keeps_its_way_while_another_component_listens(board: Board) -> None:
    connection, listening = PoxConnection(), [True]
    pox_direct.install(connection, direct(board, OF10), lambda: listening[0])
    connection.feed(packet_in(OF10, 1))
    assert (board.told, connection.events) == ([], [("handler 10", "message 10")])
    listening[0] = False
    connection.feed(packet_in(OF10, 1))
    assert len(board.told) == 1


def test_pox_reads_itself_what_we_cannot(board: Board) -> None:
    connection = PoxConnection()
    pox_direct.install(connection, direct(board, OF10), lambda: False)
    connection.feed(struct.pack("!BBHI", OF10, 10, 8, 0))
    assert (board.told, connection.events) == ([], [("handler 10", "message 10")])


@pytest.mark.parametrize("lists", [{"unpackers": None}, {"handlers": ()}, {"unpackers": [], "handlers": []}])
def test_pox_without_the_hook_is_left_as_it_is(board: Board, lists: dict[str, Any]) -> None:
    connection = PoxConnection()
    for name, value in lists.items():
        setattr(connection, name, value)
    before = (connection.unpackers, connection.handlers)
    pox_direct.install(connection, direct(board, OF10), lambda: False)
    assert (connection.unpackers, connection.handlers) == before


# os-ken


class Wire:
    """The other end of os-ken's socket: what has come, piece by piece, and what was sent."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = list(pieces)
        self.sent: list[bytes] = []
        self.broken: OSError | None = None
        self.ended = False

    def recv(self, size: int) -> bytes:
        return self.pieces.pop(0) if self.pieces else b""

    def sendall(self, data: bytes) -> None:
        if self.broken:
            raise self.broken
        self.sent.append(data)

    def shutdown(self, how: int) -> None:
        self.ended = True

    def fileno(self) -> int:
        return 42


def stand_between(wire: Wire, idle: Callable[[], bool] = lambda: True) -> DirectSocket:
    return DirectSocket(wire, idle, lambda: None)


def read_all(between: DirectSocket) -> list[bytes]:
    """As os-ken reads: 8 bytes wanted at a time, until the switch hangs up."""
    got = []
    while piece := between.recv(8):
        got.append(piece)
    return got


def test_osken_gets_the_other_messages_whole_and_in_order(board: Board) -> None:
    stream = ECHO[OF13] + packet_in(OF13, 1) + packet_in(OF13, 2) + ECHO[OF13] + flow_removed(OF13)
    between = stand_between(Wire(stream))
    between.direct = direct(board, OF13)
    assert read_all(between) == [ECHO[OF13], ECHO[OF13]]
    assert [(told[0], told[-1]) for told in board.told] == [
        ("packet_in", True),
        ("packet_in", False),
        ("flow_removed", False),
    ]


def test_osken_stream_is_read_right_wherever_it_is_split(board: Board) -> None:
    stream = packet_in(OF13, 1) + ECHO[OF13] + flow_removed(OF13)
    for size in range(1, len(stream)):
        board.told.clear()
        between = stand_between(Wire(*(stream[n : n + size] for n in range(0, len(stream), size))))
        between.direct = direct(board, OF13)
        assert read_all(between) == [ECHO[OF13]]
        assert [told[0] for told in board.told] == ["packet_in", "flow_removed"]


def test_osken_gets_everything_before_its_switch_is_known(board: Board) -> None:
    between = stand_between(Wire(packet_in(OF13, 1) + ECHO[OF13]))
    assert read_all(between) == [packet_in(OF13, 1), ECHO[OF13]]


def test_osken_gets_what_comes_while_its_events_wait(board: Board) -> None:
    """A message must not overtake one that os-ken has read before."""
    waiting = [True, False]
    between = stand_between(Wire(packet_in(OF13, 1) + packet_in(OF13, 2)), lambda: not waiting.pop(0))
    between.direct = direct(board, OF13)
    assert read_all(between) == [packet_in(OF13, 1)]
    assert [told[2] for told in board.told] == [2]


def test_osken_reads_itself_what_we_cannot(board: Board) -> None:
    broken = packet_in(OF13, 1).replace(b"\0\1\0\x0c", b"\0\1\0\x02")
    between = stand_between(Wire(broken + packet_in(OF13, 2)))
    between.direct = direct(board, OF13)
    assert read_all(between) == [broken]
    assert [told[2] for told in board.told] == [2]


def test_osken_is_left_alone_with_a_length_that_cannot_be(board: Board) -> None:
    nonsense = struct.pack("!BBHI", OF13, 10, 3, 0) + b"whatever"
    between = stand_between(Wire(nonsense))
    between.direct = direct(board, OF13)
    assert read_all(between) == [nonsense]


def test_others_have_their_turn_under_an_endless_stream(board: Board) -> None:
    turns = []
    between = DirectSocket(Wire(packet_in(OF13, 1) * 1_000), lambda: True, lambda: turns.append(len(board.told)))
    between.direct = direct(board, OF13)
    assert read_all(between) == []
    assert turns == [256, 512, 768]


def test_switch_that_takes_nothing_more_loses_its_connection(board: Board) -> None:
    wire = Wire()
    between = stand_between(wire)
    between.post(b"one")
    wire.broken = OSError("gone")
    between.post(b"two")
    assert (wire.sent, wire.ended) == ([b"one"], True)


def test_socket_is_otherwise_the_switchs_own() -> None:
    assert stand_between(Wire()).fileno() == 42


@pytest.mark.parametrize("version", [OF10, OF13])
def test_a_mistake_of_ours_is_logged_and_does_not_cost_the_switch_its_connection(
    version: int, board: Board, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*what: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(board, "packet_in", fail)
    message = packet_in(version, 3)
    assert direct(board, version).take(message, 0)
    assert "a message of switch 7 could not be handled" in caplog.text
