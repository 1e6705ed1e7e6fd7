"""Services of an IPv6 address, in every mode: the same promises, by neighbour discovery in the place of ARP."""

from __future__ import annotations

import pytest
from helpers import frames
from helpers.frames import ACK, FIN, RST, SYN
from helpers.model_switch import VERSIONS
from helpers.rig import MakeRig, Rig, Service

from lab.balancer.health import CheckKind, HealthSettings
from lab.balancer.modes import CONTROLLER_CHOOSES
from lab.balancer.operations import Conflict
from lab.balancer.rules import SendPacket
from lab.balancer.settings import ServerSettings, ServiceSettings, Settings

SERVICE = "fd00::1:1"
SERVICE_IP = frames.ip(SERVICE)


@pytest.fixture(params=CONTROLLER_CHOOSES)
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=sorted(set(VERSIONS) - {"1.0"}))  # which can't set an IPv6 address
def make_rig(request: pytest.FixtureRequest, mode: str) -> MakeRig:
    return lambda **wishes: Rig(**{"speaks": request.param, "mode": mode, "services": [Service(SERVICE)], **wishes})


def test_connections_go_both_ways_in_exact_turns(rig: Rig) -> None:
    assert [rig.connect(f"h{3 + n % 4}", 40000 + n) for n in range(8)] == ["h1", "h2"] * 4


def test_connection_keeps_its_server_and_ends(rig: Rig) -> None:
    first = rig.connect("h3", 40001)
    rig.connect("h4")
    assert rig.data("h3", 40001).server == first
    rig.close("h3", 40001)
    assert rig.connect("h3", 40001, seq=9) != first or len(rig.up()) == 2


def test_connections_outlive_switch_controller_and_pause(rig: Rig) -> None:
    served = {n: rig.connect("h3", 40000 + n) for n in range(4)}
    rig.connect_switch(wiped=True)
    assert {n: rig.data("h3", 40000 + n).server for n in served} == served
    rig.restart_controller()
    rig.advance(rig.idle_timeout * 2, step=0.25)
    assert {n: rig.data("h3", 40000 + n).server for n in served} == served


def test_connections_of_a_dead_server_are_reset_and_begin_anew(rig: Rig) -> None:
    rig.connect("h4")
    assert rig.connect("h3", 40001) == "h2"
    before = len(rig.delivered)
    rig.link_down("h2")
    nudges = [d.fields for d in rig.delivered[before:] if d.taken and d.host == "h3" and "tcp_src" in d.fields]
    assert [(n["src"], n["tcp_dst"]) for n in nudges] == [(SERVICE_IP, 40001)]
    assert rig.data("h3", 40001).reset
    assert rig.connect("h3", 40001, seq=2) == "h1"


def test_ends_are_counted(make_rig: MakeRig) -> None:
    rig = make_rig(services=[Service(SERVICE, policy="least_connections")])
    assert sorted(rig.connect("h3", 40000 + n) for n in range(2)) == ["h1", "h2"]
    call = rig.call("h3", 40000, FIN | ACK, 5)
    rig.answer("h3", call, FIN | ACK, data=b"")
    rig.advance(1.5)
    assert rig.member(call.server or "").live == 0


def test_datagrams_and_ranges_are_balanced_too(make_rig: MakeRig) -> None:
    rig = make_rig(services=[Service(SERVICE, protocol="udp", port=5300, last_port=5305)])
    assert [rig.ask("h3", 40000, to_port=port) for port in range(5300, 5306)] == ["h1", "h2"] * 3
    assert rig.ask("h3", 40000, to_port=5301) == "h2"


def test_services_of_both_ip_versions_share_servers(make_rig: MakeRig) -> None:
    rig = make_rig(services=[Service(SERVICE), Service()])
    assert [rig.connect("h3", 40000), rig.connect("h3", 40000, service=1)] == ["h1", "h1"]
    assert [rig.connect("h3", 40001), rig.connect("h3", 40001, service=1)] == ["h2", "h2"]
    assert [rig.data("h3", 40000).server, rig.data("h3", 40000, service=1).server] == ["h1", "h1"]


