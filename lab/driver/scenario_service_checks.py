"""What must fit together in a scenario's services: addresses, ports, servers and their health.

Rule: each check is about services alone, or about what a kind of service can't do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from lab.driver.scenario_findings import Finding
from lab.driver.scenario_model import Health, HealthOverride, Service
from lab.driver.scenario_plan import At, Plan
from lab.driver.wording import quote

MAX_DATAGRAM: Final = 1_400  # bytes of an answer over UDP, as the agent has it


def check_service_addresses(plan: Plan) -> Iterator[Finding]:
    """A service's address is no host's."""
    owners = {ip.partition("/")[0]: name for name, host in plan.hosts.items() for ip in (host.ip, host.ip6) if ip}
    for name, service in plan.model.services.items():
        if service.ip in owners:
            text = f"{service.ip} is the address of host {owners[service.ip]}: a service needs its own"
            yield Finding(("services", name, "ip"), text, "duplicate-ip")


def check_service_ports(plan: Plan) -> Iterator[Finding]:
    """An address and port belong to one service."""
    for name, service in plan.model.services.items():
        for other, earlier in _before(plan, name):
            if earlier.ip == service.ip and earlier.port == service.port and earlier.protocol == service.protocol:
                text = f"{quote(name)} and {quote(other)} have the same address and port {service.ip}:{service.port}"
                yield Finding(("services", name, "ip"), text, "duplicate-service")
            elif earlier.ip == service.ip and earlier.meets(service):
                text = f"{service.said} of {quote(name)} overlap {earlier.said} of {quote(other)} at {service.ip}"
                yield Finding(("services", name, "port"), text, "duplicate-service")


def _before(plan: Plan, name: str) -> list[tuple[str, Service]]:
    """The services that stand above this one."""
    services = list(plan.model.services.items())
    return services[: list(plan.model.services).index(name)]


def check_servers(plan: Plan) -> Iterator[Finding]:
    """Servers are hosts, each once in a service."""
    for service, given in plan.given.services.items():
        at, seen = ("services", service, "servers"), set[str]()
        for index, name in enumerate(given.servers):
            place: At = (*at, index) if isinstance(given.servers, list) else (*at, name)
            yield from plan.unknown_host(name, place, on_key=True)
            if name in seen:
                yield Finding(place, f"{quote(name)} is listed twice", "twice")
            seen.add(name)


def check_delays(plan: Plan) -> Iterator[Finding]:
    """One program answers on a host's port, whatever services it is in; only the Python one can wait."""
    seen: dict[tuple[str, str], int] = {}
    for service, pool in plan.servers.items():
        port = plan.model.services[service].said
        for name, server in pool.items():
            delay, at = server.delay_ms if server else 0, ("services", service, "servers", name, "delay_ms")
            if delay and plan.model.servers.kind != "python" and plan.model.services[service].protocol == "tcp":
                yield Finding(at, f"{plan.model.servers.kind} can't delay its answers: use kind: python", "delay")
            if seen.setdefault((name, port), delay) != delay:
                text = f"{quote(name)} answers {port} after {seen[name, port]} ms in another service already"
                yield Finding(at, text, "delay")


def check_answers(plan: Plan) -> Iterator[Finding]:
    """Answers of one server's address and port must belong to one service: there is nothing else to tell them by."""
    for name, service in plan.model.services.items():
        for first, earlier in _before(plan, name):
            shared = [server for server in plan.servers[name] if server in plan.servers[first]]
            same = earlier.meets(service) and earlier.is_ipv6 == service.is_ipv6
            for server in shared if same else []:
                text = f"{quote(server)} serves {earlier.said} for {quote(first)} already: give one another port"
                yield Finding(("services", name, "servers"), text, "shared-server")


def check_udp(plan: Plan) -> Iterator[Finding]:
    """What a UDP service can't do: it has no connections to check, to keep open or to flood, and no pages."""
    udp = {name: service for name, service in plan.model.services.items() if service.protocol == "udp"}
    size = plan.model.servers.response_bytes
    if udp and size > MAX_DATAGRAM:
        text = f"an answer over UDP has {MAX_DATAGRAM} bytes at most: a fragment of one has no ports to go by"
        yield Finding(("servers", "response_bytes"), text, "udp")
    for name in udp:
        yield from _check_udp_health(plan, name)
    for at, load in plan.loads:
        if load.service in udp and load.keepalive:
            text = "keepalive says nothing over UDP: each request comes from a port of its own"
            yield Finding((*at, "keepalive"), text, "udp")
        if load.service in udp and load.path != "/":
            yield Finding((*at, "path"), f"{quote(load.service)} is a UDP service: it has no pages", "udp")
    for at, action in plan.actions:
        if action.flood and action.flood.service in udp:
            text = f"a flood is of TCP SYNs, and {quote(action.flood.service)} is a UDP service"
            yield Finding((*at, "flood", "service"), text, "udp")


def check_ipv6(plan: Plan) -> Iterator[Finding]:
    """OpenFlow 1.0, which POX speaks, has no means to rewrite an IPv6 address; the switch hashes IPv4 ones, and a flood
    is of those."""
    six = [name for name, service in plan.model.services.items() if service.is_ipv6]
    engine = plan.model.controller.engine
    if six and engine in ("pox", "stock"):
        text = f"engine {engine} speaks OpenFlow 1.0, which can't rewrite IPv6 addresses, as that of {quote(six[0])}"
        yield Finding(("controller", "engine"), f"{text}: use engine osken, or auto", "ipv6")
    if six and plan.model.controller.mode == "proactive":
        text = f"mode proactive is for IPv4 services, and {quote(six[0])} has an IPv6 address"
        yield Finding(("controller", "mode"), f"{text}: use mode reactive or tracked", "ipv6")
    for at, action in plan.actions:
        if action.flood and action.flood.service in six:
            text = f"a flood is of IPv4, and {quote(action.flood.service)} has an IPv6 address"
            yield Finding((*at, "flood", "service"), text, "ipv6")


def _check_udp_health(plan: Plan, name: str) -> Iterator[Finding]:
    text = "a UDP service's servers are checked by ARP alone: leave kind out, or use kind: arp"
    if plan.model.services[name].health.kind != "arp":
        yield Finding(("services", name, "health", "kind"), text, "health")
    for server, facts in plan.servers[name].items():
        own = facts.health.kind if facts and facts.health else "arp"
        if own != "arp" and own != plan.model.services[name].health.kind:
            yield Finding(("services", name, "servers", server, "health", "kind"), text, "health")


def check_health(plan: Plan) -> Iterator[Finding]:
    for name, service in plan.model.services.items():
        yield from _check_health(("services", name, "health"), service.health)
        for server, facts in plan.servers[name].items():
            if facts and facts.health:
                yield from _check_health(("services", name, "servers", server, "health"), facts.health)


def _check_health(at: At, health: Health | HealthOverride) -> Iterator[Finding]:
    timeout, interval = health.timeout_s or 0, health.interval_s or 0
    if timeout > interval:
        text = f"a probe's time-out ({timeout:g} s) must not pass the interval ({interval:g} s)"
        yield Finding((*at, "timeout_s"), text, "time")
    for key, default in (("path", "/"), ("status", 200)):
        if health.kind != "http" and getattr(health, key) != default:
            yield Finding(
                (*at, key), f"check {health.kind} asks for no page: use kind: http, or leave {key} out", "health"
            )
