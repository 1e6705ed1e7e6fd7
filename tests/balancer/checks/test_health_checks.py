"""Health checks on the wire: what the switch carries, what servers see, and what follows for clients."""

from __future__ import annotations

from dataclasses import replace

import pytest
from helpers import frames
from helpers.frames import ACK, FIN, RST, SYN
from helpers.rig import SERVICE, MakeRig, Rig, Service
from helpers.tcp_server import TcpServer
from hypothesis import given
from hypothesis import strategies as st

from lab.balancer.balancer import ServerSettings
from lab.balancer.health import CheckKind, HealthSettings, State

TCP = HealthSettings(kind=CheckKind.TCP)
HTTP = HealthSettings(kind=CheckKind.HTTP, path="/alive")
CONNECTING = pytest.mark.parametrize("health", [TCP, HTTP], ids=["tcp", "http"])


def web(rig: Rig, server: str) -> TcpServer:
    found = rig.hosts[server].web
    assert found is not None
    return found


def spoken(rig: Rig, server: str) -> list[int]:
    """Flags of all segments that checks sent to a server."""
    return [frames.fields(frame)["tcp_flags"] for frame in rig.hosts[server].probes]


@CONNECTING
def test_servers_are_up_at_once_and_stay_up(make_rig: MakeRig, health: HealthSettings) -> None:
    rig = make_rig(health=health)
    assert rig.up() == ["h1", "h2"]
    rig.advance(10)
    assert rig.up() == ["h1", "h2"]
    probes = rig.member("h1").health.probes
    assert (probes.sent, probes.answered, probes.failed, probes.late) == (11, 11, 0, 0)
    assert rig.has_drops() == {}
    assert web(rig, "h1").resets == 11  # no connection is left behind


@pytest.mark.parametrize(("health", "follows"), [(HealthSettings(), True), (TCP, False), (HTTP, False)], ids=str)
def test_d02_dead_process_leaves_the_pool(make_rig: MakeRig, health: HealthSettings, follows: bool) -> None:
    """It answers ARP, which is all that is asked: half of all requests fail. (arp asks no more here either.)"""
    rig = make_rig(health=health)
    web(rig, "h2").listens = False
    rig.advance(1.9)
    assert rig.up() == ["h1", "h2"] if follows else ["h1"]
    rig.advance(3)
    assert ("h2" in rig.up()) == follows
    web(rig, "h2").listens = True
    rig.advance(1.1)
    assert rig.up() == ["h1", "h2"]


def test_refusal_counts_at_once_and_says_so(make_rig: MakeRig) -> None:
    rig = make_rig(health=replace(TCP, fall=1))
    web(rig, "h2").listens = False
    rig.advance(1.0)  # no time-out has passed since the probe
    assert rig.up() == ["h1"]
    assert rig.notes[-1].text == "service0: h2 (10.0.0.2) is down: it refuses connections"


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"HTTP/1.1 503 No\r\n\r\n", "it answers with status 503, not 200"),
        (b"SSH-2.0-x\r\n", "its answer isn't HTTP"),
        (b"", "it ended the connection without an answer"),
        (None, "it doesn't answer HTTP in time"),
    ],
    ids=str,
)
def test_wrong_answers_take_a_server_out_of_http_and_not_of_tcp(
    make_rig: MakeRig, answer: bytes | None, why: str
) -> None:
    for health in (HTTP, TCP):
        rig = make_rig(health=health)
        web(rig, "h2").answer = answer
        rig.advance(2.6)
        if health is TCP:
            assert rig.up() == ["h1", "h2"]
        else:
            assert rig.up() == ["h1"]
            assert rig.notes[-1].text == f"service0: h2 (10.0.0.2) is down: {why}"


@pytest.mark.parametrize("piece", [1, 5, 13])
def test_answer_in_pieces_is_an_answer(make_rig: MakeRig, piece: int) -> None:
    rig = make_rig(health=HTTP, started=False)
    web(rig, "h1").piece = web(rig, "h2").piece = piece
    rig.connect_switch()
    rig.advance(3)
    assert rig.up() == ["h1", "h2"]
    assert rig.member("h1").health.probes.late == 0


