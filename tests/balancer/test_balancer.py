"""The balancer around its mode: ARP, health on the wire, other traffic, settings, reconnection."""

from __future__ import annotations

import random
from typing import Any

import pytest
from helpers import frames
from helpers.frames import ACK, RST, SYN
from helpers.rig import SERVICE, MakeRig, Rig, Service

from lab.balancer.balancer import Balancer, ServerSettings, ServiceSettings, Settings
from lab.balancer.health import HealthSettings
from lab.balancer.modes import CONTROLLER_CHOOSES
from lab.balancer.modes.tracked import RESUME_S
from lab.balancer.rules import AddRule, SendPacket


@pytest.fixture(params=CONTROLLER_CHOOSES)
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


# ARP and ping for the service


def test_service_address_has_a_mac_of_its_own(rig: Rig) -> None:
    mac = rig.who_has("h3", frames.ip(SERVICE))
    assert mac == rig.service_mac()
    assert mac not in {host.mac for host in rig.hosts.values()}


def test_question_for_the_service_does_not_disturb_the_hosts(rig: Rig) -> None:
    host = rig.hosts["h3"]
    question = frames.arp(1, host.mac, frames.BROADCAST, (host.mac, host.ip), (0, frames.ip(SERVICE)))
    assert [d.host for d in rig.send("h3", question)] == ["h3"]


def test_hosts_find_each_other(rig: Rig) -> None:
    assert rig.who_has("h3", rig.hosts["h5"].ip) == rig.hosts["h5"].mac
    assert rig.who_has("h3", frames.ip("10.0.0.99")) is None


def test_service_answers_ping(rig: Rig) -> None:
    host = rig.hosts["h3"]
    macs, ips = (host.mac, rig.service_mac()), (host.ip, frames.ip(SERVICE))
    (answer,) = rig.send("h3", frames.echo(macs, ips, data=b"odd"))
    got = answer.fields
    assert (answer.host, got["eth_src"], got["ip_src"], got["ip_dst"]) == ("h3", macs[1], ips[1], host.ip)
    assert answer.frame[34] == 0
    assert answer.frame[38:] == frames.echo(macs, ips, data=b"odd")[38:]


def test_other_port_of_the_service_is_closed(rig: Rig) -> None:
    host = rig.hosts["h3"]
    macs, ips = (host.mac, rig.service_mac()), (host.ip, frames.ip(SERVICE))
    (answer,) = rig.send("h3", frames.tcp(macs, ips, (40000, 81), SYN, seq=4))
    got = answer.fields
    assert (got["tcp_flags"], got["ack"], got["tcp_src"], got["ip_src"]) == (RST | ACK, 5, 81, ips[1])
    assert rig.send("h3", frames.tcp(macs, ips, (40000, 81), RST, seq=4)) == []
    assert rig.has_drops() == {"not_served": 2}


def test_fragment_and_udp_to_the_service_are_counted(rig: Rig) -> None:
    host = rig.hosts["h3"]
    macs, ips = (host.mac, rig.service_mac()), (host.ip, frames.ip(SERVICE))
    assert rig.send("h3", frames.ipv4(macs, ips, frames.TCP, bytes(40), fragment=0x2000)) == []
    assert rig.send("h3", frames.udp(macs, ips, (5, 80))) == []
    assert rig.has_drops() == {"fragment": 1, "not_served": 1}


@pytest.mark.parametrize(("damage", "drop"), [((17, 200), "truncated"), ((46, 0x10), "malformed")])
def test_damaged_packet_to_the_service_is_counted_and_ends_there(rig: Rig, damage: tuple[int, int], drop: str) -> None:
    frame = bytearray(rig.packet("h3", 40000, SYN))
    frame[damage[0]] = damage[1]
    assert rig.balancer.packet_in(3, bytes(frame), False, rig.now) == []
    assert rig.has_drops() == {drop: 1}


# health on the wire


