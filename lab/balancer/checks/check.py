"""One server's check: what the next probe is, what an answer means, and the frames of both.

Every probe is sent in the service's name, by packet-out into the balancing switch, and its answer comes back to that
address: a check walks the path that clients' packets walk. ARP (NDP, for IPv6) is asked of all ports, as a server may
have moved. A TCP or HTTP check needs the server's MAC, so it begins by ARP when the MAC isn't known or the last probe
failed; else it goes straight to the server. Rule: this module never says that a server is up or down, only what a
probe's end was.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Final

from lab.balancer import packets
from lab.balancer.assignment import Assignment
from lab.balancer.checks import tcp_client
from lab.balancer.checks.neighbour import Neighbour
from lab.balancer.checks.tcp_client import Exchange, Segment, Verdict
from lab.balancer.health import CheckKind
from lab.balancer.matching import from_port, packets_of, to_port
from lab.balancer.packets import ARP_REQUEST, BROADCAST, Drop, Packet
from lab.balancer.pool import Member
from lab.balancer.rules import (
    FLOOD,
    AddRule,
    Command,
    DeleteRules,
    GoTo,
    Output,
    SendPacket,
    Table,
    ToController,
    fixed_cookie,
)

# A probe's source port. Below 1024, so no client's: systems give their clients ports far above.
FIRST_PORT: Final = 512
PORT_MASK: Final = 0xFE00
PORTS: Final = 512
ANSWER_PRIORITY: Final = 350  # above all rules of the modes
_ON: Final = (GoTo(Table.DESTINATION),)


class Check:
    """A member's check, by its health's settings."""

    def __init__(self, assignment: Assignment, member: Member, rng: Random) -> None:
        self.assignment = assignment
        self.service = assignment.service
        self.member = member
        self.health = member.health
        self.neighbour = Neighbour(member.health.settings.fall)
        self.warned_until = float("-inf")  # s; one warning of spoofed answers per interval
        self._rng = rng
        self._exchange: Exchange | None = None
        self._port = FIRST_PORT + rng.randrange(PORTS)
        self._finished = False  # the last exchange came to a verdict: the rest of its answer is no news

    @property
    def connects(self) -> bool:
        return self.health.settings.kind is not CheckKind.ARP

    def rule(self) -> AddRule:
        """The answers to this check's connections come to the controller, whatever a mode does with the service."""
        match = packets_of(self.service, source=self.member.ip, destination=self.service.ip)
        ports = {**from_port(self.service, self.service.port), **to_port(self.service, (FIRST_PORT, PORT_MASK))}
        return AddRule(
            table=Table.SERVICE,
            priority=ANSWER_PRIORITY,
            match={**match, **ports},
            actions=(ToController(),),
            cookie=fixed_cookie(),
        )

    def end_rule(self) -> DeleteRules:
        rule = self.rule()
        return DeleteRules(table=rule.table, priority=rule.priority, match=rule.match)

    def begin(self, now: float) -> list[Command]:
        """The first packet of a new probe."""
        if self.connects and self.neighbour.mac and not self.health.misses:
            return self.connect()
        self.neighbour.asked(now + self.health.settings.timeout)
        return [self._question(BROADCAST, FLOOD)]

    def challenge(self, port: int, now: float) -> list[Command]:
        """Is the server still at `port`, though its MAC was seen elsewhere?"""
        asks = self.neighbour.challenge(now + self.health.settings.timeout)
        return [self._question(self.member.mac, port)] if asks else []

    def connect(self) -> list[Command]:
        """The probe's connection; each has a port of its own."""
        self._port = FIRST_PORT + (self._port + 1) % PORTS
        self._finished = False
        self._exchange = Exchange(self._rng.getrandbits(32), self._request(), self.health.settings.status)
        return self._send([self._exchange.open()])

    def give_up(self) -> tuple[list[Command], str]:
        """The probe's time is over; why there was no answer, to follow the server's name."""
        self.neighbour.closed()
        if self._exchange is None:
            return [], f"it doesn't answer {'NDP' if packets.is_ipv6(self.member.ip) else 'ARP'}"
        why = self._exchange.silence()
        return self.drop_exchange(), why

    def drop_exchange(self) -> list[Command]:
        """End the connection under way, if there is one."""
        exchange, self._exchange = self._exchange, None
        return self._send(exchange.abandon()) if exchange is not None else []

    def segment(self, packet: Packet, data: bytes) -> tuple[list[Command], Verdict | None, Drop | None]:
        """A segment from the server to one of this check's ports: what to send, the verdict, why it was ignored."""
        if self._exchange is None or packet.dst_port != self._port:
            return self._stray(packet)
        payload = data[packet.payload : packet.end]
        got = Segment(flags=packet.flags, seq=packet.seq, ack=packet.ack, data=payload)
        commands = self._send(self._exchange.receive(got))
        verdict = self._exchange.verdict
        if verdict is not None:
            self._exchange = None
            self._finished = True
        return commands, verdict, None

    def _stray(self, packet: Packet) -> tuple[list[Command], Verdict | None, Drop | None]:
        """Of a probe that is over: after a verdict, there is more to come than was waited for; else it is late."""
        if self._finished and packet.dst_port == self._port:
            return [], None, None
        if packet.flags & packets.RST:
            return [], None, Drop.LATE
        return [SendPacket(data=packets.reset(packet), actions=_ON)], None, Drop.LATE

    def _question(self, mac: int, port: int) -> SendPacket:
        asker = (self.service.mac, self.service.ip)
        question = packets.neighbour(ARP_REQUEST, self.service.mac, mac, asker, (0, self.member.ip))
        return SendPacket(data=question, actions=(Output(port),))

    def _request(self) -> bytes:
        settings = self.health.settings
        if settings.kind is not CheckKind.HTTP:
            return b""
        return tcp_client.request(packets.host_and_port(self.service.ip, self.service.port), settings.path)

    def _send(self, segments: Sequence[Segment]) -> list[Command]:
        macs, ips = (self.service.mac, self.member.mac), (self.service.ip, self.member.ip)
        ports = (self._port, self.service.port)
        frames = [
            packets.tcp(macs, ips, ports, flags=s.flags, seq=s.seq, ack=s.ack, window=tcp_client.WINDOW, data=s.data)
            for s in segments
        ]
        return [SendPacket(data=frame, actions=_ON) for frame in frames]