def test_request_is_a_get_of_the_services_own_page_that_says_who_asks(make_rig: MakeRig) -> None:
    rig = make_rig(health=HTTP)
    (request,) = web(rig, "h1").requests
    assert request.startswith(b"GET /alive HTTP/1.1\r\nHost: 10.0.1.1:80\r\n")
    assert b"\r\nUser-Agent: balance-lab-health\r\n" in request
    assert request.endswith(b"\r\n\r\n")


@CONNECTING
def test_probes_go_the_way_of_clients_packets_and_only_there(make_rig: MakeRig, health: HealthSettings) -> None:
    rig = make_rig(health=health)
    before = len(rig.delivered)
    rig.advance(1.1)
    seen = [d for d in rig.delivered[before:] if "tcp_src" in d.fields]
    assert {d.host for d in seen if d.taken} == {"h1", "h2"}
    assert all(d.taken for d in seen)  # switched to the server's port, not flooded; answers reach nobody else
    for delivery in seen:
        got = delivery.fields
        assert (got["eth_src"], got["ip_src"]) == (rig.service_mac(), frames.ip(SERVICE))
        assert 512 <= got["tcp_src"] < 1024
        assert got["tcp_dst"] == 80
    rig.link_down("h2")
    assert rig.up() == ["h1"]


def test_probes_are_no_connections_of_the_service(make_rig: MakeRig) -> None:
    rig = make_rig(health=HTTP)
    rig.advance(5)
    assert (rig.balancer.counters.packet_ins, rig.balancer.counters.flow_mods) == (0, 0)
    assert sum(m.hits for m in rig.balancer.services[0].members) == 0
    assert [rig.connect("h3", 40000 + n) for n in range(4)] == ["h1", "h2"] * 2


def test_each_probe_has_its_own_port_and_numbers(make_rig: MakeRig) -> None:
    rig = make_rig(health=replace(TCP, interval=0.5))
    rig.advance(20)
    opened = [frames.fields(f) for f in rig.hosts["h1"].probes if frames.fields(f)["tcp_flags"] == SYN]
    assert len(opened) == 41
    assert len({f["tcp_src"] for f in opened}) == 41
    assert len({f["seq"] for f in opened}) == 41


def test_up_server_is_asked_straight_and_one_that_failed_by_arp_first(make_rig: MakeRig) -> None:
    rig = make_rig(health=TCP)
    before = len(rig.commands)
    rig.advance(2.2)
    assert rig.probes(before) == []
    rig.hosts["h2"].mute = True
    rig.advance(3)
    assert set(rig.probes(before)) == {rig.hosts["h2"].ip}
    asked = len(rig.hosts["h2"].probes)
    rig.hosts["h2"].mute = False
    rig.advance(1.1)
    assert rig.up() == ["h1", "h2"]
    assert len(rig.hosts["h2"].probes) == asked + 2  # SYN, RST


def test_late_answer_is_counted_reset_and_ignored(make_rig: MakeRig) -> None:
    rig = make_rig(health=TCP)
    h2 = rig.hosts["h2"]
    server, h2.web = web(rig, "h2"), None  # slow: its answers come when the test says
    rig.advance(1.6)
    syn, given_up = h2.probes[-2:]
    assert [frames.fields(f)["tcp_flags"] for f in (syn, given_up)] == [SYN, RST]
    assert frames.fields(given_up)["seq"] == frames.fields(syn)["seq"] + 1
    (answer,) = server.receive(syn)
    rig.send("h2", answer)
    assert rig.member("h2").health.probes.late == 1
    assert rig.has_drops() == {"late": 1}
    assert spoken(rig, "h2")[-1] == RST
    assert rig.member("h2").health.misses == 1


