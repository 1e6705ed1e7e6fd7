"""The tracked mode's own promises: what a connection costs, what the tracker keeps, and what the cached flows need."""

from __future__ import annotations

import pytest
from helpers import frames
from helpers.frames import ACK, FIN, RST, SYN
from helpers.model_switch import PacketIn
from helpers.rig import MakeRig, Rig, Service

from lab.balancer.modes import MODES, tracked
from lab.balancer.modes.tracked import HAIRPIN_ZONE, RESUME_S, ZONE
from lab.balancer.rules import Cookie, Table
from lab.engines.openflow import REASON_ACTION

CLIENT_SIDE = (Table.CLIENT, Table.CLIENT_TRACKED, Table.HAIRPIN_TRACKED)
SERVER_SIDE = (Table.REPLY, Table.REPLY_TRACKED, Table.HAIRPIN_BACK, Table.HAIRPIN_OUT)
BOTH_WAYS = (Table.SOURCE, Table.SERVICE, Table.DESTINATION)


@pytest.fixture
def mode() -> str:
    return "tracked"


@pytest.mark.parametrize("policy", sorted(MODES["tracked"]))
@pytest.mark.parametrize("abort", [True, False])
def test_one_connection_costs_one_packet_in_one_packet_out_and_no_flow_mod(
    make_rig: MakeRig, policy: str, abort: bool
) -> None:
    """And a packet-in more at its end, where the policy goes by what is live."""
    rig = make_rig(services=[Service(policy=policy)])
    rig.connect("h3", 40001)  # h3 and the servers are known from now on
    packet_ins, flow_mods, rules, sent = rig.packet_ins, rig.switch.flow_mods, rig.switch.state(), len(rig.commands)
    for n in range(10):
        rig.connect("h3", 50000 + n)
        if abort:
            rig.rst("h3", 50000 + n)
        else:
            rig.close("h3", 50000 + n)
    watched = policy == "least_connections"
    assert rig.packet_ins - packet_ins == (20 if watched else 10)
    assert len(rig.commands) - sent == 10
    assert sum(rig.member(name).live for name in ("h1", "h2")) == 1 or not watched
    assert (rig.switch.flow_mods, rig.switch.state()) == (flow_mods, rules)
    assert (rig.balancer.counters.packet_ins, rig.balancer.counters.flow_mods) == (21 if watched else 11, 0)


def test_only_where_it_is_known_it_is_said_how_many_connections_are_live(make_rig: MakeRig) -> None:
    rig = make_rig(services=[Service(), Service("10.0.1.2", ["h4"], policy="least_connections")])
    rig.connect("h3", 40001, service=0)
    rig.connect("h3", 40001, service=1)
    services = rig.balancer.pool.describe()["services"]
    assert services["service0"]["servers"]["h1"]["live"] is None
    assert services["service1"]["servers"]["h4"]["live"] == 1


@pytest.mark.parametrize("policy", ["round_robin", "least_connections"])
def test_drained_servers_silent_connections_count_as_ended_and_still_work(make_rig: MakeRig, policy: str) -> None:
    rig = make_rig(services=[Service(policy=policy)])
    assert [rig.connect("h3", 40001), rig.connect("h3", 40002)] == ["h1", "h2"]
    rig.obey(rig.balancer.pool.drain("service0", "h2"))
    rig.advance(rig.idle_timeout + 1)
    assert rig.balancer.pool.describe_server("service0", "h2")["admin"] == "maint"
    assert (rig.member("h1").live, rig.member("h2").live) == (1, 0)
    assert rig.data("h3", 40002).server == "h2"
    assert not rig.switch.of_kind(Cookie.DRAIN)


@pytest.mark.parametrize("service", [Service(), Service(port=53, protocol="udp"), Service(port=8000, last_port=8010)])
def test_drain_leaves_nothing_behind(make_rig: MakeRig, service: Service) -> None:
    rig = make_rig(services=[service])
    rig.ping("h3", "h4")
    for over in ("enabled", "drained", "removed"):
        before = rig.switch.state()
        rig.obey(rig.balancer.pool.drain("service0", "h2"))
        assert rig.switch.of_kind(Cookie.DRAIN)
        if over == "removed":
            rig.obey(rig.balancer.pool.remove("service0", "h2"))
            assert not [rule for rule in rig.switch.rules() if any(name == "reg0" for name, _, _ in rule.match)]
            continue
        if over == "drained":
            rig.advance(rig.idle_timeout + 1)
            assert rig.balancer.pool.describe_server("service0", "h2")["admin"] == "maint"
        rig.obey(rig.balancer.pool.enable("service0", "h2"))
        assert rig.switch.state() == before, over


