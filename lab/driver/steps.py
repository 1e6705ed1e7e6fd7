"""The steps of a scenario, ready to be done: what the runner sees of them.

    steps_of(model) -> the steps of a completed model, in order; one load where there are no steps
    describe(step) -> a step in a few words

Rule: a step holds all that doing it needs; nobody looks back into the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lab import wire
from lab.driver.scenario_steps import Action, Load, StepExpect, StepLoad

if TYPE_CHECKING:
    from lab.driver.scenario_model import ScenarioModel


@dataclass(frozen=True, kw_only=True)
class LinkStep:
    """Take a link down or up: `host`'s, or the one `between` two switches. Exactly one of the two is set."""

    state: str  # up, down
    host: str | None = None
    between: tuple[str, str] | None = None


@dataclass(frozen=True, kw_only=True)
class PauseStep:
    """Do nothing."""

    seconds: float


@dataclass(frozen=True, kw_only=True)
class WaitStep:
    """Wait until the balancer holds `server` for `state`."""

    server: str
    state: str  # up, down, drained
    timeout_s: float = 10.0


@dataclass(frozen=True, kw_only=True)
class SwitchWaitStep:
    """Wait until `switch` is connected to its controller (up), or is not (down)."""

    switch: str
    state: str  # up, down
    timeout_s: float = 10.0


@dataclass(frozen=True, kw_only=True)
class ControllerStep:
    action: str  # kill, stop, start, restart


@dataclass(frozen=True, kw_only=True)
class SwitchStep:
    action: str  # restart


@dataclass(frozen=True, kw_only=True)
class ServerStep:
    """Stop or start the web servers of a host."""

    host: str
    action: str  # stop, start


@dataclass(frozen=True, kw_only=True)
class PoolStep:
    """Change a service's pool at run time."""

    service: str
    server: str
    action: str  # add, remove, drain, enable, weight
    ip: str  # of the server, without prefix length
    weight: int | None = None  # set for add and weight


@dataclass(frozen=True, kw_only=True)
class FloodStep:
    flood: wire.Flood
    service: str


ShortStep = (
    LinkStep | PauseStep | WaitStep | SwitchWaitStep | ControllerStep | SwitchStep | ServerStep | PoolStep | FloodStep
)  # all that run by themselves


@dataclass(frozen=True, kw_only=True)
class LoadStep:
    """A round of requests to `service`, what it alone must show (None: no more than the whole run must), and what is
    done while it runs."""

    load: wire.Load
    service: str
    expect: StepExpect | None = None
    during: tuple[Step, ...] = ()

    @property
    def rounds(self) -> tuple[LoadStep, ...]:
        """The loads that run during this one."""
        return tuple(step for step in self.during if isinstance(step, LoadStep))


Step = LoadStep | ShortStep


def steps_of(model: ScenarioModel) -> tuple[Step, ...]:
    if not model.steps:
        return (_load(model, model.load),)
    return tuple(_step(model, step) for step in model.steps)


def _step(model: ScenarioModel, step: Action) -> Step:
    """The one kind that is set, turned into its step."""
    if step.load:
        return _load(model, step.load)
    if step.link:
        between = (step.link.between[0], step.link.between[1]) if step.link.between else None
        return LinkStep(state=step.link.state, host=step.link.host, between=between)
    if step.wait:
        return _wait(step.wait)
    if step.controller:
        return ControllerStep(action=step.controller)
    if step.switch:
        return SwitchStep(action=step.switch)
    if step.server:
        return ServerStep(host=step.server.host, action=step.server.http)
    return _pool(model, step.pool) if step.pool else _flood(model, step.flood)


def _load(model: ScenarioModel, load: Load) -> LoadStep:
    name = load.service or ""
    service = model.services[name]
    values: Mapping[str, Any] = load.model_dump(exclude={"service", "expect", "clients", "path", "during"})
    scheme = "udp" if service.protocol == "udp" else "http"
    host = f"[{service.ip}]" if service.is_ipv6 else service.ip
    url = f"{scheme}://{host}:{service.ports[0]}{load.path}"
    during = load.during if isinstance(load, StepLoad) else []
    return LoadStep(
        load=wire.Load(clients=tuple(load.clients), url=url, last_port=service.last_port, **values),
        service=name,
        expect=getattr(load, "expect", None),
        during=tuple(_step(model, action) for action in during),
    )


def _wait(wait: Any) -> Step:
    if wait.seconds is not None:
        return PauseStep(seconds=wait.seconds)
    if wait.switch is not None:
        return SwitchWaitStep(switch=wait.switch, state=wait.state, timeout_s=wait.timeout_s)
    return WaitStep(server=wait.server, state=wait.state, timeout_s=wait.timeout_s)


def _pool(model: ScenarioModel, pool: Any) -> PoolStep:
    hosts: Any = model.topology.hosts
    host = hosts[pool.server]
    address = (host.ip6 if model.services[pool.service].is_ipv6 else host.ip).partition("/")[0]
    return PoolStep(service=pool.service, server=pool.server, action=pool.action, ip=address, weight=pool.weight)


def _flood(model: ScenarioModel, flood: Any) -> FloodStep:
    service = model.services[flood.service]
    sent = wire.Flood(
        host=flood.host,
        ip=service.ip,
        port=service.ports[0],
        syns=flood.syns,
        seconds=flood.seconds,
        spoofed=flood.spoofed,
    )
    return FloodStep(flood=sent, service=flood.service)


def describe(step: Step) -> str:
    """A step in a few words."""
    if isinstance(step, LoadStep):
        return f"load {step.service}"
    if isinstance(step, LinkStep):
        return f"link {step.host or '-'.join(step.between or ())} {step.state}"
    if isinstance(step, PauseStep):
        return f"wait {step.seconds:g} s"
    if isinstance(step, (WaitStep, SwitchWaitStep)):
        return f"wait for {step.server if isinstance(step, WaitStep) else step.switch} {step.state}"
    if isinstance(step, ControllerStep):
        return f"controller {step.action}"
    if isinstance(step, SwitchStep):
        return f"switch {step.action}"
    if isinstance(step, ServerStep):
        return f"server {step.host} http {step.action}"
    if isinstance(step, PoolStep):
        weight = f" {step.weight}" if step.weight is not None else ""
        return f"pool {step.action} {step.server}{weight}"
    return f"flood {step.service}, {step.flood.syns} SYNs"
