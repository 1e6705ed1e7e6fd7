"""A lab in memory: hosts, the model switch and a brain (the balancer, or a learning switch), joined with no network.

Tests own the clock and the seed. Hosts answer ARP, look at every frame they get (its checksums must be right) and take
only those addressed to them, as a network card does.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from helpers import frames
from helpers.frames import ACK, FIN, RST, SYN
from helpers.model_switch import DELETED, Found, ModelSwitch, PacketIn
from helpers.tcp_server import TcpServer
from lab.balancer.balancer import Balancer, ServerSettings, ServiceSettings, Settings
from lab.balancer.connections import DEFAULT_BOUND
from lab.balancer.health import HealthSettings
from lab.balancer.policies.plugin import Plugin
from lab.balancer.pool import Member
from lab.balancer.rules import Command, Cookie, Note, SendPacket
from lab.engines.switchboard import TICK_S, Brain

SERVICE = "10.0.1.1"
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


@dataclass
class Outcome:
    """What became of a client's packet: the server that got it, or a RST that came back, or neither."""

    server: str | None = None
    reset: bool = False
    frame: bytes = b""

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


@dataclass
class Service:
    """As the test sees it."""

    ip: str = SERVICE
    servers: Sequence[str] = ("h1", "h2")
    port: int = 80
    policy: str = "round_robin"
    weights: Sequence[int] = ()
    protocol: str = "tcp"
    last_port: int = 0


