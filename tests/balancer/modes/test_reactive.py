"""The reactive mode's promises: who gets a connection, who keeps it, what its rules cost."""

from __future__ import annotations

import pytest
from helpers import frames
from helpers.frames import ACK, FIN, RST, SYN
from helpers.net import HELD_S
from helpers.rig import MakeRig, Rig, Service

from lab.balancer.rules import Cookie


def test_one_connection_costs_one_packet_in_and_one_flow_mod(rig: Rig) -> None:
    rig.connect("h3", 40001)  # h3 and the servers are known from now on
    packet_ins, flow_mods = rig.packet_ins, rig.switch.flow_mods
    for n in range(10):
        rig.connect("h3", 50000 + n)
        rig.close("h3", 50000 + n)
    assert rig.packet_ins - packet_ins == 10
    assert rig.switch.flow_mods - flow_mods == 10
    assert (rig.balancer.counters.packet_ins, rig.balancer.counters.flow_mods) == (11, 11)


def test_another_syn_from_the_same_port_is_a_new_connection(rig: Rig) -> None:
    assert [rig.syn("h3", 40001, seq=n).server for n in range(8)] == ["h1", "h2"] * 4
    assert rig.data("h3", 40001).server == "h2"
    assert rig.connection_rules() == 1


@pytest.mark.parametrize("other", [SYN | frames.PSH, SYN | 0x40 | 0x80, SYN | frames.FIN])
def test_any_syn_without_ack_opens_a_connection(rig: Rig, other: int) -> None:
    assert rig.call("h3", 40001, other, seq=1).server == "h1"
    assert rig.call("h3", 40001, other, seq=2).server == "h2"


def test_returning_packet_keeps_its_server_after_the_rule_expired(rig: Rig) -> None:
    rig.syn("h4")
    first = rig.connect("h3", 40001)
    rig.advance(rig.idle_timeout + 1)
    assert rig.connection_rules() == 0
    packet_ins = rig.balancer.counters.packet_ins
    assert [rig.data("h3", 40001).server for _ in range(3)] == [first] * 3
    assert rig.balancer.counters.packet_ins == packet_ins + 1


def test_rule_of_a_busy_connection_stays(rig: Rig) -> None:
    rig.connect("h3", 40001)
    packet_ins = rig.balancer.counters.packet_ins
    for _ in range(5):
        rig.advance(rig.idle_timeout - 1)
        assert rig.data("h3", 40001).server == "h1"
    assert rig.balancer.counters.packet_ins == packet_ins


@pytest.mark.parametrize("last", [FIN | ACK, RST])
def test_rule_leaves_soon_after_its_connection_has_ended(rig: Rig, last: int) -> None:
    rig.connect("h3", 40001)
    rig.call("h3", 40001, last)
    assert rig.connection_rules() == 1
    rig.advance(1.5)
    assert rig.connection_rules() == 0


@pytest.mark.parametrize("flags", [ACK, FIN | ACK, SYN | ACK, 0])
def test_packet_of_no_known_connection_is_reset(rig: Rig, flags: int) -> None:
    outcome = rig.call("h3", 40001, flags, seq=10)
    assert outcome.reset
    if flags & ACK:
        assert (outcome.fields["tcp_flags"], outcome.fields["seq"]) == (RST, 777)
    else:
        assert (outcome.fields["tcp_flags"], outcome.fields["ack"]) == (RST | ACK, 10)
    assert rig.has_drops() == {"no_connection": 1}
    assert rig.connection_rules() == 0


# servers that come and go


def test_repeated_syn_of_a_dead_server_goes_to_another(rig: Rig) -> None:
    assert rig.syn("h3", 40001, seq=1).server == "h1"
    rig.link_down("h1")
    assert rig.syn("h3", 40001, seq=1).server == "h2"
    assert rig.data("h3", 40001).server == "h2"


def test_only_the_dead_servers_rules_leave(rig: Rig) -> None:
    for n in range(6):
        rig.connect("h3", 40000 + n)
    rig.link_down("h2")
    assert rig.connection_rules() == 3
    packet_ins = rig.balancer.counters.packet_ins
    assert [rig.data("h3", 40000 + n).server for n in (0, 2, 4)] == ["h1"] * 3
    assert rig.balancer.counters.packet_ins == packet_ins


def test_live_connections_are_those_whose_rule_is_there(rig: Rig) -> None:
    rig.connect("h3", 40001)
    rig.connect("h3", 40002)
    rig.connect("h3", 40003)
    assert (rig.member("h1").live, rig.member("h2").live) == (2, 1)
    rig.close("h3", 40001)
    rig.advance(1.5)
    assert (rig.member("h1").live, rig.member("h2").live) == (1, 1)
    rig.advance(rig.idle_timeout)
    assert (rig.member("h1").live, rig.member("h2").live) == (0, 0)
    rig.data("h3", 40002)  # it was only idle
    assert (rig.member("h1").live, rig.member("h2").live) == (0, 1)