def test_server_that_is_its_own_client_is_not_drained_before_that_connection_ends(rig: Rig) -> None:
    assert rig.connect("h1", 40001) == "h1"
    rig.obey(rig.balancer.pool.drain("service0", "h1"))
    for _ in range(3):
        rig.advance(rig.idle_timeout - 1)
        rig.answer("h1", rig.data("h1", 40001))
        assert rig.balancer.pool.describe_server("service0", "h1")["admin"] == "draining"
    rig.advance(rig.idle_timeout + 1)
    assert rig.balancer.pool.describe_server("service0", "h1")["admin"] == "maint"


def test_new_controller_takes_no_drain_over(rig: Rig) -> None:
    assert [rig.connect("h3", 40001), rig.connect("h3", 40002)] == ["h1", "h2"]
    rig.obey(rig.balancer.pool.drain("service0", "h2"))
    assert rig.switch.of_kind(Cookie.DRAIN)
    rig.restart_controller()
    assert not rig.switch.of_kind(Cookie.DRAIN)
    assert rig.data("h3", 40002).server == "h2"


def test_draining_server_that_dies_has_its_connections_reset(rig: Rig) -> None:
    assert [rig.connect("h3", 40001), rig.connect("h3", 40002)] == ["h1", "h2"]
    rig.obey(rig.balancer.pool.drain("service0", "h2"))
    rig.link_down("h2")
    assert rig.data("h3", 40002).reset


def test_only_clients_of_connections_the_tracker_knows_are_made_to_speak(rig: Rig) -> None:
    servers = {port: rig.connect("h3", port) for port in (40001, 40002, 40003)}
    assert servers == {40001: "h1", 40002: "h2", 40003: "h1"}
    rig.switch.tracker.flush()
    assert rig.connect("h4", 40005) == "h2"
    assert rig.connect("h4", 40006) == "h1"
    before = len(rig.delivered)
    rig.link_down("h1")
    said = [(d.host, d.fields["ip_src"], d.fields["tcp_dst"]) for d in rig.delivered[before:] if d.taken]
    assert said == [("h4", rig.balancer.services[0].ip, 40006)]


def test_clients_of_a_server_that_is_back_are_left_alone(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracked, "NUDGES_PER_TICK", 5)
    for n in range(100):
        rig.syn("h3", 40000 + n)  # half of them to h1
    before = len(rig.delivered)
    rig.link_down("h1")
    rig.link_up("h1")
    rig.advance(2)
    assert rig.up() == ["h1", "h2"]
    told = [d for d in rig.delivered[before:] if d.taken and d.host == "h3"]
    assert 5 <= len(told) < 50  # of all


def test_tracker_holds_a_connection_from_its_syn_to_its_end(rig: Rig) -> None:
    rig.connect("h3", 40001)
    rig.connect("h1", 40002)  # served by h2
    rig.connect("h1", 40003)  # served by itself
    assert [len(rig.switch.tracker.connections(zone)) for zone in (ZONE, HAIRPIN_ZONE)] == [3, 1]
    rig.close("h3", 40001)
    rig.close("h1", 40003)
    assert [len(rig.switch.tracker.connections(zone)) for zone in (ZONE, HAIRPIN_ZONE)] == [1, 0]


def test_connections_go_on_without_a_controller(rig: Rig) -> None:
    servers = [rig.connect("h3", 40000 + n) for n in range(4)]
    rig.connected = False
    for n, server in enumerate(servers):
        call = rig.data("h3", 40000 + n)
        assert call.server == server
        rig.answer("h3", call)


