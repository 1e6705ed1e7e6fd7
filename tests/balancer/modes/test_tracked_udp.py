"""The tracked mode's own promises about UDP, whose ends the tracker alone knows."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from helpers import frames
from helpers.rig import MakeRig, Rig, Service

from lab.balancer.modes.tracked import FORGOTTEN_S, LOST_S, RESUME_S
from lab.balancer.rules import Cookie

DNS = Service(port=53, protocol="udp")


@pytest.fixture
def mode() -> str:
    return "tracked"


def test_a_flow_that_the_tracker_has_forgotten_begins_anew(make_rig: MakeRig) -> None:
    rig = make_rig(services=[DNS])
    assert rig.ask("h3", 40001) == "h1"
    rig.advance(LOST_S + 1, step=1.0)
    rig.switch.tracker.flush()  # as after a long silence
    assert [rig.ask("h3", 40001), rig.ask("h3", 40001)] == ["h2", "h2"]


def test_datagrams_that_nobody_answers_cost_one_packet_in(make_rig: MakeRig) -> None:
    rig = make_rig(services=[DNS])
    assert [rig.datagram("h3", 40001).server for _ in range(5)] == ["h1"] * 5
    assert rig.balancer.counters.packet_ins == 1
    assert [rig.datagram("h1", 40001).server for _ in range(3)] == ["h2"] * 3
    assert [rig.datagram("h1", 40002).server for _ in range(3)] == ["h1"] * 3
    assert rig.balancer.counters.packet_ins == 3


def test_a_dead_servers_service_alone_is_forgotten_by_the_tracker(make_rig: MakeRig) -> None:
    rig = make_rig(services=[DNS, Service(), Service("10.0.1.2", ["h1", "h4"], port=54, protocol="udp")])
    served = [rig.ask("h3", 40000 + n, service=2) for n in range(4)]
    rig.ask("h3", 40000)
    assert rig.connect("h3", 40000, service=1) == "h1"
    rig.link_down("h2")
    packet_ins = rig.balancer.counters.packet_ins
    assert [rig.ask("h3", 40000 + n, service=2) for n in range(4)] == served
    assert rig.data("h3", 40000, service=1).server == "h1"
    assert rig.balancer.counters.packet_ins == packet_ins
    assert rig.ask("h3", 40000) == "h1"
    assert rig.balancer.counters.packet_ins == packet_ins


# datagrams that are on their way to the controller together


def sent_together(rig: Rig, count: int, client: str = "h3", port: int = 40001) -> None:
    """Datagrams of one client, all of which the switch has shown before the controller hears of the first."""
    rig.connected = False
    for _ in range(count):
        rig.datagram(client, port)
    rig.connected = True
    rig.settle()


def test_datagrams_sent_together_are_of_one_flow(make_rig: MakeRig) -> None:
    rig = make_rig(services=[DNS])
    rig.advance(LOST_S + 1, step=1.0)
    before = len(rig.delivered)
    sent_together(rig, 5)
    assert [d.host for d in rig.delivered[before:] if d.taken and "udp_src" in d.fields] == ["h1"] * 5
    assert [member.hits for member in rig.balancer.services[0].members] == [1, 0]
    assert rig.ask("h3", 40001) == "h1"
    assert rig.ask("h4") == "h2"  # whose turn it is


def test_datagrams_sent_together_after_the_flow_was_forgotten_begin_one_more(make_rig: MakeRig) -> None:
    rig = make_rig(services=[DNS])
    assert rig.ask("h3", 40001) == "h1"
    rig.advance(LOST_S + 1, step=1.0)
    rig.switch.tracker.flush()  # as after a long silence
    sent_together(rig, 5)
    assert rig.ask("h3", 40001) == "h2"
    assert [member.hits for member in rig.balancer.services[0].members] == [1, 1]


def test_flow_taken_up_again_at_the_end_of_the_time_after_a_loss_is_still_one(make_rig: MakeRig) -> None:
    rig = make_rig(services=[DNS])
    assert rig.ask("h3", 40001) == "h1"
    rig.advance(LOST_S - 5, step=1.0)
    rig.switch.tracker.flush()
    sent_together(rig, 1)
    rig.advance(10, step=1.0)
    rig.switch.tracker.flush()
    assert rig.ask("h3", 40001) == "h1"
    assert rig.member("h1").hits == 1


# flows that count as live


def least(make_rig: MakeRig, bound: int = 1000) -> Rig:
    return make_rig(services=[Service(port=53, protocol="udp", policy="least_connections")], bound=bound)


def test_flow_begun_again_counts_as_live_from_then_on(make_rig: MakeRig) -> None:
    rig = least(make_rig)
    assert rig.ask("h3", 40001) == "h1"
    rig.advance(rig.idle_timeout - 2)
    rig.switch.tracker.flush()
    assert rig.ask("h3", 40001) == "h1"
    rig.advance(rig.idle_timeout - 2)
    assert rig.member("h1").live == 1
    rig.advance(3)
    assert rig.member("h1").live == 0


def test_flows_that_count_as_live_are_no_more_than_the_table_of_connections_holds(make_rig: MakeRig) -> None:
    rig = least(make_rig, bound=3)
    for n in range(10):
        rig.ask("h3", 40000 + n)
    assert len(rig.balancer._mode._flows) == 3  # type: ignore[attr-defined]
    assert rig.member("h1").live + rig.member("h2").live == 3
    rig.advance(rig.idle_timeout + 1)
    assert rig.member("h1").live + rig.member("h2").live == 0


def test_flow_that_its_server_takes_up_again_is_live_for_as_long_as_any(make_rig: MakeRig) -> None:
    rig = least(make_rig)
    call = rig.datagram("h3", 40001)
    rig.advance(rig.idle_timeout + 1)
    assert rig.member("h1").live == 0
    rig.connect_switch(wiped=True)
    rig.reply("h3", call)
    assert rig.member("h1").live == 1
    rig.advance(rig.idle_timeout + 1)
    assert rig.member("h1").live == 0


# drained by silence, and only by it

Speaks = Callable[[Rig], None]


def admin(rig: Rig, server: str = "h1") -> str:
    return str(rig.balancer.pool.describe_server("service0", server)["admin"])


def goes_on(rig: Rig, speaks: Speaks, seconds: float = 40.0) -> None:
    """One who speaks twice in each idle time-out keeps the server from being drained."""
    end = rig.now + seconds
    while rig.now < end:
        speaks(rig)
        rig.advance(rig.idle_timeout / 2)
        assert admin(rig) == "draining", f"{end - rig.now:g} s before the end"


def silent(rig: Rig) -> None:
    rig.advance(rig.idle_timeout + 1)
    assert admin(rig) == "maint"


@pytest.fixture(params=["h3", "h1"])
def caller(request: pytest.FixtureRequest) -> str:
    """Another host, and the server itself."""
    return str(request.param)


@pytest.mark.parametrize(
    "service", [DNS, Service(port=5300, last_port=5310, protocol="udp"), Service("fd00::1:1", port=53, protocol="udp")]
)
def test_unanswered_datagrams_keep_a_server_from_being_drained(
    make_rig: MakeRig, service: Service, caller: str
) -> None:
    if ":" in service.ip and make_rig().speaks == "1.0":
        pytest.skip("OpenFlow 1.0 can't set an IPv6 address")
    rig = make_rig(services=[service])
    assert rig.datagram(caller, 40001).server == "h1"
    rig.obey(rig.balancer.pool.drain("service0", "h1"))

    def asks(rig: Rig) -> None:
        assert rig.datagram(caller, 40001).server == "h1"

    goes_on(rig, asks)
    silent(rig)


def test_answers_alone_keep_a_server_from_being_drained(make_rig: MakeRig, caller: str) -> None:
    rig = make_rig(services=[DNS])
    call = rig.datagram(caller, 40001)
    assert call.server == "h1"
    rig.obey(rig.balancer.pool.drain("service0", "h1"))
    goes_on(rig, lambda rig: rig.reply(caller, call))
    silent(rig)


def test_flow_that_changes_its_ways_keeps_a_server_from_being_drained(make_rig: MakeRig) -> None:
    """What hits one rule now may have hit another one for longer than the idle time-out."""
    rig = make_rig(services=[DNS])
    call = rig.datagram("h3", 40001)
    assert call.server == "h1"
    rig.obey(rig.balancer.pool.drain("service0", "h1"))
    ways: list[Speaks] = [
        lambda rig: None if rig.datagram("h3", 40001).server == "h1" else pytest.fail("moved"),
        lambda rig: None if rig.ask("h3", 40001) == "h1" else pytest.fail("moved"),
        lambda rig: rig.reply("h3", call),
    ]
    for way in (*ways, *ways):
        goes_on(rig, way, seconds=20)
    silent(rig)


def test_what_is_asked_past_the_service_keeps_no_server_from_being_drained(make_rig: MakeRig) -> None:
    rig = make_rig(services=[DNS])
    assert rig.ask("h3", 40001) == "h1"
    rig.obey(rig.balancer.pool.drain("service0", "h1"))
    for _ in range(3):
        assert rig.ask_directly("h4", "h1", 41000)
        rig.advance(rig.idle_timeout / 2)
    assert admin(rig) == "maint"


def test_servers_are_drained_apart(make_rig: MakeRig) -> None:
    rig = make_rig(services=[DNS])
    assert [rig.ask("h3", 40001), rig.ask("h4", 40001)] == ["h1", "h2"]
    for name in ("h1", "h2"):
        rig.obey(rig.balancer.pool.drain("service0", name))
    goes_on(rig, lambda rig: None if rig.datagram("h3", 40001).server == "h1" else pytest.fail("moved"))
    assert (admin(rig, "h1"), admin(rig, "h2")) == ("draining", "maint")
    silent(rig)


def test_one_server_of_two_services_is_drained_of_one(make_rig: MakeRig) -> None:
    rig = make_rig(services=[DNS, Service(port=54, protocol="udp")])
    assert [rig.ask("h1", 40001, service=n) for n in range(2)] == ["h1", "h1"]
    call = rig.datagram("h1", 40001, service=1)
    rig.obey(rig.balancer.pool.drain("service0", "h1"))
    for _ in range(3):
        rig.reply("h1", call, service=1)
        rig.advance(rig.idle_timeout / 2)
    assert admin(rig) == "maint"


def test_draining_goes_on_over_a_switchs_restart(make_rig: MakeRig) -> None:
    rig = make_rig(services=[DNS])
    assert rig.datagram("h3", 40001).server == "h1"
    rig.obey(rig.balancer.pool.drain("service0", "h1"))
    rig.advance(2)
    rig.connect_switch(wiped=True)
    goes_on(rig, lambda rig: None if rig.datagram("h3", 40001).server == "h1" else pytest.fail("moved"))
    silent(rig)


# answers that the emptied tracker doesn't know


def test_answers_stay_the_services_when_the_switch_has_lost_all(make_rig: MakeRig) -> None:
    rig = make_rig(services=[DNS])
    call = rig.datagram("h3", 40001)
    assert call.server == "h1"
    rig.connect_switch(wiped=True)
    packet_ins = rig.balancer.counters.packet_ins
    for _ in range(3):
        rig.reply("h3", call)
    assert rig.balancer.counters.packet_ins == packet_ins + 1  # then the tracker knows
    assert rig.ask("h3", 40001) == "h1"
    assert rig.balancer.counters.packet_ins == packet_ins + 1
    rig.advance(RESUME_S + 1)
    assert not rig.switch.of_kind(Cookie.RESUME)


def test_dead_servers_late_answers_are_nobodys(make_rig: MakeRig) -> None:
    """Its flow is another's by now, and its client was never told of its address."""
    rig = make_rig(services=[DNS])
    call = rig.datagram("h3", 40001)
    assert call.server == "h1"
    rig.hosts["h1"].mute = True
    rig.advance(5)
    assert rig.up() == ["h2"]
    late = frames.udp((rig.hosts["h1"].mac, rig.hosts["h3"].mac), (rig.hosts["h1"].ip, call.fields["src"]), (53, 40001))
    assert [d for d in rig.send("h1", late) if d.taken] == []
    assert rig.ask("h3", 40001) == "h2"


