"""Services of a range of ports, in every mode: one pool and policy, and the port that was asked is kept."""

from __future__ import annotations

import pytest
from helpers import frames
from helpers.frames import SYN
from helpers.rig import MakeRig, Rig, Service

from lab.balancer.modes import CONTROLLER_CHOOSES
from lab.balancer.operations import Conflict
from lab.balancer.rules import Cookie, Table
from lab.balancer.settings import ServerSettings, ServiceSettings, Settings

MANY = Service(port=8000, last_port=8010)
PORTS = range(8000, 8011)


@pytest.fixture(params=CONTROLLER_CHOOSES)
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def rig(make_rig: MakeRig) -> Rig:
    return make_rig(services=[MANY])


def test_each_port_reaches_the_same_port_of_a_server_in_exact_turns(rig: Rig) -> None:
    served = [rig.connect("h3", 40000 + n, to_port=port) for n, port in enumerate(PORTS)]
    assert served == (["h1", "h2"] * 6)[:11]


def test_datagrams_reach_the_port_they_asked(make_rig: MakeRig) -> None:
    rig = make_rig(services=[Service(port=8000, last_port=8010, protocol="udp")])
    assert [rig.ask("h3", 40000, to_port=port) for port in PORTS] == (["h1", "h2"] * 6)[:11]
    assert [rig.ask("h3", 40000, to_port=port) for port in PORTS] == (["h1", "h2"] * 6)[:11]


def test_one_client_port_has_a_connection_to_each_port_of_the_service(rig: Rig) -> None:
    served = {port: rig.connect("h3", 40000, seq=port, to_port=port) for port in PORTS}
    assert {served[port] for port in (8000, 8001)} == {"h1", "h2"}
    assert {port: rig.data("h3", 40000, to_port=port).server for port in PORTS} == served


def test_ports_beside_the_range_are_closed(rig: Rig) -> None:
    for port in (7999, 8011):
        assert rig.syn("h3", 40000, to_port=port).reset
    assert rig.has_drops() == {"not_served": 2}


def test_connections_to_several_ports_outlive_a_pause_and_the_controller(rig: Rig) -> None:
    served = {port: rig.connect("h3", 40000, to_port=port) for port in PORTS}
    rig.restart_controller()
    rig.advance(rig.idle_timeout * 2, step=0.25)
    assert rig.connection_rules() == 0
    assert {port: rig.data("h3", 40000, to_port=port).server for port in PORTS} == served


def test_ends_of_connections_are_counted_by_port(make_rig: MakeRig) -> None:
    rig = make_rig(services=[Service(port=8000, last_port=8010, policy="least_connections")])
    served = [rig.connect("h3", 40000, to_port=port) for port in (8000, 8003)]
    assert sorted(served) == ["h1", "h2"]
    call = rig.call("h3", 40000, frames.FIN | frames.ACK, 5, to_port=8003)
    rig.answer("h3", call, frames.FIN | frames.ACK, data=b"")
    rig.advance(1.5)
    assert (rig.member(served[0]).live, rig.member(served[1]).live) == (1, 0)
    rig.link_down(served[0])
    assert rig.member(served[0]).live == 0


def test_clients_of_a_dead_server_are_nudged_at_the_port_they_know(rig: Rig) -> None:
    assert rig.connect("h3", 40001, to_port=8004) == "h1"
    before = len(rig.delivered)
    rig.link_down("h1")
    (nudge,) = [d.fields for d in rig.delivered[before:] if d.taken and d.host == "h3" and "tcp_src" in d.fields]
    assert (nudge["tcp_src"], nudge["tcp_dst"], nudge["ip_src"]) == (8004, 40001, frames.ip("10.0.1.1"))
    assert rig.data("h3", 40001, to_port=8004).reset


def test_a_range_and_a_port_beside_it_share_servers(make_rig: MakeRig) -> None:
    rig = make_rig(services=[MANY, Service(port=8011), Service("10.0.1.2", port=80)])
    assert [rig.connect("h3", 40000, to_port=8010), rig.connect("h3", 40000, service=1)] == ["h1", "h1"]
    assert rig.connect("h3", 40000, service=2) == "h1"
    assert rig.data("h3", 40000, to_port=8010).server == "h1"


def test_direct_calls_to_a_port_of_the_range_are_not_rewritten(rig: Rig) -> None:
    assert rig.direct("h3", "h1", 41000, server_port=8003)
    assert rig.direct("h3", "h1", 41000, server_port=8004)
    assert rig.connect("h3", 41000, to_port=8004, held=True) == "h1"


def test_a_server_calls_the_range_and_is_chosen_itself(rig: Rig) -> None:
    assert [rig.connect("h1", 40000, to_port=port) for port in (8009, 8010)] == ["h1", "h2"]


def test_eleven_ports_cost_three_rules_where_one_costs_one(rig: Rig) -> None:
    answers = [r for r in rig.switch.of_kind(Cookie.MEMBER) if any(name == "tcp_src" for name, *_ in r.match)]
    by_place = {(r.table, r.priority, r.cookie): 0 for r in answers}
    for rule in answers:
        by_place[rule.table, rule.priority, rule.cookie] += 1
    assert set(by_place.values()) == {3}
    assert Table.SERVICE in {table for table, *_ in by_place} or Table.REPLY in {table for table, *_ in by_place}


def test_a_server_may_not_join_two_services_at_one_port(make_rig: MakeRig) -> None:
    rig = make_rig(services=[MANY, Service("10.0.1.2", ["h4"], port=8005), Service("10.0.1.3", ["h4"], port=8020)])
    with pytest.raises(Conflict, match="can't be told apart"):
        rig.balancer.pool.add("service0", ServerSettings(name="h4", ip="10.0.0.4"))
    rig.obey(rig.balancer.pool.add("service2", ServerSettings(name="h1", ip="10.0.0.1")))


@pytest.mark.parametrize(
    ("port", "last_port", "ip", "sentence"),
    [
        (8010, 8020, "10.0.1.1", "have the same address and port: 10.0.1.1, ports 8010-8020"),
        (8005, 0, "10.0.1.2", "serves port 8005 for 'many'"),
        (9000, 8999, "10.0.1.2", "its last port 8999 is below 9000"),
        (9000, 70000, "10.0.1.2", "port 70000 isn't in"),
    ],
)
def test_ranges_that_overlap_or_are_none_are_refused(port: int, last_port: int, ip: str, sentence: str) -> None:
    servers = [ServerSettings(name="h1", ip="10.0.0.1")]
    many = ServiceSettings(name="many", ip="10.0.1.1", port=8000, last_port=8010, servers=servers)
    other = ServiceSettings(name="other", ip=ip, port=port, last_port=last_port, servers=servers)
    with pytest.raises(ValueError, match=sentence):
        Settings(services=[many, other])


def test_a_syn_from_the_same_port_to_another_port_of_the_range_ends_nothing(rig: Rig) -> None:
    first = rig.connect("h3", 40000, seq=1, to_port=8000)
    assert rig.call("h3", 40000, SYN, seq=2, to_port=8001).server != first
    assert rig.data("h3", 40000, to_port=8000).server == first
