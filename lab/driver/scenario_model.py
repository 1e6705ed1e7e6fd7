"""The scenario's keys as pydantic models: types, defaults, limits, help; the JSON Schema is made from them.

Rule: a model checks one value at a time. What needs two values (an unknown host, a loop) is in topology.py and
scenario_checks.py, so that every mistake of a file is found in one pass and none hides another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import Field, Tag

from lab.driver.scenario_steps import Expect, Load, Step
from lab.driver.scenario_types import (
    HostIp,
    HostIp6,
    HttpPath,
    Mac,
    Model,
    Name,
    OneOf,
    OneOfPolicies,
    Pair,
    Port,
    ScenarioName,
    Seconds,
    ServiceIp,
    either,
)

MAX_HOSTS: Final = 1000
MAX_SWITCHES: Final = 1000
ENGINES: Final = ("auto", "pox", "osken", "stock")
# where the controller decides about each connection, every policy is kept, and so is a user's own
CONTROLLER_CHOOSES: Final = ("round_robin", "weighted_round_robin", "random", "least_connections", "source_hash")
POLICIES_KEPT: Final[Mapping[str, tuple[str, ...]]] = {  # mode → the policies that it keeps exactly
    "reactive": CONTROLLER_CHOOSES,
    "tracked": CONTROLLER_CHOOSES,
    "proactive": ("connection_hash", "source_hash"),  # the switch chooses, by hash
}
HEALTH_KINDS: Final = ("arp", "tcp", "http")
MODES: Final = tuple(POLICIES_KEPT)
POLICIES: Final = tuple(dict.fromkeys(policy for kept in POLICIES_KEPT.values() for policy in kept))
HEEDLESS: Final = ("round_robin",)  # of weights


class Host(Model):
    ip: HostIp | None = Field(None, description="With prefix length; default 10.0.0.N/8.")
    ip6: HostIp6 | None = Field(None, description="Default fd00::N/64 if a service is IPv6, else none.")
    mac: Mac | None = Field(None, description="Default 02:00 and the four bytes of the IP address.")
    switch: Name | None = Field(None, description="Where the host hangs; default: the first switch, or in turn.")


class Switch(Model):
    dpid: int | None = Field(None, ge=1, lt=2**64, description="Datapath id; default N for sN.")


Hosts = Annotated[
    Annotated[int, Field(ge=1, le=MAX_HOSTS), Tag("@count")]
    | Annotated[dict[Name, Host | None], Field(min_length=1, max_length=MAX_HOSTS), Tag("@named")],
    either("a number of hosts or a mapping of them", count=int, named=dict),
]
Switches = Annotated[
    Annotated[int, Field(ge=1, le=MAX_SWITCHES), Tag("@count")]
    | Annotated[dict[Name, Switch | None], Field(min_length=1, max_length=MAX_SWITCHES), Tag("@named")],
    either("a number of switches or a mapping of them", count=int, named=dict),
]


class Topology(Model):
    """Hosts, switches and the links between switches."""

    hosts: Hosts = Field(6, description="h1..hN at 10.0.0.1..N/8; or a mapping of name to ip, mac, switch.")
    switches: Switches | None = Field(
        None, description="Number, or mapping of name to dpid; default s1 alone, or as many as kind and depth make."
    )
    links: list[Pair] | None = Field(None, description="Pairs of switches, instead of kind.")
    kind: Annotated[str, OneOf("kind", ("linear", "tree"))] | None = Field(None, description="Links made for you.")
    depth: Annotated[int, Field(ge=1, le=MAX_SWITCHES)] | None = Field(None, description="Levels of switches.")
    fanout: Annotated[int, Field(ge=1, le=MAX_SWITCHES)] | None = Field(None, description="Tree: switches below each.")
    balancer: Name | None = Field(None, description="The balancing switch; needed when there are several.")


class HealthOverride(Model):
    """One server's own settings; what isn't given is the service's."""

    kind: Annotated[str, OneOf("kind", HEALTH_KINDS)] | None = None
    interval_s: Seconds | None = None
    timeout_s: Seconds | None = None
    rise: Annotated[int, Field(ge=1, le=100)] | None = None
    fall: Annotated[int, Field(ge=1, le=100)] | None = None
    path: HttpPath | None = None
    status: Annotated[int, Field(ge=100, le=599)] | None = None
    slow_start_s: Annotated[float, Field(ge=0, le=86_400)] | None = None