def test_all_servers_are_probed_at_once_at_start(make_rig: MakeRig) -> None:
    rig = make_rig(services=[Service(servers=["h1", "h2", "h3", "h4"])])
    assert rig.probes() == [rig.hosts[f"h{n}"].ip for n in (1, 2, 3, 4)]
    assert rig.up() == ["h1", "h2", "h3", "h4"]


def test_each_server_is_probed_once_an_interval(make_rig: MakeRig) -> None:
    rig = make_rig(health=HealthSettings(interval=2.0, timeout=0.5))
    before = len(rig.commands)
    rig.advance(1.9)
    assert rig.probes(before) == []
    rig.advance(6.2)
    assert len(rig.probes(before)) == 2 * 4


def test_probe_is_a_question_of_the_service_that_all_ports_get(rig: Rig) -> None:
    probe = next(c for c in rig.commands if isinstance(c, SendPacket))
    got = frames.fields(probe.data)
    assert (got["eth_src"], got["arp_sha"], got["arp_spa"]) == (*[rig.service_mac()] * 2, frames.ip(SERVICE))
    assert len(rig.switch.do(probe)) == len(rig.switch.ports)


def test_answer_to_a_probe_stays_between_server_and_balancer(rig: Rig) -> None:
    before = len(rig.delivered)
    rig.advance(1.5)
    assert {d.fields["arp_op"] for d in rig.delivered[before:]} == {1}


@pytest.mark.parametrize(
    ("rise", "fall", "alive", "states"),
    [
        (1, 2, "+--++", "UUDUU"),
        (1, 2, "+-+-+", "UUUUU"),
        (2, 1, "++-++", "DUDDU"),
        (1, 3, "+---+", "UUUDU"),
    ],
)
def test_server_goes_down_after_fall_misses_and_up_after_rise_answers(
    make_rig: MakeRig, rise: int, fall: int, alive: str, states: str
) -> None:
    rig = make_rig(started=False, health=HealthSettings(rise=rise, fall=fall))
    seen = ""
    for letter in alive:
        rig.hosts["h2"].mute = letter == "-"
        if rig.connected:
            rig.advance(0.25)
        else:
            rig.connect_switch()
        rig.advance(0.75)
        seen += "U" if "h2" in rig.up() else "D"
    assert seen == states


def test_cut_link_is_down_at_once_and_up_at_once_when_mended(rig: Rig) -> None:
    rig.link_down("h2")
    assert rig.up() == ["h1"]
    rig.link_up("h2")
    assert rig.up() == ["h1", "h2"]


def test_cut_link_of_a_client_takes_no_server_down(rig: Rig) -> None:
    rig.connect("h3")
    rig.link_down("h3")
    assert rig.up() == ["h1", "h2"]
    assert rig.connect("h4") == "h2"


def test_what_happens_to_servers_is_noted(rig: Rig) -> None:
    rig.link_down("h2")
    rig.link_up("h2")
    said = [note.text for note in rig.notes]
    assert said[-2:] == [
        "service0: h2 (10.0.0.2) is down: its link is down",
        "service0: h2 (10.0.0.2) is up",
    ]
    assert [note.warning for note in rig.notes[-2:]] == [True, False]


def test_late_answer_of_a_probe_is_not_counted_as_one(rig: Rig) -> None:
    rig.hosts["h2"].mute = True
    rig.advance(3.8)
    assert rig.up() == ["h1"]
    rig.hosts["h2"].mute = False
    h2 = rig.hosts["h2"]
    late = frames.arp(2, h2.mac, rig.service_mac(), (h2.mac, h2.ip), (rig.service_mac(), frames.ip(SERVICE)))
    rig.send("h2", late)
    assert rig.up() == ["h1"]


def test_unasked_answer_is_counted(rig: Rig) -> None:
    h3 = rig.hosts["h3"]
    for target in (frames.ip(SERVICE), frames.ip("10.0.0.99")):  # the latter is switched like any host's
        rig.send("h3", frames.arp(2, h3.mac, rig.service_mac(), (h3.mac, h3.ip), (rig.service_mac(), target)))
    assert rig.has_drops() == {"unexpected_arp": 1}


