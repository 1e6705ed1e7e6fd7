"""A scenario with everything written out: defaults that depend on other keys, long forms in place of short ones.

Rule: completing a complete scenario changes nothing, so what a run writes down loads again as the same scenario."""

from __future__ import annotations

from typing import TypeVar

from lab.driver import topology
from lab.driver.scenario_model import Expect, Load, ScenarioModel, Server, Service, Step, StepLoad

AnyLoad = TypeVar("AnyLoad", bound=Load)


def complete(given: ScenarioModel) -> ScenarioModel:
    services = {name: _service(service) for name, service in given.services.items()}
    first = next(iter(services))
    steps = [_step(step, first) for step in given.steps]
    model = given.model_copy(
        update={
            "topology": topology.complete(given.topology),
            "services": services,
            "load": _load(given.load, first),
            "steps": steps,
        }
    )
    return model.model_copy(update={"expect": _expect(given, model)})


def _service(given: Service) -> Service:
    named = given.servers if isinstance(given.servers, dict) else dict.fromkeys(given.servers)
    return given.model_copy(
        update={"servers": {name: server or Server.model_construct() for name, server in named.items()}}
    )


def _step(given: Step, service: str) -> Step:
    return given.model_copy(update={"load": _load(given.load, service)}) if given.load else given


def _load(given: AnyLoad, service: str) -> AnyLoad:
    by_time = given.duration_s is not None and "requests" not in given.model_fields_set
    requests = None if by_time else given.requests
    return given.model_copy(update={"service": given.service or service, "requests": requests})


def _expect(given: ScenarioModel, model: ScenarioModel) -> Expect:
    """No failed request, unless the steps say how many may fail; and turns that work out even where nothing is said."""
    expect = given.expect
    rounds = [step.load for step in given.steps if step.load]
    if "failed" not in expect.model_fields_set and any(_says_failed(load) for load in rounds):
        expect = expect.model_copy(update={"failed": None})
    if "expect" not in given.model_fields_set and not given.steps:
        expect = expect.model_copy(update={"hits": _even_hits(model)})
    return expect


def _says_failed(load: StepLoad) -> bool:
    return load.expect is not None and load.expect.failed is not None


def _even_hits(model: ScenarioModel) -> dict[str, int]:
    service = model.services.get(model.load.service or "")
    if service is None or service.policy != "round_robin" or model.controller.engine == "stock":
        return {}
    if model.load.requests is None or model.load.duration_s is not None or model.load.keepalive:
        return {}
    each, rest = divmod(model.load.requests, len(service.servers))
    return {} if rest else dict.fromkeys(service.servers, each)
