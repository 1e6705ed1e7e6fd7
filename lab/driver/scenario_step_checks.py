"""What must fit together in a scenario's steps: each does one thing, to something that is there, in time.

Rule: only what can be known before the lab is up; whether a step works shows when it is done."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from lab.driver.scenario_findings import Finding
from lab.driver.scenario_plan import At, Plan
from lab.driver.scenario_steps import Action, Flood, Load, Pool, Step, Wait
from lab.driver.wording import alternatives, listing, quote

KINDS: Final = tuple(Action.model_fields)
RETURNS: Final = ("start", "restart")


def check_steps(plan: Plan) -> Iterator[Finding]:
    """`load` or `steps`; each step does something to what is there."""
    if plan.model.steps and "load" in plan.given.model_fields_set:
        yield Finding(
            ("load",), '"load" and "steps" exclude each other: put the load into a step', "load-and-steps", True
        )
    for at, step in plan.actions:
        if step.link:
            yield from _check_link(plan, step.link, (*at, "link"))
        if step.wait:
            yield from _check_wait(plan, step.wait, (*at, "wait"))
        if step.server:
            yield from plan.not_a_server(step.server.host, plan.all_servers, (*at, "server", "host"))
        if step.pool:
            yield from _check_pool(plan, step.pool, (*at, "pool"))
        if step.flood:
            yield from _check_flood(plan, step.flood, (*at, "flood"))


def check_one_thing(plan: Plan) -> Iterator[Finding]:
    """A step is one thing; but one that lost a part to an error may have been."""
    maimed = {tuple(path[:-1]) for path in plan.damaged}
    for at, step in plan.actions:
        if at not in maimed and sum(getattr(step, kind) is not None for kind in KINDS) != 1:
            yield Finding(at, f"a step is exactly one of {', '.join(KINDS)}", "step")


def _check_link(plan: Plan, link: Any, at: At) -> Iterator[Finding]:
    if (link.host is None) == (link.between is None):
        yield Finding(at, "a link is either a host's (host: h2) or between two switches (between: [s1, s2])", "step")
    elif link.host is not None:
        yield from plan.unknown_host(link.host, (*at, "host"))
    elif sorted(link.between) not in [sorted(known) for known in plan.model.topology.links or []]:
        known = listing("-".join(link) for link in plan.model.topology.links or [])
        text = f"no link joins {quote(link.between[0])} and {quote(link.between[1])}; known: {known or 'none'}"
        yield Finding((*at, "between"), text, "unknown-link")


def _check_wait(plan: Plan, wait: Wait, at: At) -> Iterator[Finding]:
    if sum(what is not None for what in (wait.seconds, wait.server, wait.switch)) != 1:
        yield Finding(
            at, "a wait is for seconds, for a server (and its state), or for a switch (and its state)", "step"
        )
    elif wait.seconds is not None and wait.state is not None:
        yield Finding((*at, "state"), '"state" is of a server or a switch; after "seconds" there is none', "step", True)
    elif wait.seconds is None and wait.state is None:
        yield Finding(at, "a wait for a server or a switch names the state to wait for (state: up)", "step")
    elif wait.server is not None:
        yield from plan.not_a_server(wait.server, plan.all_servers, (*at, "server"))
    elif wait.switch is not None:
        yield from _check_switch(plan, wait, at)


def _check_switch(plan: Plan, wait: Wait, at: At) -> Iterator[Finding]:
    switches = list(plan.model.topology.switches) if isinstance(plan.model.topology.switches, dict) else []
    if wait.switch not in switches:
        text = f"unknown switch {quote(wait.switch)}{alternatives(wait.switch or '', switches)}"
        yield Finding((*at, "switch"), text, "unknown-switch")
    if wait.state == "drained":
        text = "a switch is up (connected to its controller) or down; only a server drains"
        yield Finding((*at, "state"), text, "step")


def _check_pool(plan: Plan, pool: Pool, at: At) -> Iterator[Finding]:
    yield from _check_service(plan, pool.service, at)
    if pool.action == "weight" and pool.weight is None:
        yield Finding(at, 'the action "weight" needs the new weight (weight: 3)', "step")
    elif pool.weight is not None and pool.action not in ("add", "weight"):
        yield Finding((*at, "weight"), f'"weight" is for add and weight; {pool.action} heeds none', "step", True)
    if pool.action == "add":
        yield from plan.unknown_host(pool.server, (*at, "server"))
    elif pool.service in plan.servers:
        yield from plan.not_a_server(pool.server, plan.members(pool.service), (*at, "server"))


def _check_flood(plan: Plan, flood: Flood, at: At) -> Iterator[Finding]:
    yield from _check_service(plan, flood.service, at)
    if flood.host is None:
        yield Finding(at, "every host is a server: none is left to send the flood", "step")
    elif flood.host in plan.members(flood.service or ""):
        yield Finding(
            (*at, "host"), f"{quote(flood.host)} is a server of {quote(flood.service)}: another must send", "step"
        )
    else:
        yield from plan.unknown_host(flood.host, (*at, "host"))


def _check_service(plan: Plan, service: str | None, at: At) -> Iterator[Finding]:
    if service not in plan.servers:
        text = f"unknown service {quote(service)}{alternatives(service or '', plan.servers)}"
        yield Finding((*at, "service"), text, "unknown-service")


def check_recoveries(plan: Plan) -> Iterator[Finding]:
    """A recovery is timed from a start; that must come before, or while the load runs."""
    returned = False
    for step in plan.model.steps:
        returned = returned or any(map(_returns, [step, *(step.load.during if step.load else [])]))
        if step.load and step.load.expect and step.load.expect.recovered_within_s and not returned:
            index = plan.model.steps.index(step)
            yield _nothing_to_recover_from(("steps", index, "load", "expect", "recovered_within_s"))
    if plan.model.expect.recovered_within_s and not returned:
        yield _nothing_to_recover_from(("expect", "recovered_within_s"))


def _returns(action: Action) -> bool:
    return action.controller in RETURNS or action.switch in RETURNS


def _nothing_to_recover_from(at: At) -> Finding:
    return Finding(
        at, "no step before it starts the controller or a switch: there is nothing to recover from", "expect"
    )


def check_time(plan: Plan) -> Iterator[Finding]:
    """What the steps take at least must fit into the time limit."""
    steps = plan.model.steps
    least = sum(map(_least, steps)) if steps else _least_of_load(plan.model.load)
    if least >= plan.model.time_limit_s:
        text = f"the {'steps' if steps else 'load'} alone take{'' if steps else 's'} {least:g} s, time_limit_s is"
        yield Finding(("time_limit_s",), f"{text} {plan.model.time_limit_s:g}", "time")


def _least(step: Action) -> float:
    """Seconds that a step takes at least; what is done during a load takes no longer by itself."""
    if step.load:
        during = step.load.during if isinstance(step, Step) and step.load else []
        return max(_least_of_load(step.load), sum(map(_least, during)))
    if step.wait:
        return step.wait.seconds or 0.0
    return step.flood.seconds if step.flood else 0.0


def _least_of_load(load: Load) -> float:
    """It ends with its requests or its duration, whichever comes first; without a rate, requests may take no time."""
    if load.requests is None:
        return load.duration_s or 0.0
    by_rate = load.requests / load.rate if load.rate else 0.0
    return min(by_rate, load.duration_s or by_rate)
