"""A controller that takes over from another: what it keeps of what the switch remembers, and what goes."""

from __future__ import annotations

import pytest
from helpers import frames
from helpers.frames import ACK, FIN
from helpers.rig import MakeRig, Rig, Service

from lab.balancer.balancer import ServerSettings
from lab.balancer.health import CheckKind, HealthSettings
from lab.balancer.modes import CONTROLLER_CHOOSES
from lab.balancer.modes.tracked import RESUME_S, ZONE
from lab.balancer.rules import COOKIE_KEPT, AddRule, Cookie, DeleteRules, cookie_member

PORTS = range(40000, 40004)


@pytest.fixture(params=CONTROLLER_CHOOSES)
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def connect_all(rig: Rig) -> list[str]:
    return [rig.connect("h3", port) for port in PORTS]


def go_on(rig: Rig, servers: list[str]) -> None:
    """Every connection is as it was, both ways."""
    for port, server in zip(PORTS, servers):
        call = rig.data("h3", port)
        assert call.server == server, (port, call)
        rig.answer("h3", call)


def resets(rig: Rig, since: int) -> list[bytes]:
    return [d.frame for d in rig.delivered[since:] if d.fields.get("tcp_flags", 0) & frames.RST]


def test_d29_connections_outlive_their_controller(rig: Rig) -> None:
    servers, before = connect_all(rig), len(rig.delivered)
    rig.connect("h1", 50000)
    rig.restart_controller()
    assert rig.up() == ["h1", "h2"]
    go_on(rig, servers)
    assert not resets(rig, before)
    assert rig.connect("h4") == "h1"  # the turns begin anew


def test_adopted_connections_cost_the_controller_nothing(rig: Rig) -> None:
    servers = connect_all(rig)
    rig.restart_controller()
    go_on(rig, servers)
    assert rig.balancer.counters.packet_ins == 0
    assert "took" in " ".join(note.text for note in rig.notes)


def test_adopted_connection_is_found_after_a_pause_too(rig: Rig) -> None:
    servers = connect_all(rig)
    rig.restart_controller()
    rig.advance(rig.idle_timeout * 2, step=0.25)
    assert rig.connection_rules() == 0
    go_on(rig, servers)


def test_second_heir_takes_over_as_the_first_did(rig: Rig) -> None:
    servers = connect_all(rig)
    rig.restart_controller()
    rig.restart_controller()
    go_on(rig, servers)


def test_connections_go_on_while_there_is_no_controller(rig: Rig) -> None:
    servers = connect_all(rig)
    rig.restart_controller(connect=False)
    go_on(rig, servers)
    rig.connect_switch()
    go_on(rig, servers)


def test_server_that_died_in_the_meantime_has_its_connections_reset(rig: Rig) -> None:
    servers = connect_all(rig)
    rig.hosts["h1"].mute = True
    rig.restart_controller()
    assert rig.up() == ["h2"]
    assert [rig.data("h3", port).reset for port in PORTS] == [False] * 4  # it isn't known yet
    rig.advance(3)
    assert [rig.data("h3", port).reset for port in PORTS] == [server == "h1" for server in servers]
    assert [rig.connect("h4", port) for port in PORTS] == ["h2"] * 4


def test_server_that_got_another_mac_in_the_meantime_keeps_its_connections(rig: Rig) -> None:
    servers = connect_all(rig)
    rig.hosts["h1"].mac = frames.mac("02:00:0a:00:99:01")
    rig.restart_controller()
    go_on(rig, servers)


def test_server_not_heard_of_yet_still_gets_its_connections_packets(rig: Rig) -> None:
    servers = connect_all(rig)
    rig.hosts["h1"].mute = True
    rig.restart_controller()
    rig.hosts["h1"].mute = False
    assert rig.up() == ["h2"]
    for rule in rig.switch.of_kind(Cookie.CONNECTION):  # as if it had idled out just now
        rig.obey([DeleteRules(cookie=rule.cookie, cookie_mask=(1 << 64) - 1)])
    go_on(rig, servers)
    rig.advance(1.5)
    assert rig.up() == ["h1", "h2"]
    go_on(rig, servers)