def test_switch_that_lost_all_picks_connections_up_in_mid_stream(rig: Rig) -> None:
    servers = [rig.connect("h3", 40000 + n) for n in range(4)]
    itself = next(n for n in range(4) if rig.connect("h1", 41000 + n) == "h1")
    rig.connect_switch(wiped=True)
    assert rig.switch.tracker.connections(ZONE) == []
    packet_ins = rig.balancer.counters.packet_ins
    for _ in range(2):
        for n, server in enumerate(servers):
            call = rig.data("h3", 40000 + n)
            assert call.server == server
            rig.answer("h3", call)
        call = rig.data("h1", 41000 + itself)
        assert call.server == "h1"
        rig.answer("h1", call)
    assert rig.balancer.counters.packet_ins == packet_ins + 5  # one for each connection, then the tracker knows


def test_server_that_speaks_first_after_a_switch_lost_all_is_heard_in_the_services_name(rig: Rig) -> None:
    calls = []
    for n in range(2):
        rig.connect("h3", 40000 + n)
        calls.append(rig.data("h3", 40000 + n))
    assert rig.direct("h4", "h1", 41000)
    rig.connect_switch(wiped=True)
    macs, ips = rig.between("h1", "h4")
    packet_ins = rig.packet_ins
    for _ in range(2):
        for call in calls:
            rig.answer("h3", call)
    assert rig.packet_ins == packet_ins + 2  # one for each connection, then the tracker knows
    assert [rig.data("h3", 40000 + n).server for n in range(2)] == ["h1", "h2"]
    assert rig.reaches("h4", frames.tcp(macs, ips, (80, 41000), ACK, 5, 2, b"x"), "h1")
    rig.advance(RESUME_S + 1)
    assert not rig.switch.of_kind(Cookie.RESUME)
    packet_ins = rig.packet_ins
    assert rig.reaches("h4", frames.tcp(macs, ips, (80, 41000), ACK, 5, 2, b"x"), "h1")
    assert rig.packet_ins == packet_ins


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
@pytest.mark.parametrize("client", ["h3", "h1"])
def test_while_a_new_controller_renews_the_rules_none_of_what_the_tracker_knows_comes_to_it(
    make_rig: MakeRig, protocol: str, client: str
) -> None:
    """It knows no connections yet: of TCP it would reset them, and of UDP give them to another server."""
    rig = make_rig(services=[Service(protocol=protocol)])
    ports = (40001, 40002)
    before = [(rig.connect if protocol == "tcp" else rig.ask)(client, port) for port in ports]
    assert before == ["h1", "h2"]
    rig.restart_controller(connect=False)
    rig.switch.reconnect()
    arrived = []
    for command in rig.balancer.switch_up(rig.now):
        rig.switch.do(command)
        calls = [(rig.data if protocol == "tcp" else rig.datagram)(client, port) for port in ports]
        shown = [m for m in rig.switch.messages if isinstance(m, PacketIn) and m.reason == REASON_ACTION]
        assert not shown, command
        arrived.append([call.server for call in calls])
    assert arrived[-1] == before
    assert all(server in (None, right) for servers in arrived for server, right in zip(servers, before))


def test_new_controller_of_a_switch_that_lost_nothing_asks_for_no_servers_packets(rig: Rig) -> None:
    rig.restart_controller()
    assert not rig.switch.of_kind(Cookie.RESUME)


def test_switch_that_lost_its_rules_alone_needs_no_packet_in(rig: Rig) -> None:
    assert rig.connect("h3", 40001) == "h1"
    tracker = rig.switch.tracker
    rig.switch.tracker = type(tracker)()  # it is in the kernel, and outlives the switch
    rig.switch.reconnect(wiped=True)
    rig.switch.tracker = tracker
    rig.connect_switch()
    packet_ins = rig.balancer.counters.packet_ins
    assert rig.data("h3", 40001).server == "h1"
    assert rig.balancer.counters.packet_ins == packet_ins


def test_reset_of_a_dead_servers_connection_ends_it_in_the_tracker(rig: Rig) -> None:
    assert rig.connect("h3", 40001) == "h1"
    rig.link_down("h1")
    assert len(rig.switch.tracker.connections(ZONE)) == 1
    assert rig.data("h3", 40001).reset
    assert rig.switch.tracker.connections(ZONE) == []
    assert rig.connect("h3", 40001, seq=2) == "h2"


