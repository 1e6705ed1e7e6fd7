"""UDP services, in every mode: a flow is client and service, begins with any datagram, and ends by silence."""

from __future__ import annotations

import pytest
from helpers import frames
from helpers.frames import SYN
from helpers.rig import SERVICE, MakeRig, Rig, Service

from lab.balancer.modes import CONTROLLER_CHOOSES
from lab.balancer.packet import MAX_FRAME
from lab.balancer.rules import FlushTracked
from lab.balancer.settings import ServerSettings, ServiceSettings, Settings

DNS = Service(port=53, protocol="udp")


@pytest.fixture(params=CONTROLLER_CHOOSES)
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def rig(make_rig: MakeRig) -> Rig:
    return make_rig(services=[DNS])


def test_datagrams_go_both_ways_in_the_names_each_end_expects(rig: Rig) -> None:
    assert [rig.ask("h3"), rig.ask("h4"), rig.ask("h5")] == ["h1", "h2", "h1"]


def test_flows_take_exact_turns(rig: Rig) -> None:
    assert [rig.ask(f"h{3 + n % 4}", 40000 + n) for n in range(40)] == ["h1", "h2"] * 20


def test_a_flow_keeps_its_server_and_costs_one_packet_in(rig: Rig) -> None:
    first = rig.ask("h3", 40001)
    packet_ins = rig.balancer.counters.packet_ins
    for n in range(6):
        rig.ask("h4", 40000 + n)
        assert rig.ask("h3", 40001) == first
    assert rig.balancer.counters.packet_ins == packet_ins + 6


def test_two_services_of_one_port_and_two_protocols_do_not_disturb_each_other(make_rig: MakeRig) -> None:
    rig = make_rig(services=[Service(port=53), Service(port=53, protocol="udp")])
    assert [rig.connect("h3", 40000), rig.ask("h3", 40000, service=1)] == ["h1", "h1"]
    assert [rig.connect("h3", 40001), rig.ask("h3", 40001, service=1)] == ["h2", "h2"]
    assert rig.data("h3", 40000).server == "h1"
    assert rig.ask("h3", 40000, service=1) == "h1"


def test_datagram_is_dropped_and_counted_while_no_server_is_up(rig: Rig) -> None:
    rig.link_down("h1")
    rig.link_down("h2")
    assert rig.datagram("h3").server is None
    assert rig.has_drops() == {"no_server": 1}
    rig.link_up("h2")
    rig.advance(0.2)
    assert rig.ask("h3") == "h2"


def test_flow_of_a_dead_server_goes_on_with_another(rig: Rig) -> None:
    rig.ask("h4")
    assert rig.ask("h3", 40001) == "h2"
    rig.link_down("h2")
    assert [rig.ask("h3", 40001) for _ in range(3)] == ["h1"] * 3
    assert rig.member("h1").live == 2
    assert rig.member("h2").live == 0


def test_a_dead_servers_flows_alone_move(rig: Rig) -> None:
    served = {n: rig.ask("h3", 40000 + n) for n in range(6)}
    rig.link_down("h2")
    for n, server in served.items():
        assert rig.ask("h3", 40000 + n) == ("h1" if server == "h2" else server)


def test_flows_of_a_removed_server_go_on_with_another(rig: Rig) -> None:
    rig.ask("h4")
    assert rig.ask("h3", 40001) == "h2"
    rig.obey(rig.balancer.pool.remove("service0", "h2"))
    assert rig.ask("h3", 40001) == "h1"


def test_draining_server_keeps_its_flows_and_is_drained_by_silence(rig: Rig) -> None:
    assert rig.ask("h3", 40001) == "h1"
    rig.obey(rig.balancer.pool.drain("service0", "h1"))
    assert [rig.ask("h3", 40001), rig.ask("h4"), rig.ask("h5")] == ["h1", "h2", "h2"]
    assert rig.balancer.pool.describe_server("service0", "h1")["admin"] == "draining"
    rig.advance(rig.idle_timeout + 1)
    assert rig.balancer.pool.describe_server("service0", "h1")["admin"] == "maint"


def test_flows_survive_a_switch_that_lost_its_rules(rig: Rig) -> None:
    served = {n: rig.ask("h3", 40000 + n) for n in range(5)}
    rig.connect_switch(wiped=True)
    assert {n: rig.ask("h3", 40000 + n) for n in range(5)} == served


@pytest.mark.parametrize("how", ["down", "removed"])
def test_flows_cost_nothing_when_the_switch_returns_and_a_server_is_gone_since_long(rig: Rig, how: str) -> None:
    goes(rig, "h2", how)
    rig.connect_switch()  # it may have been away when it was told, so it is told once more
    assert rig.ask("h3") == "h1"
    before, packet_ins = len(rig.commands), rig.balancer.counters.packet_ins
    for _ in range(3):
        rig.connect_switch()
        assert rig.ask("h3") == "h1"
    assert not [c for c in rig.commands[before:] if isinstance(c, FlushTracked)]
    assert rig.balancer.counters.packet_ins == packet_ins


@pytest.mark.parametrize("how", ["down", "removed"])
def test_flows_of_a_server_that_goes_while_the_switch_is_away_move_as_it_returns(rig: Rig, how: str) -> None:
    served = {n: rig.ask("h3", 40000 + n) for n in range(4)}
    heard, rig.obey = rig.obey, lambda commands: None  # type: ignore[method-assign]  # the switch is away
    goes(rig, "h2", how)
    rig.obey = heard  # type: ignore[method-assign]
    rig.connect_switch()
    assert "h2" in served.values()
    assert [rig.ask("h3", 40000 + n) for n in served] == ["h1"] * 4


