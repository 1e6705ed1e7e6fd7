"""A balancer's settings, checked as they are made: which services there are, and what holds for all of them.

Rule: whoever holds Settings holds some that can work together; what can't is one sentence of a ValueError. Addresses
are compared as numbers, since one may be spelt in many ways.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Final

from lab.balancer.connections import DEFAULT_BOUND
from lab.balancer.health import CheckKind, HealthSettings
from lab.balancer.modes import MODES, check_policy
from lab.balancer.operations import MAX_MEMBERS
from lab.balancer.packet import PROTO_TCP, PROTO_UDP, address, is_ipv6, number_of
from lab.balancer.policies import POLICIES, WEIGHTED, heeds_weights
from lab.balancer.policies.plugin import Plugin
from lab.balancer.policies.source_hash import DEFAULT_SIZE, check_size

ON_SERVER_DOWN: Final = ("reset", "rebalance")
PROTOCOLS: Final[Mapping[str, int]] = {"tcp": PROTO_TCP, "udp": PROTO_UDP}
DEFAULT_HEALTH: Final = HealthSettings()


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    name: str
    ip: str
    weight: int = 1
    health: HealthSettings | None = None  # None: the service's

    @property
    def address(self) -> int:
        return number_of(self.ip)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSettings:
    name: str
    ip: str
    servers: Sequence[ServerSettings]
    port: int = 80  # the first
    last_port: int = 0  # 0: `port` is the only one
    protocol: str = "tcp"
    policy: str = "round_robin"
    health: HealthSettings = DEFAULT_HEALTH

    @property
    def address(self) -> int:
        return number_of(self.ip)

    @property
    def addresses(self) -> list[int]:
        """Its servers'."""
        return [server.address for server in self.servers]

    @property
    def ports(self) -> range:
        return range(self.port, (self.last_port or self.port) + 1)

    def meets(self, other: ServiceSettings) -> bool:
        """Whether both have some port of one protocol."""
        one, two = self.ports, other.ports
        return self.protocol == other.protocol and one[0] <= two[-1] and two[0] <= one[-1]

    def said(self) -> str:
        """Its ports, as a message names them."""
        ports = f"port {self.port}" if len(self.ports) == 1 else f"ports {self.port}-{self.last_port}"
        return ports if self.protocol == "tcp" else f"UDP {ports}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All of a balancer's settings. Raises ValueError, one sentence, when they can't work together."""

    services: Sequence[ServiceSettings]
    mode: str = "reactive"
    stateful: bool = True  # mode proactive: connections stay where they are when the pool changes
    idle_timeout: int = 10  # s without a packet after which a connection's rule leaves the switch
    bound: int = DEFAULT_BOUND  # connections remembered
    on_server_down: str = "reset"  # or rebalance: what becomes of its connections
    hash_table_size: int = DEFAULT_SIZE  # of source_hash, a prime
    plugins: Mapping[str, Plugin] = field(default_factory=dict)  # policies of the user's own, by the name services use
    detail: bool = False  # a note per decision

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ValueError(f"unknown mode {self.mode!r}; known: {', '.join(sorted(MODES))}")
        if not 1 <= self.idle_timeout <= 65535:
            raise ValueError("the idle time-out must be 1 to 65535 seconds")
        _check_connections(self)
        if not self.services:
            raise ValueError("there is no service to balance")
        for service in self.services:
            _check_service(service, [*POLICIES, *self.plugins])
            check_policy(self.mode, service.policy, service.policy in self.plugins)
        for one, two in combinations(self.services, 2):
            if one.address == two.address and one.meets(two):
                raise ValueError(
                    f"{one.name!r} and {two.name!r} have the same address and port: {two.ip}, {two.said()}"
                )
        servers = {number for service in self.services for number in service.addresses}
        if shared := {service.address for service in self.services} & servers:
            raise ValueError(
                f"{address(min(shared))} is both a service's address and a server's; give the service its own"
            )
        if sum(len(service.servers) for service in self.services) > MAX_MEMBERS:
            raise ValueError(f"more than {MAX_MEMBERS} servers in all")
        if self.mode == "proactive" and any(is_ipv6(service.address) for service in self.services):
            raise ValueError("mode proactive is for IPv4 services; use mode reactive or tracked")
        _check_answers_apart(self.services)


def _check_connections(settings: Settings) -> None:
    if settings.bound < 1:
        raise ValueError("the connection table's bound must be 1 or more")
    if settings.on_server_down not in ON_SERVER_DOWN:
        raise ValueError(f"unknown on_server_down {settings.on_server_down!r}; known: {', '.join(ON_SERVER_DOWN)}")
    check_size(settings.hash_table_size)


def _check_service(service: ServiceSettings, policies: Sequence[str]) -> None:
    if service.policy not in policies:
        raise ValueError(f"unknown policy {service.policy!r}; known: {', '.join(sorted(policies))}")
    if not service.servers:
        raise ValueError(f"service {service.name!r} has no servers")
    _check_ports(service)
    if len(set(service.addresses)) < len(service.addresses):
        raise ValueError(f"service {service.name!r} names a server twice")
    if any(server.weight < 1 for server in service.servers):
        raise ValueError(f"service {service.name!r}: a server's weight must be 1 or more")
    slow = any((server.health or service.health).slow_start for server in service.servers)
    if slow and not heeds_weights(service.policy):
        text = f"policy {service.policy} heeds no weights, so no share can grow: set no slow start"
        raise ValueError(f"service {service.name!r}: {text}, or use {', '.join(WEIGHTED)}")
    _check_families(service)


def _check_families(service: ServiceSettings) -> None:
    if len({is_ipv6(number) for number in (service.address, *service.addresses)}) > 1:
        raise ValueError(f"service {service.name!r}: its address and its servers' must be of one IP version")


def _check_ports(service: ServiceSettings) -> None:
    if service.protocol not in PROTOCOLS:
        raise ValueError(f"service {service.name!r}: unknown protocol {service.protocol!r}; known: tcp, udp")
    if not service.ports:
        raise ValueError(f"service {service.name!r}: its last port {service.last_port} is below {service.port}")
    for port in (service.ports[0], service.ports[-1]):
        if not 1 <= port <= 65535:
            raise ValueError(f"service {service.name!r}: port {port} isn't in 1 to 65535")
    checks = [service.health, *(server.health for server in service.servers if server.health)]
    if service.protocol == "udp" and any(check.kind is not CheckKind.ARP for check in checks):
        raise ValueError(f"service {service.name!r} is UDP, whose servers are checked by ARP alone")


def _check_answers_apart(services: Sequence[ServiceSettings]) -> None:
    """A server's answers are known by its address, protocol and port alone."""
    for one, two in combinations(services, 2):
        if one.meets(two) and (shared := {*one.addresses} & {*two.addresses}):
            both = f"{one.name!r} ({one.ip}) and {two.name!r} ({two.ip})"
            name = next(server.name for server in two.servers if server.address in shared)
            where = f"{name} serves {two.said()} for {both}"
            raise ValueError(f"{where}, whose answers can't be told apart; give one another port")