def test_direct_call_outlives_its_controller(rig: Rig) -> None:
    assert rig.direct("h3", "h1", 41000)
    rig.restart_controller()
    assert rig.reaches("h3", frames.tcp(*rig.between("h1", "h3"), (80, 41000), ACK, 5, 2, b"x"), "h1")
    assert rig.direct("h3", "h1", 41000)
    assert rig.connect("h3", 41000, held=True) == "h1"


def test_live_connections_are_counted_by_the_heir(make_rig: MakeRig, mode: str) -> None:
    rig = make_rig(services=[Service(policy="least_connections")])
    connect_all(rig)
    rig.restart_controller()
    known = 2 if mode == "reactive" else 0  # what only the tracker knows can't be counted
    assert [rig.member(name).live for name in ("h1", "h2")] == [known, known]
    rig.call("h3", 40000, FIN | ACK)


def test_another_configuration_leaves_nothing_of_the_former_one(rig: Rig) -> None:
    connect_all(rig)
    rig.services = [Service(servers=["h3", "h4"])]
    rig.restart_controller()
    fresh = Rig(services=rig.services, speaks=rig.speaks, mode=rig.mode)
    assert without_hosts(rig) == without_hosts(fresh)
    assert rig.switch.tracker.connections(ZONE) == []
    assert rig.data("h3", 40000).reset
    assert [rig.connect("h5", port) for port in PORTS] == ["h3", "h4"] * 2


def test_the_same_configuration_spelt_otherwise_is_the_same(mode: str) -> None:
    rig = Rig(services=[Service(ip="fd00::1:1")], mode=mode)
    servers = connect_all(rig)
    rig.services = [Service(ip="FD00:0::1:1", last_port=80)]
    rig.restart_controller()
    go_on(rig, servers)


def without_hosts(rig: Rig) -> set[tuple[object, ...]]:
    """The rules but for what was learned of hosts."""
    learned = {rule.said() for kind in (Cookie.SOURCE, Cookie.DESTINATION) for rule in rig.switch.of_kind(kind)}
    return rig.switch.state() - learned


def test_another_mode_takes_nothing_over(rig: Rig, mode: str) -> None:
    connect_all(rig)
    rig.mode = next(other for other in CONTROLLER_CHOOSES if other != mode)
    rig.restart_controller()
    assert rig.data("h3", 40000).reset
    assert without_hosts(rig) == without_hosts(Rig(speaks=rig.speaks, mode=rig.mode))
    rig.mode = mode
    rig.restart_controller()
    assert rig.data("h3", 40000).reset
    assert [rig.connect("h4", port) for port in PORTS] == ["h1", "h2"] * 2


def test_rules_of_a_server_that_is_in_no_pool_any_more_go(rig: Rig) -> None:
    rig.obey(rig.balancer.pool.add("service0", ServerSettings(name="h5", ip="10.0.0.5")))
    rig.advance(1.5)
    servers = connect_all(rig)
    assert "h5" in servers
    rig.restart_controller()  # whose settings don't name it
    assert {cookie_member(r.cookie) for r in rig.switch.rules() if r.cookie & COOKIE_KEPT} == {1, 2}
    assert rig.hosts["h5"].ip not in {value for rule in rig.switch.rules() for _, value, _ in rule.match}
    for port, server in zip(PORTS, servers):
        later = rig.data("h3", port)
        assert later.reset if server == "h5" else later.server == server


@pytest.mark.parametrize("table", [0, 1, 2, 4])
def test_foreign_rules_go(rig: Rig, table: int) -> None:
    servers = connect_all(rig)
    clean = rig.switch.state()
    for cookie in (0, 0xBAD):
        rig.switch.do(AddRule(table=table, priority=999 + cookie, match={}, actions=(), cookie=cookie))
    rig.restart_controller()
    assert not [rule for rule in rig.switch.rules() if rule.cookie in (0, 0xBAD)]
    go_on(rig, servers)
    rig.ping("h3", "h4")
    assert {row for row in clean if row in rig.switch.state()} == clean