def test_next_timer_is_when_the_next_probe_closes_or_is_due(rig: Rig) -> None:
    assert rig.balancer.next_timer() == pytest.approx(rig.now + 1.0)
    rig.hosts["h2"].mute = True
    rig.advance(1.0)
    assert rig.balancer.next_timer() == pytest.approx(rig.now + 0.5)


# all other traffic


def test_ping_reaches_all_from_all(rig: Rig) -> None:
    assert all(rig.ping(a, b) for a in rig.hosts for b in rig.hosts if a != b)


@pytest.mark.parametrize(("source", "target"), [("h3", "h4"), ("h3", "h1"), ("h1", "h3"), ("h1", "h2")])
def test_tcp_udp_and_ipv6_between_hosts_are_switched(rig: Rig, source: str, target: str) -> None:
    macs, ips = rig.between(source, target)
    for frame in (
        frames.tcp(macs, ips, (40000, 22), SYN),
        frames.tcp(macs, ips, (22, 40000), SYN | ACK),
        frames.udp(macs, ips, (40000, 80)),
        frames.udp(macs, ips, (80, 40000)),
        frames.ethernet(macs[1], macs[0], frames.IPV6, bytes(60)),
        frames.ipv4(macs, ips, frames.TCP, bytes(64), fragment=0x2000),
    ):
        assert rig.reaches(target, frame, source)


def test_port_eighty_of_a_host_that_is_no_server_is_switched(rig: Rig) -> None:
    macs, ips = rig.between("h3", "h4")
    assert rig.reaches("h4", frames.tcp(macs, ips, (40000, 80), SYN), "h3")
    assert rig.reaches("h3", frames.tcp(*rig.between("h4", "h3"), (80, 40000), SYN | ACK), "h4")


def test_all_keeps_working_while_no_server_is_up(rig: Rig) -> None:
    rig.hosts["h1"].mute = rig.hosts["h2"].mute = True
    rig.advance(4)
    assert rig.up() == []
    assert rig.ping("h3", "h4")
    assert rig.who_has("h3", frames.ip(SERVICE)) == rig.service_mac()


# connection and reconnection of the switch


def test_first_connection_removes_rules_from_another_life(make_rig: MakeRig) -> None:
    rig = make_rig(started=False)
    foreign = AddRule(table=0, priority=999, match={}, actions=(), cookie=0xBAD)
    rig.switch.do(foreign)
    rig.connect_switch()
    assert not [rule for rule in rig.switch.rules() if rule.cookie == 0xBAD]
    assert rig.connect("h3") == "h1"


def test_what_a_reconnection_sends_leaves_the_same_table(rig: Rig) -> None:
    rig.connect("h3")
    rig.direct("h3", "h1")
    before = rig.switch.state()
    for _ in range(2):
        rig.connect_switch()
        if rig.mode == "tracked":
            rig.advance(RESUME_S)  # what stands for this long only is gone
        assert rig.switch.state() == before


def test_each_batch_sent_twice_leaves_the_same_table(rig: Rig) -> None:
    for event in (
        lambda: rig.balancer.switch_up(rig.now),
        lambda: rig.balancer.packet_in(3, rig.packet("h3", 40000, SYN, 1), False, rig.now),
        lambda: rig.balancer.port_changed(2, False, rig.now),
    ):
        batch = event()
        for command in batch:
            rig.switch.do(command)
        once = rig.switch.state()
        for command in batch:
            rig.switch.do(command)
        assert rig.switch.state() == once


def test_server_that_died_while_the_switch_was_away_is_found_out(rig: Rig) -> None:
    rig.connect("h3", 40000)
    rig.hosts["h1"].mute = True
    rig.connected = False
    rig.connect_switch()
    rig.advance(2.6)
    assert rig.up() == ["h2"]
    assert rig.connect("h4") == "h2"