# a server that goes: its flows are forgotten, and no others

GOES = ("dies", "leaves")


def goes(rig: Rig, server: str, how: str) -> None:
    if how == "dies":
        rig.link_down(server)
    else:
        rig.obey(rig.balancer.pool.remove("service0", server))


@pytest.mark.parametrize("how", GOES)
def test_flows_of_a_server_that_goes_alone_move_though_the_controller_never_knew_any(
    make_rig: MakeRig, how: str
) -> None:
    rig = make_rig(services=[Service(port=53, protocol="udp", servers=["h1", "h2", "h5"])])
    clients = [(client, 40000 + n) for n in range(4) for client in ("h3", "h4", "h1")]
    served = {client: rig.ask(*client) for client in clients}
    assert set(served.values()) == {"h1", "h2", "h5"}
    rig.restart_controller()
    rig.ask("h6")
    packet_ins = rig.balancer.counters.packet_ins
    goes(rig, "h2", how)
    for client, server in served.items():
        assert rig.ask(*client) == server or server == "h2"
        assert rig.ask(*client) in ("h1", "h5")
    assert rig.balancer.counters.packet_ins == packet_ins + list(served.values()).count("h2")


@pytest.mark.parametrize("how", GOES)
def test_answers_of_a_flow_that_only_answers_go_on_when_another_server_goes(make_rig: MakeRig, how: str) -> None:
    rig = make_rig(services=[DNS])
    call = rig.datagram("h3", 40001)
    assert call.server == "h1"
    goes(rig, "h2", how)
    packet_ins = rig.balancer.counters.packet_ins
    for _ in range(3):
        rig.reply("h3", call)
    assert rig.ask("h3", 40001) == "h1"
    assert rig.balancer.counters.packet_ins == packet_ins


