"""The scenario's keys as pydantic models: types, defaults, limits, help; the JSON Schema is made from them.

Rule: a model checks one value at a time. What needs two values (an unknown host, a loop) is in topology.py and
scenario_checks.py, so that every mistake of a file is found in one pass and none hides another."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationInfo, model_validator
from pydantic_core import PydanticCustomError, core_schema

from lab.driver.wording import alternatives, quote

MAX_HOSTS: Final = 1000
MAX_SWITCHES: Final = 1000
ENGINES: Final = ("auto", "pox", "osken", "stock")
POLICIES_KEPT: Final[Mapping[str, tuple[str, ...]]] = {  # mode → the policies that it keeps exactly
    "reactive": ("round_robin", "random"),
    "tracked": ("round_robin", "random"),
}
MODES: Final = tuple(POLICIES_KEPT)
POLICIES: Final = tuple(dict.fromkeys(policy for kept in POLICIES_KEPT.values() for policy in kept))
NAME_RULE: Final = "a letter, then letters, digits, - or _, 8 at most"  # an interface (s1-eth999) has 15 at most
RESERVED: Final = ("agent", "all", "lo")  # words of the agent's own


@dataclass(frozen=True)
class OneOf:
    """Annotation: a word of a closed list; a miss names the nearest."""

    what: str
    known: tuple[str, ...]

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> Any:
        return {**handler(schema), "enum": list(self.known)}

    def _check(self, word: str) -> str:
        if word not in self.known:
            text = f"unknown {self.what} {quote(word)}{alternatives(word, self.known)}"
            raise PydanticCustomError("unknown-word", "{text}", {"text": text})
        return word


@dataclass(frozen=True)
class Form:
    """Annotation: a text of a certain form; `read` gives its one spelling or raises ValueError(what is wrong)."""

    read: Callable[[str], str]
    pattern: str  # for editors only; `read` decides

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> Any:
        return {**handler(schema), "pattern": self.pattern}

    def _check(self, text: str) -> str:
        try:
            return self.read(text)
        except ValueError as error:
            raise PydanticCustomError("wrong-form", "{text}", {"text": str(error)}) from None


def _read_name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,7}", text):
        raise ValueError(f"{quote(text)} can't be a name here: {NAME_RULE}")
    if text in RESERVED:
        raise ValueError(f"{quote(text)} can't be a name here: it has a meaning of its own")
    return text


def _read_scenario_name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", text):
        raise ValueError(f"{quote(text)} can't name a scenario: letters, digits, _ . and - only, 64 at most")
    return text


def _read_ip(text: str) -> str:
    try:
        address = ipaddress.IPv4Address(text)
    except ValueError:
        raise ValueError(f"{quote(text)} is no IPv4 address such as 10.0.1.1") from None
    if address.is_multicast or address.is_loopback or address.packed[0] in (0, 255) or address.packed[0] >= 240:
        raise ValueError(f"{quote(text)} is not an address that a host may have")
    return str(address)


def _read_host_ip(text: str) -> str:
    address, slash, length = text.partition("/")
    if not slash:
        length = "8"
    if not re.fullmatch(r"[0-9]{1,2}", length) or not 1 <= int(length) <= 30:
        raise ValueError(f"{quote(text)} is no address with a prefix length (1 to 30) such as 10.0.0.1/8")
    interface = ipaddress.IPv4Interface(f"{_read_ip(address)}/{int(length)}")
    if interface.ip in (interface.network.network_address, interface.network.broadcast_address):
        raise ValueError(f"{quote(text)} is the address of the network or its broadcast, no host may have it")
    return str(interface)


def _read_mac(text: str) -> str:
    if not re.fullmatch(r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}", text):
        raise ValueError(f"{quote(text)} is no MAC address such as 02:00:0a:00:00:01")
    if int(text[:2], 16) & 1 or text == "00:00:00:00:00:00":
        raise ValueError(f"{quote(text)} is not a MAC address that a host may have")
    return text.lower()


_IPV4 = r"^[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+$"
Name = Annotated[str, Form(_read_name, "^[A-Za-z][A-Za-z0-9_-]{0,7}$")]
ScenarioName = Annotated[str, Form(_read_scenario_name, "^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
Ip = Annotated[str, Form(_read_ip, _IPV4)]
HostIp = Annotated[str, Form(_read_host_ip, r"^[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+(/[0-9]+)?$")]
Mac = Annotated[str, Form(_read_mac, "^[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}$")]
State = Annotated[str, OneOf("state", ("up", "down"))]
Seconds = Annotated[float, Field(gt=0, le=86_400)]
Count = Annotated[int, Field(ge=1, le=100_000_000)]
Pair = Annotated[list[Name], Field(min_length=2, max_length=2)]


def _either(wanted: str, **tags: type | tuple[type, ...]) -> Discriminator:
    """Tell the forms of a value apart by its type; the tags show in an error's location, where `@` marks them."""

    def tag(value: Any) -> str | None:
        found = (f"@{name}" for name, kind in tags.items() if isinstance(value, kind) and not isinstance(value, bool))
        return next(found, None)

    return Discriminator(tag, custom_error_type="wrong-type", custom_error_message=f"expected {wanted}")


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _note_class(cls, data: Any, info: ValidationInfo) -> Any:
        """Leave in the context which model reads which mapping: an unknown key's error then knows the known ones."""
        if info.context is not None and isinstance(data, dict):
            info.context[id(data)] = cls
        return data


