"""What stock POX does wrong, and ours must not: all traffic that is no connection of the service.

Named by the number in docs/defects.md; a test's docstring says what POX's component (at 20d2918) does instead.
"""

from __future__ import annotations

import itertools

import pytest
from helpers import frames
from helpers.frames import SYN
from helpers.net import Net
from helpers.rig import SERVICE, MakeRig, Rig

from lab.balancer.learning import LearningSwitch
from lab.balancer.rules import Cookie


def test_d06_tcp_over_ipv6_is_switched(rig: Rig) -> None:
    """AttributeError."""
    macs, _ = rig.between("h3", "h1")
    link_local = frames.ip("fe80::3"), frames.ip("fe80::1")
    assert rig.reaches("h1", frames.tcp(macs, link_local, (40000, 80), SYN), "h3")


@pytest.mark.parametrize("kind", [3, 11])
def test_d08_icmp_errors_are_switched(rig: Rig, kind: int) -> None:
    """AttributeError in its parser."""
    macs, ips = rig.between("h3", "h4")
    assert rig.reaches("h4", frames.echo(macs, ips, kind, bytes(28)), "h3")
    host = rig.hosts["h3"]
    to_service = frames.echo((host.mac, rig.service_mac()), (host.ip, frames.ip(SERVICE)), kind, bytes(28))
    assert rig.send("h3", to_service) == []
    assert rig.connect("h3") == "h1"


def test_d10_nobody_else_speaks_for_the_service(rig: Rig) -> None:
    """Whoever claims an address is believed and spread."""
    thief = rig.hosts["h6"]
    claim = frames.arp(2, thief.mac, frames.BROADCAST, (thief.mac, frames.ip(SERVICE)), (0, frames.ip(SERVICE)))
    assert rig.send("h6", claim) == []
    assert rig.has_drops() == {"spoof": 1}  # of the first word of an unknown host, the controller gets a copy
    assert rig.send("h6", claim) == []
    assert rig.who_has("h3", frames.ip(SERVICE)) == rig.service_mac()


def test_d11_ping_udp_and_ipv6_are_switched(rig: Rig) -> None:
    """All but ARP and TCP is dropped."""
    assert all(rig.ping(a, b) for a, b in itertools.permutations(rig.hosts, 2))
    macs, ips = rig.between("h3", "h1")
    assert rig.reaches("h1", frames.udp(macs, ips, (53, 53)), "h3")
    assert rig.reaches("h1", frames.ethernet(macs[1], macs[0], frames.IPV6, bytes(40)), "h3")


def test_d12_tcp_between_hosts_is_switched(rig: Rig) -> None:
    """TCP that is neither to the service nor from a server hangs."""
    assert rig.direct("h3", "h4", 40000, server_port=22)
    assert rig.direct("h3", "h4", 40001, server_port=80)


def test_d13_a_server_can_be_a_client(rig: Rig) -> None:
    """Its packets are taken for answers, and dropped."""
    assert [rig.connect("h1", 40000 + n) for n in range(4)] == ["h1", "h2"] * 2
    assert rig.direct("h1", "h3", 41000, server_port=22)


def test_d15_d16_services_mac_is_its_own(rig: Rig) -> None:
    """The service's MAC is the dpid: the bridge's own MAC, and with `--mac` that of host number dpid."""
    mac = rig.who_has("h3", frames.ip(SERVICE))
    assert mac == rig.service_mac()
    assert mac not in range(1 << 32)  # small dpids, and what `--mac` gives
    assert mac >> 40 & 3 == 2  # locally administered, so no card's and no bridge's


def test_d18_servers_and_clients_may_hang_on_other_switches(make_rig: MakeRig) -> None:
    """Other switches get an ARP rule and no service: three in a row answer nothing."""
    rig = make_rig(started=False)
    left, right = Net(LearningSwitch(), hosts=6), Net(LearningSwitch(), hosts=6)
    for side, port in ((left, 7), (right, 8)):
        rig.links[port] = (side, 7)
        side.links[7] = (rig, port)
        side.hosts = {}
        side.connect_switch()
    for name in ("h1", "h4"):
        left.hosts[name] = rig.hosts.pop(name)
    for name in ("h2", "h3"):
        right.hosts[name] = rig.hosts.pop(name)
    rig.connect_switch()
    assert rig.up() == ["h1", "h2"]
    for client, switch, server in (("h3", right, "h1"), ("h4", left, "h2"), ("h5", rig, "h1"), ("h6", rig, "h2")):
        host = switch.hosts[client]
        macs, ips = (host.mac, rig.service_mac()), (host.ip, frames.ip(SERVICE))
        before = [len(net.delivered) for net in (left, rig, right)]
        switch.arrive(host.port, frames.tcp(macs, ips, (40000, 80), SYN, 1))
        came = [d for net, n in zip((left, rig, right), before) for d in net.delivered[n:] if d.taken]
        assert [(d.host, d.fields["ip_dst"]) for d in came] == [(server, frames.ip(f"10.0.0.{server[1]}"))]