@dataclass
class Rig(Net):
    """A net whose brain is a balancer, and clients that call its services. Started: every live server is up."""

    services: Sequence[Service] = field(default_factory=lambda: [Service()])
    host_count: int = 6
    speaks: str = "command"
    seed: int = 1
    idle_timeout: int = 10
    bound: int = DEFAULT_BOUND
    on_server_down: str = "reset"
    plugins: Mapping[str, Plugin] = field(default_factory=dict)
    health: HealthSettings = field(default_factory=HealthSettings)
    own_health: dict[str, HealthSettings] = field(default_factory=dict)  # by server
    started: bool = True
    mode: str = "reactive"
    stateful: bool = True
    detail: bool = False

    def __post_init__(self) -> None:
        self.balancer = Balancer(self.settings(), random.Random(self.seed))
        super().__init__(self.balancer, self.host_count, self.speaks)
        for name in {name for service in self.services for name in service.servers}:
            host = self.hosts[name]
            host.web = TcpServer(host.at(frames.ip(self.services[0].ip)), host.mac)
        if self.started:
            self.connect_switch()

    def settings(self) -> Settings:
        services = [
            ServiceSettings(
                name=f"service{i}",
                ip=service.ip,
                port=service.port,
                last_port=service.last_port,
                protocol=service.protocol,
                policy=service.policy,
                health=self.health,
                servers=[
                    ServerSettings(
                        name=name,
                        ip=("fd00::" if ":" in service.ip else "10.0.0.") + name[1:],
                        weight=weight,
                        health=self.own_health.get(name),
                    )
                    for name, weight in zip(service.servers, service.weights or [1] * len(service.servers))
                ],
            )
            for i, service in enumerate(self.services)
        ]
        return Settings(
            services=services,
            mode=self.mode,
            stateful=self.stateful,
            idle_timeout=self.idle_timeout,
            bound=self.bound,
            on_server_down=self.on_server_down,
            plugins=self.plugins,
            detail=self.detail,
        )

    def restart_controller(self, connect: bool = True) -> None:
        """Another controller, with the rig's settings as they are now, takes the place of the one that is lost."""
        self.brain = self.balancer = Balancer(self.settings(), random.Random(self.seed))
        self.connected = False
        if connect:
            self.connect_switch()

    # what the balancer thinks

    def member(self, server: str, service: int = 0) -> Member:
        return next(m for m in self.balancer.services[service].members if m.name == server)

    def up(self, service: int = 0) -> list[str]:
        return [m.name for m in self.balancer.services[service].members if m.up]

    def remembered(self) -> int:
        return len(self.balancer.connections)

    def connection_rules(self) -> int:
        return len(self.switch.of_kind(Cookie.CONNECTION))

    def has_drops(self) -> dict[str, int]:
        return {name: n for name, n in self.balancer.drops().items() if n}

    def probes(self, since: int = 0) -> list[int]:
        """Addresses asked for by the balancer's own ARP requests, of the commands from number `since` on."""
        sent = [frames.fields(c.data) for c in self.commands[since:] if isinstance(c, SendPacket)]
        return [f["arp_tpa"] for f in sent if f.get("arp_op") == 1]

    # a client's packets to a service

    def service_mac(self, service: int = 0) -> int:
        return self.balancer.services[service].mac

    def mac_of(self, ip: int) -> int:
        known = {address: h.mac for h in self.hosts.values() for address in (h.ip, h.ip6)}
        return (known | {s.ip: s.mac for s in self.balancer.services})[ip]

    def packet(
        self,
        client: str,
        port: int,
        flags: int,
        seq: int = 0,
        service: int = 0,
        data: bytes = b"",
        ack: int = 0,
        to_port: int | None = None,
    ) -> bytes:
        """to_port: of the service's ports; default: the first."""
        host, wanted = self.hosts[client], self.balancer.services[service]
        macs, ips = (host.mac, wanted.mac), (host.at(wanted.ip), wanted.ip)
        return frames.tcp(macs, ips, (port, to_port or wanted.port), flags, seq, ack, data)

    def call(
        self,
        client: str,
        port: int,
        flags: int,
        seq: int = 0,
        service: int = 0,
        data: bytes = b"",
        to_port: int | None = None,
        held: bool = False,
    ) -> Outcome:
        """Send one packet to a service; where it went. It must go to one place at most. `held`: it isn't sent on at
        once, since its port has just called a server directly."""
        sent = self.packet(client, port, flags, seq, service, data, 777 if flags & ACK else 0, to_port)
        return self.outcome(client, port, service, sent, held)

    def outcome(self, client: str, port: int, service: int, sent: bytes, held: bool = False) -> Outcome:
        wanted, asked = self.balancer.services[service], frames.fields(sent)["tcp_dst"]
        outcomes = []
        for delivery in self.send_and_wait(client, sent, held):
            got = delivery.fields
            if not delivery.taken or "tcp_dst" not in got:
                continue
            if (got["tcp_src"], got["tcp_dst"]) == (port, asked):
                outcomes.append(self._served(client, delivery, wanted.ip, sent))
            else:
                assert (delivery.host, got["tcp_src"], got["tcp_dst"]) == (client, asked, port)
                assert (got["eth_src"], got["src"]) == (wanted.mac, wanted.ip), "a RST in a foreign name"
                assert got["tcp_flags"] & RST
                outcomes.append(Outcome(reset=True, frame=delivery.frame))
        assert len(outcomes) <= 1, outcomes
        return outcomes[0] if outcomes else Outcome()

    def _served(self, client: str, delivery: Delivery, service_ip: int, sent: bytes) -> Outcome:
        """A server must see itself as the receiver and the client as the sender (itself: the service)."""
        got, server = delivery.fields, self.hosts[delivery.host]
        assert (got["eth_dst"], got["dst"]) == (server.mac, server.at(service_ip))
        assert got["src"] == (service_ip if delivery.host == client else self.hosts[client].at(service_ip))
        same = ("tcp_src", "tcp_dst", "tcp_flags", "seq", "ack")
        assert [got[name] for name in same] == [frames.fields(sent)[name] for name in same]
        assert frames.tcp_data(delivery.frame) == frames.tcp_data(sent)
        return Outcome(server=delivery.host, frame=delivery.frame)

    def syn(
        self,
        client: str,
        port: int = 40000,
        seq: int = 1,
        service: int = 0,
        to_port: int | None = None,
        held: bool = False,
    ) -> Outcome:
        return self.call(client, port, SYN, seq, service, to_port=to_port, held=held)

    def data(
        self, client: str, port: int = 40000, service: int = 0, data: bytes = b"GET", to_port: int | None = None
    ) -> Outcome:
        return self.call(client, port, ACK, 2, service, data, to_port)

    def fin(self, client: str, port: int = 40000, service: int = 0) -> Outcome:
        return self.call(client, port, FIN | ACK, 5, service)

    def rst(self, client: str, port: int = 40000, service: int = 0) -> Outcome:
        return self.call(client, port, RST, 5, service)

    def answer(self, who: str, call: Outcome, flags: int = ACK, service: int = 0, data: bytes = b"ok") -> None:
        """The server answers what it got, to whom it saw; client `who` must see an answer of the service."""
        assert call.server is not None
        server, client, got = self.hosts[call.server], self.hosts[who], call.fields
        service_ip = self.balancer.services[service].ip
        macs, ips = (server.mac, self.mac_of(got["src"])), (got["dst"], got["src"])
        ports = (got["tcp_dst"], got["tcp_src"])
        sent = frames.tcp(macs, ips, ports, flags, 9000, got["seq"] + 1, data)
        taken = [d for d in self.send(server.name, sent) if d.taken]
        assert [d.host for d in taken] == [client.name], taken
        seen = taken[0].fields
        assert (seen["eth_src"], seen["src"], seen["tcp_src"]) == (self.mac_of(service_ip), service_ip, ports[0])
        assert (seen["dst"], seen["tcp_dst"], seen["tcp_flags"]) == (client.at(service_ip), ports[1], flags)
        assert frames.tcp_data(taken[0].frame) == data

    def connect(
        self,
        client: str,
        port: int = 40000,
        seq: int = 1,
        service: int = 0,
        to_port: int | None = None,
        held: bool = False,
    ) -> str:
        """A whole handshake and one exchange, looked at from both ends; the server."""
        call = self.syn(client, port, seq, service, to_port, held)
        assert call.server is not None, f"{client}:{port} got no server; drops: {self.has_drops()}"
        self.answer(client, call, SYN | ACK, service, b"")
        for data in (b"", b"GET / HTTP/1.1\r\n\r\n"):
            later = self.data(client, port, service, data, to_port)
            assert later.server == call.server
            self.answer(client, later, ACK, service)
        return call.server

    def close(self, client: str, port: int = 40000, service: int = 0) -> None:
        """Both ends say FIN."""
        call = self.fin(client, port, service)
        self.answer(client, call, FIN | ACK, service, b"")
        self.data(client, port, service, b"")

    # a client's datagrams

    def datagram(
        self,
        client: str,
        port: int = 40000,
        service: int = 0,
        data: bytes = b"?",
        to_port: int | None = None,
        held: bool = False,
    ) -> Outcome:
        """Send a UDP datagram to a service; where it went. It must go to one server at most, and nothing may come back.

        to_port: of the service's ports; default: the first. held: as for `call`."""
        host, wanted = self.hosts[client], self.balancer.services[service]
        asked = wanted.port if to_port is None else to_port
        sent = frames.udp((host.mac, wanted.mac), (host.at(wanted.ip), wanted.ip), (port, asked), data)
        taken = [d for d in self.send_and_wait(client, sent, held) if d.taken and "udp_src" in d.fields]
        assert len(taken) <= 1, taken
        return self._took(client, taken[0], wanted.ip, sent) if taken else Outcome()

    def _took(self, client: str, delivery: Delivery, service_ip: int, sent: bytes) -> Outcome:
        """A server must see itself as the receiver and the client as the sender (itself: the service)."""
        got, server = delivery.fields, self.hosts[delivery.host]
        assert (got["eth_dst"], got["dst"]) == (server.mac, server.at(service_ip))
        assert got["src"] == (service_ip if delivery.host == client else self.hosts[client].at(service_ip))
        assert [got[n] for n in ("udp_src", "udp_dst")] == [frames.fields(sent)[n] for n in ("udp_src", "udp_dst")]
        assert frames.udp_data(delivery.frame) == frames.udp_data(sent)
        return Outcome(server=delivery.host, frame=delivery.frame)

    def reply(self, who: str, call: Outcome, service: int = 0, data: bytes = b"!") -> None:
        """The server answers the datagram it got, to whom it saw; client `who` must see an answer of the service."""
        assert call.server is not None
        server, client, got = self.hosts[call.server], self.hosts[who], call.fields
        wanted = self.balancer.services[service]
        macs, ips = (server.mac, self.mac_of(got["src"])), (got["dst"], got["src"])
        sent = frames.udp(macs, ips, (got["udp_dst"], got["udp_src"]), data)
        taken = [d for d in self.send(server.name, sent) if d.taken]
        assert [d.host for d in taken] == [client.name], taken
        seen = taken[0].fields
        assert (seen["eth_src"], seen["src"], seen["udp_src"]) == (wanted.mac, wanted.ip, got["udp_dst"])
        assert (seen["dst"], seen["udp_dst"]) == (client.at(wanted.ip), got["udp_src"])
        assert frames.udp_data(taken[0].frame) == data

    def ask(
        self, client: str, port: int = 40000, service: int = 0, to_port: int | None = None, held: bool = False
    ) -> str:
        """A datagram and its answer, looked at from both ends; the server."""
        call = self.datagram(client, port, service, to_port=to_port, held=held)
        assert call.server is not None, f"{client}:{port} got no server; drops: {self.has_drops()}"
        self.reply(client, call, service)
        return call.server

    def ask_directly(
        self, client: str, server: str, port: int = 41000, server_port: int = 53, version: int = 4
    ) -> bool:
        """A datagram to a server's own address and its answer: whether both arrive as they are."""
        there = frames.udp(*self.between(client, server, version), (port, server_port))
        back = frames.udp(*self.between(server, client, version), (server_port, port))
        before = len(self.delivered)
        self.send(client, there)
        self.advance(HELD_S)  # its first packet may be held for a moment
        came = [(d.host, d.frame) for d in self.delivered[before:] if d.taken and d.fields.get("udp_src") == port]
        return came == [(server, there)] and self.reaches(client, back, server)

    def direct(self, client: str, server: str, port: int = 41000, server_port: int = 80, version: int = 4) -> bool:
        """Call a server at its own address: whether all goes both ways as it is."""
        macs, ips = self.between(client, server, version)
        back = self.between(server, client, version)
        opening = frames.tcp(macs, ips, (port, server_port), SYN, 1)
        before = len(self.delivered)
        self.send(client, opening)
        self.advance(HELD_S)  # its first packet may be held for a moment
        came = [(d.host, d.frame) for d in self.delivered[before:] if d.taken and d.fields.get("tcp_src") == port]
        answer = frames.tcp(*back, (server_port, port), SYN | ACK, 5, 2)
        more = frames.tcp(macs, ips, (port, server_port), ACK, 2, 6, b"GET")
        return (
            came == [(server, opening)] and self.reaches(client, answer, server) and self.reaches(server, more, client)
        )


MakeRig = Callable[..., Rig]  # with the fields of Rig as keyword arguments
