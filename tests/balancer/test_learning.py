"""The learning switch, as it runs on every switch: hosts are found, followed, forgotten; nothing storms."""

from __future__ import annotations

import pytest
from helpers import frames
from helpers.model_switch import VERSIONS
from helpers.net import Net

from lab.balancer import learning
from lab.balancer.learning import LearningSwitch
from lab.balancer.rules import Cookie, Table


@pytest.fixture(params=sorted(VERSIONS))
def net(request: pytest.FixtureRequest) -> Net:
    """Four hosts on a learning switch."""
    made = Net(LearningSwitch(), hosts=4, speaks=request.param)
    made.connect_switch()
    return made


def test_all_hosts_reach_each_other(net: Net) -> None:
    assert all(net.ping(a, b) for a in net.hosts for b in net.hosts if a != b)


def test_first_frame_is_flooded_at_once_and_the_answer_goes_one_way(net: Net) -> None:
    macs, ips = net.between("h1", "h2")
    assert sorted(d.host for d in net.send("h1", frames.udp(macs, ips, (1, 2)))) == ["h2", "h3", "h4"]
    back = net.between("h2", "h1")
    assert [d.host for d in net.send("h2", frames.udp(*back, (2, 1)))] == ["h1"]


def test_known_hosts_cost_the_controller_nothing(net: Net) -> None:
    net.ping("h1", "h2")
    before = net.packet_ins
    assert all(net.ping("h1", "h2") for _ in range(5))
    assert net.packet_ins == before == 2


def test_controller_is_shown_no_more_of_a_frame_than_it_needs(net: Net) -> None:
    macs, ips = net.between("h1", "h2")
    net.connected = False  # what the switch has to tell stays with it
    net.send("h1", frames.udp(macs, ips, (1, 2), bytes(1000)))
    (message,) = net.switch.messages
    assert len(message.data) <= 80  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", [frames.IPV6, frames.VLAN, 0x88CC])
def test_whatever_the_protocol_it_is_switched(net: Net, kind: int) -> None:
    (source, target), _ = net.between("h1", "h2")
    assert net.reaches("h2", frames.ethernet(target, source, kind, bytes(50)), "h1")


@pytest.mark.parametrize("mac", ["01:80:c2:00:00:00", "01:80:c2:00:00:0e"])
def test_link_local_frames_are_not_forwarded(net: Net, mac: str) -> None:
    assert net.send("h1", frames.ethernet(frames.mac(mac), net.hosts["h1"].mac, 0x88CC, bytes(50))) == []


def test_broadcast_and_multicast_go_to_all(net: Net) -> None:
    for target in (frames.BROADCAST, frames.mac("33:33:00:00:00:01")):
        sent = net.send("h1", frames.ethernet(target, net.hosts["h1"].mac, frames.IPV6, bytes(50)))
        assert sorted(d.host for d in sent) == ["h2", "h3", "h4"]


def test_group_address_as_a_source_is_dropped_and_not_learned(net: Net) -> None:
    bad = frames.ethernet(net.hosts["h2"].mac, frames.mac("03:00:00:00:00:01"), frames.IPV6, bytes(50))
    assert net.send("h1", bad) == []
    assert net.switch.of_kind(Cookie.SOURCE) == []


def test_host_that_moved_is_found_by_its_first_frame(net: Net) -> None:
    net.ping("h1", "h2")
    net.hosts["h2"].port = 5
    macs, ips = net.between("h2", "h1")
    net.send("h2", frames.udp(macs, ips, (1, 2)))
    assert net.ping("h1", "h2")
    assert len(net.switch.of_kind(Cookie.SOURCE)) == len(net.switch.of_kind(Cookie.DESTINATION)) == 2


def test_silent_host_is_forgotten_and_flooded_to_again(net: Net) -> None:
    net.ping("h1", "h2")
    net.advance(learning.AGE_S + 1, step=10)
    assert net.switch.of_kind(Cookie.SOURCE) == net.switch.of_kind(Cookie.DESTINATION) == []
    assert net.ping("h1", "h2")


def test_host_that_speaks_is_not_forgotten(net: Net) -> None:
    net.ping("h1", "h2")
    before = net.packet_ins
    for _ in range(4):
        net.advance(learning.AGE_S / 2, step=10)
        assert net.ping("h1", "h2")
    assert net.packet_ins == before


def test_hosts_behind_a_cut_link_are_forgotten_at_once(net: Net) -> None:
    net.ping("h1", "h2")
    net.link_down("h2")
    assert len(net.switch.of_kind(Cookie.SOURCE)) == 1
    net.link_up("h2")
    assert net.ping("h1", "h2")


def test_rules_sent_twice_leave_the_same_table(net: Net) -> None:
    net.ping("h1", "h2")
    before = net.switch.state()
    net.connect_switch()
    assert net.switch.state() == before


def test_switch_that_lost_its_rules_gets_them_back(net: Net) -> None:
    net.ping("h1", "h2")
    before = net.switch.state()
    net.connect_switch(wiped=True)
    assert net.switch.state() == before


def test_all_rules_are_the_three_tables_and_none_of_the_services(net: Net) -> None:
    net.ping("h1", "h2")
    assert {rule.table for rule in net.switch.rules()} == {Table.SOURCE, Table.SERVICE, Table.DESTINATION}
    assert [rule.priority for rule in net.switch.rules(Table.SERVICE)] == [0]


def test_full_table_of_hosts_floods_and_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learning, "BOUND", 3)
    brain = LearningSwitch()
    net = Net(brain, hosts=5)
    net.connect_switch()
    assert all(net.ping(a, b) for a in net.hosts for b in net.hosts if a != b)
    assert len(net.switch.of_kind(Cookie.DESTINATION)) == 3
    assert brain.drops["macs_full"] > 0  # type: ignore[index]  Drop is a str


def test_frame_too_short_for_a_header_is_counted() -> None:
    brain = LearningSwitch()
    assert brain.packet_in(1, bytes(13), True, 0.0) == []
    assert sum(brain.drops.values()) == 1


def test_nobody_else_may_send_from_the_balancers_own_mac() -> None:
    own = 0x02010A000101
    net = Net(LearningSwitch([own]), hosts=3)
    net.connect_switch()
    assert net.send("h1", frames.ethernet(net.hosts["h2"].mac, own, frames.IPV6, bytes(50))) == []
    assert net.switch.of_kind(Cookie.DESTINATION) == []