def test_a_server_may_call_the_service_and_be_chosen_itself(rig: Rig) -> None:
    assert [rig.connect("h1", 40001), rig.connect("h1", 40002)] == ["h1", "h2"]


def test_direct_calls_and_ordinary_traffic_are_not_rewritten(rig: Rig) -> None:
    assert rig.direct("h3", "h1", version=6)
    assert rig.ping("h3", "h4", version=6)
    assert rig.ping("h3", "h4")
    assert rig.solicit("h3", rig.hosts["h5"].ip6) == rig.hosts["h5"].mac
    macs, ips = rig.between("h3", "h5", version=6)
    assert rig.reaches("h5", frames.udp(macs, ips, (5000, 53)), "h3")
    packet_ins = rig.packet_ins
    assert rig.reaches("h5", frames.tcp(macs, ips, (5000, 8080), SYN), "h3")
    assert rig.packet_ins == packet_ins


# the service's address


def test_solicitation_is_answered_in_the_services_name(rig: Rig) -> None:
    assert rig.solicit("h3", SERVICE_IP) == rig.service_mac()
    assert rig.service_mac() >> 32 == 0x0206
    answer = rig.delivered[-1].fields
    assert (answer["src"], answer["dst"], answer["nd_target"]) == (SERVICE_IP, rig.hosts["h3"].ip6, SERVICE_IP)
    assert int.from_bytes(rig.delivered[-1].frame[58:62], "big") == 0x60000000  # solicited, override; no router


def test_solicitation_by_unicast_is_answered_too(rig: Rig) -> None:
    host = rig.hosts["h3"]
    macs = (host.mac, rig.service_mac())
    question = frames.ndp(frames.SOLICITATION, macs, (host.ip6, SERVICE_IP), SERVICE_IP)
    (answer,) = [d for d in rig.send("h3", question) if d.taken]
    assert (answer.host, frames.ndp_mac(answer.frame)) == ("h3", rig.service_mac())


def test_host_that_wants_the_services_address_is_told_that_it_is_taken(rig: Rig) -> None:
    host = rig.hosts["h3"]
    macs, group = (host.mac, 0x3333FF010001), frames.ip("ff02::1:ff01:1")
    question = frames.ndp(frames.SOLICITATION, macs, (0, group), SERVICE_IP)  # duplicate address detection
    answers = [d for d in rig.send("h3", question) if d.fields.get("icmpv6_type") == frames.ADVERTISEMENT]
    assert [(d.host, d.fields["dst"]) for d in answers] == [("h3", frames.ip("ff02::1"))]
    assert int.from_bytes(answers[0].frame[58:62], "big") == 0x20000000  # nobody solicited it by name


def test_nobody_else_may_advertise_the_services_address(rig: Rig) -> None:
    liar, victim = rig.hosts["h5"], rig.hosts["h3"]
    lie = frames.ndp(
        frames.ADVERTISEMENT, (liar.mac, victim.mac), (liar.ip6, victim.ip6), SERVICE_IP, liar.mac, flags=0x60000000
    )
    assert not [d for d in rig.send("h5", lie) if d.taken]
    assert rig.has_drops() == {"spoof": 1}
    asks = frames.ndp(frames.SOLICITATION, (liar.mac, victim.mac), (SERVICE_IP, victim.ip6), victim.ip6, liar.mac)
    assert not [d for d in rig.send("h5", asks) if d.taken]


def test_ping_of_the_service_is_answered(rig: Rig) -> None:
    host = rig.hosts["h3"]
    macs, ips = (host.mac, rig.service_mac()), (host.ip6, SERVICE_IP)
    (answer,) = [d for d in rig.send("h3", frames.echo(macs, ips, data=b"12345")) if d.taken]
    got = answer.fields
    assert (got["icmpv6_type"], got["src"], got["dst"]) == (129, SERVICE_IP, host.ip6)
    assert answer.frame.endswith(b"12345")


def test_closed_port_is_reset_and_a_fragment_counted(rig: Rig) -> None:
    assert rig.syn("h3", to_port=81).reset
    host = rig.hosts["h3"]
    body = bytes((6, 0, 0, 1, 0, 0, 0, 9)) + bytes(40)
    rig.send("h3", frames.ipv6((host.mac, rig.service_mac()), (host.ip6, SERVICE_IP), 44, body))
    assert rig.has_drops() == {"not_served": 1, "fragment": 1}