def test_server_that_goes_again_has_its_flows_ended_again(rig: Rig) -> None:
    for _ in range(3):
        assert sorted([rig.ask("h3", 40001), rig.ask("h3", 40002)]) == ["h1", "h2"]
        rig.link_down("h2")
        assert [rig.ask("h3", 40001), rig.ask("h3", 40002)] == ["h1", "h1"]
        rig.link_up("h2")
        rig.advance(rig.idle_timeout + 130)  # all is forgotten
        rig.switch.tracker.flush()


def goes(rig: Rig, server: str, how: str) -> None:
    if how == "down":
        rig.link_down(server)
    else:
        rig.obey(rig.balancer.pool.remove("service0", server))


def test_least_connections_counts_flows_and_forgets_silent_ones(make_rig: MakeRig) -> None:
    rig = make_rig(services=[Service(port=53, protocol="udp", policy="least_connections")])
    assert sorted(rig.ask("h3", 40000 + n) for n in range(4)) == ["h1", "h1", "h2", "h2"]
    assert (rig.member("h1").live, rig.member("h2").live) == (2, 2)
    rig.advance(rig.idle_timeout + 1)
    assert (rig.member("h1").live, rig.member("h2").live) == (0, 0)


def test_a_server_may_ask_the_service_and_be_chosen_itself(rig: Rig) -> None:
    assert [rig.ask("h1", 40000 + n) for n in range(4)] == ["h1", "h2"] * 2
    assert [rig.ask("h1", 40000 + n) for n in range(4)] == ["h1", "h2"] * 2


def test_datagrams_past_the_service_are_not_rewritten(rig: Rig) -> None:
    assert rig.ask_directly("h3", "h1", 41000)
    assert rig.ask_directly("h3", "h1", 41000)
    assert rig.ask_directly("h1", "h2", 41000)
    assert rig.ask("h3", 40001) == "h1"
    assert rig.ask_directly("h4", "h1", 41001)


def test_port_that_asked_a_server_directly_may_ask_the_service(rig: Rig) -> None:
    assert rig.ask_directly("h3", "h1", 41000)
    assert rig.ask("h3", 41000, held=True) == "h1"


def test_flow_and_direct_call_of_one_port_take_turns_and_each_is_answered(make_rig: MakeRig) -> None:
    rig = make_rig(services=[DNS], mode="reactive")  # to the tracker both are one flow
    assert rig.ask("h3", 41000) == "h1"
    for _ in range(3):
        assert rig.ask_directly("h3", "h1", 41000)
        assert rig.member("h1").live == 0
        assert [rig.ask("h3", 41000, held=True), rig.ask("h3", 41000)] == ["h1"] * 2
    assert (rig.member("h1").live, rig.member("h1").hits) == (1, 1)


def test_decision_about_a_packet_that_is_held_is_not_noted_as_a_refusal(mode: str) -> None:
    rig = Rig(services=[DNS], mode=mode, detail=True)
    assert rig.ask_directly("h3", "h1", 41000)
    assert rig.ask("h3", 41000, held=True) == "h1"
    assert [n.text for n in rig.notes if n.detail] == ["service0: 10.0.0.3:41000 -> h1"]


def test_flow_of_another_server_is_not_touched_by_a_direct_call(make_rig: MakeRig) -> None:
    rig = make_rig(services=[DNS], mode="reactive")
    assert rig.ask("h3", 41000) == "h1"
    assert rig.ask_directly("h3", "h2", 41000)
    packet_ins = rig.balancer.counters.packet_ins
    assert rig.ask("h3", 41000) == "h1"
    assert rig.balancer.counters.packet_ins == packet_ins


def test_another_port_of_the_service_is_counted_and_not_answered(rig: Rig) -> None:
    assert rig.datagram("h3", to_port=54).server is None
    assert rig.has_drops() == {"not_served": 1}


def test_tcp_to_a_udp_services_port_is_reset(rig: Rig) -> None:
    host, wanted = rig.hosts["h3"], rig.balancer.services[0]
    rig.send("h3", frames.tcp((host.mac, wanted.mac), (host.ip, wanted.ip), (40000, 53), SYN, 1))
    assert rig.delivered[-1].fields["tcp_flags"] & frames.RST
    assert rig.has_drops() == {"not_served": 1}


@pytest.mark.parametrize(("speaks", "ip"), [("1.0", SERVICE), ("1.3", SERVICE), ("1.3", "fd00::1:1")])
def test_the_largest_frame_that_is_taken_fits_its_message_and_a_larger_one_is_counted(
    mode: str, speaks: str, ip: str
) -> None:
    rig = Rig(services=[Service(ip, ["h1"], 53, protocol="udp")], mode=mode, speaks=speaks)
    largest = MAX_FRAME - (62 if ":" in ip else 42)  # less the headers of Ethernet, IP and UDP
    for client in ("h3", "h1"):  # the way of a server's own request has the most actions
        assert rig.datagram(client, 40001, data=bytes(largest)).server == "h1"
        assert rig.datagram(client, 40002, data=bytes(largest + 1)).server is None
    assert rig.has_drops() == {"too_large": 2}
    assert rig.ask("h3", 40002) == "h1"


@pytest.mark.parametrize("kind", ["tcp", "http"])
def test_only_arp_checks_a_udp_server(kind: str) -> None:
    from lab.balancer.health import CheckKind, HealthSettings

    health = HealthSettings(kind=CheckKind(kind))
    with pytest.raises(ValueError, match="is UDP, whose servers are checked by ARP alone"):
        Settings(
            services=[
                ServiceSettings(
                    name="dns",
                    ip="10.0.1.1",
                    port=53,
                    protocol="udp",
                    servers=[ServerSettings(name="h1", ip="10.0.0.1", health=health)],
                )
            ]
        )
