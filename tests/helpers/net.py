"""A network in memory: hosts, the model switch and a brain (the balancer, or a learning switch), joined by no wire.

Tests own the clock. Hosts answer ARP, look at every frame they get (its checksums must be right) and take only those
addressed to them, as a network card does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from helpers import frames
from helpers.model_switch import DELETED, Found, ModelSwitch, PacketIn
from helpers.tcp_server import TcpServer
from lab.balancer.rules import Command, Note
from lab.engines.switchboard import TICK_S, Brain

HELD_S = 0.3  # in which a packet that is held is sent on


@dataclass
class Host:
    name: str
    ip: int
    mac: int
    port: int
    mute: bool = False  # it is dead: hears and says nothing, though its link is up
    web: TcpServer | None = None  # answers health checks' connections; tests speak for it to clients
    probes: list[bytes] = field(default_factory=list)  # what such connections sent
    ip6: int = 0

    def at(self, other: int) -> int:
        """Its address of the IP version that `other` is of."""
        return self.ip6 if other >> 32 else self.ip


@dataclass
class Delivery:
    """A frame at a host's port; `taken`: it is addressed to that host."""

    host: str
    frame: bytes
    taken: bool

    @property
    def fields(self) -> dict[str, int]:
        return frames.fields(self.frame)