def test_d23_client_that_waits_for_a_dead_server_is_reset_and_not_left_waiting(rig: Rig) -> None:
    rig.connect("h4")
    assert rig.connect("h3", 40001) == "h2"
    before = len(rig.delivered)
    rig.link_down("h2")
    (nudge,) = [d for d in rig.delivered[before:] if d.taken and "tcp_src" in d.fields]
    got = nudge.fields
    assert (nudge.host, got["tcp_dst"], got["tcp_flags"]) == ("h3", 40001, ACK)
    assert (got["eth_src"], got["ip_src"], got["tcp_src"]) == (rig.service_mac(), frames.ip("10.0.1.1"), 80)
    # what its kernel answers to an ACK out of its window: the ACK that it has sent last
    answer = rig.call("h3", 40001, ACK, seq=2)
    assert answer.reset
    assert (answer.fields["tcp_flags"], answer.fields["seq"]) == (RST, 777)
    assert rig.member("h2").live == 0


def test_nobody_is_nudged_about_a_server_that_only_moved(rig: Rig) -> None:
    assert rig.connect("h3", 40001) == "h1"
    before = len(rig.delivered)
    rig.obey(rig.balancer.located(rig.balancer.assignments[0], rig.member("h1"), former=1))
    assert not rig.delivered[before:]
    assert rig.member("h1").live == 0  # until its next packet
    assert rig.data("h3", 40001).server == "h1"
    assert rig.member("h1").live == 1


def test_rebalanced_connections_of_a_dead_server_reach_another(make_rig: MakeRig) -> None:
    rig = make_rig(on_server_down="rebalance")
    rig.connect("h4")
    assert rig.connect("h3", 40001) == "h2"
    rig.link_down("h2")
    assert [rig.data("h3", 40001).server for _ in range(3)] == ["h1"] * 3
    assert (rig.member("h1").live, rig.member("h2").live) == (2, 0)
    rig.link_down("h1")
    assert rig.data("h3", 40001).reset


# servers as clients, and calls past the service


def test_port_of_a_direct_call_used_again_for_the_service(rig: Rig) -> None:
    assert rig.direct("h3", "h1", 41000)
    assert rig.connect("h3", 41000, held=True) == "h1"  # the answers must be rewritten again
    assert not rig.switch.of_kind(Cookie.DIRECT)


def test_first_packet_of_a_port_that_turns_waits_until_cached_flows_are_gone(make_rig: MakeRig) -> None:
    rig = make_rig(services=[Service(servers=["h1"])])
    assert rig.direct("h4", "h1", 41000)  # from now on its answers are told apart by their ports
    assert rig.connect("h3", 42000) == "h1"
    for seq in (10, 20):
        assert waits(rig, frames.tcp(*rig.between("h3", "h1"), (42000, 80), SYN, seq))
        assert waits(rig, rig.packet("h3", 42000, SYN, seq))
    assert not waits(rig, frames.tcp(*rig.between("h3", "h1"), (42001, 80), SYN, 30))
    assert not waits(rig, rig.packet("h3", 42002, SYN, 30))


def waits(rig: Rig, frame: bytes) -> bool:
    """Whether h1 gets h3's frame a moment later, and not at once."""
    before = len(rig.delivered)
    rig.send("h3", frame)
    at_once = [d.host for d in rig.delivered[before:] if d.taken and "seq" in d.fields]
    rig.advance(HELD_S)
    assert [d.host for d in rig.delivered[before:] if d.taken and "seq" in d.fields] == ["h1"]
    return not at_once


def test_port_of_a_connection_used_again_for_a_direct_call(rig: Rig) -> None:
    assert rig.connect("h3", 41000) == "h1"
    assert rig.direct("h3", "h1", 41000)


def test_direct_call_repeated_while_it_is_remembered_is_forwarded(rig: Rig) -> None:
    assert rig.direct("h3", "h1", 41000)
    assert rig.direct("h3", "h1", 41000)
    assert len(rig.switch.of_kind(Cookie.DIRECT)) == 1


def test_direct_call_is_forgotten_after_a_pause(rig: Rig) -> None:
    assert rig.direct("h3", "h1", 41000)
    rig.advance(301, step=1.0)
    assert not rig.switch.of_kind(Cookie.DIRECT)
    assert rig.direct("h3", "h1", 41000)