class Host(Model):
    ip: HostIp | None = Field(None, description="With prefix length; default 10.0.0.N/8.")
    mac: Mac | None = Field(None, description="Default 02:00 and the four bytes of the IP address.")
    switch: Name | None = Field(None, description="Where the host hangs; default: the first switch, or in turn.")


class Switch(Model):
    dpid: int | None = Field(None, ge=1, lt=2**64, description="Datapath id; default N for sN.")


Hosts = Annotated[
    Annotated[int, Field(ge=1, le=MAX_HOSTS), Tag("@count")]
    | Annotated[dict[Name, Host | None], Field(min_length=1, max_length=MAX_HOSTS), Tag("@named")],
    _either("a number of hosts or a mapping of them", count=int, named=dict),
]
Switches = Annotated[
    Annotated[int, Field(ge=1, le=MAX_SWITCHES), Tag("@count")]
    | Annotated[dict[Name, Switch | None], Field(min_length=1, max_length=MAX_SWITCHES), Tag("@named")],
    _either("a number of switches or a mapping of them", count=int, named=dict),
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


class Health(Model):
    """Probes of the servers: down after `fall` misses in a row, up after `rise` answers."""

    kind: Annotated[str, OneOf("kind", ("arp",))] = "arp"
    interval_s: Seconds = 1.0
    timeout_s: Seconds = 0.5
    rise: Annotated[int, Field(ge=1, le=100)] = 1
    fall: Annotated[int, Field(ge=1, le=100)] = 2


class Server(Model):
    weight: Annotated[int, Field(ge=1, le=256)] = 1
    delay_ms: int = Field(0, ge=0, le=60_000, description="Wait before each answer (kind python only).")


Servers = Annotated[
    Annotated[list[Name], Field(min_length=1), Tag("@list")]
    | Annotated[dict[Name, Server | None], Field(min_length=1), Tag("@named")],
    _either("a list of hosts or a mapping of them", list=list, named=dict),
]


class Service(Model):
    """What the balancer answers for: one address and port, and the pool behind it."""

    ip: Ip = "10.0.1.1"
    port: Annotated[int, Field(ge=1, le=65_535)] = 80
    protocol: Annotated[str, OneOf("protocol", ("tcp",))] = "tcp"
    servers: Servers = Field(["h1", "h2"], description="Hosts; or a mapping of host to weight, delay_ms.")
    policy: Annotated[str, OneOf("policy", POLICIES)] = "round_robin"
    health: Health = Health.model_construct()


class WebServers(Model):
    """The program that answers on every server."""

    kind: Annotated[str, OneOf("kind", ("python", "nginx"))] = "python"
    response_bytes: Annotated[int, Field(ge=1, le=100_000_000)] = 64


class Controller(Model):
    engine: Annotated[str, OneOf("engine", ENGINES)] = Field(
        "auto", description="auto: pox where it can be had, else osken."
    )
    mode: Annotated[str, OneOf("mode", MODES)] = "reactive"
    idle_timeout_s: int = Field(10, ge=0, le=65_535, description="Life of an unused connection rule; 0: for ever.")
    seed: int | None = Field(1, ge=0, lt=2**63, description="Of random choices; null: another in each run.")


class Load(Model):
    """One round of requests; ends after `requests` or `duration_s`, whichever comes first."""

    clients: list[Name] = Field(["h3", "h4", "h5", "h6"], min_length=1, description="Hosts that send, in turn.")
    service: Name | None = Field(None, description="Default: the first service.")
    requests: Count | None = Field(
        40, description="Total over all clients; null (the default with duration_s): no limit."
    )
    duration_s: Seconds | None = None
    rate: Annotated[float, Field(gt=0, le=1_000_000)] | None = Field(None, description="Requests started per second.")
    concurrency: int = Field(1, ge=1, le=1024, description="Requests in flight over all clients.")
    keepalive: bool = Field(False, description="true: a client's requests share one connection.")
    timeout_s: Seconds = 5.0


class Range(Model):
    """A number of hits between two limits."""

    min: Annotated[int, Field(ge=0)] | None = None
    max: Annotated[int, Field(ge=0)] | None = None


Hits = Annotated[
    Annotated[int, Field(ge=0), Tag("@exact")] | Annotated[Range, Tag("@range")],
    _either("a whole number or a mapping with min, max", exact=int, range=(dict, Range)),
]
Percentile = Annotated[float, Field(gt=0)] | None


class Percentiles(Model):
    """The most that a percentile of the latency may be, in ms."""

    p50: Percentile = None
    p95: Percentile = None
    p99: Percentile = None


class Latency(Model):
    connect: Percentiles | None = Field(None, description="TCP handshake.")
    total: Percentiles | None = Field(None, description="The whole request.")


class StepExpect(Model):
    """What one round must show."""

    hits: dict[Name, Hits] = Field({}, description="Requests answered by each server: a number, or min and max.")
    tolerance: int = Field(0, ge=0, description="Exact hits may be off by this many.")
    share: dict[Name, Annotated[float, Field(ge=0, le=1)]] = Field({}, description="Part of all hits, 0 to 1.")
    share_tolerance: Annotated[float, Field(ge=0, le=1)] = 0.05
    chi_square: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None, description="Hits must fit the weights: p of a chi-square test above this."
    )
    failed: Annotated[int, Field(ge=0)] | None = Field(None, description="Failed requests at most; null: any.")
    latency_ms: Latency | None = None
    pingall_loss: Annotated[float, Field(ge=0, le=100)] | None = Field(
        None, description="Percent lost at most when every host pings every other."
    )


class Expect(StepExpect):
    """What the whole run must show."""

    failed: Annotated[int, Field(ge=0)] | None = Field(0, description="Failed requests at most; null: any.")


class StepLoad(Load):
    expect: StepExpect | None = None


class Link(Model):
    """Take a link down or up: the one of a host, or the one between two switches."""

    host: Name | None = None
    between: Pair | None = None
    state: State


class Wait(Model):
    """Wait until the balancer holds a server for up or down."""

    server: Name
    state: State
    timeout_s: Seconds = 10.0


class Step(Model):
    """One of load, link, wait."""

    load: StepLoad | None = None
    link: Link | None = None
    wait: Wait | None = None


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
