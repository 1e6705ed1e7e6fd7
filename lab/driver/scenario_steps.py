"""What a scenario does and expects: loads, the other steps, expectations, as pydantic models.

Rule: a step is a mapping of one key, its kind; what is done while a load runs stands inside that load, so that nothing
is ever left running behind a step."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field, Tag

from lab.driver.scenario_types import Count, Model, Name, OneOf, Pair, Seconds, State, UrlPath, either

CONTROLLER_ACTIONS: Final = ("kill", "stop", "start", "restart")
POOL_ACTIONS: Final = ("add", "remove", "drain", "enable", "weight")
WAIT_STATES: Final = ("up", "down", "drained")


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
    path: UrlPath = Field(
        "/", description="What is asked for; /slow?seconds=3&bytes=100000 is a download (kind python only)."
    )


class Range(Model):
    """A number of hits between two limits."""

    min: Annotated[int, Field(ge=0)] | None = None
    max: Annotated[int, Field(ge=0)] | None = None


Hits = Annotated[
    Annotated[int, Field(ge=0), Tag("@exact")] | Annotated[Range, Tag("@range")],
    either("a whole number or a mapping with min, max", exact=int, range=(dict, Range)),
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
    success: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None, description="Part of the requests that must be answered, 0 to 1; 0: only tell it."
    )
    sticky: bool = Field(False, description="true: each client's requests all went to one server.")
    recovered_within_s: Seconds | None = Field(
        None, description="The first new connection succeeds so soon after the last start of controller or switch."
    )
    latency_ms: Latency | None = None
    pingall_loss: Annotated[float, Field(ge=0, le=100)] | None = Field(
        None, description="Percent lost at most when every host pings every other."
    )


class Expect(StepExpect):
    """What the whole run must show."""

    controller_memory_mb_growth: Annotated[float, Field(gt=0)] | None = Field(
        None, description="The controller's memory grows by this much at most, between its start and its peak."
    )

    failed: Annotated[int, Field(ge=0)] | None = Field(0, description="Failed requests at most; null: any.")


class Round(Load):
    """A load as a step."""

    expect: StepExpect | None = None


class Link(Model):
    """Take a link down or up: the one of a host, or the one between two switches."""

    host: Name | None = None
    between: Pair | None = None
    state: State


class Wait(Model):
    """Wait some seconds, or until a server or a switch is in a state."""

    seconds: Seconds | None = None
    server: Name | None = Field(None, description="up, down or drained, as the balancer holds it.")
    switch: Name | None = Field(None, description="up: connected to its controller; down: not.")
    state: Annotated[str, OneOf("state", WAIT_STATES)] | None = None
    timeout_s: Seconds = 10.0


class WebServer(Model):
    """Kill a host's web server (the host still answers ARP and ping), or start it again."""

    host: Name
    http: Annotated[str, OneOf("action", ("stop", "start"))]


class Pool(Model):
    """Change a service's pool while it works, as `run_lab.py pool` does."""

    server: Name
    action: Annotated[str, OneOf("action", POOL_ACTIONS)]
    service: Name | None = Field(None, description="Default: the first service.")
    weight: Annotated[int, Field(ge=1, le=256)] | None = Field(None, description="For add and weight.")


class Flood(Model):
    """TCP SYNs that nobody means: sent raw, never answered."""

    host: Name | None = Field(None, description="Who sends; default: the last host that is no server.")
    service: Name | None = Field(None, description="Default: the first service.")
    syns: Annotated[int, Field(ge=1, le=10_000_000)] = 10_000
    seconds: Annotated[float, Field(gt=0, le=3600)] = Field(10.0, description="Spread evenly over so long.")
    spoofed: bool = Field(True, description="true: each from another address, of a network that isn't there.")


class Action(Model):
    """One thing that is done."""

    load: Round | None = None
    link: Link | None = None
    wait: Wait | None = None
    controller: Annotated[str, OneOf("action", CONTROLLER_ACTIONS)] | None = Field(
        None, description="kill (as kill -9), stop (it may say good-bye), start, or restart (stop, then start)."
    )
    switch: Annotated[str, OneOf("action", ("restart",))] | None = Field(
        None, description="restart: Open vSwitch is killed and started; rules and tracked connections are gone."
    )
    server: WebServer | None = None
    pool: Pool | None = None
    flood: Flood | None = None


class StepLoad(Round):
    """A load, and what is done while it runs."""

    during: list[Action] = Field([], description="Steps in order, from the load's start; the step ends with both.")


class Step(Action):
    """Exactly one of load, link, wait, controller, switch, server, pool, flood."""

    load: StepLoad | None = None
