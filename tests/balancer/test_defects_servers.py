"""What stock POX does wrong, and ours must not: which servers there are, and which of them are believed to be up.

Named by the number in docs/defects.md; a test's docstring says what POX's component (at 20d2918) does instead.
"""

from __future__ import annotations

import pytest
from helpers import frames
from helpers.frames import ACK, SYN
from helpers.rig import SERVICE, MakeRig, Rig, Service

from lab.balancer.balancer import ServerSettings, ServiceSettings, Settings


def settings(ip: str = SERVICE, servers: tuple[str, ...] = ("10.0.0.1", "10.0.0.2")) -> Settings:
    pool = [ServerSettings(name=server, ip=server) for server in servers]
    return Settings(services=[ServiceSettings(name="web", ip=ip, servers=pool)])


def test_d01_turns_are_exact(rig: Rig) -> None:
    """Its "round robin" is a random choice."""
    assert [rig.syn("h3", 40000 + n).server for n in range(20)] == ["h1", "h2"] * 10


def test_d03_cut_link_costs_no_request(rig: Rig) -> None:
    """Every second request fails until probes have noticed."""
    rig.link_down("h2")
    assert [rig.connect("h3", 40000 + n) for n in range(4)] == ["h1"] * 4


def test_d04_all_servers_are_up_at_once_at_start(make_rig: MakeRig) -> None:
    """One server is probed per tick, so the last is up seconds after the first."""
    rig = make_rig(services=[Service(servers=["h1", "h2", "h3", "h4"])], host_count=6)
    assert rig.now == 100.0
    assert rig.up() == ["h1", "h2", "h3", "h4"]


def test_d05_packet_of_a_server_just_down_is_no_exception(rig: Rig) -> None:
    """KeyError, and the packet is lost."""
    call = rig.syn("h3", 40001)
    rig.hosts["h1"].mute = True
    rig.advance(3)
    assert rig.up() == ["h2"]
    rig.hosts["h1"].mute = False
    rig.answer("h3", call, SYN | ACK)


def test_d07_no_servers_is_refused() -> None:
    """IndexError when the switch connects, and the controller stays, useless."""
    with pytest.raises(ValueError, match="has no servers"):
        settings(servers=())


def spoofed(rig: Rig, thief: str, server: str) -> bytes:
    """An ARP answer to the service: the server's address is at the thief's MAC."""
    mac, service = rig.hosts[thief].mac, (rig.service_mac(), frames.ip(SERVICE))
    return frames.arp(2, mac, service[0], (mac, rig.hosts[server].ip), service)


@pytest.mark.parametrize("slow", [True, False], ids=["before the server's", "unasked"])
def test_d09_answer_in_a_servers_name_steals_nothing(rig: Rig, slow: bool) -> None:
    """The answer's MAC and port are taken for the server's, whoever sends it."""
    rig.hosts["h1"].mute = slow
    rig.advance(1.1)
    rig.send("h6", spoofed(rig, "h6", "h1"))
    rig.hosts["h1"].mute = False
    assert rig.has_drops() == {"spoof": 1}
    assert "02:00:0a:00:00:06 at port 6 speaks in its name" in rig.notes[-1].text
    assert rig.notes[-1].warning
    assert rig.connect("h3") == "h1"


def test_d09_lies_are_counted_each_and_warned_of_once_an_interval(rig: Rig) -> None:
    before = len(rig.notes)
    for _ in range(20):
        rig.send("h6", spoofed(rig, "h6", "h1"))
        rig.advance(0.1)
    assert rig.has_drops() == {"spoof": 20}
    assert len(rig.notes) - before == 2
    assert rig.up() == ["h1", "h2"]


def test_d09_servers_mac_at_another_port_steals_nothing_while_it_answers_at_its_own(rig: Rig) -> None:
    h1 = rig.hosts["h1"]
    stolen = frames.echo((h1.mac, rig.hosts["h4"].mac), (h1.ip, rig.hosts["h4"].ip))
    for _ in range(30):
        rig.arrive(6, stolen)
        rig.advance(0.1)
        assert rig.switch.receive(3, frames.echo((rig.hosts["h3"].mac, h1.mac), (1, h1.ip)))[0][0] == h1.port
    assert rig.connect("h3") == "h1"
    assert [note.text for note in rig.notes if "at another port" in note.text]
    assert rig.has_drops()["spoof"] == 30


def test_d09_replaced_server_is_believed_once_the_old_one_is_down(rig: Rig) -> None:
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


def test_d14_service_address_of_a_server_is_refused() -> None:
    """It is accepted, and that server is never up."""
    with pytest.raises(ValueError, match=r"10\.0\.0\.2 is both"):
        settings(ip="10.0.0.2")
