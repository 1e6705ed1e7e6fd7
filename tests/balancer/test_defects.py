"""The defects of POX's own `misc.ip_loadbalancer` (at 20d2918) and `forwarding.l2_learning` that ours must not have.

One test each, by the number they have in the project's list of them; what the original does is in the test's docstring.
"""

from __future__ import annotations

import itertools

import pytest
from helpers import frames
from helpers.frames import ACK, SYN
from helpers.rig import SERVICE, MakeRig, Net, Rig, Service

from lab.balancer.balancer import ServerSettings, ServiceSettings, Settings
from lab.balancer.learning import LearningSwitch
from lab.balancer.rules import Cookie, FinTimeout


def settings(ip: str = SERVICE, servers: tuple[str, ...] = ("10.0.0.1", "10.0.0.2")) -> Settings:
    pool = [ServerSettings(name=server, ip=server) for server in servers]
    return Settings(services=[ServiceSettings(name="web", ip=ip, servers=pool)])


def test_d1_turns_are_exact(rig: Rig) -> None:
    """Its "round robin" is a random choice."""
    assert [rig.syn("h3", 40000 + n).server for n in range(20)] == ["h1", "h2"] * 10


def test_d3_cut_link_costs_no_request(rig: Rig) -> None:
    """Every second request fails until probes have noticed."""
    rig.link_down("h2")
    assert [rig.connect("h3", 40000 + n) for n in range(4)] == ["h1"] * 4


def test_d4_all_servers_are_up_at_once_at_start(make_rig: MakeRig) -> None:
    """One server is probed per tick, so the last is up seconds after the first."""
    rig = make_rig(services=[Service(servers=["h1", "h2", "h3", "h4"])], host_count=6)
    assert rig.now == 100.0
    assert rig.up() == ["h1", "h2", "h3", "h4"]


def test_d5_packet_of_a_server_just_marked_down_is_no_exception(rig: Rig) -> None:
    """KeyError, and the packet is lost."""
    call = rig.syn("h3", 40001)
    rig.hosts["h1"].mute = True
    rig.advance(3)
    assert rig.up() == ["h2"]
    rig.hosts["h1"].mute = False
    rig.answer("h3", call, SYN | ACK)


def test_d6_tcp_over_ipv6_is_switched(rig: Rig) -> None:
    """AttributeError."""
    segment = bytes.fromhex("9c400050") + bytes(8) + bytes.fromhex("5002faf000000000")
    packet = bytes.fromhex("6000000000140640fe80") + bytes(13) + b"\x01\xfe\x80" + bytes(13) + b"\x02" + segment
    (source, target), _ = rig.between("h3", "h1")
    assert rig.reaches("h1", frames.ethernet(target, source, frames.IPV6, packet), "h3")


def test_d7_no_servers_is_refused_before_anything_starts() -> None:
    """IndexError when the switch connects, and the controller stays, useless."""
    with pytest.raises(ValueError, match="has no servers"):
        settings(servers=())


@pytest.mark.parametrize("kind", [3, 11])
def test_d8_icmp_errors_are_switched_and_break_nothing(rig: Rig, kind: int) -> None:
    """AttributeError in its parser."""
    macs, ips = rig.between("h3", "h4")
    assert rig.reaches("h4", frames.echo(macs, ips, kind, bytes(28)), "h3")
    host = rig.hosts["h3"]
    to_service = frames.echo((host.mac, rig.service_mac()), (host.ip, frames.ip(SERVICE)), kind, bytes(28))
    assert rig.send("h3", to_service) == []
    assert rig.connect("h3") == "h1"


def spoofed(rig: Rig, thief: str, server: str) -> bytes:
    """An ARP answer to the service: the server's address is at the thief's MAC."""
    mac, service = rig.hosts[thief].mac, (rig.service_mac(), frames.ip(SERVICE))
    return frames.arp(2, mac, service[0], (mac, rig.hosts[server].ip), service)


@pytest.mark.parametrize("slow", [True, False], ids=["before the server's", "unasked"])
def test_d9_arp_answer_in_a_servers_name_steals_nothing(rig: Rig, slow: bool) -> None:
    """The answer's MAC and port are taken for the server's, whoever sends it."""
    rig.hosts["h1"].mute = slow
    rig.advance(1.1)
    rig.send("h6", spoofed(rig, "h6", "h1"))
    rig.hosts["h1"].mute = False
    assert rig.has_drops() == {"spoof": 1}
    assert "02:00:0a:00:00:06 at port 6 speaks in its name" in rig.notes[-1].text
    assert rig.notes[-1].warning
    assert rig.connect("h3") == "h1"


def test_d9_lies_are_counted_each_and_warned_of_once_an_interval(rig: Rig) -> None:
    before = len(rig.notes)
    for _ in range(20):
        rig.send("h6", spoofed(rig, "h6", "h1"))
        rig.advance(0.1)
    assert rig.has_drops() == {"spoof": 20}
    assert len(rig.notes) - before == 2
    assert rig.up() == ["h1", "h2"]


