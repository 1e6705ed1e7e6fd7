"""Assignment: only a SYN gets a server, and the same SYN gets the same one."""

from __future__ import annotations

import random

import pytest

from lab.balancer.assignment import Assignment
from lab.balancer.connections import Connections
from lab.balancer.health import Health, HealthSettings, State
from lab.balancer.policies import RoundRobin
from lab.balancer.pool import Member, Service


@pytest.fixture
def assignment() -> Assignment:
    """Two members, both up."""
    members = [Member(id=n, name=f"h{n}", ip=n, health=Health(HealthSettings())) for n in (1, 2)]
    made = Assignment(
        Service(name="web", ip=9, port=80, mac=1, policy="round_robin", members=members),
        RoundRobin(random.Random(1)),
        Connections(),
    )
    for member in members:
        set_state(made, member, State.UP)
    return made


def set_state(assignment: Assignment, member: Member, state: State) -> None:
    member.health.state = state
    assignment.pool_changed()


def name(member: Member | None) -> str | None:
    return None if member is None else member.name


def test_new_numbers_are_new_connections_and_each_is_a_hit(assignment: Assignment) -> None:
    assert [name(assignment.assign(5, seq)) for seq in (1, 2, 3)] == ["h1", "h2", "h1"]
    assert [m.hits for m in assignment.service.members] == [2, 1]
    assert assignment.size == 1


def test_the_same_number_keeps_its_server_and_counts_no_hit(assignment: Assignment) -> None:
    assert [name(assignment.assign(5, 1)) for _ in range(3)] == ["h1"] * 3
    assert [m.hits for m in assignment.service.members] == [1, 0]


def test_repetition_to_a_server_that_died_goes_to_another(assignment: Assignment) -> None:
    h1, _ = assignment.service.members
    assert assignment.assign(5, 1) is h1
    set_state(assignment, h1, State.DOWN)
    assert name(assignment.assign(5, 1)) == "h2"
    assert [m.hits for m in assignment.service.members] == [1, 1]


def test_nobody_is_assigned_while_nobody_is_live(assignment: Assignment) -> None:
    for member in assignment.service.members:
        set_state(assignment, member, State.DOWN)
    assert assignment.assign(5, 1) is None
    assert assignment.find(5) is None
    assert [m.hits for m in assignment.service.members] == [0, 0]


def test_finding_assigns_nothing(assignment: Assignment) -> None:
    assert assignment.find(5) is None
    assert assignment.size == 0


def test_closed_connection_is_not_found_and_its_syn_is_new(assignment: Assignment) -> None:
    assignment.assign(5, 1)
    assignment.close(5)
    assert assignment.find(5) is None
    assert name(assignment.assign(5, 1)) == "h2"