def test_removed_servers_connections_are_reset_and_the_others_stay(rig: Rig) -> None:
    assert [rig.connect(client, 40001) for client in ("h3", "h4", "h5", "h1")] == ["h1", "h2", "h1", "h2"]
    rig.obey(rig.balancer.pool.remove("service0", "h2"))
    assert rig.data("h4", 40001).reset
    assert rig.data("h1", 40001).reset
    assert [rig.data(client, 40001).server for client in ("h3", "h5")] == ["h1", "h1"]


def test_server_that_removed_itself_is_reset_too(rig: Rig) -> None:
    assert rig.connect("h1", 40001) == "h1"
    rig.obey(rig.balancer.pool.remove("service0", "h1"))
    assert rig.data("h1", 40001).reset


def test_repeated_syn_is_shown_to_the_controller_and_goes_on(rig: Rig) -> None:
    assert rig.syn("h3", 40001, seq=5).server == "h1"
    assert rig.syn("h3", 40001, seq=5).server == "h1"
    assert sum(member.hits for member in rig.balancer.services[0].members) == 1


@pytest.mark.parametrize("flags", [SYN | ACK, SYN | FIN, 0])
def test_packet_that_begins_no_connection_and_belongs_to_none_is_dropped(rig: Rig, flags: int) -> None:
    outcome = rig.call("h3", 40001, flags)
    assert (outcome.server, outcome.reset) == (None, False)
    assert rig.switch.tracker.connections(ZONE) == []


def test_direct_calls_leave_nothing_behind(rig: Rig) -> None:
    rules = rig.switch.state()
    assert rig.direct("h3", "h1", 41000)
    assert rig.direct("h1", "h2", 41000)
    assert not rig.switch.of_kind(Cookie.DIRECT)
    assert rig.switch.tracker.connections(ZONE) == []
    assert rules <= rig.switch.state()
    assert rig.balancer.counters.packet_ins == 0


def test_port_of_a_direct_call_used_again_for_the_service_is_translated(rig: Rig) -> None:
    assert rig.direct("h3", "h1", 41000)
    assert rig.connect("h3", 41000) == "h1"


@pytest.mark.parametrize("policy", sorted(MODES["tracked"]))
def test_no_table_looks_at_a_clients_port(make_rig: MakeRig, policy: str) -> None:
    services = [Service(policy=policy), Service("10.0.1.2", ["h1", "h4"], port=8080, policy=policy)]
    rig = make_rig(services=services)
    for n in range(4):
        rig.connect("h3", 40000 + n)
        rig.connect("h1", 40000 + n, service=1)
    for rule in rig.switch.rules():
        ports = {name: value for name, value, _ in rule.match if name in ("tcp_src", "tcp_dst")}
        assert set(ports.values()) <= {80, 8080}, rule  # a service's, never a client's
        receiver = [name for name, _, _ in rule.match if name == "eth_dst"]
        assert rule.table != Table.SERVICE or not receiver, rule  # or cached flows of answers would tell clients apart
        assert rule.table not in BOTH_WAYS or not ports, rule
        assert rule.table not in CLIENT_SIDE or "tcp_src" not in ports, rule
        assert rule.table not in SERVER_SIDE or "tcp_dst" not in ports, rule


@pytest.mark.parametrize("size", [0, 1, 1000])
def test_end_of_a_connection_is_counted_whatever_the_last_segment_carries(make_rig: MakeRig, size: int) -> None:
    rig = make_rig(services=[Service(policy="least_connections")])
    assert rig.connect("h3", 40001) == "h1"
    assert rig.member("h1").live == 1
    call = rig.data("h3", 40001)
    rig.answer("h3", call, FIN | ACK, data=bytes(size))
    assert rig.member("h1").live == 0
    assert rig.has_drops() == {}


def test_client_that_aborts_is_counted_once(make_rig: MakeRig) -> None:
    rig = make_rig(services=[Service(policy="least_connections")])
    assert rig.connect("h3", 40001) == "h1"
    before = len(rig.delivered)
    assert rig.call("h3", 40001, RST).server == "h1"
    assert len([d for d in rig.delivered[before:] if d.taken]) == 1
    assert rig.member("h1").live == 0


def test_answers_of_a_server_whose_connection_is_unknown_are_as_they_are(rig: Rig) -> None:
    macs, ips = rig.between("h1", "h3")
    assert rig.reaches("h3", frames.tcp(macs, ips, (80, 40001), SYN | ACK), "h1")
