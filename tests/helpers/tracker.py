"""A connection tracker in memory: what `ct` with `nat` does to TCP and UDP packets in Open vSwitch (ovs-actions(7)).

A packet of a connection is translated as the one that was committed, in both directions; state says what it is. As in
the userspace datapath, a packet in mid-stream may begin a connection (its state is new), a SYN+ACK or flags that make
no sense may not (invalid), and a SYN begins anew only what has ended, by two FINs or a RST.
Rule: what a tracker would decide by chance (two connections that are the same behind their translation) raises.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import NamedTuple

from helpers import frames
from helpers.frames import ACK, FIN, RST, SYN, TCP, UDP

NEW, EST, RPL, INV, TRK = 0x01, 0x02, 0x08, 0x10, 0x20


class Tuple(NamedTuple):
    """One direction of a connection: what its packets carry before they are translated."""

    src: int
    dst: int
    src_port: int
    dst_port: int
    proto: int = TCP

    def turned(self) -> Tuple:
        return Tuple(self.dst, self.src, self.dst_port, self.src_port, self.proto)


@dataclass
class Connection:
    """`there`: its first packets, untranslated; `back`: answers, untranslated. `fins`: directions that have ended."""

    there: Tuple
    back: Tuple
    answered: bool = False
    fins: set[bool] = field(default_factory=set)
    ended: bool = False

    def see(self, flags: int, reply: bool) -> None:
        self.answered |= reply
        if flags & FIN:
            self.fins.add(reply)
        self.ended |= bool(flags & RST) or len(self.fins) == 2


@dataclass(frozen=True)
class Tracked:
    """A packet, and what the tracker says of it."""

    frame: bytes
    state: int


class Tracker:
    """All zones of one switch."""

    def __init__(self) -> None:
        self._zones: dict[int, dict[Tuple, Connection]] = {}

    def flush(self, zone: int | None = None, server: int | None = None, began: bool = False) -> None:
        """Forget a zone's connections, or all; with `server`, those it answers, or that it `began`."""
        if zone is None:
            self._zones.clear()
        elif server is None:
            self._zones.pop(zone, None)
        else:
            rows = self._zones.get(zone, {})
            found = [c for c in rows.values() if (c.there if began else c.back).src == server]
            self._zones[zone] = {key: c for key, c in rows.items() if c not in found}

    def connections(self, zone: int) -> list[Connection]:
        """Those that haven't ended."""
        return [c for key, c in self._zones.get(zone, {}).items() if key == c.there and not c.ended]

    def known(self, zone: int, client: tuple[int, int]) -> Connection | None:
        """The connection that a client (address, port) has or had there."""
        rows = self._zones.get(zone, {})
        return next((c for key, c in rows.items() if key == c.there and (key.src, key.src_port) == client), None)

    def track(self, zone: int, frame: bytes) -> Tracked:
        """`ct(zone=…,nat)`."""
        key, flags = _read(frame)
        connection = self._zones.get(zone, {}).get(key)
        if key.proto == TCP and not _sensible(flags):
            return Tracked(frame, TRK | INV)
        if connection is None or (connection.ended and flags & (SYN | ACK) == SYN):
            return Tracked(frame, TRK | (INV if flags & SYN and flags & ACK else NEW))
        reply = key == connection.back
        connection.see(flags, reply)
        # a SYN again, before any answer, is still a new connection's; and so is any datagram
        first = flags & SYN or key.proto == UDP
        known = NEW if first and not reply and not connection.answered else EST
        return Tracked(_translated(frame, connection, reply), TRK | known | (RPL if reply else 0))

    def commit(self, zone: int, frame: bytes, dst: int | None = None, src: int | None = None) -> Tracked:
        """`ct(commit,zone=…,nat(…))`; what is committed already stays as it is."""
        seen = self.track(zone, frame)
        if seen.frame != frame or not seen.state & NEW:
            return seen
        there, _ = _read(frame)
        translated = there._replace(src=there.src if src is None else src, dst=there.dst if dst is None else dst)
        self._open(zone, Connection(there, translated.turned()))
        return replace(self.track(zone, frame), state=TRK | NEW)

    def _open(self, zone: int, connection: Connection) -> None:
        rows = self._zones.setdefault(zone, {})
        former = rows.get(connection.there)
        if former is not None:
            del rows[former.there], rows[former.back]
        if (other := rows.get(connection.back)) is not None:
            assert other.ended, f"answers of {connection} and {other} can't be told apart"
            del rows[other.there], rows[other.back]
        rows[connection.there] = rows[connection.back] = connection


def _read(frame: bytes) -> tuple[Tuple, int]:
    """Which direction of which connection a packet is, and its TCP flags."""
    got = frames.fields(frame)
    assert "seq" in got or "udp_src" in got, "only whole TCP packets and datagrams are tracked here"
    name = "tcp" if "seq" in got else "udp"
    ports = got[f"{name}_src"], got[f"{name}_dst"]
    return Tuple(got["src"], got["dst"], *ports, got["ip_proto"]), got.get("tcp_flags", 0)


def _sensible(flags: int) -> bool:
    """What conntrack-tcp.c's invalid_tcp_flags lets pass."""
    consistent = not flags & (RST | FIN) if flags & SYN else bool(flags & (ACK | RST))
    return consistent and bool(flags & ACK or not flags & (FIN | frames.PSH))


def _translated(frame: bytes, connection: Connection, reply: bool) -> bytes:
    seen_by_other = (connection.there if reply else connection.back).turned()
    version = "ipv6" if seen_by_other.src >> 32 else "ip"
    for name, value in ((f"{version}_src", seen_by_other.src), (f"{version}_dst", seen_by_other.dst)):
        frame = frames.changed(frame, name, value)
    return frame