def test_d9_servers_mac_at_another_port_steals_nothing_while_it_answers_at_its_own(rig: Rig) -> None:
    h1 = rig.hosts["h1"]
    stolen = frames.echo((h1.mac, rig.hosts["h4"].mac), (h1.ip, rig.hosts["h4"].ip))
    for _ in range(30):
        rig.arrive(6, stolen)
        rig.advance(0.1)
        assert rig.switch.receive(3, frames.echo((rig.hosts["h3"].mac, h1.mac), (1, h1.ip)))[0][0] == h1.port
    assert rig.connect("h3") == "h1"
    assert [note.text for note in rig.notes if "at another port" in note.text]
    assert rig.has_drops()["spoof"] == 30


def test_d9_replaced_server_is_believed_once_the_old_one_is_down(rig: Rig) -> None:
    rig.hosts["h1"].mute = True
    rig.hosts["h5"].ip = rig.hosts["h1"].ip
    rig.advance(1.9)  # one probe missed
    assert "h1" in rig.up()
    rig.advance(0.8)
    assert "h1" not in rig.up()
    rig.advance(0.5)
    assert rig.up() == ["h1", "h2"]
    first, second = (rig.syn("h3", 40001 + n).fields["eth_dst"] for n in range(2))
    assert rig.hosts["h5"].mac in (first, second)


def test_d10_nobody_else_speaks_for_the_services_address(rig: Rig) -> None:
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


def test_d14_service_address_of_a_server_is_refused() -> None:
    """It is accepted, and that server is never up."""
    with pytest.raises(ValueError, match=r"10\.0\.0\.2 is both"):
        settings(ip="10.0.0.2")


def test_d15_d16_services_mac_is_not_made_from_the_switchs_number(rig: Rig) -> None:
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


def test_d20_one_rule_per_connection_that_leaves_with_it(rig: Rig) -> None:
    """Two exact rules per connection, kept 10 s after its end."""
    rig.connect("h3", 40000)
    before = len(rig.switch.rules())
    for n in range(1, 11):
        rig.connect("h3", 40000 + n)
        rig.close("h3", 40000 + n)
    assert len(rig.switch.rules()) == before + 10
    assert all(any(isinstance(a, FinTimeout) for a in r.actions) for r in rig.switch.of_kind(Cookie.CONNECTION))
    rig.advance(1.5)
    assert len(rig.switch.rules()) == before


def test_d21_one_packet_in_per_connection(rig: Rig) -> None:
    """Six or seven, and a flow-mod each."""
    rig.connect("h3", 40000)
    packet_ins, flow_mods = rig.packet_ins, rig.switch.flow_mods
    for n in range(1, 11):
        rig.connect("h3", 40000 + n)
        rig.close("h3", 40000 + n)
    assert (rig.packet_ins - packet_ins, rig.switch.flow_mods - flow_mods) == (10, 10)


def test_d23_dead_servers_rules_leave_and_its_clients_are_told(rig: Rig) -> None:
    """Its rules stay, kept fresh by retransmissions: downloads hang."""
    rig.connect("h3", 40000)
    rig.hosts["h1"].mute = True
    for _ in range(12):
        rig.advance(0.25)
        outcome = rig.data("h3", 40000)  # a client that goes on trying
    assert rig.connection_rules() == 0
    assert outcome.reset


def test_d24_later_packet_never_gets_another_server(rig: Rig) -> None:
    """In mid-stream, the next server is chosen for a connection whose own one is gone."""
    rig.connect("h3", 40000)
    rig.link_down("h1")
    outcomes = [rig.data("h3", 40000) for _ in range(3)]
    assert [(o.server, o.reset) for o in outcomes] == [(None, True)] * 3
    assert sum(m.hits for m in rig.balancer.services[0].members) == 1


def test_d25_same_port_again_is_a_new_connection(rig: Rig) -> None:
    """Addresses and ports are remembered for 300 s: eight connections from one port, one choice."""
    served = []
    for n in range(8):
        served.append(rig.connect("h3", 40000, seq=1000 * n))
        rig.close("h3", 40000)
    assert served == ["h1", "h2"] * 4


def test_d27_table_is_bounded_whatever_the_flood(make_rig: MakeRig) -> None:
    """No bound."""
    rig = make_rig(bound=50)
    for n in range(300):
        rig.syn("h3", 10000 + n)
    assert rig.remembered() == 50


def test_d31_host_that_moves_takes_its_connections_along(rig: Rig) -> None:
    """Busy rules keep the old port."""
    rig.connect("h3", 40000)
    for mover, port in (("h1", 7), ("h3", 8)):
        rig.hosts[mover].port = port
        rig.ping(mover, "h5")  # its first frame
        rig.advance(1.5)  # a server's old port is asked first
        call = rig.data("h3", 40000)
        assert call.server == "h1"
        rig.answer("h3", call)


def test_d32_tagged_frames_are_switched_as_they_are_and_counted(rig: Rig) -> None:
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