def test_what_an_heir_sends_may_be_sent_twice(rig: Rig) -> None:
    servers = connect_all(rig)
    before = len(rig.commands)
    rig.restart_controller()
    once = rig.switch.state()
    for command in rig.commands[before:]:
        if isinstance(command, (AddRule, DeleteRules)):
            rig.switch.do(command)
    rig.switch.messages.clear()
    rig.connect_switch()
    rig.advance(RESUME_S)  # what stands for this long only is gone
    rig.ping("h1", "h2")
    assert without_hosts(rig) == {row for row in once if row in without_hosts(rig)}
    go_on(rig, servers)


def test_only_the_first_answer_of_a_switch_is_of_another_life(rig: Rig) -> None:
    for wiped in (False, True):
        before = len(rig.commands)
        rig.connect_switch(wiped)
        swept = [c for c in rig.commands[before:] if isinstance(c, DeleteRules) and c.cookie_mask == COOKIE_KEPT]
        assert swept == []


# the first moments, in which nothing is known of the servers


def starting(make_rig: MakeRig) -> Rig:
    """A lab whose servers don't answer yet."""
    rig = make_rig(started=False)
    for name in ("h1", "h2"):
        rig.hosts[name].mute = True
    rig.connect_switch()
    return rig


def test_syn_that_comes_before_the_first_answer_waits_for_it(make_rig: MakeRig) -> None:
    rig = starting(make_rig)
    early = rig.syn("h3", 40000)
    assert (early.server, early.reset) == (None, False)
    rig.hosts["h2"].mute = False
    before = len(rig.delivered)
    rig.advance(1.2)
    assert [d.host for d in rig.delivered[before:] if d.taken and "tcp_src" in d.fields] == ["h2"]
    assert rig.data("h3", 40000).server == "h2"
    assert not resets(rig, 0)


def test_syn_that_waits_is_refused_when_all_servers_turn_out_to_be_down(make_rig: MakeRig) -> None:
    rig = starting(make_rig)
    assert not rig.syn("h3", 40000).reset
    rig.advance(3)
    assert [frames.fields(frame)["tcp_dst"] for frame in resets(rig, 0)] == [40000]
    assert rig.has_drops() == {"no_server": 1}
    assert rig.syn("h3", 40001).reset


def test_many_that_wait_are_served_in_turn(make_rig: MakeRig) -> None:
    rig = starting(make_rig)
    for port in PORTS:
        rig.syn("h3", port)
    for name in ("h1", "h2"):
        rig.hosts[name].mute = False
    rig.advance(1.2)
    assert len({rig.data("h3", port).server for port in PORTS}) >= 1
    assert not resets(rig, 0)
    assert sum(member.hits for member in rig.balancer.services[0].members) == len(PORTS)


def test_no_more_than_a_bound_wait(make_rig: MakeRig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lab.balancer.balancer.WAITING_BOUND", 3)
    rig = starting(make_rig)
    for n in range(10):
        rig.syn("h3", 40000 + n)
    rig.advance(3)
    assert [frames.fields(frame)["tcp_dst"] for frame in resets(rig, 0)] == [40007, 40008, 40009]


def test_mac_that_was_adopted_is_asked_for_before_a_check_goes_straight_to_it(make_rig: MakeRig, mode: str) -> None:
    """Else nobody has pinned it, and whoever uses it at another port is taken for the server that has moved."""
    rig = make_rig(health=HealthSettings(kind=CheckKind.TCP), mode=mode)
    h1 = rig.hosts["h1"]
    h1.mute = True
    rig.restart_controller()
    h1.mute = False
    rig.link_up("h1")
    assert rig.up() == ["h1", "h2"]
    rig.arrive(4, frames.echo((h1.mac, rig.hosts["h5"].mac), (h1.ip, rig.hosts["h5"].ip)))
    assert rig.balancer._switch.port_of(h1.mac) == h1.port