class Net:
    """Hosts on one switch and the switch's brain. `links`: a port -> (another net, its port)."""

    def __init__(self, brain: Brain, hosts: int = 6, speaks: str = "command", spare_ports: int = 2) -> None:
        self.brain = brain
        self.now = 100.0
        self.switch = ModelSwitch(range(1, hosts + spare_ports + 1), speaks, self.now)
        self.hosts = {
            f"h{n}": Host(
                f"h{n}",
                frames.ip(f"10.0.0.{n}"),
                frames.mac(f"02:00:0a:00:00:{n:02x}"),
                n,
                ip6=frames.ip(f"fd00::{n}"),
            )
            for n in range(1, hosts + 1)
        }
        self.links: dict[int, tuple[Net, int]] = {}
        self.delivered: list[Delivery] = []
        self.notes: list[Note] = []
        self.commands: list[Command] = []
        self.packet_ins = 0
        self.connected = False

    # time and the control connection

    def connect_switch(self, wiped: bool = False) -> None:
        """The switch (re)connects."""
        self.switch.messages.clear()
        self.switch.reconnect(wiped)
        self.connected = True
        self.obey(self.brain.switch_up(self.now))

    def advance(self, seconds: float, step: float = TICK_S) -> None:
        """Time passes, in the engine's ticks."""
        end = round(self.now + seconds, 6)
        while self.now < end:
            self.now = min(round(self.now + step, 6), end)
            self.switch.pass_time(self.now)
            self.settle()
            if self.connected:
                self.obey(self.brain.tick(self.now))

    def obey(self, commands: Sequence[Command]) -> None:
        self.commands += commands
        for command in commands:
            if isinstance(command, Note):
                self.notes.append(command)
            self._emit(self.switch.do(command))
        self.settle()

    def settle(self) -> None:
        """The controller hears what the switch has to tell."""
        while self.connected and self.switch.messages:
            message = self.switch.messages.pop(0)
            if isinstance(message, Found):
                self.obey(self.brain.rules_found(message.cookies, message.senders, self.now))
            elif isinstance(message, PacketIn):
                self.packet_ins += 1
                self.obey(self.brain.packet_in(message.in_port, message.data, message.reason == 0, self.now))
            else:
                self.obey(self.brain.flow_removed(message.cookie, message.reason == DELETED, self.now))

    # frames

    def send(self, host: str, frame: bytes) -> list[Delivery]:
        """A host sends; all that is delivered in consequence, in order."""
        before = len(self.delivered)
        self.arrive(self.hosts[host].port, frame)
        return self.delivered[before:]

    def send_and_wait(self, host: str, frame: bytes, held: bool) -> list[Delivery]:
        """The same; `held`: also what follows a moment later."""
        before = len(self.delivered)
        self.send(host, frame)
        if held:
            self.advance(HELD_S)
        return self.delivered[before:]

    def arrive(self, port: int, frame: bytes) -> None:
        self._emit(self.switch.receive(port, frame))
        self.settle()

    def _emit(self, leaving: Sequence[tuple[int, bytes]]) -> None:
        for port, frame in leaving:
            if port in self.links:
                other, other_port = self.links[port]
                other.arrive(other_port, frame)
            for host in self.hosts.values():
                if host.port == port and not host.mute:
                    self._deliver(host, frame)

    def _deliver(self, host: Host, frame: bytes) -> None:
        assert frames.has_right_checksums(frame), frame.hex()
        got = frames.fields(frame)
        taken = got["eth_dst"] == host.mac or bool(got["eth_dst"] >> 40 & 1)
        self.delivered.append(Delivery(host.name, frame, taken))
        if taken and got.get("arp_op") == 1 and got["arp_tpa"] == host.ip:
            asker = (got["arp_sha"], got["arp_spa"])
            answer = frames.arp(2, host.mac, got["eth_src"], (host.mac, host.ip), asker)
            self.arrive(host.port, answer)
        elif taken and got.get("icmpv6_type") == frames.SOLICITATION and got["nd_target"] == host.ip6:
            to = ((host.mac, frames.ndp_mac(frame)), (host.ip6, got["src"]))
            flags = 0x60000000
            self.arrive(host.port, frames.ndp(frames.ADVERTISEMENT, *to, host.ip6, host.mac, flags=flags))
        elif taken and got["eth_src"] >> 32 in (0x0201, 0x0206) and got.get("tcp_src", 0) in range(512, 1024):
            host.probes.append(frame)
            for answer in host.web.receive(frame) if host.web else ():
                self.arrive(host.port, answer)

    def link_down(self, host: str) -> None:
        port = self.hosts[host].port
        self.switch.down.add(port)
        self.obey(self.brain.port_changed(port, False, self.now))

    def link_up(self, host: str) -> None:
        port = self.hosts[host].port
        self.switch.down.discard(port)
        self.obey(self.brain.port_changed(port, True, self.now))

    # ordinary traffic between hosts

    def between(self, source: str, target: str, version: int = 4) -> tuple[tuple[int, int], tuple[int, int]]:
        """MACs and addresses, as frame builders take them."""
        a, b = self.hosts[source], self.hosts[target]
        return (a.mac, b.mac), (a.ip, b.ip) if version == 4 else (a.ip6, b.ip6)

    def reaches(self, target: str, frame: bytes, source: str) -> bool:
        """Whether a frame arrives, unchanged, exactly once, and at nobody else who would take it."""
        taken = [(d.host, d.frame) for d in self.send(source, frame) if d.taken]
        return taken == [(target, frame)]

    def ping(self, source: str, target: str, version: int = 4) -> bool:
        """Both ways: request and answer."""
        macs, ips = self.between(source, target, version)
        back = self.between(target, source, version)
        request, answer = frames.echo(macs, ips), frames.echo(*back, kind=0)
        return self.reaches(target, request, source) and self.reaches(source, answer, target)

    def who_has(self, asker: str, ip: int) -> int | None:
        """A host asks for a MAC by broadcast; the one MAC that is answered."""
        host = self.hosts[asker]
        request = frames.arp(1, host.mac, frames.BROADCAST, (host.mac, host.ip), (0, ip))
        answers = [d.fields for d in self.send(asker, request) if d.host == asker and d.taken]
        answers = [a for a in answers if a.get("arp_op") == 2 and a["arp_spa"] == ip]
        assert len(answers) <= 1
        return answers[0]["arp_sha"] if answers else None

    def solicit(self, asker: str, ip: int) -> int | None:
        """The same by neighbour discovery, for an IPv6 address."""
        host = self.hosts[asker]
        macs, to = (host.mac, 0x3333FF000000 | ip & 0xFFFFFF), frames.ip("ff02::1:ff00:0") | ip & 0xFFFFFF
        question = frames.ndp(frames.SOLICITATION, macs, (host.ip6, to), ip, host.mac)
        frames_back = [d.frame for d in self.send(asker, question) if d.host == asker and d.taken]
        answers = [f for f in frames_back if frames.fields(f).get("icmpv6_type") == frames.ADVERTISEMENT]
        assert len(answers) <= 1
        return frames.ndp_mac(answers[0]) if answers else None