def test_answer_between_its_time_out_and_the_tick_that_notes_it_is_late(make_rig: MakeRig) -> None:
    rig = make_rig(health=replace(TCP, fall=1))
    h2 = rig.hosts["h2"]
    server, h2.web = web(rig, "h2"), None
    rig.advance(1.0)
    rig.now += 0.51
    for answer in server.receive(h2.probes[-1]):
        rig.send("h2", answer)
    assert rig.up() == ["h1"]
    assert rig.notes[-1].text.endswith("is down: it takes no connection")
    assert rig.member("h2").health.probes.late == 1


def test_foreign_mac_answers_no_check(make_rig: MakeRig) -> None:
    rig = make_rig(health=replace(TCP, fall=1))
    h2, h6 = rig.hosts["h2"], rig.hosts["h6"]
    h2.web = None
    rig.advance(1.0)
    thief = TcpServer(h2.ip, h6.mac)
    rig.send("h6", thief.receive(h2.probes[-1])[0])
    assert rig.has_drops() == {"spoof": 1}
    assert "02:00:0a:00:00:06 at port 6 speaks in its name" in rig.notes[-1].text
    rig.advance(0.6)
    assert rig.up() == ["h1"]


@pytest.mark.parametrize("flags", [SYN, ACK, FIN | ACK, RST, RST | ACK, SYN | ACK])
def test_forged_segment_without_the_right_numbers_changes_nothing(make_rig: MakeRig, flags: int) -> None:
    rig = make_rig(health=TCP)
    h2 = rig.hosts["h2"]
    server, h2.web = web(rig, "h2"), None
    rig.advance(1.0)
    probe = frames.fields(h2.probes[-1])
    macs, ips = (h2.mac, probe["eth_src"]), (h2.ip, probe["ip_src"])
    rig.send("h2", frames.tcp(macs, ips, (80, probe["tcp_src"]), flags, 1, probe["seq"] + 2))
    for answer in server.receive(h2.probes[0]):
        rig.send("h2", answer)
    assert rig.member("h2").health.misses == 0


def test_a_servers_own_settings_win(make_rig: MakeRig) -> None:
    rig = make_rig(own_health={"h2": replace(HTTP, interval=0.5, timeout=0.2)})
    rig.advance(4)
    assert spoken(rig, "h1") == []
    assert rig.member("h1").health.probes.sent == 5
    assert rig.member("h2").health.probes.sent == 9
    web(rig, "h1").listens = web(rig, "h2").listens = False
    rig.advance(2)
    assert rig.up() == ["h1"]


def test_a_server_that_calls_the_service_and_is_chosen_itself_still_works(make_rig: MakeRig) -> None:
    rig = make_rig(health=HTTP)
    assert [rig.connect("h1", 40000 + n) for n in range(4)] == ["h1", "h2"] * 2
    rig.advance(3)
    assert rig.up() == ["h1", "h2"]


@CONNECTING
def test_reconnected_switch_carries_checks_again(make_rig: MakeRig, health: HealthSettings) -> None:
    rig = make_rig(health=health)
    rig.connect_switch(wiped=True)
    rig.advance(3)
    assert rig.up() == ["h1", "h2"]
    assert rig.member("h1").health.probes.failed == 0


def test_added_server_is_checked_and_a_removed_one_leaves_no_rule(make_rig: MakeRig) -> None:
    rig = make_rig(health=TCP, services=[Service(servers=["h1"])])
    before = rig.switch.state()
    h2 = rig.hosts["h2"]
    h2.web = TcpServer(h2.ip, h2.mac)
    rig.obey(rig.balancer.pool.add("service0", ServerSettings(name="h2", ip="10.0.0.2")))
    rig.advance(1.1)
    assert rig.up() == ["h1", "h2"]
    rig.obey(rig.balancer.pool.remove("service0", "h2"))
    sent = len(h2.probes)
    rig.advance(3)
    assert len(h2.probes) == sent
    assert not [rule for rule in rig.switch.state() - before if rule[0] == 1]


