"""What driver, agent and supervisor say to each other: plain frozen dataclasses and their JSON form.

Standard library only, because agent and supervisor run on a system Python without the driver's packages.
The one rule: whatever crosses a process border is one of these classes, read with `decode`, written with `encode`.
All defaults together are the tutorial: six hosts, one switch, h1 and h2 serving 10.0.1.1:80.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

AGENT_PORT = 8080  # the agent's API, inside the sandbox or container
SUPERVISOR_PORT = 8081  # the supervisor's API, loopback or the private control network
OPENFLOW_PORT = 6633  # where the engine listens, as POX does

T = TypeVar("T")


class WireError(ValueError):
    """A message that isn't what it should be; the text says where, what was expected and what came."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Host:
    name: str
    ip: str  # with prefix length: 10.0.0.1/8
    ip6: str | None = None  # fd00::1/64, where a service has an IPv6 address
    mac: str
    switch: str = "s1"


@dataclass(frozen=True, kw_only=True, slots=True)
class Switch:
    name: str
    dpid: int


@dataclass(frozen=True, kw_only=True, slots=True)
class HttpServer:
    """One server to start on a host. Its answers name the host: in `X-Server`, or in a datagram's first line."""

    host: str
    port: int = 80
    last_port: int | None = None  # of a range that begins with `port`, on all of which it listens
    protocol: str = "tcp"  # HTTP; or udp
    kind: str = "python"  # or nginx
    response_bytes: int = 64
    delay_ms: int = 0
    log_hits: bool = True  # False: nginx alone can; a bench has millions

    @property
    def ports(self) -> range:
        return range(self.port, (self.last_port or self.port) + 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Network:
    """What the agent builds. `links` join switches; a host hangs on the switch it names."""

    switches: tuple[Switch, ...]
    hosts: tuple[Host, ...]
    links: tuple[tuple[str, str], ...] = ()
    servers: tuple[HttpServer, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Health:
    """How servers are checked. `path` and `status` are an http check's alone."""

    kind: str = "arp"  # or tcp, http
    interval_s: float = 1.0
    timeout_s: float = 0.5
    rise: int = 1
    fall: int = 2
    path: str = "/"
    status: int = 200
    slow_start_s: float = 0.0  # in which a server that came up reaches its whole share; 0: at once


@dataclass(frozen=True, kw_only=True, slots=True)
class Server:
    """A member of a service's pool."""

    name: str
    ip: str  # without prefix length
    weight: int = 1
    health: Health | None = None  # None: the service's


@dataclass(frozen=True, kw_only=True, slots=True)
class NewServer:
    """A server to add to a running pool."""

    ip: str  # without prefix length
    weight: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Weight:
    """A server's new weight."""

    weight: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Service:
    name: str
    ip: str
    servers: tuple[Server, ...]
    port: int = 80
    last_port: int | None = None  # of a range that begins with `port`; None: it is the only one
    protocol: str = "tcp"  # or udp
    policy: str = "round_robin"
    health: Health = Health()

    @property
    def said(self) -> str:
        """Address and ports, as a person writes them."""
        host = f"[{self.ip}]" if ":" in self.ip else self.ip
        ports = str(self.port) if self.last_port is None else f"{self.port}-{self.last_port}"
        return f"{host}:{ports}{' udp' if self.protocol == 'udp' else ''}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Plugin:
    """A policy of the user's own: services name it, and its source goes along."""

    name: str  # what `Service.policy` says
    file: str  # for messages
    class_name: str
    source: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Connections:
    """The controller's table of connections, of all services together."""

    bound: int = 1_000_000
    on_server_down: str = "reset"  # or rebalance


@dataclass(frozen=True, kw_only=True, slots=True)
class Controller:
    """What the supervisor starts. `dpid` None: the first switch that connects balances, with a warning."""

    services: tuple[Service, ...]
    engine: str = "auto"  # auto, pox, osken, stock
    mode: str = "reactive"
    stateful: bool = True  # of mode proactive
    dpid: int | None = None
    idle_timeout_s: int = 10
    seed: int | None = 1
    connections: Connections = Connections()
    hash_table_size: int = 65_537  # of source_hash, a prime
    plugins: tuple[Plugin, ...] = ()
    verbose: bool = False  # a log line per decision


@dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """One round of requests. Ends after `requests` or `duration_s`, whichever is set (both: the first)."""

    clients: tuple[str, ...]
    url: str  # http://10.0.1.1:80/ or udp://10.0.1.1:53/
    last_port: int | None = None  # the requests ask the ports from the URL's to this one, in turn
    requests: int | None = 40  # total over all clients, dealt in turn
    duration_s: float | None = None
    rate: float | None = None  # requests started per second over all clients; None: closed model
    concurrency: int = 1  # requests in flight over all clients
    keepalive: bool = False  # True: a client's requests share one connection
    timeout_s: float = 5.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Flood:
    """TCP SYNs from `host` to `ip`:`port`, sent raw and evenly over `seconds`, their answers ignored."""

    host: str
    ip: str
    port: int = 80
    syns: int = 10_000
    seconds: float = 10.0
    spoofed: bool = True  # each from another address, of a network that isn't there


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """One finished request, as the client saw it: a line of requests.ndjson. A UDP request has no status."""

    time: float  # Unix time (s) at its start
    client: str
    local_port: int | None
    server: str | None  # who answered, from X-Server
    status: int | None  # HTTP status; None: no answer, or none over HTTP
    connect_ms: float | None  # TCP handshake; None: not connected, or an open connection was used
    total_ms: float
    error: str | None = None  # curl's sentence; None: answered with a status below 400

    @property
    def ok(self) -> bool:
        return self.error is None


@dataclass(frozen=True, kw_only=True, slots=True)
class Hit:
    """One request in a server's own log. The server's host is the key it is listed under. Of a datagram, `path` is what
    it said and `status` 200."""

    time: float
    client_ip: str
    client_port: int
    path: str
    status: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Pings:
    """Outcome of a ping from every host to every other."""

    sent: int
    received: int
    failed: tuple[tuple[str, str], ...] = ()

    @property
    def loss_percent(self) -> float:
        return 100.0 * (self.sent - self.received) / self.sent if self.sent else 0.0


def default_network() -> Network:
    """The tutorial's six hosts on one switch, h1 and h2 serving."""
    hosts = tuple(Host(name=f"h{n}", ip=f"10.0.0.{n}/8", mac=f"02:00:0a:00:00:{n:02x}") for n in range(1, 7))
    servers = (HttpServer(host="h1"), HttpServer(host="h2"))
    return Network(switches=(Switch(name="s1", dpid=1),), hosts=hosts, servers=servers)


def default_controller() -> Controller:
    """The tutorial's balancer: 10.0.1.1:80, h1 and h2 in turn."""
    pool = (Server(name="h1", ip="10.0.0.1"), Server(name="h2", ip="10.0.0.2"))
    return Controller(services=(Service(name="web", ip="10.0.1.1", servers=pool),), dpid=1)


def encode(message: object) -> Any:
    """The JSON form of a dataclass (or of lists, tuples and mappings of them): plain dicts, lists and scalars."""
    if dataclasses.is_dataclass(message) and not isinstance(message, type):
        return {f.name: encode(getattr(message, f.name)) for f in dataclasses.fields(message)}
    if isinstance(message, (list, tuple)):
        return [encode(item) for item in message]
    if isinstance(message, Mapping):
        return {str(key): encode(value) for key, value in message.items()}
    return message


def decode(cls: type[T], data: Any) -> T:
    """Read `data` (parsed JSON) as dataclass `cls`. Raises WireError naming the place, what was expected, what came."""
    return typing.cast(T, _read(cls, data, cls.__name__))


def _read(kind: Any, data: Any, where: str) -> Any:
    if dataclasses.is_dataclass(kind):
        return _read_dataclass(typing.cast(type, kind), data, where)
    origin = typing.get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        if data is None:
            return None
        (inner,) = (arg for arg in typing.get_args(kind) if arg is not type(None))
        return _read(inner, data, where)
    if origin is tuple:
        return _read_tuple(typing.get_args(kind), data, where)
    if origin is dict:
        return _read_mapping(typing.get_args(kind)[1], data, where)
    if kind is float and type(data) is int:
        return float(data)
    if type(data) is not kind:
        raise WireError(f"{where}: expected {kind.__name__}, got {data!r:.80}")
    return data


def _read_tuple(args: tuple[Any, ...], data: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(data, (list, tuple)):
        raise WireError(f"{where}: expected a list, got {data!r:.80}")
    if args[-1] is Ellipsis:
        return tuple(_read(args[0], item, f"{where}[{i}]") for i, item in enumerate(data))
    if len(data) != len(args):
        raise WireError(f"{where}: expected {len(args)} items, got {len(data)}")
    return tuple(_read(arg, item, f"{where}[{i}]") for i, (arg, item) in enumerate(zip(args, data)))


def _read_mapping(kind: Any, data: Any, where: str) -> dict[str, Any]:
    if not isinstance(data, Mapping):
        raise WireError(f"{where}: expected an object, got {data!r:.80}")
    return {name: _read(kind, item, f"{where}.{name}") for name, item in data.items()}


def _read_dataclass(cls: type, data: Any, where: str) -> Any:
    if not isinstance(data, Mapping):
        raise WireError(f"{where}: expected an object, got {data!r:.80}")
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}
    if unknown := sorted(set(data) - set(fields)):
        raise WireError(f"{where}: unknown key {unknown[0]!r}; known: {', '.join(sorted(fields))}")
    values = {name: _read(hints[name], data[name], f"{where}.{name}") for name in fields if name in data}
    for name, field in fields.items():
        if name not in values and field.default is dataclasses.MISSING:
            raise WireError(f"{where}: {name!r} is missing")
    return cls(**values)
