"""A small OpenFlow peer that stands in for a switch: it shows new connections to a controller and counts its answers.

What a controller costs can then be measured without the switch's own cost. It speaks 1.0 or 1.3, shakes hands, answers
questions and the balancer's ARP probes (server 10.0.0.N is at port N), and plays connections: a SYN is a packet-in; the
end is the copy of a server's FIN where the switch's tracker remembers the connection, else the end of its rule.
Rule: it decides nothing and keeps no flow table. What it sends is laid out as Open vSwitch 3.1 does, byte by byte.
Source: OpenFlow 1.0.0 and 1.3.5; a packet-in's match behind the tracker: as captured from Open vSwitch 3.1.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Sequence
from typing import Final

from lab.balancer import packets
from lab.balancer.rules import Cookie, member_cookie

OF10: Final = 1
OF13: Final = 4
SERVICE_IP: Final = 0x0A000101
SERVICE_MAC: Final = 0x02010A000101
SERVERS: Final = (1, 2)  # 10.0.0.1 at port 1, 10.0.0.2 at port 2
CLIENT_PORT: Final = 3  # of the switch
PORTS: Final = range(32_768, 60_768)  # of a client, in turn, as Linux gives them
TIMEOUT_S: Final = 20.0

_HELLO, _ERROR, _ECHO_REQUEST, _FEATURES_REQUEST, _PACKET_IN, _FLOW_REMOVED, _PACKET_OUT = 0, 1, 2, 5, 10, 11, 13
_BARRIER, _STATS = {OF10: 18, OF13: 20}, {OF10: 16, OF13: 18}  # the requests; an answer has the next number
_PORT_DESC: Final = 13  # of multipart, 1.3
_REASON_ACTION: Final = 1
_NO_BUFFER: Final = 0xFFFFFFFF


class Gone(Exception):
    """The controller hung up, or said nothing for TIMEOUT_S."""


def mac_of(number: int) -> int:
    """Of host 10.0.0.N."""
    return 0x02000A000000 | number


def client_of(number: int) -> tuple[int, int]:
    """Address and port of connection `number`, no two the same."""
    return 0x0B000000 + number // len(PORTS), PORTS[number % len(PORTS)]


class FakeSwitch:
    """One connection to a controller. `tracked`: it has a connection tracker (and ends are shown as packets)."""

    def __init__(self, address: tuple[str, int], version: int, tracked: bool, dpid: int = 1) -> None:
        self._version = version
        self._tracked = tracked
        self._socket = socket.create_connection(address, TIMEOUT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._unread = b""
        self._dpid = dpid
        self.probed: set[int] = set()  # servers that have answered a probe
        self.errors = 0  # messages that no switch expects
        self._socket.sendall(self._message(_HELLO))

    def close(self) -> None:
        self._socket.close()

    def serve_until_probed(self, servers: Sequence[int] = SERVERS) -> None:
        """Shake hands and answer until each of `servers` has been asked by ARP, and told."""
        while not set(servers) <= self.probed:
            self.frames()

    def begin(self, numbers: range, window: int) -> list[bytes]:
        """Show the SYNs of connections `numbers`, at most `window` of them not yet answered. Their packet-outs' frames,
        in the order they came."""
        return self._play([self._syn(number) for number in numbers], window)

    def end(self, numbers: range, servers: Sequence[int]) -> None:
        """Show the ends of connections; server of each: 1 or 2. Some at a time, so that probes are answered."""
        shown = [self._end(number, server) for number, server in zip(numbers, servers)]
        for first in range(0, len(shown), 200):
            for message in shown[first : first + 200]:
                self._socket.send(message)
            self.settle()

    def settle(self) -> None:
        """Return when the controller has read all that was sent: it has answered an echo."""
        self._socket.sendall(self._message(_ECHO_REQUEST))
        while True:
            for kind, xid, body in self._received():
                if kind == _ECHO_REQUEST + 1:
                    return
                self._answer(kind, xid, body)

    def frames(self) -> list[bytes]:
        """Wait for messages, answer what asks for it; the frames of packet-outs that answer no question."""
        return [frame for message in self._received() if (frame := self._answer(*message))]

    def _play(self, shown: Sequence[bytes], window: int) -> list[bytes]:
        got: list[bytes] = []
        sent = 0
        while len(got) < len(shown):
            while sent < min(len(shown), len(got) + window):
                self._socket.send(shown[sent])  # each alone, as Open vSwitch does
                sent += 1
            got += self.frames()
        return got

    def _received(self) -> Iterator[tuple[int, int, bytes]]:
        """Type, transaction id and body of the messages that have come; waits for more if there is none."""
        try:
            more = self._socket.recv(1 << 16)
        except OSError as error:
            raise Gone(f"the controller is silent: {error}") from error
        if not more:
            raise Gone("the controller hung up")
        data, at = self._unread + more, 0
        while len(data) - at >= 8:
            _, kind, length, xid = struct.unpack_from("!BBHI", data, at)
            if len(data) - at < length:
                break
            yield kind, xid, data[at + 8 : at + length]
            at += length
        self._unread = data[at:]

    def _answer(self, kind: int, xid: int, body: bytes) -> bytes:
        """The frame of a packet-out that is no probe; empty for everything else, which is answered if it has to be."""
        if kind == _PACKET_OUT:
            return self._packet_out(body)
        if kind == _ECHO_REQUEST:
            self._socket.sendall(self._message(kind + 1, body, xid))
        elif kind == _FEATURES_REQUEST:
            self._socket.sendall(self._message(kind + 1, self._features(), xid))
        elif kind == _BARRIER[self._version]:
            self._socket.sendall(self._message(kind + 1, b"", xid))
        elif kind == _STATS[self._version]:
            self._socket.sendall(self._message(kind + 1, self._statistics(body), xid))
        elif kind == _ERROR:
            self.errors += 1
        return b""

    def _packet_out(self, body: bytes) -> bytes:
        head = 8 if self._version == OF10 else 16
        size = int.from_bytes(body[head - 2 : head] if head == 8 else body[8:10], "big")
        frame = body[head + size :]
        packet = packets.parse(frame)
        if packet.kind is not packets.Kind.ARP:
            return frame
        server = packet.ip_dst & 0xFF
        told = (mac_of(server), packet.ip_dst), (packet.eth_src, packet.ip_src)
        answer = packets.neighbour(packets.ARP_REPLY, mac_of(server), packet.eth_src, *told)
        self._socket.sendall(self._packet_in(server, answer))
        self.probed.add(server)
        return b""

    def _syn(self, number: int) -> bytes:
        ip, port = client_of(number)
        macs, ips = (mac_of(CLIENT_PORT), SERVICE_MAC), (ip, SERVICE_IP)
        frame = packets.tcp(macs, ips, (port, 80), flags=packets.SYN, seq=number & 0xFFFFFFFF, data=bytes(20))
        return self._packet_in(CLIENT_PORT, frame, number)

    def _end(self, number: int, server: int) -> bytes:
        ip, port = client_of(number)
        if self._tracked:
            flags, macs = packets.FIN | packets.ACK, (mac_of(server), mac_of(CLIENT_PORT))
            frame = packets.tcp(macs, (SERVICE_IP, ip), (80, port), flags=flags, seq=1, ack=1, data=bytes(12))
            return self._packet_in(server, frame, number)
        cookie = member_cookie(Cookie.CONNECTION, server, ip << 16 | port)
        if self._version == OF10:  # match, cookie, priority, reason (idle), duration, time-out, counts
            body = struct.pack("!40xQHBxIIH2xQQ", cookie, 200, 0, 1, 0, 1, 6, 400)
        else:
            body = struct.pack("!QHBBIIHHQQ", cookie, 200, 0, 1, 1, 0, 1, 0, 6, 400) + self._match_of_rule(ip, port)
        return self._message(_FLOW_REMOVED, body)

    def _match_of_rule(self, ip: int, port: int) -> bytes:
        basic = struct.pack("!IHIBIIIIIHIH", 0x80000A02, 0x0800, 0x80001401, 6, 0x80001604, ip, 0x80001804, SERVICE_IP,
                            0x80001A02, port, 0x80001C02, 80)  # fmt: skip
        return _match(basic)

    def _packet_in(self, port: int, frame: bytes, number: int = 0) -> bytes:
        if self._version == OF10:
            head = struct.pack("!IHHBx", _NO_BUFFER, len(frame), port, _REASON_ACTION)
            return self._message(_PACKET_IN, head + frame)
        head = struct.pack("!IHBBQ", _NO_BUFFER, len(frame), _REASON_ACTION, 4, 1 << 60)
        ip, tcp = client_of(number)
        fields = struct.pack("!II", 0x80000004, port)
        if self._tracked:  # ct_state, ct_zone, and the connection's own addresses and ports
            fields += struct.pack("!IIIHIIIIIBIHIH", 0x0001D304 & ~0x100, 0x21, 0x0001D402, 10, 0x0001F004, ip,
                                  0x0001F204, SERVICE_IP, 0x0001EE01, 6, 0x0001F802, tcp, 0x0001FA02, 80)  # fmt: skip
        return self._message(_PACKET_IN, head + _match(fields) + bytes(2) + frame)

    def _features(self) -> bytes:
        if self._version == OF10:
            ports = b"".join(_port_10(number) for number in (*SERVERS, CLIENT_PORT))
            return struct.pack("!QIB3xII", self._dpid, 0, 254, 0x4F, 0xFFF) + ports
        return struct.pack("!QIBB2xII", self._dpid, 0, 254, 0, 0x4F, 0)

    def _statistics(self, request: bytes) -> bytes:
        """No rule, no port, and a description without a word."""
        (kind,) = struct.unpack_from("!H", request)
        size = 8 if self._version == OF13 else 4
        head = struct.pack("!HH", kind, 0) + bytes(size - 4)
        return head + (bytes(1056) if kind == 0 else b"")

    def _message(self, kind: int, body: bytes = b"", xid: int = 0) -> bytes:
        return struct.pack("!BBHI", self._version, kind, 8 + len(body), xid) + body


def _match(fields: bytes) -> bytes:
    whole = struct.pack("!HH", 1, 4 + len(fields)) + fields
    return whole + bytes(-len(whole) % 8)


def _port_10(number: int) -> bytes:
    return struct.pack("!H6s16sIIIIII", number, mac_of(number).to_bytes(6, "big"), b"s1-eth%d" % number, *[0] * 6)
