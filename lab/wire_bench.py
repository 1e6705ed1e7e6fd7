"""What driver and agent say to each other for a bench: plain frozen dataclasses, read and written as those of `wire`.

Standard library only. Rule: times in seconds unless the name says otherwise, counts since the load began.
"""

from __future__ import annotations

from dataclasses import dataclass

PEERS = ("haproxy", "nftables", "ipvs")


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """A port of the service, and the addresses of the servers behind it, at that same port."""

    port: int
    servers: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Peer:
    """Another balancer to start on `host`, which gets the service's address `ip`."""

    kind: str  # of PEERS
    host: str
    ip: str
    targets: tuple[Target, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Start:
    """What a lab is to be before it is measured. `plain`: its switch learns and forwards, without a controller."""

    plain: bool = False
    peer: Peer | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Connections:
    """So many connections one after the other from each client, none of them measured: caches fill, ARP is done."""

    clients: tuple[str, ...]
    ips: tuple[str, ...]  # dealt to the clients in turn: the service's, or the servers' own
    port: int
    count: int = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """wrk for `seconds`, `concurrency` connections over all clients, a new connection for each request.

    sampler: the client that times whole connections meanwhile, `sample_every_s` apart."""

    clients: tuple[str, ...]
    servers: tuple[str, ...]
    ips: tuple[str, ...]  # dealt to the clients in turn, as for Connections
    port: int
    concurrency: int
    seconds: int
    sampler: str
    sample_every_s: float = 0.02
    settle_s: float = 15.0  # at most so long is waited until the load's rules have left the switch


def targets(wanted: Connections | Load) -> dict[str, str]:
    """Client → the address that it connects to."""
    return {client: wanted.ips[n % len(wanted.ips)] for n, client in enumerate(wanted.clients)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Bulk:
    """One iperf3 stream from `client` to `ip`:`port`, behind which `server` answers; `reverse`: the server sends."""

    client: str
    server: str
    ip: str
    port: int
    seconds: int
    reverse: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Wrk:
    """What the wrk of one client, or of all together, has seen. Latency is that of answers: wrk's clock starts when
    the handshake is over."""

    connections: int  # answered requests, a connection each
    seconds: float
    socket_errors: int
    timeouts: int
    bad_status: int
    answer_ms: tuple[float, ...]  # quantiles, at (i + 1/2) / n


@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """What was counted while a load ran, and until its rules had left the switch."""

    wrk: dict[str, Wrk]  # by client
    whole_ms: tuple[float, ...]  # the sampler's: from SYN to the end of the answer
    sample_errors: int
    accepted: dict[str, int]  # connections that each server's kernel accepted
    kernel: dict[str, dict[str, int]]  # host → what its kernel counted: SYN retransmits, time-outs, …
    time_wait: dict[str, int]  # host → sockets in TIME_WAIT at the load's end
    ports: int  # client ports that an address has
    cpu_s: dict[str, float]  # ovs-vswitchd, and the peer's program
    memory_peak_mb: dict[str, float]  # of the same, since their start
    rules: tuple[int, int, int]  # in the switch: before, at the load's end, after settling
    settled_s: float  # how long that took
