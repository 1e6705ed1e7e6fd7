"""A lab in memory: a net whose brain is the balancer, with clients and servers. Tests own the clock and the seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from helpers import frames
from helpers.frames import ACK, FIN, RST, SYN
from helpers.net import HELD_S, Delivery, Net
from helpers.tcp_server import TcpServer
from lab.balancer.balancer import Balancer, ServerSettings, ServiceSettings, Settings
from lab.balancer.connections import DEFAULT_BOUND
from lab.balancer.health import HealthSettings
from lab.balancer.policies.plugin import Plugin
from lab.balancer.pool import Member
from lab.balancer.rules import Cookie, SendPacket

SERVICE = "10.0.1.1"


@dataclass
class Outcome:
    """What became of a client's packet: the server that got it, or a RST that came back, or neither."""

    server: str | None = None
    reset: bool = False
    frame: bytes = b""

    @property
    def fields(self) -> dict[str, int]:
        return frames.fields(self.frame)


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
