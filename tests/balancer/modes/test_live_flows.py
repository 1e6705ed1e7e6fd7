"""Flows that count as live, alone: for how long, and how many."""

from __future__ import annotations

import random

import pytest

from lab.balancer.assignment import Assignment
from lab.balancer.connections import Connections
from lab.balancer.health import Health, HealthSettings, State
from lab.balancer.modes.live_flows import LiveFlows
from lab.balancer.policies.least_connections import LeastConnections
from lab.balancer.pool import Member, Service


@pytest.fixture
def assignment() -> Assignment:
    """Of a service with one server, which is up."""
    member = Member(id=1, name="h1", ip=1, health=Health(HealthSettings()))
    member.health.state = State.UP
    service = Service(name="dns", ip=9, port=53, mac=1, policy="least_connections", members=[member])
    return Assignment(service, LeastConnections(random.Random(1)), Connections())


def begin(flows: LiveFlows, assignment: Assignment, client: int, now: float) -> None:
    member = assignment.assign_datagram(client)
    assert member is not None
    flows.begin(assignment, client, member, now)


def live(assignment: Assignment) -> int:
    return assignment.service.members[0].live


def test_flow_is_live_for_its_time(assignment: Assignment) -> None:
    flows = LiveFlows(10, bound=100)
    begin(flows, assignment, 1, now=0)
    begin(flows, assignment, 2, now=4)
    flows.tick(9.9)
    assert live(assignment) == 2
    flows.tick(10)
    assert live(assignment) == 1
    flows.tick(100)
    assert (live(assignment), len(flows)) == (0, 0)


def test_flow_begun_again_is_live_for_its_time_from_then_on(assignment: Assignment) -> None:
    flows = LiveFlows(10, bound=100)
    begin(flows, assignment, 1, now=0)
    begin(flows, assignment, 2, now=1)
    begin(flows, assignment, 1, now=5)
    flows.tick(11)
    assert (live(assignment), len(flows)) == (1, 1)
    flows.tick(15)
    assert (live(assignment), len(flows)) == (0, 0)


def test_beyond_the_bound_the_flow_begun_longest_ago_counts_no_more(assignment: Assignment) -> None:
    flows = LiveFlows(10, bound=2)
    for client in (1, 2, 1, 3):
        begin(flows, assignment, client, now=0)
    assert (live(assignment), len(flows)) == (2, 2)
    assert not assignment.rest(2, assignment.service.members[0])  # it was that one
    assert assignment.rest(1, assignment.service.members[0])


def test_flow_that_has_another_server_by_now_stays_live_there(assignment: Assignment) -> None:
    flows = LiveFlows(10, bound=100)
    other = Member(id=2, name="h2", ip=2, health=Health(HealthSettings()))
    begin(flows, assignment, 1, now=0)
    assignment.service.members[0].health.state = State.DOWN
    other.health.state = State.UP
    assignment.service.members.append(other)
    assignment.pool_changed()
    begin(flows, assignment, 1, now=5)
    flows.tick(10)
    assert [member.live for member in assignment.service.members] == [0, 1]
    flows.tick(15)
    assert [member.live for member in assignment.service.members] == [0, 0]