def test_nothing_is_sent_to_a_rst_while_no_server_is_up(rig: Rig) -> None:
    rig.link_down("h1")
    rig.link_down("h2")
    assert rig.syn("h3").reset
    assert not rig.call("h3", 40001, RST).reset


# servers


def test_servers_are_probed_by_neighbour_discovery_alone(rig: Rig) -> None:
    sent = [frames.fields(c.data) for c in rig.commands if isinstance(c, SendPacket)]
    asked = [f["nd_target"] for f in sent if f.get("icmpv6_type") == frames.SOLICITATION]
    assert sorted(set(asked)) == [rig.hosts["h1"].ip6, rig.hosts["h2"].ip6]
    assert not [f for f in sent if "arp_op" in f]
    rig.hosts["h2"].mute = True
    rig.advance(3.0)
    assert rig.up() == ["h1"]
    assert any("it doesn't answer NDP" in note.text for note in rig.notes)
    rig.hosts["h2"].mute = False
    rig.advance(1.5)
    assert rig.up() == ["h1", "h2"]


@pytest.mark.parametrize("kind", [CheckKind.TCP, CheckKind.HTTP])
def test_tcp_and_http_checks_cross_the_switch_as_clients_do(make_rig: MakeRig, kind: CheckKind) -> None:
    rig = make_rig(health=HealthSettings(kind=kind), started=False)
    web = rig.hosts["h2"].web
    assert web is not None
    web.listens = False
    rig.connect_switch()
    rig.advance(0.5)
    assert rig.up() == ["h1"]
    web.listens = True
    rig.advance(1.5)
    assert rig.up() == ["h1", "h2"]
    if kind is CheckKind.HTTP:
        assert b"Host: [fd00::1:1]:80\r\n" in web.requests[0]


def test_another_mac_in_a_servers_name_is_not_believed(rig: Rig) -> None:
    liar = rig.hosts["h5"]
    lie = frames.ndp(
        frames.ADVERTISEMENT,
        (liar.mac, rig.service_mac()),
        (rig.hosts["h1"].ip6, SERVICE_IP),
        rig.hosts["h1"].ip6,
        liar.mac,
        flags=0x60000000,
    )
    rig.send("h5", lie)
    assert rig.has_drops() == {"spoof": 1}
    assert rig.connect("h3") == "h1"


def test_address_of_a_server_added_at_run_time_is_of_the_services_ip_version(rig: Rig) -> None:
    with pytest.raises(Conflict, match="not of one IP version"):
        rig.balancer.pool.add("service0", ServerSettings(name="h4", ip="10.0.0.4"))
    rig.obey(rig.balancer.pool.add("service0", ServerSettings(name="h4", ip="fd00::4")))
    rig.advance(0.2)
    assert [rig.connect("h3", 40000 + n) for n in range(3)] == ["h1", "h2", "h4"]
    assert rig.balancer.pool.describe()["services"]["service0"]["ip"] == SERVICE


@pytest.mark.parametrize(
    ("ip", "server", "sentence"),
    [
        (SERVICE, "10.0.0.1", "must be of one IP version"),
        ("10.0.1.1", "fd00::1", "must be of one IP version"),
        ("::5", "fd00::1", "no address that a host has"),
        ("fd00::x", "fd00::1", "does not appear to be"),
    ],
)
def test_addresses_that_do_not_fit_are_refused(ip: str, server: str, sentence: str) -> None:
    servers = [ServerSettings(name="h1", ip=server)]
    with pytest.raises(ValueError, match=sentence):
        Settings(services=[ServiceSettings(name="web", ip=ip, servers=servers)])


def test_the_switch_itself_does_not_choose_by_ipv6_addresses() -> None:
    servers = [ServerSettings(name="h1", ip="fd00::1")]
    service = ServiceSettings(name="web", ip=SERVICE, servers=servers, policy="source_hash")
    with pytest.raises(ValueError, match="mode proactive is for IPv4 services"):
        Settings(services=[service], mode="proactive")