def test_server_removed_while_the_switch_was_away_leaves_no_rule(make_rig: MakeRig) -> None:
    rig = make_rig(health=TCP)
    rig.connected = False
    rig.balancer.pool.remove("service0", "h2")
    rig.connect_switch()
    left = [r for r in rig.switch.rules(1) if ("ip_src", rig.hosts["h2"].ip, -1) in r.match]
    assert left == []


# slow start


def shares(rig: Rig, count: int = 60) -> float:
    """h2's part of `count` new connections."""
    ports = iter(range(20000, 60000))
    servers = [rig.syn("h3", next(ports), seq=int(rig.now * 1000) + n).server for n in range(count)]
    return servers.count("h2") / count


def test_share_of_a_server_that_came_up_grows_evenly_to_its_whole(make_rig: MakeRig) -> None:
    rig = make_rig(
        health=replace(TCP, slow_start=10.0, fall=1), services=[Service(policy="weighted_round_robin")], idle_timeout=1
    )
    rig.advance(11)
    assert shares(rig) == 0.5
    rig.hosts["h2"].mute = True
    rig.advance(2)
    rig.hosts["h2"].mute = False
    while "h2" not in rig.up():
        rig.advance(0.05)
    grown = []
    for _ in range(11):
        grown.append(shares(rig))
        rig.advance(1.0)
    assert grown[0] == pytest.approx(1 / 11, abs=0.02)
    assert grown[4] == pytest.approx(5 / 15, abs=0.03)
    assert grown == sorted(grown)
    assert grown[-1] == 0.5


def test_servers_that_come_up_together_share_as_their_weights_say(make_rig: MakeRig) -> None:
    rig = make_rig(
        health=replace(TCP, slow_start=10.0), services=[Service(policy="weighted_round_robin", weights=[3, 1])]
    )
    assert shares(rig) == 0.25
    rig.advance(4)
    assert shares(rig) == 0.25


def test_server_that_falls_in_its_slow_start_begins_anew(make_rig: MakeRig) -> None:
    rig = make_rig(health=replace(TCP, slow_start=4.0, fall=1), services=[Service(policy="weighted_round_robin")])
    rig.advance(3)
    assert rig.member("h2").ramp == 8
    rig.hosts["h2"].mute = True
    rig.advance(2)
    assert rig.member("h2").health.state is State.DOWN
    rig.hosts["h2"].mute = False
    while "h2" not in rig.up():
        rig.advance(0.05)
    assert rig.member("h2").ramp == 1


def test_slow_start_of_a_policy_without_weights_is_refused(make_rig: MakeRig) -> None:
    with pytest.raises(ValueError, match="policy round_robin heeds no weights, so no share can grow"):
        make_rig(health=HealthSettings(slow_start=5.0))


@given(st.data())
def test_no_frame_raises_whatever_is_cut_or_changed_in_it(data: st.DataObject) -> None:
    """ARP and TCP around the checks, with bytes cut off or changed, as packets and as copies of an unknown source's."""
    rig = Rig(health=HTTP)
    h1, service = rig.hosts["h1"], (rig.service_mac(), frames.ip(SERVICE))
    macs, ips = (h1.mac, service[0]), (h1.ip, service[1])
    whole = [
        frames.arp(2, h1.mac, service[0], (h1.mac, h1.ip), service),
        frames.arp(1, h1.mac, frames.BROADCAST, (h1.mac, h1.ip), (0, service[1])),
        frames.tcp(macs, ips, (80, 600), SYN | ACK, 1, 1, b"HTTP/1.1 200 OK"),
        frames.tagged(frames.tcp(macs, ips, (40000, 80), SYN)),
    ]
    frame = bytearray(data.draw(st.sampled_from(whole)))
    for at in data.draw(st.lists(st.integers(0, len(frame) - 1), max_size=4)):
        frame[at] = data.draw(st.integers(0, 255))
    cut = bytes(frame[: data.draw(st.integers(0, len(frame)))])
    for learn in (False, True):
        rig.balancer.packet_in(data.draw(st.sampled_from([1, 6])), cut, learn, rig.now)