def test_reconnection_charges_no_miss(make_rig: MakeRig) -> None:
    rig = make_rig(health=HealthSettings(fall=1))
    rig.hosts["h2"].mute = True
    rig.advance(1.1)  # a probe is open
    rig.hosts["h2"].mute = False
    rig.connect_switch()
    rig.advance(1.0)
    assert rig.up() == ["h1", "h2"]


# settings


def settings(service: dict[str, Any] | None = None, **wishes: Any) -> Settings:
    servers = [ServerSettings(name="h1", ip="10.0.0.1"), ServerSettings(name="h2", ip="10.0.0.2")]
    web = {"name": "web", "ip": SERVICE, "servers": servers, **(service or {})}
    return Settings(**{"services": [ServiceSettings(**web)], **wishes})


def servers(*ips: str, weight: int = 1) -> list[ServerSettings]:
    return [ServerSettings(name=ip, ip=ip, weight=weight) for ip in ips]


@pytest.mark.parametrize(
    ("service", "sentence"),
    [
        ({"servers": []}, "has no servers"),
        ({"ip": "10.0.0.2"}, "both a service's address and a server's"),
        ({"servers": servers("10.0.0.1", "10.0.0.1")}, "names a server twice"),
        ({"ip": "fd00::1:1", "servers": servers("fd00::1", "FD00:0::1")}, "names a server twice"),
        ({"ip": "FD00::1", "servers": servers("fd00::1")}, "fd00::1 is both a service's address and a server's"),
        ({"servers": servers("10.0.0.1", weight=0)}, "weight must be 1 or more"),
        ({"servers": servers("10.0.0.300")}, "10.0.0.300"),
        ({"ip": "web"}, "web"),
        ({"port": 0}, "port 0"),
        ({"port": 65536}, "port 65536"),
        ({"policy": "best"}, "unknown policy 'best'; known: connection_hash, least_connections"),
        ({"servers": servers(*(f"10.1.{n // 250}.{n % 250}" for n in range(4096)))}, "more than 4095"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_service_without_sense_is_refused(service: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        settings(service)


@pytest.mark.parametrize(
    ("wishes", "sentence"),
    [
        ({"services": []}, "no service"),
        ({"mode": "magic"}, "unknown mode 'magic'; known: proactive, reactive"),
        ({"idle_timeout": 0}, "idle time-out"),
        ({"idle_timeout": 65536}, "idle time-out"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_settings_without_sense_are_refused(wishes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        settings(**wishes)


def test_two_services_of_one_address_and_port_are_refused() -> None:
    web = ServiceSettings(name="web", ip=SERVICE, servers=servers("10.0.0.1"))
    with pytest.raises(ValueError, match="same address and port"):
        settings(services=[web, ServiceSettings(name="api", ip=SERVICE, servers=servers("10.0.0.2"))])


def test_one_address_is_the_same_however_it_is_spelt() -> None:
    web = ServiceSettings(name="web", ip="fd00::1:1", servers=servers("fd00::1"))
    with pytest.raises(ValueError, match="same address and port"):
        settings(services=[web, ServiceSettings(name="api", ip="FD00:0::1:1", servers=servers("fd00::2"))])
    with pytest.raises(ValueError, match="can't be told apart"):
        settings(services=[web, ServiceSettings(name="api", ip="fd00::1:2", servers=servers("FD00:0::1"))])


def test_one_server_port_in_two_services_is_refused() -> None:
    web = ServiceSettings(name="web", ip=SERVICE, servers=servers("10.0.0.1"))
    with pytest.raises(ValueError, match=r"10\.0\.0\.1"):
        settings(services=[web, ServiceSettings(name="api", ip="10.0.1.2", servers=servers("10.0.0.1"))])


def test_decisions_are_noted_when_asked_for() -> None:
    balancer = Balancer(settings(detail=True), random.Random(1))
    rig = Rig()
    rig.brain = rig.balancer = balancer
    rig.connect_switch()
    rig.connect("h3", 40001)
    rig.call("h4", 40002, ACK)
    said = [note.text for note in rig.notes if note.detail]
    assert said == ["web: 10.0.0.3:40001 -> h1", "web: 10.0.0.4:40002 refused"]