def test_d31_host_that_moves_keeps_its_connections(rig: Rig) -> None:
    """Busy rules keep the old port."""
    rig.connect("h3", 40000)
    for mover, port in (("h1", 7), ("h3", 8)):
        rig.hosts[mover].port = port
        rig.ping(mover, "h5")  # its first frame
        rig.advance(1.5)  # a server's old port is asked first
        call = rig.data("h3", 40000)
        assert call.server == "h1"
        rig.answer("h3", call)


def test_d32_tagged_frames_are_switched_and_counted(rig: Rig) -> None:
    """Probes and answers carry no tag, and tagged ones are taken for untagged."""
    macs, ips = rig.between("h3", "h1")
    assert rig.reaches("h1", frames.tagged(frames.tcp(macs, ips, (40000, 80), SYN)), "h3")
    assert rig.reaches("h1", frames.tagged(frames.tcp(macs, ips, (40000, 80), SYN)), "h3")
    assert rig.has_drops() == {}
    to_service = frames.tagged(rig.packet("h3", 40000, SYN))
    sent = rig.send("h3", to_service)
    assert {d.frame for d in sent} == {to_service}  # to a MAC that no host has: flooded, as any other
    assert rig.has_drops() == {"vlan": 1}
    host = rig.hosts["h3"]
    question = frames.arp(1, host.mac, frames.BROADCAST, (host.mac, host.ip), (0, frames.ip(SERVICE)))
    assert {d.frame for d in rig.send("h3", frames.tagged(question))} == {frames.tagged(question)}
    assert rig.has_drops() == {"vlan": 2}
    assert sum(m.hits for m in rig.balancer.services[0].members) == 0


def test_d33_only_the_services_own_port_is_balanced(rig: Rig) -> None:
    """Any TCP port is."""
    host = rig.hosts["h3"]
    macs, ips = (host.mac, rig.service_mac()), (host.ip, frames.ip(SERVICE))
    (answer,) = rig.send("h3", frames.tcp(macs, ips, (40000, 22), SYN))
    assert (answer.host, answer.fields["tcp_flags"] & frames.RST) == ("h3", frames.RST)
    assert sum(m.hits for m in rig.balancer.services[0].members) == 0


def test_d36_packet_to_its_own_port_poisons_no_other(rig: Rig) -> None:
    """A rule that drops packets "to their own port" has no in_port: ten seconds dead on all ports."""
    assert rig.ping("h3", "h4")
    own, elsewhere = rig.hosts["h4"], rig.hosts["h3"]
    turned = frames.udp((elsewhere.mac, own.mac), (elsewhere.ip, own.ip), (1, 2))
    assert rig.send("h4", turned) == []  # h3's frame, seen again at h4's port
    rig.ping("h3", "h5")
    assert rig.ping("h3", "h4")
    assert rig.ping("h5", "h4")


def test_d37_hosts_are_rules_of_their_own_and_age(rig: Rig) -> None:
    """A rule per flow, and MACs never age."""
    for a, b in itertools.permutations(["h3", "h4", "h5"], 2):
        assert rig.ping(a, b)
    known = [rig.switch.of_kind(kind) for kind in (Cookie.SOURCE, Cookie.DESTINATION)]
    assert [len(rules) for rules in known] == [5, 5]  # with the two servers
    rig.advance(310, step=5)
    assert len(rig.switch.of_kind(Cookie.DESTINATION)) == 2  # the servers answer probes


def test_d38_fragments_to_the_service_are_counted(rig: Rig) -> None:
    """They are dropped without a word."""
    host = rig.hosts["h3"]
    macs, ips = (host.mac, rig.service_mac()), (host.ip, frames.ip(SERVICE))
    rig.send("h3", frames.ipv4(macs, ips, frames.TCP, bytes(40), fragment=0x2000))
    assert rig.has_drops() == {"fragment": 1}
