"""What makes sense as a network or a load, judged before anything is touched.

Names end up on Mininet's shell lines and in interface names, so they are kept to letters, digits and a few signs.
Rule: a check raises Refusal(400) with the place and what was found, and has no effect.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from lab import wire
from lab.agent.refusal import Refusal

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,7}")  # with -eth1000 behind it, 15 letters: an interface name's limit
MAC = re.compile(r"[0-9a-f][02468ace](:[0-9a-f]{2}){5}", re.IGNORECASE)  # unicast
RESERVED = ("agent", "all", "lo")
SERVER_KINDS = ("python", "nginx")
PROTOCOLS = ("tcp", "udp")
STATES = ("up", "down")
MAX_PORTS = 64  # of a server's range: it listens on each
MAX_DATAGRAM = 1_400  # bytes of an answer over UDP: one that must be fragmented has no ports to go by
MAX_RESPONSE_BYTES = 100_000_000
MAX_SYNS = 10_000_000
MAX_FLOOD_S = 3600
MAX_CONCURRENCY = 1_024


def check_network(network: wire.Network) -> None:
    """Raises Refusal unless all names, addresses and references of `network` fit together."""
    if not network.switches or not network.hosts:
        raise Refusal(400, "a network needs at least one switch and one host")
    _check_names(network)
    _check_addresses(network)
    _check_links(network)
    for server in network.servers:
        _check_server(server, {host.name for host in network.hosts})
    _unique("server", (f"{s.host}: {s.protocol} port {port}" for s in network.servers for port in s.ports))


def _check_names(network: wire.Network) -> None:
    names = [switch.name for switch in network.switches] + [host.name for host in network.hosts]
    for name in names:
        if not NAME.fullmatch(name) or name in RESERVED:
            raise Refusal(400, f"{name!r} can't be a name: use a letter, then up to 7 letters or digits (h1, s1)")
    _unique("name", names)
    switches = {switch.name for switch in network.switches}
    for host in network.hosts:
        if host.switch not in switches:
            raise Refusal(400, f"host {host.name} hangs on {host.switch!r}, which is no switch; {_known(switches)}")


def _check_addresses(network: wire.Network) -> None:
    for host in network.hosts:
        _check_ip(host)
        if not MAC.fullmatch(host.mac):
            raise Refusal(400, f"host {host.name}: {host.mac!r} is no unicast MAC address (like 02:00:0a:00:00:01)")
    for switch in network.switches:
        if not 0 < switch.dpid < 2**64:
            raise Refusal(400, f"switch {switch.name}: dpid {switch.dpid} is not between 1 and 2^64 - 1")
    _unique("IP address", (host.ip.partition("/")[0] for host in network.hosts))
    _unique("IPv6 address", (str(ipaddress.ip_interface(host.ip6).ip) for host in network.hosts if host.ip6))
    _unique("MAC address", (host.mac.lower() for host in network.hosts))
    _unique("dpid", (str(switch.dpid) for switch in network.switches))


def _check_ip(host: wire.Host) -> None:
    try:
        ipaddress.IPv4Interface(host.ip)
    except ValueError:
        raise Refusal(400, f"host {host.name}: {host.ip!r} is no IPv4 address (like 10.0.0.1/8)") from None
    if "/" not in host.ip:
        raise Refusal(400, f"host {host.name}: {host.ip!r} lacks its prefix length (like {host.ip}/8)")
    if host.ip6 is not None:
        try:
            ipaddress.IPv6Interface(host.ip6)
        except ValueError:
            raise Refusal(400, f"host {host.name}: {host.ip6!r} is no IPv6 address (like fd00::1/64)") from None


def _check_links(network: wire.Network) -> None:
    """Links join known switches and close no loop: a broadcast would circle in it for ever."""
    tree = {switch.name: switch.name for switch in network.switches}

    def root(name: str) -> str:
        while tree[name] != name:
            name = tree[name]
        return name

    for one, other in network.links:
        for name in (one, other):
            if name not in tree:
                raise Refusal(400, f"the link {one}-{other} ends at {name!r}, which is no switch; {_known(tree)}")
        if root(one) == root(other):
            raise Refusal(400, f"the link {one}-{other} closes a loop of switches")
        tree[root(one)] = root(other)


def _check_server(server: wire.HttpServer, hosts: Collection[str]) -> None:
    where = f"the server on {server.host}:{server.port}"
    if server.host not in hosts:
        raise Refusal(400, f"{where}: there is no host {server.host!r}; {_known(hosts)}")
    if server.protocol not in PROTOCOLS:
        raise Refusal(400, f"{where}: protocol {server.protocol!r} is not known; {_known(PROTOCOLS)}")
    if not 0 < server.port < 65_536:
        raise Refusal(400, f"{where}: the port is not between 1 and 65535")
    if not 1 <= len(server.ports) <= MAX_PORTS or server.ports[-1] > 65_535:
        raise Refusal(400, f"{where}: a range has 1 to {MAX_PORTS} ports, up to port 65535")
    if server.kind not in SERVER_KINDS:
        raise Refusal(400, f"{where}: kind {server.kind!r} is not known; {_known(SERVER_KINDS)}")
    most = MAX_DATAGRAM if server.protocol == "udp" else MAX_RESPONSE_BYTES
    if not 0 <= server.response_bytes <= most:
        raise Refusal(400, f"{where}: response_bytes {server.response_bytes} is not between 0 and {most}")
    if server.delay_ms < 0 or (server.delay_ms and server.kind != "python"):
        raise Refusal(400, f"{where}: delay_ms {server.delay_ms} can't be; only kind python delays, by 0 ms or more")
    if not server.log_hits and server.kind != "nginx":
        raise Refusal(400, f"{where}: log_hits can't be false; only kind nginx leaves its hits out of the log")


def check_load(load: wire.Load, hosts: Collection[str]) -> None:
    """Raises Refusal unless `load` names known clients, an http URL, an end and a pace that can be kept."""
    if not load.clients:
        raise Refusal(400, "a load needs at least one client")
    for client in load.clients:
        check_host(client, hosts)
    _unique("client", load.clients)
    check_url(load.url)
    _check_ports(load)
    _check_pace(load)
    if load.keepalive:
        _check_keepalive(load)


def _check_ports(load: wire.Load) -> None:
    parts = urlsplit(load.url)
    if load.last_port is not None and not (parts.port or 80) <= load.last_port < 65_536:
        raise Refusal(400, f"last_port {load.last_port} is not between the URL's port and 65535")
    if parts.scheme == "udp" and load.keepalive:
        raise Refusal(400, "keepalive says nothing over UDP: each request comes from a port of its own")


def _check_pace(load: wire.Load) -> None:
    if load.requests is None and load.duration_s is None:
        raise Refusal(400, "a load needs requests or duration_s, or it would never end")
    if load.requests is not None and load.requests < 1:
        raise Refusal(400, f"requests {load.requests} is less than 1")
    if not 1 <= load.concurrency <= MAX_CONCURRENCY:
        raise Refusal(400, f"concurrency {load.concurrency} is not between 1 and {MAX_CONCURRENCY}")
    for name, value in (("duration_s", load.duration_s), ("rate", load.rate), ("timeout_s", load.timeout_s)):
        if value is not None and not 0 < value < float("inf"):
            raise Refusal(400, f"{name} {value} is not greater than 0")


def _check_keepalive(load: wire.Load) -> None:
    if load.rate is not None:
        raise Refusal(400, "keepalive and rate don't go together: curl sends on an open connection as fast as it can")
    if load.requests is None and load.concurrency < len(load.clients):
        raise Refusal(
            400,
            f"a keep-alive load without requests needs a concurrency of at least its {len(load.clients)} clients: "
            "each keeps its connection until the end",
        )


def check_flood(flood: wire.Flood, hosts: Collection[str]) -> None:
    """Raises Refusal unless `flood` names a known host and a target, and has an end."""
    check_host(flood.host, hosts)
    check_ip(flood.ip)
    if not 0 < flood.port < 65_536:
        raise Refusal(400, f"port {flood.port} is not between 1 and 65535")
    if not 1 <= flood.syns <= MAX_SYNS:
        raise Refusal(400, f"syns {flood.syns} is not between 1 and {MAX_SYNS}")
    if not 0 < flood.seconds <= MAX_FLOOD_S:
        raise Refusal(400, f"seconds {flood.seconds} is not between 0 and {MAX_FLOOD_S}")


def check_ip(ip: str) -> None:
    try:
        ipaddress.IPv4Address(ip)
    except ValueError:
        raise Refusal(400, f"{ip!r:.80} is no IPv4 address") from None


def check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        fine = parts.scheme == "http" and bool(parts.hostname) and (parts.port is None or parts.port > 0)
        fine = fine or (parts.scheme == "udp" and bool(parts.hostname) and bool(parts.port))
    except ValueError:
        fine = False
    if not fine or not url.isprintable() or " " in url:
        raise Refusal(400, f"{url!r:.80} is no URL of the kind http://10.0.1.1:80/ or udp://10.0.1.1:53/")


def check_host(name: str, hosts: Collection[str]) -> None:
    if name not in hosts:
        raise Refusal(400, f"there is no host {name!r}; {_known(hosts)}")


def check_state(state: object) -> str:
    if state not in STATES:
        raise Refusal(400, f"a link's state is up or down, not {state!r:.40}")
    return str(state)


def check_action(action: object, known: Collection[str]) -> str:
    if action not in known:
        raise Refusal(400, f"action {action!r:.40} is not known; {_known(known)}")
    return str(action)


def check_argv(argv: Any) -> list[str]:
    if not isinstance(argv, list) or not argv or not all(isinstance(word, str) for word in argv):
        raise Refusal(400, 'argv must be a list of words, like ["ping", "-c1", "10.0.0.1"]')
    if any("\0" in word for word in argv):
        raise Refusal(400, "argv holds a zero byte")
    return argv


def check_keys(body: Mapping[str, Any], known: Collection[str]) -> None:
    if unknown := sorted(set(body) - set(known)):
        raise Refusal(400, f"unknown key {unknown[0]!r}; {_known(known)}")


def _unique(what: str, values: Iterable[str]) -> None:
    seen: set[str] = set()
    for value in values:
        if value in seen:
            raise Refusal(400, f"{what} {value} is there twice")
        seen.add(value)


def _known(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - 12} more" if len(names) > 12 else ""
    return f"known: {', '.join(names[:12])}{more}"