def test_direct_calls_are_bounded(make_rig: MakeRig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lab.balancer.modes.direct_calls.DIRECT_BOUND", 3)
    rig = make_rig()
    for n in range(6):
        assert rig.direct("h3", "h1", 41000 + n)
    assert len(rig.switch.of_kind(Cookie.DIRECT)) == 3


def test_first_direct_call_waits_until_cached_flows_are_gone(rig: Rig) -> None:
    macs, ips = rig.between("h3", "h1")
    rig.connect("h3")
    opening = frames.tcp(macs, ips, (41000, 80), SYN)
    assert not rig.send("h3", opening)
    rig.advance(0.3)
    assert [d.host for d in rig.delivered if d.frame == opening and d.taken] == ["h1"]
    assert rig.reaches("h1", frames.tcp(macs, ips, (41001, 80), SYN), "h3")  # later ones need not


# bounds, reconnection, several services


def test_bounded_table_forgets_what_was_used_longest_ago(make_rig: MakeRig) -> None:
    rig = make_rig(bound=3)
    for n in range(3):
        rig.connect("h3", 40000 + n)
    rig.advance(rig.idle_timeout + 1)
    assert rig.data("h3", 40000).server == "h1"  # used again
    rig.connect("h3", 40003)
    assert rig.remembered() == 3
    assert rig.data("h3", 40001).reset
    assert [rig.data("h3", 40000 + n).server for n in (0, 2, 3)] == ["h1", "h1", "h2"]


# UDP, which has no SYN and no FIN

DNS = Service(port=53, protocol="udp")


def test_datagram_after_its_flow_has_idled_out_begins_another(make_rig: MakeRig) -> None:
    rig = make_rig(services=[DNS])
    assert [rig.ask("h3", 40001), rig.ask("h3", 40001)] == ["h1", "h1"]
    assert rig.remembered() == 1
    rig.advance(rig.idle_timeout + 1)
    assert (rig.connection_rules(), rig.remembered()) == (0, 0)
    assert [rig.ask("h3", 40001), rig.ask("h4", 40001)] == ["h2", "h1"]


def test_busy_flow_costs_the_controller_nothing_more(make_rig: MakeRig) -> None:
    rig = make_rig(services=[DNS])
    rig.ask("h3", 40001)
    counters = rig.balancer.counters
    before = counters.packet_ins, counters.flow_mods
    for _ in range(5):
        rig.advance(rig.idle_timeout - 1)
        assert rig.ask("h3", 40001) == "h1"
    assert (counters.packet_ins, counters.flow_mods) == before


def test_flows_are_bounded_by_the_same_table(make_rig: MakeRig) -> None:
    rig = make_rig(services=[DNS], bound=3)
    for n in range(5):
        rig.ask("h3", 40000 + n)
    assert rig.remembered() == 3


def test_rules_of_a_direct_flow_end_together(make_rig: MakeRig) -> None:
    rig = make_rig(services=[DNS])
    assert rig.ask_directly("h3", "h1", 41000)
    assert len(rig.switch.of_kind(Cookie.DIRECT)) == 2
    there = frames.udp(*rig.between("h3", "h1"), (41000, 53))
    for _ in range(299):  # it asks on and on, and gets no answer
        rig.advance(1.0, step=1.0)
        assert rig.reaches("h1", there, "h3")
    rig.advance(2.0)
    assert not rig.switch.of_kind(Cookie.DIRECT)  # else its answers, once they came, would be the service's
    assert rig.ask_directly("h3", "h1", 41000)


def test_a_drain_ends_though_the_switch_lost_the_rules_whose_end_it_would_tell(rig: Rig) -> None:
    assert rig.connect("h3", 40001) == "h1"
    assert rig.member("h1").live == 1
    rig.connect_switch(wiped=True)
    assert rig.member("h1").live == 0
    rig.obey(rig.balancer.pool.drain("service0", "h1"))
    rig.advance(0.1)
    assert rig.member("h1").admin.value == "maint"


def test_connections_whose_rules_a_returning_switch_still_has_are_live_and_their_end_is_told(rig: Rig) -> None:
    assert rig.connect("h3", 40001) == "h1"
    rig.connect_switch()
    assert rig.member("h1").live == 1
    rig.obey(rig.balancer.pool.drain("service0", "h1"))
    rig.advance(0.1)
    assert rig.member("h1").admin.value == "draining"
    rig.advance(rig.idle_timeout + 1)
    assert rig.member("h1").admin.value == "maint"


def test_a_connection_that_speaks_after_its_switch_lost_its_rule_is_live_again(rig: Rig) -> None:
    assert rig.connect("h3", 40001) == "h1"
    rig.connect_switch(wiped=True)
    assert rig.data("h3", 40001).server == "h1"
    assert rig.member("h1").live == 1