def test_flow_taken_up_again_from_its_servers_side_is_forgotten_with_it(make_rig: MakeRig) -> None:
    rig = make_rig(services=[DNS])
    call = rig.datagram("h3", 40001)
    assert call.server == "h1"
    rig.connect_switch(wiped=True)
    rig.reply("h3", call)
    rig.link_down("h1")
    assert rig.ask("h3", 40001) == "h2"


def test_flow_returns_to_its_server_that_was_gone_for_a_moment(make_rig: MakeRig) -> None:
    rig = make_rig(services=[DNS])
    assert [rig.ask("h4"), rig.ask("h3", 40001)] == ["h1", "h2"]
    rig.advance(LOST_S + 1, step=1.0)
    rig.link_down("h2")
    rig.link_up("h2")
    rig.advance(1)
    assert rig.ask("h3", 40001) == "h2"
    assert rig.member("h2").hits == 1


@pytest.mark.parametrize("how", GOES)
def test_switch_that_cannot_forget_one_servers_flows_forgets_all_of_the_service(make_rig: MakeRig, how: str) -> None:
    """It refuses; what tells is a datagram that it still translates to that server a second later."""
    rig = make_rig(services=[Service(port=53, protocol="udp", servers=["h1", "h2", "h5"])])
    rig.switch.old = True
    served = {n: rig.ask("h3", 40000 + n) for n in range(6)}
    call = rig.datagram("h4", 40001)
    assert call.server == "h1"
    goes(rig, "h2", how)
    lost = next(n for n, server in served.items() if server == "h2")
    assert rig.datagram("h3", 40000 + lost).server is None
    rig.advance(FORGOTTEN_S)
    assert rig.datagram("h3", 40000 + lost).server is None
    rig.reply("h4", call)
    for n, server in served.items():
        assert rig.ask("h3", 40000 + n) == server or server == "h2"
        assert rig.ask("h3", 40000 + n) in ("h1", "h5")
    goes(rig, "h5", how)  # it is told at once now
    assert {rig.ask("h3", 40000 + n) for n in served} == {"h1"}


def test_datagram_that_was_on_its_way_as_its_server_died_costs_the_others_nothing(make_rig: MakeRig) -> None:
    rig = make_rig(services=[DNS])
    assert [rig.ask("h3", 40001), rig.ask("h4", 40001)] == ["h1", "h2"]
    rig.link_down("h2")
    client, server = rig.hosts["h4"], rig.hosts["h2"]
    translated = frames.udp((client.mac, rig.service_mac()), (client.ip, server.ip), (40001, 53), b"?")
    before = len(rig.commands)
    rig.obey(rig.balancer.packet_in(client.port, translated, False, rig.now))
    assert rig.commands[before:] == []
    assert rig.has_drops() == {"no_connection": 1}