class Health(Model):
    """Probes of the servers: down after `fall` misses in a row, up after `rise` answers."""

    kind: Annotated[str, OneOf("kind", HEALTH_KINDS)] = Field("arp", description="What is asked: host, port or page.")
    interval_s: Seconds = 1.0
    timeout_s: Seconds = 0.5
    rise: Annotated[int, Field(ge=1, le=100)] = 1
    fall: Annotated[int, Field(ge=1, le=100)] = 2
    path: HttpPath = Field("/", description="Of the page that kind http asks for.")
    status: int = Field(200, ge=100, le=599, description="What kind http takes for an answer.")
    slow_start_s: float = Field(0.0, ge=0, le=86_400, description="Until a server that came up has its share.")


class Server(Model):
    weight: Annotated[int, Field(ge=1, le=256)] = 1
    delay_ms: int = Field(0, ge=0, le=60_000, description="Wait before each answer (kind python only).")
    health: HealthOverride | None = Field(None, description="Where it differs from the service's.")


Servers = Annotated[
    Annotated[list[Name], Field(min_length=1), Tag("@list")]
    | Annotated[dict[Name, Server | None], Field(min_length=1), Tag("@named")],
    either("a list of hosts or a mapping of them", list=list, named=dict),
]


class Service(Model):
    """What the balancer answers for: one address and port, or a range of ports, and the pool behind it."""

    ip: ServiceIp = Field("10.0.1.1", description="IPv4 or IPv6; IPv6 needs engine osken.")
    port: Port = Field(80, description="Or a range, as in 8000-8010; a server is called at the port that was asked.")
    protocol: Annotated[str, OneOf("protocol", ("tcp", "udp"))] = Field("tcp", description="tcp: HTTP; udp: datagrams.")
    servers: Servers = Field(["h1", "h2"], description="Hosts; or a mapping of host to weight, delay_ms, health.")
    policy: Annotated[str, OneOfPolicies("policy", POLICIES)] = Field(
        "round_robin", description="Or a policy of your own: path/to/file.py:ClassName."
    )
    health: Health = Health.model_construct()

    @property
    def ports(self) -> range:
        first, _, last = str(self.port).partition("-")
        return range(int(first), int(last or first) + 1)

    @property
    def last_port(self) -> int | None:
        """Of a range; None: there is one port."""
        return self.ports[-1] if len(self.ports) > 1 else None

    @property
    def is_ipv6(self) -> bool:
        return ":" in self.ip

    def meets(self, other: Service) -> bool:
        """Whether both have some port of one protocol."""
        one, two = self.ports, other.ports
        return self.protocol == other.protocol and one[0] <= two[-1] and two[0] <= one[-1]

    @property
    def said(self) -> str:
        """Its ports, as a message names them."""
        return f"{'UDP ' * (self.protocol == 'udp')}port{'s' * (len(self.ports) > 1)} {self.port}"


class WebServers(Model):
    """The program that answers on every server; a UDP service has a small one of its own."""

    kind: Annotated[str, OneOf("kind", ("python", "nginx"))] = "python"
    response_bytes: Annotated[int, Field(ge=1, le=100_000_000)] = 64


class Connections(Model):
    """The controller's table of connections, of all services together."""

    bound: int = Field(1_000_000, ge=1, le=100_000_000, description="Remembered at most; the longest idle leave first.")
    on_server_down: Annotated[str, OneOf("way", ("reset", "rebalance"))] = Field(
        "reset", description="What becomes of a server's connections when it goes down."
    )


class Controller(Model):
    engine: Annotated[str, OneOf("engine", ENGINES)] = Field(
        "auto", description="auto: pox where it can be had, else osken; osken if a service is IPv6."
    )
    mode: Annotated[str, OneOf("mode", MODES)] = "reactive"
    stateful: bool = Field(
        True,
        description="Mode proactive: false is faster, and connections move whenever the pool changes: they break.",
    )
    idle_timeout_s: int = Field(10, ge=1, le=65_535, description="Life of an unused connection rule, s.")
    seed: int | None = Field(1, ge=0, lt=2**63, description="Of random choices; null: another in each run.")
    connections: Connections = Connections.model_construct()
    hash_table_size: int = Field(65_537, ge=2, description="Of policy source_hash: a prime, 100 per server or more.")


class ScenarioModel(Model):
    """A scenario of balance-lab."""

    name: ScenarioName
    about: str = Field("", description="What it shows, in a sentence.")
    topology: Topology = Topology.model_construct()
    services: dict[Name, Service] = Field({"web": Service.model_construct()}, min_length=1)
    servers: WebServers = WebServers.model_construct()
    controller: Controller = Controller.model_construct()
    load: Load = Field(Load.model_construct(), description="One round of requests; or steps.")
    steps: list[Step] = Field([], description="In order instead of load.")
    expect: Expect = Field(
        Expect.model_construct(),
        description="Default: no failed request, and equal hits where round_robin must give them.",
    )
    time_limit_s: Seconds = 60.0


def json_schema() -> dict[str, Any]:
    """JSON Schema of a scenario file, for editors."""
    schema = ScenarioModel.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
