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
    return made()


def made(connections: Connections | None = None, number: int = 0, rebalance: bool = False) -> Assignment:
    """Two members, both up."""
    members = [Member(id=n, name=f"h{n}", ip=n, health=Health(HealthSettings())) for n in (1, 2)]
    assignment = Assignment(
        Service(name="web", ip=9, port=80, mac=1, policy="round_robin", members=members),
        RoundRobin(random.Random(1)),
        Connections() if connections is None else connections,
        number,
        2,
        rebalance=rebalance,
    )
    for member in members:
        set_state(assignment, member, State.UP)
    return assignment


def set_state(assignment: Assignment, member: Member, state: State) -> None:
    member.health.state = state
    assignment.pool_changed()


def name(member: Member | None) -> str | None:
    return None if member is None else member.name


def test_new_numbers_are_new_connections_and_each_is_a_hit(assignment: Assignment) -> None:
    assert [name(assignment.assign(5, seq)) for seq in (1, 2, 3)] == ["h1", "h2", "h1"]
    assert [m.hits for m in assignment.service.members] == [2, 1]
    assert sum(m.live for m in assignment.service.members) == 1


def test_the_same_number_keeps_its_server_and_counts_no_hit(assignment: Assignment) -> None:
    assert [name(assignment.assign(5, 1)) for _ in range(3)] == ["h1"] * 3
    assert [m.hits for m in assignment.service.members] == [1, 0]


def test_datagram_is_of_the_flow_of_which_one_came_since(assignment: Assignment) -> None:
    assert name(assignment.assign_datagram(5, now=100, since=70)) == "h1"
    assert name(assignment.assign_datagram(5, now=130, since=100)) == "h1"
    assert name(assignment.assign_datagram(5, now=160, since=130)) == "h1"  # as one came at 130
    assert [m.hits for m in assignment.service.members] == [1, 0]
    assert name(assignment.assign_datagram(5, now=191, since=161)) == "h2"
    assert name(assignment.assign_datagram(5, now=900)) == "h2"
    assert [m.hits for m in assignment.service.members] == [1, 1]
    assert sum(m.live for m in assignment.service.members) == 1


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
    assert [m.hits for m in assignment.service.members] == [0, 0]


def test_closed_connection_is_not_found_and_its_syn_is_new(assignment: Assignment) -> None:
    assignment.assign(5, 1)
    assignment.close(5)
    assert assignment.find(5) is None
    assert name(assignment.assign(5, 1)) == "h2"


def test_connection_is_live_until_its_rule_is_gone_and_again_when_it_speaks(assignment: Assignment) -> None:
    h1, _ = assignment.service.members
    assignment.assign(5, 1)
    assert h1.live == 1
    assert assignment.rest(5, h1)
    assert not assignment.rest(5, h1)
    assert h1.live == 0
    assert assignment.find(5) is h1
    assert h1.live == 1


def test_rule_of_a_former_connection_of_the_same_port_ends_nothing(assignment: Assignment) -> None:
    h1, h2 = assignment.service.members
    assignment.assign(5, 1)
    assignment.assign(5, 2)
    assert not assignment.rest(5, h1)
    assert (h1.live, h2.live) == (0, 1)


def test_connection_of_a_dead_server_is_over(assignment: Assignment) -> None:
    h1, _ = assignment.service.members
    assignment.assign(5, 1)
    set_state(assignment, h1, State.DOWN)
    assert assignment.find(5) is None
    assert h1.live == 0


def test_rebalanced_connection_of_a_dead_server_goes_to_another() -> None:
    assignment = made(rebalance=True)
    h1, h2 = assignment.service.members
    assignment.assign(5, 1, mac=0xABC)
    set_state(assignment, h1, State.DOWN)
    assert assignment.find(5) is h2
    assert (h1.live, h2.live, h2.hits) == (0, 1, 1)
    assert assignment.client_mac(5) == 0xABC
    set_state(assignment, h2, State.DOWN)
    assert assignment.find(5) is None


def test_services_that_share_a_table_share_no_connection() -> None:
    connections = Connections()
    web, api = made(connections, 0), made(connections, 1)
    web.assign(5, 1)
    assert api.find(5) is None
    assert name(api.assign(5, 1)) == "h1"
    assert len(connections) == 2


def test_restored_connection_is_live_at_its_server(assignment: Assignment) -> None:
    _, h2 = assignment.service.members
    assignment.restore(5, h2)
    assert assignment.find(5) is h2
    assert (h2.live, h2.hits) == (1, 0)
    assignment.rest(5, h2)
    assignment.restore(5, h2)
    assert h2.live == 1
