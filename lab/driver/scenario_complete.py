"""A scenario with everything written out: defaults that depend on other keys, long forms in place of short ones.

Rule: completing a complete scenario changes nothing, so what a run writes down loads again as the same scenario."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from lab.driver import topology
from lab.driver.scenario_model import Health, HealthOverride, ScenarioModel, Server, Service, Topology
from lab.driver.scenario_steps import Action, Expect, Load, Round, Step, StepLoad

AnyLoad = TypeVar("AnyLoad", bound=Load)
AnyStep = TypeVar("AnyStep", bound=Action)


def complete(given: ScenarioModel) -> ScenarioModel:
    services = {name: _service(service) for name, service in given.services.items()}
    first = next(iter(services))
    network = topology.complete(given.topology, ipv6=any(service.is_ipv6 for service in services.values()))
    steps = [_step(step, first, _bystander(network, services)) for step in given.steps]
    model = given.model_copy(
        update={
            "topology": network,
            "services": services,
            "load": _load(given.load, first),
            "steps": steps,
        }
    )
    return model.model_copy(update={"expect": _expect(given, model)})


def _service(given: Service) -> Service:
    named = given.servers if isinstance(given.servers, dict) else dict.fromkeys(given.servers)
    servers = {name: _server(server or Server.model_construct(), given.health) for name, server in named.items()}
    return given.model_copy(update={"servers": servers})


def _server(given: Server, health: Health) -> Server:
    """Its own health settings, if it has any, are complete: what it doesn't say is the service's."""
    if given.health is None:
        return given
    own = {key: value for key, value in given.health.model_dump().items() if value is not None}
    whole = {**health.model_dump(), **own}
    if whole["kind"] != "http":  # the service's page is not asked for
        plain = Health.model_construct()
        whole |= {key: own.get(key, getattr(plain, key)) for key in ("path", "status")}
    return given.model_copy(update={"health": HealthOverride.model_construct(**whole)})


def _bystander(network: Topology, services: Mapping[str, Service]) -> str | None:
    """The last host that serves nothing."""
    busy = {name for service in services.values() for name in service.servers}
    return next((name for name in reversed(topology.named_hosts(network)) if name not in busy), None)


def _step(given: AnyStep, service: str, bystander: str | None) -> AnyStep:
    changes: dict[str, Any] = {}
    if given.load:
        load = changes["load"] = _load(given.load, service)
        if isinstance(load, StepLoad):
            during = [_step(action, service, bystander) for action in load.during]
            changes["load"] = load.model_copy(update={"during": during})
    if given.pool:
        weight = given.pool.weight or (1 if given.pool.action == "add" else None)
        changes["pool"] = given.pool.model_copy(update={"service": given.pool.service or service, "weight": weight})
    if given.flood:
        sender = {"service": given.flood.service or service, "host": given.flood.host or bystander}
        changes["flood"] = given.flood.model_copy(update=sender)
    return given.model_copy(update=changes)


def _load(given: AnyLoad, service: str) -> AnyLoad:
    by_time = given.duration_s is not None and "requests" not in given.model_fields_set
    requests = None if by_time else given.requests
    return given.model_copy(update={"service": given.service or service, "requests": requests})


def _expect(given: ScenarioModel, model: ScenarioModel) -> Expect:
    """No failed request, unless the steps say how many may fail; and turns that work out even where nothing is said."""
    expect = given.expect
    rounds = [load for step in given.steps for load in _rounds(step)]
    if "failed" not in expect.model_fields_set and any(_says_failed(load) for load in rounds):
        expect = expect.model_copy(update={"failed": None})
    if "expect" not in given.model_fields_set and not given.steps:
        expect = expect.model_copy(update={"hits": _even_hits(model)})
    return expect


def _rounds(step: Step) -> list[Round]:
    return [step.load, *(action.load for action in step.load.during if action.load)] if step.load else []


def _says_failed(load: Round) -> bool:
    expect = load.expect
    return expect is not None and (expect.failed is not None or expect.success is not None)


def _even_hits(model: ScenarioModel) -> dict[str, int]:
    service = model.services.get(model.load.service or "")
    if service is None or service.policy != "round_robin" or model.controller.engine == "stock":
        return {}
    if model.load.requests is None or model.load.duration_s is not None or model.load.keepalive:
        return {}
    each, rest = divmod(model.load.requests, len(service.servers))
    return {} if rest else dict.fromkeys(service.servers, each)
